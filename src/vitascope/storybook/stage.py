"""What the actors walk on: the scenery, painted once (twice where the light or the weather turns) and moved by the camera."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.storybook.actors import Lights
from vitascope.storybook.canvas import FRONT, Lamp
from vitascope.storybook.motion import DURATION
from vitascope.storybook.places import Canvas, paint
from vitascope.storybook.scenes import Scene
from vitascope.storybook.views import Camera, View, parallax
from vitascope.storybook.worlds import TURNS

_SKY = 0.35  # parallax of the sky
_NEAR = 1.35  # that of the nearest ground, where nothing stands before the subject


def axis(count: int, scale: float, device: torch.device) -> Tensor:
    """World coordinates of the centres of `count` pixels around the origin."""
    return (torch.arange(count, dtype=torch.float32, device=device) - (count - 1) / 2) * (1 / scale)


class Stage(NamedTuple):
    """What the actors walk on: the moved background [t 3 h w], what is before them [t 4 h w] or None, the coordinates of
    the frame's pixels (x [w], y [h 1]), and the scenes that light each frame with their shares."""

    back: Tensor
    front: Tensor | None
    x: Tensor
    y: Tensor
    lights: Lights


def after(scene: Scene) -> Scene:
    """The scene after what changes around it has changed."""
    if scene.turn == "none":
        return scene
    name, _, after = TURNS[scene.turn]
    return replace(scene, turn="none", light=after) if name == "light" else replace(scene, turn="none", weather=after)


def turning(t: float) -> float:
    """How far a change around the subject has gone at t seconds: from 0 to 1 in the middle of the clip."""
    part = min(1.0, max(0.0, (t / DURATION - 0.2) / 0.6))
    return part * part * (3 - 2 * part)


def stage(
    scene: Scene,
    moments: Sequence[float],
    cameras: Sequence[Camera],
    seen: View,
    height: int,
    width: int,
    device: torch.device,
) -> Stage:
    xs, ys = axis(width, seen.scale, device), -axis(height, seen.scale, device)
    back, front, lamps = _scenery(scene, cameras, seen, height, width, device)
    if scene.turn == "none":
        return Stage(back, front, xs, ys[:, None], Lights(scene, scene, [0.0] * len(moments), (lamps, lamps)))
    turned, shares = after(scene), [turning(t) for t in moments]
    later, front_later, lamps_later = _scenery(turned, cameras, seen, height, width, device)
    share = torch.tensor(shares, device=device)[:, None, None, None]
    front = front if front is None or front_later is None else front.lerp(front_later, share)
    return Stage(back.lerp(later, share), front, xs, ys[:, None], Lights(scene, turned, shares, (lamps, lamps_later)))


def _scenery(
    scene: Scene, cameras: Sequence[Camera], seen: View, height: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor | None, Sequence[Lamp]]:
    """The moved background, float [t 3 h w]; what is before the actors, [t 4 h w], or None; the lamps that are lit."""
    laws, nearest = scene.laws, FRONT if scene.laws.fronts else _NEAR
    far = max(max(abs(c.shift(p)) for c in cameras) for p in (_SKY, nearest))
    low, rise = min(c.zoom for c in cameras), max(abs(c.y) for c in cameras)
    # On rails a single frame of a camera that moves is drawn as the same frame of a longer clip is: moved, by nothing.
    rests = scene.camera == "still" if laws.rails else all(c == cameras[0] for c in cameras)
    margin = 0 if rests else 2
    shift = 0.0 if rests else far
    wide = width + 2 * math.ceil((seen.half_width * (1 / low - 1) + shift) * seen.scale) + 2 * margin
    tall = height + 2 * math.ceil((seen.half_height * (1 / low - 1) + rise) * seen.scale) + 2 * margin
    canvas = Canvas(axis(wide, seen.scale, device), -axis(tall, seen.scale, device), 1 / seen.scale, scene)
    paint(canvas)
    front = canvas.front if canvas.front is not None and canvas.front[3].any() else None
    if rests:
        ahead = None if front is None else front.expand(len(cameras), -1, -1, -1)
        return _flat(canvas).repeat(len(cameras), 1, 1, 1), ahead, canvas.lamps
    xs, ys = axis(width, seen.scale, device), -axis(height, seen.scale, device)
    zoom = torch.tensor([1 / c.zoom for c in cameras], device=device)[:, None, None]
    move, held, rise, aside = (
        torch.tensor([getattr(c, n) for c in cameras], device=device)[:, None, None]
        for n in ("x", "held", "y", "aside")
    )
    grid_y = ((zoom * -ys[None, :, None] - rise) * (2 * seen.scale / tall)).expand(-1, -1, width)
    straight = zoom * xs + aside

    def moved(layer: Tensor, parallax: Tensor | float) -> Tensor:
        grid_x = (straight + move * (parallax - held)) * (2 * seen.scale / wide)
        grid = torch.stack([grid_x.expand_as(grid_y), grid_y], dim=-1)
        layers = layer.expand(len(cameras), -1, -1, -1)
        return F.grid_sample(layers, grid, mode="bilinear", padding_mode="border", align_corners=False)

    if not move.any():  # it zooms or turns: nothing is nearer than something else
        return moved(_flat(canvas), 1.0), None if front is None else moved(front, 1.0), canvas.lamps
    near = moved(canvas.land, parallax(scene, ys)[None, :, None])
    back = moved(canvas.sky, _SKY) * (1 - near[:, 3:]) + near[:, :3]
    return back, None if front is None else moved(front, FRONT), canvas.lamps


def _flat(canvas: Canvas) -> Tensor:
    return canvas.sky * (1 - canvas.land[3:]) + canvas.land[:3]
