"""Which scenes are asked for: of a seed that no training uses, on combinations that training saw or that it never did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor

from vitascope.physics.noise import key
from vitascope.recipe import ClipShape
from vitascope.storybook import Scene, render, scene
from vitascope.storybook.worlds import DEFAULT

Split = Literal["withheld", "seen"]
SPLITS: tuple[Split, ...] = ("withheld", "seen")

SEED = key(0, "evaluation")
SIBLINGS = key(0, "evaluation siblings")


def scenes(count: int, split: Split = "withheld", start: int = 0, world: str = DEFAULT) -> list[Scene]:
    """`count` scenes of the evaluation of this world from number `start` on, the same ones every time.

    "withheld": combinations of subject, colour, action and place that were kept out of all training; "seen": others. Neither
    was ever drawn with these numbers: positions, speeds and sceneries are new in both.
    """
    kind = "train" if split == "seen" else "withheld"
    return [scene(SEED, index, kind, world) for index in range(start, start + count)]


def siblings(shown: Scene, count: int, start: int = 0) -> list[Scene]:
    """`count` scenes with the labels of this one, in which all that labels leave open is drawn anew: what the world itself
    makes of one full caption. Number 0, 1, 2... is the same draw for every scene."""
    drawn = (scene(SIBLINGS, index, "any", shown.world) for index in range(start, start + count))
    return [replace(each, **shown.labels) for each in drawn]


def real(video: ClipShape, shown: Sequence[Scene]) -> Tensor:
    """The scenes' true films, uint8 [b t h w c]."""
    return render(shown, frames=video.frames, height=video.height, width=video.width)
