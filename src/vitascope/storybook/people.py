"""People: a woman, a man and a child, in a coat or a scarf of their colour.

Each is drawn from the side, looking right, and told from the others by its build and its hair: the man is broad, bearded
and short-haired; the woman has long hair and a flared hem; the child's head is large, under a cap of hair with a bun.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vitascope.storybook.distances import Number, capsule, circle, convex, ellipse, inside, join
from vitascope.storybook.limbs import REST, Joints, Leg, Limbs, Motion, Part, Subject, steps

_SEAM = 0.035  # the line around an arm that is before the body
_FOOT = 0.06


class Build(NamedTuple):
    """The measures of a person, in local units: heights from the centre, half-widths, the radius of a limb."""

    head: float
    head_y: float
    shoulder: float
    shoulders: float
    waist: float
    hem_y: float
    hem: float
    limb: float
    reach: float
    stride: float
    legs: tuple[Leg, ...]
    dress: bool = False
    """Whether the plain clothes are a dress."""


def _legs(hip: float, ground: float, apart: float, lift: float) -> tuple[Leg, Leg]:
    """The far and the near leg between a hip and the ground, which they reach nearly straight."""
    whole = (hip - ground - _FOOT) / 0.985
    far, near = (
        Leg((x, hip), whole * 0.5, whole * 0.5, walk=start, run=start, bend=1.0, lift=lift)
        for x, start in ((apart - 0.04, 0.5), (-apart - 0.04, 0.0))
    )
    return far, near


_MAN = Build(
    head=0.2, head_y=0.69, shoulder=0.36, shoulders=0.27, waist=0.23, hem_y=-0.36, hem=0.28, limb=0.1, reach=0.28,
    stride=1.14, legs=_legs(-0.13, -0.91, 0.08, 0.12),
)  # fmt: skip
_WOMAN = Build(
    head=0.2, head_y=0.67, shoulder=0.38, shoulders=0.17, waist=0.12, hem_y=-0.38, hem=0.36, limb=0.075, reach=0.27,
    stride=1.12, legs=_legs(-0.11, -0.91, 0.06, 0.12), dress=True,
)  # fmt: skip
_CHILD = Build(
    head=0.34, head_y=0.44, shoulder=0.06, shoulders=0.21, waist=0.22, hem_y=-0.52, hem=0.3, limb=0.1, reach=0.22,
    stride=0.98, legs=_legs(-0.28, -0.91, 0.09, 0.11),
)  # fmt: skip


def _leg(x: Tensor, y: Tensor, joints: Joints, cloth: str, radius: float) -> list[Part]:
    ankle_x, ankle_y = joints.ankle
    toe: tuple[Number, Number] = (ankle_x + 0.12, ankle_y - 0.5 * joints.lift)
    upper = capsule(x, y, joints.hip, joints.knee, radius * 1.1, radius)
    lower = capsule(x, y, joints.knee, joints.ankle, radius, radius * 0.75)
    boot = capsule(x, y, (ankle_x - 0.02, ankle_y), toe, _FOOT)
    return [Part(cloth, join(upper, lower)), Part("dark", boot)]


def _arm(x: Tensor, y: Tensor, motion: Motion, build: Build, sleeve: str, side: int) -> list[Part]:
    """An arm that swings against the leg of its side (+1 the near one), bent the more the faster."""
    swing = 0.1 - side * motion.go * (0.5 + 0.25 * motion.run) * motion.cycle.cos()
    bend = swing + 0.25 + 1.2 * motion.run
    elbow = (build.reach * swing.sin(), build.shoulder - build.reach * swing.cos())
    hand = (elbow[0] + build.reach * bend.sin(), elbow[1] - build.reach * bend.cos())
    wrist = (hand[0] + 0.3 * (elbow[0] - hand[0]), hand[1] + 0.3 * (elbow[1] - hand[1]))
    r = build.limb * 0.8
    arm = join(capsule(x, y, (0.0, build.shoulder), elbow, r), capsule(x, y, elbow, wrist, r, r * 0.9))
    seam = [Part("edge", arm - _SEAM, False)] if side > 0 else []
    return [Part("skin", capsule(x, y, hand, hand, r * 1.15)), *seam, Part(sleeve, arm)]


def _face(x: Tensor, y: Tensor, build: Build) -> list[Part]:
    """The head without its hair: a nose on the side to which it looks, an eye."""
    r, cy = build.head, build.head_y
    head = join(circle(x, y, 0.03, cy, r), circle(x, y, 0.03 + r, cy - 0.12 * r, 0.2 * r))
    return [Part("skin", head), Part("dark", ellipse(x, y, 0.04 + 0.5 * r, cy + 0.03, 0.045, 0.055), False)]


def _scarf(x: Tensor, y: Tensor, motion: Motion, build: Build) -> tuple[list[Part], list[Part]]:
    """A thick scarf: its end, which flies behind, and what lies about the neck, over chin and hair."""
    neck = build.head_y - build.head - 0.01
    wave = 0.05 * (4.5 * motion.seconds).sin() + 0.18 * motion.go
    knot = (-0.13, neck - 0.02)
    end = (-0.36 - 0.16 * motion.go, neck - 0.36 + wave)
    band = join(capsule(x, y, knot, (0.15, neck - 0.03), 0.1), capsule(x, y, (0.1, neck), (0.14, neck - 0.3), 0.075))
    tail = capsule(x, y, knot, end, 0.06, 0.1)
    behind, before = ([Part("edge", piece - 0.03, False), Part("body", piece)] for piece in (tail, band))
    return behind, before


def _trunk(x: Tensor, y: Tensor, motion: Motion, build: Build, coat: bool) -> list[Part]:
    """The body from the shoulders down: in a long coat or a dress that sways with the steps, or to the hips."""
    long = coat or build.dress
    low = build.hem_y if long else build.legs[0].hip[1] - 0.06
    hem = build.hem if long else build.waist
    middle = (low + build.shoulder) / 2
    u = x - 0.1 * motion.go * motion.cycle.sin() * (-y).clamp_min(0) if long else x

    def band(at: float, wide: float, top: float, wider: float) -> Tensor:
        return convex(u, y, [(-wide, at), (wide, at), (wider, top), (-wider, top)])

    across = build.shoulders - 0.1
    rounding = capsule(u, y, (-across, build.shoulder), (across, build.shoulder), 0.1)
    upper = band(middle, build.waist, build.shoulder, build.shoulders)
    trunk = join(upper, band(low, hem, middle, build.waist), rounding)
    if not coat:
        return [Part("cloth", trunk), Part("denim", inside((y - middle).abs() - 0.04, trunk), False)]
    return [
        Part("body", trunk),
        Part("deep", inside((y - middle).abs() - 0.045, trunk), False),
        Part("mark", inside((y - low - 0.03).abs() - 0.045, trunk), False),
    ]


def _person(x: Tensor, y: Tensor, limbs: Limbs, build: Build) -> tuple[list[Part], Tensor, Tensor]:
    """All but the hair; and the coordinates of the head, for it."""
    motion = limbs.on(x)
    coat = limbs.dress != "scarf"
    far, near = (steps(leg, motion, build.stride) for leg in build.legs)
    hip = build.legs[0].hip[1]
    tilt = (motion.lean - 0.12 * motion.run).clamp(-0.2, 0.2)
    v = y + (hip - near.hip[1])  # the body goes down with the hips
    u = x + tilt * (v - hip).clamp_min(0)
    sleeve, shade = ("body", "deep") if coat else ("cloth", "denim")
    parts = [
        *_arm(u, v, motion, build, shade, -1),
        *_leg(x, y, far, "dark", build.limb),
        *_leg(x, y, near, "denim", build.limb),
        *_trunk(u, v, motion, build, coat),
        Part("skin", capsule(u, v, (0.0, build.shoulder), (0.02, build.head_y), 0.085)),
        *_arm(u, v, motion, build, sleeve, 1),
    ]
    return parts, u, v


def _dressed(parts: list[Part], hair: list[Tensor], u: Tensor, v: Tensor, limbs: Limbs, build: Build) -> list[Part]:
    """The person with head and hair, and with a scarf where one is worn."""
    behind, before = _scarf(u, v, limbs.on(u), build) if limbs.dress == "scarf" else ([], [])
    return [*parts, *_face(u, v, build), *behind, *(Part("hair", lock) for lock in hair), *before]


def man(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A man: broad shoulders, short hair, a beard."""
    parts, u, v = _person(x, y, limbs, _MAN)
    r, cy = _MAN.head, _MAN.head_y
    crown = inside(circle(u, v, 0.03, cy, r + 0.02), -circle(u, v, 0.14, cy - 0.13, 0.23))
    beard = inside(circle(u, v, 0.05, cy - 0.05, r), -circle(u, v, 0.12, cy + 0.06, 0.19))
    return _dressed(parts, [crown, beard], u, v, limbs, _MAN)


def woman(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A woman: slim, in a flared hem, with long hair that swings."""
    motion = limbs.on(x)
    parts, u, v = _person(x, y, limbs, _WOMAN)
    r, cy = _WOMAN.head, _WOMAN.head_y
    swing = 0.1 * motion.go + 0.04 * motion.go * (2 * motion.cycle).sin()
    locks = capsule(u, v, (-0.1, cy + 0.02), (-0.17 - swing, cy - 0.42 + 0.5 * swing), r * 0.8, 0.11)
    hair = inside(join(locks, circle(u, v, 0.02, cy + 0.01, r + 0.035)), -circle(u, v, 0.15, cy - 0.1, 0.22))
    return _dressed(parts, [hair], u, v, limbs, _WOMAN)


def child(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A child: a large head, a bun on top of it, short limbs."""
    parts, u, v = _person(x, y, limbs, _CHILD)
    r, cy = _CHILD.head, _CHILD.head_y
    crown = inside(circle(u, v, 0.02, cy + 0.02, r + 0.03), -circle(u, v, 0.16, cy - 0.22, 0.4))
    return _dressed(parts, [join(crown, circle(u, v, -0.1, cy + r + 0.06, 0.11))], u, v, limbs, _CHILD)


PEOPLE: dict[str, Subject] = {
    "woman": Subject(woman, size=1.25, stride=_WOMAN.stride, legs=_WOMAN.legs),
    "man": Subject(man, size=1.25, stride=_MAN.stride, legs=_MAN.legs),
    "child": Subject(child, size=0.95, stride=_CHILD.stride, legs=_CHILD.legs),
}
