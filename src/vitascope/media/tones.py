"""High dynamic range to the range that everything here is in: light in nits to code values of BT.709.

BT.2100 tells what the code values of PQ and HLG mean as light on a display, BT.2408 that diffuse white is at 203 nits, and
BT.2087 how its wide primaries become those of BT.709. What is brighter than white is bent towards it, not cut off.
"""

from __future__ import annotations

from typing import Any

import numpy as np

PQ, HLG = 16, 18
"""Transfer characteristics by their numbers in ITU-T H.273."""

WHITE = 203.0
_KNEE = 0.7  # the share of white up to which light is kept as it is
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], dtype=np.float32
)
_LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)

Pixels = np.ndarray[Any, np.dtype[Any]]


def to_sdr(pixels: Pixels, transfer: int) -> Pixels:
    """uint16 [h w 3] of BT.2020 under `transfer` (PQ or HLG) to uint8 [h w 3] of BT.709 for a display of gamma 2.4."""
    light = nits(pixels.astype(np.float32) / 65535, transfer) / WHITE
    light = np.maximum(light @ _TO_709.T, 0)
    peak = light.max(-1, keepdims=True)
    bent = _KNEE + (1 - _KNEE) * (1 - np.exp(-(np.maximum(peak, _KNEE) - _KNEE) / (1 - _KNEE)))
    light = light * np.where(peak > _KNEE, bent / np.maximum(peak, _KNEE), 1)  # one factor for all three: hues stay
    return (255 * light ** (1 / 2.4) + 0.5).clip(0, 255).astype(np.uint8)


def nits(code: Pixels, transfer: int) -> Pixels:
    """The light, in nits, that code values in [0, 1] stand for (BT.2100, tables 4 and 5)."""
    if transfer == PQ:
        e = code ** (4096 / (2523 * 128))
        bright = np.maximum(e - 3424 / 4096, 0) / (2413 / 128 - 2392 / 128 * e)
        return 10_000 * bright ** (16384 / 2610)
    if transfer == HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        return 1000 * scene * (scene @ _LUMINANCE)[..., None] ** 0.2  # the display's gamma of 1.2, at 1,000 nits
    raise ValueError(f"expected the transfer characteristics {PQ} or {HLG}, got {transfer}")
