"""Which scenes are asked for: of a seed that no training uses, on combinations that training saw or that it never did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

from vitascope.physics.noise import key
from vitascope.recipe import ClipShape
from vitascope.storybook import Scene, render, scene

Split = Literal["withheld", "seen"]
SPLITS: tuple[Split, ...] = ("withheld", "seen")

SEED = key(0, "evaluation")


def scenes(count: int, split: Split = "withheld") -> list[Scene]:
    """The first `count` scenes of the evaluation, the same ones every time.

    "withheld": combinations of subject, colour, action and place that were kept out of all training; "seen": others. Neither
    was ever drawn with these numbers: positions, speeds and sceneries are new in both.
    """
    return [scene(SEED, index, "train" if split == "seen" else "withheld") for index in range(count)]


def real(video: ClipShape, shown: Sequence[Scene]) -> Tensor:
    """The scenes' true films, uint8 [b t h w c]."""
    return render(shown, frames=video.frames, height=video.height, width=video.width)
