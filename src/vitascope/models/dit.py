"""The video transformer: Wan 2.1's architecture (arXiv:2503.20314, section 4.2) at any size, under its names.

Full attention over all tokens of a clip, cross-attention to the text, and one time embedding for all blocks, which each
shifts by a table of its own (adaLN-single; PixArt-alpha, Chen et al. 2023, arXiv:2310.00426, section 2.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitascope.models.attention import Attention, rotary_split, rotary_table
from vitascope.models.layers import (
    LayerNorm,
    Linear,
    WideLinear,
    compute_dtype,
    modulate,
    patchify,
    sinusoid,
    unpatchify,
    wide,
    wide_linear,
)

WAVES = 3
"""Waves along each axis of a film that tell a token its place."""
PLACES = "place_embedding.weight"
"""One of two tensors for which Wan's own transformer has no name. It begins with zeros, so that nothing changes yet."""

DEVIATION = "deviation"
"""The other: the standard deviation of each channel of the latents, for a network that tells priors."""


@dataclass(frozen=True)
class DiTConfig:
    """The sizes of a transformer. Wan 2.1 T2V-1.3B is DiTConfig(width=1536, heads=12, layers=30, ffn=8960)."""

    width: int
    heads: int
    layers: int
    ffn: int
    in_channels: int = 16
    out_channels: int = 16
    patch: tuple[int, int, int] = (1, 2, 2)
    text_width: int = 4096
    freq_width: int = 256
    image_width: int | None = None
    """Width of image tokens (1280 for Wan's image-to-video models); None: the model takes none."""
    image_tokens: int | None = None
    """Number of image tokens with a learned position (514 for Wan's first-and-last-frame model); None: no positions."""
    eps: float = 1e-6
    qk_norm: bool = True
    cross_norm: bool = True
    prior: bool = False
    """Whether it tells of each value the Gaussian that it comes from, mean and log deviation one behind the other in channels,
    and not the answer itself (`Diffusion`)."""
    places: bool = False
    """Whether tokens are told where in the film they are; rotary positions tell only how far they are from each other."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"DiTConfig: heads must divide width, got heads {self.heads} and width {self.width}")
        rotary_split(self.width // self.heads)
        if self.image_tokens is not None and self.image_width is None:
            raise ValueError("DiTConfig: image_tokens needs image_width, got None")

    @property
    def place_width(self) -> int:
        """Numbers that tell a token its place: a sine and a cosine of each wave along three axes, or none."""
        return 6 * WAVES if self.places else 0


Told = tuple[Tensor, Tensor, Tensor | None, Tensor | None, Tensor]
"""What all blocks are told beside their tokens: time, context, mask, image, rotary table, as `Block.forward` has them."""


def along(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Where n equal parts of an axis have their middles, [n], between its edges at -1 and 1; a single part is in the middle."""
    return (torch.arange(n, dtype=torch.float32, device=device) + 0.5) * (2 / n) - 1


def places(grid: tuple[int, int, int], device: torch.device, within: Tensor | None = None) -> Tensor:
    """Where the tokens of a grid are in their film, as waves, [l 6 * WAVES]: tokens in the order (t, h, w), w fastest.

    Along each axis u goes from -1 to 1 between the film's edges, whatever its size or length (a single frame is its middle),
    and the waves are sin(k pi u / 2) and cos(k pi u / 2) for k = 1, 2, 3: the first sine alone tells one side from the other.
    At t = 1 all tokens look alike, and attention that knows nothing but distances cannot tell a film's left from its right,
    or its beginning from its end. With `within` [b t + h + w] the grid is a piece of a film that goes on beyond it, in which
    its frames, rows and columns are at those u, and the waves are [b l 6 * WAVES].
    """
    turns = torch.arange(1, WAVES + 1, dtype=torch.float32, device=device) * (math.pi / 2)

    def waves(u: Tensor) -> Tensor:
        angle = u[..., None] * turns
        return torch.cat((angle.sin(), angle.cos()), dim=-1)

    t, h, w = [along(n, device) for n in grid] if within is None else within.to(device).split(grid, dim=-1)
    shape = (*t.shape[:-1], *grid, 2 * WAVES)
    joined = (
        waves(t)[..., :, None, None, :].expand(shape),
        waves(h)[..., None, :, None, :].expand(shape),
        waves(w)[..., None, None, :, :].expand(shape),
    )
    return torch.cat(joined, dim=-1).flatten(-4, -2)


def embed_patches(x: Tensor, embedding: nn.Conv3d) -> Tensor:
    """[b c t h w] -> tokens [b l d]: a convolution whose stride is its kernel, as the matrix product it is; in float32."""
    pt, ph, pw = embedding.kernel_size
    return wide_linear(patchify(x, (pt, ph, pw)), embedding.weight.flatten(1), embedding.bias)


class Block(nn.Module):
    """Self-attention and feed-forward, shifted, scaled and gated by time; between them cross-attention to the text."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d, eps = config.width, config.eps
        self.norm1 = LayerNorm(d, eps, elementwise_affine=False)
        self.self_attn = Attention(d, config.heads, eps=eps, qk_norm=config.qk_norm)
        self.norm3 = LayerNorm(d, eps) if config.cross_norm else nn.Identity()
        self.cross_attn = Attention(
            d, config.heads, eps=eps, qk_norm=config.qk_norm, image=config.image_width is not None
        )
        self.norm2 = LayerNorm(d, eps, elementwise_affine=False)
        self.ffn = nn.Sequential(Linear(d, config.ffn), nn.GELU(approximate="tanh"), Linear(config.ffn, d))
        self.modulation = nn.Parameter(torch.randn(1, 6, d) / d**0.5)

    def forward(
        self, x: Tensor, time: Tensor, context: Tensor, mask: Tensor | None, image: Tensor | None, rotary: Tensor
    ) -> Tensor:
        """x [b l d] (the residual stream), time [b f 6 d] (f = 1, or a time for each of f frames), context [b m d],
        image [b n d] -> [b l d]."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = _over_tokens(wide(self.modulation) + time, x)
        # Narrowed before the calls and not within them: the float32 form of what goes in is then gone while they run.
        x = torch.addcmul(
            x,
            gate_a,
            wide(self.self_attn(_narrowed(modulate(self.norm1(x), shift_a, scale_a), self.self_attn.q), rotary=rotary)),
        )
        x = x + self.cross_attn(_narrowed(self.norm3(x), self.cross_attn.q), context, mask=mask, image=image)
        return torch.addcmul(
            x, gate_f, wide(self.ffn(_narrowed(modulate(self.norm2(x), shift_f, scale_f), self.ffn[0])))
        )


def _narrowed(x: Tensor, into: nn.Module) -> Tensor:
    """What goes into a map, in the dtype that it computes in."""
    assert isinstance(into, nn.Linear)
    return x.to(compute_dtype(into.weight))


def _over_tokens(table: Tensor, x: Tensor) -> tuple[Tensor, ...]:
    """A table [b f n d] of n rows as n tensors that broadcast against tokens x [b l d], which come frame by frame."""
    frames = table.shape[1]
    if frames > 1:
        table = table.repeat_interleave(x.shape[1] // frames, dim=1)
    return table.unbind(2)


class Head(nn.Module):
    """Norm, modulation by the time embedding itself, and the map to a patch of the answer; in float32, as in Wan."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.width
        pt, ph, pw = config.patch
        self.norm = LayerNorm(d, config.eps, elementwise_affine=False)
        self.head = WideLinear(d, pt * ph * pw * config.out_channels)
        self.modulation = nn.Parameter(torch.randn(1, 2, d) / d**0.5)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [b l d], time [b f d] -> [b l pt*ph*pw*c]."""
        shift, scale = _over_tokens(wide(self.modulation) + time.unsqueeze(2), x)
        return self.head(modulate(self.norm(x), shift, scale))


class ImageEmbedding(nn.Module):
    """CLIP image tokens to the model's width, for image-to-video. [b n image_width] -> [b n d]."""

    def __init__(self, image_width: int, width: int, tokens: int | None) -> None:
        super().__init__()
        self.proj = nn.Sequential(
            LayerNorm(image_width),
            Linear(image_width, image_width),
            nn.GELU(),
            Linear(image_width, width),
            LayerNorm(width),
        )
        if tokens is not None:
            self.emb_pos = nn.Parameter(torch.zeros(1, tokens, image_width))
        self.tokens = tokens

    def forward(self, image: Tensor) -> Tensor:
        if self.tokens is not None:
            if image.shape[1] != self.tokens:
                raise ValueError(f"image: this model takes {self.tokens} tokens (both frames), got {image.shape[1]}")
            image = wide(image) + wide(self.emb_pos)
        return self.proj(image)


class DiT(nn.Module):
    """A field's network: what it makes of noised latents `x` at `clock`, given a text. See `forward`."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        d = config.width
        self.patch_embedding = nn.Conv3d(config.in_channels, d, kernel_size=config.patch, stride=config.patch)
        self.text_embedding = nn.Sequential(Linear(config.text_width, d), nn.GELU(approximate="tanh"), Linear(d, d))
        self.time_embedding = nn.Sequential(WideLinear(config.freq_width, d), nn.SiLU(), WideLinear(d, d))
        self.time_projection = nn.Sequential(nn.SiLU(), WideLinear(d, 6 * d))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head = Head(config)
        if config.places:
            self.place_embedding = WideLinear(config.place_width, d, bias=False)
        if config.prior:
            self.register_buffer(DEVIATION, torch.ones(config.in_channels))
        if config.image_width is not None:
            self.img_emb = ImageEmbedding(config.image_width, d, config.image_tokens)
        if self.patch_embedding.weight.device.type != "meta":
            self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Weights to train from: Wan's own start (xavier, embeddings of std 0.02, a head of zeros) with two changes.

        The last map of each residual branch is zero and the gates are one: every branch begins silent, but wide open,
        so that its first gradients are of full size.
        """
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        if self.config.places:  # silent, so that a network that learned without goes on from what it knows
            nn.init.zeros_(self.place_embedding.weight)
        nn.init.xavier_uniform_(self.patch_embedding.weight.flatten(1))
        assert self.patch_embedding.bias is not None
        nn.init.zeros_(self.patch_embedding.bias)
        for layer in (*self.text_embedding, *self.time_embedding):
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.02)
        nn.init.zeros_(self.head.head.weight)
        for block in self.blocks:
            assert isinstance(block, Block)
            for last in (block.self_attn.o, block.cross_attn.o, block.ffn[2]):
                assert isinstance(last, nn.Linear)
                nn.init.zeros_(last.weight)
            nn.init.normal_(block.modulation, std=self.config.width**-0.5)
            block.modulation[:, [2, 5]] = 1.0

    def forward(
        self,
        x: Tensor,
        clock: Tensor,
        *,
        context: Tensor,
        mask: Tensor | None = None,
        image: Tensor | None = None,
        concat: Tensor | None = None,
        within: Tensor | None = None,
    ) -> Tensor:
        """The prediction (for Wan: the velocity), [b out_channels t h w], float32 at least.

        x        [b c t h w]: noised latents
        clock    [b]: what the network is told of time (Wan: 1000 t), float64 or float32, may be fractional; or [b f], of
                 each frame's own, as Wan 2.2's TI2V-5B is told 0 for a first frame that is given
        context  [b l text_width]: the text's token states
        mask     [b l] bool, True = a real token; None: all are attended, padding too (Wan's own way)
        image    [b n image_width]: image tokens, for models that take them
        concat   [b c2 t h w]: further channels behind x's (Wan image-to-video: mask 4, latent 16)
        within   [b f + h + w]: where each frame, row and column of tokens is in the film of which x is a piece, from -1 (its
                 beginning, top, left) to 1, as `along` has them; None: x is the whole film. A network that is not told
                 places does without

        Raises ValueError where shapes do not fit the config.
        """
        h, told, time, grid = self._begin(x, clock, context, mask, image, concat, within)
        for block in self.blocks:
            h = block(h, *told)
        return self._end(h, time, grid)

    def embed_places(self, grid: tuple[int, int, int], within: Tensor | None = None) -> Tensor:
        """What is added to the tokens of a grid for their places, [l d], or [b l d] `within` films of their own; in float32 at
        least."""
        return self.place_embedding(places(grid, self.place_embedding.weight.device, within))

    def _begin(
        self,
        x: Tensor,
        clock: Tensor,
        context: Tensor,
        mask: Tensor | None,
        image: Tensor | None,
        concat: Tensor | None,
        within: Tensor | None = None,
    ) -> tuple[Tensor, Told, Tensor, tuple[int, int, int]]:
        """The tokens [b l d], what every block is told beside them, the time's embedding [b f d], the grid of tokens."""
        config = self.config
        if concat is not None:
            x = torch.cat((x, concat.to(x.dtype)), dim=1)
        self._check(x, clock, context, mask, image, within)
        pt, ph, pw = config.patch
        grid = (x.shape[2] // pt, x.shape[3] // ph, x.shape[4] // pw)
        h = embed_patches(x, self.patch_embedding)
        if config.places:
            h = h + self.embed_places(grid, within)
        rotary = rotary_table(grid, config.width // config.heads, x.device)
        if clock.ndim == 1:
            clock = clock[:, None]
        time = self.time_embedding(sinusoid(clock, config.freq_width))
        table = self.time_projection(time).unflatten(-1, (6, -1))
        text = self.text_embedding(context)
        if image is not None:
            image = self.img_emb(image)
        return h, (table, text, mask, image, rotary), time, grid

    def _end(self, h: Tensor, time: Tensor, grid: tuple[int, int, int]) -> Tensor:
        """Tokens [b l d] to the prediction [b out_channels t h w]."""
        return unpatchify(self.head(h, time), grid, self.config.patch)

    def _check(
        self,
        x: Tensor,
        clock: Tensor,
        context: Tensor,
        mask: Tensor | None,
        image: Tensor | None,
        within: Tensor | None,
    ) -> None:
        config, b = self.config, x.shape[0]
        if x.ndim != 5 or x.shape[1] != config.in_channels:
            raise ValueError(f"x (with concat): expected [b {config.in_channels} t h w], got {tuple(x.shape)}")
        frames = x.shape[2] // config.patch[0]
        if clock.shape not in ((b,), (b, frames)):
            raise ValueError(f"clock: expected [{b}] or [{b} {frames}], got {tuple(clock.shape)}")
        if context.ndim != 3 or context.shape[0] != b or context.shape[2] != config.text_width:
            raise ValueError(f"context: expected [{b} l {config.text_width}], got {tuple(context.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != context.shape[:2]):
            raise ValueError(f"mask: expected bool {list(context.shape[:2])}, got {mask.dtype} {list(mask.shape)}")
        told = frames + x.shape[3] // config.patch[1] + x.shape[4] // config.patch[2]
        if within is not None and within.shape != (b, told):
            raise ValueError(f"within: expected [{b} {told}], got {tuple(within.shape)}")
        if image is not None:
            if config.image_width is None:
                raise ValueError("image: this model takes no image tokens (image_width is None)")
            if image.ndim != 3 or image.shape[0] != b or image.shape[2] != config.image_width:
                raise ValueError(f"image: expected [{b} n {config.image_width}], got {tuple(image.shape)}")
