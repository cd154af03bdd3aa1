"""A run's state on disk: one file, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.errors import BadRun


def save(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Replace `path` in one move. Killed at any moment, either the old file stands or the new one does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        whole = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
        save_file(whole, partial, metadata=about)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise BadRun(
            f"{path}: the checkpoint could not be written ({error}); the one before still stands; free some space."
        ) from error


def load(path: Path) -> dict[str, Tensor]:
    """The tensors that `save` wrote."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadRun(f"{path}: this checkpoint cannot be read ({error}); delete it to start its stage anew.") from error
