"""Things made of strokes: branches, blades of grass, posts, weeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from vitascope.storybook.canvas import Canvas, Colour


class Stroke(NamedTuple):
    """A straight stroke from one point to another, in world units, that tapers from one half-width to another."""

    x0: float
    y0: float
    x1: float
    y1: float
    start: float
    end: float


_TOGETHER = 12  # strokes painted at once: in a window around them all


def strokes(
    canvas: Canvas, lines: Sequence[Stroke], colour: Colour, *, far: float = 0.0, foot: float | None = None
) -> None:
    """Paint strokes on the land, a few at a time and only where they are; neighbours are best next to each other."""
    for start in range(0, len(lines), _TOGETHER):
        _few(canvas, lines[start : start + _TOGETHER], colour, far, foot)


def _few(canvas: Canvas, lines: Sequence[Stroke], colour: Colour, far: float, foot: float | None) -> None:
    wide = max(max(line.start, line.end) for line in lines) + canvas.pixel
    xs, ys = [x for line in lines for x in (line.x0, line.x1)], [y for line in lines for y in (line.y0, line.y1)]
    at = canvas.near(min(xs) - wide, max(xs) + wide, min(ys) - wide, max(ys) + wide)
    if not at.land.numel():
        return
    numbers = torch.tensor([_numbers(line) for line in lines], device=at.xs.device)
    x0, y0, across, up, start, taper, ux, uy = numbers[:, :, None, None].unbind(1)
    dx, dy = at.xs - x0, at.ys - y0  # [n 1 w] and [n h 1]
    part = (dx * ux + dy * uy).clamp_(0, 1)
    distance = (dx - part * across).square_().add_((dy - part * up).square_()).sqrt_()
    distance.sub_(part.mul_(taper)).sub_(start)
    at.over_land(at.cover(distance.amin(0)), colour, far=far, foot=foot)


def _numbers(line: Stroke) -> tuple[float, ...]:
    """Where a stroke begins, how far it goes, its half-width and how that changes; what the way from its beginning is
    multiplied by to be in its lengths."""
    dx, dy = line.x1 - line.x0, line.y1 - line.y0
    square = max(dx * dx + dy * dy, 1e-12)
    return line.x0, line.y0, dx, dy, line.start, line.end - line.start, dx / square, dy / square


def bare_tree(canvas: Canvas, x: float, foot: float, tall: float, *, levels: int = 5) -> list[Stroke]:
    """A tree without leaves, about `tall` high, limb by limb."""
    found: list[Stroke] = []

    def grow(x0: float, y0: float, lean: float, length: float, width: float, level: int) -> None:
        x1, y1 = x0 + length * math.sin(lean), y0 + length * math.cos(lean)
        found.append(Stroke(x0, y0, x1, y1, width, width * 0.72))
        if level == levels:
            return
        spread = canvas.between(0.28, 0.55)
        turns = (-spread, spread) if level > 1 else (-spread - 0.15, canvas.between(-0.12, 0.12), spread + 0.15)
        for turn in turns:
            bent = lean * 0.9 + turn + canvas.between(-0.12, 0.12)
            grow(x1, y1, bent, length * canvas.between(0.70, 0.86), width * 0.64, level + 1)

    grow(x, foot, canvas.between(-0.06, 0.06), tall * 0.30, tall * 0.030, 1)
    return found


def tuft(canvas: Canvas, x: float, foot: float, tall: float, blades: int, *, lean: float = 0.0) -> list[Stroke]:
    """Blades of grass that fan out from one foot, bent once, `lean` to the right."""
    found = []
    for blade in range(blades):
        way = (blade + 0.5) / blades * 2 - 1
        high = tall * canvas.between(0.6, 1.0)
        x0, tip = x + way * tall * 0.18, x + way * tall * 0.5 + lean * high
        bend_x, bend_y = (x0 + tip) / 2 - way * tall * 0.06, foot + high * 0.6
        found.append(Stroke(x0, foot, bend_x, bend_y, tall * 0.05, tall * 0.035))
        found.append(Stroke(bend_x, bend_y, tip, foot + high, tall * 0.035, 0.0))
    return found


def weed(canvas: Canvas, x: float, foot: float, tall: float) -> list[Stroke]:
    """A water weed: one ribbon that winds upwards."""
    steps, phase = 6, canvas.between(0, 6.28)
    points = [
        (x + 0.09 * tall * math.sin(phase + 1.3 * k) * (k / steps + 0.3), foot + tall * k / steps)
        for k in range(steps + 1)
    ]
    wide = tall * 0.045
    return [
        Stroke(*points[k], *points[k + 1], wide * (1 - 0.8 * k / steps), wide * (1 - 0.8 * (k + 1) / steps))
        for k in range(steps)
    ]
