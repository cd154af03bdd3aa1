"""Blocks of a clip by their principal components: the linear part of a codec, found in closed form.

A block is what becomes one latent, frames x rows x columns of pixels in all colours. Of all ways to tell a block by z numbers,
linear there and back, the components of largest variance lose least (Eckart and Young 1936; Karhunen-Loeve transform). What is
left to learn is what no linear map can do: edges that go on from one block into the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vitascope.models.layers import wide, wide_linear


class Blocks(nn.Module):
    """An orthonormal transform of blocks, cut off after z components, `[b 3 t h w]` to `[b z t' h' w']` and back.

    Frame 0 is a block alone, as if nothing in it moved; later frames come `stride[0]` to a block. So nothing depends on other
    blocks, and a clip in chunks is the clip whole. Before `fit` the components are the first pixels of a block, one each.
    """

    middle: Tensor
    """The mean block, [n]."""
    directions: Tensor
    """The components, orthonormal rows by falling variance, [z n]."""
    scale: Tensor
    """The standard deviation of each, [z]."""

    def __init__(self, z: int, stride: tuple[int, int, int], pixels: int = 3) -> None:
        super().__init__()
        self.stride, self.pixels = stride, pixels
        size = pixels * math.prod(stride)
        if z > size:
            raise ValueError(f"got z {z}; a block of {size} values has no more components than that")
        self.register_buffer("middle", torch.zeros(size))
        self.register_buffer("directions", torch.eye(z, size))
        self.register_buffer("scale", torch.ones(z))

    @torch.no_grad()
    def fit(self, clips: Iterable[Tensor]) -> None:
        """Find the components of clips `[b 3 t h w]`, one after the other. Raises ValueError where there are none.

        Sums are float64. Which way a component points is a convention: its largest entry is positive.
        """
        total, count = None, 0
        for clip in clips:
            rows = self._cut(clip, first=True).flatten(0, -2).double()
            rows = torch.cat((rows, rows.new_ones(len(rows), 1)), 1)
            total = rows.T @ rows if total is None else total + rows.T @ rows
            count += len(rows)
        if total is None:
            raise ValueError("blocks: there are no clips to find components of")
        middle = total[-1, :-1] / count
        variance, directions = torch.linalg.eigh(total[:-1, :-1] / count - middle[:, None] * middle)
        z = len(self.scale)
        directions = directions.flip(1)[:, :z].T
        directions = directions * directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()
        self.middle.copy_(middle)
        self.directions.copy_(directions)
        # A component that these clips do not have is told at the size of what rounding leaves, and not enlarged beyond that.
        largest = variance[-1].clamp_min(1e-12)
        self.scale.copy_(variance.flip(0)[:z].clamp_min(1e-6 * float(largest)).sqrt())

    def encode(self, video: Tensor, *, first: bool = True) -> Tensor:
        """Pixels `[b 3 t h w]` to components `[b z t' h' w']`, in float32 at least; `first`: whether frame 0 is among them."""
        rows = wide(self._cut(video, first=first)) - wide(self.middle)
        return wide_linear(rows, self.directions, None).movedim(-1, 1)

    def decode(self, z: Tensor, *, first: bool = True) -> Tensor:
        """Components `[b z t' h' w']` to pixels `[b 3 t h w]`: of all blocks the nearest to these with no other component."""
        rows = wide_linear(z.movedim(1, -1), self.directions.T, self.middle)
        time, high, across = self.stride
        x = rows.unflatten(-1, (self.pixels, time, high, across))  # [b t' h' w' c T H W]
        x = x.permute(0, 4, 1, 5, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return torch.cat((x[:, :, :time].mean(2, keepdim=True), x[:, :, time:]), 2) if first else x

    def _cut(self, video: Tensor, *, first: bool) -> Tensor:
        """Pixels `[b c t h w]` as blocks `[b t' h' w' n]`, each ordered (colour, frame, row, column)."""
        time, high, across = self.stride
        if first:
            video = torch.cat((video[:, :, :1].expand(-1, -1, time - 1, -1, -1), video), 2)
        x = video.unflatten(4, (-1, across)).unflatten(3, (-1, high)).unflatten(2, (-1, time))  # [b c t' T h' H w' W]
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)
