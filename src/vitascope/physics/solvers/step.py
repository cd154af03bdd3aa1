"""What every solver shares: a Step, the grid it walks, the noise it may add.

A solver is a generator: the caller owns the loop, and may watch, stop, save or branch. The last Step *is* the state of
the walk, so that going on from a saved Step and never having stopped are the same arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple, Protocol

from torch import Tensor

from vitascope.physics.field import Field
from vitascope.physics.noise import Noise


class Step(NamedTuple):
    """One interval of the grid, walked.

    index:  which interval, from 0.
    t:      where the walk stands now: times[index + 1].
    x:      the state at t.
    x0:     the estimate of the data that led there (from the interval's start).
    memory: what the solver remembers beside x and x0: tensors shaped as x, and floats. Never a second name of x or x0,
            so that a Step can be written as a file of tensors as it is.
    error:  root mean square error of x as the solver itself estimates it, in units of x; None where it does not.
    """

    index: int
    t: float
    x: Tensor
    x0: Tensor
    memory: tuple[Tensor | float, ...] = ()
    error: float | None = None


class Solver(Protocol):
    """Walks x from times[0] to times[-1] and yields a Step an interval.

    field: what is walked. x: [rows, ...] at times[0]. times: [n + 1], float64, falling, on the CPU: always the whole
    grid. noise: for solvers that add some; interval i draws `noise.like("solver", i, x)`. after: the Step to continue
    from; x is then not looked at. Further keywords are the solver's own. No field is evaluated at t = 0, and an
    interval that ends there ends with `transport` of the estimate.
    """

    def __call__(
        self, field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None
    ) -> Iterator[Step]: ...


def remaining(times: Tensor, after: Step | None = None) -> Iterator[tuple[int, float, float]]:
    """The intervals still to walk, each as (index, from, to).

    Raises ValueError where the grid does not fall, or leaves [0, 1], or where `after` was not taken on it.
    """
    grid: list[float] = times.tolist() if times.ndim == 1 else []
    falling = len(grid) > 1 and all(t > s for t, s in pairwise(grid))
    if not falling or grid[0] > 1 or grid[-1] < 0:
        raise ValueError(f"got times {times.tolist()}, expected at least two that fall strictly and lie in [0, 1]")
    first = 0 if after is None else after.index + 1
    if after is not None and (first >= len(grid) or grid[first] != after.t):
        raise ValueError(f"got step {after.index}, which stands at t = {after.t}; expected one of this grid: {grid}")
    for index in range(first, len(grid) - 1):
        yield index, grid[index], grid[index + 1]


def fresh(noise: Noise | None, index: int, x: Tensor) -> Tensor:
    """The noise of interval `index`, shaped as x. Raises ValueError where the solver was given none."""
    if noise is None:
        raise ValueError("got noise=None, expected a Noise: this solver adds noise at each step")
    return noise.like("solver", index, x)


def finite(value: float, what: str) -> float:
    """`value`, if it is a number that is neither negative nor infinite; else ValueError."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"got {what} = {value}, expected a finite number of at least 0")
    return value
