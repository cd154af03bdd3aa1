"""Places, light and weather: the scenery behind a subject.

A place is one function that paints a `Canvas` (its sky and its land) and one line in `PLACES`. The sky layer
is opaque; the land layer lies over it with its own opacity. Both are painted once a clip and then moved by the camera.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.physics.noise import uniform
from vitascope.storybook.scenes import Scene

Colour = tuple[float, float, float]


class Light(NamedTuple):
    """A time of day: the sky from top to horizon, what it multiplies the land and the subject by, the mist it lays."""

    top: Colour
    bottom: Colour
    land: Colour
    subject: Colour
    mist: float


LIGHTS: dict[str, Light] = {
    "morning": Light((0.62, 0.76, 0.95), (1.0, 0.80, 0.78), (1.0, 0.88, 0.86), (1.0, 0.97, 0.95), 0.16),
    "day": Light((0.22, 0.55, 0.96), (0.74, 0.90, 1.0), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0),
    "dusk": Light((0.30, 0.17, 0.48), (1.0, 0.52, 0.24), (0.66, 0.47, 0.52), (1.0, 0.94, 0.91), 0.1),
    "night": Light((0.02, 0.03, 0.12), (0.09, 0.13, 0.33), (0.36, 0.37, 0.47), (0.93, 0.93, 0.99), 0.04),
}

_WEATHER_GREY: dict[str, float] = {"clear": 0.0, "rain": 0.42, "snow": 0.25}


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def scaled(a: Sequence[float], by: Sequence[float] | float) -> Colour:
    """The colour a times a number, or times another colour."""
    r, g, b = (by, by, by) if isinstance(by, (int, float)) else by
    return (a[0] * r, a[1] * g, a[2] * b)


def air(scene: Scene) -> Light:
    """The light of a scene after its weather: rain and snow grey the sky."""
    light = LIGHTS[scene.light]
    grey = _WEATHER_GREY[scene.weather]
    level = 0.35 * sum(light.bottom) / 3 + 0.3 * sum(light.top) / 3 + (0.28 if scene.light != "night" else 0.03)
    dull = (level, level * 1.02, level * 1.06)
    dim = 1 - 0.25 * grey
    return light._replace(
        top=mix(light.top, dull, grey), bottom=mix(light.bottom, dull, grey), land=scaled(light.land, dim)
    )


class Canvas:
    """Somewhere to paint, [3 or 4, h, w] float in [0, 1], with world coordinates and anti-aliased edges.

    xs [w] and ys [h, 1] are the world coordinates of the pixels' centres; `pixel` is one pixel's size in world units.
    """

    def __init__(self, xs: Tensor, ys: Tensor, pixel: float, scene: Scene) -> None:
        self.xs, self.ys, self.pixel, self.scene = xs, ys[:, None], pixel, scene
        self.draw = random.Random(scene.detail)
        self.air = air(scene)
        self.sky = torch.zeros(3, len(ys), len(xs), device=xs.device)
        self.land = torch.zeros(4, len(ys), len(xs), device=xs.device)
        self._tables = 0

    def table(self, purpose: str, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1), the next table of this scene's; the same whatever the size of the canvas."""
        self._tables += 1
        drawn = uniform(self.scene.detail, purpose, self._tables, shape, dtype=torch.float32)
        return drawn.to(self.xs.device)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high), the next one of this scene's."""
        return low + (high - low) * self.draw.random()

    def cover(self, distance: Tensor) -> Tensor:
        """Opacity of a shape from its signed distance in world units."""
        return (0.5 - distance * (1 / self.pixel)).clamp(0, 1)

    def over_sky(self, alpha: Tensor, colour: Colour) -> None:
        """Paint on the sky as it is: no light but its own."""
        for channel, value in enumerate(colour):
            self.sky[channel] += alpha * (value - self.sky[channel])

    def over_land(self, alpha: Tensor, colour: Colour, *, far: float = 0.0, lit: bool = True) -> None:
        """Paint on the land (premultiplied) in the scene's light, `far` of the way to the colour of the air."""
        if lit:
            colour = mix(scaled(colour, self.air.land), self.air.bottom, max(far, self.air.mist))
        for channel, value in enumerate((*colour, 1.0)):
            self.land[channel] += alpha * (value - self.land[channel])

    def ridge(self, base: float, height: float, length: float, *, waves: int = 3, sharp: bool = False) -> Tensor:
        """A skyline [w]: a sum of sines, or of zigzags where `sharp`, above `base`, in world units."""
        line = torch.zeros_like(self.xs)
        for wave in range(waves):
            phase, size = self.between(0, 1), height / 1.8**wave
            turn = self.xs * (1.7**wave / length * self.between(0.8, 1.2)) + phase
            saw = (turn - turn.floor() - 0.5).abs() * 2
            line += size * (saw if sharp else saw * saw * (3 - 2 * saw))
        return base + line

    def under(self, skyline: Tensor | float) -> Tensor:
        """Opacity of everything below a skyline, [h, w]."""
        return self.cover(self.ys - skyline).expand(-1, len(self.xs))

    def dots(
        self, cell: float, size: float, *, share: float = 1.0, flat: float = 1.0, squeeze: float = 0.6, top: float = 0.5
    ) -> Tensor:
        """Opacity of scattered dots [h, w]: one in a `share` of cells of height `cell`; cells and dots are `flat` times
        as wide as high; radii vary from `squeeze` to 1 times `size`."""
        rows, columns = 32, 64
        table = self.table("dots", 4, rows, columns)
        u, v = self.xs / (cell * flat), (top - self.ys[:, 0]) / cell
        iu, iv = u.floor(), v.floor()
        picked = table[:, (iv.long() % rows)[:, None], (iu.long() % columns)[None, :]]
        margin = min(0.5, size / cell)
        free = 1 - 2 * margin
        dx = ((u - iu)[None, :] - margin - free * picked[0]) * cell
        dy = ((v - iv)[:, None] - margin - free * picked[1]) * cell
        radius = size * (squeeze + (1 - squeeze) * picked[2])
        return self.cover((dx.square() + dy.square()).sqrt() - radius) * (picked[3] < share)

    def disc(self, cx: float, cy: float, r: float) -> Tensor:
        """Opacity of a disc, [h, w]."""
        return self.cover(((self.xs - cx).square() + (self.ys - cy).square()).sqrt() - r)

    def glow(self, cx: float, cy: float, r: float) -> Tensor:
        """A soft round light that fades to nothing at r, [h, w]."""
        q = ((self.xs - cx).square() + (self.ys - cy).square()) * (1 / (r * r))
        return (1 - q).clamp_min(0).square()


def _gradient(canvas: Canvas) -> None:
    light, horizon = canvas.air, canvas.scene.horizon
    part = ((canvas.ys - horizon) / (0.52 - horizon)).clamp(0, 1)
    for channel in range(3):
        low, high = light.bottom[channel], light.top[channel]
        canvas.sky[channel] = low + (high - low) * part


def _clouds(canvas: Canvas, colour: Colour, strength: float) -> None:
    for _ in range(5):
        cx, cy = canvas.between(-1.5, 1.5), canvas.between(0.2, 0.45)
        for _ in range(3):
            wide = canvas.between(0.09, 0.16)
            x, y = cx + canvas.between(-0.15, 0.15), cy + canvas.between(-0.02, 0.03)
            q = ((canvas.xs - x) / wide).square() + ((canvas.ys - y) / (wide * 0.4)).square()
            canvas.over_sky(((1.25 - q) * 2).clamp(0, 1) * strength, colour)


def _sky(canvas: Canvas) -> None:
    """The sky of every place with a ground: gradient, sun or moon, stars or clouds."""
    scene, light = canvas.scene, canvas.scene.light
    _gradient(canvas)
    side = canvas.between(-0.75, 0.75)
    dim = 0.45 if scene.weather == "rain" else 1.0
    if light == "night":
        canvas.over_sky(canvas.dots(0.13, 0.014, share=0.6) * (0.9 * dim), (0.95, 0.95, 0.85))
        canvas.over_sky(canvas.glow(side, 0.3, 0.3) * (0.35 * dim), (0.5, 0.58, 0.8))
        moon = canvas.disc(side, 0.3, 0.085) * (1 - canvas.disc(side + 0.05, 0.325, 0.075))
        canvas.over_sky(moon * (0.3 + 0.7 * dim), (0.97, 0.95, 0.82))
        return
    height = {"morning": scene.horizon + 0.13, "day": 0.36, "dusk": scene.horizon + 0.06}[light]
    size = {"morning": 0.08, "day": 0.075, "dusk": 0.14}[light]
    sun: Colour = {"morning": (1.0, 0.95, 0.8), "day": (1.0, 0.97, 0.65), "dusk": (1.0, 0.45, 0.15)}[light]
    canvas.over_sky(canvas.glow(side, height, size * 4) * (0.5 * dim), sun)
    canvas.over_sky(canvas.disc(side, height, size) * dim, sun)
    cloud: Colour = {"morning": (1.0, 0.92, 0.9), "day": (1.0, 1.0, 1.0), "dusk": (0.78, 0.36, 0.42)}[light]
    grey = _WEATHER_GREY[scene.weather]
    _clouds(canvas, mix(cloud, (0.55, 0.57, 0.62), grey), 0.8)


def _ground(canvas: Canvas, near: Colour, far: Colour) -> None:
    """Ground below the horizon, from its far colour to its near one."""
    horizon = canvas.scene.horizon
    land = canvas.under(horizon)
    canvas.over_land(land, far)
    part = ((horizon - canvas.ys) / (horizon + 0.5)).clamp(0, 1)
    canvas.over_land((land * part), near)


def _fade(canvas: Canvas) -> Tensor:
    """Opacity of ground detail: nothing at the horizon, all near the camera."""
    return ((canvas.scene.horizon - 0.03 - canvas.ys) * 6).clamp(0, 1)


def _meadow(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    _sky(canvas)
    canvas.over_land(canvas.under(canvas.ridge(horizon + 0.04, 0.09, 0.9)), (0.36, 0.56, 0.42), far=0.3)
    canvas.over_land(canvas.under(canvas.ridge(horizon - 0.02, 0.07, 0.6)), (0.34, 0.62, 0.26), far=0.12)
    _ground(canvas, (0.36, 0.66, 0.16), (0.50, 0.76, 0.30))
    fade = _fade(canvas)
    canvas.over_land(canvas.dots(0.09, 0.022, share=0.6, flat=2.0) * fade, (0.24, 0.50, 0.12))
    for colour in ((0.98, 0.96, 0.92), (0.96, 0.62, 0.75)):
        canvas.over_land(canvas.dots(0.12, 0.017, share=0.4) * fade, colour)


def _snowfield(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    _sky(canvas)
    peaks = canvas.ridge(horizon + 0.01, 0.19, 0.5, waves=2, sharp=True)
    canvas.over_land(canvas.under(peaks), (0.50, 0.58, 0.72), far=0.1)
    caps = peaks * 0.45 + 0.55 * (horizon + 0.09)
    canvas.over_land(canvas.under(peaks) * (1 - canvas.under(caps)), (0.95, 0.97, 1.0))
    _ground(canvas, (0.93, 0.96, 1.0), (0.84, 0.89, 0.97))
    fade = _fade(canvas)
    canvas.over_land(canvas.dots(0.13, 0.035, share=0.7, flat=3.0) * fade, (0.76, 0.84, 0.96))


def _desert(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    _sky(canvas)
    for base, high, tone in ((0.03, 0.14, (0.86, 0.62, 0.36)), (-0.03, 0.11, (0.93, 0.72, 0.42))):
        canvas.over_land(canvas.under(canvas.ridge(horizon + base, high, 0.8, waves=2)), tone, far=0.05)
    _ground(canvas, (0.95, 0.78, 0.46), (0.88, 0.66, 0.36))
    canvas.over_land(canvas.dots(0.11, 0.018, share=0.7, flat=3.5) * _fade(canvas), (0.80, 0.58, 0.30))
    for _ in range(4):
        x, tall = canvas.between(-1.4, 1.4), canvas.between(0.14, 0.22)
        _cactus(canvas, x, horizon - 0.03, tall)


def _cactus(canvas: Canvas, x: float, foot: float, tall: float) -> None:
    width = tall * 0.1

    def post(cx: float, low: float, high: float) -> Tensor:
        y = canvas.ys.clamp(low, high)
        return ((canvas.xs - cx).square() + (canvas.ys - y).square()).sqrt() - width

    side = tall * 0.36
    shape = torch.minimum(post(x, foot, foot + tall), post(x - side, foot + tall * 0.4, foot + tall * 0.7))
    shape = torch.minimum(shape, post(x + side, foot + tall * 0.5, foot + tall * 0.85))
    bar = torch.maximum((canvas.ys - (foot + tall * 0.45)).abs() - width * 0.8, (canvas.xs - x).abs() - side)
    canvas.over_land(canvas.cover(torch.minimum(shape, bar)), (0.20, 0.42, 0.22))


def _sea(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    _sky(canvas)
    isle = canvas.between(-0.9, 0.9)
    q = ((canvas.xs - isle) * (1 / 0.3)).square()
    canvas.over_land(canvas.under(horizon + 0.09 * (1 - q)), (0.30, 0.42, 0.42), far=0.35)
    _ground(canvas, (0.03, 0.30, 0.52), (0.20, 0.58, 0.72))
    fade = _fade(canvas)
    canvas.over_land(canvas.dots(0.075, 0.016, share=0.6, flat=5.0) * fade, (0.04, 0.24, 0.44))
    canvas.over_land(canvas.dots(0.085, 0.015, share=0.5, flat=4.0) * fade, (0.75, 0.92, 0.95))


def _conifers(canvas: Canvas, base: float, tall: float, wide: float, colour: Colour, far: float) -> None:
    """A row of conifers: toothed triangles of varying height."""
    turn = canvas.xs / wide + canvas.between(0, 1)
    cell = turn.floor()
    top = base + tall * (0.65 + 0.35 * canvas.table("trees", 64)[cell.long() % 64])
    off = (turn - cell - 0.5).abs() * 2
    rows = (canvas.ys - base) * (5 / tall)
    teeth = (rows - rows.floor()) * 0.28
    limit = ((top - canvas.ys) * (1.15 / tall) + 0.14 - teeth).clamp_max(1.02)
    alpha = canvas.cover((off - limit) * (wide / 2))
    canvas.over_land(alpha.square() * canvas.under(top + 0.02), colour, far=far)


def _forest(canvas: Canvas) -> None:
    horizon = canvas.scene.horizon
    _sky(canvas)
    _conifers(canvas, horizon - 0.05, 0.42, 0.15, (0.20, 0.42, 0.36), 0.28)
    _conifers(canvas, horizon - 0.05, 0.34, 0.22, (0.09, 0.36, 0.20), 0.06)
    _ground(canvas, (0.38, 0.33, 0.16), (0.22, 0.36, 0.16))
    fade = _fade(canvas)
    canvas.over_land(canvas.dots(0.1, 0.026, share=0.7, flat=2.5) * fade, (0.20, 0.34, 0.12))
    canvas.over_land(canvas.dots(0.12, 0.018, share=0.5, flat=1.6) * fade, (0.55, 0.36, 0.16))


def _night_sky(canvas: Canvas) -> None:
    """No ground but a bank of moonlit clouds, on which things land."""
    scene = canvas.scene
    dim = 0.6 if scene.weather == "rain" else 1.0
    top, bottom = (0.02, 0.01, 0.09), (0.16, 0.08, 0.34)
    part = ((canvas.ys + 0.45) / 0.9).clamp(0, 1)
    for channel in range(3):
        canvas.sky[channel] = (bottom[channel] + (top[channel] - bottom[channel]) * part) * (0.7 + 0.3 * dim)
    canvas.over_sky(canvas.dots(0.075, 0.010, share=0.5) * (0.7 * dim), (0.75, 0.8, 1.0))
    canvas.over_sky(canvas.dots(0.17, 0.019, share=0.7) * dim, (1.0, 0.98, 0.85))
    side = canvas.between(-0.75, 0.75)
    canvas.over_sky(canvas.glow(side, 0.22, 0.5) * (0.4 * dim), (0.55, 0.55, 0.85))
    canvas.over_sky(canvas.disc(side, 0.22, 0.16), (0.98, 0.95, 0.80))
    for dx, dy, r in ((-0.05, 0.04, 0.035), (0.05, -0.03, 0.045), (-0.02, -0.08, 0.025)):
        canvas.over_sky(canvas.disc(side + dx, 0.22 + dy, r), (0.86, 0.83, 0.70))
    for base, tone in ((0.10, (0.26, 0.25, 0.47)), (0.0, (0.38, 0.39, 0.62)), (-0.09, (0.50, 0.53, 0.76))):
        turn = canvas.xs / canvas.between(0.24, 0.32) + canvas.between(0, 1)
        q = (turn - turn.floor() - 0.5) * 2
        puffs = scene.floor + base + 0.07 * (1 - q * q).clamp_min(0).sqrt()
        canvas.over_land(canvas.under(puffs), scaled(tone, 0.6 + 0.4 * dim), lit=False)


PLACES: dict[str, Callable[[Canvas], None]] = {
    "meadow": _meadow,
    "snowfield": _snowfield,
    "desert": _desert,
    "sea": _sea,
    "forest": _forest,
    "night sky": _night_sky,
}
"""Every place. To add one: a function above, a line here, its word in `scenes.ATTRIBUTES`, its phrases in `words`."""
