"""Bytes, as films have them in files and in `Video`, to pixels, as networks have them, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def from_bytes(shades: Tensor) -> Tensor:
    """uint8 of any shape to float32 in [-1, 1], of the same shape and laid out alike."""
    return shades.to(torch.float32, copy=True).div_(127.5).sub_(1.0)


def to_pixels(clips: Tensor) -> Tensor:
    """uint8 [b t h w c] to float32 [b c t h w] in [-1, 1]."""
    return from_bytes(clips.permute(0, 4, 1, 2, 3))


def to_bytes(pixels: Tensor) -> Tensor:
    """Pixels [b c t h w] to uint8 [b t h w c] on the CPU; what lies outside [-1, 1] is cut off."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).cpu()
