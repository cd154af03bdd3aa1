"""What the weather moves: rain and snow that fall, leaves and dust that the wind carries, banks of fog that drift.

A layer is painted once on a sheet larger than the frame, of which every frame shows a part farther on, so that a
streak keeps its shape while it falls and the work does not grow with the number of flakes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.physics.noise import uniform
from vitascope.storybook.canvas import Colour, air, noise
from vitascope.storybook.scenes import Scene


class Layer(NamedTuple):
    """One layer: side of a cell and size of what is in it (world units), the share of cells filled, speed down and
    sideways (world units a second), length of a streak, colour, opacity. Where it is `blown`, it flies to the side
    with its speed, and down with its drift; its colour is then the place's."""

    cell: float
    size: float
    share: float
    speed: float
    drift: float
    length: float
    colour: Colour
    strength: float
    blown: bool = False


LAYERS: dict[str, tuple[Layer, ...]] = {
    "clear": (),
    "cloudy": (),
    "rain": (
        Layer(0.22, 0.017, 0.6, 1.3, 0.10, 0.15, (0.80, 0.87, 0.96), 0.75),
        Layer(0.32, 0.020, 0.5, 1.7, 0.13, 0.20, (0.86, 0.92, 1.0), 0.85),
    ),
    "snow": (
        Layer(0.22, 0.030, 0.55, 0.22, 0.05, 0.0, (1.0, 1.0, 1.0), 0.9),
        Layer(0.34, 0.042, 0.5, 0.32, 0.09, 0.0, (1.0, 1.0, 1.0), 0.95),
    ),
    "fog": (),
    "wind": (
        Layer(0.15, 0.009, 0.55, 1.5, 0.05, 0.26, (1.0, 1.0, 1.0), 0.6, True),
        Layer(0.30, 0.019, 0.5, 1.0, 0.14, 0.024, (0.0, 0.0, 0.0), 0.95, True),
    ),
}

_LEAF: Colour = (0.84, 0.47, 0.12)
_CARRIED: dict[str, Colour] = {
    "snowy park": (0.97, 0.98, 1.0),
    "snowfield": (0.97, 0.98, 1.0),
    "desert": (0.72, 0.50, 0.24),
    "beach": (0.78, 0.62, 0.38),
    "sea": (0.92, 0.97, 1.0),
    "night sky": (0.78, 0.80, 0.98),
}
"""What the wind carries: leaves, unless the place has something else."""

_BANKS = {True: 0.26, False: 0.20}
"""Opacity of the banks of fog behind the subject and before it."""


def fall(
    pixels: Tensor,
    scene: Scene,
    moments: Sequence[float],
    scale: float,
    *,
    behind: bool,
    strength: Sequence[float] | None = None,
) -> None:
    """Lay the scene's weather over pixels [t 3 h w], in place, at the given seconds; scale: pixels a world unit.

    One layer is behind the subject, where it hides nothing, and one before it. strength: how much of it there is in
    each frame, from 0, none, to 1, all of it; all of it unless given.
    """
    dim = 0.75 if scene.light == "night" else 1.0
    for number, layer in enumerate(LAYERS[scene.weather]):
        if (number == 0) == behind:
            _lay(pixels, scene, moments, scale, layer, number, dim * layer.strength, strength)
    if scene.weather == "fog":
        _drift(pixels, scene, moments, scale, _BANKS[behind], strength)


def _lay(
    pixels: Tensor,
    scene: Scene,
    moments: Sequence[float],
    scale: float,
    layer: Layer,
    number: int,
    opacity: float,
    strength: Sequence[float] | None,
) -> None:
    height, width = pixels.shape[-2:]
    side, drop = (layer.speed, layer.drift) if layer.blown else (layer.drift, layer.speed)
    side = side * scene.direction
    down = [drop * t * scale for t in moments]
    along = [side * t * scale for t in moments]
    tall, wide = height + math.ceil(max(down)) + 2, width + math.ceil(max(map(abs, along))) + 2
    xs = torch.arange(wide, dtype=torch.float32, device=pixels.device) * (1 / scale)
    ys = torch.arange(tall, dtype=torch.float32, device=pixels.device) * (1 / scale)
    if layer.blown:  # the same sheet on its side
        sheet = _sheet(scene, layer, number, ys, xs, drop / side, scale).T.contiguous() * opacity
        colour = layer.colour if layer.length > layer.cell else _CARRIED.get(scene.place, _LEAF)
    else:
        sheet, colour = _sheet(scene, layer, number, xs, ys, side / layer.speed, scale) * opacity, layer.colour
    for k, alpha in _frames(sheet, down, along, side < 0, height, width):
        _veil(pixels[k], alpha, colour, 1.0 if strength is None else strength[k])


def _frames(
    sheet: Tensor, down: Sequence[float], along: Sequence[float], leftwards: bool, height: int, width: int
) -> Iterator[tuple[int, Tensor]]:
    """The part of the sheet that each frame shows, [height, width], moved by so many pixels."""
    for k, (dy, dx) in enumerate(zip(down, along, strict=True)):
        y = max(down) - dy
        x = -dx if leftwards else max(along) - dx
        iy, ix = int(y), int(x)
        part = sheet[iy : iy + height + 1, ix : ix + width + 1]
        rows = part[:-1].lerp(part[1:], y - iy)
        yield k, rows[:, :-1].lerp(rows[:, 1:], x - ix)


def _veil(frame: Tensor, alpha: Tensor, colour: Colour, strength: float) -> None:
    if not strength:
        return
    if strength != 1:
        alpha = alpha * strength
    for channel, value in enumerate(colour):
        plane = frame[channel]
        plane += alpha * (value - plane)


def _drift(
    pixels: Tensor,
    scene: Scene,
    moments: Sequence[float],
    scale: float,
    opacity: float,
    strength: Sequence[float] | None,
) -> None:
    """Banks of fog that drift to the side."""
    height, width = pixels.shape[-2:]
    along = [0.14 * scene.direction * t * scale for t in moments]
    wide = width + math.ceil(max(map(abs, along))) + 2
    xs = torch.arange(wide, dtype=torch.float32, device=pixels.device) * (1 / scale)
    ys = torch.arange(height + 2, dtype=torch.float32, device=pixels.device) * (1 / scale)
    table = uniform(scene.detail, "fog", 0, (16, 16), dtype=torch.float32).to(pixels.device)
    sheet = (0.25 + 0.75 * noise(table, xs / 0.5, ys / 0.17)) * opacity
    pale = air(scene).bottom
    for k, alpha in _frames(sheet, [0.0] * len(moments), along, scene.direction < 0, height, width):
        _veil(pixels[k], alpha, pale, 1.0 if strength is None else strength[k])


def _sheet(scene: Scene, layer: Layer, number: int, xs: Tensor, ys: Tensor, slope: float, scale: float) -> Tensor:
    """Opacity of one layer of flakes or streaks, [len(ys), len(xs)]: at most one a cell."""
    rows, columns = 32, 32
    table = uniform(scene.detail, "weather", number, (4, rows, columns), dtype=torch.float32).to(xs.device)
    high = layer.cell + layer.length
    u, v = xs / layer.cell, ys / high
    iu, iv = u.floor(), v.floor()
    picked = table[:, (iv.long() % rows)[:, None], (iu.long() % columns)[None, :]]
    pad = layer.size + abs(slope) * layer.length / 2 + 1 / scale
    dx = (u - iu)[None, :] * layer.cell - pad - (layer.cell - 2 * pad) * picked[0]
    low = layer.size + layer.length / 2 + 1 / scale
    dy = (v - iv)[:, None] * high - low - (high - 2 * low) * picked[1]
    on = dy.clamp(-layer.length / 2, layer.length / 2)  # the nearest point of the streak's axis
    distance = ((dx - slope * on).square() + (dy - on).square()).sqrt()
    size = layer.size * (0.75 + 0.25 * picked[2])
    return (0.5 - (distance - size) * scale).clamp(0, 1) * (picked[3] < layer.share)
