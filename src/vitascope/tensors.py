"""Weight files, read with no trust: what is in one is checked before a byte of it reaches a network."""

from __future__ import annotations

import hashlib
import json
import math
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from vitascope.errors import BadModel

LARGEST_HEADER = 100_000_000
"""Bytes of the longest header that is read: the format's own limit."""

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
"""The kinds of numbers that a safetensors file can hold, by the format's word for them."""

_SHOWN = 10
"""How many names a sentence quotes of a longer list."""


@dataclass(frozen=True)
class Entry:
    """What a file's header says of one tensor."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    """Where its bytes begin and end, counted from the end of the header."""
    end: int


@dataclass(frozen=True)
class Contents:
    """What a whole header says."""

    entries: dict[str, Entry]
    metadata: dict[str, str]
    start: int
    """The byte of the file at which the tensors begin."""
    size: int
    """Bytes of the whole file."""


def write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file, whole or not at all. Raises BadModel when it cannot be written; the old file stands then."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        # Not save_file: that makes a file which none but its owner can read.
        text = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
        with partial.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, SafetensorError) as error:
        raise BadModel(
            f"{path}: it could not be written ({error}); what was there before still stands; free some space, or give "
            "another folder."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def header(path: Path) -> dict[str, Entry]:
    """What a safetensors file holds, by name, without reading it whole.

    Every size is checked against the file before it is believed. Raises BadModel that says what the file is instead.
    """
    return contents(path).entries


def contents(path: Path) -> Contents:
    """The same with the notes and the place where the numbers begin. Raises BadModel as `header` does."""
    if path.is_dir():
        raise BadModel(f"{path}: this is a folder and a weight file was wanted; copy the whole bundle again.")
    if not path.is_file():
        raise BadModel(f"{path}: there is no such file; copy the whole bundle again.")
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            begin = file.read(512)
            length = struct.unpack("<Q", begin[:8])[0] if len(begin) >= 8 else 0
            if begin[8:9] != b"{" or length < 2:
                raise BadModel(f"{path}: {_instead(begin, size)}")
            if length > LARGEST_HEADER:
                raise BadModel(
                    f"{path}: its header claims {length:,} bytes and the format ends at {LARGEST_HEADER:,}, so it is no "
                    "safetensors file; fetch the file again."
                )
            if length > size - 8:
                raise BadModel(
                    f"{path}: its header claims {length:,} bytes and the whole file has {size:,}: it was cut off; fetch "
                    "the file again."
                )
            file.seek(8)
            text = file.read(length)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
    try:
        table = json.loads(text, object_pairs_hook=_once)
        entries = _entries(table)
    except (ValueError, RecursionError) as error:
        raise BadModel(
            f"{path}: its header is not that of a safetensors file ({_short(error)}); fetch the file again."
        ) from error
    promised = 8 + length + max((entry.end for entry in entries.values()), default=0)
    if size != promised:
        word = "was cut off" if size < promised else "has something added at its end"
        raise BadModel(
            f"{path}: it has {size:,} bytes and its header promises {promised:,}: it {word}; fetch the file again."
        )
    return Contents(entries, table.get("__metadata__", {}), 8 + length, size)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises BadModel that says what the file is instead; never unpickles."""
    header(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise BadModel(f"{path}: it is no whole safetensors file ({_short(error)}); fetch the file again.") from error


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
        f"{name} ({_size(found[name])} where {_size(wanted[name])} is wanted)"
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


def _instead(begin: bytes, size: int) -> str:
    """What a file is, by its first bytes, and what would do."""
    text = begin.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if size == 0:
        return "this file is empty; fetch it again."
    if begin.startswith(b"version https://git-lfs"):
        return (
            "this is a Git LFS pointer, a note that stands for the weights, and not the weights; run `git lfs pull` where "
            "it came from, or download the file itself."
        )
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml")):
        return "this is a web page saved under the name of a weight file; download the file itself."
    if begin.startswith(b"PK\x03\x04"):
        return (
            "this is a zip archive, as torch.save writes for .pth and .ckpt: it can run code when it is opened and is never "
            "unpickled here; save the weights as safetensors."
        )
    if begin[:1] == b"\x80" and begin[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "this is a pickle: it can run code when it is opened and is never unpickled here; save the weights as safetensors."
    if begin.startswith(b"GGUF"):
        return "this is a GGUF file, which is not read here; fetch the weights as safetensors."
    if begin.startswith(b"\x89HDF"):
        return "this is an HDF5 file, which is not read here; fetch the weights as safetensors."
    return "it does not begin as a safetensors file does; fetch the file again."


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands in it twice")
    return table


def _entries(table: Any) -> dict[str, Entry]:
    """The header's table, every line of it checked: kinds, sizes, and offsets without gap or overlap."""
    if not isinstance(table, dict):
        raise ValueError("it is no table of names")
    notes = table.get("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(value, str) for value in notes.values()):
        raise ValueError("its notes are not text")
    entries = {name: _entry(name, line) for name, line in table.items() if name != "__metadata__"}
    place = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].end)):
        if entry.start != place:
            raise ValueError(f"{name[:80]} begins at byte {entry.start:,} where {place:,} comes next")
        place = entry.end
    return entries


def _entry(name: str, line: Any) -> Entry:
    if not name.isprintable():
        raise ValueError(f"{name[:80]!r} is no name")
    if not isinstance(line, dict) or set(line) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name[:80]} is not told as dtype, shape and data_offsets")
    dtype, shape, offsets = line["dtype"], line["shape"], line["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(f"{name[:80]} is of an unknown kind, {str(dtype)[:20]!r}")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2 or len(shape) > 16:
        raise ValueError(f"the shape or place of {name[:80]} is not made of whole numbers")
    start, end = offsets
    if end - start != math.prod(shape) * DTYPES[dtype].itemsize:
        raise ValueError(f"{name[:80]} of shape {_size(shape)} does not take the bytes given to it")
    # Of no bytes, and yet no tensor: the strides of 0 x 2^40 x 2^40 do not fit into a machine's word.
    if math.prod(max(n, 1) for n in shape) >= 2**63:
        raise ValueError(f"{name[:80]} of shape {_size(shape)} is larger than any tensor")
    return Entry(dtype, tuple(shape), start, end)


def _is_counts(values: Any) -> bool:
    # bool is an int in Python, and JSON's true is no size; beyond 2^63 no file and no tensor reaches.
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)


def _size(shape: Sequence[int]) -> str:
    return "x".join(str(n) for n in shape)[:80] if len(shape) else "a single number"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(name[:120] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
