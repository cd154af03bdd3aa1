"""Weight files, read with no trust: what is in one is checked before a byte of it reaches a network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.headers import header, short, sized
from vitascope.swapping import file_in_place_of

DTYPES: dict[str, torch.dtype] = {
    **{
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "C64": torch.complex64,
    },
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E4M3FNUZ": torch.float8_e4m3fnuz, "F8_E8M0": torch.float8_e8m0fnu},
    **{"F8_E5M2": torch.float8_e5m2, "F8_E5M2FNUZ": torch.float8_e5m2fnuz},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8},
}
"""The kinds of numbers that a safetensors file can hold, by the format's word for them; `headers.BYTES` has the same words."""

_SHOWN = 10
"""How many names a sentence quotes of a longer list."""


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all. Raises BadModel when it cannot be written; the old file stands then."""
    try:
        # Not save_file: that makes a file which none but its owner can read.
        text = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
        with file_in_place_of(path) as partial:
            partial.write_bytes(text)
    except (OSError, SafetensorError) as error:
        raise BadModel(
            f"{path}: it could not be written ({error}); what was there before still stands; free some space, or give "
            "another folder."
        ) from error


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises BadModel that says what the file is instead; never unpickles."""
    header(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path}: it is no whole safetensors file ({short(error)}); fetch the file again.") from error


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def agree(wanted: Mapping[str, Sequence[int]], found: Mapping[str, Sequence[int]], *, origin: str) -> None:
    """Compare names and shapes of the tensors wanted with those found.

    Raises BadModel unless they are the same: the first ten of each kind of difference, and what the file looks like.
    """
    missing = [name for name in wanted if name not in found]
    unexpected = [name for name in found if name not in wanted]
    shaped = [
        f"{name} ({sized(found[name])} where {sized(wanted[name])} is wanted)"
        for name in wanted
        if name in found and tuple(wanted[name]) != tuple(found[name])
    ]
    told = [
        f"{word} {_listed(names)}"
        for names, word in (
            (missing, "it lacks"),
            (unexpected, "it has beside what is wanted"),
            (shaped, "it has in another shape"),
        )
        if names
    ]
    if told:
        likely = looks_like(found)
        guess = f"it looks like {likely}" if likely else "it belongs to another model"
        raise BadModel(f"{origin}: {'; '.join(told)}; {guess}; take the file that goes with this recipe.")


def fill(module: nn.Module, tensors: Mapping[str, Tensor], *, origin: str) -> None:
    """Put every tensor into a freshly built module, in the module's own precision, or raise BadModel and change nothing.

    Names and shapes must agree and every number must be finite. A tensor of zeros is refused unless the architecture starts
    with zeros there (biases, the maps that begin silent): training moves whatever does not start at zero, and never all the
    way to it, so such a tensor is a hole that a broken copy or conversion left.
    """
    wanted = module.state_dict()
    agree({k: v.shape for k, v in wanted.items()}, {k: v.shape for k, v in tensors.items()}, origin=origin)
    ready: dict[str, Tensor] = {}
    for name, own in wanted.items():
        value = tensors[name]
        if value.is_floating_point() != own.is_floating_point():
            raise BadModel(
                f"{origin}: the tensor {name} holds {value.dtype} where {own.dtype} is wanted; take the file that goes with "
                "this recipe."
            )
        value = value.to(own.device, own.dtype)
        if not torch.isfinite(value).all():
            raise BadModel(
                f"{origin}: the tensor {name} holds numbers that are not finite; fetch the file again, or train the model "
                "again if it was saved so."
            )
        if value.numel() and not value.any() and own.any():
            raise BadModel(
                f"{origin}: the tensor {name} holds nothing but zeros, which no training leaves; fetch the file again."
            )
        ready[name] = value
    module.load_state_dict(ready)


def looks_like(names: Mapping[str, object]) -> str | None:
    """Whose weights these are, judged by the names of the tensors; None where nothing tells."""
    for marks, what in _FAMILIES:
        if all(any(mark in name for name in names) for mark in marks):
            return what
    return None


# The first line of which every mark occurs in some name decides: the particular stands before the general.
_FAMILIES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("lora_",), "a LoRA, which goes on top of a model and is none itself"),
    (("model.diffusion_model.", "first_stage_model."), "a Stable Diffusion checkpoint in one file"),
    (("model.diffusion_model.",), "a transformer as ComfyUI packs it"),
    (("condition_embedder.", "scale_shift_table"), "a Wan transformer in the diffusers layout"),
    (("time_embedding.", "patch_embedding.", "img_emb."), "an image-to-video transformer of Wan's form"),
    (("time_embedding.", "patch_embedding.", "self_attn."), "a video transformer of Wan's form"),
    (("double_blocks.", "single_blocks."), "a Flux or HunyuanVideo transformer"),
    (("down_blocks.", "mid_block.attentions.", "time_embedding."), "a U-Net in the diffusers layout"),
    (("vae.encoder.", "vae.decoder."), "a vitascope codec"),
    (("encoder.down_blocks.", "decoder.up_blocks."), "an autoencoder in the diffusers layout"),
    (("encoder.downsamples.", "decoder.upsamples."), "an autoencoder of Wan's form"),
    (("text_model.", "vision_model."), "a CLIP in the transformers layout"),
    (("visual.", "token_embedding.", "text_projection"), "a CLIP in OpenAI's layout"),
    (("SelfAttention.q.", "shared.weight"), "a T5 text encoder"),
    (("model.layers.", "lm_head."), "a language model"),
)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
