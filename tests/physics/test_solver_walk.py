"""What every walk keeps to: where it looks at the field, how often, and what it leaves as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitascope.errors import Undefined
from vitascope.physics import VE, VP, Cosine, DiscreteVP, Linear, Noise, Prediction, Schedule, leaf
from vitascope.physics.exact import Gaussian, GaussianMixture
from vitascope.physics.solvers import SOLVERS, WEAK, ddim, ddpm

NOISE = Noise((1, 2))
SCHEDULES = [Linear(), Cosine(), VP(), VE(), DiscreteVP.scaled_linear(), DiscreteVP.cosine()]
CALLS = {"heun": 2, "midpoint": 2, "rk4": 4}
MIXTURE = GaussianMixture([[-1.0, 0.5], [1.0, 0.0]], 0.5)


class Watched:
    """A network that notes each time it is asked about, and will not be asked about t = 0."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule, self.times = schedule, list[float]()

    def __call__(self, x: Tensor, t: float) -> Tensor:
        assert t > 0, "the field was evaluated at t = 0"
        self.times.append(t)
        return MIXTURE.velocity(x, t, self.schedule).to(x.dtype)


def grid(count: int, first: float = 1.0) -> Tensor:
    return torch.linspace(first, 0, count + 1, dtype=torch.float64)


def ids(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, Schedule) else None


@pytest.mark.parametrize("count", [1, 2, 3, 8])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=ids)
@pytest.mark.parametrize("name", SOLVERS)
def test_from_pure_noise_to_the_data_and_never_at_zero(name: str, schedule: Schedule, count: int) -> None:
    """From t = 1, where logsnr may be -inf, to t = 0, where it is inf: every number is finite, the dtype is kept."""
    network = Watched(schedule)
    x = NOISE.normal("start", 0, (2,)) * schedule.at(1.0).sigma
    steps = list(SOLVERS[name](leaf(schedule, network, "velocity"), x, grid(count), noise=NOISE))
    assert [step.t for step in steps] == grid(count)[1:].tolist()
    for step in steps:
        numbers = (step.x, step.x0, *step.memory)
        assert all(bool(torch.isfinite(torch.as_tensor(value)).all()) for value in numbers)
        assert step.x.dtype == step.x0.dtype == torch.float32
    # At t = 0 what is left is the estimate itself, up to what extrapolates it.
    torch.testing.assert_close(steps[-1].x, steps[-1].x0, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"adaptive"}))
def test_calls_a_step(name: str) -> None:
    """One call, or as many as the method has stages; one for the interval that ends at t = 0, whatever the method."""
    network = Watched(Linear())
    calls = []
    for _ in SOLVERS[name](leaf(Linear(), network, "velocity"), NOISE.normal("start", 0, (2,)), grid(6), noise=NOISE):
        calls.append(len(network.times))
        network.times.clear()
    assert calls == [CALLS.get(name, 1)] * 5 + [1]


def test_calls_of_adaptive() -> None:
    """Three a step, one for the first velocity, none for the interval that ends at t = 0."""
    network = Watched(Linear())
    list(SOLVERS["adaptive"](leaf(Linear(), network, "velocity"), NOISE.normal("start", 0, (2,)), grid(6)))
    assert len(network.times) % 3 == 1
    assert 1 + 3 * 5 <= len(network.times) <= 1 + 3 * 20
    assert max(network.times) == 1


@pytest.mark.parametrize("name", SOLVERS)
def test_the_callers_mode_is_its_own(name: str) -> None:
    """No gradient is recorded in a walk, and its caller goes on recording between the steps."""
    scale = torch.ones((), requires_grad=True)
    field = leaf(Linear(), lambda x, t: scale * x, "velocity")
    walk = SOLVERS[name](field, torch.ones(2, 3), grid(3), noise=NOISE)
    for step in walk:
        assert torch.is_grad_enabled()
        assert not step.x.requires_grad
        assert (2 * scale).requires_grad
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(("kind", "schedule"), [("eps", Linear()), ("score", Cosine())], ids=ids)
@pytest.mark.parametrize("name", SOLVERS)
def test_a_prediction_that_says_nothing_is_refused(name: str, kind: Prediction, schedule: Schedule) -> None:
    field = leaf(schedule, lambda x, t: x, kind)
    with pytest.raises(Undefined):
        next(iter(SOLVERS[name](field, torch.ones(2, 3), grid(4), noise=NOISE)))
    # Below t = 1 the same field can be walked.
    assert bool(torch.isfinite(list(SOLVERS[name](field, torch.ones(2, 3), grid(4, 0.9), noise=NOISE))[-1].x).all())


@pytest.mark.parametrize("name", sorted(WEAK))
def test_a_solver_that_adds_noise_asks_for_it(name: str) -> None:
    field = MIXTURE.field(Linear())
    with pytest.raises(ValueError, match="got noise=None"):
        next(iter(SOLVERS[name](field, torch.ones(2, 2), grid(4))))


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"adaptive"}))
def test_a_batch_equals_its_members(name: str) -> None:
    field, x = MIXTURE.field(Linear()), NOISE.normal("start", 0, (2,), dtype=torch.float64)
    *_, both = SOLVERS[name](field, x, grid(5), noise=NOISE)
    for row, seed in enumerate(NOISE.seeds):
        *_, one = SOLVERS[name](field, x[row : row + 1], grid(5), noise=Noise((seed,)))
        torch.testing.assert_close(both.x[row : row + 1], one.x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"adaptive"}))
def test_the_first_steps_from_pure_noise_are_the_limit(name: str) -> None:
    """Where alpha is exactly 0 the walk is the limit of walks that begin ever closer to it.

    A multistep solver comes near only as 1 / logsnr, which is how it forgets an estimate from far away in logsnr.
    """
    field, x = MIXTURE.field(Linear()), NOISE.normal("start", 0, (2,), dtype=torch.float64)

    def walk(first: float) -> Tensor:
        times = torch.cat([torch.tensor([first], dtype=torch.float64), grid(6, 0.8)])
        return torch.stack([step.x for step in SOLVERS[name](field, x, times, noise=NOISE)])

    gaps = [float((walk(1 - short) - walk(1.0)).norm()) for short in (1e-3, 1e-7, 1e-14)]
    assert gaps[1] < 0.6 * gaps[0]
    assert gaps[2] < 0.6 * gaps[1]
    assert gaps[2] < 2e-2


def test_ddpm_is_ddim_with_all_its_noise() -> None:
    field, x = MIXTURE.field(VP()), NOISE.normal("start", 0, (2,), dtype=torch.float64)
    *_, ancestral = ddpm(field, x, grid(6), noise=NOISE)
    *_, full = ddim(field, x, grid(6), noise=NOISE, eta=1.0)
    assert torch.equal(ancestral.x, full.x)


@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver_ends_in_the_data(name: str) -> None:
    """Many draws of noise, walked: mean and spread are the data's, within what so few samples and steps can say."""
    data, seeds = Gaussian([0.5], 0.4), tuple(range(500))
    x = Noise(seeds).normal("start", 0, (1,), dtype=torch.float64)
    times = grid(40) ** 1.5
    *_, last = SOLVERS[name](data.field(Linear()), x, times, noise=Noise(seeds))
    assert float(last.x.mean()) == pytest.approx(0.5, abs=0.06)
    assert float(last.x.std()) == pytest.approx(0.4, rel=0.12)
