"""Films as files: Video to and from mp4, webm, gif and png, through PyAV, each with its record inside.

Frames are uint8 `[t h w c]`, RGB, and only here: everywhere else pixels are floats in [-1, 1]. A film is written whole
or not at all, the same frames and record give the same bytes, and only files of this machine are ever opened. torch and
av are imported where they are used, so that a name can be checked without them.
"""

from __future__ import annotations

from vitascope.media.motion import interpolate, interpolated, interpolation
from vitascope.media.pictures import fitted, picture
from vitascope.media.reading import Facts, facts, is_complete, local_path, read_record, record_of
from vitascope.media.sheets import filmstrip, sheet
from vitascope.media.video import Video
from vitascope.media.writing import SUFFIXES, check_output, write

__all__ = [
    "SUFFIXES",
    "Facts",
    "Video",
    "check_output",
    "facts",
    "filmstrip",
    "fitted",
    "interpolate",
    "interpolated",
    "interpolation",
    "is_complete",
    "local_path",
    "picture",
    "read_record",
    "record_of",
    "sheet",
    "write",
]
