"""The directory of a zip file whose parts are stored as they are, so that each is a stretch of the file; nothing is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from vitascope.errors import BadModel

LONGEST_DIRECTORY = 8_000_000
"""Bytes of the longest directory that is read; a line takes some seventy."""

_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1 | 0x20 | 0x40
_UTF8 = 0x800
_AGAIN = "fetch the file again."


@dataclass(frozen=True)
class Part:
    """One file in the archive."""

    start: int
    """Where its bytes begin and end, in the archive."""
    end: int
    crc: int
    """CRC-32 of the bytes; 0 where it was not taken, as torch can be told."""


class _Bounded(io.FileIO):
    """A file of which no more than a directory is read at once, whatever length the file itself claims for it."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(LONGEST_DIRECTORY if size is None or size < 0 else min(size, LONGEST_DIRECTORY)) or b""


def parts(path: Path) -> dict[str, Part]:
    """What the archive holds, by name, every place checked against the file. Raises BadModel where it cannot be trusted."""
    try:
        with _Bounded(path) as file:
            size = file.seek(0, io.SEEK_END)
            with zipfile.ZipFile(file) as archive:
                lines = archive.infolist()
            found = {line.filename: _part(path, file, size, line) for line in lines}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, struct.error, EOFError, NotImplementedError) as error:
        raise BadModel(
            f"{path}: it begins as a zip archive, and has no whole directory at its end ({_short(error)}): it was cut off or "
            f"damaged; {_AGAIN}"
        ) from error
    except (OSError, ValueError, OverflowError, IndexError, KeyError) as error:
        raise BadModel(f"{path}: it is no zip archive that can be read ({_short(error)}); {_AGAIN}") from error
    if len(found) != len(lines):
        raise BadModel(f"{path}: its directory names a part twice, so that nobody can say which is meant; {_AGAIN}")
    places = sorted((part.start, part.end, name) for name, part in found.items())
    for (_, end, name), (start, _, later) in pairwise(places):
        if start < end:
            raise BadModel(f"{path}: its parts {name[:80]} and {later[:80]} lie over each other; {_AGAIN}")
    return found


def _part(path: Path, file: io.FileIO, size: int, line: zipfile.ZipInfo) -> Part:
    name = line.filename[:120]
    if not line.filename.isprintable():
        raise BadModel(f"{path}: a part of it is called {name!r}, which is no name; {_AGAIN}")
    if line.flag_bits & _ENCRYPTED:
        raise BadModel(
            f"{path}: its part {name} is encrypted; decrypt the archive, or fetch the weights as safetensors."
        )
    if line.compress_type != zipfile.ZIP_STORED or line.compress_size != line.file_size:
        raise BadModel(
            f"{path}: its part {name} is compressed, which torch.save never does, and is not unpacked here; fetch the file as it "
            "was saved, or as safetensors."
        )
    if not 0 <= line.header_offset <= size - _LOCAL.size:
        raise BadModel(f"{path}: its part {name} lies outside the file; {_AGAIN}")
    file.seek(line.header_offset)
    mark, _, flags, *_, length, extra = _LOCAL.unpack(file.read(_LOCAL.size))
    again = file.read(length).decode("utf-8" if flags & _UTF8 else "cp437")
    if mark != b"PK\x03\x04" or again != line.orig_filename:
        raise BadModel(f"{path}: where its directory says that {name} begins, something else does; {_AGAIN}")
    start = line.header_offset + _LOCAL.size + length + extra
    if start + line.file_size > size:
        raise BadModel(f"{path}: its part {name} reaches beyond the file's end: it was cut off; {_AGAIN}")
    return Part(start, start + line.file_size, line.CRC)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
