"""Attention (Vaswani et al. 2017, arXiv:1706.03762), and rotary positions on a grid of time, height and width."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.models.layers import Linear, RMSNorm, compute_dtype, wide

SCORES = 1 << 24
"""At most so many scores at once in the plain form: above it they fall out of the caches, and the time doubles."""


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(c)) v (eq. 1). q [b n l c], k and v [b n m c] -> [b n l c].

    `mask` [b m], True where a key takes part. A row without any key gets zeros: nothing was said, nothing is heard.
    `causal`: query i sees the keys 0 to i (then l = m).
    """
    bias, floor = None, torch.finfo(q.dtype).min
    if mask is not None:
        # A finite floor and values of zero, not -inf: every kernel agrees, and no nan comes where no key is left.
        hidden = ~mask[:, None, None, :]
        bias = torch.zeros(hidden.shape, dtype=q.dtype, device=q.device).masked_fill(hidden, floor)
        v = v.masked_fill(hidden.transpose(2, 3), 0.0)
    if causal:
        later = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).triu(1)
        bias = (q.new_zeros(()) if bias is None else bias).masked_fill(later, floor)
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        return _plain(q, k, v, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def _plain(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """The formula as it stands. In bf16 on a CPU two and a half times as fast as torch's kernel, trained or not."""
    q, k = q * (1 / math.sqrt(q.shape[-1])), k.transpose(-1, -2)
    rows = max(1, SCORES // (q.shape[0] * q.shape[1] * max(1, k.shape[-1])))
    outputs = []
    for start in range(0, q.shape[2], rows):
        scores = q[:, :, start : start + rows] @ k
        if bias is not None:
            scores = scores + (bias if bias.shape[-2] == 1 else bias[:, :, start : start + rows])
        outputs.append(scores.softmax(-1) @ v)
    return outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)


def rotary_split(width: int) -> tuple[int, int, int]:
    """How many of a head's `width` channels turn with time, height and width (Wan's split: 128 is 44 + 42 + 42).

    Raises ValueError unless the width is even and at least 6.
    """
    if width % 2 or width < 6:
        raise ValueError(f"rotary positions need an even head width of at least 6, got {width}")
    side = 2 * (width // 6)
    return width - 2 * side, side, side


@functools.lru_cache(maxsize=64)
def rotary_table(grid: tuple[int, int, int], width: int, device: torch.device) -> Tensor:
    """(cos, sin) of each token's angles p theta_j (Su et al. 2021, arXiv:2104.09864, eq. 15): float32 [l width/2 2].

    Angles in float64. Kept here and not as a buffer: it belongs to a shape, not to a set of weights.
    """
    angles = []
    for axis, (count, channels) in enumerate(zip(grid, rotary_split(width))):
        theta = 10000.0 ** (-torch.arange(0, channels, 2, dtype=torch.float64) / channels)
        shape = [1, 1, 1, channels // 2]
        shape[axis] = count
        angle = torch.arange(count, dtype=torch.float64)[:, None] * theta
        angles.append(angle.reshape(shape).expand(*grid, -1))
    angle = torch.cat(angles, dim=-1).flatten(0, 2)
    return torch.stack((angle.cos(), angle.sin()), dim=-1).to(device, torch.float32)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Turn the pairs (2j, 2j + 1) of each head by its token's angles, in float32 at least (eq. 34).

    x [b l n c], table [l c/2 2] -> [b l n c].
    """
    pairs = wide(x).unflatten(-1, (-1, 2))
    if x.device.type == "cpu" and not torch.compiler.is_compiling():
        # A pair is a complex number and a turn one product: a single pass over memory, where the real form takes five.
        turns = torch.view_as_complex(table)[:, None]
        return torch.view_as_real(torch.view_as_complex(pairs) * turns).flatten(-2)
    (a, b), (cos, sin) = pairs.unbind(-1), table[:, None].unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)


class Attention(nn.Module):
    """Self-attention, or cross-attention where a `context` is given.

    Queries and keys are normed (the idea is in Dehghani et al. 2023, arXiv:2302.05442, section 2) over the whole
    width, before the split into heads. With `image`, image tokens have keys and values of their own, and the two
    answers add before the last map (Wan 2.1).
    """

    def __init__(self, width: int, heads: int, *, eps: float = 1e-6, qk_norm: bool = True, image: bool = False) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"attention: heads must divide the width, got {heads} heads and width {width}")
        self.heads = heads
        self.q = Linear(width, width)
        self.k = Linear(width, width)
        self.v = Linear(width, width)
        self.o = Linear(width, width)
        self.norm_q = RMSNorm(width, eps) if qk_norm else nn.Identity()
        self.norm_k = RMSNorm(width, eps) if qk_norm else nn.Identity()
        if image:
            self.k_img = Linear(width, width)
            self.v_img = Linear(width, width)
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
        """x [b l d], context [b m d], mask [b m], image [b n d], rotary [l c/2 2] -> [b l d] in the compute dtype."""
        dtype = compute_dtype(self.q.weight)
        x = x.to(dtype)  # once, not once for each of q, k and v
        source = x if context is None else context.to(dtype)
        q = self._heads(self.norm_q(self.q(x)), dtype, rotary)
        k = self._heads(self.norm_k(self.k(source)), dtype, rotary)
        y = attend(q, k, self._heads(self.v(source), dtype), mask)
        if image is not None:
            k = self._heads(self.norm_k_img(self.k_img(image)), dtype)
            y = y + attend(q, k, self._heads(self.v_img(image), dtype))
        return self.o(y.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor, dtype: torch.dtype, rotary: Tensor | None = None) -> Tensor:
        """[b l d] -> [b n l c], turned by its position where a table is given."""
        x = x.unflatten(-1, (self.heads, -1))
        if rotary is not None:
            x = rotate(x, rotary)
        return x.to(dtype).transpose(1, 2)
