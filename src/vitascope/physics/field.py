"""Fields, and the arithmetic on them.

A field is a point, a difference of two fields is a direction, and a direction has a length: so

    guided = negative + 5.0 * (positive - negative)

is a field. Nothing runs until it is evaluated; then the leaves whose weight is not zero are collected, each network is
called once with all its leaves as rows of one batch, and the answers are summed. What each leaf's network predicts does
not matter, because every conversion is affine in the prediction and the weights sum to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from inspect import ismethod
from typing import cast

import torch
from torch import Tensor

from vitascope.physics.prediction import Prediction, convert, mix, row
from vitascope.physics.schedule import Coefficients, Schedule

Condition = Mapping[str, Tensor]
"""What a network is told beside (x, t): its keyword arguments. A tensor has one row, or as many as x."""

Weight = float | Tensor | Callable[[float], "float | Tensor"]
"""A number; a tensor that broadcasts against x (regions, frames); or a function of t that gives either."""


def _identity(predict: Callable[..., Tensor]) -> Hashable:
    """What makes two callables one network. A bound method is a new object at each access: its parts count."""
    return (id(predict.__self__), id(predict.__func__)) if ismethod(predict) else id(predict)


@dataclass(frozen=True, eq=False)
class Leaf:
    """One network under one condition. predict(x [n, ...], t, **condition) gives a prediction of this kind, like x."""

    predict: Callable[..., Tensor]
    kind: Prediction
    condition: Condition

    @property
    def network(self) -> Hashable:
        return _identity(self.predict)

    @property
    def identity(self) -> Hashable:
        """Leaves with the same network, kind and condition tensors (the same objects) are one leaf."""
        return self.network, self.kind, frozenset((name, id(value)) for name, value in self.condition.items())


@dataclass(frozen=True, eq=False)
class Function:
    """A node that is not affine: apply(t, *x0) takes its inputs' estimates of x0 and gives another one."""

    apply: Callable[..., Tensor]
    inputs: tuple[Field, ...]

    @property
    def identity(self) -> Hashable:
        return id(self)


class Field:
    """An expression over networks: +, -, weight * field, field / number. Compared by identity.

    Its weights must sum to 1 wherever it is evaluated. `max_rows`, if given, is the most rows a network gets at once.
    """

    __array_ufunc__ = None  # so that a numpy number on the left leaves the product to __rmul__

    def __init__(
        self,
        schedule: Schedule,
        terms: tuple[tuple[tuple[Weight, ...], Leaf | Function], ...],
        max_rows: int | None = None,
    ) -> None:
        self.schedule = schedule
        self.terms = terms  # (factors whose product is the weight, node)
        self.max_rows = max_rows

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The velocity dx/dt at (x, t), like x. Raises Undefined where a prediction says nothing."""
        return evaluate(self, x, t)

    def denoised(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The estimate of x0 at (x, t), like x. Raises Undefined where a prediction says nothing."""
        return evaluate(self, x, t, kind="x0")

    def at_most(self, max_rows: int | None) -> Field:
        """The same field, whose networks get at most this many rows at once (None: no limit)."""
        if max_rows is not None and max_rows < 1:
            raise ValueError(f"a network needs at least one row a call, got max_rows = {max_rows}")
        return Field(self.schedule, self.terms, max_rows)

    def __add__(self, other: Field) -> Field:
        if not isinstance(other, Field):
            return NotImplemented
        limits = [limit for limit in (self.max_rows, other.max_rows) if limit is not None]
        return Field(same_schedule(self, other), self.terms + other.terms, min(limits, default=None))

    def __sub__(self, other: Field) -> Field:
        if not isinstance(other, Field):
            return NotImplemented
        return self + -other

    def __neg__(self) -> Field:
        return -1.0 * self

    def __mul__(self, weight: Weight) -> Field:
        if isinstance(weight, Field) or not (isinstance(weight, (int, float, Tensor)) or callable(weight)):
            return NotImplemented
        terms = tuple(((weight, *factors), node) for factors, node in self.terms)
        return Field(self.schedule, terms, self.max_rows)

    __rmul__ = __mul__

    def __truediv__(self, number: float | Tensor) -> Field:
        return self * (1.0 / number)


def same_schedule(*fields: Field) -> Schedule:
    """The one schedule of these fields. ValueError if they have several: their velocities are on different paths."""
    schedule = fields[0].schedule
    for field in fields[1:]:
        if field.schedule is not schedule and field.schedule != schedule:
            raise ValueError(f"fields of one expression share a schedule; got {schedule} and {field.schedule}")
    return schedule


def leaf(
    schedule: Schedule, predict: Callable[..., Tensor], kind: Prediction, condition: Condition | None = None
) -> Field:
    """The field of one network under one condition.

    predict(x [n, ...], t, **condition) gets a float t and conditions of n rows, and gives [n, ...]. Leaves that share
    the same `predict` go through it in one call: their conditions need the same names. Only `context` [b l d] may
    differ in length; it is padded with zeros, and `mask` [b l] (True: a real token) says where. Raises ValueError for
    an unknown kind.
    """
    row(schedule.at(0.5), kind)
    return Field(schedule, (((), Leaf(predict, kind, dict(condition or {}))),))


def function(apply: Callable[..., Tensor], *inputs: Field) -> Field:
    """The field whose x0 is apply(t, *x0 of the inputs): for whatever is not affine. Its leaves share the one call."""
    limits = [field.max_rows for field in inputs if field.max_rows is not None]
    return Field(same_schedule(*inputs), (((), Function(apply, inputs)),), min(limits, default=None))


def evaluate(
    field: Field, x: Tensor, t: float | Tensor, *, kind: Prediction = "velocity", max_rows: int | None = None
) -> Tensor:
    """The field at (x [b, ...], t), said as `kind`; one call of each network, or as few as `max_rows` allows.

    Raises Undefined where a prediction says nothing, ValueError if the weights do not sum to 1 or rows do not fit.
    """
    t = float(t)
    plan = _Plan(t, field.schedule.at(t))
    plan.add(field, kind)
    answers: dict[Hashable, Tensor] = {}
    for leaves in plan.networks().values():
        answers.update(_ask(leaves, x, t, max_rows or field.max_rows))
    return plan.value(field, kind, x, answers)


class _Plan:
    """One evaluation: the weights at t, worked out once, and the leaves that they leave standing."""

    def __init__(self, t: float, c: Coefficients) -> None:
        self.t, self.c = t, c
        self.weights: dict[int, list[tuple[float | Tensor, Leaf | Function]]] = {}
        self.leaves: dict[Hashable, Leaf] = {}
        self.applied: dict[Hashable, Tensor] = {}

    def add(self, field: Field, kind: Prediction) -> None:
        """Collect what `field` needs, and refuse before any network is called what could not be said as `kind`."""
        if id(field) not in self.weights:
            self.weights[id(field)] = weights(field, self.t)
        for _, node in self.weights[id(field)]:
            if isinstance(node, Leaf):
                mix(self.c, node.kind, kind)
                self.leaves[node.identity] = node
            else:
                mix(self.c, "x0", kind)
                for each in node.inputs:
                    self.add(each, "x0")

    def networks(self) -> dict[Hashable, list[Leaf]]:
        grouped: dict[Hashable, list[Leaf]] = {}
        for each in self.leaves.values():
            grouped.setdefault(each.network, []).append(each)
        return grouped

    def value(self, field: Field, kind: Prediction, x: Tensor, answers: Mapping[Hashable, Tensor]) -> Tensor:
        """The weighted sum, said as `kind`. Summing in the kind that is wanted spares a conversion there and back."""
        total: Tensor | None = None
        for weight, node in self.weights[id(field)]:
            if isinstance(node, Leaf):
                y = convert(answers[node.identity], x, self.c, node.kind, kind)
            else:
                if node.identity not in self.applied:
                    inputs = [self.value(each, "x0", x, answers) for each in node.inputs]
                    self.applied[node.identity] = node.apply(self.t, *inputs)
                y = convert(self.applied[node.identity], x, self.c, "x0", kind)
            part = _scaled(y, weight)
            total = part if total is None else total + part
        return cast(Tensor, total)


def _scaled(y: Tensor, weight: float | Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        return y if weight == 1 else weight * y
    scaled = weight.to(y.device, y.dtype) * y
    if scaled.shape != y.shape:
        raise ValueError(f"a weight of shape {tuple(weight.shape)} does not broadcast to {tuple(y.shape)}")
    return scaled


def weights(field: Field, t: float) -> list[tuple[float | Tensor, Leaf | Function]]:
    """The nodes of the expression with their weights at t: equal nodes merged, those with weight zero left out.

    ValueError if the weights do not sum to 1, elementwise where they are tensors.
    """
    merged: dict[Hashable, tuple[float | Tensor, float, Leaf | Function]] = {}
    for factors, node in field.terms:
        weight: float | Tensor = 1.0
        for factor in factors:
            weight = weight * _number(factor, t)
        before, size, _ = merged.get(node.identity, (0.0, 0.0, node))
        merged[node.identity] = (before + weight, size + _largest(weight), node)
    total, size = sum((each[0] for each in merged.values()), 0.0), max((each[1] for each in merged.values()), default=0)
    if not _largest(total - 1.0) <= 1e-6 * max(1.0, size):
        raise ValueError(_forgotten(total, t))
    # 0.7 + 0.3 - 1 is not always 0: what is left of a sum after rounding must not cost a row of the network.
    return [(weight, node) for weight, size, node in merged.values() if _largest(weight) > 1e-12 * size]


def _number(weight: Weight, t: float) -> float | Tensor:
    value = weight if isinstance(weight, Tensor) or not callable(weight) else weight(t)
    if not isinstance(value, Tensor):
        return float(value)
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) or not value.is_floating_point() else value


def _largest(weight: float | Tensor) -> float:
    return float(weight.detach().abs().max()) if isinstance(weight, Tensor) else abs(weight)


def _forgotten(total: float | Tensor, t: float) -> str:
    total = total.detach() if isinstance(total, Tensor) else total
    said = f"{float(total.min()):g} to {float(total.max()):g}" if isinstance(total, Tensor) else f"{total:g}"
    if _largest(total) <= 1e-6:
        return (
            f"this is a direction, not a field: its weights sum to 0 at t = {t:g}; the field that it starts from was "
            "forgotten, as `negative` in `negative + 5 * (positive - negative)`"
        )
    return f"the weights of a field must sum to 1, got {said} at t = {t:g}; scale differences of fields, not fields"


def _ask(leaves: list[Leaf], x: Tensor, t: float, max_rows: int | None) -> dict[Hashable, Tensor]:
    """One call of the network that these leaves share. Rows are leaf by leaf, and sample by sample within."""
    conditions = _batched(leaves, x.shape[0])
    rows = x.shape[0] * len(leaves)
    xs = x if len(leaves) == 1 else torch.cat([x] * len(leaves))
    size = max_rows or max(rows, 1)
    parts = [
        leaves[0].predict(xs[i : i + size], t, **{name: value[i : i + size] for name, value in conditions.items()})
        for i in range(0, max(rows, 1), size)
    ]
    y = (parts[0] if len(parts) == 1 else torch.cat(parts)).to(x.dtype)
    if y.shape != xs.shape:
        raise ValueError(f"a network was given x of {tuple(xs.shape)} and answered {tuple(y.shape)}; expected the same")
    return {each.identity: part for each, part in zip(leaves, y.split(max(x.shape[0], 1)), strict=True)}


def _batched(leaves: list[Leaf], rows: int) -> dict[str, Tensor]:
    """The conditions of several leaves as one batch; contexts of different lengths are padded, and the mask says so."""
    names = [set(each.condition) - {"mask"} for each in leaves]
    if any(each != names[0] for each in names):
        raise ValueError(f"leaves of one network need the same conditions; got {sorted(map(sorted, names))}")
    conditions = [{name: _rows(name, value, rows) for name, value in each.condition.items()} for each in leaves]
    lengths = {each["context"].shape[1] for each in conditions if "context" in each}
    if len(lengths) > 1 or (lengths and any("mask" in each for each in conditions)):
        conditions = [_padded(each, max(lengths)) for each in conditions]
    batched = {}
    for name in conditions[0]:
        shapes = {tuple(each[name].shape[1:]) for each in conditions}
        if len(shapes) > 1:
            raise ValueError(f"the condition {name!r} has rows of shapes {sorted(shapes)}; expected one shape")
        batched[name] = torch.cat([each[name] for each in conditions]) if len(leaves) > 1 else conditions[0][name]
    return batched


def _rows(name: str, value: Tensor, rows: int) -> Tensor:
    if value.ndim == 0 or value.shape[0] not in (1, rows):
        raise ValueError(f"the condition {name!r} has shape {tuple(value.shape)}; expected 1 or {rows} rows")
    return value.expand(rows, *value.shape[1:])


def _padded(condition: dict[str, Tensor], length: int) -> dict[str, Tensor]:
    context = condition["context"]
    mask = condition.get("mask")
    if mask is None:
        mask = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
    missing = length - context.shape[1]
    if missing:
        context = torch.cat([context, context.new_zeros(context.shape[0], missing, context.shape[2])], dim=1)
        mask = torch.cat([mask, mask.new_zeros(mask.shape[0], missing)], dim=1)
    return {**condition, "context": context, "mask": mask}
