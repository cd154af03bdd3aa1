"""The forms in which a file writes down a change of a weight, and the change itself.

A delta knows which weights it fits before anything is multiplied, and is computed in float32 at least.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

Shape = Sequence[int]


class Delta(ABC):
    """A change of one weight, which may depend on the weight as it was."""

    @abstractmethod
    def misfit(self, shape: Shape) -> str | None:
        """Why it does not fit a weight of this shape, shapes shown; None where it fits. Multiplies nothing."""

    @abstractmethod
    def of(self, base: Tensor) -> Tensor:
        """What is added to `base` at strength 1: its shape and device, in float32 (float64 for a float64 base)."""


@dataclass(frozen=True)
class LowRank(Delta):
    """scale * up down (Hu et al. 2021, arXiv:2106.09685, eq. 3).

    down [r, in], up [out, r]; for a convolution down [r, in, *kernel] and up [out, r, 1...], or with `mid` [r, r, *kernel]
    between (LyCORIS' LoCon in Tucker form) down [r, in, 1...].
    """

    down: Tensor
    up: Tensor
    scale: float
    mid: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.down.shape[0]

    def misfit(self, shape: Shape) -> str | None:
        down, up, mid = self.down.shape, self.up.shape, self.mid
        if len(shape) < 2 or len(down) < 2 or len(up) < 2:
            return _not_this(shape, f"down {_size(down)} and up {_size(up)}")
        if up[1] != down[0] or math.prod(up[2:]) != 1:
            return f"down {_size(down)} and up {_size(up)} are not of one rank"
        if mid is not None and (tuple(mid.shape) != (*down[:1], *down[:1], *shape[2:]) or math.prod(down[2:]) != 1):
            return f"mid {_size(mid.shape)} does not go between down {_size(down)} and up {_size(up)}"
        inside = math.prod(shape[1:]) if mid is None else shape[1]
        if up[0] != shape[0] or math.prod(down[1:]) != inside:
            return _not_this(shape, f"down {_size(down)} and up {_size(up)}")
        return _rank_misfit(self.rank, shape)

    def of(self, base: Tensor) -> Tensor:
        down, up = _like(base, self.down), _like(base, self.up).flatten(1)
        if self.mid is None:
            return (up @ down.flatten(1)).reshape(base.shape) * self.scale
        return _tucker(_like(base, self.mid), up.T, down.flatten(1)) * self.scale


@dataclass(frozen=True)
class Hadamard(Delta):
    """LoHa: scale * (w1_a w1_b) * (w2_a w2_b), elementwise (Hyeon-Woo et al. 2021, arXiv:2108.06098, eq. 3).

    a [out, r] and b [r, in]; with cores t [r, r, *kernel], for convolutions, a [r, out] and b [r, in].
    """

    w1_a: Tensor
    w1_b: Tensor
    w2_a: Tensor
    w2_b: Tensor
    scale: float
    t1: Tensor | None = None
    t2: Tensor | None = None

    @property
    def rank(self) -> int:
        return self.w1_b.shape[0]

    def misfit(self, shape: Shape) -> str | None:
        for a, b, t in ((self.w1_a, self.w1_b, self.t1), (self.w2_a, self.w2_b, self.t2)):
            if len(shape) < 2 or a.ndim != 2 or b.ndim != 2:
                return _not_this(shape, f"factors {_size(a.shape)} and {_size(b.shape)}")
            if t is None:
                wanted = ((shape[0], b.shape[0]), (b.shape[0], math.prod(shape[1:])))
            else:
                wanted = ((b.shape[0], shape[0]), (b.shape[0], shape[1]))
                if tuple(t.shape) != (b.shape[0], b.shape[0], *shape[2:]):
                    return _not_this(shape, f"a core of {_size(t.shape)}")
            if (tuple(a.shape), tuple(b.shape)) != wanted:
                return _not_this(shape, f"factors {_size(a.shape)} and {_size(b.shape)}")
        return _rank_misfit(self.w1_b.shape[0], shape) or _rank_misfit(self.w2_b.shape[0], shape)

    def of(self, base: Tensor) -> Tensor:
        sides = []
        for a, b, t in ((self.w1_a, self.w1_b, self.t1), (self.w2_a, self.w2_b, self.t2)):
            a, b = _like(base, a), _like(base, b)
            sides.append((a @ b).reshape(base.shape) if t is None else _tucker(_like(base, t), a, b))
        return sides[0] * sides[1] * self.scale


@dataclass(frozen=True)
class Kronecker(Delta):
    """LoKr: scale * kron(w1, w2) (Yeh et al. 2023, arXiv:2309.14859, section 3.2); either side whole, or as two factors.

    w1 [o1, i1], w2 [o2, i2, *kernel], with o1 o2 = out and i1 i2 = in. Factors: a [o, r], b [r, i, *kernel]; with a core
    t2 [r, r, *kernel] a [r, o2], b [r, i2].
    """

    first: tuple[Tensor, ...]
    second: tuple[Tensor, ...]
    scale: float
    t2: Tensor | None = None

    @property
    def rank(self) -> int | None:
        """The rank that alpha is divided by: of the second side, else of the first; None where both are whole."""
        return next((side[1].shape[0] for side in (self.second, self.first) if len(side) == 2), None)

    def misfit(self, shape: Shape) -> str | None:
        first, second = _side_shape(self.first, None), _side_shape(self.second, self.t2)
        told = " and ".join(_size(t.shape) for t in (*self.first, *self.second))
        if len(shape) < 2 or first is None or second is None:
            return _not_this(shape, f"factors {told}")
        if len(first) != 2 or first[0] * second[0] != shape[0]:
            return _not_this(shape, f"factors {told}")
        whole = second[1:] == (shape[1] // first[1], *shape[2:]) and shape[1] % first[1] == 0
        flat = len(second) == 2 and first[1] * second[1] == math.prod(shape[1:]) and shape[1] % first[1] == 0
        if not whole and not flat:
            return _not_this(shape, f"factors {told}")
        return None if self.rank is None else _rank_misfit(self.rank, shape)

    def of(self, base: Tensor) -> Tensor:
        first = reduce(torch.matmul, (_like(base, t) for t in self.first))
        if self.t2 is not None:
            a, b = self.second
            second = _tucker(_like(base, self.t2), _like(base, a), _like(base, b))
        elif len(self.second) == 2:
            a, b = (_like(base, t) for t in self.second)
            second = (a @ b.flatten(1)).unflatten(1, b.shape[1:])
        else:
            second = _like(base, self.second[0])
        first = first.reshape(*first.shape, *[1] * (second.ndim - 2))
        return torch.kron(first, second.contiguous()).reshape(base.shape) * self.scale


@dataclass(frozen=True)
class Added(Delta):
    """A change written out in full."""

    value: Tensor

    def misfit(self, shape: Shape) -> str | None:
        return None if tuple(self.value.shape) == tuple(shape) else _not_this(shape, _size(self.value.shape))

    def of(self, base: Tensor) -> Tensor:
        return _like(base, self.value)


@dataclass(frozen=True)
class Replaced(Delta):
    """A weight put in the place of another: at strength s the way from the old to the new is gone to s."""

    value: Tensor

    def misfit(self, shape: Shape) -> str | None:
        return None if tuple(self.value.shape) == tuple(shape) else _not_this(shape, _size(self.value.shape))

    def of(self, base: Tensor) -> Tensor:
        return _like(base, self.value) - _like(base, base)


@dataclass(frozen=True)
class Decomposed(Delta):
    """DoRA: m (W + dW) / |W + dW| - W (Liu et al. 2024, arXiv:2402.09353, eq. 5), dW the sum of `parts`.

    The magnitude's shape says which norm: [out] or [out, 1...] that of each row, over all that goes into one output (peft,
    LyCORIS today), [1, in, 1...] that of each column (LyCORIS before). Both are norms of the changed weight.
    """

    parts: tuple[Delta, ...]
    magnitude: Tensor

    def misfit(self, shape: Shape) -> str | None:
        for part in self.parts:
            if why := part.misfit(shape):
                return why
        return (
            None if self._axis(shape) is not None else _not_this(shape, f"a magnitude of {_size(self.magnitude.shape)}")
        )

    def of(self, base: Tensor) -> Tensor:
        whole = _like(base, base)
        changed = reduce(torch.add, (part.of(base) for part in self.parts), whole)
        axis = self._axis(base.shape)
        assert axis is not None
        over = [n for n in range(base.ndim) if n != axis]
        norm = torch.linalg.vector_norm(changed, dim=over, keepdim=True)
        magnitude = _like(base, self.magnitude).reshape(norm.shape)
        # A row of zeros has no direction to scale, and stays.
        return changed * (magnitude / norm.clamp_min(torch.finfo(norm.dtype).tiny)) - whole

    def _axis(self, shape: Shape) -> int | None:
        given, rest = tuple(self.magnitude.shape), [1] * (len(shape) - 2)
        if given in ((shape[0],), (shape[0], 1), (shape[0], 1, *rest)):
            return 0
        return 1 if given in ((1, shape[1]), (1, shape[1], *rest)) else None


def _like(base: Tensor, value: Tensor) -> Tensor:
    return value.to(base.device, torch.float64 if base.dtype == torch.float64 else torch.float32)


def _tucker(core: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """core [r, r, *kernel], a [r, out], b [r, in] -> [out, in, *kernel]."""
    return torch.einsum("ij...,ip,jq->pq...", core, a, b)


def _side_shape(side: tuple[Tensor, ...], core: Tensor | None) -> tuple[int, ...] | None:
    """The shape of one side of a Kronecker product; None where its factors do not fit each other."""
    if len(side) == 1:
        return tuple(side[0].shape) if side[0].ndim >= 2 and core is None else None
    a, b = side
    if a.ndim != 2 or b.ndim < 2:
        return None
    if core is None:
        return (a.shape[0], *b.shape[1:]) if a.shape[1] == b.shape[0] else None
    fits = b.ndim == 2 and core.ndim > 2 and tuple(core.shape[:2]) == (a.shape[0], b.shape[0])
    return (a.shape[1], b.shape[1], *core.shape[2:]) if fits else None


def _rank_misfit(rank: int, shape: Shape) -> str | None:
    # Beyond the longer side no rank says more; trainers do go beyond the shorter (rank 128 on a head of 64 rows).
    longest = max(shape[0], math.prod(shape[1:]))
    return None if 1 <= rank <= longest else f"a rank of {rank} where 1 to {longest} has a meaning"


def _not_this(shape: Shape, given: str) -> str:
    return f"{given} where the weight is {_size(shape)}"


def _size(shape: Shape) -> str:
    return "x".join(str(n) for n in shape) if len(shape) else "a single number"
