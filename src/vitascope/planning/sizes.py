"""What a system is made of, in numbers alone, and how many parameters that is. Needs no weights, and no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vitascope.models.clip import CLIPConfig
    from vitascope.models.dit import DiTConfig
    from vitascope.models.vae import VAEConfig


@dataclass(frozen=True)
class Tower:
    """A transformer encoder: T5's text tower or CLIP's image tower."""

    width: int
    layers: int
    heads: int
    head: int
    """Width of one head; heads * head is T5's inner width."""
    ffn: int
    length: int
    """The most tokens that it reads."""
    gated: bool = False
    """Whether the feed-forward layer has a second map, that gates it (T5)."""
    vocab: int = 0
    extra: int = 0
    """Parameters outside the layers and the table of words."""
    bias: bool = True

    @property
    def layer_parameters(self) -> int:
        """Of one layer."""
        inner = self.heads * self.head
        maps = 4 * self.width * inner + (3 if self.gated else 2) * self.width * self.ffn
        if not self.bias:  # T5: two norms of a gain each, and a table of 32 relative positions
            return maps + 2 * self.width + 32 * self.heads
        return maps + 3 * inner + self.width + self.ffn + self.width + 4 * self.width

    @property
    def parameters(self) -> int:
        """Of the whole tower."""
        return self.vocab * self.width + self.layers * self.layer_parameters + self.extra


@dataclass(frozen=True)
class Sizes:
    """A whole system. `hints`: VACE's further blocks; `image`: the tower of models that begin with a picture."""

    name: str
    network: DiTConfig
    codec: VAEConfig
    text: Tower
    text_tokens: int
    """How many tokens of text the network attends to (Wan: 512, padded)."""
    image: Tower | None = None
    hints: int = 0
    stored: int | None = None
    """Bytes that a weight takes where it is not what the plan's dtype says (our bundles: 4, whatever they compute in)."""
    codec_bytes: int = 4
    """Of a number in the codec while it computes: Wan's runs in float32, ours in bf16 where that is fast."""
    own_clock: bool = False
    """Whether the first latent frame of a film that begins with a picture has a clock of its own, as in ours; Wan's networks
    are told of the picture in channels."""

    @property
    def block_parameters(self) -> int:
        """Of one block of the network; of VACE's first, the largest, where there are such."""
        config = self.network
        d = config.width
        cross = 6 if config.image_width is not None else 4
        attention = (4 + cross) * (d * d + d) + (4 if config.qk_norm else 0) * d
        if config.image_width is not None and config.qk_norm:
            attention += d
        ffn = 2 * d * config.ffn + config.ffn + d
        return attention + ffn + 6 * d + (2 * d if config.cross_norm else 0)

    @property
    def outside_parameters(self) -> int:
        """Of the network beside its blocks."""
        config = self.network
        d, patch = config.width, math.prod(config.patch)
        total = d * config.in_channels * patch + d
        total += d * config.text_width + d + d * d + d
        total += d * config.freq_width + d + d * d + d + 6 * (d * d + d)
        total += (d + 1) * patch * config.out_channels + 2 * d
        total += config.place_width * d
        if config.image_width is not None:
            w = config.image_width
            total += 2 * w + w * w + w + d * w + d + 2 * d + (config.image_tokens or 0) * w
        if self.hints:
            total += d * 96 * patch + d
        return total

    @property
    def network_parameters(self) -> int:
        """Of the network, VACE's blocks and their maps included."""
        d = self.network.width
        hints = self.hints * (self.block_parameters + d * d + d) + (d * d + d if self.hints else 0)
        return self.outside_parameters + self.network.layers * self.block_parameters + hints

    @property
    def largest_block(self) -> int:
        """Parameters of the largest block that is streamed."""
        d = self.network.width
        return self.block_parameters + (2 * (d * d + d) if self.hints else 0)

    def tokens(self, frames: int, height: int, width: int) -> int:
        """How many tokens a film of this shape is to the network."""
        t, h, w = self.latent(frames, height, width)
        pt, ph, pw = self.network.patch
        return (t // pt) * (h // ph) * (w // pw)

    def latent(self, frames: int, height: int, width: int) -> tuple[int, int, int]:
        """Frames, rows and columns of the film's latent; what does not divide is rounded down."""
        st, sh, sw = self.codec.stride
        return 1 + (frames - 1) // st, height // sh, width // sw


def of_clip(name: str, network: DiTConfig, codec: VAEConfig, clip: CLIPConfig, codec_bytes: int) -> Sizes:
    """One of our bundles: the text tower of our CLIP, weights in float32, a codec that computes as the network does."""
    w = clip.text_width
    extra = clip.text_length * w + 2 * w + w * clip.embed
    tower = Tower(
        w, clip.text_layers, clip.text_heads, w // clip.text_heads, clip.text_ffn or 4 * w, clip.text_length,
        vocab=clip.vocab, extra=extra,
    )  # fmt: skip
    return Sizes(name, network, codec, tower, clip.text_length, stored=4, codec_bytes=codec_bytes, own_clock=True)


def _shapes() -> dict[str, Sizes]:
    from vitascope.models.dit import DiTConfig
    from vitascope.models.vae import VAEConfig

    # the config.json files of Wan-AI's repositories; UMT5-XXL; CLIP ViT-H/14
    umt5 = Tower(4096, 24, 64, 64, 10240, 512, gated=True, vocab=256384, extra=4096, bias=False)
    vit = Tower(1280, 32, 16, 80, 5120, 257, extra=1280 * 3 * 14 * 14 + 1280 + 257 * 1280 + 4 * 1280 + 1280 * 1024)
    small = DiTConfig(width=1536, heads=12, layers=30, ffn=8960)
    large = DiTConfig(width=5120, heads=40, layers=40, ffn=13824)
    begun = replace(large, in_channels=36, image_width=1280)
    both = replace(begun, image_tokens=514)
    codec = VAEConfig()
    rows = {
        "wan-1.3b": Sizes("wan-1.3b", small, codec, umt5, 512),
        "wan-14b": Sizes("wan-14b", large, codec, umt5, 512),
        "wan-i2v-14b": Sizes("wan-i2v-14b", begun, codec, umt5, 512, image=vit),
        "wan-flf2v-14b": Sizes("wan-flf2v-14b", both, codec, umt5, 512, image=vit),
        "wan-vace-1.3b": Sizes("wan-vace-1.3b", small, codec, umt5, 512, hints=15),
        "wan-vace-14b": Sizes("wan-vace-14b", large, codec, umt5, 512, hints=8),
    }
    return rows


SHAPE_NAMES = ("wan-1.3b", "wan-14b", "wan-i2v-14b", "wan-flf2v-14b", "wan-vace-1.3b", "wan-vace-14b")
"""The published shapes that can be asked about without weights."""


def shape(name: str) -> Sizes:
    """A published shape by its name. Raises KeyError."""
    return _shapes()[name]
