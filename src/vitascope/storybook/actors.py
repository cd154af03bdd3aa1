"""Who is in the picture: sprites, and how one is drawn with its shadow, its outline and its light.

A sprite is one drawn thing: a subject, or a piece of one that broke. It is drawn from its signed distances in a small square
and pasted frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.storybook.canvas import Lamp, lamplight
from vitascope.storybook.motion import Pose, facing, impact, pivot, pose, radius, rest
from vitascope.storybook.places import Colour, air, mix, scaled
from vitascope.storybook.scenes import Scene
from vitascope.storybook.shapes import REST, SUBJECTS, Limbs, Part, extent, silhouette
from vitascope.storybook.things import droplet, fragment, shards
from vitascope.storybook.traces import Frames, splash, thrown
from vitascope.storybook.views import Camera, View, on_screen, parallax

COLOURS: dict[str, Colour] = {
    "red": (0.88, 0.09, 0.11),
    "green": (0.08, 0.66, 0.22),
    "blue": (0.08, 0.30, 0.94),
    "yellow": (1.0, 0.87, 0.08),
    "purple": (0.56, 0.14, 0.78),
    "orange": (1.0, 0.50, 0.03),
    "white": (1.07, 1.07, 1.08),
    "black": (0.07, 0.07, 0.08),
    "pink": (1.0, 0.52, 0.70),
    "brown": (0.47, 0.27, 0.12),
    "grey": (0.52, 0.54, 0.57),
}
_BLACK, _BROWN, _RED, _BLOND = (0.09, 0.08, 0.08), (0.28, 0.16, 0.09), (0.62, 0.26, 0.08), (0.93, 0.76, 0.36)
_LOOKS: tuple[tuple[Colour, Colour], ...] = (  # of skin and hair
    *(((0.98, 0.83, 0.72), hair) for hair in (_BLACK, _BROWN, _RED, _BLOND)),
    *(((0.90, 0.70, 0.54), hair) for hair in (_BLACK, _BROWN)),
    *((skin, _BLACK) for skin in ((0.72, 0.50, 0.35), (0.52, 0.35, 0.24))),
)
_SHINING = ("flame", "light")  # materials that the air does not dim
_LAMPLIGHT = (0.3, 0.18, 0.04)  # by how much a lamp brightens red, green and blue
RIM = 0.021
"""Width of the outline, world units: over a pixel at 64 lines."""
PIECES = 11
"""What a glass breaks into."""


class Lights(NamedTuple):
    """The scene as it is lit before and after a turn, how far each frame is from the one to the other, and the lamps that are
    lit before and after."""

    before: Scene
    after: Scene
    shares: list[float]
    lamps: tuple[Sequence[Lamp], Sequence[Lamp]] = ((), ())

    def glow(self, places: Sequence[float]) -> list[float]:
        """How much lamplight falls on what is at these places, one a frame, in [0, 1]."""
        first, last = self.lamps
        return [
            lamplight(first, x) * (1 - share) + lamplight(last, x) * share
            for x, share in zip(places, self.shares, strict=True)
        ]


class Sprite(NamedTuple):
    """One drawn thing: the scene that it is the subject of, its pose in each frame (None where it is not seen), how its parts
    are drawn, whether it is a piece of something, the height of the water that hides what is below it, where its middle
    is (world units from the pose's centre, when it is not turned), and the radius of the circle around that which holds it,
    in sizes of the pose."""

    scene: Scene
    poses: list[Pose | None]
    draw: Callable[[Tensor, Tensor, Limbs], list[Part]]
    piece: bool = False
    water: float | None = None
    middle: tuple[float, float] = (0.0, 0.0)
    reach: float = 1.0

    def over(self, at: Pose) -> tuple[float, float]:
        """Where its middle is at this pose."""
        cos, sin, (mx, my) = math.cos(at.angle), math.sin(at.angle), self.middle
        return at.x + cos * mx - sin * my, at.y + sin * mx + cos * my


def sprites(scene: Scene, moments: Sequence[float]) -> list[Sprite]:
    """What is drawn for one of the cast: itself, and the pieces that it ends in."""
    poses: list[Pose | None] = [pose(scene, t) for t in moments]
    draw = SUBJECTS[scene.subject].draw
    if scene.action == "shatters":
        hit = impact(scene)
        whole = [at if t <= hit else None for t, at in zip(moments, poses, strict=True)]
        return [Sprite(scene, whole, draw), *_pieces(scene, moments, hit)]
    if scene.action == "splashes":
        drops = [Sprite(scene, path, droplet, True) for path in splash(scene, moments)]
        return [Sprite(scene, poses, draw, water=scene.floor), *drops]
    return [Sprite(scene, poses, draw)]


class Window(NamedTuple):
    """A rectangle of pixels around a centre in each frame: its corner, coordinates from the centre [t 1 n], [t m 1]."""

    left: list[int]
    top: list[int]
    x: Tensor
    y: Tensor


def window(pixels: Tensor, centres: Sequence[tuple[float, float]], half: tuple[float, float], seen: View) -> Window:
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
    return Window(left, top, x, y)


def paste(pixels: Tensor, at: Window, colour: Tensor, alpha: Tensor) -> None:
    """Lay colour [t c n m] with opacity alpha [t 1 n m] over each frame where the square meets it."""
    height, width = pixels.shape[-2:]
    down, across = alpha.shape[-2:]
    for k, (left, top) in enumerate(zip(at.left, at.top, strict=True)):
        x0, x1, y0, y1 = max(left, 0), min(left + across, width), max(top, 0), min(top + down, height)
        if x0 < x1 and y0 < y1:
            rows, columns = slice(y0 - top, y1 - top), slice(x0 - left, x1 - left)
            pixels[k, :, y0:y1, x0:x1].lerp_(colour[k, :, rows, columns], alpha[k, :, rows, columns])


def shadow(pixels: Tensor, sprite: Sprite, lights: Lights, cameras: Sequence[Camera], seen: View) -> None:
    """A soft ellipse on the ground under the sprite, smaller and fainter the higher it is."""
    below = 0.0 if sprite.piece else extent(sprite.scene.subject)[0]
    shown = [at is not None for at in sprite.poses]
    if not any(shown) or sprite.water is not None:
        return
    poses = _filled(sprite.poses)
    middles = [sprite.over(p) for p in poses]
    paces = [parallax(lights.before, p.ground) for p in poses]
    centres = [by.sees(x, p.ground, pace) for (x, _), p, by, pace in zip(middles, poses, cameras, paces, strict=True)]
    lifts = [max(0.0, y - p.size * below - p.ground) for (_, y), p in zip(middles, poses, strict=True)]
    share = 0.3 if sprite.piece else 1.0
    sizes = [share * p.size * c.zoom / (1 + 1.5 * lift) for p, c, lift in zip(poses, cameras, lifts, strict=True)]
    largest = max(sizes)
    at = window(pixels, centres, (largest, largest * 0.25), seen)
    device = pixels.device
    size = torch.tensor([1 / s for s in sizes], device=device)[:, None, None]
    full, faint = radius(sprite.scene), sprite.scene.laws.faint_shadows
    dark = [0.6 * (0.5 + 0.5 * p.size / full) if faint else 0.6 for p in poses]
    strength = [here * most / (1 + 2 * lift) for here, most, lift in zip(shown, dark, lifts, strict=True)]
    q = (at.x * size).square() + (at.y * (size * 4)).square()
    alpha = (1 - q).clamp_min(0).mul(1.6).clamp_max(1) * torch.tensor(strength, device=device)[:, None, None]
    ends = [mix(scaled(air(s).land, 0.12), (0.03, 0.03, 0.08), 0.5) for s in (lights.before, lights.after)]
    colour = turned(ends, lights.shares, device)[:, :, None, None].expand(-1, -1, *alpha.shape[-2:])
    paste(pixels, at, colour, alpha[:, None])


def turned(ends: Sequence[Colour], shares: Sequence[float], device: torch.device) -> Tensor:
    """A colour a frame, [t 3], on its way from the first to the second."""
    first, last = (torch.tensor(end, dtype=torch.float32, device=device) for end in ends)
    return first.lerp(last, torch.tensor(shares, dtype=torch.float32, device=device)[:, None])


def _filled(poses: Sequence[Pose | None]) -> list[Pose]:
    """The poses, where there is none the nearest before it, or the first."""
    last = next(at for at in poses if at is not None)
    made = []
    for at in poses:
        last = at or last
        made.append(last)
    return made


def _pieces(scene: Scene, moments: Sequence[float], hit: float) -> Iterator[Sprite]:
    """The glass in pieces: each flies from where it was in the whole, and turns about its own middle."""
    size, way = radius(scene), facing(scene)
    for piece, flight in zip(shards(PIECES), thrown(scene, PIECES), strict=True):
        cx, cy = (sum(c) / len(piece) for c in zip(*piece, strict=True))
        reach = max(math.hypot(x - cx, y - cy) for x, y in piece)
        mx, my = cx * size * way, cy * size
        start = flight._replace(x=scene.x + mx, y=rest(scene) + my)
        poses: list[Pose | None] = []
        for t in moments:
            at = start.at(t - hit, scene.floor + 0.14 * size)
            cos, sin = math.cos(at.angle), math.sin(at.angle)
            x, y = at.x - (cos * mx - sin * my), at.y - (sin * mx + cos * my)
            poses.append(at._replace(x=x, y=y, size=size, ground=scene.floor, side=way) if t > hit else None)
        yield Sprite(scene, poses, fragment(piece), True, middle=(mx, my), reach=reach)


def materials(scene: Scene, light: Scene) -> dict[str, Colour]:
    """The colour of each material of the subject of this scene, lit as another scene is."""
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
    return {name: colour if name in _SHINING else scaled(colour, air(light).subject) for name, colour in plain.items()}


def limbs(scene: Scene, poses: Sequence[Pose], seconds: Sequence[float], device: torch.device) -> Limbs:
    """What the limbs do in each frame, in a world that has limbs."""
    if not scene.laws.limbs:
        return REST

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None, None]

    return Limbs(
        column([at.cycle for at in poses]),
        column([at.effort for at in poses]),
        column([at.lean for at in poses]),
        column(seconds),
        scene.dress if scene.dress != "nothing" else "",
    )


def actor(
    pixels: Tensor, sprite: Sprite, lights: Lights, moments: Sequence[float], cameras: Sequence[Camera], seen: View
) -> None:
    """The sprite, shaded by a light from above, inside its outline."""
    if all(at is None for at in sprite.poses):
        return
    device, scene, poses = pixels.device, sprite.scene, _filled(sprite.poses)
    centres = [on_screen(lights.before, p, by) for p, by in zip(poses, cameras, strict=True)]
    sizes = [p.size * c.zoom for p, c in zip(poses, cameras, strict=True)]
    reach = max(sizes) + 2.2 * RIM
    at = window(pixels, centres, (reach, reach), seen)

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=device)[:, None, None]

    inverse = column([1 / size for size in sizes])
    u, v = at.x * inverse, at.y * inverse  # upright coordinates: the light does not turn with the subject
    cos = column([math.cos(p.angle) for p in poses])
    sin = column([math.sin(p.angle) for p in poses])
    x, y = (cos * u + sin * v) * column([float(p.side) for p in poses]), cos * v - sin * u
    parts = sprite.draw(x, y, limbs(scene, poses, moments, device))
    soft = column([size * seen.scale for size in sizes])  # pixels per local unit
    rim = column([RIM * c.zoom * min(1.0, 2 * p.size / radius(scene)) / s for p, c, s in zip(poses, cameras, sizes)])

    def cover(distance: Tensor) -> Tensor:
        return (0.5 - distance * soft).clamp_(0, 1)

    body = silhouette(parts)
    lit = (0.94 + 0.16 * v - 0.09 * u) * (0.80 + 0.9 * (-body).clamp(0, 0.22))
    gleam = (1 - ((u + 0.32).square() + (v - 0.42).square()) * 7).clamp_min_(0).square_() * 0.3
    ends = [materials(scene, light) for light in (lights.before, lights.after)]
    colours = {name: turned([end[name] for end in ends], lights.shares, device)[:, :, None, None] for name in ends[0]}
    glow = lights.glow([p.x for p in poses])
    if any(glow):
        warm = 1 + torch.tensor(glow, device=device)[:, None] * torch.tensor(_LAMPLIGHT, device=device)
        colours = {name: c if name in _SHINING else c * warm[:, :, None, None] for name, c in colours.items()}
    paint = colours["edge"].repeat(1, 1, *body.shape[-2:])
    for material, distance, _ in parts:
        paint.lerp_(colours[material] * lit[:, None], cover(distance)[:, None])
    paint += (gleam * cover(body))[:, None]
    alpha = cover(body - rim)[:, None]
    if any(here is None for here in sprite.poses):
        alpha = alpha * column([float(here is not None) for here in sprite.poses])[:, None]
    if sprite.water is not None:
        level = column([by.sees(0, sprite.water)[1] - y for by, (_, y) in zip(cameras, centres, strict=True)])
        alpha = alpha * ((at.y - level) * seen.scale + 0.5).clamp(0, 1)[:, None]
    paste(pixels, at, paint, alpha)


def rope(frames: Frames, sprite: Sprite) -> None:
    """What a swinging sprite hangs on: a thin line from above the frame's middle to its top."""
    poses = _filled(sprite.poses)
    hook, pace = pivot(sprite.scene), frames.pace(sprite.scene)
    ends = [by.sees(*hook, pace) for by in frames.cameras]
    tops = [
        by.sees(p.x - 0.8 * p.size * math.sin(p.angle), p.y + 0.8 * p.size * math.cos(p.angle), pace)
        for p, by in zip(poses, frames.cameras, strict=True)
    ]
    rows = frames.rows(min(p.y for p in poses), hook[1] + 0.02)
    y = frames.y[rows]
    ax, ay, bx, by = (frames.column(values) for values in (*zip(*ends), *zip(*tops)))
    dx, dy = bx - ax, by - ay
    part = (((frames.x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
    distance = ((frames.x - ax - part * dx).square() + (y - ay - part * dy).square()).sqrt()
    knob = ((frames.x - ax).square() + (y - ay).square()).sqrt() - 0.02
    alpha = (0.5 - torch.minimum(distance - 0.006, knob) / frames.pixel).clamp(0, 1)
    for channel, value in enumerate((0.25, 0.2, 0.16)):
        plane = frames.pixels[:, channel, rows]
        plane += alpha * (value - plane)
