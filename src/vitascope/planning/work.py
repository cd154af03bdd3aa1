"""How much is computed, and how much memory is alive at once while it is: of this house's own code, from sizes alone.

The memory of the network and of the codec is counted as their modules allocate it, tensor by tensor; a test runs them and
watches. What is counted is the largest sum of tensors that are alive at one moment, weights apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from vitascope.planning.sizes import Sizes, Tower

if TYPE_CHECKING:
    from vitascope.models.vae import VAEConfig

SCORES = 1 << 24
"""As in `models.attention`: so many attention scores at once where they are laid out (bf16 on a CPU)."""


@dataclass(frozen=True)
class Forward:
    """One forward of the network, one row of tokens: operations in its maps, in self-attention and in cross-attention."""

    linear: float
    attention: float
    cross: float

    @property
    def flops(self) -> float:
        """All of them; a multiplication and its addition are two."""
        return self.linear + self.attention + self.cross


def forward(sizes: Sizes, tokens: int) -> Forward:
    """The network's operations for a row of `tokens`."""
    config = sizes.network
    d, blocks = config.width, config.layers + sizes.hints
    image = 0 if config.image_width is None else config.image_tokens or 257
    context = sizes.text_tokens + image
    per_token = 4 * d * d + 2 * d * d + 2 * d * config.ffn
    linear = blocks * (2.0 * tokens * per_token + 2.0 * context * 2 * d * d)
    linear += sizes.hints * 2.0 * tokens * d * d
    patch = config.patch[0] * config.patch[1] * config.patch[2]
    linear += 2.0 * tokens * d * patch * (config.in_channels + config.out_channels + (96 if sizes.hints else 0))
    linear += 2.0 * sizes.text_tokens * (config.text_width * d + d * d)
    return Forward(linear, blocks * 4.0 * tokens**2 * d, blocks * 4.0 * tokens * context * d)


def network_memory(
    sizes: Sizes, tokens: int, *, rows: int = 1, bytes_: int = 2, cpu: bool = True, frames: int = 1
) -> int:
    """Bytes alive at the fullest moment of a forward of `rows` rows, weights apart.

    bytes_: of the compute dtype. frames: above 1 where each latent frame has a clock of its own, whose table then lies over
    all tokens. The residual stream, norms and modulation are float32.
    """
    config = sizes.network
    u, f = rows * tokens * config.width, rows * tokens * config.ffn
    narrow = bytes_ < 4
    given = bytes_ * u  # the input of q, k and v, or of the feed-forward layer
    normed = (4 * u if narrow else 0) + 4 * u  # RMSNorm: widened, and its squares; or the answer
    plain = cpu and bytes_ == 2
    scores = 2 * 2 * max(SCORES, rows * config.heads * tokens) if plain else 0
    scores = min(scores, 4 * rows * config.heads * tokens * tokens)
    # `attend`, beside q, k and v. In the plain form: q scaled, two sets of scores, the pieces of the answer, and v once more
    # where there are rows to join for the product; in the end the pieces and the whole.
    pieces = (3 if rows > 1 else 2) * bytes_ * u + scores
    answer = max(pieces, 3 * bytes_ * u + scores // 2) if plain else 2 * bytes_ * u
    heads = 4 * u if cpu else 8 * u  # turning by position: one product of complex numbers, or its parts
    x, both = 4 * u, 8 * u  # the stream; and the one that the block was given, which its caller holds until the end
    moments = {
        "the norm of k": x + given + 2 * bytes_ * u + normed,
        "positions of k": x + given + bytes_ * u + 4 * u + heads,
        "self-attention": x + given + 3 * bytes_ * u + answer,
        "the norm of the question": both + given + bytes_ * u + normed,
        "feed-forward": both + given + 2 * bytes_ * f,
        "the sum after it": both + 8 * u,
    }
    given = config.in_channels * config.patch[0] * config.patch[1] * config.patch[2]  # a token, before it is embedded
    steady = 4 * rows * tokens * given + rows * (
        sizes.text_tokens * config.width * bytes_ + tokens * (config.width // config.heads) * 4
    )
    if frames > 1:
        steady += 4 * 6 * u
    if sizes.hints:
        steady += sizes.hints * bytes_ * u + 4 * u
    weights = 4 * 6 * config.width**2 if narrow else 0  # the widest of the maps that run in float32, widened
    return steady + max(max(moments.values()), weights)


@dataclass
class _Walk:
    """Counts one chunk's way through the decoder: what the caches hold, the fullest moment, operations by width."""

    bytes_: int
    cached: int = 0
    peak: int = 0
    flops: dict[int, float] | None = None

    def __post_init__(self) -> None:
        self.flops = {}

    def moment(self, alive: float) -> None:
        self.peak = max(self.peak, round(alive * self.bytes_))

    def work(self, width: int, flops: float) -> None:
        assert self.flops is not None
        self.flops[width] = self.flops.get(width, 0.0) + flops

    def conv(self, t: int, area: int, inputs: int, outputs: int, held: float) -> None:
        """A causal 3x3x3 convolution, whose input is held: two frames go in front, and two are kept for the next chunk."""
        frame = area * inputs
        self.cached += 2 * frame * self.bytes_
        self.moment(held + t * frame + (t + 2) * frame + 2 * frame + t * area * outputs)
        self.work(max(inputs, outputs), 2.0 * t * area * inputs * outputs * 27)

    def block(self, t: int, area: int, inputs: int, outputs: int, held: float) -> None:
        """A residual block."""
        held += t * area * inputs + (t * area * outputs if inputs != outputs else 0)
        self.conv(t, area, inputs, outputs, held)
        self.moment(held + 2 * t * area * outputs)
        self.conv(t, area, outputs, outputs, held)
        self.moment(held + 2 * t * area * outputs)


@dataclass(frozen=True)
class Decoding:
    """One later latent frame through the decoder: operations by the width of the features, bytes at the fullest moment."""

    flops: dict[int, float]
    memory: int


@lru_cache(4096)  # a plan asks for the same tiles thousands of times
def decoding(config: VAEConfig, height: int, width: int, bytes_: int = 4) -> Decoding:
    """What the codec's decoder does and holds for a latent frame of `height` x `width`, and what its caches hold."""
    walk = _Walk(bytes_)
    base = config.decoder_base or config.base
    widths = [base * m for m in (config.mults[-1], *reversed(config.mults))]
    doubles = tuple(reversed(config.temporal))
    t, area, top = 1, height * width, widths[0]
    walk.conv(t, area, config.z, top, 0)
    for _ in range(2):
        walk.block(t, area, top, top, 0)
    walk.work(top, 2.0 * t * area * 4 * top * top + 4.0 * t * area**2 * top)
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        start = inputs // 2 if i > 0 and not config.residual else inputs
        held = t * area * inputs if config.residual else 0
        for j in range(config.blocks + 1):
            walk.block(t, area, start if j == 0 else outputs, outputs, held if j else 0)
        if i == len(doubles):
            break
        final = outputs if config.residual else outputs // 2
        if doubles[i]:
            walk.cached += 2 * area * outputs * bytes_
            walk.moment(held + (2 * t + 4) * area * outputs + 2 * 2 * t * area * outputs)
            walk.work(outputs, 2.0 * t * area * outputs * 2 * outputs * 3)
            t *= 2
        walk.moment(held + t * area * outputs + t * 4 * area * final)
        if config.residual:  # the level's input, enlarged, and the sum
            walk.moment(held + 3 * t * 4 * area * final)
        walk.work(outputs, 2.0 * t * 4 * area * 4 * outputs * final)
        area *= 4
    pixels = config.pixels * config.patch**2
    walk.conv(t, area, widths[-1], pixels, 0)
    if config.linear:
        walk.work(top, 2.0 * height * width * config.z * _block_size(config))
    assert walk.flops is not None
    copies = 6 if config.linear else 3  # the blocks themselves, as pixels, and without seams
    return Decoding(walk.flops, walk.peak + walk.cached + copies * 4 * t * area * pixels)


@lru_cache(4096)
def encoding(config: VAEConfig, height: int, width: int, bytes_: int = 4) -> Decoding:
    """The same of the encoder, for one chunk of as many frames as make one later latent frame of `height` x `width`."""
    walk = _Walk(bytes_)
    if config.linear:
        block = _block_size(config)
        flops = {(config.decoder_base or config.base) * config.mults[-1]: 2.0 * height * width * config.z * block}
        return Decoding(flops, 4 * height * width * (2 * block + 4 * config.z))
    widths = [config.base * m for m in (1, *config.mults)]
    t, scale = config.stride[0], 4 ** len(config.temporal)
    area = height * width * scale
    walk.conv(t, area, config.pixels * config.patch**2, widths[0], 0)
    first = t * area * widths[0]  # what the encoder's caller of its levels holds while they run
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        held = first + (t * area * inputs if config.residual and i else 0)
        for j in range(config.blocks):
            walk.block(t, area, inputs if j == 0 else outputs, outputs, held if i or j else 0)
        if i == len(config.temporal):
            break
        walk.moment(held + 2.2 * t * area * outputs)
        walk.work(outputs, 2.0 * t * area / 4 * outputs * outputs * 9)
        area //= 4
        if config.temporal[i]:
            walk.cached += area * outputs * bytes_
            t //= 2
            walk.work(outputs, 2.0 * t * area * outputs * outputs * 3)
    top = widths[-1]
    for _ in range(2):
        walk.block(t, area, top, top, 0)
    walk.work(top, 2.0 * t * area * 4 * top * top + 4.0 * t * area**2 * top)
    walk.conv(t, area, top, 2 * config.z, 0)
    assert walk.flops is not None
    return Decoding(walk.flops, walk.peak + walk.cached)


def codec_parameters(config: VAEConfig) -> int:
    """Of the whole autoencoder."""
    base = config.decoder_base or config.base
    down = [config.base * m for m in (1, *config.mults)]
    up = [base * m for m in (config.mults[-1], *reversed(config.mults))]
    total = config.z * (config.z + 1)
    if config.linear:  # its components are no parameters, and take their room
        total += config.z * (_block_size(config) + 1) + _block_size(config)
    else:
        total += 2 * config.z * (2 * config.z + 1) + _encoder(config, down)
    total += _conv(config.z, up[0]) + _middle(up[0]) + up[-1] + _conv(up[-1], config.pixels * config.patch**2)
    doubles = tuple(reversed(config.temporal))
    for i, (inputs, outputs) in enumerate(pairwise(up)):
        total += _blocks(inputs // 2 if i > 0 and not config.residual else inputs, outputs, config.blocks + 1)
        if i < len(doubles):
            final = outputs if config.residual else outputs // 2
            total += outputs * final * 9 + final
            total += outputs * 2 * outputs * 3 + 2 * outputs if doubles[i] else 0
    return total


def _encoder(config: VAEConfig, down: list[int]) -> int:
    total = (
        _conv(config.pixels * config.patch**2, down[0]) + _middle(down[-1]) + down[-1] + _conv(down[-1], 2 * config.z)
    )
    for i, (inputs, outputs) in enumerate(pairwise(down)):
        total += _blocks(inputs, outputs, config.blocks)
        if i < len(config.temporal):
            total += outputs * outputs * 9 + outputs
            total += outputs * outputs * 3 + outputs if config.temporal[i] else 0
    return total


def _block_size(config: VAEConfig) -> int:
    """Values of the pixels that become one latent of a linear codec."""
    return config.pixels * math.prod(config.stride)


def _conv(inputs: int, outputs: int) -> int:
    return inputs * outputs * 27 + outputs


def _block(inputs: int, outputs: int) -> int:
    shortcut = inputs * outputs + outputs if inputs != outputs else 0
    return inputs + outputs + _conv(inputs, outputs) + _conv(outputs, outputs) + shortcut


def _blocks(inputs: int, outputs: int, count: int) -> int:
    return sum(_block(inputs if j == 0 else outputs, outputs) for j in range(count))


def _middle(width: int) -> int:
    return 2 * _block(width, width) + width + 4 * width * width + 4 * width


def tower_flops(tower: Tower, tokens: int) -> float:
    """Of one text, or one picture."""
    inner = tower.heads * tower.head
    maps = 4 * tower.width * inner + (3 if tower.gated else 2) * tower.width * tower.ffn
    return tower.layers * (2.0 * tokens * maps + 4.0 * tokens**2 * inner)


def tower_memory(tower: Tower, tokens: int, bytes_: int) -> int:
    """Bytes alive in a tower, weights apart: the stream and its norm, q, k, v, scores in float32, the feed-forward layer."""
    inner = tower.heads * tower.head
    attention = 4 * bytes_ * tokens * inner + 2 * 4 * tower.heads * tokens**2
    return 3 * 4 * tokens * tower.width + max(attention, 3 * bytes_ * tokens * tower.ffn)
