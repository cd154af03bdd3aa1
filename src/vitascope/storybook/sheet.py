"""A contact sheet: clips side by side, to look at."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def sheet(clips: Sequence[Tensor] | Tensor, *, columns: int = 6, gap: int = 2) -> Tensor:
    """One row a clip, `columns` frames of it from the first to the last, uint8 [h w c].

    clips: uint8 [t h w c] each, all of one size; gap: black pixels between pictures. Raises ValueError without clips.
    """
    if len(clips) == 0:
        raise ValueError("a contact sheet needs at least one clip, got none")
    rows = []
    for clip in clips:
        last = clip.shape[0] - 1
        picks = [round(k * last / max(1, columns - 1)) for k in range(columns)]
        frames = torch.nn.functional.pad(clip[picks], (0, 0, 0, gap, 0, gap))
        rows.append(frames.permute(1, 0, 2, 3).reshape(frames.shape[1], -1, frames.shape[3]))
    return torch.cat(rows)[:-gap, :-gap] if gap else torch.cat(rows)
