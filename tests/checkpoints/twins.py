"""Small twins of Wan 2.1: random weights, real names and the real structure of files, in every packaging that people have.

    t = twin("i2v")                     # the parts: diffusers' and transformers' own modules
    packed = official(t, folder)        # or diffusers, comfy, kijai, lightx2v; the same weights in each
    packed.transformer, packed.vae, packed.text, packed.tokenizer, packed.image    # where the files are
    packed.holds.transformer            # the module whose weights lie there (after fp8: as they come out again)

Weights are values that float32, bfloat16 and float16 all hold, unless `short=False`: so every file holds the same ones.
Where a packaging has no config, its reader counts on head widths: 128 for the transformer (`head=128`), 80 for the image
tower. The text width is that of the weights, since the published config.json does not tell it.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tests.checkpoints.twin_names import autoencoder_state, image_state, text_state, transformer_state
from tests.checkpoints.twin_parts import EMBED, Twin, Variant, twin
from torch import Tensor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.pipelines.wan.pipeline_wan import WanPipeline
    from diffusers.pipelines.wan.pipeline_wan_i2v import WanImageToVideoPipeline
    from diffusers.pipelines.wan.pipeline_wan_vace import WanVACEPipeline
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
    from transformers import CLIPImageProcessor, T5TokenizerFast  # pyright: ignore[reportAttributeAccessIssue]

__all__ = ["Packed", "Twin", "Variant", "comfy", "diffusers", "kijai", "lightx2v", "official", "pipeline", "twin"]

Quantised = Literal["scaled_old", "scaled_new", "plain"]
SHIFT = {"t2v": 3.0, "i2v": 3.0, "flf2v": 16.0, "vace": 3.0}
T5_NAME = "models_t5_umt5-xxl-enc-bf16.pth"
CLIP_NAME = "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth"
DIT_NAME = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Packed:
    """Where the parts lie, and the modules whose very weights are there."""

    root: Path
    transformer: Path
    vae: Path
    text: Path
    tokenizer: Path | None
    image: Path | None
    holds: Twin


# --- the packagings ---


def official(t: Twin, folder: Path, *, shards: int = 1) -> Packed:
    """`Wan-AI/Wan2.1-*`: config.json, F32 safetensors (in `shards` files with an index), pickled VAE, T5 and CLIP."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(_official_config(t), indent=2))
    state = transformer_state(t.transformer.state_dict())
    weights = _sharded(state, folder, shards) if shards > 1 else _write(state, folder / f"{DIT_NAME}.safetensors")
    torch.save(autoencoder_state(t.vae.state_dict()), folder / "Wan2.1_VAE.pth")
    _pickle({name: value.bfloat16() for name, value in text_state(t.text.state_dict()).items()}, folder / T5_NAME)
    image = None
    if t.image is not None:
        image = _pickle(_clip_state(t) | _textual() | {"log_scale": torch.tensor(4.6)}, folder / CLIP_NAME)
    tokenizer = _tokenizer_folder(t, folder / "google" / "umt5-xxl")
    return Packed(folder, weights, folder / "Wan2.1_VAE.pth", folder / T5_NAME, tokenizer, image, t)


def _official_config(t: Twin) -> dict[str, Any]:
    c = t.transformer.config
    config = {
        "_class_name": "VaceWanModel" if t.variant == "vace" else "WanModel",
        "_diffusers_version": "0.30.0",
        "dim": c.num_attention_heads * c.attention_head_dim,
        "eps": 1e-06,
        "ffn_dim": c.ffn_dim,
        "freq_dim": 256,
        "in_dim": c.in_channels,
        "model_type": t.variant,
        "num_heads": c.num_attention_heads,
        "num_layers": c.num_layers,
        "out_dim": 16,
        "text_len": 512,
    }
    if t.variant == "vace":
        config |= {"vace_in_dim": 96, "vace_layers": list(c.vace_layers)}
    return config


def _sharded(state: Mapping[str, Tensor], folder: Path, shards: int) -> Path:
    names = sorted(state)
    where = {
        name: f"{DIT_NAME}-{i * shards // len(names) + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(names)
    }
    for file in sorted(set(where.values())):
        _write({name: state[name] for name in names if where[name] == file}, folder / file, metadata={"format": "pt"})
    total = sum(value.nbytes for value in state.values())
    index = folder / f"{DIT_NAME}.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": where}, indent=2))
    return index


def pipeline(t: Twin) -> Any:
    """diffusers' pipeline of these parts, which it may use and must not change; its progress bar is off."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = T5TokenizerFast.from_pretrained(_tokenizer_folder(t, Path(folder)))
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=SHIFT[t.variant]
    )
    parts: dict[str, Any] = {"tokenizer": tokenizer, "text_encoder": t.text, "vae": t.vae, "scheduler": scheduler}
    if t.image is not None:
        parts |= {"image_encoder": t.image, "image_processor": CLIPImageProcessor()}
    kinds = {"t2v": WanPipeline, "vace": WanVACEPipeline}
    made = kinds.get(t.variant, WanImageToVideoPipeline)(transformer=t.transformer, **parts)
    made.set_progress_bar_config(disable=True)
    return made


def diffusers(t: Twin, folder: Path, *, shard: str | None = None) -> Packed:
    """`Wan-AI/Wan2.1-*-Diffusers`, by `save_pretrained`; `shard` ("200KB") splits transformer and text encoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipeline(t).save_pretrained(folder)
        if shard is not None:
            for part, module in (("transformer", t.transformer), ("text_encoder", t.text)):
                for old in (folder / part).glob("*.safetensors"):
                    old.unlink()
                module.save_pretrained(folder / part, max_shard_size=shard)
    _tokenizer_folder(t, folder / "tokenizer")
    # What transformers 5 calls otherwise, as the published folders have it.
    for file, name in (("model_index.json", "T5TokenizerFast"), ("image_processor/preprocessor_config.json", "")):
        if (path := folder / file).is_file():
            text = path.read_text().replace('"T5Tokenizer"', f'"{name}"')
            path.write_text(text.replace("CLIPImageProcessorPil", "CLIPImageProcessor"))
    image = None
    if t.image is not None:
        image = folder / "image_encoder"
        _write(_image_names(t), image / "model.safetensors", metadata={"format": "pt"})
    return Packed(
        folder, folder / "transformer", folder / "vae", folder / "text_encoder", folder / "tokenizer", image, t
    )


def comfy(
    t: Twin,
    folder: Path,
    *,
    quantised: Quantised | None = None,
    prefix: str = "model.diffusion_model.",
    dtype: torch.dtype = torch.float16,
) -> Packed:
    """`Comfy-Org/Wan_2.1_ComfyUI_repackaged`: single files; transformer and text in fp8 if asked for."""
    root = folder / "split_files"
    suffix = {None: {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, "fp32"), "plain": "fp8_e4m3fn"}
    kind = suffix.get(quantised, "fp8_scaled")
    dit, dit_out, dit_meta = _fp8(transformer_state(t.transformer.state_dict()), quantised, dtype)
    # Beside the numbers lie the marks: of them too the names have the prefix, but in the metadata they have none.
    weights = _write(
        {prefix + name: value for name, value in dit.items()},
        root / "diffusion_models" / f"wan2.1_{t.variant}_14B_{kind}.safetensors",
        metadata=dit_meta,
    )
    words, words_out, words_meta = _fp8(
        {name: value for name, value in t.text.state_dict().items() if name != "encoder.embed_tokens.weight"},
        quantised,
        dtype,
    )
    words["spiece_model"] = torch.frombuffer(bytearray(t.tokenizer["spiece.model"]), dtype=torch.uint8)
    text = _write(words, root / "text_encoders" / f"umt5_xxl_{kind}.safetensors", metadata=words_meta)
    vae = _write(autoencoder_state(t.vae.state_dict()), root / "vae" / "wan_2.1_vae.safetensors")
    image = None
    if t.image is not None:
        tower = _image_names(t) | {"visual_projection.weight": t.projection}
        image = _write(tower, root / "clip_vision" / "clip_vision_h.safetensors", torch.float16)
    holds = t
    if quantised is not None:
        named = dict(zip(transformer_state(t.transformer.state_dict()), t.transformer.state_dict()))
        restored = {named[name]: value for name, value in dit_out.items()}
        words_out["encoder.embed_tokens.weight"] = words_out["shared.weight"]
        holds = replace(t, transformer=_with(t.transformer, restored), text=_with(t.text, words_out))
    return Packed(folder, weights, vae, text, None, image, holds)


def kijai(t: Twin, folder: Path, *, prefix: str = "", dtype: torch.dtype = torch.bfloat16) -> Packed:
    """`Kijai/WanVideo_comfy`: the published names in single files, `model.` before those of the VAE."""
    state = {prefix + name: value for name, value in transformer_state(t.transformer.state_dict()).items()}
    weights = _write(state, folder / f"Wan2_1-{t.variant.upper()}-14B.safetensors", dtype)
    text = _write(text_state(t.text.state_dict()), folder / "umt5-xxl-enc-bf16.safetensors", torch.bfloat16)
    codec = {f"model.{name}": value for name, value in autoencoder_state(t.vae.state_dict()).items()}
    vae = _write(codec, folder / "Wan2_1_VAE_bf16.safetensors", torch.bfloat16)
    image = None
    if t.image is not None:
        tower = _clip_state(t) | {"log_scale": torch.tensor(4.6)}
        name = "open-clip-xlm-roberta-large-vit-huge-14_visual_fp16.safetensors"
        image = _write(tower, folder / name, torch.float16)
    return Packed(folder, weights, vae, text, None, image, t)


def lightx2v(t: Twin, folder: Path, *, kind: Literal["fp8", "int8"] = "fp8") -> Packed:
    """LightX2V's quantised transformer, a scale for each row; the other parts as in the official folder."""
    rest = official(t, folder / "original")
    other, most = (torch.float8_e4m3fn, 448.0) if kind == "fp8" else (torch.int8, 127.0)
    state, out = {}, {}
    for name, value in transformer_state(t.transformer.state_dict()).items():
        if not _is_quantised(name, value):
            state[name], out[name] = value.bfloat16(), value
            continue
        scale = value.abs().amax(1, keepdim=True) / most
        state[name] = (value / scale).round().to(other) if kind == "int8" else (value / scale).to(other)
        state[f"{name}_scale"] = scale
        out[name] = state[name].float() * scale
    weights = _write(state, folder / f"wan2.1_{t.variant}_{kind}_lightx2v.safetensors")
    named = dict(zip(transformer_state(t.transformer.state_dict()), t.transformer.state_dict()))
    holds = replace(t, transformer=_with(t.transformer, {named[name]: value for name, value in out.items()}))
    return replace(rest, root=folder, transformer=weights, holds=holds)


def _is_quantised(name: str, value: Tensor) -> bool:
    """The matrices inside blocks, and they alone: embeddings, modulations, norms and the head stay as they are."""
    return (
        "block" in name
        and name.endswith(".weight")
        and value.ndim == 2
        and "embedding" not in name
        and "bias." not in name
    )


def _fp8(
    state: Mapping[str, Tensor], how: Quantised | None, dtype: torch.dtype
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, str]]:
    """ComfyUI's fp8: what to write, the values that come out again, the metadata."""
    fp8 = torch.float8_e4m3fn
    written: dict[str, Tensor] = {}
    out: dict[str, Tensor] = {}
    layers: dict[str, Any] = {}
    for name, value in state.items():
        if how is None or not _is_quantised(name, value):
            written[name], out[name] = value.to(dtype), value
            continue
        scale = torch.tensor(1.0) if how == "plain" else value.abs().amax() / 448
        written[name] = (value / scale).to(fp8)
        out[name] = written[name].float() * scale
        stem = name.removesuffix(".weight")
        if how == "scaled_old":
            written[f"{stem}.scale_weight"] = scale
            written[f"{stem}.scale_input"] = torch.tensor(1.0)
        elif how == "scaled_new":
            layers[stem] = {"format": "float8_e4m3fn"}
            written[f"{stem}.weight_scale"] = scale
            written[f"{stem}.input_scale"] = torch.tensor(1.0)
            said = json.dumps(layers[stem]).encode()
            written[f"{stem}.comfy_quant"] = torch.frombuffer(bytearray(said), dtype=torch.uint8)
    if how == "scaled_old":
        written["scaled_fp8"] = torch.empty(0, dtype=fp8)
    marks = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})} if layers else {}
    return written, out, marks


def _with(module: Any, state: Mapping[str, Tensor]) -> Any:
    other = deepcopy(module)
    other.load_state_dict(state)
    return other


# --- what lies in files ---


def _image_names(t: Twin) -> dict[str, Tensor]:
    """The image tower under the names that published files have (transformers 5 leaves `vision_model.` off)."""
    assert t.image is not None
    state = {name.removeprefix("vision_model."): value for name, value in t.image.state_dict().items()}
    return {f"vision_model.{name}": value for name, value in state.items() if "position_ids" not in name}


def _clip_state(t: Twin) -> dict[str, Tensor]:
    return image_state(_image_names(t), t.projection)


def _textual() -> dict[str, Tensor]:
    """Some of CLIP's text tower, which lies in the same file and which nothing reads."""
    generator = torch.Generator().manual_seed(9)
    shapes = {
        "textual.token_embedding.weight": (50, 32),
        "textual.type_embedding.weight": (1, 32),
        "textual.pos_embedding.weight": (20, 32),
        "textual.norm.weight": (32,),
        "textual.norm.bias": (32,),
        "textual.blocks.0.attn.q.weight": (32, 32),
        "textual.blocks.0.attn.q.bias": (32,),
        "textual.head.0.weight": (40, 32),
        "textual.head.2.weight": (EMBED, 40),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _write(
    state: Mapping[str, Tensor], path: Path, dtype: torch.dtype | None = None, metadata: Mapping[str, str] | None = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.to(dtype) if dtype and value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, dict(metadata) if metadata else None)
    return path


def _pickle(state: Mapping[str, Tensor], path: Path) -> Path:
    """As `torch.save(module.state_dict(), path)` writes it: an OrderedDict that carries `_metadata`."""
    ordered = OrderedDict(state)
    ordered._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    torch.save(ordered, path)
    return path


def _tokenizer_folder(t: Twin, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in t.tokenizer.items():
        (folder / name).write_bytes(data)
    return folder
