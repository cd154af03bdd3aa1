"""Laws of motion: where a subject is at each moment.

World units: the frame's safe area is 1.6 wide and 1 high around the origin, y up; a clip lasts two seconds whatever its
number of frames. One gravity holds in the whole world. What rolls turns by the way that it goes, dx = -r dangle with angles
counter-clockwise, where r is its mean radius: a ball does not slip, and what is not round does not in the mean of a turn. Who
walks or drives turns legs and wheels by the way that it goes. A pendulum swings by its equation, not by the one for small
angles. What comes nearer grows as one over its distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from vitascope.storybook.scenes import Scene
from vitascope.storybook.shapes import SUBJECTS, depth, extent
from vitascope.storybook.worlds import HEADED, PEOPLE, WALKERS

DURATION = 2.0
"""Seconds of world time in a clip."""
GRAVITY = 1.6
"""Frame heights per second squared."""
RESTITUTION = 0.85
"""Speed after a bounce over speed before."""
SAFE = (1.6, 1.0)
"""Width and height that every frame shows, whatever its aspect ratio."""
_TOP = 0.47  # as high as the top of a subject goes
_TURNING = ("rolls", "spins", "swings")
_HEADFIRST = ("bird", "butterfly", "fish")  # who circles head first; a ball has no head
_SIZES = {
    "small": 0.6,
    "usual": 1.0,
    "large": 1.25,
}  # three of the usual size (`views.cast`) are larger than a small one


class Pose(NamedTuple):
    """A subject at one moment: centre, radius of its bounding circle (world units), angle (radians), the height of the
    ground below it, what its limbs do (see `shapes.Limbs`), and the side to which it looks: +1 right, -1 left."""

    x: float
    y: float
    size: float
    angle: float
    ground: float
    cycle: float = 0.0
    effort: float = 0.0
    lean: float = 0.0
    side: int = 1


def radius(scene: Scene) -> float:
    """The subject's full radius: that of its bounding circle, in world units."""
    smaller = 0.88 if scene.camera.startswith("zooms") else 1.0
    return scene.radius * SUBJECTS[scene.subject].size * smaller * _SIZES[scene.size]


def breadth(scene: Scene) -> float:
    """How wide the upright subject is, in world units."""
    return radius(scene) * (depth(scene.subject, math.pi / 2) + depth(scene.subject, -math.pi / 2))


def span(scene: Scene) -> float:
    """How much room the subject takes from side to side, in world units: its whole circle where it turns, and at least 0.7
    of that, for arms and wings."""
    return radius(scene) * 2.0 if scene.action in _TURNING else max(1.4 * radius(scene), breadth(scene))


def rolling_radius(scene: Scene) -> float:
    """r of x = r * angle: the mean distance between the subject's centre and the ground over a turn."""
    return radius(scene) * sum(depth(scene.subject, math.pi * k / 8) for k in range(16)) / 16


def rest(scene: Scene) -> float:
    """The height of the centre of the upright subject on the ground, or on the water."""
    return scene.floor + radius(scene) * extent(scene.subject)[0]


def _headroom(scene: Scene) -> float:
    """How far the upright subject can go up from the ground and stay in the frame, nearly; at least 0.3."""
    return max(0.3, _TOP - radius(scene) * extent(scene.subject)[1] - rest(scene))


def _way(scene: Scene, direction: int) -> float:
    """How far a subject travels that rolls or moves: the farther when the camera goes with it, so that it still crosses
    the frame, and less far when the camera zooms or goes against it, so that it stays in the frame."""
    pan = {"pans left": -1, "pans right": 1}.get(scene.camera, 0)
    share = 1.12 if pan == direction else 1.0 if scene.camera in ("still", "tracks") else 0.8
    way = {"walks": 0.55 + 0.2 * scene.vigour, "runs": 1.1 + 0.3 * scene.vigour}
    return way.get(scene.action, 0.9 + 0.25 * scene.vigour) * share


def _home(scene: Scene) -> float:
    """Where a subject that crosses the frame is half-way."""
    return scene.x * 0.25


def _rises(scene: Scene, t: float) -> Pose:
    height = _headroom(scene) * (0.85 + 0.2 * scene.vigour)
    part = t / DURATION
    if scene.phase < 0.5:  # half of them at a constant speed, half from rest, accelerating
        part = part * part
    return Pose(scene.x, rest(scene) + height * part, radius(scene), 0.0, scene.floor)


def _fallen_for(scene: Scene, t: float) -> float:
    """For how many seconds it has been falling at t; negative before it is let go."""
    return t - 0.1 - 0.5 * scene.phase


def _height(scene: Scene) -> float:
    """How far what falls has to fall."""
    return _falls(scene, 0.0).y - rest(scene)


def _fall_time(scene: Scene) -> float:
    """How long it falls."""
    return math.sqrt(2 * _height(scene) / GRAVITY)


def impact(scene: Scene) -> float:
    """The second at which what falls reaches the ground or the water."""
    return _fall_time(scene) - _fallen_for(scene, 0.0)


def _falls(scene: Scene, t: float) -> Pose:
    height = _headroom(scene) * (0.9 + 0.15 * scene.vigour)
    since = max(0.0, _fallen_for(scene, t))
    return Pose(scene.x, rest(scene) + max(0.0, height - GRAVITY * since * since / 2), radius(scene), 0.0, scene.floor)


def _drops(scene: Scene, t: float) -> Pose:
    """Falls into water: below its surface it sinks, at a fifth of the speed at which it met it."""
    at, since = _falls(scene, t), _fallen_for(scene, t) - _fall_time(scene)
    return at._replace(y=at.y - since * math.sqrt(2 * GRAVITY * _height(scene)) / 5) if since > 0 else at


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
    return Pose(scene.x + drift, rest(scene) + max(0.0, y), radius(scene), 0.0, scene.floor)


def _rolls(scene: Scene, t: float) -> Pose:
    x = scene.direction * _way(scene, scene.direction) * (t / DURATION - 0.5)
    angle = -x / rolling_radius(scene) + 2 * math.pi * scene.phase
    low = radius(scene) * depth(scene.subject, angle * facing(scene))
    return Pose(_home(scene) + x, scene.floor + low, radius(scene), angle, scene.floor)


def _spins(scene: Scene, t: float) -> Pose:
    turns = scene.direction * (0.42 + 0.28 * scene.vigour) * t
    y = max(scene.floor + radius(scene) + 0.05, -0.1) + 0.08 * scene.phase
    return Pose(scene.x, y, radius(scene), 2 * math.pi * turns, scene.floor)


def _moves(scene: Scene, t: float) -> Pose:
    way = facing(scene)
    x = way * _way(scene, way) * (t / DURATION - 0.5)
    y = rest(scene) + SUBJECTS[scene.subject].hover * scene.phase
    return Pose(_home(scene) + x, y, radius(scene), 0.0, scene.floor)


def _grows(scene: Scene, t: float) -> Pose:
    start, end = 0.3 + 0.1 * scene.phase, 1.05 + 0.15 * scene.vigour
    part = t / DURATION if scene.action == "grows" else 1 - t / DURATION
    size = radius(scene) * (start + (end - start) * part)
    return Pose(scene.x, scene.floor + size * extent(scene.subject)[0], size, 0.0, scene.floor)


def _still(scene: Scene, t: float) -> Pose:
    return Pose(scene.x, rest(scene) + SUBJECTS[scene.subject].hover * scene.phase, radius(scene), 0.0, scene.floor)


def _swings(scene: Scene, t: float) -> Pose:
    length, widest = rope(scene), 0.5 + 0.35 * scene.vigour
    period = 2 * math.pi * math.sqrt(length / GRAVITY)
    angle = pendulum(length, widest * scene.direction, t + 0.35 * period * scene.phase)
    x, y = pivot(scene)
    return Pose(x + length * math.sin(angle), y - length * math.cos(angle), radius(scene), angle, scene.floor)


def rope(scene: Scene) -> float:
    """The length of the pendulum that a swinging subject is: from what it hangs on, well above it, to its centre."""
    return max(0.3 + 0.14 * scene.reach, extent(scene.subject)[1] * radius(scene) + 0.08)


def pivot(scene: Scene) -> tuple[float, float]:
    """What a swinging subject hangs on: higher up where it would touch the ground, but in the frame."""
    clear = scene.floor + 0.02 + radius(scene) * extent(scene.subject)[0] + rope(scene)
    return scene.x, max(0.36 + 0.06 * scene.phase, min(0.46, clear))


@lru_cache(maxsize=64)
def _swing(length: float, widest: float) -> tuple[float, ...]:
    """The angle of a pendulum let go at `widest`, every 1/400 s for five seconds (Störmer-Verlet)."""
    step = 1 / 400
    angles = [widest, widest - GRAVITY / length * math.sin(widest) * step * step / 2]
    while len(angles) <= 2000:
        angles.append(2 * angles[-1] - angles[-2] - GRAVITY / length * math.sin(angles[-1]) * step * step)
    return tuple(angles)


def pendulum(length: float, widest: float, t: float) -> float:
    """The angle at t seconds of a pendulum of this length that was let go at `widest`: a'' = -g/l sin a."""
    table = _swing(length, widest)
    at = min(t * 400, len(table) - 2)
    low = int(at)
    return table[low] + (at - low) * (table[low + 1] - table[low])


def _floats(scene: Scene, t: float) -> Pose:
    turn = 2 * math.pi * (t / (1.5 + 0.7 * scene.vigour) + scene.phase)
    afloat = scene.subject == "boat"
    base = rest(scene) if afloat else max(scene.floor + radius(scene) + 0.08, -0.12) + 0.1 * scene.reach
    y = base + (0.018 if afloat else 0.05) * math.sin(turn)
    x = scene.x + scene.direction * 0.07 * (t / DURATION - 0.5)
    return Pose(x, y, radius(scene), 0.07 * math.cos(turn), scene.floor)


def _orbits(scene: Scene, t: float) -> Pose:
    turn = scene.direction * 2 * math.pi * (t / (1.8 + 0.5 * scene.vigour)) + 2 * math.pi * scene.phase
    way, size = 0.24 + 0.05 * scene.reach, 0.62 * radius(scene)
    side = facing(scene)
    if scene.subject in _HEADFIRST:
        side = scene.direction if math.sin(turn) < 0 else -scene.direction
    x, y = 0.4 * scene.x + way * math.cos(turn), 0.04 + way * math.sin(turn)
    return Pose(x, y, size, 0.0, scene.floor, side=side)


def _comes(scene: Scene, t: float) -> Pose:
    """Approaches or leaves along the line of sight at a constant speed: its size is one over its distance."""
    part = t / DURATION if scene.action == "approaches" else 1 - t / DURATION
    far, near = 3.2 + 0.8 * scene.vigour, 0.9
    scale = 1 / (far + (near - far) * part)
    ground = scene.horizon + (scene.floor - scene.horizon) * scale
    size = radius(scene) * scale
    lift = SUBJECTS[scene.subject].hover * scene.phase * scale
    return Pose(scene.x * scale, ground + size * extent(scene.subject)[0] + lift, size, 0.0, ground)


def _thrown(scene: Scene, t: float) -> Pose:
    """Rises and falls again: thrown upwards from the ground, which it comes back to."""
    height = min(_headroom(scene), GRAVITY * 0.85**2 / 2) * (0.9 + 0.1 * scene.vigour)
    speed = math.sqrt(2 * GRAVITY * height)
    y = max(0.0, speed * t - GRAVITY * t * t / 2)
    return Pose(scene.x, rest(scene) + y, radius(scene), 0.0, scene.floor)


ACTIONS: dict[str, Callable[[Scene, float], Pose]] = {
    "rises": _rises,
    "falls": _falls,
    "bounces": _bounces,
    "rolls": _rolls,
    "spins": _spins,
    "moves left": _moves,
    "moves right": _moves,
    "walks": _moves,
    "runs": _moves,
    "grows": _grows,
    "shrinks": _grows,
    "stays still": _still,
    "swings": _swings,
    "floats": _floats,
    "orbits": _orbits,
    "approaches": _comes,
    "leaves": _comes,
    "shatters": _falls,
    "splashes": _drops,
}
"""What each action does to the subject: a function of the scene and of seconds."""


def facing(scene: Scene) -> int:
    """+1 when the subject looks right, -1 when left: where it goes, or else where it likes. Who circles turns around on the
    way: where it looks then, its `Pose` says."""
    if scene.action in ("moves left", "moves right"):
        return 1 if scene.action == "moves right" else -1
    hops = scene.action == "bounces" and scene.subject in WALKERS
    return scene.direction if hops or scene.action in HEADED else scene.facing


def pace(scene: Scene, t: float) -> tuple[float, float, float]:
    """What a change half-way does to the action: how many of its seconds have passed at t, how fast they pass, and how
    that changes (a second a second, and that again by the second)."""
    half, ramp = DURATION / 2, 0.3
    if scene.beat == "stops":
        since = min(max(t - half, 0.0), ramp)
        braking = 0 < t - half < ramp
        return min(t, half) + since - since * since / (2 * ramp), 1 - since / ramp, -1 / ramp if braking else 0.0
    if scene.beat in ("waits", "speeds up"):
        first, gain = (0.0, 1.6) if scene.beat == "waits" else (0.7, 1.3)
        start = half - ramp
        since = max(t - start, 0.0)
        ramped = min(since, ramp)
        passed = first * t + gain * (ramped * ramped / (2 * ramp) + max(0.0, since - ramp))
        return passed, first + gain * ramped / ramp, gain / ramp if 0 < since < ramp else 0.0
    if scene.beat == "shrinks":
        return DURATION * (1 - abs(t / half - 1)), 2.0, 0.0
    return t, 1.0, 0.0


def pose(scene: Scene, t: float) -> Pose:
    """The subject at t seconds."""
    since, speed, change = pace(scene, t)
    law = _thrown if scene.beat == "falls" else ACTIONS[scene.action]
    at = law(scene, since)
    if scene.action != "orbits":
        at = at._replace(side=facing(scene))
    return at._replace(**_limbs(scene, at, since, speed, change)) if scene.laws.limbs else at


def _limbs(scene: Scene, at: Pose, since: float, speed: float, change: float) -> dict[str, float]:
    """What its legs, wheels or wings do: by the way that it went where they carry it, else by the clock."""
    stride = SUBJECTS[scene.subject].stride
    moves = scene.action != "stays still"
    effort = (2.0 if scene.action == "runs" else 1.0) * min(1.0, speed) if moves else 0.0
    if scene.beat == "speeds up":
        effort = min(2.0, 0.7 + speed * 0.65)
    if scene.action in ("moves left", "moves right", "walks", "runs") and stride:
        way = facing(scene)
        went = way * (at.x - ACTIONS[scene.action](scene, 0.0).x)
        gain = change * _way(scene, way) / DURATION
        return {
            "cycle": 2 * math.pi * (went / (stride * at.size) + scene.phase),
            "effort": effort,
            "lean": max(-0.12, min(0.12, 0.06 * gain)),
        }
    if scene.action in ("bounces", "spins", "floats", "grows", "shrinks") and scene.subject in WALKERS:
        effort *= 0.4
    rate = 1.4 if scene.subject in PEOPLE else 1.8
    return {"cycle": 2 * math.pi * (rate * since + scene.phase), "effort": effort}


def times(frames: int) -> list[float]:
    """The seconds at which the frames are taken: frame k at 2 k / (frames - 1); a single frame in the middle."""
    if frames < 1:
        raise ValueError(f"a clip has at least one frame, got {frames}")
    return [DURATION * k / (frames - 1) for k in range(frames)] if frames > 1 else [DURATION / 2]
