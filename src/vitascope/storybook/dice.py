"""Dice: how the storybook chooses. A world, its captions and its scenes are what these draw."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def one(draw: random.Random, choices: Sequence[T]) -> T:
    """One of them, all alike likely. Of the dice only .random() is used: it is the same in every Python."""
    return choices[int(draw.random() * len(choices))]
