"""Pictures for a film to begin with: out of a file, at the film's size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vitascope.errors import BadMedia
from vitascope.media.frames import Name
from vitascope.media.reading import opened

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 100_000_000
"""Pixels of the largest picture that is unpacked."""


def picture(path: Name) -> Tensor:
    """A picture, or the last frame of a film, so that one shot can go on from another: uint8 [h w 3].

    Raises BadMedia for a file that is neither, or whose picture is too large to unpack.
    """
    import torch

    with opened(path) as (container, stream):
        if stream.width * stream.height > LARGEST:
            raise BadMedia(
                f"{path}: its picture has {stream.width}x{stream.height} pixels and at most {LARGEST:,} are unpacked; scale it "
                "down first."
            )
        last = None
        for frame in container.decode(stream):
            last = frame
        if last is None:
            raise BadMedia(f"{path}: there is no picture in it; give a whole picture or film.")
        return torch.from_numpy(last.to_ndarray(format="rgb24"))


def fitted(image: Tensor, height: int, width: int) -> Tensor:
    """A picture uint8 [h w 3] scaled, with its shape kept, until it covers height x width, and cut to that around its middle."""
    import torch.nn.functional as F

    tall, wide = image.shape[:2]
    scale = max(height / tall, width / wide)
    rows, columns = max(height, round(tall * scale)), max(width, round(wide * scale))
    if (rows, columns) != (tall, wide):
        pixels = image.permute(2, 0, 1)[None].float()
        pixels = F.interpolate(pixels, (rows, columns), mode="bicubic", antialias=True, align_corners=False)
        image = pixels[0].clamp(0, 255).round().byte().permute(1, 2, 0)
    top, left = (rows - height) // 2, (columns - width) // 2
    return image[top : top + height, left : left + width].contiguous()
