"""What a subject is made of: parts, and the limbs that move some of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

MATERIALS = (
    "body", "mark", "deep", "edge",  # in the colour of the subject: plain, lighter, darker, that of its outline
    "dark", "pale", "glass", "wood", "metal", "gold", "skin", "hair", "cloth", "denim",
    "flame", "light",  # these shine by themselves
)  # fmt: skip
"""What parts can be made of."""


class Part(NamedTuple):
    """A patch of one material: one of `MATERIALS`."""

    material: str
    distance: Tensor
    solid: bool = True


class Limbs(NamedTuple):
    """What the moving parts of a subject do, a number a frame, [t 1 1] each (or numbers).

    cycle: radians of its gait, wheels or wings; 2 pi is one whole cycle, and walkers and wheels turn it by the way they go,
    so that what stands on the ground does not slip. effort: 0 at rest, 1 at a walk, 2 at a run. lean: radians by which it
    leans back against its way (speeding up) or forward (braking). seconds: since the clip began, for flames and tails.
    dress: what a person wears, "coat" or "scarf", else "".
    """

    cycle: Tensor | float = 0.0
    effort: Tensor | float = 0.0
    lean: Tensor | float = 0.0
    seconds: Tensor | float = 0.0
    dress: str = ""

    @property
    def moving(self) -> bool:
        """Whether the limbs are told for each frame, and not left at rest."""
        return isinstance(self.cycle, Tensor)

    def on(self, x: Tensor) -> Motion:
        """The limbs as tensors like the coordinates x."""
        cycle, effort, lean, seconds = (torch.as_tensor(n, dtype=x.dtype, device=x.device) for n in self[:4])
        return Motion(cycle, effort, lean.clamp(-0.25, 0.25), seconds)


class Motion(NamedTuple):
    """The limbs of `Limbs`, as tensors; lean is held within a quarter of a radian."""

    cycle: Tensor
    effort: Tensor
    lean: Tensor
    seconds: Tensor

    @property
    def go(self) -> Tensor:
        """From 0, standing, to 1, walking or more."""
        return self.effort.clamp(0, 1)

    @property
    def run(self) -> Tensor:
        """From 0, walking or less, to 1, running."""
        return (self.effort - 1).clamp(0, 1)


REST = Limbs()
"""Nothing moves."""


class Leg(NamedTuple):
    """A leg of two segments: where its hip is when it stands, the lengths of its segments, when in the cycle (0 to 1) its
    foot comes down at a walk and at a run, to which side its knee bends (+1 forward), how high it lifts its foot."""

    hip: tuple[float, float]
    thigh: float
    shank: float
    walk: float
    run: float
    bend: float
    lift: float


class Joints(NamedTuple):
    """Where a leg is: its hip, knee and ankle, each (x, y), and how far its foot is off the ground."""

    hip: tuple[Tensor, Tensor]
    knee: tuple[Tensor, Tensor]
    ankle: tuple[Tensor, Tensor]
    lift: Tensor


class Subject(NamedTuple):
    """How a subject is drawn; its size beside the others'; how high it floats, at most, when at rest; the way that one
    cycle of its limbs takes it, in its radii (0: its limbs keep their own time, one cycle a second at effort 1); the legs
    that it walks on."""

    draw: Callable[[Tensor, Tensor, Limbs], list[Part]]
    size: float = 1.0
    hover: float = 0.0
    stride: float = 0.0
    legs: tuple[Leg, ...] = ()


WALK_DUTY, RUN_DUTY = 0.58, 0.5
"""The share of the cycle in which a foot stands on the ground."""


def steps(leg: Leg, motion: Motion, stride: float) -> Joints:
    """Where a leg is at its moment of the gait.

    While it stands, its foot goes back under the body at exactly the speed of the way, stride / (2 pi) a radian, so that it
    keeps its place on the ground; then it is lifted and swung forward along a cubic whose ends share that speed in part.
    The hip comes down as far as the straight leg asks for at the far ends of the step; the knee follows from the two
    (inverse kinematics of two segments).
    """
    duty = WALK_DUTY + (RUN_DUTY - WALK_DUTY) * motion.run
    phase = (motion.cycle / (2 * math.pi) - leg.walk - (leg.run - leg.walk) * motion.run) % 1.0
    half = stride * duty / 2
    s = ((phase - duty) / (1 - duty)).clamp(0, 1)
    onward = half * (6 * s.square() - 4 * s.pow(3) - 1)
    drag = 0.6 * stride * (1 - duty) * s * (1 - s) * (1 - 2 * s)
    reach = torch.where(phase < duty, half - stride * phase, onward - drag) * motion.go
    lift = leg.lift * (1 + 1.2 * motion.run) * (math.pi * s).sin().clamp_min(0) * motion.go
    whole = leg.thigh + leg.shank
    stand = 0.985 * whole
    low = stand - (whole * whole - half.square()).sqrt()
    # both feet of a pair are on the ground, far apart, about the middle of the time in which their stances overlap
    together = 0.5 + 0.5 * (4 * math.pi * (phase - (duty - 0.5) / 2)).cos()
    x, y = leg.hip[0] + 0 * reach, leg.hip[1] - low * together * motion.go
    dx, dy = reach, leg.hip[1] - stand + lift - y
    far = (dx.square() + dy.square()).sqrt()
    held = far.clamp(max=0.999 * whole)
    ux, uy = dx / far, dy / far
    along = (leg.thigh**2 - leg.shank**2 + held.square()) / (2 * held)
    out = leg.bend * (leg.thigh**2 - along.square()).clamp_min(0).sqrt()
    knee = (x + along * ux - out * uy, y + along * uy + out * ux)
    return Joints((x, y), knee, (x + held * ux, y + held * uy), lift)
