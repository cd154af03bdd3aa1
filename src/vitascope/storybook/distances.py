"""Signed distances of plain shapes, negative inside; exact near the edge, which is where they are looked at.

Coordinates are tensors that broadcast together; where a point may move from frame to frame, its coordinates are numbers or
tensors [t 1 1]. The exact box distance and the distance to a segment are classical; see I. Quilez, "2D distance functions".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Number = Tensor | float
Point = tuple[Number, Number]


def circle(x: Tensor, y: Tensor, cx: float, cy: float, r: float) -> Tensor:
    """Distance to a disc."""
    return ((x - cx).square() + (y - cy).square()).sqrt() - r


def ellipse(x: Tensor, y: Tensor, cx: float, cy: float, rx: float, ry: float) -> Tensor:
    """First-order distance to an ellipse: its implicit function divided by the length of its gradient."""
    u, v = (x - cx) / rx, (y - cy) / ry
    k = (u.square() + v.square()).sqrt()
    return k * (k - 1) / ((u / rx).square() + (v / ry).square()).sqrt().clamp_min(1e-6)


def box(x: Tensor, y: Tensor, cx: float, cy: float, hx: float, hy: float, r: float = 0.0) -> Tensor:
    """Distance to a box of half-sizes hx, hy with corners rounded by r."""
    u, v = (x - cx).abs() - (hx - r), (y - cy).abs() - (hy - r)
    outside = (u.clamp_min(0).square() + v.clamp_min(0).square()).sqrt()
    return outside + torch.maximum(u, v).clamp_max(0) - r


def convex(x: Tensor, y: Tensor, points: Sequence[tuple[float, float]]) -> Tensor:
    """Distance to a convex polygon, its points counter-clockwise; mitred outside the corners."""
    far: Tensor | None = None
    for (ax, ay), (bx, by) in zip(points, [*points[1:], points[0]], strict=True):
        length = math.hypot(bx - ax, by - ay)
        nx, ny = (by - ay) / length, (ax - bx) / length
        edge = x * nx + y * ny - (ax * nx + ay * ny)
        far = edge if far is None else torch.maximum(far, edge)
    if far is None:
        raise ValueError("a polygon needs points, got none")
    return far


def capsule(x: Tensor, y: Tensor, a: Point, b: Point, ra: Number, rb: Number | None = None) -> Tensor:
    """Distance to a limb from `a` to `b`, whose radius goes from ra to rb (ra throughout when there is no rb)."""
    (ax, ay), (bx, by) = a, b
    dx, dy, px, py = bx - ax, by - ay, x - ax, y - ay
    along = ((px * dx + py * dy) / (dx * dx + dy * dy + 1e-9)).clamp(0, 1)
    width = ra if rb is None else ra + along * (rb - ra)
    return ((px - along * dx).square() + (py - along * dy).square()).sqrt() - width


def triangle(x: Tensor, y: Tensor, a: Point, b: Point, c: Point, r: float = 0.0) -> Tensor:
    """Distance to a triangle whose corners may move, and may come either way round; grown by r, which rounds them."""
    side = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    turn = torch.as_tensor(side, dtype=x.dtype, device=x.device).sign()
    within: Tensor | None = None
    for (ax, ay), (bx, by) in ((a, b), (b, c), (c, a)):
        left = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) * turn
        within = left if within is None else torch.minimum(within, left)
    assert within is not None
    border = join(capsule(x, y, a, b, 0.0), capsule(x, y, b, c, 0.0), capsule(x, y, c, a, 0.0))
    return torch.where(within > 0, -border, border) - r


def turned(x: Tensor, y: Tensor, angle: Number, about: Point = (0.0, 0.0)) -> tuple[Tensor, Tensor]:
    """Coordinates in which what was turned counter-clockwise by `angle` about a point is upright again."""
    a = torch.as_tensor(angle, dtype=x.dtype, device=x.device)
    u, v = x - about[0], y - about[1]
    return a.cos() * u + a.sin() * v + about[0], a.cos() * v - a.sin() * u + about[1]


def inside(part: Tensor, body: Tensor) -> Tensor:
    """Distance to what two shapes have in common."""
    return torch.maximum(part, body)


def join(*parts: Tensor) -> Tensor:
    """Distance to the union of shapes."""
    whole = parts[0]
    for part in parts[1:]:
        whole = torch.minimum(whole, part)
    return whole
