"""Where the steps of a walk fall, and where training looks.

A grid is a float64 tensor [n + 1] that falls from its first time to exactly 0: n steps. A density of training times is
given by its inverse distribution function, so that the randomness is handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vitascope.physics.schedule import DiscreteVP, Schedule


def shift_time(t: Tensor, shift: float) -> Tensor:
    """s t / (1 + (s - 1) t) (Esser et al. 2024, arXiv:2403.03206, eq. 23): above 1, more time near the noise."""
    if not 0 < shift < math.inf:
        raise ValueError(f"a shift is a number above 0, got {shift}")
    return shift * t / (1 + (shift - 1) * t)


def _counted(n: int) -> int:
    if n < 1:
        raise ValueError(f"a walk has at least one step, got {n}")
    return n


def _ended(times: Tensor) -> Tensor:
    return torch.cat([times, times.new_zeros(1)])


def _stepped(first: float, n: int) -> Tensor:
    """n times in equal steps from `first` down to one step above 0."""
    return torch.linspace(first, 0, _counted(n) + 1, dtype=torch.float64)[:-1]


def uniform(n: int, first: float = 1.0) -> Tensor:
    """n equal steps from `first` to 0."""
    return _ended(_stepped(first, n))


def shifted(n: int, shift: float, first: float = 1.0) -> Tensor:
    """n steps from `first` to 0, equal before the shift; see `shift_time`. Shift 1 is `uniform`."""
    return _ended(shift_time(_stepped(first, n), shift))


def karras(n: int, schedule: Schedule, *, low: float = 0.002, high: float = 80.0, rho: float = 7.0) -> Tensor:
    """Karras et al. 2022 (arXiv:2206.00364, eq. 5): sigma / alpha falls from `high` to `low` in equal steps of its
    rho-th root, then to 0. `high` is cut to what the schedule reaches at t = 1, `low` to the first entry of a table.
    """
    if not 0 < low < high:
        raise ValueError(f"expected 0 < low < high, got {low} and {high}")
    high = min(high, float(torch.exp(-0.5 * schedule.logsnr(1.0))))
    if isinstance(schedule, DiscreteVP):
        low = max(low, float(torch.exp(-0.5 * schedule.logsnr(1 / len(schedule.betas)))))
    along = torch.linspace(0, 1, _counted(n), dtype=torch.float64)
    ratio = (high ** (1 / rho) + along * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return _ended(schedule.t_at(-2 * ratio.log()).clamp(max=1))


Spacing = Literal["leading", "linspace", "trailing"]


def discrete(n: int, total: int = 1000, spacing: Spacing = "trailing", offset: int = 0) -> Tensor:
    """n indices of a table of `total` betas, as times (index + 1) / total, then 0 (Lin et al. 2024, arXiv:2305.08891,
    table 2). leading: 0, k, 2k, ... with k = total // n, plus `offset`; linspace: from 0 to total - 1, rounded;
    trailing: total - 1, and back in steps of total / n, rounded, so that it begins at t = 1.
    """
    if not 1 <= n <= total:
        raise ValueError(f"{n} steps do not fit a table of {total}; expected 1 to {total}")
    match spacing:
        case "leading":
            index = torch.arange(n - 1, -1, -1, dtype=torch.float64) * (total // n) + offset
        case "linspace":
            index = torch.linspace(0, total - 1, n, dtype=torch.float64).round().flip(0)
        case "trailing":
            index = (total - torch.arange(n, dtype=torch.float64) * (total / n)).round() - 1
        case _:
            raise ValueError(f"spacing is leading, linspace or trailing; got {spacing!r}")
    if index[0] >= total:
        raise ValueError(f"an offset of {offset} leads out of the table of {total}")
    return _ended((index + 1) / total)


class Grid(NamedTuple):
    """A published grid: its times [n + 1], float64, and the numbers [n] that the network is told at each step.

    Those numbers cannot be had from the times: programs that tell whole ones truncate before they round the times to float32.
    """

    times: Tensor
    clock: Tensor

    def told(self, t: float) -> float:
        """What the network is told at t: the grid's own number on it, and between its times 1000 t, or the integer part of
        it where the grid's numbers are whole."""
        off, index = (self.times[:-1] - t).abs().min(0)
        if off < 1e-9:
            return float(self.clock[index])
        return 1000 * t if self.clock.is_floating_point() else float(math.floor(1000 * t))

    def clocked(self, t: float | Tensor) -> float | Tensor:
        """`told`, of one time or of a tensor of them."""
        if not isinstance(t, Tensor):
            return self.told(t)
        return torch.tensor([self.told(one) for one in t.flatten().tolist()], dtype=torch.float64).view(t.shape)


def _wan(first: float, last: float, n: int, shift: float, highest: float = 1.0) -> Grid:
    # numpy's linspace and not torch's: they differ in the last bit, and where 1000 sigma is a whole number that bit
    # decides what the network is told.
    equal = torch.from_numpy(np.linspace(first, last, _counted(n) + 1)[:-1].copy())
    sigmas = shift_time(equal, shift).clamp(max=highest)
    return Grid(_ended(sigmas.float().double()), (sigmas * 1000).long())


def wan_official_unipc(n: int, shift: float) -> Grid:
    """Wan 2.1's own UniPC grid: from 0.999 to 0 in equal steps, shifted; the clock is int(1000 sigma)."""
    # The 0.999 comes from a float32 table there: 0.99900001287...
    return _wan(float(torch.tensor(0.999)), 0.0, n, shift)


def wan_official_dpmpp(n: int, shift: float) -> Grid:
    """Wan 2.1's own DPM-Solver++ grid: from 1 to 0 in equal steps, shifted; the clock begins at 1000."""
    return _wan(1.0, 0.0, n, shift)


def wan_diffusers(n: int, shift: float) -> Grid:
    """diffusers' UniPC with flow sigmas: equal steps from 1 to 1/1000 without the last, shifted; 1 becomes 1 - 1e-6."""
    return _wan(1.0, 1 / 1000, n, shift, highest=1 - 1e-6)


def wan_comfy(n: int, shift: float) -> Grid:
    """ComfyUI's "simple" scheduler for flow models: of a table of 1000 equal, shifted times in float32 every (1000 / n)-th
    from the top, its place rounded down; the clock keeps its fraction."""
    table = shift_time(torch.arange(1, 1001, dtype=torch.float32) / 1000, shift)
    places = [int(step * (len(table) / n)) for step in range(_counted(n))]
    sigmas = table[[-1 - place for place in places]]
    return Grid(_ended(sigmas.double()), (sigmas * 1000).double())


@dataclass(frozen=True)
class Uniform:
    """Training times uniform between low and high. At t = 0 itself some velocities are infinite, so low is above 0."""

    low: float = 1e-5
    high: float = 1.0

    def at(self, u: Tensor) -> Tensor:
        """The times of numbers u uniform in [0, 1): the inverse distribution function, in float64."""
        return self.low + (self.high - self.low) * u.to(torch.float64)


@dataclass(frozen=True)
class LogitNormal:
    """Training times with logit(t) ~ N(mean, std^2), then shifted (Esser et al. 2024, arXiv:2403.03206, eq. 19, 23)."""

    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def at(self, u: Tensor) -> Tensor:
        """The times of numbers u uniform in [0, 1): the inverse distribution function, in float64."""
        # The end points have no finite logit; half of float64's spacing away from them changes no other number.
        inside = u.to(torch.float64).clamp(2.0**-54, 1 - 2.0**-53)
        return shift_time(torch.sigmoid(self.mean + self.std * torch.special.ndtri(inside)), self.shift)
