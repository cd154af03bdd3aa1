"""Pictures for a film to begin with: out of a file, at the film's size."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from vitascope.errors import BadMedia
from vitascope.media.frames import Name
from vitascope.media.reading import decoded, opened

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 100_000_000
"""Pixels of the largest picture that is unpacked."""


def picture(path: Name) -> Tensor:
    """A picture, or the last frame of a film, so that one shot can go on from another: uint8 [h w 3].

    Turned upright as the file says, and what is transparent on white. Raises BadMedia for a file that is neither, a film that
    is not whole (what is last in it is not its last frame), or a picture that is too large to unpack.
    """
    import torch

    with opened(path, "a picture or a film") as (container, stream):
        if stream.width * stream.height > LARGEST:
            raise BadMedia(
                f"{path}: its picture has {stream.width}x{stream.height} pixels and at most {LARGEST:,} are unpacked; scale it "
                "down first."
            )
        last = deque(decoded(path, container, stream), maxlen=1).pop()
        pixels = torch.from_numpy(last.to_ndarray(format="rgba")).float()
        opaque = pixels[..., 3:] / 255
        upright = torch.rot90(pixels[..., :3] * opaque + 255 * (1 - opaque), last.rotation // 90, (0, 1))
        return upright.round().byte().contiguous()


def fitted(image: Tensor, height: int, width: int) -> Tensor:
    """The middle of a picture uint8 [h w 3] that has the shape of height x width, scaled to that."""
    import torch.nn.functional as F

    tall, wide = image.shape[:2]
    scale = max(height / tall, width / wide)
    # Cut before it is scaled: of a thin picture little is seen, and the whole of it, enlarged, would fill all memory.
    rows, columns = (max(1, min(have, round(want / scale))) for have, want in ((tall, height), (wide, width)))
    top, left = (tall - rows) // 2, (wide - columns) // 2
    image = image[top : top + rows, left : left + columns]
    if (rows, columns) == (height, width):
        return image.contiguous()
    pixels = image.permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return pixels[0].clamp(0, 255).round().byte().permute(1, 2, 0).contiguous()
