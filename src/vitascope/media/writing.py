"""A film into a file: whole or not at all, and the same bytes for the same film."""

from __future__ import annotations

import json
import os
import re
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.errors import BadMedia, nearest
from vitascope.media.frames import Name, each_frame, fraction, pulled, push, source
from vitascope.media.reading import PNG, local_path

if TYPE_CHECKING:
    from torch import Tensor

    from vitascope.media.frames import Frame

SUFFIXES = (".mp4", ".webm", ".gif", ".png")
FASTEST_GIF = 50.0  # a GIF counts time in hundredths of a second, and browsers slow down anything shorter than two
_PNG_HEADER = len(PNG) + 25  # the signature and the IHDR chunk, which must come first


def check_output(
    path: Name,
    *,
    replace: bool = True,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    fps: float | None = None,
) -> Path:
    """`path`, if a film of this shape can be written there; what is not given is not checked. Needs no torch.

    Raises:
        BadMedia: when it cannot, so that this is known before any work.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", os.fspath(path)):  # a single letter is a drive
        raise BadMedia(
            f"{path}: that is an address, and only files of this machine are written; name one, and upload it afterwards."
        )
    target = local_path(path)
    if target.is_dir():
        raise BadMedia(f"{path}: that is a folder; name a file in it.")
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        close = nearest(suffix, SUFFIXES) if suffix else None
        hint = f"the nearest is {close}" if close else f"end the name in one of {', '.join(SUFFIXES)}"
        raise BadMedia(
            f"{path}: no film can be written as {repr(suffix) if suffix else 'a file without an ending'}; {hint}."
        )
    if not target.parent.is_dir():
        raise BadMedia(f"{path}: there is no folder {str(target.parent)!r}; make it first.")
    if os.path.lexists(target) and not replace:  # a link that leads nowhere is there, too
        raise BadMedia(f"{path}: there is such a file already; choose another name, or replace it with --force.")
    if not os.access(target.parent, os.W_OK):
        raise BadMedia(f"{path}: the folder {str(target.parent)!r} is read-only; write somewhere else.")
    if suffix == ".png" and frames is not None and frames != 1:
        raise BadMedia(f"{path}: a PNG holds one frame and this film has {frames}; end the name in .mp4.")
    if suffix == ".gif" and fps is not None and fps > FASTEST_GIF:
        raise BadMedia(f"{path}: a GIF plays at most {FASTEST_GIF:g} frames a second, not {fps:g}; write an .mp4.")
    if suffix == ".mp4" and height is not None and width is not None and (height % 2 or width % 2):
        raise BadMedia(
            f"{path}: {width}x{height} is odd and H.264 in 4:2:0 needs even sizes; "
            f"{width - width % 2}x{height - height % 2} would do, or write a .webm."
        )
    return target


def write(
    path: Name, chunks: Iterable[Tensor], fps: float, record: Mapping[str, Any] | None = None, *, replace: bool = True
) -> Path:
    """Writes a film as its frames come, chunks uint8 [n h w c], in the form that the suffix of `path` says.

    The file appears whole, when the last frame is written, or not at all. With `replace` False a file that is already
    there stays.

    Raises:
        BadMedia: when a film of this shape cannot be written there.
        OSError: when writing fails (a full disk).
    """
    import av.error

    target = check_output(path, replace=replace, fps=fps)
    frames = each_frame(chunks)
    first = next(frames, None)
    if first is None:
        raise ValueError("a film needs at least one frame, got none")
    check_output(path, height=first.shape[0], width=first.shape[1])
    comment = "" if record is None else json.dumps(record, sort_keys=True, allow_nan=False)
    with _whole(target, replace) as partial:
        try:
            _WRITERS[target.suffix.lower()](partial, chain([first], frames), fraction(fps), comment)
        except av.error.FFmpegError as error:
            raise OSError(error.errno, f"the film could not be written: {error.strerror}", str(path)) from error
    return target


@contextmanager
def _whole(target: Path, replace: bool) -> Iterator[Path]:
    """A file beside `target` that becomes it when the block ends well, and is removed when it does not."""
    partial = target.absolute().with_name(f".vitascope-{secrets.token_hex(8)}.part")
    try:
        yield partial
        if replace:
            os.replace(partial, target)
            return
        try:
            os.link(partial, target)  # unlike replace, this fails where a file has come up in the meantime
        except FileExistsError:
            raise BadMedia(f"{target}: such a file has come up in the meantime; choose another name.") from None
        except OSError:  # a file system without links
            os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def _yuv(
    partial: Path, frames: Iterator[Frame], rate: Fraction, comment: str, form: str, options: dict[str, str]
) -> None:
    """H.264 in mp4, VP9 in webm: 4:2:0, BT.709, limited range, and no clock or thread count in the bytes."""
    import av

    first = next(frames)
    muxing = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if form == "mp4" else {})
    with av.open(str(partial), "w", format=form, options=muxing) as container:
        if comment:
            container.metadata["comment"] = comment
        options = options | {"g": str(max(1, round(2 * rate)))}  # a key frame each two seconds, to seek by
        stream: Any = container.add_stream("libx264" if form == "mp4" else "libvpx-vp9", rate=rate, options=options)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        codec = stream.codec_context
        codec.thread_count = 1  # how the work is divided would show in the bytes
        codec.colorspace = codec.color_primaries = codec.color_trc = codec.color_range = 1  # BT.709, limited
        for index, pixels in enumerate(chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG", interpolation="BICUBIC"
            )
            frame.pts, frame.time_base = index, 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _mp4(partial: Path, frames: Iterator[Frame], rate: Fraction, comment: str) -> None:
    # x264's macroblock tree reads past the end of a row of blocks in small pictures: about one film in ten differed.
    _yuv(partial, frames, rate, comment, "mp4", {"crf": "16", "preset": "medium", "mbtree": "0"})


def _webm(partial: Path, frames: Iterator[Frame], rate: Fraction, comment: str) -> None:
    _yuv(partial, frames, rate, comment, "webm", {"crf": "20", "b": "0", "cpu-used": "2", "row-mt": "0"})


def _gif(partial: Path, frames: Iterator[Frame], rate: Fraction, comment: str) -> None:
    """One palette for the whole film, chosen from all of its frames."""
    import av
    import av.filter

    first = next(frames)
    graph = av.filter.Graph()
    fork, join = graph.add("split"), graph.add("paletteuse")
    palette, sink = graph.add("palettegen"), graph.add("buffersink")
    source(graph, first.shape[0], first.shape[1], rate).link_to(fork)
    fork.link_to(join, 0, 0)
    fork.link_to(palette, 1, 0)
    palette.link_to(join, 0, 1)
    join.link_to(sink)
    graph.configure()
    with av.open(str(partial), "w", format="gif", options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream("gif", rate=rate)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "pal8"
        for index, pixels in enumerate(chain([first], frames)):
            push(graph, pixels, index, 1 / rate)
        graph.push(None)
        for frame in pulled(graph):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if comment:  # the muxer writes none: a comment extension in blocks of 255 bytes, after the global palette
        text, data = comment.encode("ascii"), partial.read_bytes()
        blocks = b"".join(bytes([len(part)]) + part for i in range(0, len(text), 255) for part in [text[i : i + 255]])
        at = 13 + (3 << (1 + (data[10] & 7)) if data[10] & 0x80 else 0)
        partial.write_bytes(data[:at] + b"\x21\xfe" + blocks + b"\0" + data[at:])


def _png(partial: Path, frames: Iterator[Frame], rate: Fraction, comment: str) -> None:
    import av

    first, second = next(frames), next(frames, None)
    if second is not None:
        raise BadMedia("a film of several frames as PNG: a PNG holds one frame; end the name in .mp4.")
    codec: Any = av.CodecContext.create("png", "w")
    codec.height, codec.width = first.shape[:2]
    codec.pix_fmt, codec.time_base, codec.options = "rgb24", 1 / rate, {"pred": "mixed", "compression_level": "9"}
    packets = codec.encode(av.VideoFrame.from_ndarray(first, format="rgb24")) + codec.encode(None)
    data = b"".join(bytes(packet) for packet in packets)
    chunk = b"tEXtcomment\0" + comment.encode("ascii")
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) if comment else b""
    partial.write_bytes(data[:_PNG_HEADER] + text + data[_PNG_HEADER:])


_WRITERS: dict[str, Callable[[Path, Iterator[Frame], Fraction, str], None]] = {
    ".mp4": _mp4,
    ".webm": _webm,
    ".gif": _gif,
    ".png": _png,
}
