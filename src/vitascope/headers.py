"""What a safetensors file says that it holds, checked against the file before it is believed. Needs no torch.

Whoever only tells what weights are and whoever loads them ask here, so that nothing is praised that would be refused.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vitascope.errors import BadModel

LARGEST_HEADER = 100_000_000
"""Bytes of the longest header that is read: the format's own limit."""

BYTES: dict[str, int] = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "C64": 8},
    **{"F8_E4M3": 1, "F8_E4M3FNUZ": 1, "F8_E8M0": 1, "F8_E5M2": 1, "F8_E5M2FNUZ": 1},
    **{"I64": 8, "I32": 4, "I16": 2, "I8": 1, "BOOL": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1},
}
"""Bytes of a number of each kind that a safetensors file can hold, by the format's word for it."""


@dataclass(frozen=True)
class Entry:
    """What a file's header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin and end, counted from the end of the header."""
    end: int


@dataclass(frozen=True)
class Contents:
    """What a whole header says."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int
    """The byte of the file at which the tensors begin."""
    size: int
    """Bytes of the whole file."""


def header(path: Path) -> dict[str, Entry]:
    """What a safetensors file holds, by name, without reading it whole.

    Every size is checked against the file before it is believed. Raises BadModel that says what the file is instead.
    """
    return contents(path).entries


def contents(path: Path) -> Contents:
    """The same with the notes and the place where the numbers begin. Raises BadModel as `header` does."""
    if path.is_dir():
        raise BadModel(f"{path}: this is a folder and a weight file was wanted; copy the whole bundle again.")
    if not path.is_file():
        raise BadModel(f"{path}: there is no such file; copy the whole bundle again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(512)
            length = struct.unpack("<Q", begin[:8])[0] if len(begin) >= 8 else 0
            if begin[8:9] != b"{" or length < 2:
                raise BadModel(f"{path}: {_instead(begin, size)}")
            if length > LARGEST_HEADER:
                raise BadModel(
                    f"{path}: its header claims {length:,} bytes and the format ends at {LARGEST_HEADER:,}, so it is no "
                    "safetensors file; fetch the file again."
                )
            if length > size - 8:
                raise BadModel(
                    f"{path}: its header claims {length:,} bytes and the whole file has {size:,}: it was cut off; fetch "
                    "the file again."
                )
            file.seek(8)
            text = file.read(length)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
    try:
        table = json.loads(text, object_pairs_hook=_once)
        entries = _entries(table)
    except (ValueError, RecursionError) as error:
        raise BadModel(
            f"{path}: its header is not that of a safetensors file ({short(error)}); fetch the file again."
        ) from error
    promised = 8 + length + max((entry.end for entry in entries.values()), default=0)
    if size != promised:
        word = "was cut off" if size < promised else "has something added at its end"
        raise BadModel(
            f"{path}: it has {size:,} bytes and its header promises {promised:,}: it {word}; fetch the file again."
        )
    return Contents(entries, table.get("__metadata__", {}), 8 + length, size)


def _instead(begin: bytes, size: int) -> str:
    """What a file is, by its first bytes, and what would do."""
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "this file is empty; fetch it again."
    if begin.startswith(b"version https://git-lfs"):
        return (
            "this is a Git LFS pointer, a note that stands for the weights, and not the weights; run `git lfs pull` where "
            "it came from, or download the file itself."
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "this is a web page saved under the name of a weight file; download the file itself."
    if begin.startswith(b"PK\x03\x04"):
        return (
            "this is a zip archive, as torch.save writes for .pth and .ckpt: it can run code when it is opened and is never "
            "unpickled here; save the weights as safetensors."
        )
    if begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "this is a pickle: it can run code when it is opened and is never unpickled here; save the weights as safetensors."
    if begin.startswith(b"GGUF"):
        return "this is a GGUF file, which is not read here; fetch the weights as safetensors."
    if begin.startswith(b"\x89HDF"):
        return "this is an HDF5 file, which is not read here; fetch the weights as safetensors."
    return "it does not begin as a safetensors file does; fetch the file again."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _entries(table: Any) -> dict[str, Entry]:
    """The header's table, every line of it checked: kinds, sizes, and offsets without gap or overlap."""
    if not isinstance(table, dict):
        raise ValueError("it is no table of names")
    notes = table.get("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ValueError("its notes are not text")
    entries = {name: _entry(name, line) for name, line in table.items() if name != "__metadata__"}
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != place:
            raise ValueError(f"{name[:80]} begins at byte {entry.start:,} where {place:,} comes next")
        place = entry.end
    return entries


def _entry(name: str, line: Any) -> Entry:
    if not name.isprintable():
        raise ValueError(f"{name[:80]!r} is no name")
    if not isinstance(line, dict) or set(line) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:80]} is not told as dtype, shape and data_offsets")
    dtype, shape, offsets = line["dtype"], line["shape"], line["data_offsets"]
    if not isinstance(dtype, str) or dtype not in BYTES:
        raise ValueError(f"{name[:80]} is of an unknown kind, {str(dtype)[:20]!r}")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2 or len(shape) > 16:
        raise ValueError(f"the shape or place of {name[:80]} is not made of whole numbers")
    start, end = offsets
    if end - start != math.prod(shape) * BYTES[dtype]:
        raise ValueError(f"{name[:80]} of shape {sized(shape)} does not take the bytes given to it")
    # Of no bytes, and yet no tensor: the strides of 0 x 2^40 x 2^40 do not fit into a machine's word.
    if math.prod(max(n, 1) for n in shape) >= 2**63:
        raise ValueError(f"{name[:80]} of shape {sized(shape)} is larger than any tensor")
    return Entry(dtype, tuple(shape), start, end)


def _is_counts(values: Any) -> bool:
    # bool is an int in Python, and JSON's true is no size; beyond 2^63 no file and no tensor reaches.
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def sized(shape: Sequence[int]) -> str:
    """A shape as a sentence says it, never long."""
    return "x".join(str(n) for n in shape)[:80] if len(shape) else "a single number"


def short(error: Exception) -> str:
    """What an error says, on one line, and no more than a sentence can hold."""
    return " ".join(str(error).split())[:200]
