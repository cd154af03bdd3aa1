"""Which way a subject looks in a film, found from its picture alone: whether it is more like true ones that look right, or
like their mirror images.

The template is the mean of true films of the same labels, each turned to look right, less its own mirror image: what is
left is what tells the front from the back, and a subject that has neither leaves nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.evaluation.tracking import Colours, Path, centred, numbers, places
from vitascope.recipe import ClipShape
from vitascope.storybook import Scene
from vitascope.storybook.motion import pose, times
from vitascope.storybook.worlds import WALKERS

FRONTED = (*WALKERS, "car", "bicycle", "boat", "fish", "bird")
"""Subjects that have a front."""
SIDE = 24  # samples across a crop
REACH = 1.15  # radii of the subject from a crop's middle to its edge


class Front(NamedTuple):
    """What tells the front of a subject that looks right, [4 s s], and the colours by which it is seen."""

    template: Tensor
    known: Colours


def front(films: Tensor, shown: Sequence[Scene], video: ClipShape, known: Colours) -> Front:
    """Learned from true films uint8 [n t h w c] of these scenes."""
    total = torch.zeros(4, SIDE, SIDE)
    for film, scene in zip(films, shown, strict=True):
        where = places(scene, video)
        middle = centred(film, known.share[numbers(film)], where[:, :2], known.radius)
        seen = crops(film, middle, float(where[:, 2].median()), known)
        sides = torch.tensor([pose(scene, t).side for t in times(video.frames)])
        total += torch.where(sides[:, None, None, None] > 0, seen, seen.flip(-1)).sum(0)
    mean = total / max(1, len(films) * video.frames)
    return Front(mean - mean.flip(-1), known)


def crops(film: Tensor, centres: Tensor, radius: float, known: Colours) -> Tensor:
    """What is around the centres [t 2] of a film uint8 [t h w c], as far as it has the subject's colours: that share, and the
    share times each channel, [t 4 s s]."""
    height, width = film.shape[1:3]
    share = known.share[numbers(film)].float()[:, None]
    pixels = torch.cat((share, share * (film.permute(0, 3, 1, 2).float() / 255 - 0.5)), 1)
    line = (torch.arange(SIDE, dtype=torch.float64) + 0.5) * (2 / SIDE) - 1
    x = centres[:, 0, None, None] + REACH * radius * line
    y = centres[:, 1, None, None] + REACH * radius * line[:, None]
    grid = torch.stack((2 * x.expand(-1, SIDE, -1) / width - 1, 2 * y.expand(-1, -1, SIDE) / height - 1), -1)
    return F.grid_sample(pixels, grid.float(), padding_mode="zeros", align_corners=False)


def looks(film: Tensor, path: Path, known: Front) -> int:
    """+1 where the subject looks right over the whole of a film uint8 [t h w c], -1 where it looks left, 0 where nothing of
    its colours is there."""
    radius = min(max(path.radius, 0.5 * known.known.radius), 2 * known.known.radius)
    seen = crops(film, torch.stack((path.x, path.y), 1), radius, known.known)
    return int((seen * known.template).sum().sign())
