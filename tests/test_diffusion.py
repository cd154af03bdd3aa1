"""Diffusion owns the loss and the field, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitascope.diffusion import Diffusion, thousandfold
from vitascope.models.clip import CLIPConfig
from vitascope.models.dit import DiT, DiTConfig
from vitascope.physics.exact import GaussianMixture
from vitascope.physics.field import evaluate
from vitascope.physics.guidance import guide
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction, convert
from vitascope.physics.schedule import VP, Cosine, Linear, Schedule
from vitascope.physics.times import LogitNormal, Uniform
from vitascope.text import ClipText, Words

KINDS: tuple[Prediction, ...] = ("x0", "eps", "v", "velocity")
GAUSS = GaussianMixture(torch.full((1, 1, 1, 1, 2), 0.7, dtype=torch.float64), 0.5)


class Exact(nn.Module):
    """A network that knows the data's Gaussian: it answers with the mean of what it is asked for, and a mistake if told to."""

    def __init__(self, schedule: Schedule, kind: Prediction, mistake: float = 0.0) -> None:
        super().__init__()
        self.schedule, self.mistake = schedule, mistake
        self.kind: Prediction = kind

    def forward(self, x: Tensor, clock: Tensor, **_: Tensor) -> Tensor:
        t = clock / 1000
        c = self.schedule.at(t)
        alpha, sigma = (k.reshape(-1, 1, 1, 1, 1) for k in (c.alpha, c.sigma))
        # E[x0 | x] of one Gaussian: the mean, moved by the regression of x0 on x.
        gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
        x0 = 0.7 + gain * (x.double() - 0.7 * alpha)
        return convert(x0, x.double(), c, "x0", self.kind).to(x.dtype) + self.mistake


def diffusion(schedule: Schedule, kind: Prediction, mistake: float = 0.0) -> Diffusion:
    return Diffusion(Exact(schedule, kind, mistake), schedule, kind, Uniform(0.05, 0.95))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("schedule", [Linear(), Cosine(), VP()], ids=lambda s: type(s).__name__)
def test_the_exact_network_has_the_least_loss_and_its_field_is_the_exact_one(
    schedule: Schedule, kind: Prediction
) -> None:
    data = GAUSS.sample(0, 4000).reshape(4000, 1, 1, 1, 2)
    noise = Noise(tuple(range(4000)))
    least = diffusion(schedule, kind).loss(data, {}, noise=noise)
    assert least.shape == (4000,)
    for mistake in (-0.05, 0.05):
        assert diffusion(schedule, kind, mistake).loss(data, {}, noise=noise).mean() > least.mean()
    x, t = torch.randn(3, 1, 1, 1, 2, dtype=torch.float64), 0.4
    field = diffusion(schedule, kind).field({})
    torch.testing.assert_close(field(x, t), GAUSS.field(schedule)(x, t).reshape(x.shape), atol=1e-9, rtol=0)


def test_what_is_left_of_the_loss_is_the_targets_own_spread() -> None:
    data = GAUSS.sample(0, 20_000).reshape(20_000, 1, 1, 1, 2)
    system = Diffusion(Exact(Linear(), "velocity"), Linear(), "velocity", Uniform(0.5, 0.5))
    # At t = 0.5 of the linear path x = (x0 + eps) / 2 and v = eps - x0: var(v | x) = 4 s^2 / (1 + s^2), s = 0.5.
    assert float(system.loss(data, {}, noise=Noise(tuple(range(20_000)))).mean()) == pytest.approx(0.8, rel=0.03)


def test_a_velocity_goes_through_the_field_untouched() -> None:
    system = diffusion(Linear(), "velocity")
    x = torch.randn(2, 1, 1, 1, 2)
    told = system.net(x, torch.full((2,), 400.0, dtype=torch.float64))
    torch.testing.assert_close(system.field({})(x, 0.4), told, atol=1e-6, rtol=0)


class Watched(nn.Module):
    """It remembers what it was told, and answers with zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[Tensor, dict[str, Tensor]]] = []

    def forward(self, x: Tensor, clock: Tensor, **condition: Tensor) -> Tensor:
        self.told.append((clock, condition))
        return torch.zeros_like(x)


@pytest.mark.parametrize("clock", [thousandfold, lambda t: 1 - t], ids=["thousandfold", "other"])
def test_loss_and_field_tell_the_network_the_same_time(clock: Callable) -> None:
    net, seen = Watched(), []
    density = LogitNormal(shift=2.0)

    class Remembered:
        def at(self, u: Tensor) -> Tensor:
            seen.append(density.at(u))
            return seen[-1]

    system = Diffusion(net, Linear(), "velocity", Remembered(), clock)
    x = torch.zeros(5, 1, 1, 1, 2)
    system.loss(x, {}, noise=Noise(tuple(range(5))))
    for row, t in enumerate(seen[0].tolist()):
        evaluate(system.field({}), x, t)
        assert net.told[-1][0].dtype == torch.float64
        torch.testing.assert_close(net.told[-1][0], net.told[0][0][row].expand(5), atol=1e-12, rtol=0)


def test_a_rows_loss_depends_on_its_seed_and_index_alone() -> None:
    data = GAUSS.sample(0, 4).reshape(4, 1, 1, 1, 2)
    system = diffusion(Linear(), "velocity", 0.1)
    whole = system.loss(data, {}, noise=Noise((7, 8, 9, 10)))
    part = system.loss(data[2:3], {}, noise=Noise((9,)))
    torch.testing.assert_close(whole[2:3], part)
    assert not torch.equal(whole, system.loss(data, {}, noise=Noise((7, 8, 9, 10)), index=1))


def small() -> tuple[Diffusion, ClipText]:
    torch.manual_seed(0)
    words = Words.of(("a", "red", "ball", "bounces", "dark"))
    config = CLIPConfig(len(words), 8, 16, 1, 2, (16, 16), 16, 16, 1, 2, 8, causal=False)
    net = DiT(
        DiTConfig(width=32, heads=2, layers=2, ffn=32, in_channels=2, out_channels=2, text_width=16, freq_width=16)
    )
    for parameter in net.parameters():  # a fresh network answers zero to everything
        nn.init.normal_(parameter, std=0.2)
    return Diffusion(net, Linear(), "velocity", LogitNormal()), ClipText(config, words).requires_grad_(False)


@pytest.mark.parametrize("negative", ["", "dark", "a red ball bounces a red"])
def test_guidance_takes_one_call_of_the_network_whatever_the_prompts_lengths(negative: str) -> None:
    system, text = small()
    x = torch.randn(3, 2, 2, 4, 4)
    positive = system.field(text(["a red ball bounces"]))
    other = system.field(text([negative]))
    rows: list[int] = []
    system.net.register_forward_pre_hook(lambda _, args: rows.append(args[0].shape[0]))
    guided = guide(positive, other, 5.0)(x, 0.6)
    assert rows == [6]
    one, two = positive(x, 0.6), other(x, 0.6)
    assert rows == [6, 3, 3]
    torch.testing.assert_close(guided, two + 5.0 * (one - two), atol=2e-4, rtol=0)
    assert (one - two).abs().max() > 1e-2


def test_autocast_stays_within_the_network() -> None:
    system, text = small()
    x, condition = torch.randn(1, 2, 2, 4, 4), text(["a ball"])
    exact = system.field(condition)(x, 0.5)
    system.autocast = True
    near = system.field(condition)(x, 0.5)
    assert near.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert 0 < (near - exact).norm() / exact.norm() < 0.05
