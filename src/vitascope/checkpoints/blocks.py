"""GGUF files: the header through the gguf library, held to the file's length; the blocks are mapped and unpacked elsewhere.

Source: docs/gguf.md of ggml-org/ggml; the notes `comfy.gguf.orig_shape.*` are those of city96/ComfyUI-GGUF.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from vitascope.checkpoints.mapped import Mapped
from vitascope.checkpoints.slots import Slot, Weights
from vitascope.errors import BadModel

if TYPE_CHECKING:
    from gguf import GGUFReader

MOST_FIELDS = 3_000_000
"""A text encoder's file lists a vocabulary of 256,384 pieces with their scores, which takes a million."""

_SHAPE = "comfy.gguf.orig_shape."

_PLAIN: dict[str, torch.dtype] = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8},
}


@dataclass(frozen=True)
class Blocks(Slot):
    """A tensor packed in blocks: what is read are the bytes, uint8 [..., bytes of a row]."""

    kind: str
    """GGML's word for the packing, as Q4_K."""
    whole: tuple[int, ...]
    """The shape of the tensor once unpacked."""


def library() -> None:
    """Raise BadModel where the gguf library is not installed."""
    try:
        import gguf  # noqa: F401
    except ImportError as error:
        raise BadModel(
            'GGUF: these files are read through the library gguf, and it is not installed; run `pip install "vitascope[wan]"`.'
        ) from error


def opened(path: Path) -> Weights:
    """The tensors of a GGUF file: plain ones as they are, packed ones as `Blocks`. Raises BadModel that says what is wrong."""
    library()
    try:
        size = path.stat().st_size
        with np.errstate(all="raise"):
            reader = _read(path)
            notes = {name: field.contents() for name, field in reader.fields.items() if len(field.data) < 100}
            found = {tensor.name: _place(tensor, notes, size) for tensor in reader.tensors}
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadModel(
            f"{path}: it begins as a GGUF file and is none that can be read ({reason}); fetch the file again."
        ) from error
    mapped = Mapped(path, size)
    slots = {name: _slot(mapped, place) for name, place in found.items()}
    metadata = {name: str(note) for name, note in notes.items() if isinstance(note, str | int | float)}
    return Weights(slots, origin=str(path), files=(path,), metadata=metadata, forget=mapped.forget)


def _read(path: Path) -> GGUFReader:
    from gguf import GGUFReader

    class Bounded(GGUFReader):
        """The library's reader takes what is beyond the end for empty, and goes on; a list that claims 2^60 pieces has no end."""

        taken = 0

        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            self.taken += 1
            if self.byte_order != "I":
                raise ValueError("it was written for machines of the other byte order")
            if self.taken > MOST_FIELDS:
                raise ValueError(f"its header has more than {MOST_FIELDS:,} fields")
            if int(offset) + np.dtype(dtype).itemsize * int(count) > len(self.data):
                raise ValueError("it ends before what its header promises: it was cut off")
            return super()._get(offset, dtype, count, override_order)

    return Bounded(path)


@dataclass(frozen=True)
class _Place:
    kind: str
    start: int
    end: int
    shape: tuple[int, ...]
    """Of what lies there: numbers, or bytes."""
    whole: tuple[int, ...]
    """Of what it stands for."""


def _place(tensor: Any, notes: dict[str, Any], size: int) -> _Place:
    """Where a tensor is, by the library's reading of its line. Raises ValueError."""
    from gguf import GGML_QUANT_SIZES

    name, kind = tensor.name, tensor.tensor_type
    if not name.isprintable():
        raise ValueError(f"{name[:80]!r} is no name")
    shape = [int(n) for n in reversed(tensor.shape)]  # GGML counts axes from the innermost
    block, packed = GGML_QUANT_SIZES[kind]
    count = math.prod(shape)
    start = int(tensor.data_offset)
    end = start + count // block * packed
    if not shape or not count or shape[-1] % block or end > size or len(shape) > 16:
        raise ValueError(f"{name[:80]} does not lie within the file")
    note = notes.get(_SHAPE + name)
    whole = tuple(int(n) for n in (note if isinstance(note, list) else shape))
    if math.prod(whole) != count or min(whole) < 0 or len(whole) > 16:
        raise ValueError(f"{name[:80]} has {count:,} numbers and is said to be of shape {whole}")
    if kind.name in _PLAIN:
        return _Place(kind.name, start, end, whole, whole)
    return _Place(kind.name, start, end, (*shape[:-1], shape[-1] // block * packed), whole)


def _slot(mapped: Mapped, place: _Place) -> Slot:
    dtype = _PLAIN.get(place.kind, torch.uint8)
    read = partial(_numbers, mapped, place.start, place.end, dtype, place.shape)
    if place.kind in _PLAIN:
        return Slot(place.shape, dtype, read)
    return Blocks(place.shape, dtype, read, place.kind, place.whole)


def _numbers(mapped: Mapped, start: int, end: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    return mapped.numbers(start, end, dtype).view(shape)
