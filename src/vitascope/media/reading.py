"""A film out of a file of this machine, with what can be wrong with such a file."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from vitascope.errors import BadMedia
from vitascope.media.frames import Name

if TYPE_CHECKING:
    import av.container

PNG = b"\x89PNG\r\n\x1a\n"
LONGEST_NAME, LONGEST_PATH = 255, 4000  # what file systems take
# No playlist formats, which would open other files and addresses.
_DEMUXERS = "mov,matroska,avi,mpegts,gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"

ENDS: dict[str, Callable[[bytes], bool]] = {
    "gif": lambda data: data.endswith(b";"),
    "apng": lambda data: b"IEND\xaeB`\x82" in data,  # what comes behind it is nobody's
}
"""Formats that say nothing of their length, but end in a mark of their own: whether it is there."""


class Facts(NamedTuple):
    """What a film's file says of itself; frames and size in pixels, rate in frames a second."""

    format: str
    codec: str
    frames: int
    width: int
    height: int
    fps: float

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def facts(path: Name) -> Facts:
    """What a film is, without unpacking its frames.

    Raises:
        BadMedia: when the file is not a film.
    """
    with opened(path) as (container, stream):
        frames = stream.frames or sum(packet.size > 0 for packet in container.demux(stream))
        kinds = container.format.name.removesuffix("_pipe").split(",")
        kind = suffix if (suffix := Path(path).suffix[1:].lower()) in kinds else kinds[0]
        return Facts(kind, stream.codec.name, frames, stream.width, stream.height, rate_of(container, stream))


def is_complete(path: Name) -> bool | None:
    """Whether all of a film is there that its file promises, by its packets, none of which is unpacked; None where it promises
    nothing, as a picture does.

    Raises:
        BadMedia: when the file is not a film.
    """
    import av.error

    with opened(path) as (container, stream):
        kind = container.format.name
        if kind.endswith("_pipe"):
            return None
        if kind in ENDS:
            return ENDS[kind](Path(path).read_bytes())
        rate, count, start, end = rate_of(container, stream), 0, math.inf, 0.0
        try:
            for packet in container.demux(stream):
                if not packet.size:
                    continue
                if packet.is_corrupt:
                    return False
                count += 1
                at = packet.dts if packet.pts is None else packet.pts
                if at is not None and packet.time_base is not None:
                    start = min(start, float(at * packet.time_base))
                    held = float(packet.duration * packet.time_base) if packet.duration else 1 / rate
                    end = max(end, float(at * packet.time_base) + held)
        except av.error.FFmpegError:
            return False
        lasts = promised(container, stream)
        if count < max(stream.frames, 1):
            return False
        if lasts is None or math.isinf(start):
            return True if stream.frames else None
        return lasts - (end - start) <= 1.5 / rate


def promised(container: av.container.InputContainer, stream: Any) -> float | None:
    """The seconds that the file says its pictures last, or None where it does not tell."""
    told = []
    if stream.duration:
        told.append(float(stream.duration * stream.time_base))
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stream.metadata.get("DURATION", ""))  # Matroska's
    if tag:
        told.append(3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3]))
    if container.duration and (told or len(container.streams) == 1):  # alone it may be that of the sound
        told.append(container.duration / 1e6)
    return min(told, default=None)


def record_of(path: Name) -> dict[str, Any]:
    """The record inside a film.

    Raises:
        BadMedia: when the file is not a film, or carries no record.
    """
    record = read_record(path)
    if record is None:
        raise BadMedia(f"{path}: it carries no record of how it was made; choose a film that vitascope wrote.")
    return record


def local_path(path: Name) -> Path:
    """The path of a file of this machine, whether there is one or not.

    Raises:
        BadMedia: when it is an address, or no name that a file can have.
    """
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", text):  # a single letter is a drive
        raise BadMedia(
            f"{text[:200]}: that is an address and only files of this machine are opened; download it first."
        )
    if "\0" in text:
        raise BadMedia(f"{text[:200]!r}: a file's name holds no NUL; give the name without it.")
    if max(len(os.fsencode(part)) for part in ("", *Path(text).parts)) > LONGEST_NAME or len(text) > LONGEST_PATH:
        raise BadMedia(f"{text[:60]}...: a file's name is at most {LONGEST_NAME} bytes long; shorten it.")
    return Path(text)


@contextmanager
def opened(path: Name, kind: str = "a film") -> Iterator[tuple[av.container.InputContainer, Any]]:
    """The file's container and its first video stream. A failure to decode inside the block is a BadMedia too, which says that
    the file is not of this kind."""
    import av
    import av.error

    with _file(path) as file:
        try:
            # From an open file, so that no name is ever resolved by a library that knows what http: means; and without the
            # file's own, for by a picture's name it would take a demuxer of numbered files, which is none of those below.
            options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
            with av.open(_Nameless(file), "r", container_options=options) as container:
                if not container.streams.video:
                    raise BadMedia(f"{path}: there is no picture in it; give {kind}, whole.")
                yield container, container.streams.video[0]
        except av.error.FFmpegError as error:
            reason = (error.strerror or "unknown error").lower()
            raise BadMedia(f"{path}: it cannot be read as {kind} ({reason}); fetch or make the file again.") from error


class _Nameless:
    """An open file that does not tell its name."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@contextmanager
def _file(path: Name) -> Iterator[BinaryIO]:
    """The open file, once it is seen to be neither missing, empty nor one of the things that pose as films."""
    name = local_path(path)
    try:
        file = open(name, "rb")  # noqa: SIM115 (closed below: what fails inside the block is not a failure to open)
    except OSError as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else (error.strerror or "").lower()
        raise BadMedia(f"{path}: it cannot be opened ({reason}); check the name.") from None
    with file:
        start = file.read(512).lstrip().lower()
        file.seek(0)
        if not start:
            raise BadMedia(f"{path}: the file is empty; make or fetch it again.")
        if start.startswith((b"<!doctype html", b"<html")):
            raise BadMedia(f"{path}: it is a web page, not a film (a download that failed); fetch the film itself.")
        if start.startswith(b"version https://git-lfs"):
            raise BadMedia(f"{path}: it is a git-LFS pointer, not the film; run 'git lfs pull' first.")
        yield file


def rate_of(container: av.container.InputContainer, stream: Any) -> float:
    # A GIF's frames last whole hundredths of a second, so that its average is a little off; a PNG has no rate.
    if container.format.name == "png_pipe":
        return 1.0
    rate = stream.guessed_rate if container.format.name == "gif" else stream.average_rate or stream.guessed_rate
    return float(rate or 1.0)


def is_whole(path: Name, container: av.container.InputContainer, stream: Any, frames: int, end: float) -> bool:
    """Whether `frames` frames up to the time `end`, in seconds, are all that the file promises."""
    if container.format.name in ENDS:
        return frames > 0 and ENDS[container.format.name](Path(path).read_bytes())
    alone = len(container.streams) == 1  # else the duration may be that of the sound
    missing = container.duration / 1e6 - end if alone and container.duration else 0.0
    return frames >= max(stream.frames, 1) and missing <= 1.5 / rate_of(container, stream)


def read_record(path: Name) -> dict[str, Any] | None:
    """The record inside a film, None where there is none."""
    with opened(path) as (container, _):
        is_png = container.format.name == "png_pipe"
        tags = {name.lower(): text for name, text in container.metadata.items()}  # Matroska writes them in capitals
    text = _png_comment(path) if is_png else tags.get("comment")
    try:
        record = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _png_comment(path: Name) -> str | None:
    data = Path(path).read_bytes()
    at = len(PNG)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"tEXt" and body.startswith(b"comment\0"):
            return body[8:].decode("latin-1")
        at += length + 12
    return None
