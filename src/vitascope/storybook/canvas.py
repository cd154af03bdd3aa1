"""Where scenery is painted, and in which light.

A canvas has three layers: an opaque sky, the land over it, and what stands before the subject. Each is painted once a
clip and then moved by the camera, the nearer the farther. Paint is premultiplied; paint without opacity is light, which
adds to what is behind it.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.physics.noise import key, uniform
from vitascope.storybook.scenes import Scene

Colour = tuple[float, float, float]

FRONT = 1.4
"""Parallax of what stands before the subject, whose own is 1."""


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

OWN: dict[str, dict[str, Light]] = {
    "snowy park": {  # snow is bluest when the lamps are lit
        **LIGHTS,
        "dusk": LIGHTS["dusk"]._replace(land=(0.58, 0.54, 0.76)),
        "night": LIGHTS["night"]._replace(land=(0.37, 0.41, 0.58)),
    },
    "room": {  # its sky is the one outside the window
        "morning": LIGHTS["morning"]._replace(land=(1.0, 0.93, 0.86), mist=0.0),
        "day": LIGHTS["day"],
        "dusk": LIGHTS["dusk"]._replace(land=(0.76, 0.56, 0.46), mist=0.0),
        "night": LIGHTS["night"]._replace(land=(0.50, 0.40, 0.36), subject=(0.98, 0.94, 0.90), mist=0.0),
    },
    "underwater": {
        "morning": Light((0.72, 0.93, 0.86), (0.16, 0.50, 0.60), (0.80, 0.95, 0.92), (0.97, 1.0, 0.98), 0.16),
        "day": Light((0.50, 0.90, 1.0), (0.06, 0.44, 0.74), (0.84, 0.98, 1.0), (0.97, 1.0, 1.0), 0.12),
        "dusk": Light((0.62, 0.42, 0.58), (0.13, 0.20, 0.44), (0.56, 0.50, 0.66), (0.97, 0.95, 0.98), 0.14),
        "night": Light((0.05, 0.13, 0.28), (0.01, 0.05, 0.15), (0.28, 0.36, 0.48), (0.92, 0.95, 1.0), 0.1),
    },
    "outer space": {
        "morning": Light((0.02, 0.01, 0.04), (0.09, 0.04, 0.12), (1.0, 0.92, 0.88), (1.0, 0.98, 0.97), 0.0),
        "day": Light((0.01, 0.01, 0.03), (0.03, 0.04, 0.10), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), 0.0),
        "dusk": Light((0.03, 0.01, 0.05), (0.14, 0.05, 0.10), (0.86, 0.68, 0.64), (1.0, 0.96, 0.94), 0.0),
        "night": Light((0.0, 0.0, 0.02), (0.02, 0.02, 0.07), (0.74, 0.76, 0.84), (0.98, 0.98, 1.0), 0.0),
    },
}
"""The light of places with a light of their own."""


class Weather(NamedTuple):
    """What a weather does to the sky: how grey it makes it, the level of that grey, how much of the sun, the moon and
    the stars is seen, how many clouds there are (none: they close) and how opaque, how much light they hold at night, and
    how far the distance fades."""

    grey: float
    level: float
    seen: float
    clouds: int
    thick: float
    night: float = 0.0
    fog: float = 0.0


WEATHERS: dict[str, dict[str, Weather]] = {
    "first": {
        "clear": Weather(0.0, 1.0, 1.0, 5, 0.8),
        "rain": Weather(0.42, 1.0, 0.45, 5, 0.8),
        "snow": Weather(0.25, 1.0, 1.0, 5, 0.8),
    },
    "whole": {
        "clear": Weather(0.0, 1.0, 1.0, 5, 0.8),
        "cloudy": Weather(0.72, 0.96, 0.0, 0, 0.8, 0.07),
        "rain": Weather(0.78, 0.76, 0.0, 0, 0.6, 0.05),
        "snow": Weather(0.62, 1.04, 0.0, 0, 0.4, 0.10),
        "fog": Weather(0.80, 1.08, 0.0, 0, 0.0, 0.2, 0.9),
        "wind": Weather(0.06, 1.0, 1.0, 8, 0.65),
    },
}
"""Every weather of each world."""


def weather(scene: Scene) -> Weather:
    """The weather of a scene as its world has it."""
    return WEATHERS[scene.world][scene.weather]


def mix(a: Sequence[float], b: Sequence[float], share: float) -> Colour:
    """The colour `share` of the way from a to b."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def scaled(a: Sequence[float], by: Sequence[float] | float) -> Colour:
    """The colour a times a number, or times another colour."""
    r, g, b = (by, by, by) if isinstance(by, (int, float)) else by
    return (a[0] * r, a[1] * g, a[2] * b)


def air(scene: Scene) -> Light:
    """The light of a scene after its weather, which greys the sky and dims the land."""
    light = OWN.get(scene.place, LIGHTS)[scene.light]
    has = weather(scene)
    own = 0.28 if scene.light != "night" else 0.03 + has.night
    level = 0.35 * sum(light.bottom) / 3 + 0.3 * sum(light.top) / 3 + own
    dull = scaled((level, level * 1.02, level * 1.06), has.level)
    dull = mix(dull, scaled(light.bottom, 3 * level / sum(light.bottom)), 0.3 * has.fog)  # fog has the sky's hue
    grey, dim = has.grey, (1 - 0.25 * has.grey) * min(1.0, has.level)
    return light._replace(
        top=mix(light.top, dull, grey), bottom=mix(light.bottom, dull, grey), land=scaled(light.land, dim)
    )


class Lamp(NamedTuple):
    """A lamp that is lit: where it hangs, and how far to each side its pool of light goes, in world units."""

    x: float
    y: float
    reach: float


def lamplight(lamps: Sequence[Lamp], x: float) -> float:
    """How much lamplight falls on what stands at x, in [0, 1]."""
    return min(1.0, sum(max(0.0, 1 - ((x - lamp.x) / lamp.reach) ** 2) for lamp in lamps))


def _smooth(part: Tensor) -> Tensor:
    """From 0 to 1 with no slope at either end."""
    return part * part * (3 - 2 * part)


def noise(table: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Smooth noise, [len(v), len(u)]: a table of numbers at the whole u (columns) and v (rows), repeated."""
    rows, columns = table.shape
    iu, iv = u.floor(), v.floor()
    part_u, part_v = _smooth(u - iu), _smooth(v - iv)[:, None]
    iu, iv = iu.long(), iv.long()
    lines = table[iv % rows].lerp(table[(iv + 1) % rows], part_v)
    return lines[:, iu % columns].lerp(lines[:, (iu + 1) % columns], part_u)


class Canvas:
    """Somewhere to paint, with world coordinates and anti-aliased edges.

    xs [w] and ys [h, 1] are the world coordinates of the pixels' centres, `pixel` one pixel's size in world units; sky
    [3 h w], land and front [4 h w] are float in [0, 1]; front is None as long as nothing stands before the subject.
    """

    def __init__(self, xs: Tensor, ys: Tensor, pixel: float, scene: Scene) -> None:
        self.xs, self.ys, self.pixel, self.scene = xs, ys[:, None], pixel, scene
        self.draw = random.Random(scene.detail)
        self.air, self.weather = air(scene), weather(scene)
        self.sky = torch.zeros(3, len(ys), len(xs), device=xs.device)
        self.land = torch.zeros(4, len(ys), len(xs), device=xs.device)
        self.front: Tensor | None = None
        self.lamps: list[Lamp] = []
        self._left, self._top = float(xs[0]), float(ys[0])
        self._part, self._tables = "", 0

    # -- what is drawn from the scene's detail ---------------------------------------------------------------------

    def part(self, name: str) -> None:
        """Begin a part of the scenery, from draws of its own where the world has them (`World.own_draws`)."""
        if self.scene.laws.own_draws:
            self.draw = random.Random(key(self.scene.detail, name))
            self._part, self._tables = f"{name} ", 0

    def table(self, purpose: str, *shape: int) -> Tensor:
        """Numbers uniform in [0, 1), the next table of this part; the same whatever the size of the canvas."""
        self._tables += 1
        drawn = uniform(self.scene.detail, self._part + purpose, self._tables, shape, dtype=torch.float32)
        return drawn.to(self.xs.device)

    def between(self, low: float, high: float) -> float:
        """A number in [low, high), the next one of this part's."""
        return low + (high - low) * self.draw.random()

    # -- smaller and other canvases --------------------------------------------------------------------------------

    def near(self, left: float, right: float, low: float, high: float) -> Canvas:
        """The part of this canvas within these world coordinates: what is painted there is painted here. May be empty."""
        x0, x1 = self._index(left - self._left, self.xs.shape[0]), self._index(right - self._left, self.xs.shape[0], 2)
        y0, y1 = self._index(self._top - high, self.ys.shape[0]), self._index(self._top - low, self.ys.shape[0], 2)
        found = copy.copy(self)
        found.xs, found.ys = self.xs[x0:x1], self.ys[y0:y1]
        found.sky, found.land = self.sky[:, y0:y1, x0:x1], self.land[:, y0:y1, x0:x1]
        found._left, found._top = self._left + x0 * self.pixel, self._top - y0 * self.pixel
        return found

    def _index(self, way: float, count: int, beyond: int = -1) -> int:
        return min(max(int(way / self.pixel) + beyond, 0), count)

    def before(self) -> Canvas:
        """A canvas whose land is what stands before the subject."""
        if self.front is None:
            self.front = torch.zeros_like(self.land)
        found = copy.copy(self)
        found.land = self.front
        return found

    # -- paint -----------------------------------------------------------------------------------------------------

    def over_sky(self, alpha: Tensor, colour: Colour) -> None:
        """Paint on the sky as it is: no light but its own."""
        self.sky += alpha * (self._paint(colour) - self.sky)

    def over_land(
        self, alpha: Tensor, colour: Colour, *, far: float = 0.0, lit: bool = True, foot: float | None = None
    ) -> None:
        """Paint on the land (premultiplied) in the scene's light, `far` of the way to the colour of the air.

        In fog it fades with its distance: that of each row of the ground or, for what stands, that of its foot.
        """
        if lit:
            colour = mix(scaled(colour, self.air.land), self.air.bottom, max(far, self.air.mist))
        paint = self._paint((*colour, 1.0))
        if self.weather.fog:
            pale = self._faded(foot) * (1.0 if lit else 0.6)
            paint = paint + (self._paint((*self.air.bottom, 1.0)) - paint) * pale
        self.land += alpha * (paint - self.land)

    def _paint(self, colour: Sequence[float]) -> Tensor:
        return torch.tensor(colour, device=self.xs.device)[:, None, None]

    def _faded(self, foot: float | None) -> Tensor:
        """How much of the light from each row [h, 1] is lost in the fog."""
        ys = self.ys if foot is None else torch.full_like(self.ys, foot)
        near = ((self.scene.horizon - ys) / (self.scene.horizon - self.scene.floor)).clamp(0, 1.3)
        return self.weather.fog * (1 - 0.8 * near.sqrt())

    def shine(self, alpha: Tensor, colour: Colour) -> None:
        """Light on the land and, where there is none, on what is behind it."""
        land = self.land[:3]
        land += alpha * self._paint(colour) * (1 - land)

    # -- shapes ----------------------------------------------------------------------------------------------------

    def cover(self, distance: Tensor) -> Tensor:
        """Opacity of a shape from its signed distance in world units."""
        return (0.5 - distance * (1 / self.pixel)).clamp(0, 1)

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

    def noise(self, cell: float, *, flat: float = 1.0) -> Tensor:
        """Smooth noise in [0, 1], [h, w], from one number a cell; cells are `flat` times as wide as high."""
        return noise(self.table("noise", 16, 32), self.xs / (cell * flat), self.ys[:, 0] / cell)

    def disc(self, cx: float, cy: float, r: float) -> Tensor:
        """Opacity of a disc, [h, w]."""
        return self.cover(((self.xs - cx).square() + (self.ys - cy).square()).sqrt() - r)

    def glow(self, cx: float, cy: float, r: float, *, flat: float = 1.0) -> Tensor:
        """A soft light that fades to nothing at r above and at `flat` times r beside, [h, w]."""
        q = ((self.xs - cx) * (1 / flat)).square() + (self.ys - cy).square()
        return (1 - q * (1 / (r * r))).clamp_min(0).square()

    def block(self, left: float, right: float, low: float, high: float) -> Tensor:
        """Opacity of an upright rectangle, [h, w]."""
        across = (self.xs - (left + right) / 2).abs() - (right - left) / 2
        return self.cover(torch.maximum(across, (self.ys - (low + high) / 2).abs() - (high - low) / 2))

    def oval(self, cx: float, cy: float, rx: float, ry: float) -> Tensor:
        """Opacity of an ellipse, [h, w]; its edge is about a pixel wide."""
        q = ((self.xs - cx) * (1 / rx)).square() + ((self.ys - cy) * (1 / ry)).square()
        return self.cover((q.sqrt() - 1) * min(rx, ry))
