"""Things: toys, what grows, what is built, what breaks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

from torch import Tensor

from vitascope.storybook.distances import Point, box, capsule, circle, convex, ellipse, inside, join, triangle, turned
from vitascope.storybook.limbs import REST, Limbs, Part, Subject


def ball(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A ball with a stripe off its centre and a dot beside it."""
    body = circle(x, y, 0, 0, 0.88)
    return [
        Part("body", body),
        Part("mark", inside((y - 0.12).abs() - 0.16, body), False),
        Part("mark", circle(x, y, 0.12, -0.46, 0.17), False),
    ]


def crate(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A parcel: a square with a ribbon, and a label in one corner."""
    body = box(x, y, 0, 0, 0.72, 0.72, 0.06)
    return [
        Part("body", body),
        Part("mark", inside((x - 0.2).abs() - 0.12, body), False),
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
        Part("mark", inside(circle(x, y, 0, 0.98, 0.55), body), False),
        Part("deep", circle(x, y, 0.0, -0.06, 0.15), False),
    ]


def heart(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A heart: two discs on a square that stands on its corner; a gleam on one lobe."""
    h = math.sqrt(0.5)
    u, v = (x + y + 0.1) * h, (y + 0.1 - x) * h
    body = join(box(u, v, 0, 0, 0.52, 0.52, 0.02), circle(u, v, 0.0, 0.52, 0.52), circle(u, v, 0.52, 0.0, 0.52))
    return [Part("body", body), Part("mark", ellipse(x, y, -0.42, 0.36, 0.17, 0.22), False)]


def balloon(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A balloon with its knot and a string."""
    skin = ellipse(x, y, 0, 0.3, 0.57, 0.66)
    knot = convex(x, y, [(0, -0.3), (-0.15, -0.5), (0.15, -0.5)])
    sway = 0.35 * (y + 0.5) * (y + 1.0)
    return [
        Part("wood", box(x + sway, y, 0, -0.72, 0.035, 0.26)),
        Part("body", join(skin, knot)),
        Part("mark", ellipse(x, y, -0.22, 0.52, 0.12, 0.2), False),
    ]


def tree(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A tree: a crown of three discs on a trunk, fruit on one side."""
    trunk = convex(x, y, [(-0.1, 0), (-0.2, -0.92), (0.2, -0.92), (0.1, 0)])
    crown = join(circle(x, y, -0.36, 0.12, 0.4), circle(x, y, 0.36, 0.12, 0.4), circle(x, y, 0, 0.5, 0.45))
    return [
        Part("wood", trunk),
        Part("body", crown),
        Part("mark", circle(x, y, -0.34, 0.1, 0.13), False),
        Part("mark", circle(x, y, 0.08, 0.55, 0.13), False),
        Part("deep", circle(x, y, 0.36, 0.06, 0.13), False),
    ]


def lantern(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A paper lantern on a hook: ribs, dark caps, a glow within, a tassel."""
    motion = limbs.on(x)
    paper = ellipse(x, y, 0, 0.04, 0.66, 0.54)
    glow = 0.02 * (9 * motion.seconds).sin()
    ribs = join(*((y - at).abs() - 0.025 for at in (-0.28, -0.08, 0.14, 0.34)))
    hook = (circle(x, y, 0, 0.84, 0.1)).abs() - 0.045
    return [
        Part("dark", hook),
        Part(
            "gold",
            join(capsule(x, y, (0, -0.5), (0, -0.7), 0.05), triangle(x, y, (0, -0.6), (-0.13, -0.94), (0.13, -0.94))),
        ),
        Part("body", paper),
        Part("mark", ellipse(x, y, 0, 0.02, 0.42, 0.42), False),
        Part("light", ellipse(x, y, 0, -0.02, 0.25, 0.29) - glow, False),
        Part("deep", inside(ribs, paper), False),
        Part("dark", box(x, y, 0, 0.58, 0.3, 0.1, 0.03)),
        Part("dark", box(x, y, 0, -0.48, 0.3, 0.09, 0.03)),
    ]


def kite(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A kite: a rhomb in four fields with its cross, a tail with bows that waves."""
    motion = limbs.on(x)
    u, v = turned(x, y, -0.35, (0.1, 0.3))
    rhomb = convex(u, v, [(0.1, 0.96), (-0.42, 0.42), (0.1, -0.34), (0.62, 0.42)])
    cross = join((u - 0.1).abs(), (v - 0.42).abs()) - 0.03
    fields = ((u - 0.1) * (v - 0.42)).neg()
    knots: list[Point] = [(-0.12, -0.26)]
    for k in range(
        1, 5
    ):  # along a line down to the left, each knot to one side of it by a wave that runs down the tail
        aside = 0.026 * k * (1.9 * k - 4.5 * motion.seconds).sin()
        knots.append((-0.12 - 0.12 * k + 0.6 * aside, -0.26 - 0.09 * k - 0.8 * aside))
    line = join(*(capsule(x, y, a, b, 0.03) for a, b in pairwise(knots)))
    loops = [(at, side) for at in (knots[2], knots[4]) for side in (-1, 1)]
    bows = join(*(capsule(x, y, (cx, cy), (cx + 0.06 * way, cy - 0.08 * way), 0.015, 0.065) for (cx, cy), way in loops))
    return [
        Part("wood", line),
        Part("mark", bows),
        Part("body", rhomb),
        Part("mark", inside(fields, rhomb), False),
        Part("dark", inside(cross, rhomb), False),
    ]


def house(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A house: a gabled roof, a chimney, a door, two lit windows."""
    walls = box(x, y, 0, -0.32, 0.6, 0.4)
    roof = convex(x, y, [(0, 0.82), (-0.82, 0.06), (0.82, 0.06)])
    windows = join(box(x, y, 0.3, -0.24, 0.15, 0.15), box(x, y, 0, 0.34, 0.1, 0.1))
    panes = join((x - 0.3).abs(), (y + 0.24).abs()) - 0.02
    return [
        Part("deep", box(x, y, 0.42, 0.52, 0.1, 0.2)),
        Part("body", walls),
        Part("deep", roof),
        Part("mark", inside((y - 0.1).abs() - 0.05, roof), False),
        Part("dark", windows - 0.045, False),
        Part("light", windows, False),
        Part("dark", inside(panes, box(x, y, 0.3, -0.24, 0.15, 0.15)), False),
        Part("dark", box(x, y, -0.24, -0.42, 0.19, 0.3), False),
        Part("wood", box(x, y, -0.24, -0.44, 0.15, 0.28), False),
        Part("gold", circle(x, y, -0.15, -0.44, 0.035), False),
    ]


Polygon = tuple[tuple[float, float], ...]

_GLASS = ((-0.4, -0.84), (0.4, -0.84), (0.54, 0.8), (-0.54, 0.8))
"""The outline of the glass, counter-clockwise."""


def glass(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A drinking glass, more than half full of what has its colour."""
    body = convex(x, y, _GLASS)
    drink = inside(body + 0.07, y - 0.4)
    return [
        Part("glass", body),
        Part("pale", inside(ellipse(x, y, 0, 0.7, 0.5, 0.1), body), False),
        Part("body", drink, False),
        Part("mark", inside(ellipse(x, y, 0, 0.4, 0.43, 0.09), body + 0.07), False),
        Part("pale", inside(capsule(x, y, (-0.26, -0.5), (-0.34, 0.5), 0.045), body), False),
    ]


@cache
def shards(count: int) -> tuple[Polygon, ...]:
    """The glass in `count` pieces: convex polygons that cover it without overlap, counter-clockwise, in local coordinates.

    They are the Voronoi cells of a sunflower of seeds, the closer together the nearer to where it was hit. Raises ValueError
    for fewer than one piece.
    """
    if count < 1:
        raise ValueError(f"a glass breaks into at least one piece, got {count}")
    seeds: list[tuple[float, float]] = []
    for k in range(count):
        away, angle = ((k + 0.5) / count) ** 0.7, k * math.pi * (3 - math.sqrt(5))
        seeds.append((0.38 * away * math.cos(angle), -0.05 + 0.72 * away * math.sin(angle)))
    return tuple(_cell(k, seeds) for k in range(count))


def _cell(which: int, seeds: Sequence[tuple[float, float]]) -> Polygon:
    """The part of the glass that is nearer to one seed than to any other."""
    (px, py), piece = seeds[which], list(_GLASS)
    for qx, qy in (*seeds[:which], *seeds[which + 1 :]):
        nx, ny = qx - px, qy - py
        level = (qx * qx + qy * qy - px * px - py * py) / 2
        kept: list[tuple[float, float]] = []
        for (ax, ay), (bx, by) in zip(piece, [*piece[1:], piece[0]], strict=True):
            a, b = nx * ax + ny * ay - level, nx * bx + ny * by - level
            if a <= 0:
                kept.append((ax, ay))
            if (a < 0 < b) or (b < 0 < a):
                part = a / (a - b)
                kept.append((ax + part * (bx - ax), ay + part * (by - ay)))
        piece = kept
    return tuple(piece)


def fragment(piece: Polygon) -> Callable[[Tensor, Tensor, Limbs], list[Part]]:
    """How one piece of the glass is drawn, where it was in the whole glass."""

    def draw(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
        cut = convex(x, y, piece)
        return [part._replace(distance=inside(part.distance, cut)) for part in glass(x, y, limbs)]

    return draw


def droplet(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A drop of water with a gleam."""
    return [Part("glass", circle(x, y, 0, 0, 0.9)), Part("pale", circle(x, y, -0.28, 0.3, 0.3), False)]


_STONE = (
    (-0.92, -0.1),
    (-0.62, -0.58),
    (0.1, -0.7),
    (0.74, -0.48),
    (0.94, 0.02),
    (0.5, 0.52),
    (-0.2, 0.64),
    (-0.7, 0.4),
)


def stone(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A pebble with a few facets, light above and dark below."""
    body = convex(x, y, _STONE)
    top = convex(x, y, [(-0.7, 0.4), (-0.3, 0.16), (0.34, 0.2), (0.5, 0.52), (-0.2, 0.64)])
    low = convex(x, y, [(-0.62, -0.58), (0.1, -0.7), (0.74, -0.48), (0.94, 0.02), (0.4, -0.3), (-0.2, -0.34)])
    crack = join(*(capsule(x, y, end, (0.22, 0.0), 0.03) for end in ((0.34, 0.2), (0.4, -0.14))))
    return [
        Part("body", body),
        Part("mark", inside(top, body), False),
        Part("deep", inside(low, body), False),
        Part("edge", crack, False),
    ]


THINGS: dict[str, Subject] = {
    "ball": Subject(ball),
    "box": Subject(crate, size=1.05),
    "star": Subject(star, size=1.1),
    "heart": Subject(heart, size=1.12),
    "balloon": Subject(balloon, size=1.1, hover=0.12),
    "lantern": Subject(lantern, size=0.9, hover=0.2),
    "kite": Subject(kite, size=1.1, hover=0.25),
    "tree": Subject(tree, size=1.15),
    "house": Subject(house, size=1.35),
    "glass": Subject(glass, size=0.8),
    "stone": Subject(stone, size=0.75),
}
