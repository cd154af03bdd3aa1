"""What Wan's video autoencoder is made of: causal convolutions, resampling in time and space, and shortcuts around it.

Everything here carries `[b t h w c]`, channels last. In that order a norm reads neighbours in memory, a 1x1x1
convolution is a matrix product, padding in time is a copy of whole frames, and the same memory seen as `[b c t h w]` is
the layout in which the convolution kernels are fastest.

A clip may be fed whole or in chunks that follow one another, the first of them starting with frame 0. With chunks, a
`Memory` carries the last frames each layer has seen. Both ways compute the same sums, since the past of frame 0 is zeros
for every convolution.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


@dataclass
class Memory:
    """What the layers remember between the chunks of one clip.

    `first` is true until a chunk is through: frame 0 is resampled differently from all that follow.
    """

    first: bool = True
    past: dict[nn.Module, Tensor] = field(default_factory=dict)


class RMSNorm(nn.Module):
    """x / max(|x|, 1e-12) * sqrt(c) * gamma, the Euclidean norm being over the channels of one voxel; then SiLU if asked.

    `dims` is the number of trailing ones in gamma's shape: only the names and shapes of the published files need it.
    """

    def __init__(self, width: int, *, silu: bool = True, dims: int = 3) -> None:
        super().__init__()
        self.silu = silu
        self.gamma = nn.Parameter(torch.ones(width, *(1,) * dims))

    def forward(self, x: Tensor) -> Tensor:
        """`[... c]` to `[... c]`."""
        y: Tensor = _Normalise.apply(x, self.gamma.flatten().to(x.dtype), self.silu)  # type: ignore[assignment]
        return y


class _Normalise(torch.autograd.Function):
    """With n = r x and r = sqrt(c) / |x|: y = f(n gamma), and the gradient of x is r (g - n mean(g n)), g being that of n.

    Written by hand because this runs between any two convolutions, and is memory traffic only: it takes half the time
    that the same lines take in autograd, and keeps x and r, nothing else. In bfloat16 the sums are still float32.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, silu: bool) -> Tensor:
        with _no_autocast(x):
            exact = torch.promote_types(x.dtype, torch.float32)
            norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=exact)
            r = (math.sqrt(x.shape[-1]) / norm.clamp_min_(1e-12)).to(x.dtype)
            ctx.save_for_backward(x, r, gamma)
            ctx.silu = silu
            y = (x * r).mul_(gamma)
            return F.silu(y, inplace=True) if silu else y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        x, r, gamma = ctx.saved_tensors
        with _no_autocast(x):
            n = x * r
            g = torch.ops.aten.silu_backward(grads[0], n * gamma) if ctx.silu else grads[0].clone()
            # Both sums as matrix products: over voxels for gamma, over channels for the mean.
            product = (g * n).reshape(-1, x.shape[-1])
            d_gamma = (product.new_ones(1, product.shape[0]) @ product).flatten()
            mean = (product @ (gamma / x.shape[-1])).view(r.shape)
            return g.mul_(gamma).addcmul_(n, mean, value=-1).mul_(r), d_gamma, None


def _no_autocast(x: Tensor) -> AbstractContextManager[Any]:
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


class CausalConv(nn.Conv3d):
    """A 3-D convolution that sees no later frame: k - 1 past frames, or zeros, go in front; space is padded evenly."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(inputs, outputs, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, input: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t h w c]`."""
        if self.kernel_size == (1, 1, 1):
            return F.linear(input, self.weight.flatten(1), self.bias)
        reach = self.kernel_size[0] - 1
        past = None if memory is None else memory.past.get(self)
        if past is None:
            past = input.new_zeros(input.shape[0], reach, *input.shape[2:])
        x = torch.cat([past, input], 1)
        if memory is not None:
            memory.past[self] = x[:, -reach:].clone()
        return convolve(x, self)


def convolve(x: Tensor, conv: nn.Conv3d) -> Tensor:
    """A 3-D convolution of `[b t h w c]`: height and width are padded so that they stay, time is not padded."""
    x = x.movedim(-1, 1)
    padding = (0, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2)
    # For one float32 clip of few frames PyTorch leaves oneDNN for a kernel several times as slow: so name it outright.
    if x.shape[0] == 1 and x.dtype == torch.float32 and x.is_cpu and _ONEDNN and not torch.is_autocast_enabled("cpu"):
        y = torch.mkldnn_convolution(x, conv.weight, conv.bias, padding, conv.stride, conv.dilation, conv.groups)
    else:
        y = F.conv3d(x, conv.weight, conv.bias, conv.stride, padding)
    return y.movedim(1, -1)


_ONEDNN = torch.backends.mkldnn.is_available()


class Down(nn.Module):
    """Half the height and width and, if temporal, half the frames after the first: 1 + 2k become 1 + k."""

    def __init__(self, width: int, temporal: bool) -> None:
        super().__init__()
        # Position 1 of a pair, as the published files name it; position 0 stands for the padding.
        self.resample = nn.Sequential(nn.Identity(), nn.Conv2d(width, width, 3, stride=2))
        self.time_conv = nn.Conv3d(width, width, (3, 1, 1), stride=(2, 1, 1)) if temporal else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' h/2 w/2 c]`."""
        frames = F.pad(x.flatten(0, 1), (0, 0, 0, 1, 0, 1)).movedim(-1, 1)
        x = self.resample(frames).movedim(1, -1).unflatten(0, x.shape[:2])
        return x if self.time_conv is None else self.halve(x, self.time_conv, memory)

    def halve(self, x: Tensor, conv: nn.Conv3d, memory: Memory | None) -> Tensor:
        """Frame 0 passes as it is; frame k of the rest is made of the frames 2k - 2, 2k - 1 and 2k."""
        past = None if memory is None else memory.past.get(self)
        if memory is not None:
            memory.past[self] = x[:, -1:].clone()
        if past is not None:
            return convolve(torch.cat([past, x], 1), conv)
        if x.shape[1] == 1:
            return x
        return torch.cat([x[:, :1], convolve(x, conv)], 1)


class Enlarge(nn.Conv2d):
    """Nearest neighbour twice as large, then a 3x3 convolution.

    A pixel's three neighbours along an axis come from two originals only. So both steps are one transposed convolution of
    stride 2, whose four taps are the three summed over the two copies that each original makes: 4/9 of the work, and
    nothing is enlarged before it is needed.
    """

    def forward(self, input: Tensor) -> Tensor:
        """`[n h w c]` to `[n 2h 2w outputs]`."""
        weight = self.weight
        for dim in (2, 3):
            a, b, c = weight.unbind(dim)
            weight = torch.stack([c, b + c, a + b, a], dim)
        x = input.movedim(-1, 1)
        return F.conv_transpose2d(x, weight.transpose(0, 1), self.bias, stride=2, padding=1).movedim(1, -1)


class Up(nn.Module):
    """Twice the height and width (nearest, then a 3x3 convolution) and, if temporal, two frames for each but the first."""

    def __init__(self, width: int, outputs: int, temporal: bool) -> None:
        super().__init__()
        # Position 1 of a pair, as the published files name it; position 0 stands for the nearest neighbour.
        self.resample = nn.Sequential(nn.Identity(), Enlarge(width, outputs, 3))
        self.time_conv = CausalConv(width, 2 * width, (3, 1, 1)) if temporal else None

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' 2h 2w outputs]`."""
        if self.time_conv is not None:
            x = self.double(x, self.time_conv, memory)
        return self.resample(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    def double(self, x: Tensor, conv: CausalConv, memory: Memory | None) -> Tensor:
        """Two frames from the halves of the channels. Frame 0 stays one frame, and the convolution never sees it."""
        first = memory is None or memory.first
        head, rest = (x[:, :1], x[:, 1:]) if first else (x[:, :0], x)
        if rest.shape[1] == 0:
            return head
        pairs = conv(rest, memory).unflatten(-1, (2, -1)).movedim(-2, 2).flatten(1, 2)
        return torch.cat([head, pairs], 1) if first else pairs


def average_down(x: Tensor, outputs: int, time: int, space: int) -> Tensor:
    """A shortcut around `Down` without parameters (Wan 2.2): space-time to channels, then means of neighbours.

    `[b t h w c]` to `[b ceil(t / time) h/space w/space outputs]`. Zero frames in front make t a multiple of `time`. The
    new channels of a voxel are ordered (c, t, h, w), c slowest; each output is the mean of c * time * space^2 / outputs
    consecutive ones.
    """
    group = members = x.shape[-1] * time * space * space // outputs
    if x.shape[1] % time:
        x = F.pad(x, (0, 0, 0, 0, 0, 0, -x.shape[1] % time, 0))
    # The fastest axis first. One that falls into a group whole is summed where it is; others go behind the channels.
    for axis, factor in ((3, space), (2, space), (1, time)):
        slices = x.unflatten(axis, (-1, factor)).unbind(axis + 1)
        if group % factor == 0:
            group //= factor
            x = sum(slices[1:], slices[0])
        else:
            x = torch.stack(slices, 5)  # [b t h w c, then the axes moved so far]
    x = x.flatten(4)
    if group > 1:
        x = x.unflatten(-1, (outputs, group)).sum(-1)
    return x if members == 1 else x / members


def duplicate_up(x: Tensor, outputs: int, time: int, space: int, first: bool) -> Tensor:
    """A shortcut around `Up` without parameters (Wan 2.2): repeated channels, then channels to space-time.

    `[b t h w c]` to `[b time*t space*h space*w outputs]`; the first chunk of a clip drops its first time - 1 frames. Each
    channel is repeated outputs * time * space^2 / c times; the result is ordered (outputs, t, h, w), outputs slowest.
    """
    repeats = outputs * time * space * space // x.shape[-1]
    # The fastest axis first. What only repeats along an axis is not laid out in the channels at all.
    inner = [time, space, space]
    for i in (2, 1, 0):
        if repeats % inner[i] == 0:
            repeats //= inner[i]
            inner[i] = 1
    if repeats > 1:
        x = x.repeat_interleave(repeats, -1)
    x = x.unflatten(-1, (outputs, *inner))  # [b t h w c, then what each axis takes from the channels]
    for axis, factor in ((3, space), (2, space), (1, time)):
        slices = x.unbind(-1)
        # Stacked, not expanded: the gradient of an expansion is a sum over strides, twenty times as slow.
        x = torch.stack(slices * (factor // len(slices)), axis + 1).flatten(axis, axis + 1)
    return x[:, time - 1 :] if first else x
