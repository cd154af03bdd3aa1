"""Animals: on four legs, in the air, in the water. All look right."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vitascope.storybook.distances import capsule, circle, convex, ellipse, inside, join, triangle, turned
from vitascope.storybook.limbs import REST, Joints, Leg, Limbs, Motion, Part, Subject, steps

_GROUND, _PAW = -0.64, 0.06


def _four(hind: float, fore: float, hip: float, lift: float) -> tuple[Leg, ...]:
    """Far hind, far fore, near hind, near fore: one after the other at a walk, two and two at a gallop."""
    whole = (hip - _GROUND - _PAW) / 0.985
    return tuple(
        Leg((x, hip), whole * 0.5, whole * 0.5, walk=walk, run=run, bend=bend, lift=lift)
        for x, walk, run, bend in (
            (hind + 0.07, 0.5, 0.06, -1.0),
            (fore + 0.07, 0.75, 0.56, 1.0),
            (hind - 0.03, 0.0, 0.0, -1.0),
            (fore - 0.03, 0.25, 0.5, 1.0),
        )
    )


class _Beast(NamedTuple):
    """How an animal walks: its legs, their radius, its stride."""

    legs: tuple[Leg, ...]
    limb: float
    stride: float


_FOX = _Beast(_four(-0.36, 0.3, 0.0, 0.09), 0.075, 1.08)
_DOG = _Beast(_four(-0.36, 0.3, 0.02, 0.09), 0.09, 1.1)
_CAT = _Beast(_four(-0.36, 0.26, -0.04, 0.08), 0.07, 1.0)


def _leg(x: Tensor, y: Tensor, joints: Joints, fur: str, sock: str, radius: float) -> list[Part]:
    ankle_x, ankle_y = joints.ankle
    upper = capsule(x, y, joints.hip, joints.knee, radius * 1.5, radius)
    lower = capsule(x, y, joints.knee, joints.ankle, radius, radius * 0.85)
    paw = capsule(x, y, joints.ankle, (ankle_x + 0.06, ankle_y - 0.4 * joints.lift), _PAW)
    return [Part(fur, join(upper, lower)), Part(sock, paw)]


class _Stance(NamedTuple):
    """The legs behind the body and before it, and the coordinates of the body, which goes where the hips take it."""

    behind: list[Part]
    before: list[Part]
    u: Tensor
    v: Tensor
    motion: Motion


def _stance(x: Tensor, y: Tensor, limbs: Limbs, beast: _Beast, sock: str) -> _Stance:
    motion = limbs.on(x)
    joints = [steps(leg, motion, beast.stride) for leg in beast.legs]
    hind, fore = (joints[k].hip[1] - beast.legs[k].hip[1] for k in (2, 3))
    start, end = beast.legs[2].hip[0], beast.legs[3].hip[0]
    v = y - hind - (fore - hind) * ((x - start) / (end - start)).clamp(0, 1)
    v = v - 0.2 * motion.lean * x
    behind = [part for k in (0, 1) for part in _leg(x, y, joints[k], "deep", "dark", beast.limb)]
    before = [part for k in (2, 3) for part in _leg(x, y, joints[k], "body", sock, beast.limb)]
    return _Stance(behind, before, x, v, motion)


def fox(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A fox: pointed muzzle and ears, a white chest, dark socks, a bushy tail with a pale tip."""
    behind, before, u, v, motion = _stance(x, y, limbs, _FOX, "dark")
    wag = 0.2 * motion.go * motion.cycle.sin() + 0.1 * motion.run
    s, t = turned(u, v, -wag, (-0.45, 0.02))
    tail = join(
        capsule(s, t, (-0.42, 0.04), (-0.66, -0.06), 0.09, 0.17),
        capsule(s, t, (-0.66, -0.06), (-0.86, 0.1), 0.17, 0.06),
    )
    trunk = join(
        capsule(u, v, (-0.34, 0.02), (0.28, 0.04), 0.19, 0.21), capsule(u, v, (0.3, 0.1), (0.5, 0.34), 0.19, 0.15)
    )
    head = join(circle(u, v, 0.54, 0.4, 0.2), capsule(u, v, (0.6, 0.38), (0.9, 0.26), 0.13, 0.035))
    ears = join(*(triangle(u, v, (at - 0.12, 0.48), (at + 0.1, 0.5), (at - 0.05, 0.74), 0.01) for at in (0.46, 0.68)))
    return [
        Part("body", tail),
        Part("pale", inside(tail, s + 0.72), False),
        *behind,
        Part("body", trunk),
        Part("pale", inside(ellipse(u, v, 0.46, 0.02, 0.16, 0.3), trunk), False),
        *before,
        Part("body", join(head, ears)),
        Part("pale", inside(capsule(u, v, (0.5, 0.24), (0.9, 0.2), 0.1, 0.06), head), False),
        Part("dark", circle(u, v, 0.9, 0.27, 0.055)),
        Part("dark", circle(u, v, 0.6, 0.45, 0.045), False),
    ]


def dog(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A dog: a square muzzle, a floppy ear, a collar, a patch, a short tail that wags."""
    behind, before, u, v, motion = _stance(x, y, limbs, _DOG, "body")
    wag = 0.3 * motion.go * (8 * motion.seconds + motion.cycle).sin()
    s, t = turned(u, v, wag, (-0.5, 0.14))
    tail = capsule(s, t, (-0.48, 0.12), (-0.74, 0.46), 0.075, 0.045)
    trunk = join(
        capsule(u, v, (-0.34, 0.04), (0.28, 0.06), 0.21, 0.23), capsule(u, v, (0.3, 0.14), (0.46, 0.4), 0.18, 0.16)
    )
    head = join(circle(u, v, 0.46, 0.45, 0.22), capsule(u, v, (0.54, 0.39), (0.75, 0.35), 0.15, 0.12))
    flop = 0.08 * motion.go * (2 * motion.cycle).sin()
    ear = capsule(u, v, (0.34, 0.55), (0.23 - flop, 0.25 + flop), 0.08, 0.13)
    return [
        Part("body", tail),
        *behind,
        Part("body", trunk),
        Part("deep", inside(circle(u, v, -0.2, 0.16, 0.17), trunk), False),
        *before,
        Part("light", inside(capsule(u, v, (0.24, 0.28), (0.54, 0.18), 0.055), trunk), False),
        Part("body", head),
        Part("pale", inside(capsule(u, v, (0.63, 0.31), (0.75, 0.31), 0.13), head), False),
        Part("dark", ellipse(u, v, 0.84, 0.41, 0.07, 0.055)),
        Part("dark", circle(u, v, 0.53, 0.51, 0.05), False),
        Part("edge", ear - 0.03, False),
        Part("deep", ear),
    ]


def cat(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A cat: a round face with two pointed ears, turned to us; stripes; a thin tail, raised."""
    behind, before, u, v, motion = _stance(x, y, limbs, _CAT, "pale")
    wave = 0.06 * motion.go * (motion.cycle + 1).sin() + 0.04 * (2.5 * motion.seconds).sin()
    tail = join(
        capsule(u, v, (-0.46, 0.0), (-0.7, 0.3), 0.06),
        capsule(u, v, (-0.7, 0.3), (-0.57 + wave, 0.64), 0.06, 0.055),
    )
    trunk = capsule(u, v, (-0.36, -0.02), (0.28, 0.0), 0.18, 0.18)
    stripes = join(*((u - at).abs() - 0.04 for at in (-0.3, -0.1, 0.1)))
    head = ellipse(u, v, 0.46, 0.3, 0.3, 0.26)
    sides = ((0.3, -1), (0.62, 1))
    ears = join(*(triangle(u, v, (at - 0.12, 0.42), (at + 0.12, 0.42), (at + way * 0.05, 0.72)) for at, way in sides))
    inner = join(*(triangle(u, v, (at - 0.05, 0.5), (at + 0.05, 0.5), (at + way * 0.03, 0.63)) for at, way in sides))
    return [
        Part("body", tail),
        *behind,
        Part("body", trunk),
        Part("deep", inside(stripes, inside(trunk, 0.02 - v)), False),
        *before,
        Part("body", join(head, ears)),
        Part("mark", inner, False),
        Part("pale", inside(ellipse(u, v, 0.48, 0.18, 0.15, 0.11), head), False),
        Part("light", join(ellipse(u, v, 0.36, 0.35, 0.07, 0.08), ellipse(u, v, 0.6, 0.35, 0.07, 0.08)), False),
        Part("dark", join(ellipse(u, v, 0.37, 0.35, 0.035, 0.07), ellipse(u, v, 0.61, 0.35, 0.035, 0.07)), False),
        Part("dark", ellipse(u, v, 0.48, 0.23, 0.045, 0.035), False),
    ]


def bird(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A bird in flight: beak, forked tail, a pale belly, wings that beat."""
    motion = limbs.on(x)
    beat = 0.5 + motion.go * (0.85 * motion.cycle.sin() - 0.35)
    v = y - 0.06 * motion.go * motion.cycle.cos()  # the body falls while the wings come up
    body = ellipse(x, v, 0.06, -0.08, 0.5, 0.28)
    head = circle(x, v, 0.5, 0.1, 0.21)
    tail = join(*(triangle(x, v, (-0.3, 0.0), (-0.3, -0.14), (-0.8, at), 0.04) for at in (0.12, -0.12)))
    wing = triangle(x, v, (0.3, 0.02), (-0.24, -0.02), (-0.3, 0.02 + 0.72 * beat), 0.07)
    far = triangle(x, v, (0.38, 0.06), (0.04, 0.04), (0.14, 0.06 + 0.76 * beat), 0.07)
    return [
        Part("deep", far),
        Part("deep", tail),
        Part("gold", triangle(x, v, (0.62, 0.19), (0.62, 0.01), (0.9, 0.06), 0.02)),
        Part("body", join(body, head)),
        Part("pale", inside(ellipse(x, v, 0.2, -0.26, 0.4, 0.16), body), False),
        Part("dark", circle(x, v, 0.57, 0.15, 0.055), False),
        Part("edge", wing - 0.035, False),
        Part("mark", wing),
    ]


def butterfly(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A butterfly from above, a little turned: four wings that open and close, feelers."""
    motion = limbs.on(x)
    opened = 1 - motion.go * (0.3 - 0.3 * motion.cycle.cos())
    u, v = turned(x, y, -0.3)
    w, narrow = u.abs(), 0.35 + 0.65 * opened  # both sides at once

    def patch(ax: float, ay: float, bx: float, by: float, ra: float, rb: float) -> Tensor:
        return capsule(w, v, (ax * opened, ay), (bx * opened, by), ra * narrow, rb * narrow)

    wings = join(patch(0.2, 0.14, 0.52, 0.42, 0.16, 0.34), patch(0.16, -0.16, 0.38, -0.44, 0.14, 0.25))
    return [
        Part("dark", capsule(w, v, (0.02, 0.3), (0.14, 0.66), 0.035)),
        Part("body", wings),
        Part("deep", inside(wings, -0.07 - wings), False),
        Part("mark", patch(0.5, 0.4, 0.5, 0.4, 0.17, 0.17), False),
        Part("mark", patch(0.36, -0.42, 0.36, -0.42, 0.12, 0.12), False),
        Part("dark", capsule(u, v, (0.0, 0.3), (0.0, -0.42), 0.08, 0.055)),
    ]


def fish(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A fish that faces right: tail, fin, stripe, eye. Its tail wags: it is seen shorter at each side."""
    body = ellipse(x, y, 0.2, 0, 0.7, 0.5)
    if limbs.moving:
        motion = limbs.on(x)
        seen = 1 - motion.go * (0.22 + 0.22 * motion.cycle.sin())
        back = (x + 0.3) / seen
        tail = (
            convex(
                back - 0.3, y + 0.1 * motion.go * motion.cycle.cos() * back, [(-0.3, 0), (-0.92, 0.46), (-0.92, -0.46)]
            )
            * seen
        )
    else:
        tail = convex(x, y, [(-0.3, 0), (-0.92, 0.46), (-0.92, -0.46)])
    fin = convex(x, y, [(0.35, 0.35), (-0.2, 0.72), (-0.2, 0.3)])
    return [
        Part("body", join(tail, fin)),
        Part("body", body),
        Part("mark", inside(x.abs() - 0.09, body), False),
        Part("pale", circle(x, y, 0.55, 0.14, 0.15), False),
        Part("dark", circle(x, y, 0.59, 0.14, 0.08), False),
    ]


ANIMALS: dict[str, Subject] = {
    "fox": Subject(fox, size=1.05, stride=_FOX.stride, legs=_FOX.legs),
    "dog": Subject(dog, size=1.05, stride=_DOG.stride, legs=_DOG.legs),
    "cat": Subject(cat, size=0.9, stride=_CAT.stride, legs=_CAT.legs),
    "bird": Subject(bird, size=0.9, hover=0.3),
    "butterfly": Subject(butterfly, size=0.8, hover=0.3),
    "fish": Subject(fish, size=1.35, hover=0.12),
}
