"""Where the subject of a film is in each frame, found by its colours alone, so that films without a truth can be tracked.

The colours are learned from true films of the same labels, as two histograms: of what is within the subject and of what
is around it. Each pixel of another film is then worth the share of the first in both (histogram back-projection, Swain &
Ballard 1991, doi:10.1007/BF00130487), the best path through the frames is found by dynamic programming, and the subject's
centre is the mean of what differs there from the film's own background. `missed` tells how far that is from the truth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.evaluation.scenes import real, siblings
from vitascope.recipe import ClipShape
from vitascope.storybook import Scene
from vitascope.storybook.motion import pose, times
from vitascope.storybook.views import camera, cast, on_screen, view

BINS = 12  # of each colour channel
EXAMPLES = 6  # true films that the colours are learned from
REACH = 1.1  # radii around a centre that are looked at
CELL = 4  # pixels: how finely the path is sought
STRIDE = 0.22  # of the picture's height: as far as a subject goes from frame to frame at 17 frames


def places(shown: Scene, video: ClipShape) -> Tensor:
    """The subject's true centre and radius in each frame, as pixels from the upper left corner: x, y, radius, [t 3]."""
    seen, subject = view(video.height, video.width), cast(shown)[0]
    found = []
    for moment in times(video.frames):
        at, by = pose(subject, moment), camera(shown, moment)
        x, y = on_screen(subject, at, by)
        found.append(
            (x * seen.scale + video.width / 2, video.height / 2 - y * seen.scale, at.size * by.zoom * seen.scale)
        )
    return torch.tensor(found, dtype=torch.float64)


def distances(centres: Tensor, height: int, width: int) -> Tensor:
    """Pixels from each centre [t 2], [t h w]."""
    y = torch.arange(height, dtype=centres.dtype)[:, None] + 0.5 - centres[:, 1, None, None]
    x = torch.arange(width, dtype=centres.dtype) + 0.5 - centres[:, 0, None, None]
    return (x.square() + y.square()).sqrt()


def numbers(film: Tensor) -> Tensor:
    """The number of each pixel's colour, [t h w], of a film uint8 [t h w c]."""
    binned = (film.long() * BINS) // 256
    return (binned[..., 0] * BINS + binned[..., 1]) * BINS + binned[..., 2]


class Colours(NamedTuple):
    """How likely each colour is the subject's, [BINS^3]; the subject's usual radius in pixels; and how many pixels of likely
    colours there are in it, in squares of that radius."""

    share: Tensor
    radius: float
    fill: float


def colours(films: Tensor, tracks: Sequence[Tensor]) -> Colours:
    """Learned from true films uint8 [n t h w c] and the subject's `places` in each."""
    inside, outside = torch.zeros(BINS**3), torch.zeros(BINS**3)
    for film, track in zip(films, tracks, strict=True):
        near = distances(track[:, :2], *film.shape[1:3]) / track[:, 2, None, None]
        which = numbers(film)
        inside += torch.bincount(which[near < 0.6], minlength=BINS**3)
        outside += torch.bincount(which[near > 1.3], minlength=BINS**3)
    a, b = (_blurred(h / h.sum().clamp(min=1)) for h in (inside, outside))
    known = Colours(a / (a + b + 1e-5), float(torch.cat([t[:, 2] for t in tracks]).median()), 1.0)
    fills = [
        areas(known.share[numbers(film)], track[:, :2], track[:, 2]) / track[:, 2].square()
        for film, track in zip(films, tracks)
    ]
    return known._replace(fill=max(1e-3, float(torch.cat(fills).median())))


def areas(alike: Tensor, centres: Tensor, radius: Tensor | float) -> Tensor:
    """Pixels of likely colours around each centre [t 2], [t]."""
    near = distances(centres, *alike.shape[1:]) / torch.as_tensor(radius, dtype=torch.float64).reshape(-1, 1, 1)
    return ((alike > 0.5) & (near < REACH)).sum((1, 2)).double()


def _blurred(histogram: Tensor) -> Tensor:
    cube = histogram.view(1, 1, BINS, BINS, BINS)
    near = F.avg_pool3d(cube, 3, 1, 1, count_include_pad=False)
    return (0.6 * cube + 0.4 * near).flatten()


class Path(NamedTuple):
    """Where a subject was found: x and y in pixels from the upper left corner, float64 [t] each; how sure that is: the share
    of the found place that has the subject's colours, less that of the rest of the picture; and the subject's radius in
    pixels, from its area."""

    x: Tensor
    y: Tensor
    sure: float
    radius: float = 0.0


def tracked(film: Tensor, known: Colours) -> Path:
    """The subject's path through a film uint8 [t h w c] of a camera that does not move."""
    alike = known.share[numbers(film)]
    centres = _path(alike, known.radius)
    for _ in range(2):
        centres = centred(film, alike, centres, known.radius)
    near = distances(centres, *film.shape[1:3])
    inside, outside = alike[near < 0.6 * known.radius], alike[near > 1.4 * known.radius]
    sure = float(inside.mean() - outside.mean()) if len(inside) and len(outside) else 0.0
    area = float(areas(alike, centres, known.radius).median())
    return Path(centres[:, 0], centres[:, 1], sure, math.sqrt(area / known.fill))


def _path(alike: Tensor, radius: float) -> Tensor:
    """The coarse path [t 2] along which the sum of what is alike within the radius is greatest, among those whose steps are
    not too wide (Viterbi 1967)."""
    frames, height, _ = alike.shape
    near = 2 * max(1, round(0.7 * radius)) + 1
    wide = 2 * max(1, round(1.4 * radius)) + 1
    pooled = _mean(alike, near) - _mean(alike, wide)
    cells = F.max_pool2d(pooled[:, None], CELL, ceil_mode=True)[:, 0]
    columns = cells.shape[2]
    reach = 2 * max(1, round(STRIDE * 16 / max(1, frames - 1) * height / CELL)) + 1
    best, back = cells[0], []
    for cell in cells[1:]:
        most, which = F.max_pool2d(best[None, None], reach, 1, reach // 2, return_indices=True)
        best = cell + most[0, 0]
        back.append(which[0, 0].flatten())
    at = int(best.argmax())
    path = [at]
    for which in reversed(back):
        at = int(which[at])
        path.append(at)
    cell = torch.tensor(path[::-1], dtype=torch.float64)
    y, x = (cell / columns).floor(), cell % columns
    return torch.stack((x + 0.5, y + 0.5), 1) * CELL


def _mean(maps: Tensor, side: int) -> Tensor:
    last = maps[None].contiguous(memory_format=torch.channels_last)  # the same sums, of all frames at once
    return F.avg_pool2d(last, side, 1, side // 2, count_include_pad=True)[0].contiguous()


def centred(film: Tensor, alike: Tensor, centres: Tensor, radius: float) -> Tensor:
    """Each centre moved to the mean place of what has the subject's colours and differs there from the picture without it;
    where the subject never leaves a pixel, of what has its colours.

    Either alone is misled: the difference by the shadow, the colours by whatever else is as red as the ball.
    """
    height, width = film.shape[1:3]
    near = distances(centres, height, width)
    pixels = film.float() / 255
    bare = torch.where((near > 1.35 * radius)[..., None], pixels, torch.nan).nanmedian(0).values
    coloured = ((alike - 0.5) * 2).clamp(0, 1)
    differs = (((pixels - bare).abs().amax(-1) - 0.08) / 0.12).clamp(0, 1)
    weight = torch.where(bare.isnan().any(-1), coloured, (coloured * differs).sqrt())
    weight = (weight * (near < REACH * radius)).double()
    total = weight.sum((1, 2))
    x = weight.sum(1) @ (torch.arange(width, dtype=torch.float64) + 0.5)
    y = weight.sum(2) @ (torch.arange(height, dtype=torch.float64) + 0.5)
    return torch.where(total[:, None] > 1e-6, torch.stack((x, y), 1) / total.clamp(min=1e-6)[:, None], centres)


def examples(shown: Scene, video: ClipShape) -> tuple[list[Scene], Tensor]:
    """Other scenes of a scene's labels, and their true films uint8 [n t h w c]."""
    others = siblings(shown, EXAMPLES)
    return others, real(video, others)


def appearance(shown: Scene, video: ClipShape) -> Colours:
    """The colours of a scene's subject, learned from other true films of its labels."""
    others, films = examples(shown, video)
    return colours(films, [places(other, video) for other in others])


def missed(found: Path, shown: Scene, video: ClipShape) -> Tensor:
    """How far a path is from the truth in each frame, in pixels [t], a constant offset apart: the mean of a subject's pixels
    is not the centre that the world gives it."""
    off = torch.stack((found.x, found.y), 1) - places(shown, video)[:, :2]
    return (off - off.median(0).values).norm(dim=1)
