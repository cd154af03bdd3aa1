"""Weight files, read with no trust: what is in one is checked before a byte of it reaches a network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitascope.errors import BadModel


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, partial)
    os.replace(partial, path)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises BadModel that says what the file is instead."""
    if not path.is_file():
        raise BadModel(f"{path}: there is no such file; copy the whole bundle")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path}: it is no whole safetensors file ({error}); copy it again") from error


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Put every tensor into the module, in the module's own precision; all names and shapes must agree, or nothing is changed."""
    wanted = module.state_dict()
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    shaped = [name for name in wanted if name in tensors and wanted[name].shape != tensors[name].shape]
    for names, word in (
        (missing, "lacks"),
        (unexpected, "has beside what is wanted"),
        (shaped, "has in another shape"),
    ):
        if names:
            raise BadModel(
                f"{origin}: it {word} {', '.join(names[:10])}; it belongs to another architecture; take the file of this one"
            )
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value.float()).all():
            raise BadModel(f"{origin}: the tensor {name} holds numbers that are not finite; copy the file again")
    module.load_state_dict({name: value.to(wanted[name].dtype) for name, value in tensors.items()})
