"""How far a tracked subject has turned from frame to frame, and how large it is: what it takes to tell rolling from sliding.

The picture around the centre is laid out by angle, ring by ring; where the rings of the next frame fit best when they are
turned is the angle, found for all turns at once by the Fourier transform (phase correlation is its whitened form: Kuglin
& Hines 1975).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

ANGLES = 180
RINGS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # radii of the subject
FARTHEST = math.pi / 4  # a turn from frame to frame: beyond it a square would look as if it turned the other way


def turns(film: Tensor, centres: Tensor, radius: float) -> Tensor:
    """Counter-clockwise turns in radians from each frame to the next, float64 [t - 1], of what is within `radius` pixels of
    its centre [t 2] in a film uint8 [t h w c]."""
    frames, height, width = film.shape[:3]
    angles = torch.arange(ANGLES, dtype=torch.float64) * (2 * math.pi / ANGLES)
    rings = torch.tensor(RINGS, dtype=torch.float64)[:, None] * radius
    x = centres[:, 0, None, None] + rings * angles.cos()
    y = centres[:, 1, None, None] - rings * angles.sin()
    grid = torch.stack((2 * x / width - 1, 2 * y / height - 1), -1).float()
    polar = F.grid_sample(film.permute(0, 3, 1, 2).float(), grid, padding_mode="border", align_corners=False)
    polar = (polar - polar.mean(-1, keepdim=True)).double() * rings[:, 0, None].sqrt()
    waves = torch.fft.rfft(polar, dim=-1)
    likeness = torch.fft.irfft((waves[1:] * waves[:-1].conj()).sum((1, 2)), ANGLES)
    return torch.stack([_peak(each) for each in likeness]) if frames > 1 else torch.zeros(0, dtype=torch.float64)


def _peak(likeness: Tensor) -> Tensor:
    """The turn at which a likeness [ANGLES] is greatest, between the samples by a parabola."""
    reach = int(FARTHEST / (2 * math.pi) * ANGLES)
    shifts = torch.arange(-reach, reach + 1)
    near = likeness[shifts % ANGLES]
    at = int(near.argmax())
    step = 2 * math.pi / ANGLES
    if 0 < at < len(near) - 1:
        low, top, high = near[at - 1 : at + 2].tolist()
        bend = low - 2 * top + high
        return torch.tensor(
            (shifts[at].item() + (0.5 * (low - high) / bend if bend else 0.0)) * step, dtype=torch.float64
        )
    return torch.tensor(shifts[at].item() * step, dtype=torch.float64)
