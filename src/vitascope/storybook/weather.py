"""What falls: rain and snow.

A layer is painted once on a sheet taller than the frame, of which every frame shows a lower and lower part, so that a
streak keeps its shape while it falls and the work does not grow with the number of flakes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.physics.noise import uniform
from vitascope.storybook.places import Colour
from vitascope.storybook.scenes import Scene


class Layer(NamedTuple):
    """One layer: side of a cell and size of what is in it (world units), the share of cells filled, speed down and
    sideways (world units a second), length of a streak, colour, opacity."""

    cell: float
    size: float
    share: float
    speed: float
    drift: float
    length: float
    colour: Colour
    strength: float


LAYERS: dict[str, tuple[Layer, ...]] = {
    "clear": (),
    "rain": (
        Layer(0.22, 0.017, 0.6, 1.3, 0.10, 0.15, (0.80, 0.87, 0.96), 0.75),
        Layer(0.32, 0.020, 0.5, 1.7, 0.13, 0.20, (0.86, 0.92, 1.0), 0.85),
    ),
    "snow": (
        Layer(0.22, 0.030, 0.55, 0.22, 0.05, 0.0, (1.0, 1.0, 1.0), 0.9),
        Layer(0.34, 0.042, 0.5, 0.32, 0.09, 0.0, (1.0, 1.0, 1.0), 0.95),
    ),
}


def fall(pixels: Tensor, scene: Scene, moments: Sequence[float], scale: float, *, behind: bool) -> None:
    """Lay the scene's rain or snow over pixels [t 3 h w], in place, at the given seconds; scale: pixels a world unit.

    One layer is behind the subject, where it hides nothing, and one before it.
    """
    dim = 0.75 if scene.light == "night" else 1.0
    for number, layer in enumerate(LAYERS.get(scene.weather, ())):
        if (number == 0) == behind:
            _lay(pixels, scene, moments, scale, layer, number, dim * layer.strength)


def _lay(
    pixels: Tensor, scene: Scene, moments: Sequence[float], scale: float, layer: Layer, number: int, strength: float
) -> None:
    height, width = pixels.shape[-2:]
    side = layer.drift * scene.direction
    down = [layer.speed * t * scale for t in moments]
    along = [side * t * scale for t in moments]
    tall, wide = height + math.ceil(max(down)) + 2, width + math.ceil(max(map(abs, along))) + 2
    xs = torch.arange(wide, dtype=torch.float32, device=pixels.device) * (1 / scale)
    ys = torch.arange(tall, dtype=torch.float32, device=pixels.device) * (1 / scale)
    sheet = _sheet(scene, layer, number, xs, ys, side / layer.speed, scale) * strength
    for k, (dy, dx) in enumerate(zip(down, along, strict=True)):
        y = max(down) - dy
        x = -dx if side < 0 else max(along) - dx
        iy, ix = int(y), int(x)
        part = sheet[iy : iy + height + 1, ix : ix + width + 1]
        rows = part[:-1].lerp(part[1:], y - iy)
        alpha = rows[:, :-1].lerp(rows[:, 1:], x - ix)
        for channel in range(3):
            plane = pixels[k, channel]
            plane += alpha * (layer.colour[channel] - plane)


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
