"""The loss on clips that are kept out of training: where it rises while the other falls, the model learns by heart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol

import torch

from vitascope.physics.noise import Noise, key
from vitascope.precision import bf16
from vitascope.recipe import StageSettings
from vitascope.training.loop import State, Task
from vitascope.training.preview import averaged

MOST = 256
"""Clips that are measured on, at most: it is done again and again."""


class Measured(Task, Protocol):
    """A task that makes its own batches."""

    def batch(self, step: int) -> Any: ...


def measuring(settings: StageSettings, whole: bool = False) -> StageSettings:
    """A stage's settings for measuring: no caption is dropped, no clip comes more often than others, and of each as many frames
    are seen as the stage ever sees, and latents are what they are. They are `whole` if asked."""
    pieces = {"frames": None, "crop": None} if whole else {"frames": settings.frames and (max(settings.frames),)}
    return settings.model_copy(update={"dropout": 0.0, "often": {}, "rough": 0.0, **pieces})


def parts(count: int, batch: int, least: int = 1) -> tuple[int, ...]:
    """The sizes of the batches in which each of `count` clips comes once, or MOST of them do: as few as there can be, of which
    none has two clips more than another.

    None has fewer clips than `least`, for which they may be larger than `batch`, unless there are no more: alone in its batch a
    clip would have nothing to tell its caption from.
    """
    count = min(count, MOST)
    batches = max(1, min(math.ceil(count / batch), count // least))
    return tuple(count // batches + (index < count % batches) for index in range(batches))


@torch.no_grad()
def held_out_loss(
    task: Measured, sizes: Sequence[int], settings: StageSettings, state: State, seed: int, device: str
) -> float:
    """The mean loss of the averaged weights over the clips of a task's first batches, of which `sizes` are told, under noise
    that is the same each time."""
    total, kind = 0.0, torch.device(device).type
    with averaged(state):
        for step, size in enumerate(sizes):
            noise = Noise(tuple(key(seed, f"held out {row}", step) for row in range(size)))
            with bf16(kind, settings.autocast):
                total += size * float(task.loss(task.batch(step), noise=noise, step=step)[0])
    return total / sum(sizes)
