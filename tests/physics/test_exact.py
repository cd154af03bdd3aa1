from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vitascope.errors import Undefined
from vitascope.physics.exact import FiniteData, Gaussian, GaussianMixture
from vitascope.physics.prediction import PREDICTIONS
from vitascope.physics.schedule import VE, VP, Cosine, DiscreteVP, Linear, Schedule

SCHEDULES = [Linear(), Cosine(), VP(), VE(), DiscreteVP.linear()]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)

STDS = torch.tensor([[0.5, 0.2, 1.0], [0.7, 0.7, 0.7]])
DATA = {
    "gaussian": Gaussian([0.5, -1.0, 2.0], [0.3, 1.0, 0.1]),
    "mixture": GaussianMixture([[-1.0, 0.0, 0.5], [1.0, 2.0, -0.5]], STDS, [1.0, 3.0]),
    "points": FiniteData([[-1.0, 0.0, 0.5], [1.0, 2.0, -0.5], [0.0, 0.3, 0.3]]),
}
some = pytest.mark.parametrize("data", DATA.values(), ids=DATA.keys())
X = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


@every
@some
@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_the_score_is_the_gradient_of_the_log_density(data: GaussianMixture, schedule: Schedule, t: float) -> None:
    x = (X * float(schedule.at(t).sigma)).requires_grad_()
    grad = torch.autograd.grad(data.log_density(x, t, schedule).sum(), x)[0]
    torch.testing.assert_close(data.score(x.detach(), t, schedule), grad, rtol=1e-8, atol=1e-8)


@every
@some
def test_the_velocity_carries_the_density(data: GaussianMixture, schedule: Schedule) -> None:
    """The continuity equation, d log p / dt + v . grad log p + div v = 0: each term computed without the others."""
    t, step = 0.4503, 1e-5  # within an interval of the table, whose derivatives jump on its grid points

    def velocity(x: Tensor) -> Tensor:
        return data.velocity(x.unsqueeze(0), t, schedule)[0]

    change = (data.log_density(X, t + step, schedule) - data.log_density(X, t - step, schedule)) / (2 * step)
    for x, dt in zip(X, change, strict=True):
        jacobian = torch.autograd.functional.jacobian(velocity, x)
        assert isinstance(jacobian, Tensor)
        flow = velocity(x) @ data.score(x.unsqueeze(0), t, schedule)[0]
        assert float(dt + flow + jacobian.trace()) == pytest.approx(0, abs=2e-5 * float(dt.abs() + flow.abs() + 1))


@every
@some
def test_data_and_noise_make_x_and_its_velocity(data: GaussianMixture, schedule: Schedule) -> None:
    c, x0 = schedule.at(0.4), data.denoised(X, 0.4, schedule)
    eps = (X - c.alpha * x0) / c.sigma
    torch.testing.assert_close(data.velocity(X, 0.4, schedule), c.d_alpha * x0 + c.d_sigma * eps)
    torch.testing.assert_close(data.score(X, 0.4, schedule), -eps / c.sigma)


@every
@some
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_field_is_the_same_whatever_it_predicts(data: GaussianMixture, schedule: Schedule, kind) -> None:
    field = data.field(schedule, kind)
    torch.testing.assert_close(field(X, 0.4), data.velocity(X, 0.4, schedule), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(field.denoised(X, 0.4), data.denoised(X, 0.4, schedule), rtol=1e-8, atol=1e-8)
    assert field(X.float(), 0.4).dtype == torch.float32


def test_the_density_integrates_to_1() -> None:
    line = torch.linspace(-12, 12, 4001, dtype=torch.float64).unsqueeze(1)
    data = GaussianMixture([[-1.0], [2.0]], [0.2, 0.6], [1.0, 2.0])
    for t in (0.0, 0.3, 1.0):
        density = data.log_density(line, t, Cosine()).exp()
        assert float(torch.trapezoid(density, line[:, 0])) == pytest.approx(1.0, abs=1e-6)


@every
def test_the_flow_of_a_gaussian_is_its_velocity(schedule: Schedule) -> None:
    data, step = DATA["gaussian"], 1e-6
    assert isinstance(data, Gaussian)
    ahead, behind = (data.flow(X, 0.4003, 0.4003 + off, schedule) for off in (step, -step))
    velocity = data.velocity(X, 0.4003, schedule)
    torch.testing.assert_close((ahead - behind) / (2 * step), velocity, rtol=1e-5, atol=1e-6)
    halfway = data.flow(X, 0.9, 0.4, schedule)
    torch.testing.assert_close(data.flow(halfway, 0.4, 0.0, schedule), data.flow(X, 0.9, 0.0, schedule))


def test_the_endpoint_of_wan_md() -> None:
    one = Gaussian([0.5], 0.25)
    assert float(one.flow(torch.ones(1, 1), 1.0, 0.0, Linear())) == pytest.approx(0.75)


def test_pure_noise_leads_to_the_mean_and_clean_data_stays() -> None:
    for data in DATA.values():
        mean = torch.einsum("k,kd->d", data.weights, data.means).expand(5, 3)
        torch.testing.assert_close(data.denoised(X, 1.0, Linear()), mean)
        torch.testing.assert_close(data.field(Linear()).denoised(X, 1.0), mean)
    torch.testing.assert_close(DATA["mixture"].denoised(X, 0.0, Linear()), X)


def test_a_finite_data_set_leads_to_its_points() -> None:
    points = DATA["points"]
    near = points.means + 0.01
    torch.testing.assert_close(points.denoised(near, 0.05, Linear()), points.means)
    assert points.nearest(near).tolist() == [0, 1, 2]


def test_a_mixture_is_its_components() -> None:
    mixture = DATA["mixture"]
    parts = [mixture[[i]] for i in range(2)]
    densities = torch.stack([part.log_density(X, 0.3, VP()).exp() for part in parts])
    together = torch.einsum("k,kb->b", mixture.weights, densities)
    torch.testing.assert_close(mixture.log_density(X, 0.3, VP()).exp(), together)
    posterior = (mixture.weights.unsqueeze(1) * densities / together).unsqueeze(-1)
    each = torch.stack([part.denoised(X, 0.3, VP()) for part in parts])
    torch.testing.assert_close(mixture.denoised(X, 0.3, VP()), (posterior * each).sum(0))
    torch.testing.assert_close(mixture[[0, 1]].denoised(X, 0.3, VP()), mixture.denoised(X, 0.3, VP()))


def test_a_time_for_each_row() -> None:
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9])
    for data in DATA.values():
        together = data.velocity(X, t, VP())
        for i in range(5):
            alone = data.velocity(X[i : i + 1], float(t[i]), VP())
            torch.testing.assert_close(together[i : i + 1], alone)


def test_samples_have_the_moments_and_depend_on_the_seed_alone() -> None:
    data = GaussianMixture([[-1.0, 0.0], [3.0, 2.0]], [0.5, 0.1], [1.0, 3.0])
    x = data.sample(7, 20_000)
    assert torch.equal(x, data.sample(7, 20_000))
    assert not torch.equal(x, data.sample(8, 20_000))
    share = data.nearest(x).double().mean()
    assert float(share) == pytest.approx(0.75, abs=0.02)
    assert x.mean(0).tolist() == pytest.approx([2.0, 1.5], abs=0.05)
    assert float(x[data.nearest(x) == 0].std()) == pytest.approx(math.sqrt(0.25 + 0.25), abs=0.03)


def test_video_shapes_and_wrong_arguments() -> None:
    clips = FiniteData(torch.randn(4, 3, 2, 5, 5))
    assert clips.field(Linear())(torch.randn(2, 3, 2, 5, 5), 0.5).shape == (2, 3, 2, 5, 5)
    with pytest.raises(ValueError, match="positive weights"):
        GaussianMixture([[0.0], [1.0]], 1.0, [1.0, 0.0])
    with pytest.raises(ValueError, match="positive weights"):
        GaussianMixture([[0.0], [1.0]], 1.0, [1.0])
    with pytest.raises(ValueError, match="stds"):
        GaussianMixture([[0.0], [1.0]], [1.0, -1.0])
    with pytest.raises(Undefined):
        clips.score(torch.randn(1, 3, 2, 5, 5), 0.0, Linear())
