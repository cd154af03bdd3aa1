"""Mood: a grade of colour and contrast over finished pictures.

A grade never turns one hue into another: what is red stays red. It moves colours towards grey, multiplies and lifts
each channel, more so towards the frame's edge, and may bend the contrast or let what is bright glow.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.storybook.canvas import Colour


class Grade(NamedTuple):
    """How far colours go to grey; the share of an S-curve in the contrast; the share of a glow; what channels are then
    multiplied by and lifted by; the same at the frame's corners, instead."""

    grey: float
    contrast: float
    glow: float
    gain: Colour
    lift: Colour
    corner_gain: Colour
    corner_lift: Colour


GRADES: dict[str, Grade] = {
    "warm": Grade(0.0, 0.0, 0.0, (1.02, 0.97, 0.84), (0.05, 0.022, 0.0), (0.88, 0.70, 0.44), (0.19, 0.095, 0.0)),
    "cold": Grade(0.10, 0.0, 0.0, (0.86, 0.96, 1.0), (0.0, 0.015, 0.05), (0.58, 0.75, 0.88), (0.0, 0.06, 0.18)),
    "dreamy": Grade(0.12, 0.0, 0.5, (0.80, 0.77, 0.80), (0.14, 0.115, 0.155), (0.50, 0.45, 0.50), (0.46, 0.39, 0.47)),
    "stark": Grade(0.42, 0.85, 0.0, (1.06, 1.06, 1.06), (0.0, 0.0, 0.0), (0.28, 0.28, 0.28), (0.0, 0.0, 0.0)),
}
"""Every mood but the neutral one, which changes nothing."""


def grade(pixels: Tensor, mood: str) -> None:
    """Grade pixels [t 3 h w], in [0, 1], in place; they are clamped to it first. Raises KeyError for an unknown mood."""
    if mood == "neutral":
        return
    look = GRADES[mood]
    pixels.clamp_(0, 1)
    if look.grey:
        luma = pixels[:, :1] * 0.299 + pixels[:, 1:2] * 0.587 + pixels[:, 2:] * 0.114
        pixels.lerp_(luma, look.grey)
    if look.contrast:
        curve = pixels * -2
        curve.add_(3).mul_(pixels).mul_(pixels)
        pixels.lerp_(curve, look.contrast)
    if look.glow:
        soft = _blurred(pixels)
        pixels.lerp_(soft, look.glow * 0.5)
        pixels.addcmul_(soft.square_(), 1 - pixels, value=look.glow)
    edge = _edge(pixels)
    gain, lift, corner_gain, corner_lift = (
        torch.tensor(colour, device=pixels.device)[:, None, None] for colour in look[3:]
    )
    pixels.mul_(gain + (corner_gain - gain) * edge).add_(lift + (corner_lift - lift) * edge)


def _edge(pixels: Tensor) -> Tensor:
    """From 0 in the middle to 1 in the corners, [h, w]."""
    height, width = pixels.shape[-2:]
    y = torch.linspace(-1, 1, height, device=pixels.device)[:, None]
    x = torch.linspace(-1, 1, width, device=pixels.device)
    return ((x.square() + y.square() - 0.35) / 1.65).clamp_min(0)


def _blurred(pixels: Tensor) -> Tensor:
    """The pictures out of focus by a few hundredths of their height."""
    height, width = pixels.shape[-2:]
    step = max(1, height // 24)
    small = F.avg_pool2d(pixels, step, ceil_mode=True, count_include_pad=False)
    small = F.avg_pool2d(small, 3, stride=1, padding=1, count_include_pad=False)
    return F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
