"""The fits of laws to paths: the constants with which a law comes nearest to a path, and how near that is.

A path is given in frame heights, y up. What a law leaves open is fitted; what it fixes for the whole world is among the
figures, so that it can be held against the world's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.storybook import GRAVITY

CLOSE = 0.03
"""Frame heights: the root mean square distance from a law's own path below which a film is called lawful."""
PART = 0.08  # of how far a path goes: it is as near as that, too
WAY = 0.1  # frame heights: less than this is no motion


class Fit(NamedTuple):
    """How far a path is from the law's (root mean square, frame heights); the constants that were found; how far it goes."""

    off: float
    figures: dict[str, float]
    span: float = math.inf

    @property
    def lawful(self) -> bool:
        """Whether the path has the law's form: a small motion has to be nearer to it than a large one."""
        return self.off <= min(CLOSE, PART * self.span)


def fall(y: Tensor, step: float) -> Fit:
    """Heights [t], `step` seconds apart, as h - min(g (t - t0)^2 / 2, d): at rest, falling, at rest on the ground."""
    t = torch.arange(len(y), dtype=torch.float64) * step
    span = float(y.max() - y.min())

    def paths(g: Tensor, start: Tensor, depth: Tensor) -> Tensor:
        fallen = g[..., None] * (t - start[..., None]).clamp(min=0).square() / 2
        return -torch.minimum(fallen, depth[..., None])

    off, (g, _, depth) = _best(
        paths,
        y,
        ((math.log(0.1 * GRAVITY), math.log(10 * GRAVITY)), (-0.5, float(t[-1]) - 2 * step), (0.6 * span, 1.2 * span)),
        (32, 28, 13),
    )
    return Fit(off, {"gravity": g, "height": depth})


def bounce(y: Tensor, step: float) -> Fit:
    """Heights [t] as parabolas of one gravity between impacts, each of which leaves a share of the speed."""
    t = torch.arange(len(y), dtype=torch.float64) * step
    span = max(1e-3, float(y.max() - y.min()))

    def paths(g: Tensor, first: Tensor, height: Tensor, left: Tensor) -> Tensor:
        g, first, left = (each[..., None] for each in (g, first, left))
        speed = (2 * g * height[..., None]).sqrt()
        since = t - first
        found = -speed * since - g * since.square() / 2  # before the first impact, seen backwards from it
        for _ in range(6):
            speed = speed * left
            flight = 2 * speed / g
            arc = (speed * since - g * since.square() / 2).clamp(min=0)
            found = torch.where((since >= 0) & (since < flight), arc, found)
            found = torch.where(since >= flight, torch.zeros_like(found), found)
            since = since - flight
        return found.clamp(min=0)

    off, (g, _, height, left) = _best(
        paths,
        y,
        ((math.log(0.2 * GRAVITY), math.log(5 * GRAVITY)), (0, float(t[-1])), (0.7 * span, 1.3 * span), (0.4, 1.0)),
        (16, 40, 9, 9),
    )
    return Fit(off, {"gravity": g, "restitution": left, "height": height})


def _best(
    paths: Callable[..., Tensor], y: Tensor, ranges: Sequence[tuple[float, float]], counts: Sequence[int]
) -> tuple[float, list[float]]:
    """The constants whose path is nearest to y [t] at its best height, and how near (root mean square). The first constant
    is looked for by its logarithm."""

    def errors(first: Tensor, *others: Tensor) -> Tensor:
        told = paths(first.exp(), *others)
        return (told - told.mean(1, keepdim=True) - (y - y.mean())).square().mean(1)

    off, best = _finest(errors, ranges, counts)
    return math.sqrt(off), [math.exp(best[0]), *best[1:]]


def _finest(
    errors: Callable[..., Tensor], ranges: Sequence[tuple[float, float]], counts: Sequence[int], grids: int = 3
) -> tuple[float, list[float]]:
    """The least error and the constants that have it, by some grids, each finer than the one before. `errors` is given as
    many constants as there are ranges, [n] each, and gives [n]."""
    bounds, best = list(ranges), [0.0] * len(ranges)
    least = math.inf
    for _ in range(grids):
        axes = [torch.linspace(low, high, n, dtype=torch.float64) for (low, high), n in zip(bounds, counts)]
        grid = torch.cartesian_prod(*axes)
        found = torch.cat([errors(*part.unbind(1)) for part in grid.split(4096)])  # as many as a cache holds
        at = int(found.argmin())
        if float(found[at]) < least:
            least, best = float(found[at]), grid[at].tolist()
        widths = [2 * (high - low) / (n - 1) for (low, high), n in zip(bounds, counts)]
        bounds = [(max(low, b - w), min(high, b + w)) for b, w, (low, high) in zip(best, widths, ranges)]
    return least, best


def line(x: Tensor, y: Tensor, way: int) -> Fit:
    """A path [t] as a straight one at one speed; `way` is +1 to the right, -1 to the left."""
    t = torch.linspace(-1, 1, len(x), dtype=torch.float64)
    basis = torch.stack((torch.ones_like(t), t), 1)
    speed, across = (torch.linalg.lstsq(basis, each[:, None]).solution[1, 0] for each in (x, y))
    off_x, off_y = (
        float((each - basis @ torch.linalg.lstsq(basis, each[:, None]).solution[:, 0]).square().mean().sqrt())
        for each in (x, y)
    )
    distance = 2 * float(speed)
    figures = {
        "unevenness": off_x / max(WAY, abs(distance)),
        "crookedness": math.hypot(off_y, float(across)) / max(WAY, abs(distance)),
        "right way": float(distance * way > WAY),
    }
    return Fit(math.hypot(off_x, off_y) if abs(distance) > WAY else math.inf, figures)


def rolled(x: Tensor, turned: Tensor, radius: float, way: int) -> Fit:
    """A path [t] and the turns on it [t - 1] as rolling at one speed on a wheel of this radius, in frame heights."""
    even = line(x, torch.zeros_like(x), way)
    distance = float(x[-1] - x[0])
    slip = abs(1 + radius * float(turned.sum()) / distance) if abs(distance) > WAY else math.inf
    backwards = float(turned.sum()) * way > 0
    figures = {"slip": slip, "unevenness": even.figures["unevenness"]}
    return Fit(even.off, figures | {"right way": float(even.figures["right way"] and not backwards)})


def swing(x: Tensor, y: Tensor, step: float) -> Fit:
    """A path [t], `step` seconds apart, as that of a pendulum: any rope, any swing, any period. "period" is beside that which
    this rope and this swing have under the world's gravity.

    The motion at large swings is the series of Nelson & Olsson 1986 (doi:10.1119/1.14703), right to a thousandth up to a
    swing of one radian.
    """
    t = torch.arange(len(x), dtype=torch.float64) * step

    def errors(log_period: Tensor, share: Tensor, widest: Tensor) -> tuple[Tensor, Tensor]:
        """Mean square distances at the best rope, and that rope."""
        a = widest[:, None]
        turn = 2 * math.pi * (t / log_period.exp()[:, None] + share[:, None])
        third = a.square() / 192
        angle = a * ((1 + third) * turn.cos() - third * (3 * turn).cos())
        told = torch.cat([each - each.mean(1, keepdim=True) for each in (angle.sin(), -angle.cos())], 1)
        rope = (told @ seen / told.square().sum(1)).clamp(min=1e-3)
        return (seen - rope[:, None] * told).square().sum(1) / len(t), rope

    seen = torch.cat((x - x.mean(), y - y.mean()))
    ranges = ((math.log(0.7), math.log(12.0)), (-0.15, 1.15), (0.1, 1.2))
    off, (period, _, widest) = _finest(lambda *grid: errors(*grid)[0], ranges, (28, 27, 10), grids=5)
    rope = float(errors(*(torch.tensor([v], dtype=torch.float64) for v in (period, _, widest)))[1])
    beside = math.exp(period) / pendulum_period(rope, widest)
    span = math.hypot(float(x.max() - x.min()), float(y.max() - y.min()))
    figures = {"period": beside, "period error": abs(beside - 1)}
    return Fit(math.sqrt(off) if span > WAY else math.inf, figures, span)


def pendulum_period(rope: float, widest: float) -> float:
    """Seconds that a pendulum of this length takes to and fro in the world, swinging `widest` radians to either side."""
    return 2 * math.pi * math.sqrt(rope / GRAVITY) * (1 + widest**2 / 16 + 11 * widest**4 / 3072)
