"""What the codec computes and holds where it works in tiles: `work` counts one, here they are put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from vitascope.codec import tile_side
from vitascope.planning.work import Decoding, decoding, encoding
from vitascope.tiling import spans, step_of

if TYPE_CHECKING:
    from vitascope.models.vae import VAEConfig

Grid = tuple[int, int, int]
"""Frames of pixels; rows and columns of latents."""


@dataclass(frozen=True)
class Tiled(Decoding):
    """One later latent frame in tiles: operations of all of them, bytes of the largest; `held`: of the film and the tiles'
    edges, in the computer's memory until the last is through."""

    held: int = 0


def decoder(config: VAEConfig, grid: Grid, tile: int | None, bytes_: int = 4) -> Tiled:
    """What the codec's decoder does and holds, in tiles of so many pixels or on whole frames."""
    frames, height, width = grid
    size = tile_side(config, tile, *grid[1:])
    if size is None:
        whole = decoding(config, height, width, bytes_)
        return Tiled(whole.flops, whole.memory)
    flops, memory = _tiles(config, height, width, size, bytes_, decoding)
    place = frames * config.pixels * config.stride[1] * config.stride[2]
    columns, step = spans(width, size), step_of(size)
    lower = min(size - step, max(0, height - step)) * sum(part.stop - part.start for part in columns)
    right = 2 * min(size - step, max(0, width - step)) * min(size, height)  # of the tile before, and of this one
    return Tiled(flops, memory, 2 * place * height * width + 4 * place * (lower + right))


def encoder(config: VAEConfig, grid: Grid, tile: int | None, bytes_: int = 4) -> Tiled:
    """The same of the encoder; what comes out is small, and what goes in is its giver's."""
    _, height, width = grid
    size = tile_side(config, tile, *grid[1:])
    if size is None:
        whole = encoding(config, height, width, bytes_)
        return Tiled(whole.flops, whole.memory)
    return Tiled(*_tiles(config, height, width, size, bytes_, encoding))


def _tiles(
    config: VAEConfig,
    height: int,
    width: int,
    size: int,
    bytes_: int,
    one: Callable[[VAEConfig, int, int, int], Decoding],
) -> tuple[dict[int, float], int]:
    """Operations of all tiles, by the width of the features, and bytes of the largest."""
    places = product(spans(height, size), spans(width, size))
    shapes = Counter((rows.stop - rows.start, columns.stop - columns.start) for rows, columns in places)
    flops: dict[int, float] = {}
    for (high, wide), count in shapes.items():
        for features, done in one(config, high, wide, bytes_).flops.items():
            flops[features] = flops.get(features, 0.0) + count * done
    return flops, one(config, min(size, height), min(size, width), bytes_).memory
