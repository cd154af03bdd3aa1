"""A film out of a file of this machine, with what can be wrong with such a file."""

from __future__ import annotations

import json
import os
import re
import struct
from collections.abc import Iterator
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

ENDS = {"gif": b";", "apng": b"IEND\xaeB`\x82"}
"""Formats that say nothing of their length, but end in a mark of their own."""


class Facts(NamedTuple):
    """What a film's file says of itself; frames and size in pixels, rate in frames a second."""

    format: str
    codec: str
    frames: int
    width: int
    height: int
    fps: float
    whole: bool | None
    """Whether all the frames are there that the file promises; None for a picture, which promises one."""

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def facts(path: Name) -> Facts:
    """What a film is, without unpacking its frames.

    Raises:
        BadMedia: when the file is not a film.
    """
    with opened(path) as (container, stream):
        packets = [packet for packet in container.demux(stream) if packet.size > 0]
        frames, fps = stream.frames or len(packets), rate_of(container, stream)
        ends = [float(p.pts * p.time_base) + 1 / fps for p in packets if p.pts is not None and p.time_base is not None]
        alone = container.format.name.endswith("_pipe")
        whole = None if alone else is_whole(path, container, stream, len(packets), max(ends, default=0.0))
        kinds = container.format.name.removesuffix("_pipe").split(",")
        kind = suffix if (suffix := Path(path).suffix[1:].lower()) in kinds else kinds[0]
        return Facts(kind, stream.codec.name, frames, stream.width, stream.height, fps, whole)


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
        return frames > 0 and Path(path).read_bytes().endswith(ENDS[container.format.name])
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
