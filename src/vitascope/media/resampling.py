"""Pictures scaled as Pillow scales them, to the last bit: what other programs feed a network was scaled by it.

Each side is scaled by itself, the width first. The weights of a kernel are whole numbers of 22 bits, the sums are rounded
to bytes after each side, and when a picture shrinks the kernel widens, so that no pixel is left out. (Pillow 13 begins with
the height where it reckons that to be quicker; then single bytes are rounded or cut off otherwise.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

Kernel = Literal["bilinear", "bicubic", "lanczos"]
_BITS = 22


def resampled(pixels: Tensor, height: int, width: int, kernel: Kernel) -> Tensor:
    """uint8 [... h w c] to uint8 [... height width c], as `PIL.Image.resize` does with this kernel."""
    pixels = _along(pixels.transpose(-3, -2), width, kernel).transpose(-3, -2)
    return _along(pixels, height, kernel).contiguous()


def _along(pixels: Tensor, size: int, kernel: Kernel) -> Tensor:
    """[... n m c] to [... size m c]."""
    import torch

    if pixels.shape[-3] == size:
        return pixels
    index, weight = _taps(pixels.shape[-3], size, kernel)
    total = torch.full((*pixels.shape[:-3], size, *pixels.shape[-2:]), 1 << (_BITS - 1), dtype=torch.int32)
    for tap in range(index.shape[1]):  # a sum over a few rows, and never a matrix as large as both sides
        total += pixels.index_select(-3, index[:, tap]) * weight[:, tap, None, None]
    return (total >> _BITS).clamp(0, 255).byte()


def _taps(have: int, want: int, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Which of `have` pixels make each of `want`, and how much of each, in units of 2^-22: int64 and int32 [want taps]."""
    import torch

    shape, support = _KERNELS[kernel]
    scale = have / want
    stretch = max(scale, 1.0)
    reach = support * stretch
    taps = 2 * math.ceil(reach) + 1
    centre = (torch.arange(want, dtype=torch.float64) + 0.5) * scale
    first = (centre - reach + 0.5).long().clamp(min=0)
    last = (centre + reach + 0.5).long().clamp(max=have)
    index = first[:, None] + torch.arange(taps)
    weight = shape((index - centre[:, None] + 0.5) / stretch).where(index < last[:, None], 0.0)
    weight = weight / weight.sum(1, keepdim=True) * (1 << _BITS)
    return index.clamp(max=have - 1), torch.where(weight < 0, weight - 0.5, weight + 0.5).int()


def _bilinear(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp(min=0)


def _bicubic(x: Tensor) -> Tensor:
    """Keys 1981 (doi:10.1109/TASSP.1981.1163711) with a = -1/2."""
    x, a = x.abs(), -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return near.where(x < 1, far.where(x < 2, 0.0))


def _lanczos(x: Tensor) -> Tensor:
    return (x.sinc() * (x / 3).sinc()).where((x >= -3) & (x < 3), 0.0)


_KERNELS: dict[Kernel, tuple[Callable[[Tensor], Tensor], float]] = {
    "bilinear": (_bilinear, 1.0),
    "bicubic": (_bicubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
