"""A weight file in memory, mapped: a page of it is read when a number on it is touched, and not before."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitascope.errors import BadModel

_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""The flag without which Linux counts every byte of a private map as if it were going to be written, and refuses to map a
file larger than the machine's memory. Python names it since 3.13."""


class Mapped:
    """A private, copy-on-write map of a file: what is written into a view of it stays in memory and never reaches the file."""

    def __init__(self, path: Path, size: int) -> None:
        """Raises BadModel if the file has not `size` bytes any more, or the machine cannot map it."""
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno()).st_size
                if found != size:
                    raise BadModel(
                        f"{path}: it had {size:,} bytes a moment ago and has {found:,} now; wait until nothing writes to it "
                        "any more, and load it again."
                    )
                self._map = _private(file.fileno(), size)
        except (OSError, ValueError) as error:
            raise BadModel(f"{path}: it cannot be mapped into memory ({error}); copy it to a local disk.") from error
        self._bytes = torch.from_numpy(np.frombuffer(self._map, np.uint8))

    def bytes(self, start: int, end: int) -> Tensor:
        """The bytes from start to end, uint8 [end - start], a view."""
        return self._bytes[start:end]

    def numbers(self, start: int, end: int, dtype: torch.dtype, *, swap: bool = False) -> Tensor:
        """The numbers that lie from start to end, one axis. A view, unless they must be moved to be read.

        swap says that they were written in the other byte order than this machine's.
        """
        raw = self._bytes[start:end]
        if dtype == torch.bool:
            return raw != 0  # a truth value of 2 is neither true nor false to torch
        if swap:
            parts = dtype.itemsize // 2 if dtype.is_complex else dtype.itemsize
            raw = raw.view(-1, parts).flip(1).reshape(-1)
        if raw.storage_offset() % dtype.itemsize:
            raw = raw.clone()
        return raw.view(dtype)

    def forget(self) -> None:
        """Give the memory of the pages read so far back. What was written into views is lost with it."""
        if sys.platform != "win32":
            self._map.madvise(mmap.MADV_DONTNEED)


def _private(file: int, size: int) -> mmap.mmap:
    if sys.platform == "win32":
        return mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    return mmap.mmap(file, size, flags=mmap.MAP_PRIVATE | _NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
