"""The weights in a file of torch.save (.pth, .pt, .ckpt, .bin), without torch.load and without unpickling.

Such a file is a zip: ROOT/data.pkl describes the tensors, ROOT/data/KEY holds the numbers of one storage. The description is
read as data (`opcodes`), the numbers are mapped. Source: torch/serialization.py and torch/_utils.py of torch 2.13.
"""

from __future__ import annotations

import math
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeGuard

import torch
from torch import Tensor

from vitascope.checkpoints import archive
from vitascope.checkpoints.archive import Part
from vitascope.checkpoints.mapped import Mapped
from vitascope.checkpoints.opcodes import BadPickle, Global, Ordered, data
from vitascope.checkpoints.slots import Slot, Weights
from vitascope.errors import BadModel

LONGEST_DESCRIPTION = 16_000_000
"""Bytes of the longest data.pkl that is read; a tensor takes some two hundred."""

_STORAGES: dict[str, torch.dtype | None] = {
    **{"torch.DoubleStorage": torch.float64, "torch.FloatStorage": torch.float32, "torch.HalfStorage": torch.float16},
    **{"torch.BFloat16Storage": torch.bfloat16, "torch.LongStorage": torch.int64, "torch.IntStorage": torch.int32},
    **{"torch.ShortStorage": torch.int16, "torch.CharStorage": torch.int8, "torch.ByteStorage": torch.uint8},
    **{"torch.BoolStorage": torch.bool, "torch.ComplexFloatStorage": torch.complex64},
    **{"torch.ComplexDoubleStorage": torch.complex128, "torch.storage.UntypedStorage": None},
}
"""Of an untyped storage the tensor says what its bytes are."""

_DTYPES: dict[str, torch.dtype] = {
    str(dtype): dtype
    for dtype in (
        *(dtype for dtype in _STORAGES.values() if dtype is not None),
        *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e4m3fnuz),
        *(torch.float8_e5m2, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    )
}

_ORDERED, _SIZE, _PARAMETER = "collections.OrderedDict", "torch.Size", "torch._utils._rebuild_parameter"
_TENSORS = {f"torch._utils._rebuild_tensor{version}": version for version in ("", "_v2", "_v3")}
_NAMES = {*_STORAGES, *_DTYPES, *_TENSORS, _ORDERED, _SIZE, _PARAMETER}

_NESTS = ("state_dict", "model", "module", "model_state_dict")
"""Under which name a checkpoint of a training run keeps the weights."""

_WAY_OUT = "it is never unpickled here, since that could run code; fetch the weights as safetensors."


@dataclass
class _Storage:
    """A stretch of the file, of which tensors are views; its checksum is compared once, when it is first touched."""

    mapped: Mapped
    path: Path
    name: str
    part: Part
    dtype: torch.dtype | None
    checked: bool = field(default=False)

    @property
    def bytes(self) -> int:
        return self.part.end - self.part.start

    def numbers(self, dtype: torch.dtype, swap: bool) -> Tensor:
        if not self.checked:
            _check(self.mapped, self.path, self.name, self.part)
            self.checked = True
        end = self.part.end - self.bytes % dtype.itemsize
        return self.mapped.numbers(self.part.start, end, dtype, swap=swap)


def opened(path: Path) -> Weights:
    """The tensors that a file of torch.save holds, flat or under one of the usual names; numbers and texts beside as metadata.

    Raises BadModel, naming the opcode or the global, where the file describes more than data.
    """
    with path.open("rb") as file:
        if file.read(1) == b"\x80":
            raise BadModel(
                f"{path}: this is a bare pickle, as torch.save wrote before 1.6, and {_WAY_OUT[:-1]}, or load it where you trust "
                "it with torch and save it again."
            )
    parts = archive.parts(path)
    whole = path.stat().st_size
    root = _root(path, parts)
    mapped = Mapped(path, whole)
    storages: dict[tuple[str, str], _Storage] = {}
    swap = _order(path, mapped, parts.get(f"{root}byteorder")) != sys.byteorder

    def outside(mark: object) -> object:
        key = _key(mark)
        if key not in storages:
            storages[key] = _storage(path, mapped, parts, f"{root}data/", mark)
        return storages[key]

    description = parts[f"{root}data.pkl"]
    if description.end - description.start > LONGEST_DESCRIPTION:
        raise BadModel(f"{path}: its description is longer than {LONGEST_DESCRIPTION:,} bytes; {_WAY_OUT}")
    _check(mapped, path, "data.pkl", description)
    text = mapped.bytes(description.start, description.end).numpy().tobytes()
    try:
        found = data(text, names=_NAMES, call=partial(_called, whole, swap), outside=outside)
        slots, notes = _state(found)
    except BadPickle as error:
        raise BadModel(f"{path}: {error}; {_WAY_OUT}") from error
    return Weights(slots, origin=str(path), files=(path,), metadata=notes, forget=mapped.forget)


def _root(path: Path, parts: Mapping[str, Part]) -> str:
    """The folder in the archive in which everything is, with its slash."""
    roots = [name.removesuffix("data.pkl") for name in parts if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise BadModel(
            f"{path}: this zip archive is not one of torch.save, which has one data.pkl and this {len(roots) or 'none'}; give the "
            "weight file itself."
        )
    if f"{roots[0]}constants.pkl" in parts or any(name.startswith(f"{roots[0]}code/") for name in parts):
        raise BadModel(
            f"{path}: this is a TorchScript program and not weights, and no program is run here; fetch the weights as safetensors."
        )
    return roots[0]


def _order(path: Path, mapped: Mapped, part: Part | None) -> str:
    """The byte order in which the numbers were written; files from before torch 2.1 do not say, and are little."""
    if part is None:
        return "little"
    order = mapped.bytes(part.start, min(part.end, part.start + 10)).numpy().tobytes()
    if order not in (b"little", b"big"):
        raise BadModel(
            f"{path}: its byte order is {ascii(order)[2:-1]}, and there are little and big; fetch the file again."
        )
    return order.decode()


def _check(mapped: Mapped, path: Path, name: str, part: Part) -> None:
    # One who saves in a hurry can tell torch to leave the checksums out; it writes zeros then.
    if part.crc and zlib.crc32(mapped.bytes(part.start, part.end).numpy().data) != part.crc:
        raise BadModel(
            f"{path}: the bytes of {name} in it are not those that were written (the checksum differs); fetch it again."
        )


def _key(mark: object) -> tuple[str, str]:
    """Key and kind of a storage, by its persistent id: ("storage", kind, key, device, number of elements)."""
    if isinstance(mark, tuple) and len(mark) == 5 and mark[0] == "storage":
        _, kind, key, device, _ = mark
        if isinstance(kind, Global) and kind.name in _STORAGES and type(key) is str and type(device) is str:
            return key, kind.name
    raise BadPickle("its program asks for something outside that is no storage of numbers")


def _storage(path: Path, mapped: Mapped, parts: Mapping[str, Part], folder: str, mark: object) -> _Storage:
    key, kind = _key(mark)
    part = parts.get(folder + key)
    if part is None:
        raise BadPickle(f"it lacks the storage {ascii(key)[1:-1][:80]}, of which its program speaks")
    storage = _Storage(mapped, path, f"data/{key}", part, _STORAGES[kind])
    assert isinstance(mark, tuple)
    itemsize = 1 if storage.dtype is None else storage.dtype.itemsize
    if not _count(mark[4]) or mark[4] * itemsize != storage.bytes:
        raise BadPickle(
            f"its storage {ascii(key)[1:-1][:80]} has {storage.bytes:,} bytes, and its program says otherwise"
        )
    return storage


def _called(whole: int, swap: bool, name: str, arguments: tuple[object, ...]) -> object:
    """What a call stands for; there are six. whole: bytes of the file, beyond which no tensor may grow."""
    match name, arguments:
        case "collections.OrderedDict", ():
            return Ordered()
        case "torch.Size", (tuple() as shape,):
            return shape
        case "torch._utils._rebuild_parameter", (Slot() as slot, bool(), dict() as hooks) if not hooks:
            return slot
        case "torch._utils._rebuild_tensor", (_Storage() as storage, offset, shape, stride):
            return _view(storage, storage.dtype, offset, shape, stride, whole, swap)
        case "torch._utils._rebuild_tensor_v2", (
            _Storage() as storage,
            offset,
            shape,
            stride,
            bool(),
            dict() as hooks,
            *more,
        ) if not hooks and _plain(more):
            return _view(storage, storage.dtype, offset, shape, stride, whole, swap)
        case "torch._utils._rebuild_tensor_v3", (
            _Storage() as storage,
            offset,
            shape,
            stride,
            bool(),
            dict() as hooks,
            Global() as kind,
            *more,
        ) if not hooks and _plain(more) and storage.dtype is None:
            return _view(storage, _DTYPES.get(kind.name), offset, shape, stride, whole, swap)
    raise BadPickle(f"its program calls {name} with other arguments than torch.save writes")


def _plain(more: list[object]) -> bool:
    """Whether no bits (conjugate, negative) change what the numbers of a tensor mean."""
    return not more or (len(more) == 1 and (more[0] is None or more[0] == {}))


def _view(
    storage: _Storage, dtype: torch.dtype | None, offset: object, shape: object, stride: object, whole: int, swap: bool
) -> Slot:
    """A tensor of a storage, if it lies within."""
    if dtype is None or not _count(offset) or not _counts(shape) or not _counts(stride) or len(shape) != len(stride):
        raise BadPickle("its program places a tensor by what are no whole numbers")
    capacity = storage.bytes // dtype.itemsize
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride))
    if math.prod(max(n, 1) for n in shape) >= 2**63 or (0 not in shape and last >= capacity) or offset > capacity:
        raise BadPickle(f"a tensor in it reaches beyond its {storage.name}")
    # A view may tell one number often (expand). Unfolded it could then fill the memory from a file of nothing.
    if math.prod(shape) * dtype.itemsize > whole:
        raise BadPickle("a tensor in it would unfold to more than the whole file")
    return Slot(shape, dtype, partial(_numbers, storage, dtype, offset, shape, stride, swap))


def _numbers(
    storage: _Storage, dtype: torch.dtype, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], swap: bool
) -> Tensor:
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    numbers = storage.numbers(dtype, swap)
    return numbers.as_strided(shape, stride, numbers.storage_offset() + offset)


def _count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value < 2**63


def _counts(values: object) -> TypeGuard[tuple[int, ...]]:
    return isinstance(values, tuple) and len(values) <= 16 and all(_count(value) for value in values)


def _state(found: object) -> tuple[dict[str, Slot], dict[str, str]]:
    """The tensors by name, and what else is said in plain words."""
    if not isinstance(found, dict):
        raise BadPickle("it holds no table of tensors")
    table, notes = found, _notes(found)
    if not _slots(table):
        nests = [key for key in _NESTS if isinstance(found.get(key), dict) and _slots(found[key])]
        if len(nests) != 1:
            keys = ", ".join(ascii(key)[1:-1][:40] for key in list(found)[:10] if isinstance(key, str)) or "none"
            told = f"several tables of tensors, {', '.join(nests)}" if nests else f"no tensors under names, but {keys}"
            raise BadPickle(f"it holds {told}")
        table = found[nests[0]]
        notes |= _notes(table)
    slots = _slots(table)
    for name, value in table.items():
        if isinstance(value, dict) and _slots(value):
            raise BadPickle(f"it holds more tensors under {ascii(name)[1:-1][:80]}, beside those at the top")
        if not isinstance(name, str) or not name.isprintable():
            raise BadPickle(f"it calls a tensor {ascii(name)[:80]}, which is no name")
    return slots, notes


def _slots(table: Mapping[object, object]) -> dict[str, Slot]:
    return {name: value for name, value in table.items() if isinstance(name, str) and isinstance(value, Slot)}


def _notes(table: Mapping[object, object]) -> dict[str, str]:
    return {
        key: str(value) for key, value in table.items() if isinstance(key, str) and isinstance(value, str | int | float)
    }
