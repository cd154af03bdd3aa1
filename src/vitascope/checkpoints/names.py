"""Under which names the same weights go about: a plain table for each dialect, read in both directions.

A line pairs the path of a layer or of a parameter with its path elsewhere; a star is a number, the same on both sides.
What hangs below a layer (`weight`, `bias`, the halves of a LoRA) goes with it. A name in no line has no translation.

Source: the files published as Wan-AI/Wan2.1-* in the original and in the diffusers layout, Comfy-Org/Wan_2.1_ComfyUI_repackaged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import torch
from torch import Tensor

Pairs = Sequence[tuple[str, str]]


class Names:
    """A table of names, ours and theirs. No line of it may lie below another, so that at most one fits a name."""

    def __init__(self, pairs: Pairs) -> None:
        self.pairs = tuple(pairs)
        self._ours = [(_pattern(theirs), ours) for ours, theirs in self.pairs]
        self._theirs = [(_pattern(ours), theirs) for ours, theirs in self.pairs]

    def ours(self, name: str) -> str | None:
        """What we call what they call `name`; None where no line tells."""
        return _translated(name, self._ours)

    def theirs(self, name: str) -> str | None:
        """What they call what we call `name`; None where no line tells."""
        return _translated(name, self._theirs)


def _pattern(path: str) -> re.Pattern[str]:
    # [0-9], not \d: other alphabets have digits too.
    return re.compile(re.escape(path).replace(r"\*", "([0-9]{1,4})") + r"(?=\.|$)")


def _translated(name: str, table: Sequence[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, path in table:
        if found := pattern.match(name):
            return path.replace("*", "{}").format(*found.groups()) + name[found.end() :]
    return None


def _attention(ours: str, theirs: str) -> Pairs:
    parts = (("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("o", "to_out.0"), ("norm_q", "norm_q"), ("norm_k", "norm_k"))
    return [(f"{ours}.{a}", f"{theirs}.{b}") for a, b in parts]


def _block(stack: str) -> Pairs:
    here = f"{stack}.*"
    return [
        (f"{here}.modulation", f"{here}.scale_shift_table"),
        *_attention(f"{here}.self_attn", f"{here}.attn1"),
        *_attention(f"{here}.cross_attn", f"{here}.attn2"),
        (f"{here}.cross_attn.k_img", f"{here}.attn2.add_k_proj"),
        (f"{here}.cross_attn.v_img", f"{here}.attn2.add_v_proj"),
        (f"{here}.cross_attn.norm_k_img", f"{here}.attn2.norm_added_k"),
        (f"{here}.norm3", f"{here}.norm2"),
        (f"{here}.ffn.0", f"{here}.ffn.net.0.proj"),
        (f"{here}.ffn.2", f"{here}.ffn.net.2"),
    ]


TRANSFORMER = Names(
    [
        ("patch_embedding", "patch_embedding"),
        ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
        ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
        ("time_projection.1", "condition_embedder.time_proj"),
        ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
        ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
        ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
        ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
        ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
        ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
        ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
        *_block("blocks"),
        ("head.modulation", "scale_shift_table"),
        ("head.head", "proj_out"),
        ("vace_patch_embedding", "vace_patch_embedding"),
        *_block("vace_blocks"),
        ("vace_blocks.*.before_proj", "vace_blocks.*.proj_in"),
        ("vace_blocks.*.after_proj", "vace_blocks.*.proj_out"),
    ]
)
"""The transformer (ours are the original names) and diffusers' WanTransformer3DModel and WanVACETransformer3DModel."""

STRAY = re.compile(r"(vace_)?blocks\.[0-9]+\.attn2\.norm_added_q\.weight")
"""What old diffusers files hold and no network reads."""

PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "vae.", "text_encoder.")
"""What may stand before every name of a file."""

_LAYER: Pairs = [
    ("residual.0", "norm1"),
    ("residual.2", "conv1"),
    ("residual.3", "norm2"),
    ("residual.6", "conv2"),
    ("shortcut", "conv_shortcut"),
]


def _residual(ours: str, theirs: str) -> Pairs:
    return [(f"{ours}.{a}", f"{theirs}.{b}") for a, b in _LAYER]


def autoencoder(blocks: int = 2, levels: int = 4, residual: bool = False) -> Names:
    """The VAE (ours are the original names) and diffusers' AutoencoderKLWan, `blocks` residual blocks to an encoder level.

    The plain form counts the layers of all its levels in one row, where diffusers' decoder counts level by level; the
    residual form of Wan 2.2 counts by levels in both.
    """
    pairs: list[tuple[str, str]] = [("conv1", "quant_conv"), ("conv2", "post_quant_conv")]
    for side in ("encoder", "decoder"):
        pairs += [
            (f"{side}.conv1", f"{side}.conv_in"),
            *_residual(f"{side}.middle.0", f"{side}.mid_block.resnets.0"),
            (f"{side}.middle.1", f"{side}.mid_block.attentions.0"),
            *_residual(f"{side}.middle.2", f"{side}.mid_block.resnets.1"),
            (f"{side}.head.0", f"{side}.norm_out"),
            (f"{side}.head.2", f"{side}.conv_out"),
        ]
    if residual:
        return Names([*pairs, *_levels("down", blocks), *_levels("up", blocks + 1)])
    down, into = "encoder.downsamples.*", "encoder.down_blocks.*"
    pairs += [*_residual(down, into), *((f"{down}.{part}", f"{into}.{part}") for part in ("resample", "time_conv"))]
    for level in range(levels):
        first, block = level * (blocks + 2), f"decoder.up_blocks.{level}"
        for j in range(blocks + 1):
            pairs += _residual(f"decoder.upsamples.{first + j}", f"{block}.resnets.{j}")
        if level < levels - 1:
            pairs.append((f"decoder.upsamples.{first + blocks + 1}", f"{block}.upsamplers.0"))
    return Names(pairs)


def _levels(way: str, blocks: int) -> Pairs:
    side = "encoder" if way == "down" else "decoder"
    ours, theirs = f"{side}.{way}samples.*.{way}samples", f"{side}.{way}_blocks.*"
    pairs = [pair for j in range(blocks) for pair in _residual(f"{ours}.{j}", f"{theirs}.resnets.{j}")]
    return [*pairs, (f"{ours}.{blocks}", f"{theirs}.{way}sampler")]


TEXT = Names(
    [
        ("token_embedding", "shared"),
        ("blocks.*.norm1", "encoder.block.*.layer.0.layer_norm"),
        *((f"blocks.*.attn.{part}", f"encoder.block.*.layer.0.SelfAttention.{part}") for part in ("q", "k", "v", "o")),
        ("blocks.*.pos_embedding.embedding", "encoder.block.*.layer.0.SelfAttention.relative_attention_bias"),
        ("blocks.*.norm2", "encoder.block.*.layer.1.layer_norm"),
        ("blocks.*.ffn.gate.0", "encoder.block.*.layer.1.DenseReluDense.wi_0"),
        ("blocks.*.ffn.fc1", "encoder.block.*.layer.1.DenseReluDense.wi_1"),
        ("blocks.*.ffn.fc2", "encoder.block.*.layer.1.DenseReluDense.wo"),
        ("norm", "encoder.final_layer_norm"),
    ]
)
"""UMT5's encoder (ours are Wan's names) and transformers' UMT5EncoderModel."""

SHARED = "shared.weight"
TWICE = "encoder.embed_tokens.weight"
"""transformers keeps UMT5's table of words under `shared` and here, or under one of the two."""
TOKENIZER = "spiece_model"
"""A tensor of bytes beside UMT5's weights, as ComfyUI packs it: the tokeniser itself."""

_TOWER: Pairs = [
    ("conv1", "patch_embedding"),
    ("class_embedding", "cls_embedding"),
    ("positional_embedding", "pos_embedding"),
    ("ln_pre", "pre_norm"),
    ("transformer.resblocks.*.ln_1", "transformer.*.norm1"),
    ("transformer.resblocks.*.attn.in_proj_weight", "transformer.*.attn.to_qkv.weight"),
    ("transformer.resblocks.*.attn.in_proj_bias", "transformer.*.attn.to_qkv.bias"),
    ("transformer.resblocks.*.attn.out_proj", "transformer.*.attn.proj"),
    ("transformer.resblocks.*.ln_2", "transformer.*.norm2"),
    ("transformer.resblocks.*.mlp.c_fc", "transformer.*.mlp.0"),
    ("transformer.resblocks.*.mlp.c_proj", "transformer.*.mlp.2"),
    ("ln_post", "post_norm"),
    ("proj", "head"),
]
IMAGE = Names([(ours, f"visual.{theirs}") for ours, theirs in _TOWER])
"""CLIP's image tower (ours are OpenAI's names, without the prefix) and Wan's file. Its `textual.` and `log_scale` are unused."""

_VISION, _LAYERS = "vision_model.encoder.layers.*", "transformer.resblocks.*"
IMAGE_TRANSFORMERS = Names(
    [
        ("conv1", "vision_model.embeddings.patch_embedding"),
        ("class_embedding", "vision_model.embeddings.class_embedding"),
        ("positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("ln_pre", "vision_model.pre_layrnorm"),
        (f"{_LAYERS}.ln_1", f"{_VISION}.layer_norm1"),
        *((f"{_LAYERS}.attn.{part}", f"{_VISION}.self_attn.{part}_proj") for part in ("q", "k", "v")),
        (f"{_LAYERS}.attn.out_proj", f"{_VISION}.self_attn.out_proj"),
        (f"{_LAYERS}.ln_2", f"{_VISION}.layer_norm2"),
        (f"{_LAYERS}.mlp.c_fc", f"{_VISION}.mlp.fc1"),
        (f"{_LAYERS}.mlp.c_proj", f"{_VISION}.mlp.fc2"),
        ("ln_post", "vision_model.post_layernorm"),
        ("proj", "visual_projection.weight"),
    ]
)
"""The same tower and transformers' CLIPVisionModel; there q, k and v are apart, and `image_rules` joins them."""

Make = Callable[..., Tensor]
"""What becomes of one or several tensors of a file."""


def image_rules(found: Mapping[str, Sequence[int]]) -> dict[str, tuple[tuple[str, ...], Make]]:
    """How our image tower's parameters come from a file's tensors: for each the names there, and what is done with them.

    `found` are the file's names and shapes, in either layout. The text tower is left out.
    """
    bare = {name: name if name.startswith("visual.") else f"visual.{name}" for name in found}
    if any(name.startswith("vision_model.") for name in found):
        return _joined(found)
    rules: dict[str, tuple[tuple[str, ...], Make]] = {}
    for name, full in bare.items():
        if name.startswith("textual.") or name == "log_scale":
            continue
        ours = IMAGE.ours(full) or name
        make: Make = as_it_is
        if ours == "class_embedding":
            make = torch.flatten
        elif ours == "positional_embedding":
            make = _first
        # Of two names of one tensor the second stands under itself, and is told as what is beside.
        rules[name if ours in rules else ours] = ((name,), make)
    return rules


def _joined(found: Mapping[str, Sequence[int]]) -> dict[str, tuple[tuple[str, ...], Make]]:
    rules: dict[str, tuple[tuple[str, ...], Make]] = {}
    for name in found:
        if name.startswith(("text_model.", "text_projection.")) or name in _UNUSED:
            continue
        ours = IMAGE_TRANSFORMERS.ours(name) or name
        part = re.fullmatch(r"(.*\.attn)\.(q|k|v)\.(weight|bias)", ours)
        if part is None:
            rules[ours] = ((name,), torch.t if ours == "proj" else as_it_is)
            continue
        three = tuple(name.replace(f"{part[2]}_proj", f"{letter}_proj") for letter in "qkv")
        if all(one in found for one in three):
            rules[f"{part[1]}.in_proj_{part[3]}"] = (three, _in_one)
        else:
            rules[name] = ((name,), as_it_is)  # two of three: told as what is missing and what is beside it
    return rules


_UNUSED = ("logit_scale", "vision_model.embeddings.position_ids", "text_model.embeddings.position_ids")


def as_it_is(value: Tensor) -> Tensor:
    """The tensor itself, not a copy."""
    return value


def _first(value: Tensor) -> Tensor:
    return value.squeeze(0)


def _in_one(*values: Tensor) -> Tensor:
    return torch.cat(values)


def prefix(found: Collection[str], marks: Sequence[str]) -> str | None:
    """What stands before the names of a file, if one of `marks` comes after it; None where no mark is found."""
    return next((before for before in PREFIXES for mark in marks if before + mark in found), None)
