from __future__ import annotations

from collections.abc import Sequence
from operator import add, mul, sub

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.errors import Undefined
from vitascope.physics.exact import GaussianMixture
from vitascope.physics.field import Field, evaluate, function, leaf
from vitascope.physics.guidance import apg, blend, compose, guide, interval, rescale, threshold
from vitascope.physics.prediction import PREDICTIONS, Prediction
from vitascope.physics.schedule import VE, VP, Cosine, Linear, Schedule

MIXTURE = GaussianMixture([[-1.0, 0.5], [1.0, 0.2], [0.3, -1.5]], [0.4, 0.6, 0.5], [1.0, 2.0, 1.5])
X = torch.tensor([[0.3, -0.7], [1.9, 0.4], [-1.2, -0.1]], dtype=torch.float64)


class Network:
    """Elementwise in rows, so that its answers cannot depend on the batch; counts its calls and their rows."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.seen: dict[str, Tensor] = {}

    def __call__(self, x: Tensor, t: float, *, context: Tensor, mask: Tensor | None = None) -> Tensor:
        self.rows.append(x.shape[0])
        self.seen = {"x": x, "context": context} | ({} if mask is None else {"mask": mask})
        real = context if mask is None else context * mask.unsqueeze(-1)
        return torch.tanh(x * t + real.sum((1, 2)).reshape(-1, *[1] * (x.ndim - 1)))


def prompt(network: Network, *numbers: float, schedule: Schedule | None = None) -> Field:
    """The field of a network under one condition of as many tokens as there are numbers."""
    context = torch.tensor(numbers, dtype=torch.float64).reshape(1, -1, 1)
    return leaf(schedule or Linear(), network, "velocity", {"context": context})


def parts(network: Network) -> tuple[Field, Field, Field, Field]:
    return prompt(network, 0.1), prompt(network, 0.7), prompt(network, -0.4), prompt(network, 0.5)


# The rows that design.md promises, per sample: (name, expression over (unconditional, a, b, c), t, rows).
ROWS = [
    ("plain", lambda u, a, b, c: a, 0.5, 1),
    ("guidance 1", lambda u, a, b, c: guide(a, u, 1.0), 0.5, 1),
    ("guidance 0", lambda u, a, b, c: guide(a, u, 0.0), 0.5, 1),
    ("guidance 6", lambda u, a, b, c: guide(a, u, 6.0), 0.5, 2),
    ("outside the interval", lambda u, a, b, c: guide(a, u, interval(6.0, 0.2, 0.8)), 0.9, 1),
    ("inside the interval", lambda u, a, b, c: guide(a, u, interval(6.0, 0.2, 0.8)), 0.8, 2),
    ("a negative in the unconditional's place", lambda u, a, b, c: guide(a, c, 6.0), 0.5, 2),
    ("two prompts", lambda u, a, b, c: compose({a: 3.0, b: 2.0}, u), 0.5, 3),
    ("two prompts and a negative in its place", lambda u, a, b, c: compose({a: 3.0, b: 2.0}, c), 0.5, 3),
    ("two prompts and a negative beside", lambda u, a, b, c: compose({a: 3.0, b: 2.0, c: -1.0}, u), 0.5, 4),
    ("weights that leave no base", lambda u, a, b, c: compose({a: 0.7, b: 0.1, c: 0.2}, u), 0.5, 3),
    ("a blend of negatives", lambda u, a, b, c: guide(a, blend({u: 1.0, b: 2.0, c: 0.3}), 4.0), 0.5, 4),
    ("rescale", lambda u, a, b, c: rescale(guide(a, u, 6.0), a, 0.7), 0.5, 2),
    ("rescale at guidance 1", lambda u, a, b, c: rescale(guide(a, u, 1.0), a, 0.7), 0.5, 1),
    ("functions within functions", lambda u, a, b, c: threshold(rescale(apg(a, u, 6.0), b, 0.5)) + (a - u), 0.5, 3),
    ("a function of weight 0", lambda u, a, b, c: a + 0.0 * (threshold(b) - c), 0.5, 1),
    ("the same field many times", lambda u, a, b, c: 0.2 * a + 0.5 * a + 0.3 * a, 0.5, 1),
]


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize(("build", "t", "rows"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_one_call_a_field_evaluation_and_no_row_too_many(build, t: float, rows: int, samples: int) -> None:
    network = Network()
    field = build(*parts(network))
    assert network.rows == []  # an expression runs nothing
    field(X[:samples], t)
    assert network.rows == [rows * samples]
    field.denoised(X[:samples], t)
    assert network.rows == [rows * samples] * 2


@pytest.mark.parametrize(("build", "t", "rows"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
@pytest.mark.parametrize("max_rows", [1, 2, 4, 100])
def test_max_rows_splits_the_call_and_changes_nothing(build, t: float, rows: int, max_rows: int) -> None:
    network = Network()
    field = build(*parts(network))
    whole = evaluate(field, X, t)
    network.rows.clear()
    assert torch.equal(evaluate(field, X, t, max_rows=max_rows), whole)
    assert max(network.rows) <= max_rows
    assert len(network.rows) == -(-3 * rows // max_rows)
    assert torch.equal(field.at_most(max_rows)(X, t), whole)


def test_a_limit_of_rows_survives_arithmetic() -> None:
    network = Network()
    u, a, b, _ = parts(network)
    rescale(guide(a.at_most(4), u.at_most(3), 5.0) + 2 * (b - a), a, 0.3)(X, 0.5)
    assert max(network.rows) == 3
    with pytest.raises(ValueError, match="max_rows = 0"):
        a.at_most(0)


def test_each_network_is_called_once() -> None:
    first, second = Network(), Network()
    field = prompt(first, 0.1) + 2 * (prompt(second, 0.3) - prompt(second, 0.2))
    field(X, 0.5)
    assert (first.rows, second.rows) == ([3], [6])
    threshold(field)(X, 0.5)
    assert (first.rows, second.rows) == ([3, 3], [6, 6])


def test_equal_leaves_are_one_leaf() -> None:
    network, context = Network(), torch.zeros(1, 1, 1)
    twins = [leaf(Linear(), network, "velocity", {"context": context}) for _ in range(2)]
    (0.5 * twins[0] + 0.5 * twins[1])(X, 0.5)
    assert network.rows == [3]
    other = leaf(Linear(), network, "velocity", {"context": context.clone()})
    (0.5 * twins[0] + 0.5 * other)(X, 0.5)
    assert network.rows == [3, 6]


def test_a_bound_method_is_one_network() -> None:
    network = Network()
    a, b = (leaf(Linear(), network.__call__, "velocity", {"context": torch.full((1, 1, 1), v)}) for v in (0.1, 0.2))
    (0.5 * a + 0.5 * b)(X, 0.5)
    assert network.rows == [6]


def test_contexts_of_different_lengths_are_padded_and_masked() -> None:
    network = Network()
    short, long = prompt(network, 0.3), prompt(network, 0.1, -0.7, 0.2)
    alone = [field(X, 0.4) for field in (short, long)]
    assert "mask" not in network.seen  # one length needs none
    together = guide(long, short, 3.0)(X, 0.4)
    torch.testing.assert_close(together, alone[0] + 3 * (alone[1] - alone[0]), rtol=1e-12, atol=1e-12)
    assert network.seen["context"].shape == (6, 3, 1)
    assert network.seen["mask"].sum(1).tolist() == [1, 1, 1, 3, 3, 3]
    assert not network.seen["context"][:3, 1:].any()


def test_a_mask_that_is_given_is_kept() -> None:
    network = Network()
    context, mask = torch.ones(1, 4, 1), torch.tensor([[True, True, False, False]])
    masked = leaf(Linear(), network, "velocity", {"context": context, "mask": mask})
    (0.5 * masked + 0.5 * prompt(network, 0.5))(X, 0.4)
    assert network.seen["mask"].sum(1).tolist() == [2, 2, 2, 1, 1, 1]


def test_a_condition_of_a_row_a_sample() -> None:
    network = Network()
    context = torch.tensor([0.1, 0.9, -0.5], dtype=torch.float64).reshape(3, 1, 1)
    together = leaf(Linear(), network, "velocity", {"context": context})(X, 0.5)
    for i in range(3):
        alone = leaf(Linear(), network, "velocity", {"context": context[i : i + 1]})
        assert torch.equal(together[i : i + 1], alone(X[i : i + 1], 0.5))
    with pytest.raises(ValueError, match="expected 1 or 2 rows"):
        leaf(Linear(), network, "velocity", {"context": context})(X[:2], 0.5)


EXPRESSIONS = {
    "guidance": lambda u, a, b: guide(a, u, 4.0),
    "negative weight": lambda u, a, b: compose({a: 3.0, b: -1.5}, u),
    "function of t": lambda u, a, b: guide(a, u, lambda t: 1 + 3 * t),
    "regions": lambda u, a, b: a + torch.tensor([[1.0, 0.25]]) * (b - a),
    "a weight for each sample": lambda u, a, b: a + torch.tensor([[0.0], [3.0], [0.5]]) * (b - a),
    "product of weights": lambda u, a, b: u + (lambda t: t) * (2.0 * (torch.tensor([[1.0, -1.0]]) * (a - b))),
    "a function of t that gives a tensor": lambda u, a, b: guide(a, u, lambda t: torch.tensor([[t, 2 * t]])),
    "rescale": lambda u, a, b: rescale(guide(a, u, 4.0), a, 0.7),
    "numpy, division, order": lambda u, a, b: (a + b) / 2 + (a - u) * np.float64(1.5) + -(b - u),
}


@pytest.mark.parametrize("schedule", [Linear(), Cosine(), VP(), VE()], ids=lambda schedule: type(schedule).__name__)
@pytest.mark.parametrize("build", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())
def test_an_expression_does_not_care_what_its_leaves_predict(build, schedule: Schedule) -> None:
    def made(kinds: Sequence[Prediction]) -> Field:
        return build(*(MIXTURE[[i]].field(schedule, kind) for i, kind in enumerate(kinds)))

    field = made(("x0", "x0", "x0"))
    velocity, x0 = field(X, 0.6), field.denoised(X, 0.6)
    alike: list[tuple[Prediction, ...]] = [(kind, kind, kind) for kind in PREDICTIONS]
    for kinds in (*alike, *(PREDICTIONS[i : i + 3] for i in range(3))):
        again = made(kinds)
        torch.testing.assert_close(again(X, 0.6), velocity, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(again.denoised(X, 0.6), x0, rtol=1e-9, atol=1e-9)


def test_the_expression_is_what_it_says() -> None:
    u, a, b = (MIXTURE[[i]].field(Linear(), "eps") for i in range(3))
    weight = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    got = (guide(a, u, lambda t: 10 * t) + weight * (b - u))(X, 0.3)
    torch.testing.assert_close(got, u(X, 0.3) + 3 * (a(X, 0.3) - u(X, 0.3)) + weight * (b(X, 0.3) - u(X, 0.3)))


def test_regions_take_each_from_its_own_field() -> None:
    a, b = (MIXTURE[[i]].field(VP()) for i in range(2))
    left = torch.tensor([[1.0, 0.0]])
    got = (left * a + (1 - left) * b)(X, 0.5)
    torch.testing.assert_close(got[:, 0], a(X, 0.5)[:, 0])
    torch.testing.assert_close(got[:, 1], b(X, 0.5)[:, 1])


A, B, C = (MIXTURE[[i]].field(Linear()) for i in range(3))


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (A - B, "this is a direction.*forgotten"),
        (5 * (A - B), "this is a direction"),
        (A + B, "sum to 1, got 2"),
        (-A, "got -1"),
        (guide(A, B, 3) + C, "got 2"),
        (A + (lambda t: t) * B, "got 1.5 at t = 0.5"),
        (A + torch.tensor([[0.0, 1.0]]) * B, "got 1 to 2"),
        (torch.tensor([[1.0, 0.0]]) * (A - B), "this is a direction"),
        (rescale(A - B, A, 0.5), "this is a direction"),
        (float("nan") * A, "sum to 1"),
    ],
)
def test_what_is_no_field_is_refused_with_what_was_forgotten(field: Field, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        field(X, 0.5)


def test_weights_are_checked_at_each_evaluation() -> None:
    crossing = A + (lambda t: max(0.0, t - 0.5)) * B
    crossing(X, 0.4)
    with pytest.raises(ValueError, match=r"got 1\.25"):
        crossing(X, 0.75)


def test_rounding_in_weights_is_forgiven_and_costs_no_row() -> None:
    network = Network()
    u, a, b, c = parts(network)
    (u + 0.1 * (a - u) + 0.2 * (b - u) + 0.7 * (c - u))(X, 0.5)
    assert network.rows == [9]
    guide(a, u, 1e6)(X, 0.5)
    guide(a, u, torch.tensor([[0.1, 7.3]]))(X, 0.5)


def test_fields_on_different_paths_do_not_mix() -> None:
    with pytest.raises(ValueError, match="share a schedule"):
        _ = A + MIXTURE.field(VP())
    with pytest.raises(ValueError, match="share a schedule"):
        rescale(A, MIXTURE.field(VP()), 0.5)
    assert ((A - MIXTURE.field(Linear())) + B)(X, 0.5).shape == X.shape  # an equal schedule is the same path


@pytest.mark.parametrize(
    ("operation", "left", "right"), [(add, A, 1.0), (sub, 1.0, A), (mul, A, B), (mul, A, "2"), (add, X, A), (sub, A, X)]
)
def test_points_add_to_points_alone(operation, left, right) -> None:
    with pytest.raises(TypeError):
        operation(left, right)


def test_a_prediction_that_says_nothing_is_refused_before_any_call() -> None:
    network = Network()
    told = {"context": torch.zeros(1, 1, 1)}
    eps, v = leaf(Linear(), network, "eps", told), leaf(Linear(), network, "v", told)
    for field in (eps, guide(v, eps, 2.0), threshold(eps)):
        with pytest.raises(Undefined, match="predicts eps"):
            field.denoised(X, 1.0)
    assert network.rows == []
    guide(v, eps, 1.0).denoised(X, 1.0)  # there its weight is 0
    assert network.rows == [3]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"context": torch.zeros(1, 2, 3)}, {"context": torch.zeros(1, 2, 4)}, "'context' has rows of shapes"),
        ({"context": torch.zeros(1, 2, 3)}, {"context": torch.zeros(1, 2, 3), "image": X}, "the same conditions"),
        ({"image": torch.zeros(1, 2)}, {"image": torch.zeros(1, 3)}, "'image' has rows of shapes"),
        ({"image": torch.tensor(1.0)}, {"image": torch.tensor(2.0)}, "'image' has shape"),
    ],
)
def test_conditions_that_make_no_batch_are_refused(first, second, message: str) -> None:
    def network(x: Tensor, t: float, **condition: Tensor) -> Tensor:
        raise AssertionError("called")

    a, b = (leaf(Linear(), network, "v", condition) for condition in (first, second))
    with pytest.raises(ValueError, match=message):
        (0.5 * a + 0.5 * b)(X, 0.5)


def test_answers_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="expected the same"):
        leaf(Linear(), lambda x, t: x[:, :1], "v")(X, 0.5)
    with pytest.raises(ValueError, match="does not broadcast"):
        (A + torch.zeros(2, 3, 2).fill_(0.5) * (B - A))(X, 0.5)
    with pytest.raises(ValueError, match="prediction is one of"):
        leaf(Linear(), lambda x, t: x, "flow")  # pyright: ignore[reportArgumentType]


def test_the_answer_has_the_dtype_of_x_whatever_the_network_has() -> None:
    field = leaf(VP(), lambda x, t: x.to(torch.bfloat16), "v")
    for dtype in (torch.float32, torch.float64):
        assert field(X.to(dtype), 0.5).dtype == dtype
        half = guide(field, field + 0 * field, torch.tensor([[0.5]], dtype=torch.float64))
        assert half.denoised(X.to(dtype), torch.tensor(0.5)).dtype == dtype


def test_a_function_is_applied_once_wherever_it_stands() -> None:
    applied = []

    def apply(t: float, x0: Tensor) -> Tensor:
        applied.append(t)
        return x0.tanh()

    bounded = function(apply, A)
    got = (bounded + 0.5 * (rescale(bounded, B, 0.0) - bounded)).denoised(X, 0.25)
    torch.testing.assert_close(got, A.denoised(X, 0.25).tanh())
    assert applied == [0.25]


def test_gradients_flow_to_x_and_to_weights() -> None:
    x, scale = X.clone().requires_grad_(), torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
    guide(A, B, scale)(x, 0.5).sum().backward()
    for grad in (x.grad, scale.grad):
        assert grad is not None
        assert grad.abs().sum() > 0


def test_video_shapes() -> None:
    network = Network()
    a, b = prompt(network, 0.2), prompt(network, -0.3, 0.1)
    x = torch.randn(2, 3, 4, 5, 6)
    later = torch.linspace(0, 1, 4).reshape(1, 1, 4, 1, 1)
    crossed = (a + later * (b - a))(x, 0.7)
    torch.testing.assert_close(crossed[:, :, 0], a(x, 0.7)[:, :, 0])
    torch.testing.assert_close(crossed[:, :, 3], b(x, 0.7)[:, :, 3])
