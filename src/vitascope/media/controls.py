"""Films and masks that steer another film: out of a film, a picture or a folder of pictures, at that film's size and length.

What was shot is unpacked in a process of its own (`confined`), since nobody vouches for it. All are scaled to cover the
frame and cut around their middle, so that a film and a mask of one shape stay on top of each other.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vitascope.errors import BadMedia
from vitascope.media.confined import Confined
from vitascope.media.fitting import Measure
from vitascope.media.frames import Name
from vitascope.media.pictures import fitted, picture
from vitascope.media.reading import Facts, facts, local_path

if TYPE_CHECKING:
    from torch import Tensor

PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
"""What a folder of pictures may hold, by the ends of their names."""


class _Enough(Exception):
    """The window that was wanted is there."""


def control(path: Name, frames: int, height: int, width: int, fps: float | None = None) -> Tensor:
    """A film to follow: uint8 [frames height width 3], from its beginning.

    path  a film, whose pictures are taken `fps` a second (None: each one); or a folder of pictures, taken in the order of
          the numbers in their names, one a frame; or, where one frame is wanted, a picture

    Raises BadMedia when it cannot be read, or is shorter than `frames`.
    """
    found = local_path(path)
    if found.is_dir():
        return _sequence(found, frames, height, width)
    if _is_picture(found):
        if frames > 1:
            raise BadMedia(
                f"{path}: it is one picture and {frames} frames are wanted; give a film, or a folder of pictures."
            )
        return fitted(picture(path), height, width)[None]
    return _window(path, frames, height, width, fps)


def control_mask(path: Name, frames: int, height: int, width: int, fps: float | None = None) -> Tensor:
    """A mask, white where the film is made anew: uint8 [frames height width].

    As `control`, but that one picture stands for all frames. Of colours the red is taken, as Wan's own code and diffusers
    do. Raises BadMedia.
    """
    found = local_path(path)
    if not found.is_dir() and _is_picture(found):
        return fitted(picture(path), height, width)[None, ..., 0].expand(frames, -1, -1)
    return control(path, frames, height, width, fps)[..., 0]


def control_length(path: Name, fps: float | None = None) -> int:
    """How many frames a film, taken as by `control`, or a folder of pictures has to give. Raises BadMedia, also for a single
    picture: in it nothing moves, and it says of no length."""
    found = local_path(path)
    if not found.is_dir() and _is_picture(found):
        facts(path)  # first what is wrong with the file itself
        raise BadMedia(
            f"{path}: it is one picture, and no film to follow; give a film, or a folder of pictures, or ask for one frame."
        )
    return len(_pictures(found)) if found.is_dir() else _frames_at(facts(path), fps)


def _frames_at(film: Facts, fps: float | None) -> int:
    return film.frames if fps is None else max(1, round(film.frames * fps / film.fps))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def _window(path: Name, frames: int, height: int, width: int, fps: float | None) -> Tensor:
    import torch

    film = facts(path)
    rate, have = fps or film.fps, _frames_at(film, fps)
    if have < frames:
        raise BadMedia(
            f"{path}: it gives {have} frames, at {rate:g} a second, and {frames} are wanted; give a longer film, or ask for "
            "fewer frames."
        )
    kept: list[bytes] = []

    def keep(window: bytes) -> None:
        kept.append(window)
        raise _Enough  # what comes later is not unpacked

    with Confined(Measure(frames, height, width, rate)) as process, suppress(_Enough):
        process.cut(path, keep)
    return torch.frombuffer(bytearray(kept[0]), dtype=torch.uint8).view(frames, height, width, 3)


def _pictures(folder: Path) -> list[Path]:
    """The pictures of a folder, 2.png before 10.png."""
    try:
        found = [path for path in folder.iterdir() if _is_picture(path) and not path.name.startswith(".")]
    except OSError as error:
        reason = (error.strerror or "unknown error").lower()
        raise BadMedia(f"{folder}: the folder cannot be read ({reason}); check its permissions.") from None
    return sorted(found, key=lambda path: [(int(n or -1), text) for text, n in re.findall(r"(\D+)|(\d+)", path.name)])


def _sequence(folder: Path, frames: int, height: int, width: int) -> Tensor:
    import torch

    found = _pictures(folder)
    if not found:
        kinds = ", ".join(sorted(PICTURES))
        raise BadMedia(f"{folder}: there is no picture in this folder ({kinds}); give one that holds a film's frames.")
    if len(found) < frames:
        raise BadMedia(
            f"{folder}: it holds {len(found)} pictures and {frames} frames are wanted; add pictures, or ask for fewer frames."
        )
    film = torch.empty(frames, height, width, 3, dtype=torch.uint8)
    for frame, path in zip(film, found):
        frame.copy_(fitted(picture(path), height, width))
    return film
