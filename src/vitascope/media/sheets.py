"""Many films, or many frames of one, on one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def sheet(images: Sequence[Tensor], columns: int, *, gap: int = 4, paper: int = 255) -> Tensor:
    """A contact sheet, uint8 [h w c]: images [h w c] of one size, row by row, on grey paper of that brightness."""
    import torch

    if not images or columns < 1 or any(image.shape != images[0].shape for image in images):
        raise ValueError(f"expected images of one size and columns >= 1, got {len(images)} and {columns}")
    height, width, colours = images[0].shape
    rows, columns = -(-len(images) // columns), min(columns, len(images))
    size = (gap + rows * (height + gap), gap + columns * (width + gap), colours)
    page = torch.full(size, paper, dtype=torch.uint8)
    for index, image in enumerate(images):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def filmstrip(frames: Tensor, count: int = 4, *, gap: int = 1, paper: int = 255) -> Tensor:
    """`count` frames of a film [t h w c], evenly spaced from the first to the last, side by side: uint8 [h w c]."""
    import torch

    at = torch.linspace(0, len(frames) - 1, count).round().long()
    return sheet(list(frames[at.to(frames.device)].cpu()), count, gap=gap, paper=paper)
