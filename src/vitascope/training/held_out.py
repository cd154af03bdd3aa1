"""The loss on clips that are kept out of training: where it rises while the other falls, the model learns by heart."""

from __future__ import annotations

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


def measuring(settings: StageSettings, count: int, whole: bool = False) -> StageSettings:
    """A stage's settings for measuring on `count` clips: no caption is dropped, no clip is twice in a batch, and they are
    `whole` if asked."""
    pieces = {"frames": None, "crop": None} if whole else {}
    return settings.model_copy(update={"batch": min(settings.batch, count), "dropout": 0.0, **pieces})


@torch.no_grad()
def held_out_loss(task: Measured, settings: StageSettings, count: int, state: State, seed: int, device: str) -> float:
    """The mean loss of the averaged weights over `count` clips (or MOST of them), under noise that is the same each time."""
    total, batches = 0.0, max(1, min(count, MOST) // settings.batch)
    kind = torch.device(device).type
    with averaged(state):
        for step in range(batches):
            noise = Noise(tuple(key(seed, f"held out {row}", step) for row in range(settings.batch)))
            with bf16(kind, settings.autocast):
                total += float(task.loss(task.batch(step), noise=noise, step=step)[0])
    return total / batches
