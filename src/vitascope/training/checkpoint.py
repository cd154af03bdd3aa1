"""A run's state on disk: one file, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.errors import BadRun
from vitascope.swapping import file_in_place_of


def save(path: Path, tensors: dict[str, Tensor], about: dict[str, str]) -> None:
    """Replace `path` in one move. Killed at any moment, either the old file stands or the new one does."""
    whole = {k: v.detach().cpu().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_in_place_of(path) as partial:
            save_file(whole, partial, metadata=about)
    except (OSError, SafetensorError) as error:
        raise BadRun(
            f"{path}: the checkpoint could not be written ({error}); the one before still stands; free some space."
        ) from error


def load(path: Path) -> dict[str, Tensor]:
    """The tensors that `save` wrote."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


class Noted(NamedTuple):
    """How many steps a stage's state has seen, and what was noted beside it."""

    step: int
    about: Mapping[str, str]


def noted(path: Path) -> Noted:
    """What a file that `save` wrote says of itself, its weights unread."""
    try:
        with safe_open(path, "pt") as file:
            return Noted(int(file.get_tensor("step")), file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BadRun:
    return BadRun(f"{path}: this checkpoint cannot be read ({error}); delete it to start its stage anew.")
