"""A network that tells priors: the answer is what Bayes makes of them and of what is noised."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from vitascope.diffusion import BOUNDS, Diffusion
from vitascope.models.dit import DEVIATION, DiT, DiTConfig
from vitascope.physics.exact import GaussianMixture
from vitascope.physics.field import evaluate
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction
from vitascope.physics.schedule import VP, Cosine, Linear, Schedule
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import Uniform, shifted

KINDS: tuple[Prediction, ...] = ("x0", "eps", "v", "velocity")
SCHEDULES = pytest.mark.parametrize("schedule", [Linear(), Cosine(), VP()], ids=lambda s: type(s).__name__)
S = torch.tensor([3.5, 1.0, 0.25], dtype=torch.float64)
ROWS, SHAPE = 6, (3, 2, 2, 2)


class Told(nn.Module):
    """It tells one prior of everything, by default the one that says nothing, and remembers what it saw."""

    def __init__(self, mean: float = 0.0, spread: float = 0.0) -> None:
        super().__init__()
        self.register_buffer(DEVIATION, S.clone())
        self.mean, self.spread, self.seen = mean, spread, list[Tensor]()

    def forward(self, x: Tensor, clock: Tensor, **_: Tensor) -> Tensor:
        self.seen.append(x)
        return torch.cat((torch.full_like(x, self.mean), torch.full_like(x, self.spread)), 1)


def column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)


def data(rows: int = ROWS) -> Tensor:
    return column(S) * drawn(rows, 0)


def drawn(rows: int, seed: int) -> Tensor:
    return torch.randn((rows, *SHAPE), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at_unit_variance(schedule: Schedule, t: float, x: Tensor) -> Tensor:
    c = schedule.at(t)
    return x / column(((c.alpha * S).square() + c.sigma.square()).sqrt())


@SCHEDULES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("mean", "spread"), [(0.0, 0.0), (0.7, -1.5), (-1.2, 0.4)])
def test_of_a_gaussian_that_is_told_the_field_is_the_exact_one(
    schedule: Schedule, kind: Prediction, mean: float, spread: float
) -> None:
    """One that says nothing tells N(0, s^2): the best linear guess."""
    system, x = Diffusion(Told(mean, spread), schedule, kind, Uniform()), drawn(2, 1)
    for t in (0.02, 0.1, 0.6, 0.95):
        found = evaluate(system.field({}), x, t, kind="x0")
        for channel, s in enumerate(S.tolist()):
            middle = torch.full((1, *SHAPE[1:]), mean * s, dtype=torch.float64)
            exact = GaussianMixture(middle, s * math.exp(spread)).field(schedule)
            torch.testing.assert_close(found[:, channel], evaluate(exact, x[:, channel], t, kind="x0"))


@SCHEDULES
@pytest.mark.parametrize("kind", KINDS)
def test_no_other_prior_has_less_loss_than_the_true_one(schedule: Schedule, kind: Prediction) -> None:
    x0, noise = column(S) * (0.5 + math.exp(-0.7) * drawn(2000, 2)), Noise(tuple(range(2000)))

    def loss(mean: float, spread: float) -> float:
        return float(Diffusion(Told(mean, spread), schedule, kind, Uniform(0.1, 0.9)).loss(x0, {}, noise=noise).mean())

    least = loss(0.5, -0.7)
    for mean, spread in ((0.4, -0.7), (0.6, -0.7), (0.5, -0.5), (0.5, -0.9)):
        assert loss(mean, spread) > least


def test_the_loss_is_of_what_the_field_says() -> None:
    x0, noise, t = data(), Noise(tuple(range(ROWS))), 0.4
    system = Diffusion(Told(0.3, -0.2), Linear(), "velocity", Uniform(t, t))
    eps = noise.like("eps", 0, x0)
    said = system.field({})(Linear().noised(x0, eps, t), t)
    wanted = (said - (eps - x0)).square().flatten(1).mean(1)
    torch.testing.assert_close(system.loss(x0, {}, noise=noise), wanted)


def test_no_value_is_more_certain_than_the_bound() -> None:
    x = drawn(2, 3)
    for spread, bound in zip((-50.0, 50.0), BOUNDS):
        found, same = (
            Diffusion(Told(0.2, one), Linear(), "velocity", Uniform()).field({})(x, 0.3) for one in (spread, bound)
        )
        assert torch.equal(found, same)
        assert found.isfinite().all()


def test_a_temperature_narrows_what_the_field_draws_from_and_not_the_loss() -> None:
    x, x0, noise = drawn(2, 3), data(), Noise(tuple(range(ROWS)))
    cool = Diffusion(Told(0.2, -0.5), Linear(), "velocity", Uniform(0.3, 0.3), temperature=0.4)
    narrow = Diffusion(Told(0.2, -0.5 + math.log(0.4)), Linear(), "velocity", Uniform(0.3, 0.3))
    plain = Diffusion(Told(0.2, -0.5), Linear(), "velocity", Uniform(0.3, 0.3))
    torch.testing.assert_close(cool.field({})(x, 0.3), narrow.field({})(x, 0.3))
    torch.testing.assert_close(cool.clocked(lambda t: t).field({})(x, 0.3), narrow.field({})(x, 0.3))
    assert torch.equal(cool.loss(x0, {}, noise=noise), plain.loss(x0, {}, noise=noise))


def test_what_is_seen_has_unit_variance_at_every_time() -> None:
    x0, net = data(4000), Told()
    for t in (0.01, 0.3, 0.7, 0.99):
        Diffusion(net, Linear(), "velocity", Uniform(t, t)).loss(x0, {}, noise=Noise(tuple(range(4000))))
        torch.testing.assert_close(net.seen[-1].std((0, 2, 3, 4)), torch.ones_like(S), atol=0.02, rtol=0)


def test_a_first_frame_that_is_given_is_seen_at_its_own_size() -> None:
    x0, noise, net = data(), Noise(tuple(range(ROWS))), Told()
    system = Diffusion(net, Linear(), "velocity", Uniform(0.4, 0.4))
    begun = torch.tensor([True, False] * (ROWS // 2))
    system.loss(x0, {}, noise=noise, begun=begun)
    seen = at_unit_variance(Linear(), 0.4, Linear().noised(x0, noise.like("eps", 0, x0), 0.4))
    torch.testing.assert_close(net.seen[0][begun][:, :, :1], (x0 / column(S))[begun][:, :, :1])
    torch.testing.assert_close(net.seen[0][begun][:, :, 1:], seen[begun][:, :, 1:])
    torch.testing.assert_close(net.seen[0][~begun], seen[~begun])
    field = system.beginning(system.field({}, x0[:1, :, :1]), x0[:1, :, :1], SHAPE[1])
    evaluate(field, torch.zeros((1, *SHAPE), dtype=torch.float64), 0.4)
    torch.testing.assert_close(net.seen[-1][:, :, :1], (x0[:1] / column(S))[:, :, :1])


def test_a_walk_ends_in_data_of_every_channels_own_size() -> None:
    system = Diffusion(Told(), Linear(), "velocity", Uniform())
    noise = Noise(tuple(range(400)))
    x = noise.normal("start", 0, SHAPE).double()
    for step in SOLVERS["unipc"](system.field({}), x, shifted(100, 3.0), noise=noise):
        x = step.x
    torch.testing.assert_close(x.std((0, 2, 3, 4)), S, rtol=0.05, atol=0)


def test_a_network_without_a_deviation_is_asked_as_ever() -> None:
    config = DiTConfig(width=32, heads=2, layers=1, ffn=32, in_channels=3, out_channels=3, text_width=8, freq_width=16)
    torch.manual_seed(0)
    plain, other = DiT(config), DiT(dataclasses.replace(config, prior=True))
    assert set(other.state_dict()) - set(plain.state_dict()) == {DEVIATION}
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, clock, context = torch.randn(2, 3, 2, 4, 4), torch.full((2,), 400.0), torch.randn(1, 3, 8).expand(2, -1, -1)
    system = Diffusion(plain, Linear(), "velocity", Uniform())
    torch.testing.assert_close(system.field({"context": context})(x, 0.4), plain(x, clock, context=context))
