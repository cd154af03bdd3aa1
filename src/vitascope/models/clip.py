"""CLIP (Radford et al. 2021, arXiv:2103.00020): a text tower and an image tower that share a space of unit vectors.

The structure and the parameter names are OpenAI's (the ViT form), so that the same file runs OpenAI's, OpenCLIP's and
our own weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.models.attention import attend
from vitascope.models.layers import LayerNorm, Linear, compute_dtype, patchify, wide

OPENAI_MEAN, OPENAI_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and deviation of the pixels that OpenAI's towers, and most others since, were trained with."""


@dataclass(frozen=True)
class CLIPConfig:
    """The sizes of the two towers. `mean` and `std` (of pixels in [0, 1]) are what the image tower was trained with."""

    vocab: int
    text_length: int
    text_width: int
    text_layers: int
    text_heads: int
    image: tuple[int, int]
    """Height and width in pixels of a frame; need not be square."""
    patch: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    embed: int = 512
    text_ffn: int | None = None
    """Width of the feed-forward layers; None: four times the tower's (OpenCLIP's largest towers differ)."""
    vision_ffn: int | None = None
    causal: bool = True
    """Whether a token sees only those before it (OpenAI) or all real ones."""
    context: Literal["states", "words+states"] = "states"
    """What a diffusion network reads of each token: its state in the sentence, or its word alone and then its state.

    The contrastive loss keeps of a sentence what the mean of a clip's frames shows. Words that hardly move that mean, as
    "left" or "rises", hardly move the states, and a network could hardly tell them apart.
    """
    quick_gelu: bool = False
    """x sigmoid(1.702 x), as OpenAI's weights want, or the exact GELU."""
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @staticmethod
    def of_images(
        image: tuple[int, int],
        patch: int,
        width: int,
        layers: int,
        heads: int,
        *,
        ffn: int | None = None,
        embed: int = 512,
        quick_gelu: bool = False,
        mean: tuple[float, float, float] = OPENAI_MEAN,
        std: tuple[float, float, float] = OPENAI_STD,
    ) -> CLIPConfig:
        """The sizes of an image tower that is used without its text tower: build `VisionTransformer` from it, and no `CLIP`."""
        return CLIPConfig(
            vocab=0, text_length=0, text_width=1, text_layers=0, text_heads=1, image=image, patch=patch, vision_width=width,
            vision_layers=layers, vision_heads=heads, vision_ffn=ffn, embed=embed, quick_gelu=quick_gelu, mean=mean, std=std,
        )  # fmt: skip

    @property
    def context_width(self) -> int:
        """How wide a token is in the condition."""
        return 2 * self.text_width if self.context == "words+states" else self.text_width

    def __post_init__(self) -> None:
        if self.text_width % self.text_heads or self.vision_width % self.vision_heads:
            raise ValueError(
                f"CLIPConfig: heads must divide widths, got text {self.text_width}/{self.text_heads}, "
                f"vision {self.vision_width}/{self.vision_heads}"
            )
        if self.image[0] % self.patch or self.image[1] % self.patch:
            raise ValueError(f"CLIPConfig: patch must divide the image, got patch {self.patch} and image {self.image}")


VIT_H_14 = CLIPConfig.of_images((224, 224), 14, 1280, 32, 16, embed=1024)
"""The image tower whose states Wan's image-to-video models read, after `layers=31` blocks: OpenCLIP's ViT-H/14."""


class SelfAttention(nn.Module):
    """Multi-head attention with q, k and v in one matrix (the names of torch.nn.MultiheadAttention)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        """x [b l d], mask [b l] True = attended -> [b l d]."""
        qkv = F.linear(x.to(compute_dtype(self.in_proj_weight)), self.in_proj_weight, self.in_proj_bias)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
        y = attend(q, k, v, mask, causal=causal)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class QuickGELU(nn.Module):
    """x sigmoid(1.702 x) (Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class MLP(nn.Module):
    def __init__(self, width: int, ffn: int, quick_gelu: bool) -> None:
        super().__init__()
        self.c_fc = Linear(width, ffn)
        self.gelu = QuickGELU() if quick_gelu else nn.GELU()
        self.c_proj = Linear(ffn, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.gelu(self.c_fc(x)))


class ResidualBlock(nn.Module):
    def __init__(self, width: int, heads: int, ffn: int, quick_gelu: bool) -> None:
        super().__init__()
        self.ln_1 = LayerNorm(width)
        self.attn = SelfAttention(width, heads)
        self.ln_2 = LayerNorm(width)
        self.mlp = MLP(width, ffn, quick_gelu)

    def forward(self, x: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask, causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """A stack of pre-norm blocks. [b l d] -> [b l d]."""

    def __init__(self, width: int, layers: int, heads: int, ffn: int | None, quick_gelu: bool) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(ResidualBlock(width, heads, ffn or 4 * width, quick_gelu) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask, causal)
        return x

    @torch.no_grad()
    def initialise(self) -> None:
        """OpenAI's start: scaled by width and depth, so that the sum of all branches keeps its size."""
        depth = len(self.resblocks)
        for block in self.resblocks:
            assert isinstance(block, ResidualBlock)
            width = block.attn.in_proj_weight.shape[1]
            branch = width**-0.5 * (2 * max(depth, 1)) ** -0.5
            nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
            nn.init.normal_(block.attn.out_proj.weight, std=branch)
            nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=branch)
            for bias in (block.attn.in_proj_bias, block.attn.out_proj.bias, block.mlp.c_fc.bias, block.mlp.c_proj.bias):
                nn.init.zeros_(bias)


class VisionTransformer(nn.Module):
    """The image tower. Pixels [b 3 h w], already normalised -> [b embed], not yet of unit length."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        width, (h, w) = config.vision_width, config.image
        self.patch = config.patch
        self.conv1 = nn.Conv2d(3, width, kernel_size=config.patch, stride=config.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty((h // config.patch) * (w // config.patch) + 1, width))
        self.ln_pre = LayerNorm(width)
        self.transformer = Transformer(
            width, config.vision_layers, config.vision_heads, config.vision_ffn, config.quick_gelu
        )
        self.ln_post = LayerNorm(width)
        self.proj = nn.Parameter(torch.empty(width, config.embed))

    def states(self, pixels: Tensor, layers: int | None = None) -> Tensor:
        """The states of the class token and all patches after the first `layers` blocks (None: all): [b 1+n width].

        Wan's image-to-video models read them one block before the end.
        """
        tokens = patchify(pixels.unsqueeze(2), (1, self.patch, self.patch))
        weight = self.conv1.weight.flatten(1)  # stride = kernel: the convolution is this matrix product
        x = wide(F.linear(tokens.to(compute_dtype(weight)), weight))
        x = torch.cat((wide(self.class_embedding).expand(x.shape[0], 1, -1), x), dim=1)
        x = self.ln_pre(x + wide(self.positional_embedding))
        for block in self.transformer.resblocks[:layers]:
            x = block(x, None, False)
        return x

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.ln_post(self.states(pixels)[:, 0])
        return wide(x.to(compute_dtype(self.proj)) @ self.proj)


class CLIP(nn.Module):
    """Two towers and the learned temperature between them."""

    def __init__(self, config: CLIPConfig) -> None:
        super().__init__()
        self.config = config
        self.visual = VisionTransformer(config)
        self.token_embedding = nn.Embedding(config.vocab, config.text_width)
        self.positional_embedding = nn.Parameter(torch.empty(config.text_length, config.text_width))
        self.transformer = Transformer(
            config.text_width, config.text_layers, config.text_heads, config.text_ffn, config.quick_gelu
        )
        self.ln_final = LayerNorm(config.text_width)
        self.text_projection = nn.Parameter(torch.empty(config.text_width, config.embed))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        if self.text_projection.device.type != "meta":
            self.initialise()

    @torch.no_grad()
    def initialise(self) -> None:
        """Weights to train from: normal, scaled by width and depth as OpenAI's are; temperature 0.07 (section 2.5)."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)
        nn.init.normal_(self.text_projection, std=self.config.text_width**-0.5)
        vision, width = self.visual, self.config.vision_width
        nn.init.normal_(vision.conv1.weight, std=vision.conv1.weight[0].numel() ** -0.5)
        for embedding in (vision.class_embedding, vision.positional_embedding, vision.proj):
            nn.init.normal_(embedding, std=width**-0.5)
        vision.transformer.initialise()
        self.transformer.initialise()
        nn.init.constant_(self.logit_scale, math.log(1 / 0.07))

    @property
    def scale(self) -> Tensor:
        """The inverse temperature e^logit_scale, at most 100 (section 2.5).

        Past the bound the gradient still passes: a plain clamp would hold the parameter there for good.
        """
        logit = wide(self.logit_scale)
        return (logit - (logit - math.log(100.0)).clamp(min=0).detach()).exp()

    def encode_text(self, tokens: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Token ids [b l], mask [b l] (True = real) -> all tokens' states [b l text_width], a unit vector [b embed].

        The vector is read at the last real token (the end-of-text token); without a mask, at the last. In a causal
        tower the mask only finds that token, since none sees what comes after it; else it also hides padding.
        Raises ValueError for wrong shapes.
        """
        if tokens.ndim != 2 or tokens.shape[1] > self.config.text_length:
            raise ValueError(f"tokens: expected [b l] with l <= {self.config.text_length}, got {tuple(tokens.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != tokens.shape):
            raise ValueError(f"mask: expected bool {list(tokens.shape)}, got {mask.dtype} {list(mask.shape)}")
        causal, length = self.config.causal, tokens.shape[1]
        x = wide(self.token_embedding(tokens)) + wide(self.positional_embedding[:length])
        states = self.ln_final(self.transformer(x, None if causal else mask, causal))
        if mask is None:
            last = states[:, -1]
        else:
            position = torch.arange(length, device=tokens.device).where(mask, 0).amax(1)
            last = states[torch.arange(len(states), device=tokens.device), position]
        embedding = wide(last.to(compute_dtype(self.text_projection)) @ self.text_projection)
        return states, F.normalize(embedding, dim=-1)

    def encode_words(self, tokens: Tensor) -> Tensor:
        """Token ids [b l] -> each word in its place before the tower mixes it with the others, [b l text_width].

        Of zero mean and unit variance, as the states are before the tower's last gain and bias.
        """
        x = wide(self.token_embedding(tokens)) + wide(self.positional_embedding[: tokens.shape[1]])
        return F.layer_norm(x, x.shape[-1:])

    def encode_image(self, frames: Tensor) -> Tensor:
        """Frames [b 3 h w] in [-1, 1], of the config's size -> unit vectors [b embed]."""
        if frames.ndim != 4 or frames.shape[1:] != (3, *self.config.image):
            h, w = self.config.image
            raise ValueError(f"frames: expected [b 3 {h} {w}], got {tuple(frames.shape)}")
        frames = wide(frames)
        mean, std = (frames.new_tensor(c)[:, None, None] for c in (self.config.mean, self.config.std))
        return F.normalize(self.visual((frames * 0.5 + 0.5 - mean) / std), dim=-1)

    def encode_video(self, video: Tensor) -> Tensor:
        """A video [b 3 t h w] in [-1, 1] -> [b embed]: the mean of its frames' unit vectors, of unit length again.

        Frames of another size than the config's are scaled to it.
        """
        if video.ndim != 5:
            raise ValueError(f"video: expected [b 3 t h w], got {tuple(video.shape)}")
        b, _, t = video.shape[:3]
        frames = video.transpose(1, 2).flatten(0, 1)
        if frames.shape[-2:] != self.config.image:
            frames = F.interpolate(wide(frames), self.config.image, mode="bilinear", antialias=True)
        frames = self.encode_image(frames)
        return F.normalize(frames.unflatten(0, (b, t)).mean(1), dim=-1)


def contrastive(video: Tensor, text: Tensor, scale: Tensor | float) -> Tensor:
    """Which text belongs to which video, and the reverse: the symmetric loss of figure 3.

    Unit vectors [n d] and [n d], pair by pair -> a scalar in float32; log n where the vectors say nothing.
    """
    with torch.autocast(video.device.type, enabled=False):
        logits = scale * wide(video) @ wide(text).mT
        target = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.mT, target)) / 2
