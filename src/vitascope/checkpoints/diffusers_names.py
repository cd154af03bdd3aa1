"""Wan's own parameter names, which are ours too, to those of diffusers' classes. No tensor changes on the way.

Source: scripts/convert_wan_to_diffusers.py of diffusers, and the classes that it fills.
"""

from __future__ import annotations

from collections.abc import Mapping

_ATTENTION = {
    **{"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"},
    **{"norm_q": "norm_q", "norm_k": "norm_k"},
}

_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3": "norm2",  # Wan counts norms as they were written, diffusers as they are used; this one alone has weights
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    **{f"self_attn.{ours}": f"attn1.{theirs}" for ours, theirs in _ATTENTION.items()},
    **{f"cross_attn.{ours}": f"attn2.{theirs}" for ours, theirs in _ATTENTION.items()},
}

_TRANSFORMER = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
}

_RESIDUAL = {
    **{"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2"},
    "shortcut": "conv_shortcut",
}

_ATTENDING = {"norm": "norm", "to_qkv": "to_qkv", "proj": "proj"}

_RESAMPLING = {"resample.1": "resample.1", "time_conv": "time_conv"}

_TOWER = {
    **{"conv1": "conv_in", "head.0": "norm_out", "head.2": "conv_out"},
    **{f"middle.0.{ours}": f"mid_block.resnets.0.{theirs}" for ours, theirs in _RESIDUAL.items()},
    **{f"middle.1.{ours}": f"mid_block.attentions.0.{theirs}" for ours, theirs in _ATTENDING.items()},
    **{f"middle.2.{ours}": f"mid_block.resnets.1.{theirs}" for ours, theirs in _RESIDUAL.items()},
}


def transformer_name(name: str) -> str:
    """A parameter of `models.dit.DiT` (without image tokens) as WanTransformer3DModel calls it. Raises KeyError."""
    if name.startswith("blocks."):
        blocks, index, rest = name.split(".", 2)
        return f"{blocks}.{index}.{_told(_BLOCK, rest)}"
    return _told(_TRANSFORMER, name)


def autoencoder_name(name: str, blocks: int, residual: bool) -> str:
    """A parameter of `models.vae.VAE` as AutoencoderKLWan calls it. Raises KeyError.

    blocks: residual blocks of a level in the encoder, the config's own number; residual: the form of Wan 2.2.
    """
    tower, _, rest = name.partition(".")
    if tower not in ("encoder", "decoder"):
        return _told({"conv1": "quant_conv", "conv2": "post_quant_conv"}, name)
    part, _, inner = rest.partition(".")
    if part not in ("downsamples", "upsamples"):
        return f"{tower}.{_told(_TOWER, rest)}"
    index, _, inner = inner.partition(".")
    down = part == "downsamples"
    levels = f"{tower}.down_blocks" if down else f"{tower}.up_blocks"
    if residual:
        place, _, inner = inner.partition(".")[2].partition(".")
        sampler = "downsampler" if down else "upsampler"
    elif down:  # diffusers keeps the plain encoder's layers in one flat list, as Wan does
        return f"{levels}.{index}.{_told(_RESIDUAL | _ATTENDING | _RESAMPLING, inner)}"
    else:
        level, place = divmod(int(index), blocks + 2)
        index, sampler = str(level), "upsamplers.0"
    if _stem(_RESAMPLING, inner):
        return f"{levels}.{index}.{sampler}.{inner}"
    return f"{levels}.{index}.resnets.{place}.{_told(_RESIDUAL, inner)}"


def _told(table: Mapping[str, str], name: str) -> str:
    """`name` with the part that the table knows, the whole or all but the last word, in the table's words."""
    stem = _stem(table, name)
    if stem is None:
        raise KeyError(name)
    return table[stem] + name[len(stem) :]


def _stem(table: Mapping[str, str], name: str) -> str | None:
    return next((stem for stem in (name, name.rpartition(".")[0]) if stem in table), None)
