"""What a network predicts, and every conversion between predictions, from one 2x2 system.

Whatever a network predicts is a row of numbers: y = a x0 + b eps. Together with x = alpha x0 + sigma eps,

    [ alpha sigma ] [ x0  ]   [ x ]                D = alpha b - sigma a
    [   a     b   ] [ eps ] = [ y ],               x0 = (b x - sigma y) / D,  eps = (alpha y - a x) / D.

Where D = 0 the prediction is a multiple of x itself and says nothing more: it is refused.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from vitascope.errors import Undefined
from vitascope.physics.schedule import Coefficients, spread

Prediction = Literal["x0", "eps", "v", "velocity", "score"]
"""x0: the data. eps: the noise. v: alpha eps - sigma x0 (Salimans & Ho 2022, arXiv:2202.00512). velocity: dx/dt =
alpha' x0 + sigma' eps (Lipman et al. 2023, arXiv:2210.02747). score: the gradient of log p_t, -eps / sigma."""

PREDICTIONS: tuple[Prediction, ...] = get_args(Prediction)


def row(c: Coefficients, kind: Prediction) -> tuple[Tensor, Tensor]:
    """(a, b) of y = a x0 + b eps, in float64, with the shape of the coefficients. ValueError for an unknown kind."""
    zero, one = torch.zeros_like(c.alpha), torch.ones_like(c.alpha)
    match kind:
        case "x0":
            return one, zero
        case "eps":
            return zero, one
        case "v":
            return -c.sigma, c.alpha
        case "velocity":
            return c.d_alpha, c.d_sigma
        case "score":
            return zero, -1 / c.sigma
    raise ValueError(f"a prediction is one of {', '.join(PREDICTIONS)}; got {kind!r}")


def mix(c: Coefficients, source: Prediction, target: Prediction) -> tuple[Tensor, Tensor]:
    """(p, q) such that target = p x + q source, in float64.

    Raises Undefined where the source determines nothing (D = 0), or where the target itself is infinite.
    """
    if source == target:
        return torch.zeros_like(c.alpha), torch.ones_like(c.alpha)
    (a, b), (wanted_a, wanted_b) = row(c, source), row(c, target)
    determinant = c.alpha * b - c.sigma * a
    # 1e-12 is far below any D that a schedule has inside (0, 1), and above what rounding leaves where D is 0.
    if not bool((torch.isfinite(determinant) & (determinant.abs() > 1e-12)).all()):
        raise Undefined(_sentence(c, source))
    if not bool((torch.isfinite(wanted_a) & torch.isfinite(wanted_b)).all()):
        raise Undefined(f"The {target} was asked for at t = 0: it is infinite there; end the walk with transport to 0.")
    # Cramer's rule with x0 and eps already put into the target's row, so that x0 from x0 costs no rounding.
    return (wanted_a * b - wanted_b * a) / determinant, (wanted_b * c.alpha - wanted_a * c.sigma) / determinant


def _sentence(c: Coefficients, source: Prediction) -> str:
    if bool((c.alpha.abs() <= 1e-9).any()):
        return (
            f"A network that predicts {source} was asked where x is pure noise (alpha = 0): there {source} follows "
            "from x alone and says nothing of the data; start the walk below t = 1, or use a network that predicts v, "
            "velocity or x0."
        )
    return (
        f"A network that predicts {source} was asked where x is the data itself (sigma = 0): there {source} says "
        "nothing of the noise; stop the walk above t = 0 and end it with the transport to 0."
    )


def convert(y: Tensor, x: Tensor, c: Coefficients, source: Prediction, target: Prediction) -> Tensor:
    """The prediction y of kind `source`, said as `target`; y and x are [b, ...], c is for one time or for [b].

    Raises Undefined where the source determines nothing (D = 0), or where the target itself is infinite.
    """
    p, q = mix(c, source, target)
    return y if source == target else spread(p, x) * x + spread(q, x) * y


def split(y: Tensor, x: Tensor, c: Coefficients, kind: Prediction) -> tuple[Tensor, Tensor]:
    """(x0, eps) from a prediction y of this kind; y and x are [b, ...]. Raises Undefined where D = 0."""
    return convert(y, x, c, kind, "x0"), convert(y, x, c, kind, "eps")
