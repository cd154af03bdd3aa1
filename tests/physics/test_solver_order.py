"""Every solver keeps the order of convergence that it states."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.physics import VP, Coefficients, Cosine, Field, Linear, Noise, Schedule, leaf
from vitascope.physics.exact import Gaussian, GaussianMixture
from vitascope.physics.solvers import ORDER, SOLVERS, WEAK, Step, adaptive, ddim, euler, euler_maruyama

SCHEDULES = [Linear(), Cosine(), VP()]
COUNTS = [16, 32, 64, 128, 256]
START, END = 0.9, 0.1
MIXTURE = GaussianMixture([[-1.0], [0.5], [1.5]], [0.4, 0.5, 0.3], [0.3, 0.5, 0.2])
POINTS = torch.linspace(-1.5, 1.5, 7, dtype=torch.float64).unsqueeze(1)


def grid(count: int) -> Tensor:
    return torch.linspace(START, END, count + 1, dtype=torch.float64)


def share_below(x: Tensor, t: float, schedule: Schedule) -> Tensor:
    """The distribution function of x_t."""
    c = schedule.at(t)
    means, stds = MIXTURE.means.squeeze(1), MIXTURE.stds.squeeze(1)
    standard = (x - c.alpha * means) / ((c.alpha * stds) ** 2 + c.sigma**2).sqrt()
    return (MIXTURE.weights * torch.special.erfc(-standard / math.sqrt(2)) / 2).sum(1, keepdim=True)


def truth(schedule: Schedule) -> Tensor:
    """Where the flow leads, without a solver: in one dimension it keeps the share of the mass below x. By bisection."""
    share = share_below(POINTS, START, schedule)
    low, high = torch.full_like(POINTS, -10.0), torch.full_like(POINTS, 10.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = share_below(middle, END, schedule) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def slopes(errors: list[float]) -> list[float]:
    return [math.log2(before / after) for before, after in pairwise(errors)]


def assert_order(errors: list[float], stated: float) -> None:
    """Over the finer half of the counts the order is the stated one, and over all of them nearly."""
    measured = slopes(errors)
    assert measured[-1] == pytest.approx(stated, abs=0.15), (errors, measured)
    assert sum(measured) / len(measured) == pytest.approx(stated, abs=0.25), (errors, measured)


def test_every_solver_states_an_order() -> None:
    assert set(ORDER) == set(SOLVERS)
    assert set(SOLVERS) >= WEAK
    assert {*ODE, *(name for name, *_ in STEPS_OF_SDE), "adaptive"} == set(SOLVERS)


ODE = sorted(set(SOLVERS) - WEAK - {"adaptive"})


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("name", ODE)
def test_the_error_on_a_mixture_falls_as_stated(name: str, schedule: Schedule) -> None:
    field, end = MIXTURE.field(schedule), truth(schedule)
    errors = []
    for count in COUNTS:
        *_, last = SOLVERS[name](field, POINTS, grid(count))
        errors.append(float((last.x - end).square().mean().sqrt()))
    assert_order(errors, ORDER[name])


def test_the_orders_that_the_field_knows() -> None:
    expected = {"euler": 1, "ddim": 1, "heun": 2, "midpoint": 2, "dpmpp_2m": 2, "rk4": 4}
    assert {name: ORDER[name] for name in expected} == expected
    assert ORDER["unipc"] >= 2.5


class Given(Noise):
    """A Noise that hands out the numbers it was given."""

    def like(self, purpose: str, index: int, x: Tensor) -> Tensor:
        return torch.tensor(self.seeds, dtype=x.dtype).reshape(x.shape)


Affine = tuple[Tensor, Tensor, Tensor]


def probed(solver: Callable[..., Iterator[Step]], field: Field, times: Tensor, index: int) -> Affine:
    """A step as (matrix, noise, offset) on (x, the estimate before): both are affine in these and in the noise.

    Four rows tell it: the origin, and the origin with one of x, the estimate and the noise set to 1.
    """
    x, before = (torch.tensor([[0.0], [place], [1 - place], [0.0]], dtype=torch.float64) for place in (1, 0))
    noise = Given((0, 0, 0, 1))
    after = None if index == 0 else Step(index - 1, float(times[index]), x, before)
    step = next(iter(solver(field, x, times, noise=noise, after=after)))
    answer = torch.cat([step.x, step.x0], dim=1)
    offset = answer[0]
    matrix = torch.stack([answer[1] - offset, answer[2] - offset], dim=1)
    return matrix, answer[3] - offset, offset


def moments(
    solver: Callable[..., Iterator[Step]], data: Gaussian, schedule: Schedule, count: int
) -> tuple[float, float]:
    """Mean and variance at the end of a walk that starts with the right variance and a mean off by 1: no sampling."""
    field, times = data.field(schedule), grid(count)
    c, m, s = schedule.at(START), data.means[0, 0], data.stds[0, 0]
    mean, covariance = torch.zeros(2, dtype=torch.float64), torch.zeros(2, 2, dtype=torch.float64)
    mean[0], covariance[0, 0] = c.alpha * m + 1, (c.alpha * s) ** 2 + c.sigma**2
    for index in range(count):
        matrix, noise, offset = probed(solver, field, times, index)
        mean = matrix @ mean + offset
        covariance = matrix @ covariance @ matrix.T + torch.outer(noise, noise)
    return float(mean[0]), float(covariance[0, 0])


def true_moments(w: Callable[[Coefficients], Tensor], data: Gaussian, schedule: Schedule) -> tuple[float, float]:
    """The same of the reverse SDE with diffusion w, dx = (v - w score / 2) dt + sqrt(w) dW, by quadrature.

    With V the variance of x_t, the drift multiplies what a mean is off by V' / 2 V + w / 2 V a unit of t.
    """
    times = torch.linspace(END, START, 4001, dtype=torch.float64)
    c, m, s = schedule.at(times), data.means[0, 0], data.stds[0, 0]
    variance = (c.alpha * s) ** 2 + c.sigma**2
    off = (variance[0] / variance[-1]).sqrt() * torch.exp(-torch.trapezoid(w(c) / variance, times) / 2)
    return float(c.alpha[0] * m + off), float(variance[0])


def markov(c: Coefficients) -> Tensor:
    """The diffusion of the forward process itself, sigma^2 d(-logsnr)/dt: the ancestral solvers' own."""
    return 2 * c.sigma**2 * (c.d_sigma / c.sigma - c.d_alpha / c.alpha)


STEPS_OF_SDE: list[tuple[str, dict[str, Any], Callable[[Coefficients], Tensor]]] = [
    ("ddpm", {}, markov),
    ("dpmpp_2m_sde", {}, markov),
    ("ddim", {"eta": 0.5}, lambda c: 0.25 * markov(c)),
    ("ddim", {"eta": 1.0}, markov),
    ("euler_maruyama", {}, lambda c: c.sigma),
    ("euler_maruyama", {"w": lambda t: 0.7}, lambda c: torch.full_like(c.sigma, 0.7)),
]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize(("name", "keywords", "w"), STEPS_OF_SDE)
def test_mean_and_variance_converge_as_stated(
    name: str, keywords: dict[str, Any], w: Callable[[Coefficients], Tensor], schedule: Schedule
) -> None:
    data = Gaussian([0.7], 1.5)
    mean, variance = true_moments(w, data, schedule)
    errors = []
    for count in COUNTS[:-1]:
        got = moments(partial(SOLVERS[name], **keywords), data, schedule, count)
        errors.append(abs(got[0] - mean) + abs(got[1] - variance))
    assert_order(errors, ORDER[name])


def test_without_diffusion_euler_maruyama_is_euler() -> None:
    field = MIXTURE.field(Linear())
    quiet = [step.x for step in euler_maruyama(field, POINTS, grid(8), noise=Noise((0,) * 7), w=lambda t: 0.0)]
    torch.testing.assert_close(torch.stack(quiet), torch.stack([step.x for step in euler(field, POINTS, grid(8))]))


@pytest.mark.parametrize("w", [lambda t: -t, lambda t: 1 / (0.9 - t) if t < 0.9 else math.inf, lambda t: math.nan])
def test_a_diffusion_that_is_negative_or_infinite_is_refused(w: Callable[[float], float]) -> None:
    field = MIXTURE.field(Linear())
    with pytest.raises(ValueError, match=r"got w\(0\.9\)"):
        next(euler_maruyama(field, POINTS, grid(8), noise=Noise((0,) * 7), w=w))


@pytest.mark.parametrize("eta", [-0.1, 1.1, math.nan])
def test_an_eta_outside_its_range_is_refused(eta: float) -> None:
    with pytest.raises(ValueError, match="eta"):
        next(ddim(MIXTURE.field(Linear()), POINTS, grid(8), eta=eta))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_adaptive_knows_its_error(schedule: Schedule) -> None:
    field, end = MIXTURE.field(schedule), truth(schedule)
    errors = []
    for tolerance in [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]:
        *_, last = adaptive(field, POINTS, torch.tensor([START, 0.5, END], dtype=torch.float64), tolerance=tolerance)
        errors.append(float((last.x - end).square().mean(1).sqrt().max()))
        assert last.error is not None
        assert errors[-1] / 10 < last.error < errors[-1] * 10
        assert errors[-1] < 4 * tolerance
    assert all(after < before for before, after in pairwise(errors)), errors
    assert errors[-1] < 1e-3 * errors[0], errors


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_adaptive_converges_in_its_calls_as_stated(schedule: Schedule) -> None:
    end, errors, calls = truth(schedule), [], []
    for tolerance in [1e-3, 1e-5]:
        asked: list[float] = []

        def network(x: Tensor, t: float, asked: list[float] = asked) -> Tensor:
            asked.append(t)
            return MIXTURE.velocity(x, t, schedule)

        *_, last = adaptive(leaf(schedule, network, "velocity"), POINTS, grid(1), tolerance=tolerance)
        errors.append(float((last.x - end).square().mean().sqrt()))
        calls.append(len(asked))
    order = math.log(errors[0] / errors[1]) / math.log(calls[1] / calls[0])
    assert order == pytest.approx(ORDER["adaptive"], abs=0.3)


def test_the_error_of_adaptive_gathers_over_the_grid() -> None:
    field = MIXTURE.field(Linear())
    (whole,), parts = (list(adaptive(field, POINTS, grid(count), tolerance=1e-5)) for count in (1, 8))
    assert whole.error is not None
    assert parts[-1].error == pytest.approx(whole.error, rel=0.3)
    for step in parts:
        assert step.error == float(torch.as_tensor(step.memory[1]).square().mean(1).sqrt().max())


def test_adaptive_refuses_what_is_not_finite() -> None:
    field = MIXTURE.field(Linear())
    with pytest.raises(FloatingPointError, match="not finite"):
        list(adaptive(field, POINTS * math.nan, grid(4)))
    with pytest.raises(ValueError, match="tolerance"):
        next(adaptive(field, POINTS, grid(4), tolerance=0.0))
