"""The small parts of a transformer: precision, norms, modulation, the sense of time, patches.

One rule of precision holds in every network here. Matrix products run in the *compute dtype*: bf16 under autocast, else
the dtype of the weights. What lies between them (the residual stream, norms, modulation, the sense of time) runs in
float32 at least.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def wide(x: Tensor) -> Tensor:
    """`x` in float32 at least: bf16 and fp16 widen, float32 and float64 stay as they are."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def autocasting(kind: str) -> bool:
    """Whether autocast is on for devices of this kind; never on `meta`, which knows none but can still count shapes."""
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def compute_dtype(weight: Tensor) -> torch.dtype:
    """The dtype of the matrix products that use `weight`: that of autocast where it is on, else the weight's own."""
    kind = weight.device.type
    return torch.get_autocast_dtype(kind) if autocasting(kind) else weight.dtype


class Linear(nn.Linear):
    """A linear map in the compute dtype, whatever the dtype of its input. [... d] -> [... d']."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input.to(compute_dtype(self.weight)), self.weight, self.bias)


class WideLinear(nn.Linear):
    """A linear map in float32 at least, out of autocast's reach. [... d] -> [... d']."""

    def forward(self, input: Tensor) -> Tensor:
        return wide_linear(input, self.weight, self.bias)


def wide_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x weight^T + bias in float32 at least, out of autocast's reach. [... d] -> [... d']."""
    kind = x.device.type
    with torch.autocast(kind, enabled=False) if autocasting(kind) else nullcontext():
        weight = wide(weight)
        return F.linear(x.to(weight.dtype), weight, None if bias is None else bias.to(weight.dtype))


class LayerNorm(nn.LayerNorm):
    """Layer norm (Ba et al. 2016, arXiv:1607.06450) in float32 at least. [... d] -> [... d]."""

    def forward(self, input: Tensor) -> Tensor:
        x = wide(input)
        weight = None if self.weight is None else self.weight.to(x.dtype)
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, weight, bias, self.eps)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, in float32 at least (Zhang and Sennrich 2019, arXiv:1910.07467, eq. 4). [... d]."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        given, x = x, wide(x)
        weight, rate = self.weight.to(x.dtype), torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps)
        if torch.is_grad_enabled():
            return x * rate * weight
        # Nothing looks back, so the same products are written over each other: of long films these are GiBs.
        return (x * rate if x is given else x.mul_(rate)).mul_(weight)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x (1 + scale) + shift, the adaptive norm of DiT (Peebles and Xie 2022, arXiv:2212.09748, section 3.2)."""
    return torch.addcmul(shift, x, 1 + scale)


def sinusoid(clock: Tensor, width: int) -> Tensor:
    """The clock as waves (Vaswani et al. 2017, arXiv:1706.03762, section 3.5), cosines first: [...] -> float64 [... width].

    In float64, because the fastest waves of a clock near 1000 lose four digits in float32. Raises ValueError for an odd
    width.
    """
    if width % 2:
        raise ValueError(f"sinusoid: width must be even, got {width}")
    half = width // 2
    frequency = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float64, device=clock.device))
    angle = clock.to(torch.float64)[..., None] * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=-1)


def patchify(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """[b c t h w] -> [b l c*pt*ph*pw]: tokens in the order (t, h, w), w fastest; within a token (c, pt, ph, pw).

    That inner order is a convolution kernel's, so that a convolution whose stride is its kernel is a matrix product of
    these tokens. Raises ValueError where the patch does not divide the grid.
    """
    if x.ndim != 5:
        raise ValueError(f"patchify: expected x [b c t h w], got {tuple(x.shape)}")
    b, c = x.shape[:2]
    grid = tuple(n // p for n, p in zip(x.shape[2:], patch))
    if any(n % p for n, p in zip(x.shape[2:], patch)) or 0 in grid:
        raise ValueError(f"patchify: (t, h, w) must be multiples of {patch}, got {tuple(x.shape[2:])}")
    (f, h, w), (pt, ph, pw) = grid, patch
    x = x.reshape(b, c, f, pt, h, ph, w, pw).permute(0, 2, 4, 6, 1, 3, 5, 7)
    return x.reshape(b, f * h * w, c * pt * ph * pw)


def unpatchify(x: Tensor, grid: tuple[int, int, int], patch: tuple[int, int, int]) -> Tensor:
    """[b l pt*ph*pw*c] -> [b c t h w]. Within a token (pt, ph, pw, c), c fastest: Wan's head, unlike its embedding.

    Raises ValueError where the tokens do not fill the grid.
    """
    (f, h, w), (pt, ph, pw) = grid, patch
    b, length, width = x.shape
    if length != f * h * w or width % (pt * ph * pw):
        raise ValueError(f"unpatchify: grid {grid} and patch {patch} do not fit tokens {tuple(x.shape)}")
    x = x.reshape(b, f, h, w, pt, ph, pw, -1).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return x.reshape(b, -1, f * pt, h * ph, w * pw)
