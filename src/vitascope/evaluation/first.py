"""First pictures: films that were given the first picture of a true film begin with it, and go on from it without a jump."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vitascope.evaluation.fidelity import psnr
from vitascope.evaluation.films import Shown

LATER = 4  # changes from picture to picture, after the first one, that it is set beside


@dataclass(frozen=True)
class Onset:
    """Of one kind of films."""

    kept: float | None
    """How near their first pictures are to those that were given, in dB; None where they are the same."""
    jump: float | None
    """How much changes from the first picture to the second, beside the mean of the next changes: 1 where a film goes on as it
    begins, more where it leaves the picture that it was given. None where nothing changes later."""


@dataclass(frozen=True)
class First:
    """Films that began with a picture, beside the true films that it is of, after the codec and as they are."""

    films: int
    made: Onset
    codec: Onset
    real: Onset


def first(shown: Shown) -> First | None:
    """What became of the pictures; None where the films were given none."""
    if any(shot.image is None for shot in shown.shots):
        return None
    return First(len(shown), **{name: onset(films, shown.real) for name, films in shown.versions.items()})


def onset(films: Tensor, real: Tensor) -> Onset:
    """Of films uint8 [n t h w c] that were given the first pictures of the true ones."""
    changes = [_change(films, at) for at in range(min(films.shape[1] - 1, 1 + LATER))]
    later = sum(changes[1:]) / max(1, len(changes) - 1)
    kept = float(psnr(films[None, :, 0], real[None, :, 0]))
    return Onset(kept if math.isfinite(kept) else None, changes[0] / later if later else None)


def _change(films: Tensor, at: int) -> float:
    """The mean distance of the pictures `at` from those after them, in levels of 255."""
    now, then = (films[:, place].to(torch.int16) for place in (at, at + 1))
    return float((then - now).abs().double().mean())
