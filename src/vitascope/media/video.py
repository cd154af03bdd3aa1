"""Video: a film in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.errors import BadMedia
from vitascope.media.frames import Name
from vitascope.media.reading import decoded, opened, rate_of, read_record
from vitascope.media.writing import write

if TYPE_CHECKING:
    from torch import Tensor

    from vitascope.media.frames import Frame

MOST_BYTES = 8 * 2**30  # what a film may take when it is unpacked: a small file can hold a very large one


@dataclass(frozen=True, eq=False)
class Video:
    """A film: `frames` uint8 [t h w c], RGB; `fps` frames a second; `record`, what it was made from, if known."""

    frames: Tensor
    fps: float
    record: Mapping[str, Any] | None = None

    @property
    def seconds(self) -> float:
        return len(self.frames) / self.fps

    def save(self, path: Name, *, replace: bool = True) -> Path:
        """Writes the film; see `write`."""
        return write(path, [self.frames], self.fps, self.record, replace=replace)

    @classmethod
    def load(cls, path: Name) -> Video:
        """Reads every frame of a film, and its record if it carries one.

        Raises:
            BadMedia: when the file is not a whole film of this machine, or unpacks to more than MOST_BYTES.
        """
        import numpy as np
        import torch

        frames: list[Frame] = []
        with opened(path) as (container, stream):
            size = max(stream.width, 1) * max(stream.height, 1) * 3
            fps = rate_of(container, stream)
            for frame in decoded(path, container, stream):
                if size * (len(frames) + 1) > MOST_BYTES:
                    raise BadMedia(f"{path}: unpacked it is larger than {MOST_BYTES >> 30} GiB; cut it into parts.")
                pixels: Any = frame.to_ndarray(format="rgb24")
                frames.append(pixels)
        return cls(torch.from_numpy(np.stack(frames)), fps, read_record(path))
