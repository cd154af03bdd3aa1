"""Latents, computed once and kept: whitened, in half precision, read through a memory map."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vitascope.codec import VideoCodec
from vitascope.data.clips import Clips, to_pixels

ROWS = 8


class Latents:
    """The latents [n c t h w] of a set of clips."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.values = np.memmap(path, dtype=np.float16, mode="r", shape=shape)

    def __len__(self) -> int:
        return self.values.shape[0]

    def batch(self, indices: list[int]) -> Tensor:
        """The latents of these clips, float32 [b c t h w]."""
        return torch.from_numpy(self.values[indices].astype(np.float32))


def _identity(codec: VideoCodec, clips: Clips) -> str:
    digest = hashlib.sha256(repr(clips.source).encode())
    for name, value in codec.state_dict().items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def encode_clips(
    path: Path, codec: VideoCodec, clips: Clips, watch: Callable[[int, int], None] | None = None, device: str = "cpu"
) -> Latents:
    """The clips' latents, computed to `path` unless this codec's latents of these clips are there already."""
    label = path.with_suffix(".json")
    source = clips.source
    shape = (len(clips), *codec.latent_shape(source.frames, source.height, source.width))
    about = {"identity": _identity(codec, clips), "shape": list(shape)}
    if path.is_file() and label.is_file() and json.loads(label.read_text()) == about:
        return Latents(path, shape)
    path.unlink(missing_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        for start in range(0, len(clips), ROWS):
            rows = range(start, min(start + ROWS, len(clips)))
            video = to_pixels(torch.stack([clips.pixels(i) for i in rows]).to(device))
            file.write(codec.encode(video).cpu().numpy().astype(np.float16).tobytes())
            if watch:
                watch(rows.stop, len(clips))
        file.flush()
        os.fsync(file.fileno())
    label.write_text(json.dumps(about))
    os.replace(partial, path)
    return Latents(path, shape)
