from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.physics.schedule import VE, VP, Cosine, DiscreteVP, Linear, Schedule

SCHEDULES: dict[str, Schedule] = {
    "linear": Linear(),
    "cosine": Cosine(),
    "vp": VP(),
    "vp-flat": VP(2.0, 2.0),
    "ve": VE(),
    "table-linear": DiscreteVP.linear(),
    "table-scaled": DiscreteVP.scaled_linear(),
    "table-cosine": DiscreteVP.cosine(),
    "table-to-zero": DiscreteVP((0.01, 0.1, 0.3, 0.6, 1.0)),
}
every = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
INSIDE = torch.linspace(0.0123, 0.9891, 41, dtype=torch.float64)


@every
def test_derivatives_are_those_of_the_coefficients(schedule: Schedule) -> None:
    t = INSIDE.clone().requires_grad_()
    c = schedule.at(t)
    for value, slope in ((c.alpha, c.d_alpha), (c.sigma, c.d_sigma)):
        # VE's alpha is a constant, of which autograd knows nothing.
        grad = torch.autograd.grad(value.sum(), t, retain_graph=True)[0] if value.requires_grad else torch.zeros(41)
        torch.testing.assert_close(slope.detach(), grad.double(), rtol=1e-9, atol=1e-12)


@every
def test_the_derivative_on_a_time_is_the_limit_from_below(schedule: Schedule) -> None:
    for t in (0.2, 0.4, 0.6, 1.0):  # grid points of the five-entry table among them
        step = 1e-7
        c, before = schedule.at(t), schedule.at(t - step)
        assert float((c.alpha - before.alpha) / step) == pytest.approx(float(c.d_alpha), rel=1e-3, abs=1e-6)
        assert float((c.sigma - before.sigma) / step) == pytest.approx(float(c.d_sigma), rel=1e-3, abs=1e-5)


@every
@given(t=st.floats(0.002, 0.998))
@settings(max_examples=40, deadline=None)
def test_t_at_is_the_inverse_of_logsnr(schedule: Schedule, t: float) -> None:
    assert float(schedule.t_at(schedule.logsnr(t))) == pytest.approx(t, rel=1e-9)


@every
def test_logsnr_falls(schedule: Schedule) -> None:
    falls = schedule.logsnr(torch.linspace(0, 1, 301, dtype=torch.float64)).diff()
    assert (falls < 0).all()


@every
def test_t_0_is_clean_and_t_1_has_the_least_signal(schedule: Schedule) -> None:
    start = schedule.at(0.0)
    assert (float(start.alpha), float(start.sigma)) == (1.0, 0.0)
    assert schedule.logsnr(0.0) == math.inf
    if isinstance(schedule, (Linear, Cosine)) or schedule == SCHEDULES["table-to-zero"]:
        assert (float(schedule.at(1.0).alpha), float(schedule.at(1.0).sigma)) == (0.0, 1.0)


@every
def test_transport_with_the_true_x0_stays_on_the_path(schedule: Schedule) -> None:
    x0, eps = torch.randn(2, 3, 4, dtype=torch.float64), torch.randn(2, 3, 4, dtype=torch.float64)
    x = schedule.noised(x0, eps, 0.8)
    torch.testing.assert_close(schedule.transport(x, x0, 0.8, 0.8), x)
    torch.testing.assert_close(schedule.transport(x, x0, 0.8, 0.3), schedule.noised(x0, eps, 0.3))
    torch.testing.assert_close(schedule.transport(x, x0, 0.8, 0.0), x0)


@every
@given(t=st.floats(0.05, 1.0), s=st.floats(0.01, 1.0), r=st.floats(0.0, 1.0))
@settings(max_examples=25, deadline=None)
def test_transport_in_two_moves_is_transport_in_one(schedule: Schedule, t: float, s: float, r: float) -> None:
    x, x0 = torch.tensor([[0.7, -1.3]], dtype=torch.float64), torch.tensor([[-0.2, 0.4]], dtype=torch.float64)
    two = schedule.transport(schedule.transport(x, x0, t, s), x0, s, r)
    torch.testing.assert_close(two, schedule.transport(x, x0, t, r), rtol=1e-9, atol=1e-9)


@every
def test_a_time_for_each_row_equals_the_rows_alone(schedule: Schedule) -> None:
    x0, eps = torch.randn(3, 2, 5), torch.randn(3, 2, 5)
    t, s = torch.tensor([0.9, 0.5, 0.2]), torch.tensor([0.4, 0.1, 0.0])
    x = schedule.noised(x0, eps, t)
    moved = schedule.transport(x, x0, t, s)
    for i in range(3):
        one = slice(i, i + 1)
        assert torch.equal(x[one], schedule.noised(x0[one], eps[one], float(t[i])))
        assert torch.equal(moved[one], schedule.transport(x[one], x0[one], float(t[i]), float(s[i])))


@every
def test_coefficients_are_float64_and_x_keeps_its_dtype(schedule: Schedule) -> None:
    assert all(each.dtype == torch.float64 for each in schedule.at(0.5))
    assert all(each.dtype == torch.float64 and each.shape == (4,) for each in schedule.at(torch.rand(4) * 0.9 + 0.05))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        x = torch.ones(2, 3, dtype=dtype)
        assert schedule.noised(x, x, 0.5).dtype == dtype
        assert schedule.transport(x, x, torch.tensor([0.5, 0.6]), 0.1).dtype == dtype


def test_vp_is_the_sde_of_song() -> None:
    c = VP(0.1, 20.0).at(INSIDE)
    beta = 0.1 + INSIDE * 19.9
    torch.testing.assert_close(c.d_alpha, -0.5 * beta * c.alpha)
    torch.testing.assert_close(c.alpha**2 + c.sigma**2, torch.ones_like(INSIDE))
    assert float(VP().at(1.0).alpha) == pytest.approx(math.exp(-0.25 * 19.9 - 0.05))


def test_ve_is_the_sde_of_song() -> None:
    c = VE(0.01, 50.0).at(INSIDE)
    diffusion = 0.01 * 5000**INSIDE * math.sqrt(2 * math.log(5000))  # g(t) of dx = g dw
    torch.testing.assert_close(2 * c.sigma * c.d_sigma, diffusion**2)
    assert float(VE(0.01, 50.0).at(1.0).sigma) == pytest.approx(math.sqrt(50.0**2 - 0.01**2))


@pytest.mark.parametrize("name", ["table-linear", "table-scaled", "table-cosine", "table-to-zero"])
def test_a_table_is_exact_on_its_grid_points(name: str) -> None:
    schedule = SCHEDULES[name]
    assert isinstance(schedule, DiscreteVP)
    total = len(schedule.betas)
    alphas = (1 - torch.tensor(schedule.betas, dtype=torch.float64)).cumprod(0)
    c = schedule.at(torch.arange(1, total + 1, dtype=torch.float64) / total)
    torch.testing.assert_close(c.alpha**2, alphas, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(c.sigma**2, 1 - alphas, rtol=1e-11, atol=1e-15)


def test_the_tables_have_their_published_ends() -> None:
    linear, scaled, cosine = DiscreteVP.linear().betas, DiscreteVP.scaled_linear().betas, DiscreteVP.cosine().betas
    assert (linear[0], linear[-1], len(linear)) == pytest.approx((1e-4, 0.02, 1000))
    assert (scaled[0], scaled[-1]) == pytest.approx((0.00085, 0.012))
    assert scaled[500] == pytest.approx((0.00085**0.5 + 500 / 999 * (0.012**0.5 - 0.00085**0.5)) ** 2)
    assert (cosine[0], cosine[-1]) == pytest.approx((4.128422482e-05, 0.999))


def test_equal_parameters_make_equal_schedules() -> None:
    assert VP() == VP()
    assert VP() != VP(0.2)
    assert DiscreteVP.linear() == DiscreteVP.linear()
    assert DiscreteVP.linear() != DiscreteVP.scaled_linear()
    assert len({Linear(), Linear(), DiscreteVP.linear(), DiscreteVP.linear()}) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Linear().at(999),
        lambda: Linear().at(torch.tensor([0.5, -0.1])),
        lambda: Linear().at(math.nan),
        lambda: Cosine().transport(torch.ones(1), torch.ones(1), 0.0, 0.0),
        lambda: Linear().noised(torch.ones(3, 2), torch.ones(3, 2), torch.tensor([0.1, 0.2])),
        lambda: VP(0.0),
        lambda: VP(3.0, 2.0),
        lambda: VE(1.0, 1.0),
        lambda: DiscreteVP(()),
        lambda: DiscreteVP((0.1, 1.0, 0.1)),
        lambda: DiscreteVP((0.0, 0.1)),
    ],
)
def test_what_makes_no_sense_is_refused(wrong) -> None:
    with pytest.raises(ValueError):
        wrong()
