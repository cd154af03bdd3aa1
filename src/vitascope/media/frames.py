"""What reading, writing and interpolating share: single frames, filter graphs, rates."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import av.filter
    import numpy as np
    from torch import Tensor

    Frame = np.ndarray[Any, np.dtype[np.uint8]]  # [h w 3]

Name = str | os.PathLike[str]


def each_frame(chunks: Iterable[Tensor]) -> Iterator[Frame]:
    """The frames of chunks uint8 [n h w 3], one at a time, on the CPU and all of one size."""
    import torch

    size = None
    for chunk in chunks:
        if chunk.dtype != torch.uint8 or chunk.ndim != 4 or chunk.shape[-1] != 3:
            raise ValueError(f"expected uint8 frames [t h w 3], got {chunk.dtype} {list(chunk.shape)}")
        size = size or chunk.shape[1:]
        if chunk.shape[1:] != size:
            raise ValueError(f"expected frames of {list(size)} like the first, got {list(chunk.shape[1:])}")
        yield from chunk.cpu().contiguous().numpy()


def source(graph: av.filter.Graph, height: int, width: int, rate: Fraction) -> Any:
    """The place where `push` hands frames to a filter graph."""
    return graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base={1 / rate}")


def push(graph: av.filter.Graph, pixels: Frame, index: int, time_base: Fraction) -> None:
    """Hands a filter graph frame number `index`."""
    import av

    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts, frame.time_base = index, time_base
    graph.push(frame)


def pulled(graph: Any) -> Iterator[Any]:
    """The frames that a filter graph has ready."""
    import av.error

    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def fraction(fps: float) -> Fraction:
    """Frames a second as a video file counts them."""
    if not 0 < fps < 10_000:
        raise ValueError(f"expected frames a second from 0 to 10000, got {fps}")
    return Fraction(fps).limit_denominator(1001)  # 23.976 is 24000/1001
