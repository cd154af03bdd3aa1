"""UMT5 (Chung et al. 2023, arXiv:2304.09151): the text encoder that Wan reads, under the official file's names.

T5's encoder (Raffel et al. 2020, arXiv:1910.10683) with a table of relative positions in every layer, where T5 has one for
all. Logits are not divided by sqrt(d): T5 was trained with that factor inside its weights. It is never trained here, so its
weights are meant to come from a file; built on `meta` it costs nothing.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.models.layers import Linear, RMSNorm, autocasting, wide


@dataclass(frozen=True)
class UMT5Config:
    """The sizes of an encoder; as they stand, those of UMT5-XXL (5,680,910,336 parameters)."""

    vocab: int = 256384
    width: int = 4096
    heads: int = 64
    head_width: int = 64
    ffn: int = 10240
    layers: int = 24
    buckets: int = 32
    """How many kinds of distance a layer tells apart, half of them for what comes later in the text."""
    furthest: int = 128
    """Tokens; whatever is further is as far."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        least = min(self.vocab, self.width, self.heads, self.head_width, self.ffn, self.layers)
        if least < 1 or self.buckets < 4 or self.buckets % 4 or self.furthest <= self.buckets // 4:
            raise ValueError(
                f"UMT5Config: sizes must be positive, buckets a multiple of 4, furthest above buckets / 4, got {self}"
            )


def bucket(distance: Tensor, buckets: int = 32, furthest: int = 128) -> Tensor:
    """The kind, 0 to buckets - 1, of each whole distance (the key's place less the query's).

    Half of the kinds is for distances above 0. In each half the first half is exact, and the rest widens with the logarithm
    up to `furthest` (Raffel et al. 2020, section 2.1). In float32 and on the CPU: that is how the weights were trained, and a
    logarithm of another device may fall on the other side of a border.
    """
    half = buckets // 2
    exact = half // 2
    size = distance.abs().cpu()
    share = torch.log(size.clamp(min=1).float() / exact) / math.log(furthest / exact)
    far = (exact + (share * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(size < exact, size, far) + half * (distance.cpu() > 0)


@lru_cache(maxsize=16)
def _table(length: int, buckets: int, furthest: int, device: torch.device) -> Tensor:
    """The kinds [l l] between all places of a text: rows are queries."""
    place = torch.arange(length, device="cpu")
    return bucket(place[None, :] - place[:, None], buckets, furthest).to(device)


class RelativePositions(nn.Module):
    """What each head of one layer adds to its logits for each kind of distance."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.buckets, config.heads)

    def forward(self, length: int) -> Tensor:
        """The bias [n l l], in float32 at least."""
        weight = self.embedding.weight
        kinds = _table(length, self.config.buckets, self.config.furthest, weight.device)
        return wide(weight)[kinds].permute(2, 0, 1)


class Attention(nn.Module):
    """softmax(q k^T + bias) v: no division by sqrt(d), no biases; logits, softmax and the sum in float32 at least."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.q = Linear(config.width, inner, bias=False)
        self.k = Linear(config.width, inner, bias=False)
        self.v = Linear(config.width, inner, bias=False)
        self.o = Linear(inner, config.width, bias=False)

    def forward(self, x: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        """x [b l d], bias [n l l], mask [b l] True = attended -> [b l d]."""
        q, k, v = (wide(part(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        kind = x.device.type
        # The logits reach far, for want of the division; bf16 would round them by whole tenths. They are little of the work.
        with torch.autocast(kind, enabled=False) if autocasting(kind) else nullcontext():
            logits = q @ k.mT + bias
            if mask is not None:
                logits = logits.masked_fill(~mask[:, None, None, :], torch.finfo(logits.dtype).min)
            y = logits.softmax(-1) @ v
        return self.o(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """fc2(fc1(x) gelu(gate(x))), the gated form (Shazeer 2020, arXiv:2002.05202, eq. 5). [b l d] -> [b l d]."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.gate = nn.Sequential(Linear(config.width, config.ffn, bias=False), nn.GELU(approximate="tanh"))
        self.fc1 = Linear(config.width, config.ffn, bias=False)
        self.fc2 = Linear(config.ffn, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(_bounded(self.fc1(x) * self.gate(x)))


class Block(nn.Module):
    """Attention and feed-forward on a residual stream in float32 at least. It needs nothing of its neighbours."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.norm1 = RMSNorm(config.width, config.eps)
        self.attn = Attention(config)
        self.norm2 = RMSNorm(config.width, config.eps)
        self.ffn = FeedForward(config)
        self.pos_embedding = RelativePositions(config)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [b l d], mask [b l] True = attended -> [b l d]."""
        x = x + _bounded(self.attn(self.norm1(x), self.pos_embedding(x.shape[1]), mask))
        return x + _bounded(self.ffn(self.norm2(x)))


class UMT5(nn.Module):
    """The whole encoder. See `forward`; its parts `token_embedding`, `blocks`, `norm` can be run one after the other."""

    def __init__(self, config: UMT5Config) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.eps)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """The states [b l width] of token ids [b l], in float32 at least; mask [b l] True = a real token, None: all are.

        Only distances count, so a text has the same states alone as it has with padding behind it that the mask hides.
        Raises ValueError for wrong shapes.
        """
        if tokens.ndim != 2 or tokens.shape[1] < 1:
            raise ValueError(f"tokens: expected [b l] with l >= 1, got {tuple(tokens.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != tokens.shape):
            raise ValueError(f"mask: expected bool {list(tokens.shape)}, got {mask.dtype} {list(mask.shape)}")
        x = wide(F.embedding(tokens, self.token_embedding.weight))
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x)


def _bounded(x: Tensor) -> Tensor:
    """`x` with infinities made finite in fp16, whose range this encoder's branches leave; every other dtype as it is."""
    if x.dtype != torch.float16:
        return x
    most = torch.finfo(x.dtype).max - 1000
    return x.clamp(-most, most)
