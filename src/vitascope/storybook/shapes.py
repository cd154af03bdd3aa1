"""Subjects, drawn from signed distances.

A subject is one function of local coordinates (x right, y up, everything within the unit circle) and of what its limbs do,
that returns its parts in the order in which they are painted, and one line in `SUBJECTS`. A part is a material and a signed
distance, negative inside; distances need only be right near the edge. Solid parts make the silhouette, which gets the
outline. A subject that has a front looks right.

The fold of the star and the exact box distance are classical; see I. Quilez, "2D distance functions".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor


class Part(NamedTuple):
    """A patch of one material: one of `pixels.MATERIALS`."""

    material: str
    distance: Tensor
    solid: bool = True


class Limbs(NamedTuple):
    """What the moving parts of a subject do, a number a frame, [t 1 1] each (or numbers).

    cycle: radians of its gait, wheels or wings; 2 pi is one whole cycle, and walkers and wheels turn it by the way they go,
    so that what stands on the ground does not slip. effort: 0 at rest, 1 at a walk, 2 at a run. lean: radians by which it
    leans back against its way (speeding up) or forward (braking). seconds: since the clip began, for flames and tails.
    dress: what a person wears, "coat" or "scarf", else "".
    """

    cycle: Tensor | float = 0.0
    effort: Tensor | float = 0.0
    lean: Tensor | float = 0.0
    seconds: Tensor | float = 0.0
    dress: str = ""


REST = Limbs()
"""Nothing moves."""


class Subject(NamedTuple):
    """How a subject is drawn; its size beside the others'; how high it floats, at most, when at rest; the way that one
    cycle of its limbs takes it, in its radii (0: its limbs keep their own time, one cycle a second at effort 1)."""

    draw: Callable[[Tensor, Tensor, Limbs], list[Part]]
    size: float = 1.0
    hover: float = 0.0
    stride: float = 0.0


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


def _inside(part: Tensor, body: Tensor) -> Tensor:
    return torch.maximum(part, body)


def _join(*parts: Tensor) -> Tensor:
    whole = parts[0]
    for part in parts[1:]:
        whole = torch.minimum(whole, part)
    return whole


def ball(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A ball with a stripe off its centre and a dot beside it."""
    body = circle(x, y, 0, 0, 0.88)
    return [
        Part("body", body),
        Part("mark", _inside((y - 0.12).abs() - 0.16, body), False),
        Part("mark", circle(x, y, 0.12, -0.46, 0.17), False),
    ]


def crate(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A parcel: a square with a ribbon, and a label in one corner."""
    body = box(x, y, 0, 0, 0.72, 0.72, 0.06)
    return [
        Part("body", body),
        Part("mark", _inside((x - 0.2).abs() - 0.12, body), False),
        Part("deep", box(x, y, -0.34, 0.36, 0.2, 0.17, 0.03), False),
    ]


def star(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A five-pointed star with one pale point."""
    tip, inner = 0.98, 0.5
    c, s = math.cos(math.pi / 5), math.sin(math.pi / 5)
    u, v = x.abs(), y
    for sign in (1.0, -1.0):  # mirror into the wedge of half a point: five-fold symmetry without an angle
        over = (sign * c * u - s * v).clamp_min(0) * 2
        u, v = u - over * sign * c, v + over * s
    u = u.abs()
    ex, ey = inner * s, inner * c - tip
    length = math.hypot(ex, ey)
    body = (u * -ey + (v - tip) * ex) / length
    return [
        Part("body", body),
        Part("mark", _inside(circle(x, y, 0, 0.98, 0.55), body), False),
        Part("deep", circle(x, y, 0.0, -0.06, 0.15), False),
    ]


def heart(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A heart: two discs on a square that stands on its corner; a gleam on one lobe."""
    h = math.sqrt(0.5)
    u, v = (x + y + 0.1) * h, (y + 0.1 - x) * h
    body = _join(box(u, v, 0, 0, 0.52, 0.52, 0.02), circle(u, v, 0.0, 0.52, 0.52), circle(u, v, 0.52, 0.0, 0.52))
    return [Part("body", body), Part("mark", ellipse(x, y, -0.42, 0.36, 0.17, 0.22), False)]


def balloon(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A balloon with its knot and a string."""
    skin = ellipse(x, y, 0, 0.3, 0.57, 0.66)
    knot = convex(x, y, [(0, -0.3), (-0.15, -0.5), (0.15, -0.5)])
    sway = 0.35 * (y + 0.5) * (y + 1.0)
    return [
        Part("wood", box(x + sway, y, 0, -0.72, 0.035, 0.26)),
        Part("body", _join(skin, knot)),
        Part("mark", ellipse(x, y, -0.22, 0.52, 0.12, 0.2), False),
    ]


def car(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A car that faces right: cabin, windows, two wheels, a headlight."""
    low = box(x, y, 0, -0.14, 0.95, 0.26, 0.14)
    cabin = convex(x, y, [(-0.7, 0.05), (0.52, 0.05), (0.26, 0.5), (-0.45, 0.5)])
    parts = [
        Part("body", _join(low, cabin)),
        Part("glass", convex(x, y, [(-0.54, 0.08), (-0.16, 0.08), (-0.16, 0.4), (-0.4, 0.4)]), False),
        Part("glass", convex(x, y, [(-0.04, 0.08), (0.38, 0.08), (0.2, 0.4), (-0.04, 0.4)]), False),
        Part("pale", circle(x, y, 0.84, -0.1, 0.09), False),
    ]
    for cx in (-0.5, 0.5):
        parts += [Part("dark", circle(x, y, cx, -0.4, 0.25)), Part("pale", circle(x, y, cx, -0.4, 0.1), False)]
    return parts


def fish(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A fish that faces right: tail, fin, stripe, eye."""
    body = ellipse(x, y, 0.2, 0, 0.7, 0.5)
    tail = convex(x, y, [(-0.3, 0), (-0.92, 0.46), (-0.92, -0.46)])
    fin = convex(x, y, [(0.35, 0.35), (-0.2, 0.72), (-0.2, 0.3)])
    return [
        Part("body", _join(tail, fin)),
        Part("body", body),
        Part("mark", _inside(x.abs() - 0.09, body), False),
        Part("pale", circle(x, y, 0.55, 0.14, 0.15), False),
        Part("dark", circle(x, y, 0.59, 0.14, 0.08), False),
    ]


def boat(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A sailing boat that faces right: hull, mast, a large and a small sail."""
    hull = convex(x, y, [(-0.9, -0.25), (-0.6, -0.72), (0.56, -0.72), (0.96, -0.25)])
    large = convex(x, y, [(-0.02, 0.92), (-0.62, -0.12), (-0.02, -0.12)])
    small = convex(x, y, [(0.1, 0.7), (0.1, -0.12), (0.62, -0.12)])
    return [
        Part("wood", box(x, y, 0.04, 0.25, 0.05, 0.7)),
        Part("body", large),
        Part("mark", small),
        Part("body", hull),
        Part("mark", _inside((y + 0.4).abs() - 0.06, hull), False),
    ]


def tree(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A tree: a crown of three discs on a trunk, fruit on one side."""
    trunk = convex(x, y, [(-0.1, 0), (-0.2, -0.92), (0.2, -0.92), (0.1, 0)])
    crown = _join(circle(x, y, -0.36, 0.12, 0.4), circle(x, y, 0.36, 0.12, 0.4), circle(x, y, 0, 0.5, 0.45))
    return [
        Part("wood", trunk),
        Part("body", crown),
        Part("mark", circle(x, y, -0.34, 0.1, 0.13), False),
        Part("mark", circle(x, y, 0.08, 0.55, 0.13), False),
        Part("deep", circle(x, y, 0.36, 0.06, 0.13), False),
    ]


SUBJECTS: dict[str, Subject] = {
    "ball": Subject(ball),
    "box": Subject(crate, size=1.05),
    "star": Subject(star, size=1.1),
    "heart": Subject(heart, size=1.12),
    "balloon": Subject(balloon, size=1.1, hover=0.12),
    "car": Subject(car, size=1.35),
    "fish": Subject(fish, size=1.35, hover=0.12),
    "boat": Subject(boat, size=1.2),
    "tree": Subject(tree, size=1.15),
}
"""Every subject. To add one: a function above, a line here, its word in `scenes.ATTRIBUTES`, its nouns in `words`."""


def silhouette(parts: Sequence[Part]) -> Tensor:
    """Distance to the union of the solid parts."""
    return _join(*(part.distance for part in parts if part.solid))


_TURNS = 360


@cache
def _depths(subject: str) -> tuple[float, ...]:
    """How far below its centre the subject reaches, turned by each whole degree (counter-clockwise), in local units."""
    line = torch.linspace(-1, 1, 161, dtype=torch.float64)
    y, x = torch.meshgrid(line, line, indexing="ij")
    inside = silhouette(SUBJECTS[subject].draw(x, y, REST)) <= 0
    far = torch.cat([torch.where(inside, x, math.inf).argmin(1), torch.where(inside, x, -math.inf).argmax(1)])
    px, py = line[far], line.repeat(2)  # the ends of every row: what is lowest is among them, however it is turned
    filled = inside.any(1).repeat(2)
    px, py = px[filled], py[filled]
    angles = [2 * math.pi * turn / _TURNS for turn in range(_TURNS)]
    sin, cos = (torch.tensor([[law(a)] for a in angles], dtype=torch.float64) for law in (math.sin, math.cos))
    return tuple((-(px * sin + py * cos).amin(1)).tolist())


def depth(subject: str, angle: float) -> float:
    """How far below its centre a subject of radius 1 reaches when turned by `angle` radians (counter-clockwise)."""
    table, turn = _depths(subject), (angle / (2 * math.pi) % 1.0) * _TURNS
    low = int(turn)
    return table[low % _TURNS] + (turn - low) * (table[(low + 1) % _TURNS] - table[low % _TURNS])


def extent(subject: str) -> tuple[float, float]:
    """How far below and above its centre an upright subject of radius 1 reaches."""
    return _depths(subject)[0], _depths(subject)[_TURNS // 2]
