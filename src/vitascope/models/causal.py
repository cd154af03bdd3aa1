"""What Wan's video autoencoder is made of: causal convolutions, resampling in time and space, and the shortcuts around it.

Everything here carries `[b t h w c]`, channels last. In that order a norm reads neighbours in memory, a 1x1x1 convolution is a
matrix product, padding in time is a copy of whole frames, and the same memory seen as `[b c t h w]` is the layout in which the
convolution kernels are fastest.

A clip may be fed whole or in chunks that follow one another, the first of them starting with frame 0. With chunks, a `Memory` carries
the last frames each layer has seen. Both ways compute the same sums, since the past of frame 0 is zeros for every convolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Memory:
    """What the layers remember between the chunks of one clip.

    `first` is true until a chunk is through: frame 0 is resampled differently from all that follow.
    """

    first: bool = True
    past: dict[nn.Module, Tensor] = field(default_factory=dict)


class RMSNorm(nn.Module):
    """x / max(|x|, 1e-12) * sqrt(c) * gamma, the Euclidean norm being over the channels of one voxel.

    `dims` is the number of trailing ones in gamma's shape: only the names and shapes of the published files need it.
    """

    def __init__(self, width: int, dims: int = 3) -> None:
        super().__init__()
        self.width = width
        self.gamma = nn.Parameter(torch.ones(width, *(1,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        """`[... c]` to `[... c]`."""
        exact = torch.promote_types(x.dtype, torch.float32)  # a sum of squares needs more digits than bfloat16 has
        norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
        scale = (math.sqrt(self.width) / norm.clamp_min(1e-12)).to(x.dtype)
        return x * scale * self.gamma.flatten().to(x.dtype)


class CausalConv(nn.Conv3d):
    """A 3-D convolution that sees no later frame: k - 1 frames of the past, or zeros, go in front; space is padded evenly."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(inputs, outputs, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, input: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t h w c]`."""
        if self.kernel_size == (1, 1, 1):
            return F.linear(input, self.weight.flatten(1), self.bias)
        reach = self.kernel_size[0] - 1
        past = None if memory is None else memory.past.get(self)
        x = F.pad(input, (0, 0, 0, 0, 0, 0, reach, 0)) if past is None else torch.cat([past, input], 1)
        if memory is not None:
            memory.past[self] = x[:, -reach:].clone()
        return convolve(x, self.weight, self.bias, padding=self.padding)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, stride=1, padding=0) -> Tensor:
    """A 3-D convolution of `[b t h w c]`."""
    return F.conv3d(x.movedim(-1, 1), weight, bias, stride, padding).movedim(1, -1)


class Down(nn.Module):
    """Half the height and width and, if temporal, half the frames after the first: 1 + 2k become 1 + k, and later 2k become k."""

    def __init__(self, width: int, temporal: bool) -> None:
        super().__init__()
        # Position 1 of a pair, as the published files name it; position 0 stands for the padding.
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(width, width, 3, stride=2))
        self.time_conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' h/2 w/2 c]`."""
        conv = self.resample[1]
        b, t = x.shape[:2]
        frames = F.pad(x.flatten(0, 1), (0, 0, 0, 1, 0, 1)).movedim(-1, 1)
        x = F.conv2d(frames, conv.weight, conv.bias, stride=2).movedim(1, -1).unflatten(0, (b, t))
        return x if self.time_conv is None else self.halve(x, self.time_conv, memory)

    def halve(self, x: Tensor, conv: nn.Conv3d, memory: Memory | None) -> Tensor:
        """Frame 0 passes as it is; frame k of the rest is made of the frames 2k - 2, 2k - 1 and 2k."""
        past = None if memory is None else memory.past.get(self)
        if memory is not None:
            memory.past[self] = x[:, -1:].clone()
        if past is not None:
            return convolve(torch.cat([past, x], 1), conv.weight, conv.bias, stride=(2, 1, 1))
        if x.shape[1] == 1:
            return x
        return torch.cat([x[:, :1], convolve(x, conv.weight, conv.bias, stride=(2, 1, 1))], 1)


class Up(nn.Module):
    """Twice the height and width (nearest, then a 3x3 convolution) and, if temporal, two frames for each but the first."""

    def __init__(self, width: int, outputs: int, temporal: bool) -> None:
        super().__init__()
        # Position 1 of a pair, as the published files name it; position 0 stands for the nearest neighbour.
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(width, outputs, 3, padding=1))
        self.time_conv = CausalConv(width, 2 * width, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' 2h 2w outputs]`."""
        if self.time_conv is not None:
            x = self.double(x, self.time_conv, memory)
        conv = self.resample[1]
        return enlarge(x.flatten(0, 1), conv.weight, conv.bias).unflatten(0, x.shape[:2])

    def double(self, x: Tensor, conv: CausalConv, memory: Memory | None) -> Tensor:
        """Two frames from the two halves of the channels. Frame 0 stays one frame, and the convolution never sees it."""
        first = memory is None or memory.first
        head, rest = (x[:, :1], x[:, 1:]) if first else (x[:, :0], x)
        if rest.shape[1] == 0:
            return head
        pairs = conv(rest, memory).unflatten(-1, (2, -1)).movedim(-2, 2).flatten(1, 2)
        return torch.cat([head, pairs], 1) if first else pairs


def enlarge(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Nearest neighbour twice as large, then a 3x3 convolution: `[n h w c]` to `[n 2h 2w o]`.

    Of the 3x3 neighbours of a pixel, some are copies of one original; their weights add. An even row sees the originals (i - 1, i, i),
    an odd row (i, i, i + 1), and columns alike: four 2x2 convolutions, 4/9 of the work, and nothing enlarged before it is needed.
    """
    h, w = x.shape[1:3]
    padded = F.pad(x, (0, 0, 1, 1, 1, 1)).movedim(-1, 1)
    rows = []
    for i, tall in enumerate(_folded(weight, 2)):
        pixels = [
            F.conv2d(padded[:, :, i : i + h + 1, j : j + w + 1], small, bias).movedim(1, -1)
            for j, small in enumerate(_folded(tall, 3))
        ]
        rows.append(torch.stack(pixels, 3).flatten(3, 4))  # [n h w 2 o] -> [n h w 2o]: a row's pixels, in order
    return torch.stack(rows, 2).reshape(x.shape[0], 2 * h, 2 * w, -1)


def _folded(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Three taps along `dim`, as the two that an even position needs and the two that an odd one needs."""
    a, b, c = weight.unbind(dim)
    return torch.stack([a, b + c], dim), torch.stack([a + b, c], dim)


def average_down(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    """A shortcut around `Down` without parameters (Wan 2.2): space-time to channels, then means of neighbouring channels.

    `[b t h w c]` to `[b ceil(t / time) h/space w/space outputs]`. Zero frames in front make t a multiple of `time`. A voxel's new
    channels are ordered (c, t, h, w), c slowest; each output is the mean of c * time * space^2 / outputs consecutive ones.
    """
    c = x.shape[-1]
    group = c * time * space * space // outputs
    x = F.pad(x, (0, 0, 0, 0, 0, 0, -x.shape[1] % time, 0))
    x = x.unflatten(3, (-1, space)).unflatten(2, (-1, space)).unflatten(1, (-1, time))  # [b T t H h W w c]
    # Whole axes first, the fastest first: what is averaged now need not be moved.
    for axis in (6, 4, 2):
        if group % x.shape[axis]:
            break
        group //= x.shape[axis]
        x = x.mean(axis, keepdim=True)
    x = x.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(4)
    return x if group == 1 else x.unflatten(-1, (outputs, group)).mean(-1)


def duplicate_up(x: Tensor, outputs: int, time: int, space: int, first: bool) -> Tensor:
    """A shortcut around `Up` without parameters (Wan 2.2): repeated channels, then channels to space-time.

    `[b t h w c]` to `[b time*t space*h space*w outputs]`; the first chunk of a clip drops its first time - 1 frames. Each channel is
    repeated outputs * time * space^2 / c times; the result's order is (outputs, t, h, w), outputs slowest.
    """
    repeats = outputs * time * space * space // x.shape[-1]
    # Whole axes first, the fastest first: what only repeats along an axis is broadcast along it.
    inner = [time, space, space]
    for axis in (2, 1, 0):
        if repeats % inner[axis]:
            break
        repeats //= inner[axis]
        inner[axis] = 1
    if repeats > 1:
        x = x.repeat_interleave(repeats, -1)
    x = x.unflatten(-1, (outputs, *inner)).permute(0, 1, 5, 2, 6, 3, 7, 4)  # [b T t H h W w c]
    b, frames, _, height, _, width, _, c = x.shape
    x = x.expand(b, frames, time, height, space, width, space, c)
    x = x.reshape(b, frames * time, height * space, width * space, c)
    return x[:, time - 1 :] if first else x
