"""Runge-Kutta solvers of dx/dt = v(x, t), for any field and schedule.

An interval that ends at t = 0 is one `transport` of the estimate: there is no velocity to ask for at t = 0, and near
it a VP path is steep (sigma ~ sqrt t), where a straight line would leave noise behind. On the linear schedule that is
Euler's step itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from vitascope.physics.field import Field
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import convert
from vitascope.physics.solvers.step import Step, finite, remaining


@torch.no_grad()
def euler(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """Euler's method. One call a step, first order."""
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        v = field(x, t)
        x0 = _x0(field, v, x, t)
        x = x + (s - t) * v if s > 0 else field.schedule.transport(x, x0, t, s)
        yield Step(index, s, x, x0)


@torch.no_grad()
def heun(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """Heun's method, as in Karras et al. 2022 (arXiv:2206.00364), algorithm 1. Two calls a step, second order."""
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        v = field(x, t)
        x0 = _x0(field, v, x, t)
        if s > 0:
            ahead = field(x + (s - t) * v, s)
            x = x + (s - t) / 2 * (v + ahead)
        else:
            x = field.schedule.transport(x, x0, t, s)
        yield Step(index, s, x, x0)


@torch.no_grad()
def midpoint(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """The explicit midpoint rule. Two calls a step, second order."""
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        v = field(x, t)
        x0 = _x0(field, v, x, t)
        if s > 0:
            between = field(x + (s - t) / 2 * v, (t + s) / 2)
            x = x + (s - t) * between
        else:
            x = field.schedule.transport(x, x0, t, s)
        yield Step(index, s, x, x0)


@torch.no_grad()
def rk4(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """The classical Runge-Kutta method. Four calls a step, fourth order."""
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        v = field(x, t)
        x0 = _x0(field, v, x, t)
        if s > 0:
            d, middle = s - t, (t + s) / 2
            second = field(x + d / 2 * v, middle)
            third = field(x + d / 2 * second, middle)
            x = x + d / 6 * (v + 2 * second + 2 * third + field(x + d * third, s))
        else:
            x = field.schedule.transport(x, x0, t, s)
        yield Step(index, s, x, x0)


_FIRST = 0.01  # the first step tried; a wrong guess costs two or three calls
_LEAST = 1e-5  # a step as small as this is taken whatever its error: below it float32 sees rounding only


@torch.no_grad()
def adaptive(
    field: Field,
    x: Tensor,
    times: Tensor,
    *,
    noise: Noise | None = None,
    after: Step | None = None,
    tolerance: float = 1e-2,
) -> Iterator[Step]:
    """Bogacki and Shampine's embedded pair (1989, doi:10.1016/0893-9659(89)90079-7): steps that follow a tolerance.

    A step's error is at most `tolerance` a unit of t. The solution of second order is the one that goes on, so that its
    distance from the one of third order is its own error, and not that of something worse.

    The grid says only where it reports, so let it be coarse: between two times it takes as many steps as it needs,
    three calls each, and yields one Step, whose x0 is the estimate at its end. Errors are root mean squares over the
    values of a row, the largest of the rows; so the rows of a batch share their steps. `error` is that of the signed
    sum of the local estimates so far; it leaves out how the flow itself stretches them, and the interval that ends at
    t = 0. memory: the next step's length, that sum, the velocity at x. Raises FloatingPointError where the field is not
    finite.
    """
    if finite(tolerance, "tolerance") == 0:
        raise ValueError("got tolerance = 0, expected a positive number")
    last = after
    for index, t, s in remaining(times, after):
        length, total, v = (_FIRST, torch.zeros_like(x), field(x, t)) if last is None else last.memory
        x, length = x if last is None else last.x, float(length)
        total, v = torch.as_tensor(total), torch.as_tensor(v)
        while t > s > 0:
            steps = math.ceil((t - s) / length)
            h = (t - s) / steps
            moved, error, slope = _embedded(field, x, v, t, h)
            rate = _rms(error) / h
            if not math.isfinite(rate):
                raise FloatingPointError(f"got a field that is not finite in t = {t - h} ... {t}, expected numbers")
            if rate <= tolerance or h <= _LEAST:
                x, v, total, t = moved, slope, total + error, s if steps == 1 else t - h
            # The local error goes as h^3, the rate as h^2.
            length = max(_LEAST, h * min(5.0, max(0.2, 0.9 * math.sqrt(tolerance / max(rate, 1e-300)))))
        x0 = _x0(field, v, x, t)
        x = x if s > 0 else field.schedule.transport(x, x0, t, s)
        last = Step(index, s, x, x0, (length, total, v), _rms(total))
        yield last


def _embedded(field: Field, x: Tensor, v: Tensor, t: float, h: float) -> tuple[Tensor, Tensor, Tensor]:
    """From x with velocity v at t: (x to second order, what that is off the third order, the velocity), at t - h."""
    second = field(x - h / 2 * v, t - h / 2)
    third = field(x - 3 * h / 4 * second, t - 3 * h / 4)
    finer = x - h * (2 / 9 * v + 1 / 3 * second + 4 / 9 * third)
    # This velocity is also the next step's first; that it belongs to `finer` costs less than the error of a step.
    slope = field(finer, t - h)
    moved = x - h * (7 / 24 * v + 1 / 4 * second + 1 / 3 * third + 1 / 8 * slope)
    return moved, moved - finer, slope


def _x0(field: Field, v: Tensor, x: Tensor, t: float) -> Tensor:
    """The estimate of the data that a velocity implies."""
    return convert(v, x, field.schedule.at(t), "velocity", "x0")


def _rms(x: Tensor) -> float:
    """Root mean square of each row's values, the largest of the rows."""
    return float(x.flatten(1).square().mean(1).sqrt().max())
