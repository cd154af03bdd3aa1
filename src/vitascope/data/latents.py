"""Latents, computed once and kept: whitened, in half precision, read through a memory map."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from vitascope.codec import VideoCodec
from vitascope.data.clips import Clips, read_label
from vitascope.pixels import to_pixels

ROWS = 8

DECODING = ("vae.decoder.", "vae.conv2.")
"""Weights of a codec that its latents do not depend on."""


class Latents:
    """The latents [n c t h w] of a set of clips."""

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.values = np.memmap(path, dtype=np.float16, mode="r", shape=shape)

    def __len__(self) -> int:
        return self.values.shape[0]

    def batch(self, indices: list[int]) -> Tensor:
        """The latents of these clips, float32 [b c t h w]."""
        return torch.from_numpy(self.values[indices].astype(np.float32))


def identity(module: nn.Module, beside: str = "", without: tuple[str, ...] = ()) -> bytes:
    """SHA-256 over the weights of a module, those whose names begin as in `without` left out, and over what they are used with."""
    digest = hashlib.sha256(beside.encode())
    for name, value in module.state_dict().items():
        if name.startswith(without):
            continue
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.digest()


@torch.no_grad()
def encode_clips(
    path: Path, codec: VideoCodec, clips: Clips, watch: Callable[[int, int], None] | None = None, device: str = "cpu"
) -> Latents:
    """The clips' latents, computed to `path` unless this codec's latents of these clips are there already.

    Work that was cut off goes on from the last whole batch, with the same codec and clips; `watch(done, of)` hears of each.
    """
    source = clips.source
    shape = (len(clips), *codec.latent_shape(source.frames, source.height, source.width))
    about = {"identity": identity(codec, repr(source), DECODING).hex(), "shape": list(shape)}
    label, partial, begun = (path.with_suffix(end) for end in (".json", ".partial", ".partial.json"))
    size = 2 * math.prod(shape[1:])
    if path.is_file() and read_label(label) == about and path.stat().st_size == size * len(clips):
        return Latents(path, shape)
    path.unlink(missing_ok=True)
    if read_label(begun) != about:
        partial.unlink(missing_ok=True)
        begun.write_text(json.dumps(about))
    with partial.open("ab") as file:
        done = file.tell() // (size * ROWS) * ROWS
        file.truncate(done * size)
        while done < len(clips):
            rows = range(done, min(done + ROWS, len(clips)))
            video = to_pixels(torch.stack([clips.pixels(i) for i in rows]).to(device))
            file.write(codec.encode(video).cpu().numpy().astype(np.float16).tobytes())
            done = rows.stop
            if watch:
                watch(done, len(clips))
        file.flush()
        os.fsync(file.fileno())
    label.write_text(json.dumps(about))
    os.replace(partial, path)
    begun.unlink(missing_ok=True)
    return Latents(path, shape)
