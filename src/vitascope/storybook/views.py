"""What is seen: where the camera is, and who is in the clip."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, overload

import torch
from torch import Tensor

from vitascope.storybook.motion import DURATION, SAFE, Pose, breadth, pose, radius, span, times
from vitascope.storybook.scenes import Scene
from vitascope.storybook.worlds import TRAVELS


class Camera(NamedTuple):
    """A camera at one moment: how far it has moved to the right at the subject's depth, its magnification, how far its
    view has been turned up, whether it is turned, while it moves, to hold the subject's depth where it is (1) or not (0), and
    how far its view has been turned to the right. What it moves past shifts by its parallax, what it turns past all alike.
    """

    x: float
    zoom: float
    y: float = 0.0
    held: float = 0.0
    aside: float = 0.0

    def shift(self, parallax: float = 1.0) -> float:
        """How far what is at this parallax moves to the left on the screen."""
        return self.x * (parallax - self.held) + self.aside

    def sees(self, x: float, y: float, parallax: float = 1.0) -> tuple[float, float]:
        """Where a point at this parallax is on the screen, in world units."""
        return (x - self.shift(parallax)) * self.zoom, (y - self.y) * self.zoom


FAR = 0.55
"""Parallax of the skyline; that of the ground on which the subject stands is 1."""


@overload
def parallax(scene: Scene, ground: float) -> float: ...
@overload
def parallax(scene: Scene, ground: Tensor) -> Tensor: ...
def parallax(scene: Scene, ground: float | Tensor) -> float | Tensor:
    """How far the ground at this height moves against the camera, beside the ground on which the subject stands: the
    farther off, the less, down to `FAR` at the horizon. What stands there moves with it."""
    depth = (scene.horizon - ground) / (scene.horizon - scene.floor)  # 0 at the horizon, 1 where the subject stands
    return FAR + (1 - FAR) * (depth.clamp_min(0) if isinstance(depth, Tensor) else max(0.0, depth))


def on_screen(scene: Scene, at: Pose, by: Camera) -> tuple[float, float]:
    """Where the centre of who has this pose in the scene's clip is on the screen, in world units."""
    return by.sees(at.x, at.y, parallax(scene, at.ground))


class View(NamedTuple):
    """How the world lies on a frame: pixels per world unit, and the frame's half-sizes in world units."""

    scale: float
    half_width: float
    half_height: float


def view(height: int, width: int) -> View:
    """The view that shows the safe area whole, centred, on a frame of height x width pixels."""
    scale = min(width / SAFE[0], height / SAFE[1])
    return View(scale, width / 2 / scale, height / 2 / scale)


def camera(scene: Scene, t: float) -> Camera:
    """The camera at t seconds. Panning left turns it left, so that all there is moves right; where the world has rails it is
    moved to the left instead (a film maker's truck), and what is far off moves less."""
    part = t / DURATION - 0.5
    if scene.camera.startswith("pans"):
        way = 1 if scene.camera == "pans right" else -1
        went = way * (0.32 + 0.12 * scene.reach) * part
        return Camera(went, 1.0) if scene.laws.rails else Camera(0.0, 1.0, aside=went)
    if scene.camera.startswith("zooms"):
        way = 1 if scene.camera == "zooms in" else -1
        return Camera(0.0, (1.5 + 0.2 * scene.reach) ** (way * part))
    if scene.camera.startswith("tilts"):
        way = 1 if scene.camera == "tilts up" else -1
        return Camera(0.0, 1.0, way * (0.22 + 0.1 * scene.reach) * part)
    if scene.camera == "circles":
        return Camera(scene.facing * (0.5 + 0.2 * scene.reach) * part, 1.0, 0.0, 1.0)
    if scene.camera == "tracks":
        return Camera(0.94 * (pose(scene, t).x - pose(scene, DURATION / 2).x), 1.0)
    return Camera(0.0, 1.0)


def cast(scene: Scene) -> tuple[Scene, ...]:
    """Who is in the clip, the subject first: each as the scene that it would be alone in."""
    if scene.relation != "none":
        return _pair(scene)
    copies = {"one": 1, "two": 2, "three": 3}[scene.count]
    if copies == 1:
        return (scene,)
    fewer = replace(scene, radius=scene.radius * (0.86 if copies == 2 else 0.76))
    gap = 1.1 * span(fewer) + 0.035  # and the outlines
    spread = 4.0 if scene.action in TRAVELS else 1.0  # who crosses the frame is a quarter of its x from the middle
    made = []
    for k in range(copies):
        x = (k - (copies - 1) / 2) * gap * spread + 0.3 * scene.x / (copies - 1)
        shade = (scene.shade[k % 3], scene.shade[(k + 1) % 3], scene.shade[(k + 2) % 3])
        back = 0.035 * (k % 2)
        phase = scene.phase if scene.action == "swings" else (scene.phase + 0.37 * k) % 1.0  # ropes are not to cross
        made.append(replace(fewer, count="one", x=x, floor=scene.floor + back, phase=phase, shade=shade))
    return tuple(made)


def _pair(scene: Scene) -> tuple[Scene, ...]:
    """The subject and the other, where their relation puts them."""
    one = replace(scene, relation="none", radius=scene.radius * 0.8)
    two = replace(
        one, subject=scene.other, colour=scene.other_colour, size="usual", phase=(scene.phase + 0.4) % 1.0, beat="none"
    )
    if scene.relation in ("follows", "chases"):
        gap = scene.direction * (0.05 + 0.5 * (radius(one) + radius(two)))
        return replace(one, x=-4 * gap), replace(two, x=4 * gap, beat=scene.beat)
    two = replace(two, action="stays still")
    if scene.relation == "behind":
        # the middle of the narrower one is at the side of the wider: half of it is before, or behind, the other
        side = 0.25 * max(breadth(one), breadth(two)) * scene.direction
        one = replace(
            one, phase=scene.phase / 4, reach=0.0
        )  # it keeps near: neither far above the other nor hopping away
        return replace(one, x=side, floor=scene.floor + 0.1), replace(two, x=-side, floor=scene.floor - 0.02)
    side = 0.37 if scene.relation == "right of" else -0.37
    return replace(one, x=side), replace(two, x=-side)


def presence(scene: Scene, frames: int, height: int, width: int) -> Tensor:
    """Whether anyone of the cast is there: bool [t h w] over a grid laid on the frame, a cell being as near to a centre as the
    bounding circle and half a cell reach."""
    seen = view(height, width)
    x = (torch.arange(width) + 0.5 - width / 2) / seen.scale
    y = (height / 2 - torch.arange(height) - 0.5) / seen.scale
    found = torch.zeros(frames, height, width, dtype=torch.bool)
    for frame, moment in enumerate(times(frames)):
        by = camera(scene, moment)
        for each in cast(scene):
            at = pose(each, moment)
            across, up = on_screen(scene, at, by)
            reach = at.size * by.zoom + 0.5 / seen.scale
            found[frame] |= (x - across).square() + (y - up).square()[:, None] <= reach**2
    return found
