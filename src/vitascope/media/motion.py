"""Frames between frames: motion interpolation, always labelled as such."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vitascope.media.frames import each_frame, fraction, pulled, push, source
from vitascope.media.video import Video

if TYPE_CHECKING:
    import av.filter
    from torch import Tensor


def interpolation(fps: float, to: float) -> dict[str, Any]:
    """What a record says of a film whose frames were interpolated."""
    return {"interpolated": {"from": fps, "to": to, "by": "minterpolate"}}


def interpolated(video: Video, fps: float = 60.0) -> Video:
    """The same motion in more frames a second, estimated between those that were there, and labelled as such."""
    import torch

    frames = torch.cat(list(interpolate([video.frames], video.fps, fps)))
    return replace(video, frames=frames, fps=fps, record={**(video.record or {}), **interpolation(video.fps, fps)})


def interpolate(chunks: Iterable[Tensor], fps: float, to: float) -> Iterator[Tensor]:
    """The frames at rate `to` of a film at rate `fps`, uint8 [n h w c], motion-compensated by libavfilter.

    n frames become round(n to / fps): a frame lasts until the next, and the last one as long as the others.
    """
    import torch

    if not to >= fps > 0:
        raise ValueError(f"expected 0 < fps <= to, got {fps} and {to}")
    graph, pixels, given, taken = None, None, 0, 0
    before, after = fraction(fps), fraction(to)

    def out(most: int) -> Iterator[Tensor]:
        frames = [frame.to_ndarray(format="rgb24") for frame in pulled(graph)][: most - taken]
        yield from (torch.from_numpy(frame)[None] for frame in frames)

    for pixels in each_frame(chunks):
        graph = graph or _minterpolate(pixels.shape[0], pixels.shape[1], before, after)
        push(graph, pixels, given, 1 / before)
        given += 1
        for frame in out(int(given * after / before)):
            taken += 1
            yield frame
    if graph is None or pixels is None:
        return
    # The filter looks ahead and keeps back its tail: the last frame is repeated and what is too much is cut off.
    wanted = int(given * after / before + Fraction(1, 2))
    for extra in range(4):
        push(graph, pixels, given + extra, 1 / before)
    graph.push(None)
    for frame in out(wanted):
        taken += 1
        yield frame
    if taken != wanted:
        raise RuntimeError(f"expected {wanted} interpolated frames, got {taken}")


def _minterpolate(height: int, width: int, before: Fraction, after: Fraction) -> av.filter.Graph:
    import av.filter

    block = 16 if min(height, width) >= 32 else 4  # a frame must hold two blocks each way
    graph = av.filter.Graph()
    parts = [
        source(graph, height, width, before),
        graph.add("format", "yuv444p"),
        graph.add("minterpolate", f"fps={after}:mb_size={block}"),
        graph.add("format", "rgb24"),
        graph.add("buffersink"),
    ]
    for one, other in pairwise(parts):
        one.link_to(other)
    graph.configure()
    return graph
