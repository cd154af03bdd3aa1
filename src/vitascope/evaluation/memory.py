"""Memory: whether films are copies of clips that the model was trained on.

A training clip is a function of (seed, index), so all of them can be looked at without keeping one. They are rendered
small; the few that come nearest to a film are rendered at full size and compared in all frames, both with their fine grain
averaged away, which no codec keeps. A near copy is a film that is far nearer to one training clip than to the next ones
(the ratio of Yoon et al. 2023, "Diffusion probabilistic models generalize when they fail to memorize"), and nearer than
true films come to which no training saw: an honest film has many clips at about the same distance, whatever it shows and
however blurred it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.data.clips import Source
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.share import Share
from vitascope.storybook import render, scene

GRAIN = 4  # pixels that are averaged, each way
MOMENTS = 5  # frames that are looked at in the search
NEXT = 8  # clips that are verified; those after the first are what is usual for the film
COPY = 0.6
"""The share of the next clips' distance below which the nearest clip may have been copied. Seen with 4,000 training clips:
withheld films 0.82 to 0.98, also blurred or after the codec 0.76 and more; training clips after a codec of 23 dB 0.16 to
0.57."""
NEAR = 0.8
"""The share of the distance of the nearest twentieth of withheld films that a copy is within, too: among few clips a ratio
alone is chance."""
BLOCK = 64


@dataclass(frozen=True)
class Pair:
    """A film and the training clip that is nearest to it."""

    film: int
    """Its place among the films."""
    clip: int
    """The index of the training clip."""
    distance: float
    """Root mean square of the differences, in levels of 255, with the grain averaged away."""
    ratio: float
    """The distance beside that of the next clips, their median."""

    def copies(self, usual: float) -> bool:
        """Whether this is a near copy, where the nearest twentieth of withheld films is `usual` far from its clips."""
        return self.ratio < COPY and self.distance < NEAR * usual


@dataclass(frozen=True)
class Memory:
    """How near films come to what was learned, beside true films that were withheld from all learning."""

    clips: int
    """Training clips that were searched."""
    of: int
    """Training clips that there are."""
    copies: Share
    withheld_copies: Share
    distance: float
    """The median distance of films to their nearest clips."""
    withheld_distance: float
    ratio: float
    """The median ratio of films; that of copies tends to 0, that of honest films to nearly 1."""
    withheld_ratio: float
    pairs: tuple[Pair, ...]
    """Of every film, the closest by ratio first."""
    usual: float
    """The distance of the nearest twentieth of the withheld films, from which a near copy is told."""


def memory(
    films: Tensor, withheld: Tensor, source: Source, searched: int | None = None, watch: Watch | None = None
) -> Memory:
    """Films uint8 [n t h w c] and as many true ones that no training saw, against the training clips of `source`, all of them
    or the first `searched`."""
    count = min(source.count, searched or source.count)
    pairs = nearest(torch.cat((films, withheld)), source, count, watch)
    made, true = pairs[: len(films)], pairs[len(films) :]
    usual = _quantile([pair.distance for pair in true], 0.05)

    def middle(values: Sequence[float]) -> float:
        return _quantile(values, 0.5)

    return Memory(
        clips=count,
        of=source.count,
        copies=Share(sum(pair.copies(usual) for pair in made), len(made)),
        withheld_copies=Share(sum(pair.copies(usual) for pair in true), len(true)),
        distance=middle([pair.distance for pair in made]),
        withheld_distance=middle([pair.distance for pair in true]),
        ratio=middle([pair.ratio for pair in made]),
        withheld_ratio=middle([pair.ratio for pair in true]),
        pairs=tuple(sorted(made, key=lambda pair: pair.ratio)),
        usual=usual,
    )


def _quantile(values: Sequence[float], q: float) -> float:
    return float(torch.tensor(values, dtype=torch.float64).quantile(q))


def nearest(films: Tensor, source: Source, count: int, watch: Watch | None = None) -> list[Pair]:
    """The nearest of the first `count` training clips of each film."""
    every = (source.frames - 1) // (MOMENTS - 1) if (source.frames - 1) % (MOMENTS - 1) == 0 else 1
    height, width = max(8, source.height // GRAIN), max(8, source.width // GRAIN)
    seen = small(films[:, ::every], height, width).flatten(1)
    few = min(NEXT, count)
    best = torch.full((len(films), few), torch.inf)
    which = torch.zeros(len(films), few, dtype=torch.long)
    for start in range(0, count, BLOCK):
        indices = list(range(start, min(start + BLOCK, count)))
        clips = render(
            [scene(source.seed, i, source.split, source.world) for i in indices], frames=len(range(0, source.frames, every)),
            height=height, width=width,
        )  # fmt: skip
        apart = torch.cdist(seen, small(clips, height, width).flatten(1))
        all_apart = torch.cat((best, apart), 1)
        all_which = torch.cat((which, torch.tensor(indices).expand(len(films), -1)), 1)
        best, at = all_apart.topk(few, largest=False)
        which = all_which.gather(1, at)
        if watch:
            watch("searching training clips", indices[-1] + 1, count)
    return [verified(film, number, row.tolist(), source) for number, (film, row) in enumerate(zip(films, which))]


def verified(film: Tensor, number: int, clips: Sequence[int], source: Source) -> Pair:
    """Of a few training clips, the nearest one in all frames."""
    true = clips_of(source, clips)
    size = max(8, source.height // GRAIN), max(8, source.width // GRAIN)
    off = (small(true, *size) - small(film[None], *size)).square().flatten(1).mean(1).sqrt().double()
    order = off.argsort()
    distance = float(off[order[0]])
    usual = float(off[order[1:]].median()) if len(order) > 1 else 255.0
    return Pair(number, clips[int(order[0])], distance, distance / max(usual, 1e-9))


def clips_of(source: Source, indices: Sequence[int]) -> Tensor:
    """Training clips as they were learned from, uint8 [n t h w c]."""
    scenes = [scene(source.seed, index, source.split, source.world) for index in indices]
    return render(scenes, frames=source.frames, height=source.height, width=source.width)


def small(films: Tensor, height: int, width: int) -> Tensor:
    """Films uint8 [n t h w c] averaged to height x width, float [n t c height width] in levels of 255."""
    flat = films.flatten(0, 1).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(flat, (height, width)).unflatten(0, films.shape[:2])
