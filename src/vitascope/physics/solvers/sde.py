"""Solvers of the reverse SDE: they remove more noise than they should and put new noise in its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vitascope.physics.field import Field
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import split
from vitascope.physics.solvers.exponential import extrapolated, turned
from vitascope.physics.solvers.step import Step, finite, fresh, remaining


@torch.no_grad()
def ddpm(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """Ho et al. 2020 (arXiv:2006.11239), algorithm 2 with the posterior's own variance (eq. 7), between any two times.

    One call a step, weak order 1.
    """
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        x0 = field.denoised(x, t)
        x = turned(field.schedule, x, x0, t, s, fresh(noise, index, x))
        yield Step(index, s, x, x0)


@torch.no_grad()
def dpmpp_2m_sde(
    field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M), Lu et al. 2022 (arXiv:2211.01095), section 6: ddpm with x0 carried half a step ahead.

    One call a step, weak order 2: along the reverse SDE x0 changes by its answer to the noise alone, and the answer to
    the noise of the last step stands, in distribution, for that to the noise of this one.
    """
    last = after
    for index, t, s in remaining(times, after):
        x = x if last is None else last.x
        x0 = field.denoised(x, t)
        ahead = extrapolated(field.schedule, times, index, x0, None if last is None else last.x0)
        last = Step(index, s, turned(field.schedule, x, ahead, t, s, fresh(noise, index, x)), x0)
        yield last


@torch.no_grad()
def euler_maruyama(
    field: Field,
    x: Tensor,
    times: Tensor,
    *,
    noise: Noise | None = None,
    after: Step | None = None,
    w: Callable[[float], float] | None = None,
) -> Iterator[Step]:
    """Ma et al. 2024 (SiT, arXiv:2401.08740), eq. 4: dx = (v - w score / 2) dt + sqrt(w) dW, in falling t.

    Whatever w(t) >= 0, the marginals are the same. It must be finite wherever a step begins; without one, w = sigma,
    which is so for every schedule. One call a step, weak order 1. Raises ValueError for a w below 0 or not finite.
    """
    if w is not None:
        for _, t, _ in remaining(times):
            finite(w(t), f"w({t})")
    x = x if after is None else after.x
    for index, t, s in remaining(times, after):
        c, v = field.schedule.at(t), field(x, t)
        strength = w(t) if w is not None else float(c.sigma)
        x0, eps = split(v, x, c, "velocity")
        if s == 0:
            x = field.schedule.transport(x, x0, t, s)
        else:
            score = -eps / c.sigma
            x = x + (s - t) * (v - strength / 2 * score) + (strength * (t - s)) ** 0.5 * fresh(noise, index, x)
        yield Step(index, s, x, x0)
