"""Vehicles: a car, a bicycle, a boat, a rocket. Wheels turn by the way they go."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vitascope.storybook.distances import Number, box, capsule, circle, convex, ellipse, inside, join, turned
from vitascope.storybook.limbs import REST, Limbs, Part, Subject


def _spokes(
    x: Tensor, y: Tensor, at: tuple[float, float], reach: float, width: float, angle: Number, count: int
) -> Tensor:
    """Distance to `count` spokes about a hub, turned clockwise by `angle`: that of a wheel that rolls to the right."""
    lines: list[Tensor] = []
    for k in range(count):
        turn = torch.as_tensor(2 * math.pi * (k + 0.25) / count - angle, dtype=x.dtype, device=x.device)
        lines.append(capsule(x, y, at, (at[0] + reach * turn.cos(), at[1] + reach * turn.sin()), width))
    return join(*lines)


def car(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A car that faces right: cabin, windows, a headlight, two wheels that turn; it leans on its springs."""
    u, v = turned(x, y, 0.6 * limbs.on(x).lean, (0.0, -0.4)) if limbs.moving else (x, y)
    low = box(u, v, 0, -0.14, 0.95, 0.26, 0.14)
    cabin = convex(u, v, [(-0.7, 0.05), (0.52, 0.05), (0.26, 0.5), (-0.45, 0.5)])
    parts = [
        Part("body", join(low, cabin)),
        Part("glass", convex(u, v, [(-0.54, 0.08), (-0.16, 0.08), (-0.16, 0.4), (-0.4, 0.4)]), False),
        Part("glass", convex(u, v, [(-0.04, 0.08), (0.38, 0.08), (0.2, 0.4), (-0.04, 0.4)]), False),
        Part("pale", circle(u, v, 0.84, -0.1, 0.09), False),
    ]
    for cx in (-0.5, 0.5):
        parts.append(Part("dark", circle(x, y, cx, -0.4, _CAR_WHEEL)))
        if limbs.moving:
            parts.append(Part("metal", _spokes(x, y, (cx, -0.4), 0.2, 0.022, limbs.cycle, 5), False))
        parts.append(Part("pale", circle(x, y, cx, -0.4, 0.1), False))
    return parts


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
        Part("mark", inside((y + 0.4).abs() - 0.06, hull), False),
    ]


def bicycle(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A bicycle: frame, saddle, handlebar, spoked wheels and cranks that turn."""
    motion = limbs.on(x)
    wheel, hubs = _BICYCLE_WHEEL, ((-0.5, -0.36), (0.5, -0.36))
    parts: list[Part] = []
    for hub in hubs:
        disc = circle(x, y, *hub, wheel)
        parts += [
            Part("dark", disc),
            Part("glass", circle(x, y, *hub, wheel - 0.09), False),
            Part("dark", _spokes(x, y, hub, wheel - 0.06, 0.026, motion.cycle, 5), False),
        ]
    crank: tuple[float, float] = (-0.06, -0.38)
    saddle, head = (-0.22, 0.2), (0.32, 0.26)
    tubes = ((saddle, crank), (crank, head), (saddle, head), (crank, hubs[0]), (saddle, hubs[0]), (head, hubs[1]))
    frame = join(*(capsule(x, y, a, b, 0.05) for a, b in tubes))
    turn = motion.cycle
    pedal = (crank[0] + 0.2 * turn.sin(), crank[1] + 0.2 * turn.cos())
    other = (2 * crank[0] - pedal[0], 2 * crank[1] - pedal[1])
    treads = join(*(capsule(x, y, (px - 0.07, py), (px + 0.07, py), 0.04) for px, py in (pedal, other)))
    return [
        *parts,
        Part("dark", join(capsule(x, y, saddle, (-0.27, 0.4), 0.04), capsule(x, y, head, (0.28, 0.52), 0.04))),
        Part("body", frame),
        Part("dark", capsule(x, y, (-0.42, 0.43), (-0.14, 0.42), 0.075, 0.05)),
        Part(
            "dark",
            join(capsule(x, y, (0.28, 0.54), (0.48, 0.56), 0.05), capsule(x, y, (0.48, 0.56), (0.5, 0.46), 0.05)),
        ),
        Part("metal", circle(x, y, *crank, 0.11)),
        Part("metal", capsule(x, y, pedal, other, 0.035)),
        Part("dark", treads),
    ]


def rocket(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A rocket that stands upright: a pale hull with a nose and fins of its colour, a window; a flame when it works."""
    motion = limbs.on(x)
    hull = inside(ellipse(x, y, 0, 0.0, 0.36, 0.96), -0.44 - y)
    fins = convex(x.abs(), y, [(0.2, -0.42), (0.56, -0.66), (0.56, -0.4), (0.3, 0.0), (0.2, 0.0)])
    parts: list[Part] = []
    if limbs.moving:
        flicker = (31 * motion.seconds).sin() * 0.5 + (47 * motion.seconds + 1).sin() * 0.5
        length = motion.go * (0.28 + 0.05 * flicker)
        out = 2 * (motion.effort < 0.02).to(x.dtype)  # no flame at all without effort
        parts = [
            Part("flame", capsule(x, y, (0.0, -0.46), (0.04 * flicker, -0.56 - length), 0.21, 0.06) + out),
            Part("light", capsule(x, y, (0.0, -0.46), (0.0, -0.52 - 0.7 * length), 0.12, 0.04) + out, False),
        ]
    return [
        *parts,
        Part("metal", box(x, y, 0, -0.47, 0.17, 0.08)),
        Part("body", fins),
        Part("pale", hull),
        Part("body", inside(hull, 0.46 - y), False),
        Part("deep", inside(hull, (y + 0.3).abs() - 0.06), False),
        Part("dark", circle(x, y, 0, 0.14, 0.19), False),
        Part("glass", circle(x, y, 0, 0.14, 0.12), False),
        Part("body", capsule(x, y, (0.0, -0.24), (0.0, -0.6), 0.05)),
    ]


_CAR_WHEEL, _BICYCLE_WHEEL = 0.25, 0.37

VEHICLES: dict[str, Subject] = {
    "car": Subject(car, size=1.35, stride=2 * math.pi * _CAR_WHEEL),
    "bicycle": Subject(bicycle, size=1.15, stride=2 * math.pi * _BICYCLE_WHEEL),
    "boat": Subject(boat, size=1.2),
    "rocket": Subject(rocket, size=1.2),
}
