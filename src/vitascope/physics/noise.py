"""Noise as a function of (seed, purpose, index).

There is no generator to save, to advance or to share: the same three values give the same numbers on every device, in
every batch size and after every resume. They are drawn on the CPU, because two devices' own generators never agree.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

_MANY, _THREADS = 1_000_000, 8


def key(seed: int, purpose: str, index: int = 0) -> int:
    """A 63-bit number that stands for (seed, purpose, index); different triples are unrelated."""
    digest = hashlib.sha256(f"{seed}|{purpose}|{index}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _generator(seed: int, purpose: str, index: int) -> torch.Generator:
    return torch.Generator().manual_seed(key(seed, purpose, index))


def normal(
    seed: int,
    purpose: str,
    index: int,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Standard normal numbers of `shape`. float64 has its own draw; every other dtype is a cast of the float32 one."""
    drawn = torch.float64 if dtype == torch.float64 else torch.float32
    return torch.randn(tuple(shape), generator=_generator(seed, purpose, index), dtype=drawn).to(device, dtype)


def uniform(
    seed: int,
    purpose: str,
    index: int,
    shape: Sequence[int],
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Numbers uniform in [0, 1) of `shape`, drawn in float64."""
    drawn = torch.rand(tuple(shape), generator=_generator(seed, purpose, index), dtype=torch.float64)
    return drawn.to(device, dtype)


@dataclass(frozen=True)
class Noise:
    """The noise of a batch: row r depends on `seeds[r]` alone, so that a batch equals its members."""

    seeds: tuple[int, ...]

    def normal(
        self,
        purpose: str,
        index: int,
        shape: Sequence[int],
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Standard normal numbers, [rows, *shape]; `shape` is one row's."""

        def row(seed: int) -> Tensor:
            return normal(seed, purpose, index, shape, dtype=dtype)

        if math.prod(shape) * len(self.seeds) < _MANY:
            return torch.stack([row(seed) for seed in self.seeds]).to(device)
        with ThreadPoolExecutor(_THREADS) as pool:  # an accelerator would wait for one core to draw a large batch
            return torch.stack(list(pool.map(row, self.seeds))).to(device)

    def uniform(
        self,
        purpose: str,
        index: int,
        shape: Sequence[int] = (),
        *,
        dtype: torch.dtype = torch.float64,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Uniform numbers in [0, 1), [rows, *shape]; `shape` is one row's."""
        return torch.stack([uniform(seed, purpose, index, shape, dtype=dtype) for seed in self.seeds]).to(device)

    def of(self, rows: int) -> Noise:
        """The noise of so many rows: the first are these, or of these, and each further one has a seed made from theirs."""
        count = len(self.seeds)
        return Noise(
            tuple(self.seeds[r] if r < count else key(self.seeds[r % count], "row", r // count) for r in range(rows))
        )

    def like(self, purpose: str, index: int, x: Tensor) -> Tensor:
        """Standard normal numbers with the shape, dtype and device of x [rows, ...]."""
        if x.shape[0] != len(self.seeds):
            raise ValueError(f"noise for {len(self.seeds)} rows was asked for a tensor of {x.shape[0]} rows")
        return self.normal(purpose, index, x.shape[1:], dtype=x.dtype, device=x.device)
