"""What is true of a clip: where everything in it is at each frame, whether it is in the picture, and the camera's path.

It is read from the sprites that are drawn: what is told of a clip is what was painted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope.storybook.actors import RIM, Sprite, sprites
from vitascope.storybook.captions import caption, plain
from vitascope.storybook.motion import SAFE, Pose, pose, radius, times
from vitascope.storybook.scenes import Scene
from vitascope.storybook.shapes import extent
from vitascope.storybook.views import Camera, View, camera, cast, parallax, view

CAPTIONS = 4
"""How many captions a clip's truth holds, beside the plain one."""
_PIECES = {"shatters": "fragment", "splashes": "drop"}
"""What comes off who does this."""
_DIGITS = 6  # a millionth of the frame's height: less than any picture shows
_SAFE = View(math.inf, SAFE[0] / 2, SAFE[1] / 2)
"""The safe area alone, on a picture so fine that its pixels have no size."""


class Track(NamedTuple):
    """One thing over a clip, float64 [frames] each, in world units and radians: the middle and the radius of the circle that
    bounds it, and how it is turned; nan where there is no such thing. Two are bool.

    visible: something of it is drawn in the frame. Its circle, with the outline around it, meets the frame; it has not
    broken, and has not sunk below the water. What stands before it is not asked for.

    central: its middle, as the camera sees it, is within the safe area, whether it is drawn or not.
    """

    x: Tensor
    y: Tensor
    size: Tensor
    angle: Tensor
    visible: Tensor
    central: Tensor


class _Seen(NamedTuple):
    """A track, whose it is (a number in the cast; whether it is a piece of that one), and its circle in the picture: from left
    to right, upwards, radius, world units."""

    actor: Scene
    number: int
    piece: bool
    track: Track
    circles: list[tuple[float, float, float]]


def tracks(scene: Scene, frames: int, seen: View = _SAFE) -> tuple[Track, ...]:
    """Where everyone in the clip is at each of `frames` frames, the subject first. `seen` is how the world lies on the frame
    (`view(height, width)`): the safe area alone unless given, which every frame shows."""
    return tuple(each.track for each in _all(scene, frames, seen) if not each.piece)


def track(scene: Scene, frames: int, seen: View = _SAFE) -> Track:
    """Where the subject is at each of `frames` frames."""
    return next(_all(scene, frames, seen)).track


def pieces(scene: Scene, frames: int, seen: View = _SAFE) -> tuple[Track, ...]:
    """Where the fragments of a glass that shatters are, or the drops of a splash; nan before they fly, and when a drop has
    fallen back."""
    return tuple(each.track for each in _all(scene, frames, seen) if each.piece)


def truth(scene: Scene, frames: int, height: int, width: int) -> dict[str, Any]:
    """All that is known of a clip, for JSON: labels, captions, everything's track and the camera's path.

    Each object's columns are those of its `Track`, null where there is no such thing; `picture` is its circle in pixels from
    the upper left corner of the frame, where the pixel in that corner is from 0 to 1. A piece tells in `of` whose it is, by
    the number in the cast. The camera's columns are those of `Camera`.
    """
    seen, moments = view(height, width), times(frames)
    labels = scene.labels | scene.shows()
    return {
        "world": scene.world,
        "seed": scene.seed,
        "index": scene.index,
        "captions": [plain(scene), *(caption(scene, index) for index in range(CAPTIONS))],
        "labels": {name: labels[name] for name in labels if name not in ("world", "direction")},  # the heading says it
        "frames": frames,
        "height": height,
        "width": width,
        "seconds": _column(moments),
        "objects": [_told(each, seen, height, width) for each in _all(scene, frames, seen)],
        "camera": _columns(Camera._fields, [camera(scene, t) for t in moments]),
    }


def _all(scene: Scene, frames: int, seen: View) -> Iterator[_Seen]:
    """Everyone in the clip, each before its pieces."""
    moments = times(frames)
    views = [camera(scene, t) for t in moments]
    for number, actor in enumerate(cast(scene)):
        for sprite in sprites(actor, moments):
            poses = list(sprite.poses)
            if not sprite.piece:  # what broke lies where it fell
                poses = [at or pose(actor, t) for t, at in zip(moments, poses, strict=True)]
            yield _seen(scene, number, sprite, poses, views, seen)


def _seen(
    scene: Scene, number: int, sprite: Sprite, poses: Sequence[Pose | None], views: Sequence[Camera], seen: View
) -> _Seen:
    rows, shown, circles = [], [], []
    for at, drawn, by in zip(poses, sprite.poses, views, strict=True):
        if at is None:
            rows.append((math.nan, math.nan, math.nan, math.nan))
            shown.append((False, False))
            circles.append((math.nan, math.nan, math.nan))
            continue
        (x, y), size = sprite.over(at), at.size * sprite.reach
        across, up = by.sees(x, y, parallax(scene, at.ground))
        rim = RIM * min(1.0, 2 * at.size / radius(sprite.scene))
        pixel = 1 / (seen.scale * by.zoom)  # edges are soft: what ends half a pixel off its middle still touches one
        top = at.y + at.size * extent(sprite.scene.subject)[1]  # what sinks is upright
        dry = drawn is not None and (sprite.water is None or top + rim + pixel > sprite.water)
        visible = dry and _meets((size + rim + pixel / 2) * by.zoom, across, up, seen)
        central = abs(across) <= SAFE[0] / 2 and abs(up) <= SAFE[1] / 2
        rows.append((x, y, size, at.angle))
        shown.append((visible, central))
        circles.append((across, up, size * by.zoom))
    track = Track(*torch.tensor(rows, dtype=torch.float64).unbind(1), *torch.tensor(shown).unbind(1))
    return _Seen(sprite.scene, number, sprite.piece, track, circles)


def _meets(reach: float, across: float, up: float, seen: View) -> bool:
    """Whether a circle meets the frame."""
    out = max(0.0, abs(across) - seen.half_width), max(0.0, abs(up) - seen.half_height)
    return math.hypot(*out) < reach


def _told(each: _Seen, seen: View, height: int, width: int) -> dict[str, Any]:
    """One object for JSON."""
    found: dict[str, Any] = {"object": each.actor.subject, "colour": each.actor.colour, "action": each.actor.action}
    if each.piece:
        found = {"object": _PIECES[each.actor.action], "of": each.number}
    columns = {name: _column(values.tolist()) for name, values in each.track._asdict().items()}
    circles = [(width / 2 + x * seen.scale, height / 2 - y * seen.scale, r * seen.scale) for x, y, r in each.circles]
    return found | columns | {"picture": _columns(("x", "y", "radius"), circles)}


def _columns(names: tuple[str, ...], rows: list[Any]) -> dict[str, list[Any]]:
    return {name: _column(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def _column(values: Any) -> list[Any]:
    """Numbers as JSON has them: nan is null."""
    return [v if isinstance(v, bool) else None if math.isnan(v) else round(v, _DIGITS) for v in values]
