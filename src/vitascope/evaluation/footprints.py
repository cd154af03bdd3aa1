"""Footprints in films: whether who walks over soft ground leaves any, and whether they stay.

A film's prints are not where its true film's are, so they are looked for where its subject went: as what is darker than the
ground right above and below it, in the row along which that is most so behind the walker and not before it. What was there
before the walker came, such as pebbles, is none.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.evaluation.fits import Fit
from vitascope.evaluation.tracking import Path

LATER = 10
"""Frames after which a print is looked for again; in films of fewer than 21 frames, half of the film."""
DARK = 0.07  # the share of light that a print takes from the ground, at least; the world's take a fifth
LAID = (
    0.12  # the share of the way behind a walker that prints cover at least, beside that before it, to be called prints
)
CLEAR = 1.1  # radii around the walker that are left out: it and its shadow
BAND = 0.024  # frame heights: how far prints lie to either side of the line on which the walker goes
ROWS = 12  # lines that are tried, from LOW to HIGH radii below the walker's centre
LOW, HIGH = 0.45, 1.25


def later(frames: int) -> int:
    """How many frames later a film's prints are looked for again."""
    return max(1, min(LATER, (frames - 1) // 2))


def trodden(film: Tensor, path: Path, way: int, scale: float) -> Fit:
    """The prints in a film uint8 [t h w c] of a walker that goes right (way = +1) or left along a path at one height, where
    a frame height is `scale` pixels.

    "still there": of what is printed behind the walker, the share that is printed so many frames `later`; "at the end": in
    the last frame. A film without prints is not lawful.
    """
    light = film.float().mean(-1)
    columns = torch.arange(film.shape[2], dtype=torch.float64) + 0.5
    ahead = (columns - path.x[:, None]) * way  # pixels before the walker, [t w]
    behind, before = ahead < -CLEAR * path.radius, ahead > CLEAR * path.radius
    most, found = -math.inf, torch.zeros_like(behind, dtype=torch.float32)
    for k in range(ROWS):
        row = float(path.y.median()) + path.radius * (LOW + (HIGH - LOW) * k / (ROWS - 1))
        dark = unlittered(darkness(light, row, scale), before)
        gain = covered(dark, behind) - covered(dark, before)
        if gain > most:
            most, found = gain, dark
    figures = {"still there": stays(found, behind, later(len(film)))}
    last = len(film) - 1
    figures["at the end"] = stays(found, behind, None) if last else 0.0
    return Fit(0.0 if most >= LAID else math.inf, figures)


def darkness(light: Tensor, row: float, scale: float) -> Tensor:
    """The share of light that is missing in each column along a row, [t w], of light [t h w]: of the darkest pixel in the band
    beside the ground right above and below it."""
    height = light.shape[1]
    half, far = max(1, round(BAND * scale)), max(2, round(2 * BAND * scale))
    middle = min(max(int(row), far), height - 1 - far)
    band = light[:, middle - half : middle + half + 1]
    edges = torch.cat((light[:, middle - far : middle - half], light[:, middle + half + 1 : middle + far + 1]), 1)
    ground = edges.median(1).values.clamp(min=8.0)
    deepest = F.avg_pool1d(band.amin(1), 3, 1, 1, count_include_pad=False)
    return 1 - deepest / ground


def unlittered(dark: Tensor, before: Tensor) -> Tensor:
    """The darkness [t w] without the columns that were dark in most of the frames in which the walker was still to come."""
    litter = ((dark > DARK) & before).sum(0) > 0.5 * before.sum(0)
    wide = F.max_pool1d(litter.float()[None], 3, 1, 1)[0] > 0
    return dark.masked_fill(wide, 0.0)


def covered(dark: Tensor, where: Tensor) -> float:
    """The share of the columns `where` that are printed, both [t w]."""
    return float((dark[where] > DARK).float().mean()) if bool(where.any()) else 0.0


def stays(dark: Tensor, behind: Tensor, frames: int | None) -> float:
    """The share of what is printed behind the walker that is printed so many frames later too; None looks in the last frame, at
    what was there `later` before it or sooner. A print may be a pixel off, and half as dark."""
    last = len(dark) - 1
    near = F.max_pool1d(dark, 3, 1, 1) > DARK / 2
    hits = total = 0
    for k in range(last - (frames or later(len(dark))) + 1):
        now = (dark[k] > DARK) & behind[k]
        hits += int((now & near[k + frames if frames else last]).sum())
        total += int(now.sum())
    return hits / total if total else 0.0
