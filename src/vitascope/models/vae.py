"""The causal 3-D autoencoder of Wan 2.1 at any size, plain or in the residual form of Wan 2.2.

Pixels `[b 3 t h w]` in [-1, 1]; latents `[b z t' h' w']`, not whitened. 1 + s k pixel frames become 1 + k latent frames,
s the stride in time: frame 0 alone, then s frames to one. Nothing depends on frames of a later latent. Parameter names
are those of the published files, in both forms.

Source: Wan 2.1 (arXiv:2503.20314, section 4.1) and the autoencoder published with Wan 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.models.blocks import Blocks
from vitascope.models.causal import CausalConv, Down, Memory, RMSNorm, Up, average_down, duplicate_up
from vitascope.models.seams import without_seams


@dataclass(frozen=True)
class VAEConfig:
    """The size and the form of an autoencoder; the defaults are Wan 2.1.

    `mults`: the widths of the levels in units of `base` (`decoder_base` in the decoder, the same if None), from the pixels
    down; between two levels height and width halve, and frames too where `temporal` says so. `blocks` a level in the
    encoder, one more in the decoder. `patch`: squares of pixels folded into channels first. `residual`: each level has a
    shortcut without parameters around it, as in Wan 2.2. `linear`: latents are principal components of blocks (`Blocks`), which
    the decoder shows without their seams, and adds to them what it has learned; nothing of the encoder is there to be learned.
    """

    z: int = 16
    base: int = 96
    decoder_base: int | None = None
    mults: tuple[int, ...] = (1, 2, 4, 4)
    blocks: int = 2
    temporal: tuple[bool, ...] = (False, True, True)
    patch: int = 1
    residual: bool = False
    pixels: int = 3
    linear: bool = False

    def __post_init__(self) -> None:
        if self.linear and self.z > self.pixels * math.prod(self.stride):
            raise ValueError(f"got z {self.z}; a block of {self.pixels} x {self.stride} values has no more components")
        if len(self.temporal) != len(self.mults) - 1:
            raise ValueError(
                f"got temporal of {len(self.temporal)} entries; expected {len(self.mults) - 1}, one between two levels"
            )
        for i, (inputs, outputs) in enumerate(pairwise((1, *self.mults))):
            factor = 1 if i == len(self.temporal) else 8 if self.temporal[i] else 4
            if self.residual and inputs * factor % outputs:
                raise ValueError(
                    f"got mults {self.mults} in the residual form, whose level {i} averages {factor} x {inputs} units "
                    f"of width to {outputs}; expected a multiple"
                )

    @property
    def stride(self) -> tuple[int, int, int]:
        """Pixels to one latent along time, height, width."""
        space = self.patch * 2 ** (len(self.mults) - 1)
        return 2 ** sum(self.temporal), space, space


class ResidualBlock(nn.Module):
    """Twice norm, SiLU, convolution; around it the identity, or a 1x1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            RMSNorm(inputs),
            nn.Identity(),  # the published files count SiLU and dropout as layers of their own
            CausalConv(inputs, outputs),
            RMSNorm(outputs),
            nn.Identity(),
            nn.Identity(),
            CausalConv(outputs, outputs),
        )
        self.shortcut = CausalConv(inputs, outputs, (1, 1, 1)) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w inputs]` to `[b t h w outputs]`."""
        return self.shortcut(x) + run(self.residual, x, memory)


class AttentionBlock(nn.Module):
    """Self-attention among the places of one frame, one head as wide as the features."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = RMSNorm(width, silu=False, dims=2)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.proj = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[b t h w c]` to `[b t h w c]`."""
        y = F.linear(self.norm(x), self.to_qkv.weight.flatten(1), self.to_qkv.bias)
        q, k, v = y.flatten(0, 1).flatten(1, 2).unsqueeze(1).chunk(3, -1)  # [b*t 1 h*w c]
        y = F.scaled_dot_product_attention(q, k, v).reshape(x.shape)
        return x + F.linear(y, self.proj.weight.flatten(1), self.proj.bias)


class DownLevel(nn.Module):
    """A level of the residual form's encoder: blocks and the halving, and a shortcut around them all."""

    def __init__(self, layers: list[nn.Module], outputs: int, time: int, space: int) -> None:
        super().__init__()
        self.downsamples = nn.Sequential(*layers)
        self.outputs, self.time, self.space = outputs, time, space

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' h/space w/space outputs]`."""
        return run(self.downsamples, x, memory) + average_down(x, self.outputs, self.time, self.space)


class UpLevel(nn.Module):
    """A level of the residual form's decoder: blocks and the doubling, and a shortcut around them, but at the last."""

    def __init__(self, layers: list[nn.Module], outputs: int, time: int, space: int) -> None:
        super().__init__()
        self.upsamples = nn.Sequential(*layers)
        self.outputs, self.time, self.space = outputs, time, space

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' space*h space*w outputs]`."""
        y = run(self.upsamples, x, memory)
        if self.space == 1:
            return y
        return y + duplicate_up(x, self.outputs, self.time, self.space, memory is None or memory.first)


def run(layers: nn.Sequential, x: Tensor, memory: Memory | None) -> Tensor:
    """One layer after the other; those that look back in time are handed the memory."""
    for layer in layers:
        x = layer(x, memory) if isinstance(layer, _CAUSAL) else layer(x)
    return x


_CAUSAL = (CausalConv, Down, Up, ResidualBlock, DownLevel, UpLevel)


def _middle(width: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(width, width), AttentionBlock(width), ResidualBlock(width, width))


def _head(width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(RMSNorm(width), nn.Identity(), CausalConv(width, outputs))


class Encoder(nn.Module):
    """Folded pixels to the mean and log-variance of latents, both in one tensor."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        widths = [config.base * m for m in (1, *config.mults)]
        self.conv1 = CausalConv(config.pixels * config.patch**2, widths[0])
        levels: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            layers: list[nn.Module] = [
                ResidualBlock(inputs if j == 0 else outputs, outputs) for j in range(config.blocks)
            ]
            last = i == len(config.temporal)
            temporal = not last and config.temporal[i]
            if not last:
                layers.append(Down(outputs, temporal))
            if config.residual:
                layers = [DownLevel(layers, outputs, 2 if temporal else 1, 1 if last else 2)]
            levels += layers
        self.downsamples = nn.Sequential(*levels)
        self.middle = _middle(widths[-1])
        self.head = _head(widths[-1], 2 * config.z)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t h w c]` to `[b t' h' w' 2z]`."""
        x = self.conv1(x, memory)
        for part in (self.downsamples, self.middle, self.head):
            x = run(part, x, memory)
        return x


class Decoder(nn.Module):
    """Latents to folded pixels."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        base = config.decoder_base or config.base
        widths = [base * m for m in (config.mults[-1], *reversed(config.mults))]
        self.conv1 = CausalConv(config.z, widths[0])
        self.middle = _middle(widths[0])
        doubles = tuple(reversed(config.temporal))
        levels: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(pairwise(widths)):
            # The plain form halves its width with each doubling of space; the residual form keeps it.
            start = inputs // 2 if i > 0 and not config.residual else inputs
            layers: list[nn.Module] = [
                ResidualBlock(start if j == 0 else outputs, outputs) for j in range(config.blocks + 1)
            ]
            last = i == len(doubles)
            temporal = not last and doubles[i]
            if not last:
                layers.append(Up(outputs, outputs if config.residual else outputs // 2, temporal))
            if config.residual:
                layers = [UpLevel(layers, outputs, 2 if temporal else 1, 1 if last else 2)]
            levels += layers
        self.upsamples = nn.Sequential(*levels)
        self.head = _head(widths[-1], config.pixels * config.patch**2)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """`[b t' h' w' z]` to `[b t h w c]`."""
        x = self.conv1(x, memory)
        for part in (self.middle, self.upsamples, self.head):
            x = run(part, x, memory)
        return x


class VAE(nn.Module):
    """Video to latents and back.

    `chunked` computes the same values from one chunk of frames after another, in memory that does not grow with the clip's
    length. Whole is faster, and is what training wants.
    """

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        if config.linear:
            self.blocks = Blocks(config.z, config.stride, config.pixels)
        else:
            self.encoder = Encoder(config)
            self.conv1 = CausalConv(2 * config.z, 2 * config.z, (1, 1, 1))
        self.conv2 = CausalConv(config.z, config.z, (1, 1, 1))
        self.decoder = Decoder(config)

    def moments(self, video: Tensor, chunked: bool = False) -> tuple[Tensor, Tensor]:
        """Mean and log-variance `[b z t' h' w']` of the latents of a video `[b 3 t h w]`.

        Raises ValueError unless t is 1 + stride k, and h and w are multiples of theirs.
        """
        self._check(video)
        time, frames = self.config.stride[0], video.shape[2]
        chunks = video.split([1] + [time] * ((frames - 1) // time), 2) if chunked else (video,)
        memory = Memory() if chunked else None
        mu, logvar = torch.cat([self._moments(chunk, memory) for chunk in chunks], 2).chunk(2, 1)
        return mu, logvar

    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """The mean latents `[b z 1 h' w']` of a video that comes in chunks `[b 3 n h w]`: one frame, then `stride[0]` at a time.

        The video need never be whole in memory. Raises ValueError for a chunk of another length.
        """
        memory = Memory()
        for chunk in chunks:
            expected = 1 if memory.first else self.config.stride[0]
            if chunk.shape[2] != expected:
                raise ValueError(f"got a chunk of {chunk.shape[2]} frames; expected {expected}")
            yield self._moments(chunk, memory).chunk(2, 1)[0]

    def _moments(self, video: Tensor, memory: Memory | None) -> Tensor:
        """Mean and log-variance, one behind the other `[b 2z t' h' w']`; components have none, which is the least that is told."""
        if self.config.linear:
            mu = self.blocks.encode(video, first=memory is None or memory.first)
            if memory is not None:
                memory.first = False
            return torch.cat((mu, torch.full_like(mu, -30.0)), 1)
        x = self.encoder(fold(video, self.config.patch), memory)
        if memory is not None:
            memory.first = False
        return self.conv1(x).movedim(-1, 1)

    def encode(self, video: Tensor, chunked: bool = False) -> Tensor:
        """The mean latent `[b z t' h' w']` of a video `[b 3 t h w]`. Wan draws no sample around it."""
        return self.moments(video, chunked)[0]

    def decode(self, z: Tensor, chunked: bool = False) -> Tensor:
        """Latents `[b z t' h' w']` to a video `[b 3 t h w]` within [-1, 1]."""
        if chunked:
            return torch.cat(list(self.decode_chunks(z)), 2)
        return self._pixels(z).clamp(-1, 1)

    def decode_chunks(self, z: Tensor, frames: int = 1, *, clamped: bool = True) -> Iterator[Tensor]:
        """As `decode`, but handed over as it is made, `frames` latent frames at a time: more are faster and need more memory.

        The first latent frame is 1 frame of pixels, each later one `stride[0]`. clamped: whether within [-1, 1].
        """
        memory = Memory()
        for chunk in z.split(frames, 2):
            pixels = self._pixels(chunk, memory)
            yield pixels.clamp(-1, 1) if clamped else pixels
            memory.first = False

    def reconstruct(self, video: Tensor, off: Callable[[Tensor], Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """What a training loss looks at: the decoded video before it is clamped, and the mean latent it is made from; decoded is
        what `off` makes of that."""
        mu = self.encode(video)
        return self._pixels(off(mu) if off else mu), mu

    def _pixels(self, z: Tensor, memory: Memory | None = None) -> Tensor:
        if not self.config.linear:
            return self._convolved(z, memory)
        first = memory is None or memory.first
        told, seen = without_seams(
            self.blocks.decode(z, first=first), self.config.stride, memory.past.get(self.blocks) if memory else None
        )
        if memory is not None:
            memory.past[self.blocks] = seen
        # Of what convolutions see all components are alike in size.
        return told + self._convolved((z / self.blocks.scale.view(1, -1, 1, 1, 1)).to(z.dtype), memory).to(told.dtype)

    def _convolved(self, z: Tensor, memory: Memory | None) -> Tensor:
        return unfold(self.decoder(self.conv2(z.movedim(1, -1)), memory), self.config.patch)

    def zero_residuals(self) -> None:
        """Start from scratch with each residual block and attention adding nothing; in the residual form, the shortcuts
        alone then carry a blurred picture, and training begins from there. Of a linear codec the decoder adds nothing."""
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                last = module.residual[-1]
            elif isinstance(module, AttentionBlock):
                last = module.proj
            else:
                continue
            for parameter in last.parameters():
                nn.init.zeros_(parameter)
        if self.config.linear:
            for parameter in self.decoder.head[-1].parameters():
                nn.init.zeros_(parameter)

    def encoding(self) -> list[nn.Module]:
        """What makes latents of pixels."""
        return [self.blocks] if self.config.linear else [self.encoder, self.conv1]

    def _check(self, video: Tensor) -> None:
        time, high, wide = self.config.stride
        if video.dim() != 5 or video.shape[1] != self.config.pixels:
            raise ValueError(f"got a video of shape {tuple(video.shape)}; expected [b {self.config.pixels} t h w]")
        t, h, w = video.shape[2:]
        if t % time != 1 % time or h % high or w % wide:
            raise ValueError(f"got {t} frames of {h}x{w}; expected 1 + {time}k frames, multiples of {high}x{wide}")


def fold(video: Tensor, patch: int) -> Tensor:
    """`[b c t h w]` to `[b t h/patch w/patch c*patch^2]`; channels ordered (c, column in patch, row in patch)."""
    x = video.unflatten(4, (-1, patch)).unflatten(3, (-1, patch))  # [b c t H row W column]
    return x.permute(0, 2, 3, 5, 1, 6, 4).flatten(4)


def unfold(x: Tensor, patch: int) -> Tensor:
    """The inverse of `fold`: `[b t H W c*patch^2]` to `[b c t H*patch W*patch]`."""
    x = x.unflatten(-1, (-1, patch, patch))  # [b t H W c column row]
    return x.permute(0, 4, 1, 2, 6, 3, 5).flatten(5).flatten(3, 4)
