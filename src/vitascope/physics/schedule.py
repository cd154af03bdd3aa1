"""How data turns into noise: x_t = alpha(t) x0 + sigma(t) eps, for t from 0 (data) to 1 (noise).

A schedule is two functions of t and their derivatives. They are always computed in float64 and applied in the dtype of
the tensor they meet. A new schedule is a class with two methods, `at` and `t_at`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, final

import torch
from torch import Tensor
from torch.nn.functional import softplus

Time = float | Tensor
"""A time in [0, 1]: a number, or a tensor of shape [b] with one time a row."""


class Coefficients(NamedTuple):
    """alpha, sigma and their derivatives in t: float64, each with the shape of the t they were asked for."""

    alpha: Tensor
    sigma: Tensor
    d_alpha: Tensor
    d_sigma: Tensor


def spread(coefficient: Tensor, x: Tensor) -> Tensor:
    """Shape a coefficient ([] or [b]) so that it multiplies x ([b, ...]) row by row, in x's dtype and on x's device."""
    if coefficient.ndim == 0:
        return coefficient.to(x.device, x.dtype)
    if coefficient.ndim != 1 or x.ndim == 0 or coefficient.shape[0] not in (1, x.shape[0]):
        raise ValueError(f"times of shape {tuple(coefficient.shape)} do not fit rows of {tuple(x.shape)}; expected [b]")
    return coefficient.to(x.device, x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def _float64(t: Time) -> Tensor:
    time = torch.as_tensor(t, dtype=torch.float64)
    # A number outside [0, 1] is nearly always a network's clock (0 to 1000) given for a time. Looking at a tensor on an
    # accelerator would wait for it, so only those on the CPU are checked.
    if time.device.type == "cpu" and time.numel():
        low, high = time.detach().aminmax()
        if not (low >= -1e-9 and high <= 1 + 1e-9):
            raise ValueError(f"a time must be in [0, 1], got {float(low):g} to {float(high):g}")
    return time


class Schedule(ABC):
    """The path from data to noise. Equal parameters make equal schedules."""

    @abstractmethod
    def at(self, t: Time) -> Coefficients:
        """alpha, sigma, alpha', sigma' at t, in float64. A derivative may be infinite at t = 0, and only there."""

    @abstractmethod
    def t_at(self, logsnr: Time) -> Tensor:
        """The time whose log signal-to-noise ratio is `logsnr`: the inverse of `logsnr`, in float64."""

    def logsnr(self, t: Time) -> Tensor:
        """log(alpha^2 / sigma^2), in float64; it falls from +inf at t = 0."""
        c = self.at(t)
        return 2 * (c.alpha.log() - c.sigma.log())

    def noised(self, x0: Tensor, eps: Tensor, t: Time) -> Tensor:
        """alpha x0 + sigma eps, [b, ...]; t is one time or [b]."""
        c = self.at(t)
        return spread(c.alpha, x0) * x0 + spread(c.sigma, x0) * eps

    def transport(self, x: Tensor, x0: Tensor, t: Time, s: Time) -> Tensor:
        """Move x from t to s along the path that ends in x0, exactly: the estimate x0 is held, the noise too.

            (sigma_s / sigma_t) x + (alpha_s - alpha_t sigma_s / sigma_t) x0

        This is DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12 with sigma = 0) and the first-order step of every
        exponential integrator. Raises ValueError where sigma_t = 0: there is no noise in x to be scaled.
        """
        c, d = self.at(t), self.at(s)
        if bool((c.sigma == 0).any()):
            raise ValueError(f"transport starts where sigma is not 0, got t = {t}; expected a time above 0")
        ratio = d.sigma / c.sigma
        return spread(ratio, x) * x + spread(d.alpha - c.alpha * ratio, x) * x0


@final
@dataclass(frozen=True)
class Linear(Schedule):
    """Rectified flow (Liu et al. 2023, arXiv:2209.03003): x_t = (1 - t) x0 + t eps, whose velocity is eps - x0."""

    def at(self, t: Time) -> Coefficients:
        time = _float64(t)
        one = torch.ones_like(time)
        return Coefficients(1 - time, time, -one, one)

    def t_at(self, logsnr: Time) -> Tensor:
        return torch.sigmoid(-0.5 * torch.as_tensor(logsnr, dtype=torch.float64))


@final
@dataclass(frozen=True)
class Cosine(Schedule):
    """x_t = cos(pi t / 2) x0 + sin(pi t / 2) eps (Nichol & Dhariwal 2021, arXiv:2102.09672, in continuous time)."""

    def at(self, t: Time) -> Coefficients:
        time, half = _float64(t), math.pi / 2
        alpha = torch.sin(half * (1 - time))  # cos(pi t / 2), but exactly 0 at t = 1
        sigma = torch.sin(half * time)
        return Coefficients(alpha, sigma, -half * sigma, half * alpha)

    def t_at(self, logsnr: Time) -> Tensor:
        return torch.atan(torch.exp(-0.5 * torch.as_tensor(logsnr, dtype=torch.float64))) * (2 / math.pi)


def _variance_preserving(log_alpha: Tensor, slope: Tensor) -> Coefficients:
    """Coefficients with alpha^2 + sigma^2 = 1, from log(alpha) and its derivative."""
    alpha = log_alpha.exp()
    sigma = (-torch.expm1(2 * log_alpha)).sqrt()
    d_alpha = alpha * slope
    return Coefficients(alpha, sigma, d_alpha, -alpha * d_alpha / sigma)


def _log_alpha(logsnr: Time) -> Tensor:
    """log(alpha) of a variance-preserving schedule with this logsnr: alpha^2 = sigmoid(logsnr)."""
    return -0.5 * softplus(-torch.as_tensor(logsnr, dtype=torch.float64), threshold=1e3)


@final
@dataclass(frozen=True)
class VP(Schedule):
    """The variance-preserving SDE with beta(t) linear in t (Song et al. 2021, arXiv:2011.13456, eq. 33).

    alpha at t = 1 is small but not 0. sigma' is infinite at t = 0.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max < math.inf:
            raise ValueError(f"expected 0 < beta_min <= beta_max, got {self.beta_min} and {self.beta_max}")

    def at(self, t: Time) -> Coefficients:
        time, rise = _float64(t), self.beta_max - self.beta_min
        log_alpha = -0.25 * rise * time**2 - 0.5 * self.beta_min * time
        return _variance_preserving(log_alpha, -0.5 * (self.beta_min + rise * time))

    def t_at(self, logsnr: Time) -> Tensor:
        # The root of rise t^2 / 2 + beta_min t = integral, in the form that loses nothing for a small integral.
        integral, rise = -2 * _log_alpha(logsnr), self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * rise * integral).sqrt())


@final
@dataclass(frozen=True)
class VE(Schedule):
    """The variance-exploding SDE (Song et al. 2021, arXiv:2011.13456, eq. 29): alpha = 1, sigma grows geometrically.

        sigma(t)^2 = sigma_min^2 ((sigma_max / sigma_min)^(2 t) - 1)

    This is the kernel of that SDE as it is. The common short form without the "- 1" leaves noise of sigma_min in the
    data at t = 0; here t = 0 is clean, as with every schedule, and sigma' is infinite there. sigma at t = 1 is
    sqrt(sigma_max^2 - sigma_min^2).
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(f"expected 0 < sigma_min < sigma_max, got {self.sigma_min} and {self.sigma_max}")

    @property
    def _rate(self) -> float:
        return 2 * math.log(self.sigma_max / self.sigma_min)

    def at(self, t: Time) -> Coefficients:
        time = _float64(t)
        sigma = self.sigma_min * torch.expm1(self._rate * time).sqrt()
        slope = 0.5 * self._rate * self.sigma_min**2 * torch.exp(self._rate * time) / sigma
        return Coefficients(torch.ones_like(time), sigma, torch.zeros_like(time), slope)

    def t_at(self, logsnr: Time) -> Tensor:
        variance = torch.exp(-torch.as_tensor(logsnr, dtype=torch.float64)) / self.sigma_min**2
        return torch.log1p(variance) / self._rate


@final
@dataclass(frozen=True)
class DiscreteVP(Schedule):
    """A table of T betas: index i is at t = (i + 1) / T, alpha^2 the product of 1 - beta up to i; t = 0 is clean.

    On the grid points it is exact; between them log(alpha) is linear in t, so that derivatives exist everywhere; on a
    grid point they are those of the interval that ends there. A last beta of 1 (Lin et al. 2024, arXiv:2305.08891: no
    signal at t = 1) is allowed, and in that last interval alpha itself is linear.
    """

    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        betas = tuple(float(beta) for beta in self.betas)
        object.__setattr__(self, "betas", betas)
        if not betas or not all(0 < beta < 1 for beta in betas[:-1]) or not 0 < betas[-1] <= 1:
            raise ValueError("expected betas in (0, 1), of which only the last may be 1")

    def __hash__(self) -> int:
        return hash((len(self.betas), self.betas[0], self.betas[-1]))

    @classmethod
    def linear(cls, steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> DiscreteVP:
        """Ho et al. 2020 (arXiv:2006.11239, section 4)."""
        return cls(tuple(torch.linspace(first, last, steps, dtype=torch.float64).tolist()))

    @classmethod
    def scaled_linear(cls, steps: int = 1000, first: float = 0.00085, last: float = 0.012) -> DiscreteVP:
        """Linear in sqrt(beta), as latent diffusion has it (Rombach et al. 2022, arXiv:2112.10752)."""
        roots = torch.linspace(first**0.5, last**0.5, steps, dtype=torch.float64)
        return cls(tuple((roots**2).tolist()))

    @classmethod
    def cosine(cls, steps: int = 1000, offset: float = 0.008, highest: float = 0.999) -> DiscreteVP:
        """Nichol & Dhariwal 2021 (arXiv:2102.09672, eq. 17), each beta at most `highest`."""
        t = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        signal = torch.cos((t + offset) / (1 + offset) * math.pi / 2) ** 2
        return cls(tuple((1 - signal[1:] / signal[:-1]).clamp(max=highest).tolist()))

    @cached_property
    def _table(self) -> Tensor:
        """log(alpha) at t = 0, 1/T, ..., 1."""
        steps = 0.5 * torch.log1p(-torch.tensor(self.betas, dtype=torch.float64))
        return torch.cat([steps.new_zeros(1), steps.cumsum(0)])

    def at(self, t: Time) -> Coefficients:
        time = _float64(t)
        total, table = len(self.betas), self._table.to(time.device)
        position = time * total
        # (i + 1) / T * T is i + 1 only up to rounding: without the allowance it could fall into the next interval.
        piece = (position.detach() - 1e-7).floor().clamp(0, total - 1).long()
        low, high, along = table[piece], table[piece + 1], (position - piece).clamp(max=1)
        if self.betas[-1] < 1:
            return _variance_preserving(low + along * (high - low), total * (high - low))
        last = piece == total - 1
        height = torch.where(last, 0.0, high - low)
        c = _variance_preserving(low + along * height, total * height)
        fall, slope = (1 - along) * low.exp(), -total * low.exp()
        rest = (1 - fall**2).sqrt()
        chosen = (fall, rest, slope, -fall * slope / rest)
        return Coefficients(*(torch.where(last, mine, other) for mine, other in zip(chosen, c, strict=True)))

    def t_at(self, logsnr: Time) -> Tensor:
        log_alpha = _log_alpha(logsnr)
        total, table = len(self.betas), self._table.to(log_alpha.device)
        piece = torch.searchsorted(-table, -log_alpha).sub(1).clamp(0, total - 1)
        low, high = table[piece], table[piece + 1]
        along = (log_alpha - low) / (high - low)
        if self.betas[-1] == 1:
            along = torch.where(piece == total - 1, -torch.expm1(log_alpha - low), along)
        return ((piece + along) / total).clamp(0, 1)
