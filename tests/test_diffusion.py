"""Diffusion owns the loss and the field, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vitascope import precision
from vitascope.diffusion import Diffusion, thousandfold
from vitascope.models.clip import CLIPConfig
from vitascope.models.dit import DiT, DiTConfig
from vitascope.physics.exact import GaussianMixture
from vitascope.physics.field import evaluate
from vitascope.physics.guidance import guide
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction, convert
from vitascope.physics.schedule import VP, Cosine, Linear, Schedule
from vitascope.physics.solvers import SOLVERS
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


def test_autocast_stays_within_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)
    system, text = small()
    x, condition = torch.randn(1, 2, 2, 4, 4), text(["a ball"])
    exact = system.field(condition)(x, 0.5)
    system.autocast = True
    near = system.field(condition)(x, 0.5)
    assert near.dtype == torch.float32
    assert not torch.is_autocast_enabled("cpu")
    assert 0 < (near - exact).norm() / exact.norm() < 0.05


def with_frames(frames: int = 3) -> tuple[Diffusion, Tensor, dict[str, Tensor]]:
    """A transformer that says something, latents of as many frames, and a condition."""
    torch.manual_seed(0)
    config = DiTConfig(width=32, heads=2, layers=1, ffn=32, in_channels=4, out_channels=4, text_width=8, freq_width=16)
    net = DiT(config)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    system = Diffusion(net, Linear(), "velocity", LogitNormal())
    return system, torch.randn(2, 4, frames, 4, 4), {"context": torch.randn(2, 5, 8)}


def test_a_given_first_frame_is_seen_clean_and_not_asked_for() -> None:
    system, x0, condition = with_frames()
    noise = Noise((3, 4))
    plain = system.loss(x0, condition, noise=noise)
    none = system.loss(x0, condition, noise=noise, begun=torch.tensor([False, False]))
    one = system.loss(x0, condition, noise=noise, begun=torch.tensor([True, False]))
    assert torch.equal(plain, none)
    torch.testing.assert_close(one[1], plain[1])
    assert not torch.isclose(one[0], plain[0])
    # By hand: the first frame as it is, at clock 0; the mean over the later frames.
    eps = noise.like("eps", 0, x0)
    t = system.density.at(noise.uniform("t", 0))
    x = system.schedule.noised(x0, eps, t)
    x[:, :, 0] = x0[:, :, 0]
    clock = 1000 * t[:, None].repeat(1, 3)
    clock[:, 0] = 0
    error = (system.net(x, clock, **condition) - (eps - x0)).square()[0, :, 1:].mean()
    torch.testing.assert_close(one[0], error)


@pytest.mark.parametrize("begun", [False, True])
def test_errors_count_more_in_focus_where_noise_does_not_hide_it(begun: bool) -> None:
    system, x0, condition = with_frames()
    noise, rows = Noise((3, 4)), torch.tensor([begun, False])
    plain = system.loss(x0, condition, noise=noise, begun=rows)
    nothing = system.loss(x0, condition, noise=noise, begun=rows, focus=torch.zeros(2, 3, 4, 4))
    everywhere = system.loss(x0, condition, noise=noise, begun=rows, focus=torch.ones(2, 3, 4, 4))
    torch.testing.assert_close(nothing, plain)
    torch.testing.assert_close(everywhere, plain)
    corner = torch.zeros(2, 3, 4, 4)
    corner[0, 2, 0, 1] = 5.0
    seen = system.loss(x0, condition, noise=noise, begun=rows, focus=corner)
    torch.testing.assert_close(seen[1], plain[1])
    # By hand: 1 + 5 (1 - t^4) there, and 1 at every other place that is asked for.
    eps = noise.like("eps", 0, x0)
    t = system.density.at(noise.uniform("t", 0))
    x, clock = system.schedule.noised(x0, eps, t), 1000 * t[:, None].repeat(1, 3)
    if begun:
        x[0, :, 0], clock[0, 0] = x0[0, :, 0], 0
    error = (system.net(x, clock, **condition) - (eps - x0)).square().mean(1)[0, int(begun) :]
    weight = torch.ones_like(error)
    weight[-1, 0, 1] += 5.0 * (1 - float(t[0]) ** 4)
    torch.testing.assert_close(seen[0], (weight * error).sum() / weight.sum())


@pytest.mark.parametrize("solver", ["euler", "unipc", "heun", "ddpm", "dpmpp_2m"])
def test_a_walk_that_begins_with_a_frame_ends_in_it_and_depends_on_it(solver: str) -> None:
    system, x0, condition = with_frames()
    x = torch.randn(2, 4, 3, 4, 4)
    times = torch.linspace(1, 0, 7, dtype=torch.float64)

    def walked(first: Tensor, scale: float) -> Tensor:
        empty = system.field({"context": torch.zeros(2, 5, 8)}, first)
        field = system.beginning(guide(system.field(condition, first), empty, scale), first, 3)
        *_, last = SOLVERS[solver](field, x, times, noise=Noise((1, 2)))
        return last.x

    for scale in (1.0, 5.0):
        film = walked(x0[:, :, :1], scale)
        torch.testing.assert_close(film[:, :, :1], x0[:, :, :1], atol=1e-5, rtol=0)
        other = walked(x0[:, :, 1:2], scale)
        assert not torch.allclose(film[:, :, 1:], other[:, :, 1:], atol=1e-3)


def test_a_given_frame_costs_no_row_of_the_network() -> None:
    system, x0, condition = with_frames()
    rows: list[int] = []
    whole = system.net.forward

    def counted(x: Tensor, clock: Tensor, **told: Tensor) -> Tensor:
        rows.append(x.shape[0])
        return whole(x, clock, **told)

    system.net.forward = counted  # type: ignore[method-assign]
    first = x0[:, :, :1]
    empty = system.field({"context": torch.zeros(2, 5, 8)}, first)
    evaluate(system.beginning(guide(system.field(condition, first), empty, 4.0), first, 3), x0, 0.5)
    assert rows == [4]
