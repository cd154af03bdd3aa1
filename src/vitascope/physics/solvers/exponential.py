"""Exponential integrators: each step is the exact move `transport`, given an estimate of x0 of the solver's choosing.

Between two times the path is (sigma_s / sigma_t) x + (alpha_s - alpha_t sigma_s / sigma_t) x0 exactly, if x0 stands
still. So DDIM holds x0; DPM-Solver++(2M) looks half a step ahead with it; UniPC besides goes back, once it knows x0 at
the end, and takes the step again; and the ancestral solvers (sde.py) turn the remaining noise by an angle towards new
noise. None needs an exception at t = 1, where alpha = 0 and logsnr = -inf: what would be extrapolated from there has
weight zero.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitascope.physics.field import Field
from vitascope.physics.noise import Noise
from vitascope.physics.schedule import Schedule
from vitascope.physics.solvers.step import Step, finite, fresh, remaining


@torch.no_grad()
def ddim(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None, eta: float = 0.0
) -> Iterator[Step]:
    """Song et al. 2021 (arXiv:2010.02502), eq. 12: hold x0, move along the path. One call a step, first order.

    eta in [0, 1]: 0 adds no noise, 1 is ddpm.
    """
    if finite(eta, "eta") > 1:
        raise ValueError(f"got eta = {eta}, expected a number from 0 (no noise) to 1 (as much as ddpm)")
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        x0 = field.denoised(x, t)
        if eta == 0:
            x = field.schedule.transport(x, x0, t, s)
        else:
            x = turned(field.schedule, x, x0, t, s, fresh(noise, index, x), eta)
        yield Step(index, s, x, x0)


@torch.no_grad()
def dpmpp_2m(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), algorithm 2: DDIM with x0 carried half a step ahead.

    One call a step, second order.
    """
    last = after
    for index, t, s in remaining(times, after):
        x = x if last is None else last.x
        x0 = field.denoised(x, t)
        ahead = extrapolated(field.schedule, times, index, x0, None if last is None else last.x0)
        last = Step(index, s, field.schedule.transport(x, ahead, t, s), x0)
        yield last


@torch.no_grad()
def unipc(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """UniPC-2 with B(h) = e^h - 1 ("bh2"), Zhao et al. 2023 (arXiv:2302.04867). One call a step, third order.

    The estimate that a step needs also tells how the last step should have gone, which is taken again with it (UniC).
    So a Step's x is the predicted one (UniP); its memory is where the step began (corrected) and the estimate before
    x0.
    """
    last = after
    for index, t, s in remaining(times, after):
        x = x if last is None else last.x
        x0 = field.denoised(x, t)
        if last is None:
            before: tuple[Tensor, ...] = ()
        else:
            start, between = torch.as_tensor(last.memory[0]), _interpolated(field.schedule, times, x0, last)
            x = field.schedule.transport(start, between, float(times[index - 1]), t)
            before = (last.x0,)
        ahead = extrapolated(field.schedule, times, index, x0, *before)
        last = Step(index, s, field.schedule.transport(x, ahead, t, s), x0, (x, *before))
        yield last


def extrapolated(schedule: Schedule, times: Tensor, index: int, x0: Tensor, before: Tensor | None = None) -> Tensor:
    """x0 carried to the middle (in logsnr) of interval `index`, along the line through the estimate `before`.

    It is x0 itself where there is none before, and where the interval ends at t = 0, whose middle is infinitely far.
    """
    if before is None or times[index + 1] == 0:
        return x0
    r, t, s = (schedule.logsnr(float(time)) for time in times[index - 1 : index + 2])
    # arXiv:2211.01095, algorithm 2, line 8: D = (1 + 1 / 2r) x0 - (1 / 2r) x0_before, r being (t - r) / (s - t)
    return x0 + (s - t) / (2 * (t - r)) * (x0 - before)


def _interpolated(schedule: Schedule, times: Tensor, x0: Tensor, last: Step) -> Tensor:
    """UniC: the x0 with which to take the step `last` again, now that x0 at its end is known."""
    change = x0 - last.x0
    if len(last.memory) == 1:
        return last.x0 + change / 2
    earlier = torch.as_tensor(last.memory[1])
    q, r, t = (schedule.logsnr(float(time)) / 2 for time in times[last.index - 1 : last.index + 2])
    h, ratio = t - r, (q - r) / (t - r)
    # arXiv:2302.04867, section 3.1, for order 2: what the weights rho must give (b) for a constant and for a slope.
    p = torch.expm1(-h)
    phi = -p / h - 1
    b1, b2 = phi / p, 2 * (-phi / h - 0.5) / p
    # [[1, 1], [ratio, 1]] rho = b, solved by hand: at ratio = -inf (alpha was 0) it is still right, (0, b1).
    rho1 = (b1 - b2) / (1 - ratio)
    return last.x0 + rho1 / ratio * (earlier - last.x0) + (b1 - rho1) * change


def turned(schedule: Schedule, x: Tensor, x0: Tensor, t: float, s: float, new: Tensor, eta: float = 1.0) -> Tensor:
    """From t to s, with the noise of x turned by an angle towards `new` noise.

    eta = 0 is transport; eta = 1 draws from the posterior q(x_s | x_t, x0), that is the step of DDPM.
    """
    c, d = schedule.at(t), schedule.at(s)
    # arXiv:2010.02502, eq. 16, over sigma_s: sin^2 = eta^2 (1 - snr_t / snr_s). No 0 / 0 where alpha_t or sigma_s is 0.
    sine = eta * torch.sqrt(-torch.expm1(schedule.logsnr(t) - schedule.logsnr(s)))
    eps = (x - c.alpha * x0) / c.sigma
    return d.alpha * x0 + d.sigma * (torch.sqrt(1 - sine**2) * eps + sine * new)
