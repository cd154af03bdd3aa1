"""A network that is preconditioned is asked for what a linear guess leaves open, and for nothing else."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from vitascope.diffusion import Diffusion
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
    """It answers with what it was given to say, zero if nothing, and remembers what it saw."""

    def __init__(self, says: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer(DEVIATION, S.clone())
        self.says, self.seen = says, list[Tensor]()

    def forward(self, x: Tensor, clock: Tensor, **_: Tensor) -> Tensor:
        self.seen.append(x)
        return torch.zeros_like(x) if self.says is None else self.says.to(x)


def column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)


def data(rows: int = ROWS) -> Tensor:
    return column(S) * torch.randn((rows, *SHAPE), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def rotated(schedule: Schedule, t: float, x0: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """What the network sees of data and noise, and what it is asked for."""
    c = schedule.at(t)
    u, over = x0 / column(S), column(((c.alpha * S).square() + c.sigma.square()).sqrt())
    return (c.alpha * column(S) * u + c.sigma * eps) / over, (c.sigma * u - c.alpha * column(S) * eps) / over


@SCHEDULES
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [0.02, 0.5, 0.98])
def test_the_right_answer_is_the_truth(schedule: Schedule, kind: Prediction, t: float) -> None:
    x0, noise = data(), Noise(tuple(range(ROWS)))
    eps = noise.like("eps", 0, x0)
    seen, wanted = rotated(schedule, t, x0, eps)
    net = Told(wanted)
    system = Diffusion(net, schedule, kind, Uniform(t, t))
    assert float(system.loss(x0, {}, noise=noise).max()) < 1e-18
    torch.testing.assert_close(net.seen[0], seen)
    found = evaluate(system.field({}), schedule.noised(x0, eps, t), t, kind="x0")
    torch.testing.assert_close(found, x0)


@SCHEDULES
@pytest.mark.parametrize("kind", KINDS)
def test_a_network_that_says_nothing_gives_the_best_linear_guess(schedule: Schedule, kind: Prediction) -> None:
    """Of Gaussian data it is the exact field."""
    system = Diffusion(Told(), schedule, kind, Uniform())
    x = torch.randn((2, *SHAPE), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for t in (0.1, 0.6, 0.95):
        found = evaluate(system.field({}), x, t, kind="x0")
        for channel, s in enumerate(S.tolist()):
            exact = GaussianMixture(torch.zeros(1, 2, 2, 2, dtype=torch.float64), s).field(schedule)
            torch.testing.assert_close(found[:, channel], evaluate(exact, x[:, channel], t, kind="x0"))


def test_what_is_seen_and_asked_for_has_unit_variance_at_every_time() -> None:
    x0 = data(4000)
    eps = Noise(tuple(range(4000))).like("eps", 0, x0)
    for t in (0.01, 0.3, 0.7, 0.99):
        for part in rotated(Linear(), t, x0, eps):
            torch.testing.assert_close(part.std((0, 2, 3, 4)), torch.ones_like(S), atol=0.02, rtol=0)


def test_a_first_frame_that_is_given_is_seen_at_its_own_size() -> None:
    x0, noise = data(), Noise(tuple(range(ROWS)))
    net = Told()
    system = Diffusion(net, Linear(), "velocity", Uniform(0.4, 0.4))
    begun = torch.tensor([True, False] * (ROWS // 2))
    system.loss(x0, {}, noise=noise, begun=begun)
    seen, _ = rotated(Linear(), 0.4, x0, noise.like("eps", 0, x0))
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
    plain, other = DiT(config), DiT(dataclasses.replace(config, preconditioned=True))
    assert set(other.state_dict()) - set(plain.state_dict()) == {DEVIATION}
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, clock, told = (
        torch.randn(2, 3, 2, 4, 4),
        torch.full((2,), 400.0),
        {"context": torch.randn(1, 3, 8).expand(2, -1, -1)},
    )
    system = Diffusion(plain, Linear(), "velocity", Uniform())
    torch.testing.assert_close(system.field({"context": told["context"]})(x, 0.4), plain(x, clock, **told))
