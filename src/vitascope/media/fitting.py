"""A film cut to measure: pictures of one size at one rate, in windows of one length, whatever the file's own are.

No torch: this runs in the process that `confined` starts for files that nobody vouches for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from vitascope.errors import BadMedia
from vitascope.media.frames import Name, fraction
from vitascope.media.reading import decoded, opened, promised, rate_of
from vitascope.media.tones import HLG, PQ, to_sdr

if TYPE_CHECKING:
    import av

    from vitascope.media.frames import Frame

LONGEST = 3600
"""Seconds that a film may last by its own clock."""
MOST_PIXELS = 8192 * 4352
"""Pixels of a picture, at most: what is called 8K."""
LONGEST_HELD = 10
"""Seconds that a film of fewer pictures than one a second may last."""
_MOST_SCALED = 64  # a picture, scaled to cover the window, may be this many times as large as it
_COVER = 1 << 10  # AV_DISPOSITION_ATTACHED_PIC
_UNTAGGED, _HD = 2, 720  # a matrix that is not named is that of BT.709 from this many lines on

Matrix = tuple[int, int, int, int]
UPRIGHT: Matrix = (1, 0, 0, 1)


class Measure(NamedTuple):
    """What clips are cut to: frames, pixels, frames a second."""

    frames: int
    height: int
    width: int
    fps: float

    @property
    def bytes(self) -> int:
        return self.frames * self.height * self.width * 3

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


class Seen(NamedTuple):
    """What a film was before it was cut: pixels as shown, pictures, seconds; and how many pictures at the new rate."""

    width: int
    height: int
    frames: int
    seconds: float
    taken: int
    hdr: bool


def cut(path: Name, measure: Measure, sink: Callable[[Frame], object]) -> Seen:
    """Hand `sink` the film's windows one by one, uint8 [t h w c], each where the one before ended; what is left is dropped.

    Pictures are turned upright, scaled to cover the window and cut around their centre; each moment shows the picture that
    is nearest in time, so that films of variable rate keep their pace.

    Raises:
        BadMedia: when the file is not a whole film, is too short for one window, or promises more than any film has.
    """
    kept: list[Frame] = []
    taken = 0
    with opened(path) as (container, stream):
        _check(path, container, stream)
        film = _Film(path, container, stream)
        film.check_moving(stream.frames, promised(container, stream))  # before anything is cut, where the file tells
        hdr = film.transfer in (PQ, HLG)
        try:
            for frame, count in film.at(fraction(measure.fps)):
                for picture in repeat(_fitted(path, frame, film, measure), count):
                    taken += 1
                    kept.append(picture)
                    if len(kept) == measure.frames:
                        sink(np.stack(kept))
                        kept = []
        except MemoryError:
            raise BadMedia(
                f"{path}: unpacking it takes more memory than a film may have here; make it smaller first."
            ) from None
    if film.frames == 1:
        raise BadMedia(f"{path}: it holds a single picture and a clip needs motion; give a film.")
    film.check_moving(film.frames, film.seconds)
    if taken < measure.frames:
        raise BadMedia(
            f"{path}: it lasts {film.seconds:.2f} s and a clip {measure.seconds:.2f} ({measure.frames} frames, "
            f"{measure.fps:g} a second); give a longer film, or a recipe of shorter clips."
        )
    return Seen(*film.size, film.frames, film.seconds, taken, hdr)


def _check(path: Name, container: Any, stream: Any) -> None:
    if container.format.name == "png_pipe":
        raise BadMedia(f"{path}: it is a PNG picture, whatever its name says; give a film.")
    if stream.disposition.value & _COVER:
        raise BadMedia(f"{path}: there is sound in it and a cover, but no film; give one with moving pictures.")
    _check_size(path, stream.width, stream.height)


def _check_size(path: Name, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadMedia(
            f"{path}: its pictures are {width}x{height} and no more than {MOST_PIXELS / 1e6:.0f} million pixels are "
            "unpacked; make it smaller first."
        )


class _Film:
    """The pictures of an open film with their times, and what is known of it once they are through."""

    def __init__(self, path: Name, container: Any, stream: Any) -> None:
        self.path, self.container, self.stream = path, container, stream
        stream.codec_context.thread_count = 1  # each thread takes memory of its own
        # What a decoder would paint over is an error here: a model would learn the paint.
        stream.codec_context.options = {"err_detect": "crccheck+explode"}
        self.transfer = int(stream.codec_context.color_trc)
        self.aspect = float(stream.sample_aspect_ratio or 1) or 1.0
        self.rate = Fraction(rate_of(container, stream)).limit_denominator(100_000)
        self.frames, self.size = 0, (0, 0)
        self.start = self.end = Fraction(0)

    @property
    def seconds(self) -> float:
        return float(self.end - self.start)

    def at(self, rate: Fraction) -> Iterator[tuple[av.VideoFrame, int]]:
        """The pictures that are nearest to some k / rate, and to how many of them."""
        before, frame, given, held = Fraction(0), None, 0, 1 / self.rate
        for now, latest in self._timed():
            if frame is not None:
                count = math.floor(((before + now) / 2 - self.start) * rate) + 1 - given
                held = now - before
                if count > 0:
                    given += count
                    yield frame, count
            else:
                self.start = now
            before, frame = now, latest
        assert frame is not None  # `decoded` gives one at least
        own = Fraction(frame.duration or 0) * (frame.time_base or 0)
        self.end = before + (own or held)
        self._check_length(self.end)
        # A moment at the very end is not shown: times may be rounded, and one picture too many would be a repeated one.
        last = self.end - self.start - min(own or held, 1 / rate) / 2
        count = math.ceil(last * rate) - given
        if count > 0:
            yield frame, count

    def _timed(self) -> Iterator[tuple[Fraction, av.VideoFrame]]:
        """Each picture with its time in seconds; times grow, and a picture that goes back in time is left out."""
        last: Fraction | None = None
        for frame in decoded(self.path, self.container, self.stream):
            _check_size(self.path, frame.width, frame.height)
            self.frames += 1
            now = (last or Fraction(0)) + 1 / self.rate
            if frame.pts is not None and frame.time_base:
                now = frame.pts * Fraction(frame.time_base)
            if last is not None and now <= last:
                continue
            if last is None:
                self.start = now
                high, wide = frame.height, round(frame.width * self.aspect)
                self.size = (high, wide) if _turned(_matrix(frame)) else (wide, high)
            self._check_length(now)
            last = now
            yield now, frame

    def _check_length(self, now: Fraction) -> None:
        if now - self.start > LONGEST:
            raise BadMedia(
                f"{self.path}: by its own clock it lasts over {LONGEST // 60} minutes; cut it into shorter films."
            )

    def check_moving(self, frames: int, seconds: float | None) -> None:
        """Raise BadMedia where so few pictures are shown for so long that clips would stand still; 0 and None: not known."""
        if frames > 1 and seconds is not None and max(LONGEST_HELD, frames) < seconds <= LONGEST:
            raise BadMedia(
                f"{self.path}: it shows {frames} pictures in {seconds:.0f} s, so that clips of it would stand still; give a film "
                "of at least one a second."
            )


def _fitted(path: Name, frame: av.VideoFrame, film: _Film, measure: Measure) -> Frame:
    """The picture upright, scaled to cover the window and cut around its centre: uint8 [h w 3]."""
    matrix = _matrix(frame)
    height, width = measure.height, measure.width
    if _turned(matrix):
        height, width = width, height
    wide, high = frame.width * film.aspect, frame.height
    scale = max(width / wide, height / high)
    columns, rows = max(width, round(wide * scale)), max(height, round(high * scale))
    if columns * rows > _MOST_SCALED * width * height:
        raise BadMedia(
            f"{path}: its pictures are {frame.width}x{frame.height}, of which {measure.width}x{measure.height} would be a "
            "sliver; give a film of about that shape."
        )
    hdr = film.transfer in (PQ, HLG)
    matrix_of = "ITU709" if frame.colorspace == _UNTAGGED and frame.height >= _HD else None
    scaled: Any = frame.reformat(
        width=columns,
        height=rows,
        format="rgb48le" if hdr else "rgb24",
        src_colorspace=matrix_of,
        interpolation="AREA" if scale < 1 else "BICUBIC",
        threads=1,  # scaled by several, the same picture came out otherwise each time
    ).to_ndarray()
    top, left = (rows - height) // 2, (columns - width) // 2
    picture = scaled[top : top + height, left : left + width]
    if hdr:
        picture = to_sdr(picture, film.transfer)
    return np.ascontiguousarray(_upright(picture, matrix))


def _matrix(frame: av.VideoFrame) -> Matrix:
    """Where the file says that x and y go when the picture is shown: x' = a x + c y, y' = b x + d y, as signs."""
    sides: Any = frame.side_data  # a mapping by its type and a sequence in fact
    for side in sides:
        if "DISPLAYMATRIX" in str(side.type):
            a, b, _, c, d, *_ = np.frombuffer(bytes(side), dtype="<i4").tolist()
            turned = abs(a) + abs(d) < abs(b) + abs(c)
            signs = (0, _sign(b), _sign(c), 0) if turned else (_sign(a), 0, 0, _sign(d))
            return signs if any(signs) else UPRIGHT
    return UPRIGHT


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _turned(matrix: Matrix) -> bool:
    return matrix[1] != 0


def _upright(picture: Frame, matrix: Matrix) -> Frame:
    a, b, c, d = matrix
    if _turned(matrix):
        picture, a, d = picture.transpose(1, 0, 2), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
