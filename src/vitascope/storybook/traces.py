"""What is left behind: footprints, wheel tracks, a wake. And what an event throws up: fragments, drops, rings.

A trace is a place in the world, not on the frame: what was left there stays there, whatever the camera does meanwhile. It
begins before the clip does, since who walks through the picture came from somewhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.physics.noise import uniform
from vitascope.storybook.motion import GRAVITY, Pose, facing, impact, pose, radius, times
from vitascope.storybook.scenes import Scene, Trace
from vitascope.storybook.shapes import SUBJECTS
from vitascope.storybook.views import Camera, parallax
from vitascope.storybook.worlds import PEOPLE

PRESSED = {
    "snowfield": (0.70, 0.78, 0.90),
    "snowy park": (0.70, 0.78, 0.90),
    "desert": (0.74, 0.70, 0.64),
    "beach": (0.74, 0.70, 0.64),
}
"""What a print multiplies the colour of the ground by, in each place of `worlds.SOFT`."""
_BEFORE = 1.3  # how far back a trace reaches from where its maker is when the clip begins, world units


class Print(NamedTuple):
    """One footprint: where it is, its half-sizes (world units), and the second at which it is pressed."""

    x: float
    y: float
    wide: float
    high: float
    since: float


def prints(scene: Scene, moments: Sequence[float]) -> list[Print]:
    """The footprints of one who walks, from before the clip to its end: one each half cycle of the gait, where the middle of its
    maker then is, pressed in the first moment in which that has passed. No foot that is drawn stands right there: a foot comes
    down before the middle, by half of the way that this goes meanwhile."""
    way, size = facing(scene), radius(scene)
    step = SUBJECTS[scene.subject].stride * size / 2
    path = [pose(scene, t) for t in moments]
    phase = path[0].cycle / math.pi
    first = path[0].x - way * (phase - math.floor(phase)) * step
    found = []
    for k in range(-int(_BEFORE / step), int(4 / step)):
        x = first + way * k * step
        pressed = (
            0.0 if k <= 0 else next((t for t, at in zip(moments, path, strict=True) if (at.x - x) * way >= 0), None)
        )
        if pressed is None:
            break
        side = 0.012 if (k + math.floor(phase)) % 2 else -0.012
        found.append(Print(x, scene.floor + side, 0.036 if scene.subject in PEOPLE else 0.26 * step, 0.010, pressed))
    return found


class Frames(NamedTuple):
    """Frames of a scene to draw on, and their coordinates on the screen in world units: pixels [t 3 h w], x [w], y [h 1]."""

    scene: Scene
    pixels: Tensor
    x: Tensor
    y: Tensor
    pixel: float
    moments: Sequence[float]
    cameras: Sequence[Camera]

    def column(self, values: Sequence[float]) -> Tensor:
        """A number a frame as [t 1 1]."""
        return torch.tensor(values, dtype=torch.float32, device=self.pixels.device)[:, None, None]

    def pace(self, maker: Scene) -> float:
        """The parallax of the ground on which one of the cast stands."""
        return parallax(self.scene, maker.floor)

    def across(self, places: Sequence[float], pace: float) -> Tensor:
        """Where these places, one a frame, are on the screen from left to right, [t 1 1]."""
        return self.column([by.sees(x, 0, pace)[0] for x, by in zip(places, self.cameras, strict=True)])

    def rows(self, low: float, high: float) -> slice:
        """The rows of all frames on which heights between low and high (world units) can be seen."""
        at = [by.sees(0.0, y)[1] for by in self.cameras for y in (low, high)]
        top = float(self.y[0]) - max(at)
        bottom = float(self.y[0]) - min(at)
        last = self.y.shape[0]
        return slice(max(0, min(last, int(top / self.pixel) - 1)), max(0, min(last, int(bottom / self.pixel) + 3)))


def press(frames: Frames, scene: Scene) -> None:
    """Draw what this one leaves on the ground, in place."""
    if scene.trace is not None:
        _PRESSED[scene.trace](frames, scene)


def _darken(frames: Frames, rows: slice, alpha: Tensor, by: Sequence[float]) -> None:
    for channel, factor in enumerate(by):
        frames.pixels[:, channel, rows] *= 1 - alpha * (1 - factor)


def _footprints(frames: Frames, scene: Scene) -> None:
    rows = frames.rows(scene.floor - 0.03, scene.floor + 0.03)
    y, pace = frames.y[rows], frames.pace(scene)
    alpha = torch.zeros(len(frames.moments), y.shape[0], frames.x.shape[0], device=frames.pixels.device)
    for mark in prints(scene, frames.moments):
        shown = [float(t >= mark.since) for t in frames.moments]
        at = [by.sees(mark.x, mark.y, pace) for by in frames.cameras]
        zoom = frames.column([by.zoom for by in frames.cameras])
        dx = (frames.x - frames.column([x for x, _ in at])) / (mark.wide * zoom)
        dy = (y - frames.column([y for _, y in at])) / (mark.high * zoom)
        soft = frames.pixel / (mark.high * zoom)
        cover = ((1 - (dx.square() + dy.square()).sqrt()) / soft + 0.5).clamp(0, 1) * frames.column(shown)
        alpha = torch.maximum(alpha, cover)
    _darken(frames, rows, alpha, PRESSED[scene.place])


def _track(frames: Frames, scene: Scene) -> None:
    """Ruts behind wheels, a groove behind what rolls: from before the clip up to where its maker is."""
    way, path = facing(scene), [pose(scene, t) for t in frames.moments]
    ruts = (-0.022, 0.006) if scene.subject == "car" else (-0.006,)
    high = 0.008 if scene.trace == "wheels" else 0.016
    rows = frames.rows(scene.floor - 0.04, scene.floor + 0.03)
    y = frames.y[rows]
    zoom, pace = frames.column([by.zoom for by in frames.cameras]), frames.pace(scene)
    tip = frames.across([at.x for at in path], pace)
    tail = frames.across([path[0].x - way * _BEFORE] * len(path), pace)
    along = torch.minimum((tip - frames.x) * way, (frames.x - tail) * way) / frames.pixel
    for rut in ruts:
        middle = frames.column([by.sees(0, scene.floor + rut)[1] for by in frames.cameras])
        across = (high * zoom - (y - middle).abs()) / frames.pixel
        alpha = (along + 0.5).clamp(0, 1) * (across + 0.5).clamp(0, 1)
        _darken(frames, rows, alpha, PRESSED[scene.place])


def sailed(scene: Scene, went: Tensor) -> Tensor:
    """The second at which a boat had gone so far (world units) from where it is at the beginning of the clip, before which it
    went as fast as it then goes; one that waits was never anywhere else."""
    moments = times(81)
    start = pose(scene, 0.0).x
    ways = torch.tensor([abs(pose(scene, t).x - start) for t in moments], dtype=went.dtype, device=went.device)
    after = torch.searchsorted(ways, went.contiguous()).clamp(1, len(moments) - 1)
    low, high = ways[after - 1], ways[after]
    passed = (after - 1 + ((went - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)) * moments[1]
    speed = max(1e-3, float(ways[1]) / moments[1])
    return torch.where(went < 0, went / speed, passed)


def _wake(frames: Frames, scene: Scene) -> None:
    """Foam behind a boat: it widens and thins out with the time since the stern was there."""
    way, pace = facing(scene), frames.pace(scene)
    stern = pose(scene, 0.0).x - way * 0.6 * radius(scene)
    water = scene.floor + 0.01
    rows = frames.rows(water - 0.09, water + 0.09)
    y, zoom = frames.y[rows], frames.column([by.zoom for by in frames.cameras])
    went = (frames.x / zoom + frames.column([by.shift(pace) for by in frames.cameras]) - stern) * way
    now = frames.column([abs(pose(scene, t).x - pose(scene, 0.0).x) for t in frames.moments])
    behind = now - went
    age = (frames.column(frames.moments) - sailed(scene, went)).clamp_min(0)
    wide = 0.008 + 0.03 * age.sqrt()
    middle = frames.column([by.sees(0, water)[1] for by in frames.cameras])
    off = (y - middle) / zoom
    edge = (1 - (off.abs() - wide).abs() / 0.011).clamp(0, 1) + 0.35 * (1 - off.abs() / wide).clamp(0, 1)
    alpha = edge * (behind / frames.pixel + 0.5).clamp(0, 1) * torch.exp(-age / 1.1) * 0.8
    for channel, value in enumerate((0.86, 0.93, 0.96)):
        plane = frames.pixels[:, channel, rows]
        plane += alpha.clamp(0, 1) * (value - plane)


_PRESSED: dict[Trace, Callable[[Frames, Scene], None]] = {
    "footprints": _footprints,
    "wheels": _track,
    "groove": _track,
    "wake": _wake,
}


class Flight(NamedTuple):
    """What is thrown: from where, how fast (world units a second), how it turns (radians a second), how large it is."""

    x: float
    y: float
    vx: float
    vy: float
    turn: float
    size: float

    def at(self, since: float, ground: float) -> Pose:
        """Where it is so many seconds after it was thrown: on its parabola, or where that meets the ground."""
        drop = self.y - ground
        lands = (self.vy + math.sqrt(self.vy**2 + 2 * GRAVITY * max(0.0, drop))) / GRAVITY
        t = min(max(since, 0.0), lands)
        y = self.y + self.vy * t - GRAVITY * t * t / 2
        return Pose(self.x + self.vx * t, max(y, ground), self.size, self.turn * t, ground)


def thrown(scene: Scene, count: int) -> list[Flight]:
    """The flights of `count` pieces from where the subject ends its fall: outwards and up, each its own way."""
    size = radius(scene)
    table = uniform(scene.detail, "fragments", 0, (4, count), dtype=torch.float32).tolist()
    made = []
    for k in range(count):
        out = (k + table[0][k]) / count * 2 - 1  # from far left to far right, so that no two go the same way
        x, y = scene.x + 0.4 * out * size, scene.floor + size * (0.1 + 0.8 * table[1][k])
        made.append(Flight(x, y, 0.55 * out, 0.2 + 0.4 * table[2][k], 8 * (table[3][k] - 0.5), 0.2 * size))
    return made


def rings(frames: Frames, scene: Scene) -> None:
    """Rings on the water that widen from where something fell in."""
    hit = impact(scene)
    rows = frames.rows(scene.floor - 0.2, scene.floor + 0.2)
    y = frames.y[rows]
    zoom = frames.column([by.zoom for by in frames.cameras])
    at = [by.sees(scene.x, scene.floor, frames.pace(scene)) for by in frames.cameras]
    dx = (frames.x - frames.column([x for x, _ in at])) / zoom
    dy = (y - frames.column([y for _, y in at])) / zoom * 3.2  # a circle that lies on the water
    far = (dx.square() + dy.square()).sqrt()
    for delay in (0.0, 0.22, 0.44):
        age = frames.column([t - hit - delay for t in frames.moments])
        wave = 0.04 + 0.38 * age
        alpha = (1 - (far - wave).abs() / 0.018).clamp(0, 1) * torch.exp(-age.clamp_min(0) / 0.7) * (age > 0) * 0.85
        for channel, value in enumerate((0.88, 0.95, 0.98)):
            plane = frames.pixels[:, channel, rows]
            plane += alpha * (value - plane)


def splash(scene: Scene, moments: Sequence[float]) -> list[list[Pose | None]]:
    """The drops of a splash, a pose a frame each, None before and after they are seen."""
    hit = impact(scene)
    drops = thrown(scene, 9)
    made: list[list[Pose | None]] = []
    for drop in drops:
        higher = drop._replace(y=scene.floor, vy=drop.vy + 0.35, vx=drop.vx * 0.6, turn=0.0)
        lands = 2 * higher.vy / GRAVITY
        made.append([higher.at(t - hit, scene.floor) if 0 <= t - hit <= lands else None for t in moments])
    return made
