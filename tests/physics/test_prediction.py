from __future__ import annotations

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.errors import Undefined
from vitascope.physics.prediction import PREDICTIONS, Prediction, convert, row, split
from vitascope.physics.schedule import VE, VP, Coefficients, Cosine, DiscreteVP, Linear, Schedule

SCHEDULES = [Linear(), Cosine(), VP(), VE(), DiscreteVP.scaled_linear()]
every = pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: type(schedule).__name__)
X0 = torch.tensor([[0.3, -1.1, 0.8]], dtype=torch.float64)
EPS = torch.tensor([[-0.6, 0.2, 1.7]], dtype=torch.float64)


def truth(c: Coefficients, kind: Prediction) -> torch.Tensor:
    """Each prediction by its definition, not by the system under test."""
    return {
        "x0": X0,
        "eps": EPS,
        "v": c.alpha * EPS - c.sigma * X0,
        "velocity": c.d_alpha * X0 + c.d_sigma * EPS,
        "score": -EPS / c.sigma,
    }[kind]


@every
@given(t=st.floats(0.02, 0.98))
@settings(max_examples=15, deadline=None)
def test_every_prediction_says_every_other(schedule: Schedule, t: float) -> None:
    c, x = schedule.at(t), schedule.noised(X0, EPS, t)
    for source, target in product(PREDICTIONS, PREDICTIONS):
        y = truth(c, source)
        said = convert(y, x, c, source, target)
        torch.testing.assert_close(said, truth(c, target), rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(convert(said, x, c, target, source), y, rtol=1e-8, atol=1e-8)


@every
@pytest.mark.parametrize("kind", PREDICTIONS)
def test_split_gives_data_and_noise(schedule: Schedule, kind: Prediction) -> None:
    c = schedule.at(0.6)
    x0, eps = split(truth(c, kind), schedule.noised(X0, EPS, 0.6), c, kind)
    torch.testing.assert_close(x0, X0)
    torch.testing.assert_close(eps, EPS)


@pytest.mark.parametrize(("source", "target"), list(product(PREDICTIONS, PREDICTIONS)))
def test_a_time_for_each_row(source: Prediction, target: Prediction) -> None:
    schedule, t = VP(), torch.tensor([0.2, 0.5, 0.9])
    x, y = torch.randn(3, 2, 4), torch.randn(3, 2, 4)
    said = convert(y, x, schedule.at(t), source, target)
    for i in range(3):
        one = slice(i, i + 1)
        assert torch.equal(said[one], convert(y[one], x[one], schedule.at(float(t[i])), source, target))


def test_the_same_kind_costs_no_rounding() -> None:
    y = torch.randn(2, 3)
    for kind in PREDICTIONS:
        assert convert(y, torch.randn(2, 3), Linear().at(0.3), kind, kind) is y


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("kind", ["eps", "score"])
def test_the_noise_says_nothing_where_there_is_no_signal(schedule: Schedule, kind: Prediction) -> None:
    with pytest.raises(Undefined, match=r"pure noise.*start the walk below t = 1"):
        convert(EPS, EPS, schedule.at(1.0), kind, "x0")


@pytest.mark.parametrize("schedule", [Linear(), Cosine()], ids=["linear", "cosine"])
@pytest.mark.parametrize("kind", ["x0", "v", "velocity"])
def test_the_others_speak_at_t_1(schedule: Schedule, kind: Prediction) -> None:
    c = schedule.at(1.0)
    x0, eps = split(truth(c, kind), EPS, c, kind)
    torch.testing.assert_close(x0, X0)
    torch.testing.assert_close(eps, EPS)


@every
def test_the_data_say_nothing_of_the_noise_at_t_0(schedule: Schedule) -> None:
    with pytest.raises(Undefined, match=r"x is the data itself.*stop the walk above t = 0"):
        convert(X0, X0, schedule.at(0.0), "x0", "eps")


@pytest.mark.parametrize("schedule", [VP(), VE()], ids=["vp", "ve"])
def test_an_infinite_velocity_is_neither_read_nor_written(schedule: Schedule) -> None:
    with pytest.raises(Undefined):
        convert(X0, X0, schedule.at(0.0), "velocity", "x0")
    with pytest.raises(Undefined, match="infinite"):
        convert(X0, X0, schedule.at(0.0), "v", "velocity")


def test_one_bad_row_refuses_the_batch() -> None:
    with pytest.raises(Undefined):
        convert(torch.ones(2, 3), torch.ones(2, 3), Linear().at(torch.tensor([0.5, 1.0])), "eps", "x0")


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="epsilon"):
        row(Linear().at(0.5), "epsilon")  # pyright: ignore[reportArgumentType]
