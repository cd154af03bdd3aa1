"""The names of Wan's tensors, from diffusers' and transformers' to those of the published files.

Written from the published files alone, and used by `twins` alone: no code is shared with the loader that it tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import count

import torch
from torch import Tensor

TRANSFORMER = (
    (r"^condition_embedder\.time_embedder\.linear_1\.", "time_embedding.0."),
    (r"^condition_embedder\.time_embedder\.linear_2\.", "time_embedding.2."),
    (r"^condition_embedder\.text_embedder\.linear_1\.", "text_embedding.0."),
    (r"^condition_embedder\.text_embedder\.linear_2\.", "text_embedding.2."),
    (r"^condition_embedder\.time_proj\.", "time_projection.1."),
    (r"^condition_embedder\.image_embedder\.norm1\.", "img_emb.proj.0."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.0\.proj\.", "img_emb.proj.1."),
    (r"^condition_embedder\.image_embedder\.ff\.net\.2\.", "img_emb.proj.3."),
    (r"^condition_embedder\.image_embedder\.norm2\.", "img_emb.proj.4."),
    (r"^condition_embedder\.image_embedder\.pos_embed$", "img_emb.emb_pos"),
    (r"^scale_shift_table$", "head.modulation"),
    (r"^proj_out\.", "head.head."),
    (r"^(vace_blocks\.\d+)\.proj_in\.", r"\1.before_proj."),
    (r"^(vace_blocks\.\d+)\.proj_out\.", r"\1.after_proj."),
    (r"\.scale_shift_table$", ".modulation"),
    (r"\.ffn\.net\.0\.proj\.", ".ffn.0."),
    (r"\.ffn\.net\.2\.", ".ffn.2."),
    (r"\.norm2\.", ".norm3."),
    (r"\.attn1\.", ".self_attn."),
    (r"\.attn2\.", ".cross_attn."),
    (r"\.to_([qkv])\.", r".\1."),
    (r"\.to_out\.0\.", ".o."),
    (r"\.add_([kv])_proj\.", r".\1_img."),
    (r"\.norm_added_k\.", ".norm_k_img."),
)
AUTOENCODER = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"^(encoder|decoder)\.mid_block\.resnets\.0\.", r"\1.middle.0."),
    (r"^(encoder|decoder)\.mid_block\.attentions\.0\.", r"\1.middle.1."),
    (r"^(encoder|decoder)\.mid_block\.resnets\.1\.", r"\1.middle.2."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
    (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
    (r"^encoder\.down_blocks\.", "encoder.downsamples."),
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."),
)
TEXT = (
    (r"^shared\.", "token_embedding."),
    (r"^encoder\.final_layer_norm\.", "norm."),
    (r"^encoder\.block\.(\d+)\.layer\.0\.layer_norm\.", r"blocks.\1.norm1."),
    (r"^encoder\.block\.(\d+)\.layer\.1\.layer_norm\.", r"blocks.\1.norm2."),
    (
        r"^encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.relative_attention_bias\.",
        r"blocks.\1.pos_embedding.embedding.",
    ),
    (r"^encoder\.block\.(\d+)\.layer\.0\.SelfAttention\.", r"blocks.\1.attn."),
    (r"^encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_0\.", r"blocks.\1.ffn.gate.0."),
    (r"^encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wi_1\.", r"blocks.\1.ffn.fc1."),
    (r"^encoder\.block\.(\d+)\.layer\.1\.DenseReluDense\.wo\.", r"blocks.\1.ffn.fc2."),
)
IMAGE = (
    (r"^vision_model\.embeddings\.patch_embedding\.", "visual.patch_embedding."),
    (r"^vision_model\.embeddings\.class_embedding$", "visual.cls_embedding"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.pos_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.pre_norm."),
    (r"^vision_model\.post_layernorm\.", "visual.post_norm."),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer."),
    (r"\.layer_norm([12])\.", r".norm\1."),
    (r"\.self_attn\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.2."),
)


def published(name: str, table: tuple[tuple[str, str], ...]) -> str:
    """A name after every rule of a table, in its order."""
    for pattern, new in table:
        name = re.sub(pattern, new, name)
    return name


def transformer_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' WanTransformer3DModel or WanVACETransformer3DModel under the names of the published files."""
    return {published(name, TRANSFORMER): value for name, value in state.items()}


def autoencoder_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' AutoencoderKLWan (the form of 2.1: three residual blocks a level of the decoder), likewise."""
    renamed = {}
    for name, value in state.items():
        new = name
        if found := re.match(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.*)", name):
            level, kind, place, rest = found.groups()
            index = 4 * int(level) + (3 if kind == "upsamplers" else int(place))
            new = f"decoder.upsamples.{index}.{rest}"
        renamed[published(new, AUTOENCODER)] = value
    return renamed


def text_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' UMT5EncoderModel, likewise; its embedding has two names and is one tensor."""
    return {published(name, TEXT): value for name, value in state.items() if name != "encoder.embed_tokens.weight"}


def image_state(state: Mapping[str, Tensor], projection: Tensor) -> dict[str, Tensor]:
    """transformers' CLIPVisionModel (`vision_model.` names) and its projection [embed d], likewise: q, k and v in one."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        new = published(name, IMAGE)
        if ".self_attn." in new:
            continue
        renamed[new] = value
    for layer in count():
        stem = f"vision_model.encoder.layers.{layer}.self_attn"
        if f"{stem}.q_proj.weight" not in state:
            break
        for kind in ("weight", "bias"):
            parts = [state[f"{stem}.{letter}_proj.{kind}"] for letter in "qkv"]
            renamed[f"visual.transformer.{layer}.attn.to_qkv.{kind}"] = torch.cat(parts)
    renamed["visual.cls_embedding"] = renamed["visual.cls_embedding"].reshape(1, 1, -1)
    renamed["visual.pos_embedding"] = renamed["visual.pos_embedding"][None]
    renamed["visual.head"] = projection.mT.contiguous()
    return renamed
