"""Scenes to pixels.

Each clip is rendered by itself, so that its pixels do not depend on what else is in the batch: the scenery is painted
once and moved by the camera, the subject is drawn from its signed distances in a small square and pasted frame by
frame, and the weather falls behind and before it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.storybook.motion import SAFE, Camera, Pose, camera, facing, pose, radius, times
from vitascope.storybook.places import PLACES, Canvas, Colour, air, mix, scaled
from vitascope.storybook.scenes import Scene
from vitascope.storybook.shapes import REST, SUBJECTS, extent, silhouette
from vitascope.storybook.weather import fall

COLOURS: dict[str, Colour] = {
    "red": (0.88, 0.09, 0.11),
    "green": (0.08, 0.66, 0.22),
    "blue": (0.08, 0.30, 0.94),
    "yellow": (1.0, 0.87, 0.08),
    "purple": (0.56, 0.14, 0.78),
    "orange": (1.0, 0.50, 0.03),
    "white": (1.07, 1.07, 1.08),
    "black": (0.07, 0.07, 0.08),
}
_BLACK, _BROWN, _RED, _BLOND = (0.09, 0.08, 0.08), (0.28, 0.16, 0.09), (0.62, 0.26, 0.08), (0.93, 0.76, 0.36)
_LOOKS: tuple[tuple[Colour, Colour], ...] = (  # of skin and hair
    *(((0.98, 0.83, 0.72), hair) for hair in (_BLACK, _BROWN, _RED, _BLOND)),
    *(((0.90, 0.70, 0.54), hair) for hair in (_BLACK, _BROWN)),
    *((skin, _BLACK) for skin in ((0.72, 0.50, 0.35), (0.52, 0.35, 0.24))),
)
_SHINING = ("flame", "light")  # materials that the air does not dim
_RIM = 0.021  # width of the outline, world units: over a pixel at 64 lines
_SKY, _FAR = 0.35, 0.55  # parallax of the sky and of the skyline; that of the subject's depth is 1


class View(NamedTuple):
    """How the world lies on a frame: pixels per world unit, and the frame's half-sizes in world units."""

    scale: float
    half_width: float
    half_height: float


def view(height: int, width: int) -> View:
    """The view that shows the safe area whole, centred, on a frame of height x width pixels."""
    scale = min(width / SAFE[0], height / SAFE[1])
    return View(scale, width / 2 / scale, height / 2 / scale)


def render(
    scenes: Sequence[Scene],
    *,
    frames: int = 17,
    height: int = 64,
    width: int = 128,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The clips of `scenes`, uint8 [b t h w c]; each lasts two seconds, frame k at 2 k / (frames - 1) seconds.

    Raises ValueError when there is no frame or when a side is under 8 pixels.
    """
    if min(height, width) < 8:
        raise ValueError(f"a frame is at least 8 x 8 pixels, got {width} x {height}")
    clips = torch.empty(len(scenes), frames, height, width, 3, dtype=torch.uint8, device=device)
    with torch.inference_mode():
        for clip, scene in zip(clips, scenes, strict=True):
            clip.copy_(_clip(scene, frames, height, width, torch.device(device)))
    return clips


def _clip(scene: Scene, frames: int, height: int, width: int, device: torch.device) -> Tensor:
    seen = view(height, width)
    moments = times(frames)
    poses = [pose(scene, t) for t in moments]
    cameras = [camera(scene, t) for t in moments]
    pixels = _scenery(scene, cameras, seen, height, width, device)
    _shadow(pixels, scene, poses, cameras, seen)
    fall(pixels, scene, moments, seen.scale, behind=True)
    _subject(pixels, scene, poses, cameras, seen)
    fall(pixels, scene, moments, seen.scale, behind=False)
    return pixels.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8).permute(0, 2, 3, 1)


def _axis(count: int, scale: float, device: torch.device) -> Tensor:
    """World coordinates of the centres of `count` pixels around the origin."""
    return (torch.arange(count, dtype=torch.float32, device=device) - (count - 1) / 2) * (1 / scale)


def _scenery(
    scene: Scene, cameras: Sequence[Camera], seen: View, height: int, width: int, device: torch.device
) -> Tensor:
    """The moved background, float [t 3 h w]."""
    shift, low = max(abs(c.x) for c in cameras), min(c.zoom for c in cameras)
    margin = 0 if scene.camera == "still" else 2
    wide = width + 2 * math.ceil((seen.half_width * (1 / low - 1) + 1.35 * shift) * seen.scale) + 2 * margin
    tall = height + 2 * math.ceil(seen.half_height * (1 / low - 1) * seen.scale) + 2 * margin
    canvas = Canvas(_axis(wide, seen.scale, device), -_axis(tall, seen.scale, device), 1 / seen.scale, scene)
    PLACES[scene.place](canvas)
    if scene.camera == "still":
        return _flat(canvas).repeat(len(cameras), 1, 1, 1)
    xs, ys = _axis(width, seen.scale, device), -_axis(height, seen.scale, device)
    depth = (scene.horizon - ys) / (scene.horizon - scene.floor)  # 0 at the horizon, 1 where the subject stands
    land = _FAR + (1 - _FAR) * depth.clamp_min(0)
    zoom = torch.tensor([1 / c.zoom for c in cameras], device=device)[:, None, None]
    move = torch.tensor([c.x for c in cameras], device=device)[:, None, None]
    grid_y = (zoom * -ys[None, :, None] * (2 * seen.scale / tall)).expand(-1, -1, width)
    straight = zoom * xs

    def moved(layer: Tensor, parallax: Tensor | float) -> Tensor:
        grid_x = (straight + move * parallax) * (2 * seen.scale / wide)
        grid = torch.stack([grid_x.expand_as(grid_y), grid_y], dim=-1)
        layers = layer.expand(len(cameras), -1, -1, -1)
        return F.grid_sample(layers, grid, mode="bilinear", padding_mode="border", align_corners=False)

    if scene.camera.startswith("zooms"):
        return moved(_flat(canvas), 0.0)
    near = moved(canvas.land, land[None, :, None])
    return moved(canvas.sky, _SKY) * (1 - near[:, 3:]) + near[:, :3]


def _flat(canvas: Canvas) -> Tensor:
    return canvas.sky * (1 - canvas.land[3:]) + canvas.land[:3]


class _Window(NamedTuple):
    """A rectangle of pixels around a centre in each frame: its corner, coordinates from the centre [t 1 n], [t m 1]."""

    left: list[int]
    top: list[int]
    x: Tensor
    y: Tensor


def _window(pixels: Tensor, centres: Sequence[tuple[float, float]], half: tuple[float, float], seen: View) -> _Window:
    """The pixels within `half` (x, y; world units) of each centre."""
    height, width = pixels.shape[-2:]
    across, down = (2 * math.ceil(side * seen.scale) + 2 for side in half)
    left = [math.floor(x * seen.scale + width / 2 - across / 2) for x, _ in centres]
    top = [math.floor(height / 2 - y * seen.scale - down / 2) for _, y in centres]
    start_x = [(at + 0.5 - width / 2) / seen.scale - x for at, (x, _) in zip(left, centres, strict=True)]
    start_y = [(height / 2 - at - 0.5) / seen.scale - y for at, (_, y) in zip(top, centres, strict=True)]
    device = pixels.device
    steps = torch.arange(max(across, down), dtype=torch.float32, device=device) * (1 / seen.scale)
    x = torch.tensor(start_x, device=device)[:, None, None] + steps[:across]
    y = torch.tensor(start_y, device=device)[:, None, None] - steps[:down, None]
    return _Window(left, top, x, y)


def _paste(pixels: Tensor, at: _Window, colour: Tensor, alpha: Tensor) -> None:
    """Lay colour [t c n m] with opacity alpha [t 1 n m] over each frame where the square meets it."""
    height, width = pixels.shape[-2:]
    down, across = alpha.shape[-2:]
    for k, (left, top) in enumerate(zip(at.left, at.top, strict=True)):
        x0, x1, y0, y1 = max(left, 0), min(left + across, width), max(top, 0), min(top + down, height)
        if x0 < x1 and y0 < y1:
            rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
            pixels[k, :, y0:y1, x0:x1].lerp_(colour[k, :, rows, columns], alpha[k, :, rows, columns])


def _shadow(pixels: Tensor, scene: Scene, poses: Sequence[Pose], cameras: Sequence[Camera], seen: View) -> None:
    """A soft ellipse on the ground under the subject, smaller and fainter the higher it is."""
    below = extent(scene.subject)[0]
    centres = [((p.x - c.x) * c.zoom, scene.floor * c.zoom) for p, c in zip(poses, cameras, strict=True)]
    lifts = [max(0.0, p.y - p.size * below - scene.floor) for p in poses]
    sizes = [p.size * c.zoom / (1 + 1.5 * lift) for p, c, lift in zip(poses, cameras, lifts, strict=True)]
    largest = max(sizes)
    at = _window(pixels, centres, (largest, largest * 0.25), seen)
    device = pixels.device
    size = torch.tensor([1 / s for s in sizes], device=device)[:, None, None]
    strength = torch.tensor([0.6 / (1 + 2 * lift) for lift in lifts], device=device)[:, None, None]
    q = (at.x * size).square() + (at.y * (size * 4)).square()
    alpha = (1 - q).clamp_min(0).mul(1.6).clamp_max(1) * strength
    dark = mix(scaled(air(scene).land, 0.12), (0.03, 0.03, 0.08), 0.5)
    colour = torch.tensor(dark, device=device)[None, :, None, None].expand(len(poses), 3, *alpha.shape[-2:])
    _paste(pixels, at, colour, alpha[:, None])


def _materials(scene: Scene) -> dict[str, Colour]:
    """The colour of each material of the subject of this scene, in its light."""
    base = COLOURS[scene.colour]
    swing = 0.05 if scene.colour not in ("white", "black") else 0.02
    body = mix(base, (0.5, 0.5, 0.5), 0.06 * abs(scene.shade[1]))
    body = scaled(body, 1 + swing * scene.shade[0])
    bright = scene.colour in ("white", "yellow")
    mark = mix(body, (0.3, 0.25, 0.3), 0.4) if bright else mix(body, (1.0, 1.0, 1.0), 0.55)
    deep = mix(body, (0.45, 0.45, 0.5), 0.6) if scene.colour == "black" else scaled(body, 0.55)
    if scene.colour == "black":
        mark = (0.42, 0.42, 0.46)
    edge = (0.80, 0.82, 0.86) if scene.colour == "black" else scaled(body, 0.28)
    skin, hair = _LOOKS[int((scene.shade[2] + 1) / 2 * len(_LOOKS)) % len(_LOOKS)]
    plain: dict[str, Colour] = {
        "body": body,
        "mark": mark,
        "deep": deep,
        "dark": (0.10, 0.10, 0.12),
        "pale": (0.93, 0.93, 0.9),
        "glass": (0.72, 0.87, 0.95),
        "wood": (0.46, 0.29, 0.15),
        "edge": edge,
        "metal": (0.66, 0.69, 0.74),
        "gold": (0.98, 0.72, 0.16),
        "skin": skin,
        "hair": hair,
        "cloth": (0.62, 0.58, 0.52),
        "denim": (0.36, 0.42, 0.58),
        "flame": (1.0, 0.48, 0.10),
        "light": (1.0, 0.90, 0.52),
    }
    return {name: colour if name in _SHINING else scaled(colour, air(scene).subject) for name, colour in plain.items()}


def _subject(pixels: Tensor, scene: Scene, poses: Sequence[Pose], cameras: Sequence[Camera], seen: View) -> None:
    """The subject, shaded by a light from above, inside its outline."""
    device = pixels.device
    centres = [((p.x - c.x) * c.zoom, p.y * c.zoom) for p, c in zip(poses, cameras, strict=True)]
    sizes = [p.size * c.zoom for p, c in zip(poses, cameras, strict=True)]
    reach = max(sizes) + 2.2 * _RIM
    at = _window(pixels, centres, (reach, reach), seen)

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=device)[:, None, None]

    inverse = column([1 / size for size in sizes])
    u, v = at.x * inverse, at.y * inverse  # upright coordinates: the light does not turn with the subject
    cos = column([math.cos(p.angle) for p in poses])
    sin = column([math.sin(p.angle) for p in poses])
    x, y = (cos * u + sin * v) * facing(scene), cos * v - sin * u
    parts = SUBJECTS[scene.subject].draw(x, y, REST)
    soft = column([size * seen.scale for size in sizes])  # pixels per local unit
    rim = column([_RIM * c.zoom * min(1.0, 2 * p.size / radius(scene)) / s for p, c, s in zip(poses, cameras, sizes)])

    def cover(distance: Tensor) -> Tensor:
        return (0.5 - distance * soft).clamp_(0, 1)

    body = silhouette(parts)
    lit = (0.94 + 0.16 * v - 0.09 * u) * (0.80 + 0.9 * (-body).clamp(0, 0.22))
    gleam = (1 - ((u + 0.32).square() + (v - 0.42).square()) * 7).clamp_min_(0).square_() * 0.3
    colours = _materials(scene)
    paint = torch.tensor(colours["edge"], device=device)[None, :, None, None].repeat(len(poses), 1, *body.shape[-2:])
    for material, distance, _ in parts:
        alpha = cover(distance)[:, None]
        shade = torch.tensor(colours[material], device=device)[None, :, None, None] * lit[:, None]
        paint.lerp_(shade, alpha)
    paint += (gleam * cover(body))[:, None]
    _paste(pixels, at, paint, cover(body - rim)[:, None])
