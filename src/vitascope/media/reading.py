"""A film out of a file of this machine, with what can be wrong with such a file."""

from __future__ import annotations

import json
import math
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from vitascope.errors import BadMedia
from vitascope.media.frames import Name

if TYPE_CHECKING:
    import av
    import av.container

PNG = b"\x89PNG\r\n\x1a\n"
LONGEST_NAME, LONGEST_PATH = 255, 4000  # what file systems take
# No playlist formats, which would open other files and addresses.
_DEMUXERS = "mov,matroska,avi,mpegts,gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"

ENDS: dict[str, Callable[[bytes], bool]] = {
    # A mark so short is found at the end alone, behind which some writers leave a little that is nobody's.
    "gif": lambda data: data.rstrip(b"\0 \t\r\n").endswith(b";"),
    "apng": lambda data: b"IEND\xaeB`\x82" in data,
    # In what lies between them no such two bytes occur (ITU-T T.81, B.1.1.5); a thumbnail has both, before the picture begins.
    "jpeg_pipe": lambda data: data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda"),
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
    """Whether all of a film is there that its file promises, by its packets, none of which is unpacked; None where that cannot
    be told: what promises nothing (a picture other than a JPEG, a transport stream, a film in fragments) can have lost its end unseen.

    Raises:
        BadMedia: when the file is not a film.
    """
    import av.error

    with opened(path) as (container, stream):
        reach = _Reach(rate_of(container, stream))
        try:
            for packet in container.demux(stream):
                if packet.is_corrupt:
                    return False
                if packet.size and not packet.is_discard:
                    reach.add(packet)
        except av.error.FFmpegError:
            return False
        return _whole(path, container, stream, reach)


def decoded(path: Name, container: av.container.InputContainer, stream: Any) -> Iterator[av.VideoFrame]:
    """Every picture of an open film, at least one.

    Raises:
        BadMedia: at a damaged picture, and after the last one when the file promises more.
    """
    reach = _Reach(rate_of(container, stream))
    for frame in container.decode(stream):
        if frame.is_corrupt:
            raise BadMedia(f"{path}: it is damaged after frame {reach.frames}; fetch or make the file again.")
        reach.add(frame)
        yield frame
    if not reach.frames:
        raise BadMedia(f"{path}: no picture of it can be decoded; fetch or make the file again.")
    if _whole(path, container, stream, reach) is False:
        raise BadMedia(f"{path}: it ends too early, after frame {reach.frames}; fetch or make the file again.")


@dataclass
class _Reach:
    """How much has come out of a film's file: pictures, `rate` a second, and the seconds between which they are shown."""

    rate: float
    frames: int = 0
    start: float = math.inf
    end: float = -math.inf

    def add(self, one: Any) -> None:
        """One more picture, or the packet of one."""
        self.frames += 1
        at = one.dts if one.pts is None else one.pts
        if at is not None and one.time_base:
            held = float(one.duration * one.time_base) if one.duration else 1 / self.rate
            self.start = min(self.start, float(at * one.time_base))
            self.end = max(self.end, float(at * one.time_base) + held)


def _whole(path: Name, container: av.container.InputContainer, stream: Any, reach: _Reach) -> bool | None:
    """Whether what has come out of a file, read to its end, is all of its film; None where that cannot be told.

    The one place where this is decided, whoever reads: frames or packets, into memory or into windows.
    """
    kind = container.format.name
    if kind in ENDS:
        return reach.frames > 0 and ENDS[kind](Path(path).read_bytes())
    if kind.endswith("_pipe"):
        return None  # whoever unpacks it sees that it is cut
    if not reach.frames:
        return False
    counted, lasts = _counted(container, stream), promised(container, stream)
    if counted is not None and reach.frames >= counted:
        return (
            None if _is_in_fragments(path) else True
        )  # cut off before the first of them, it has all that its head counts
    if lasts is None or math.isinf(reach.start):
        return None if counted is None else False
    # Some writers count from the file's beginning and some from the first picture: what satisfies either will do.
    missing = (lasts - max(reach.end, reach.end - reach.start)) * reach.rate
    # A decoder may pass over pictures at the start, so that a count is no proof of a cut; and times alone are rounded.
    if missing > (1.5 if counted is None else 0.5):
        return False
    # The head of a film in fragments may speak of those alone that are there.
    return None if counted is None and _is_mov(container) else True


def _is_in_fragments(path: Name) -> bool:
    """Whether the head of a film of the MP4 family says that the film goes on in fragments behind it: there is an mvex in its
    moov (ISO/IEC 14496-12, 8.8.1)."""
    with open(path, "rb") as file:
        head = _box(file, b"moov", 0, file.seek(0, os.SEEK_END))
        return head is not None and _box(file, b"mvex", *head) is not None


def _box(file: BinaryIO, name: bytes, at: int, end: int) -> tuple[int, int] | None:
    """Where the contents of the first box of this name begin and end, among those that follow each other there (ISO/IEC
    14496-12, 4.2); None where there is none."""
    while at + 8 <= end:
        file.seek(at)
        head = file.read(16).ljust(16, b"\0")
        length, kind, long = struct.unpack(">I4sQ", head)
        begins, length = (16, long) if length == 1 else (8, length or end - at)
        if kind == name:
            return at + begins, min(at + length, end)
        if length < begins:
            return None
        at += length
    return None


def _is_mov(container: av.container.InputContainer) -> bool:
    return "mp4" in container.format.name.split(",")


def _counted(container: av.container.InputContainer, stream: Any) -> int | None:
    """How many pictures the file says it shows, or None where it does not tell."""
    if not _is_mov(container):
        return None  # AVI counts moments, with and without a picture
    index = stream.index_entries
    if stream.frames < max(len(index), 1):
        return None  # in fragments, of which the head counts the first at most
    # Less than its frames where it was trimmed without being made anew: the rest is there, and not shown.
    return sum(not entry.is_discard for entry in index)


def promised(container: av.container.InputContainer, stream: Any) -> float | None:
    """The seconds that the file says its pictures last, or None where it does not tell."""
    kind = container.format.name
    if kind == "mpegts":
        return None  # it says nothing of its length: a duration is that of what is there
    if kind == "avi":  # so it is here, once the index at the end is lost; the head's count of moments stays
        return float(stream.frames * stream.time_base) if stream.frames else None
    told = []
    if stream.duration and not kind.startswith("matroska"):  # which has none: this would be that of the sound
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
