"""Small steps where blocks of a codec meet are taken away, as video codecs do after decoding.

A block that is told for itself alone does not meet its neighbours exactly, and in a sky or a lawn the eye finds the grid. Where
both sides are calm and the step between them is small, it is no edge of the picture: it becomes a ramp over half a block. So
H.264 does by thresholds on the step and on the changes beside it (List et al. 2003, Adaptive Deblocking Filter, section III);
here what is done falls to nothing towards them, so that it is continuous, and a slope that goes on across a seam is no step.
"""

from __future__ import annotations

import torch
from torch import Tensor

STEP, CHANGE = 0.4, 0.6
"""The step, and the sum of four changes beside it, from which on a seam is left as it is; white is 2 above black."""
SIGHT = 3
"""Pixels, or frames, on each side of a seam that are looked at."""


def without_seams(x: Tensor, block: tuple[int, int, int], before: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Pixels `[b c t h w]` in [-1, 1] without the seams of blocks of `block` frames, rows and columns, frame 0 being alone.

    In time only what is after a seam is changed, so that a film may come in chunks: `before` is what was returned beside the
    chunk that came before, and None where x begins with frame 0. Returns the pixels, and what the next chunk wants to know.
    """
    time, rows, columns = block
    x = _mended(x, 4, columns, range(columns, x.shape[4], columns))
    x = _mended(x, 3, rows, range(rows, x.shape[3], rows))
    known = 0 if before is None else before.shape[2]
    whole = x if before is None else torch.cat((before, x), 2)
    mended = _mended(whole, 2, time, range(known or 1, whole.shape[2], time), causal=True)
    return mended[:, :, known:], whole[:, :, -SIGHT:].detach()


def _mended(x: Tensor, axis: int, size: int, seams: range, *, causal: bool = False) -> Tensor:
    """Along an axis, with seams before the places `seams` between blocks of `size`."""
    reach = size // 2
    if not seams or not reach:
        return x
    lines = x.movedim(axis, -1)
    at = torch.tensor(seams, device=x.device)

    def beside(steps: int) -> Tensor:
        """So many from the seam: 0 is the first after it, -1 the last before it; nothing of the next block but one."""
        steps = min(steps, size - 1) if steps >= 0 else max(steps, -size)
        return lines[..., (at + steps).clamp(0, lines.shape[-1] - 1)]

    slopes = [beside(-1) - beside(-2), beside(1) - beside(0)]
    slopes[0] = torch.where(at > 1, *slopes)  # before the second frame there is one, and no slope
    step = beside(0) - beside(-1) - (slopes[0] + slopes[1]) / 2
    change = sum(
        (one.abs() for one in (*slopes, beside(-2) - beside(-3), beside(2) - beside(1))), torch.zeros_like(step)
    )
    share = (1 - step.abs() / STEP).clamp_min(0) * (1 - change / CHANGE).clamp_min(0)
    step = step * share.amin(1, keepdim=True)  # an edge in one colour is an edge
    places, values = [], []
    for k in range(reach):
        part = (1 - (2 * k + 1) / (2 * reach)) / (1 if causal else 2)
        places.append(at + k)
        values.append(-part * step)
        if not causal:
            places.append(at - 1 - k)
            values.append(part * step)
    return lines.index_add(-1, torch.cat(places), torch.cat(values, -1)).movedim(-1, axis)
