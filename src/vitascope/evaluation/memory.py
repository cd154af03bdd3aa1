"""Memory: whether films are copies of clips that the model was trained on.

A training clip of the storybook is a function of (seed, index), so all of them can be looked at without keeping one;
somebody's own are given. They are seen small; the few that come nearest to a film are taken at full size and compared in all
frames, both with their fine grain averaged away, which no codec keeps. A near copy is a film that is far nearer to one
training clip than to the next ones (the ratio of Yoon et al. 2023, "Diffusion probabilistic models generalize when they
fail to memorize"), and nearer than true films come to which no training saw: an honest film has many clips at about the same
distance, whatever it shows and however blurred it is.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.data.clips import Source
from vitascope.data.own import OwnClips
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.share import Share
from vitascope.recipe import ClipShape
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


class Shelf(Protocol):
    """Training clips of the shape of the films that are compared with them."""

    def __len__(self) -> int: ...

    def origin(self, index: int) -> Hashable:
        """What a clip shares with those that are pieces of the same film."""
        ...

    def clips(self, indices: Sequence[int]) -> Tensor:
        """uint8 [n t h w c]."""
        ...

    def glimpses(self, indices: Sequence[int], every: int, height: int, width: int) -> Tensor:
        """Every so many frames of them, small: [n t' c height width] in levels of 255."""
        ...


@dataclass(frozen=True)
class Drawn:
    """Clips of the storybook, drawn in the shape of the films whatever they were learned in."""

    source: Source
    shape: ClipShape

    def __len__(self) -> int:
        return self.source.count

    def origin(self, index: int) -> int:
        """Its own."""
        return index

    def clips(self, indices: Sequence[int]) -> Tensor:
        """uint8 [n t h w c]."""
        return self._at(indices, self.shape.frames, self.shape.height, self.shape.width)

    def glimpses(self, indices: Sequence[int], every: int, height: int, width: int) -> Tensor:
        """Drawn small from the first."""
        return small(self._at(indices, len(range(0, self.shape.frames, every)), height, width), height, width)

    def _at(self, indices: Sequence[int], frames: int, height: int, width: int) -> Tensor:
        source = self.source
        scenes = [scene(source.seed, index, source.split, source.world) for index in indices]
        return render(scenes, frames=frames, height=height, width=width)


@dataclass(frozen=True)
class Cut:
    """Clips cut from somebody's own films."""

    cut: OwnClips

    def __len__(self) -> int:
        return len(self.cut)

    def origin(self, index: int) -> str:
        """The caption of its film."""
        return self.cut.captions[index]

    def clips(self, indices: Sequence[int]) -> Tensor:
        """uint8 [n t h w c]."""
        return torch.from_numpy(np.stack([self.cut.view(index) for index in indices]))

    def glimpses(self, indices: Sequence[int], every: int, height: int, width: int) -> Tensor:
        """Averaged from their full size."""
        return small(self.clips(indices)[:, ::every], height, width)


@dataclass(frozen=True)
class Together:
    """Several shelves as one, in their order."""

    shelves: tuple[Shelf, ...]

    def __len__(self) -> int:
        return sum(map(len, self.shelves))

    def origin(self, index: int) -> tuple[int, Hashable]:
        """That on its shelf."""
        shelf, at = self._found(index)
        return id(shelf), shelf.origin(at)

    def clips(self, indices: Sequence[int]) -> Tensor:
        """uint8 [n t h w c]."""
        return torch.cat([shelf.clips([at]) for shelf, at in map(self._found, indices)])

    def glimpses(self, indices: Sequence[int], every: int, height: int, width: int) -> Tensor:
        """Those of each shelf at once, as they follow each other."""
        runs: list[tuple[Shelf, list[int]]] = []
        for shelf, at in map(self._found, indices):
            if not runs or runs[-1][0] is not shelf:
                runs.append((shelf, []))
            runs[-1][1].append(at)
        return torch.cat([shelf.glimpses(ats, every, height, width) for shelf, ats in runs])

    def _found(self, index: int) -> tuple[Shelf, int]:
        for shelf in self.shelves:
            if index < len(shelf):
                return shelf, index
            index -= len(shelf)
        raise IndexError(index)


@dataclass(frozen=True)
class Pair:
    """A film and the training clip that is nearest to it."""

    film: int
    """Its place among the films."""
    clip: int
    """The index of the training clip among those that were searched."""
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
    recited: bool = False
    """Whether the films were asked for by the captions of the training clips themselves."""


def memory(
    films: Tensor,
    withheld: Tensor,
    shelf: Shelf,
    searched: int | None = None,
    watch: Watch | None = None,
    *,
    recited: bool = False,
) -> Memory:
    """Films uint8 [n t h w c] and true ones that no training saw, against the training clips, all of them or the first
    `searched`."""
    count = min(len(shelf), searched or len(shelf))
    pairs = nearest(torch.cat((films, withheld)), shelf, count, watch)
    made, true = pairs[: len(films)], pairs[len(films) :]
    usual = _quantile([pair.distance for pair in true], 0.05)

    def middle(values: Sequence[float]) -> float:
        return _quantile(values, 0.5)

    return Memory(
        clips=count,
        of=len(shelf),
        copies=Share(sum(pair.copies(usual) for pair in made), len(made)),
        withheld_copies=Share(sum(pair.copies(usual) for pair in true), len(true)),
        distance=middle([pair.distance for pair in made]),
        withheld_distance=middle([pair.distance for pair in true]),
        ratio=middle([pair.ratio for pair in made]),
        withheld_ratio=middle([pair.ratio for pair in true]),
        pairs=tuple(sorted(made, key=lambda pair: pair.ratio)),
        usual=usual,
        recited=recited,
    )


def _quantile(values: Sequence[float], q: float) -> float:
    return float(torch.tensor(values, dtype=torch.float64).quantile(q))


def nearest(films: Tensor, shelf: Shelf, count: int, watch: Watch | None = None) -> list[Pair]:
    """The nearest of the first `count` training clips of each film, beside those of other origin that come next."""
    later = films.shape[1] - 1
    every = max(1, later // (MOMENTS - 1)) if later % (MOMENTS - 1) == 0 else 1
    height, width = _coarse(films)
    seen = small(films[:, ::every], height, width).flatten(1)
    apart = torch.empty(len(films), count)
    for start in range(0, count, BLOCK):
        indices = list(range(start, min(start + BLOCK, count)))
        glimpses = shelf.glimpses(indices, every, height, width).flatten(1)
        apart[:, start : start + len(indices)] = torch.cdist(seen, glimpses)
        if watch:
            watch("searching training clips", indices[-1] + 1, count)
    few = [_unlike(row.argsort().tolist(), shelf) for row in apart]
    return [verified(film, number, clips, shelf) for number, (film, clips) in enumerate(zip(films, few))]


def _unlike(order: Iterable[int], shelf: Shelf) -> list[int]:
    """The first few clips of an order that are not of one origin: two pieces of one film are alike, whoever learned them."""
    found: dict[Hashable, int] = {}
    for index in order:
        found.setdefault(shelf.origin(index), index)
        if len(found) == NEXT:
            break
    return list(found.values())


def verified(film: Tensor, number: int, clips: Sequence[int], shelf: Shelf) -> Pair:
    """Of a few training clips, the nearest one in all frames."""
    size = _coarse(film[None])
    off = (small(shelf.clips(clips), *size) - small(film[None], *size)).square().flatten(1).mean(1).sqrt().double()
    order = off.argsort()
    distance = float(off[order[0]])
    usual = float(off[order[1:]].median()) if len(order) > 1 else 255.0
    return Pair(number, clips[int(order[0])], distance, distance / max(usual, 1e-9))


def _coarse(films: Tensor) -> tuple[int, int]:
    """Rows and columns of films [n t h w c] without their grain."""
    return max(8, films.shape[2] // GRAIN), max(8, films.shape[3] // GRAIN)


def small(films: Tensor, height: int, width: int) -> Tensor:
    """Films uint8 [n t h w c] averaged to height x width, float [n t c height width] in levels of 255."""
    flat = films.flatten(0, 1).permute(0, 3, 1, 2).float()
    return F.adaptive_avg_pool2d(flat, (height, width)).unflatten(0, films.shape[:2])
