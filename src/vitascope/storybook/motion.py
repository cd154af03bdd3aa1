"""Laws of motion: where the subject and the camera are at each moment.

World units: the frame's safe area is 1.6 wide and 1 high around the origin, y up; a clip lasts two seconds whatever its
number of frames. One gravity holds in the whole world. Rolling is rolling without slipping: dx = -r dangle, with angles
counter-clockwise. The camera pans by moving sideways past the scene (parallax 1 at the subject) and zooms about the
centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.storybook.scenes import Scene
from vitascope.storybook.shapes import SUBJECTS, depth, extent

DURATION = 2.0
"""Seconds of world time in a clip."""
GRAVITY = 1.6
"""Frame heights per second squared."""
RESTITUTION = 0.85
"""Speed after a bounce over speed before."""
SAFE = (1.6, 1.0)
"""Width and height that every frame shows, whatever its aspect ratio."""
_TOP = 0.47  # as high as the top of a subject goes


class Pose(NamedTuple):
    """A subject at one moment: centre, radius of its bounding circle (world units), angle (radians)."""

    x: float
    y: float
    size: float
    angle: float


class Camera(NamedTuple):
    """A camera at one moment: how far it has moved to the right at the subject's depth, and its magnification."""

    x: float
    zoom: float


class Track(NamedTuple):
    """A subject over a clip, float64 [frames] each, in world units and radians; visible is bool: the subject's centre,
    as the camera sees it, is within the safe area."""

    x: Tensor
    y: Tensor
    size: Tensor
    angle: Tensor
    visible: Tensor


def radius(scene: Scene) -> float:
    """The subject's full radius: that of its bounding circle, in world units."""
    smaller = 0.88 if scene.camera.startswith("zooms") else 1.0
    return scene.radius * SUBJECTS[scene.subject].size * smaller


def rolling_radius(scene: Scene) -> float:
    """r of x = r * angle: the mean distance between the subject's centre and the ground over a turn."""
    return radius(scene) * sum(depth(scene.subject, math.pi * k / 8) for k in range(16)) / 16


def _rest(scene: Scene) -> float:
    """The height of the centre of the upright subject on the ground."""
    return scene.floor + radius(scene) * extent(scene.subject)[0]


def _headroom(scene: Scene) -> float:
    """How far the upright subject can go up from the ground and stay in the frame, nearly; at least 0.3."""
    return max(0.3, _TOP - radius(scene) * extent(scene.subject)[1] - _rest(scene))


def _way(scene: Scene, direction: int) -> float:
    """How far a subject travels that rolls or moves: the farther when the camera goes with it, so that it still crosses
    the frame, and less far when the camera zooms or goes against it, so that it stays in the frame."""
    pan = {"pans left": -1, "pans right": 1}.get(scene.camera, 0)
    share = 1.12 if pan == direction else 1.0 if scene.camera == "still" else 0.8
    return (0.9 + 0.25 * scene.vigour) * share


def _rises(scene: Scene, t: float) -> Pose:
    height = _headroom(scene) * (0.85 + 0.2 * scene.vigour)
    part = t / DURATION
    if scene.phase < 0.5:  # half of them at a constant speed, half from rest, accelerating
        part = part * part
    return Pose(scene.x, _rest(scene) + height * part, radius(scene), 0.0)


def _falls(scene: Scene, t: float) -> Pose:
    height = _headroom(scene) * (0.9 + 0.15 * scene.vigour)
    since = max(0.0, t - 0.1 - 0.5 * scene.phase)
    return Pose(scene.x, _rest(scene) + max(0.0, height - GRAVITY * since * since / 2), radius(scene), 0.0)


def _bounces(scene: Scene, t: float) -> Pose:
    apex = min(0.46, max(0.28, _headroom(scene) * (0.8 + 0.2 * scene.vigour)))
    fall = math.sqrt(2 * apex / GRAVITY)
    since, up = t + fall * 0.6 * scene.phase, fall  # time since the top of the first arc, and its second half
    speed = GRAVITY * fall
    while since > up:
        since -= up
        speed *= RESTITUTION
        up = 2 * speed / GRAVITY
    first = up == fall
    y = apex - GRAVITY * since * since / 2 if first else speed * since - GRAVITY * since * since / 2
    drift = scene.direction * (0.1 + 0.35 * scene.reach) * (t / DURATION - 0.5)
    return Pose(scene.x + drift, _rest(scene) + max(0.0, y), radius(scene), 0.0)


def _rolls(scene: Scene, t: float) -> Pose:
    x = scene.direction * _way(scene, scene.direction) * (t / DURATION - 0.5)
    angle = -x / rolling_radius(scene) + 2 * math.pi * scene.phase
    low = radius(scene) * depth(scene.subject, angle * facing(scene))
    return Pose(scene.x * 0.25 + x, scene.floor + low, radius(scene), angle)


def _spins(scene: Scene, t: float) -> Pose:
    turns = scene.direction * (0.42 + 0.28 * scene.vigour) * t
    y = max(scene.floor + radius(scene) + 0.05, -0.1) + 0.08 * scene.phase
    return Pose(scene.x, y, radius(scene), 2 * math.pi * turns)


def _moves(scene: Scene, t: float) -> Pose:
    way = 1 if scene.action == "moves right" else -1
    x = way * _way(scene, way) * (t / DURATION - 0.5)
    y = _rest(scene) + SUBJECTS[scene.subject].hover * scene.phase
    return Pose(scene.x * 0.25 + x, y, radius(scene), 0.0)


def _grows(scene: Scene, t: float) -> Pose:
    start, end = 0.3 + 0.1 * scene.phase, 1.05 + 0.15 * scene.vigour
    size = radius(scene) * (start + (end - start) * t / DURATION)
    return Pose(scene.x, scene.floor + size * extent(scene.subject)[0], size, 0.0)


def _still(scene: Scene, t: float) -> Pose:
    return Pose(scene.x, _rest(scene) + SUBJECTS[scene.subject].hover * scene.phase, radius(scene), 0.0)


ACTIONS: dict[str, Callable[[Scene, float], Pose]] = {
    "rises": _rises,
    "falls": _falls,
    "bounces": _bounces,
    "rolls": _rolls,
    "spins": _spins,
    "moves left": _moves,
    "moves right": _moves,
    "grows": _grows,
    "stays still": _still,
}
"""What each action does to the subject: a function of the scene and of seconds."""


def facing(scene: Scene) -> int:
    """+1 when the subject looks right, -1 when left: where it goes, or else where it likes."""
    if scene.action in ("moves left", "moves right"):
        return 1 if scene.action == "moves right" else -1
    return scene.direction if scene.action == "rolls" else scene.facing


def pose(scene: Scene, t: float) -> Pose:
    """The subject at t seconds."""
    return ACTIONS[scene.action](scene, t)


def camera(scene: Scene, t: float) -> Camera:
    """The camera at t seconds. Panning left moves the camera left, so that the scenery moves right."""
    part = t / DURATION - 0.5
    if scene.camera.startswith("pans"):
        way = 1 if scene.camera == "pans right" else -1
        return Camera(way * (0.32 + 0.12 * scene.reach) * part, 1.0)
    if scene.camera.startswith("zooms"):
        way = 1 if scene.camera == "zooms in" else -1
        return Camera(0.0, (1.5 + 0.2 * scene.reach) ** (way * part))
    return Camera(0.0, 1.0)


def times(frames: int) -> list[float]:
    """The seconds at which the frames are taken: frame k at 2 k / (frames - 1); a single frame in the middle."""
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, got {frames}")
    return [DURATION * k / (frames - 1) for k in range(frames)] if frames > 1 else [DURATION / 2]


def track(scene: Scene, frames: int) -> Track:
    """Where the subject is at each of `frames` frames."""
    poses = [pose(scene, t) for t in times(frames)]
    seen = []
    for t, at in zip(times(frames), poses, strict=True):
        view = camera(scene, t)
        seen.append(abs(at.x - view.x) * view.zoom <= SAFE[0] / 2 and abs(at.y) * view.zoom <= SAFE[1] / 2)
    x, y, size, angle = torch.tensor(poses, dtype=torch.float64).T
    return Track(x, y, size, angle, torch.tensor(seen))
