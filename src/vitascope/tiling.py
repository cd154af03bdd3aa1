"""Pictures that are too large for the memory of what makes them, made in tiles that overlap and are blended.

A place is made from what lies around it, so a tile is wrong near its edges, where it sees zeros instead of its neighbours;
over the overlap one tile fades into the next. The order of the blends is diffusers' (`AutoencoderKLWan.tiled_decode`): first
with the tile above, then with the tile to the left, each as it was blended itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

LEVELS = 32767
"""Steps of a `packed` number between 0 and 1: a rounding of 1.5e-5, a hundredth of what a film's bytes round."""


def spans(length: int, size: int) -> list[slice]:
    """Where tiles of `size` lie along `length`: each begins three quarters of a tile after the one before."""
    return [slice(start, min(start + size, length)) for start in range(0, length, step_of(size))]


def step_of(size: int) -> int:
    """From the beginning of a tile to that of the next. Raises ValueError unless the size is a multiple of 4."""
    if size < 4 or size % 4:
        raise ValueError(f"got tiles of {size}; expected a multiple of 4, so that a quarter of one overlaps")
    return size // 4 * 3


def joined(
    grid: tuple[int, int],
    size: int,
    scale: int,
    made: Callable[[slice, slice], Iterable[Tensor]],
    kept: Callable[[Tensor], Tensor] = lambda pixels: pixels,
) -> list[Tensor]:
    """A film of `grid` rows and columns in tiles of `size`, chunk by chunk: [b c n scale*rows scale*columns].

    made  a tile by its rows and columns, over all of its time: chunks [b c n scale*high scale*wide]
    kept  how a blended piece is put by until all tiles are there (`packed`)

    Beside the film itself the lower edges of a row of tiles are held, and the right edge of one.
    """
    film: list[Tensor] = []
    lower: dict[int, list[Tensor]] = {}  # by column: the last tile's edge in every chunk
    step = step_of(size)
    edge = step * scale
    for rows in spans(grid[0], size):
        right: list[Tensor] = []
        for columns in spans(grid[1], size):
            below, beside = lower.setdefault(columns.start, []), []
            for index, chunk in enumerate(made(rows, columns)):
                if rows.start:
                    chunk = _blended(below[index], chunk, 3)
                if columns.start:
                    chunk = _blended(right[index], chunk, 4)
                piece = kept(chunk[..., :edge, :edge])
                if index == len(film):
                    film.append(piece.new_empty(*piece.shape[:3], grid[0] * scale, grid[1] * scale))
                top, left = rows.start * scale, columns.start * scale
                film[index][..., top : top + piece.shape[3], left : left + piece.shape[4]] = piece
                below[index : index + 1] = [chunk[..., edge:, :].clone()]
                beside.append(chunk[..., edge:].clone())
            right = beside
    return film


def _blended(before: Tensor, tile: Tensor, axis: int) -> Tensor:
    """A tile whose beginning fades in, along an axis, over the edge of the tile before it."""
    count = min(before.shape[axis], tile.shape[axis])
    shape = [1] * tile.ndim
    shape[axis] = count
    weight = (torch.arange(count, dtype=tile.dtype, device=tile.device) / count).view(shape)
    fading = before.narrow(axis, 0, count) * (1 - weight) + tile.narrow(axis, 0, count) * weight
    return torch.cat((fading, tile.narrow(axis, count, tile.shape[axis] - count)), dim=axis)


def packed(pixels: Tensor) -> Tensor:
    """Numbers within [-1, 1], others clamped, in 16 bits. `unpacked` undoes it."""
    return (pixels.float().clamp(-1, 1) * LEVELS).round_().to(torch.int16)


def unpacked(pixels: Tensor) -> Tensor:
    """`packed` numbers as floats."""
    return pixels.float() / LEVELS
