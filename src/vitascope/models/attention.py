"""Attention (Vaswani et al. 2017) with normed queries and keys, and rotary positions on a grid of time, height and width."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.models.layers import RMSNorm, compute_dtype, project, wide


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(c)) v. q [b n l c], k and v [b n m c] -> [b n l c].

    `mask` [b m], True where a key takes part. A row without any key gets zeros: nothing was said, so nothing is heard.
    `causal`: query i sees the keys 0 to i (then l = m).
    """
    bias = None
    if mask is not None:
        # A finite floor and values of zero, not -inf: the same answer from every kernel, and no nan where no key is left.
        hidden = ~mask[:, None, None, :]
        bias = torch.zeros(hidden.shape, dtype=q.dtype, device=q.device).masked_fill(hidden, torch.finfo(q.dtype).min)
        v = v.masked_fill(hidden.transpose(2, 3), 0.0)
    if causal:
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
        floor = torch.finfo(q.dtype).min
        bias = (torch.zeros((), dtype=q.dtype, device=q.device) if bias is None else bias).masked_fill(later, floor)
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = (q * (1 / math.sqrt(q.shape[-1]))) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(-1) @ v


def rotary_split(width: int) -> tuple[int, int, int]:
    """How many of a head's `width` channels turn with time, height and width: Wan's split, for any even width."""
    if width % 2 or width < 6:
        raise ValueError(f"rotary positions need an even head width of at least 6, got {width}")
    side = 2 * (width // 6)
    return width - 2 * side, side, side


@functools.lru_cache(maxsize=64)
def rotary_table(grid: tuple[int, int, int], width: int, device: torch.device) -> Tensor:
    """The turns e^{i p theta_j} (Su et al. 2021, arXiv:2104.09864, eq. 13 and 15) of each token of `grid`: complex64 [l width/2].

    Angles in float64. Not a buffer: it belongs to a shape, not to a set of weights.
    """
    turns = []
    for axis, (count, channels) in enumerate(zip(grid, rotary_split(width))):
        theta = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        angle = torch.arange(count, dtype=torch.float64)[:, None] * theta
        shape = [1, 1, 1, channels // 2]
        shape[axis] = count
        turns.append(torch.polar(torch.ones_like(angle), angle).reshape(shape).expand(*grid, -1))
    return torch.cat(turns, dim=-1).flatten(0, 2).to(torch.complex64).to(device)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the pairs (2j, 2j + 1) of each head: x [b l n c], table [l c/2] -> [b l n c], in float32 at least."""
    x = wide(x)
    pairs = x.unflatten(-1, (-1, 2))
    if x.device.type == "cpu":  # a complex product is one pass over memory, the real form five
        return torch.view_as_real(torch.view_as_complex(pairs) * table[:, None]).flatten(-2)
    (a, b), (cos, sin) = pairs.unbind(-1), torch.view_as_real(table)[:, None].unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Self-attention, or cross-attention where a `context` is given. Queries and keys are normed over the whole width, before the
    split into heads; with `image`, image tokens have their own keys and values, and the two answers add (Wan 2.1, `cross_attn`)."""

    def __init__(self, width: int, heads: int, *, eps: float = 1e-6, qk_norm: bool = True, image: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention: heads must divide the width, got {heads} heads and width {width}")
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.o = nn.Linear(width, width)
        self.norm_q = RMSNorm(width, eps) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width, eps) if qk_norm else nn.Identity()
        if image:
            self.k_img = nn.Linear(width, width)
            self.v_img = nn.Linear(width, width)
            self.norm_k_img = RMSNorm(width, eps) if qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        image: Tensor | None = None,
        rotary: Tensor | None = None,
    ) -> Tensor:
        """x [b l d], context [b m d], mask [b m], image [b n d], rotary [l c/2] -> [b l d] in the compute dtype."""
        x = x.to(compute_dtype(self.q.weight))  # once, not once for each of q, k and v
        source = x if context is None else context.to(x.dtype)
        q = self._heads(self.norm_q(project(self.q, x)), rotary, x.dtype)
        k = self._heads(self.norm_k(project(self.k, source)), rotary, x.dtype)
        y = attend(q, k, self._heads(project(self.v, source)), mask)
        if image is not None:
            k = self._heads(self.norm_k_img(project(self.k_img, image)), None, x.dtype)
            y = y + attend(q, k, self._heads(project(self.v_img, image)))
        return project(self.o, y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, rotary: Tensor | None = None, dtype: torch.dtype | None = None) -> Tensor:
        x = x.unflatten(-1, (self.heads, -1))
        if rotary is not None:
            x = rotate(x, rotary)
        return x.to(dtype or x.dtype).transpose(1, 2)
