"""Weights as a mapping of which nothing is read until it is asked for: `Slot` is one tensor's place, `Weights` are many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slot:
    """Where a tensor is, and what it will be: known without reading it."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    read: Callable[[], Tensor]
    """The tensor, of that shape and kind, on the CPU."""


class Weights(Mapping[str, Tensor]):
    """Tensors by name, each read when it is asked for.

    What comes is on the CPU and, wherever the file allows, a view of a private copy-on-write map of it: it costs memory only
    for what is touched, and writing into it changes no file. Whoever asks again sees what was written, until `forget`.
    """

    def __init__(
        self,
        slots: Mapping[str, Slot],
        *,
        origin: str,
        files: tuple[Path, ...] = (),
        metadata: Mapping[str, str] | None = None,
        forget: Callable[[], None] | None = None,
    ) -> None:
        self.slots = dict(slots)
        self.origin = origin
        """What messages call them."""
        self.files = files
        """The files that they lie in."""
        self.metadata: Mapping[str, str] = dict(metadata or {})
        """The notes in the files."""
        self._forget = forget

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return self.slots[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """The kind of a tensor's numbers as they lie in the file, without reading it."""
        return self.slots[name].dtype

    def nbytes(self, name: str) -> int:
        """Bytes of a tensor, without reading it."""
        slot = self.slots[name]
        return torch.Size(slot.shape).numel() * slot.dtype.itemsize

    def forget(self) -> None:
        """Give back the memory of the pages that were read so far; views stay valid and read the file again.

        What was written into views is lost with it: for whoever copies each tensor elsewhere, as when a network is streamed
        from the disk.
        """
        if self._forget is not None:
            self._forget()

    def __getitem__(self, name: str) -> Tensor:
        return self.slots[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.slots)

    def __len__(self) -> int:
        return len(self.slots)

    def __contains__(self, name: object) -> bool:
        return name in self.slots

    def __repr__(self) -> str:
        return f"Weights({self.origin!r}, {len(self)} tensors)"

    def with_slots(self, slots: Mapping[str, Slot]) -> Weights:
        """The same files and notes, other entries."""
        return Weights(slots, origin=self.origin, files=self.files, metadata=self.metadata, forget=self._forget)


def held(tensors: Mapping[str, Tensor], *, origin: str, metadata: Mapping[str, str] | None = None) -> Weights:
    """Tensors that are in memory already, as Weights."""
    slots = {name: Slot(tuple(value.shape), value.dtype, lambda value=value: value) for name, value in tensors.items()}
    return Weights(slots, origin=origin, metadata=metadata)
