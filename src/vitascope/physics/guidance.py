"""Guidance: a few lines of algebra on fields each, with the paper beside it.

The affine ones are expressions, and hold for every prediction. `rescale`, `apg` and `threshold` are not affine: they
are functions of the estimates of x0, whose leaves still share the one network call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from vitascope.physics.field import Field, Weight, function


def guide(positive: Field, negative: Field, scale: Weight) -> Field:
    """Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598): negative + scale (positive - negative).

    Scale 1 is the plain conditional field, 0 is the negative; `negative` is the unconditional field, or that of a
    negative prompt in its place. A function of t or a tensor (regions, frames) is a scale, too.
    """
    return negative + scale * (positive - negative)


def interval(scale: float, low: float, high: float) -> Callable[[float], float]:
    """The scale for low <= t <= high and 1 outside (Kynkaanniemi et al. 2024, arXiv:2404.07724): a scale for `guide`.

    Where it is 1 the negative has weight 0 and costs nothing. Raises ValueError unless 0 <= low <= high <= 1.
    """
    if not 0 <= low <= high <= 1:
        raise ValueError(f"an interval of guidance needs 0 <= low <= high <= 1, got {low} and {high}")
    return lambda t: scale if low <= t <= high else 1.0


def falling(start: float, end: float) -> Callable[[float], float]:
    """A scale linear in t for `guide`: `start` at t = 1, where a walk begins, and `end` at t = 0."""
    return lambda t: end + (start - end) * t


def blend(weighted: Mapping[Field, float]) -> Field:
    """The weighted mean of fields: several negatives as one, for instance. Raises ValueError unless weights are > 0."""
    if not weighted or not all(weight > 0 for weight in weighted.values()):
        raise ValueError(f"a blend needs weights above 0, got {list(weighted.values())}")
    total = sum(weighted.values())
    parts = [(weight / total) * field for field, weight in weighted.items()]
    return _sum(parts)


def compose(weighted: Mapping[Field, Weight], base: Field) -> Field:
    """Several prompts at once (Liu et al. 2022, arXiv:2206.01714, eq. 11): base + the sum of weight_i (field_i - base).

    A weight below 0 pushes away. `base` is the unconditional field, a negative prompt's, or a `blend` of several.
    One row for each field that counts, and one for each field in the base.
    """
    return _sum([base, *(weight * (field - base) for field, weight in weighted.items())])


def emphasise(whole: Field, without: Mapping[Field, Weight]) -> Field:
    """A prompt of which some phrases count more or less: whole + the sum of (weight_i - 1) (whole - without_i).

    `without` has the field of the same prompt without a phrase, and the phrase's weight. The difference of the two is along the gradient
    of log p(phrase | x, the rest of the prompt), so that at 1 nothing changes, at 0 one phrase is as if never said, and above 1 it
    is what guidance is to a whole prompt (Ho & Salimans 2022, arXiv:2207.12598); a weight may be a function of t or a tensor.
    """
    return _sum([whole, *(_less_one(weight) * (whole - field) for field, weight in without.items())])


def _less_one(weight: Weight) -> Weight:
    return (lambda t: weight(t) - 1) if callable(weight) else weight - 1


def _sum(fields: list[Field]) -> Field:
    total = fields[0]
    for field in fields[1:]:
        total = total + field
    return total


def _std(x: Tensor) -> Tensor:
    """One standard deviation a sample, shaped to scale it."""
    return x.flatten(1).std(1).reshape(-1, *[1] * (x.ndim - 1))


def rescale(guided: Field, positive: Field, phi: float) -> Field:
    """Bring the guided x0 to the standard deviation of the positive one, by the share phi (Lin et al. 2024,
    arXiv:2305.08891, eq. 15 and 16), sample by sample: strong guidance over-saturates without it. phi = 0 changes
    nothing. Raises ValueError unless 0 <= phi <= 1."""
    if not 0 <= phi <= 1:
        raise ValueError(f"phi is the share of the rescaled estimate, in [0, 1]; got {phi}")

    def apply(_: float, x0: Tensor, plain: Tensor) -> Tensor:
        return x0 * (phi * _std(plain) / _std(x0).clamp(min=1e-12) + (1 - phi))

    return function(apply, guided, positive)


def apg(
    positive: Field,
    negative: Field,
    scale: float | Callable[[float], float],
    *,
    parallel: float = 0.0,
    radius: float | None = None,
) -> Field:
    """Adaptive projected guidance without its momentum (Sadat et al. 2025, arXiv:2410.02416): of the direction from the
    negative to the positive x0, the part along the positive x0 itself, which mostly saturates, counts `parallel`
    times (1: plain guidance); and the direction, as a root mean square over the sample, is at most `radius` long.
    """

    def apply(t: float, plain: Tensor, other: Tensor) -> Tensor:
        off = (plain - other).flatten(1)
        if radius is not None:
            off = off * (radius / off.square().mean(1, keepdim=True).sqrt().clamp(min=1e-12)).clamp(max=1)
        unit = torch.nn.functional.normalize(plain.flatten(1), dim=1)
        along = (off * unit).sum(1, keepdim=True) * unit
        amount = (scale(t) if callable(scale) else scale) - 1
        return plain + amount * (off - (1 - parallel) * along).reshape(plain.shape)

    return function(apply, positive, negative)


def threshold(field: Field, share: float = 0.995, least: float = 1.0) -> Field:
    """Dynamic thresholding (Saharia et al. 2022, arXiv:2205.11487, section 2.3): clip x0 to the `share` quantile of its
    absolute values, sample by sample, and divide by it, if that quantile exceeds `least`. Meant for pixels."""
    if not 0 < share <= 1:
        raise ValueError(f"a quantile is in (0, 1], got {share}")

    def apply(_: float, x0: Tensor) -> Tensor:
        # kthvalue and not quantile, which refuses more than 16 million elements.
        flat = x0.flatten(1).abs()
        limit = flat.kthvalue(max(1, round(share * flat.shape[1])), dim=1).values.clamp(min=least)
        limit = limit.reshape(-1, *[1] * (x0.ndim - 1))
        return x0.clamp(-limit, limit) * (least / limit)

    return function(apply, field)
