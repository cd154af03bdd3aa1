"""Weights in fewer bits, unpacked one at a time when they are asked for.

| kind | marks |
|---|---|
| fp8 | the dtype alone |
| fp8 as ComfyUI scales it | `scaled_fp8`, L.scale_weight, L.scale_input; of late L.weight_scale, L.input_scale, L.comfy_quant |
| fp8 and int8 of LightX2V | L.weight_scale, a number for each row |
| GGUF | blocks of Q8_0, Q6_K, Q5_K, Q4_K and others |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vitascope.checkpoints.blocks import Blocks, library
from vitascope.checkpoints.slots import Slot, Weights
from vitascope.errors import BadModel

_FP8 = {torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2, torch.float8_e5m2fnuz}
_PACKED = {*_FP8, torch.int8}
_SCALES = (".scale_weight", ".weight_scale")
_BESIDE = (".scale_input", ".input_scale", ".comfy_quant")
"""Marks of a layer that say nothing of its weight: how to scale what comes in, where one multiplies in fp8."""
_WHOLE = "scaled_fp8"
_FORMATS = ("float8_e4m3fn", "float8_e5m2")
_LONGEST_NOTE = 65_536


def dequantised(weights: Weights, dtype: torch.dtype = torch.float32) -> Weights:
    """The weights with every packed tensor unpacked to `dtype` when it is asked for, and without the marks of packing.

    Others stay as they are, and plain files altogether. It goes before `renamed`, which does not know the marks. Raises BadModel
    for a packing that is not known, and for scales that do not fit.
    """
    for layer, form in _formats(weights):
        if form not in _FORMATS:
            raise BadModel(
                f"{weights.origin}: the layer {layer[:120]} is packed as {form[:40]!r}, and of ComfyUI's packings "
                f"{' and '.join(_FORMATS)} are read; fetch the file in one of these, or in bf16."
            )
    _unpackable(weights)
    scales = {name.rpartition(".")[0]: name for name in weights if name.endswith(_SCALES)}
    scales = {layer: name for layer, name in scales.items() if f"{layer}.weight" in weights}
    marks = {name for name in weights if name.endswith(_SCALES) and name.rpartition(".")[0] in scales}
    if len(marks) != len(scales):
        twice = next(layer for layer in scales if all(layer + scale in marks for scale in _SCALES))
        raise BadModel(
            f"{weights.origin}: the layer {twice[:120]} has two scales, and only one can be meant; fetch the file again."
        )
    marks |= {name for name in weights if name.endswith(_BESIDE) and f"{name.rpartition('.')[0]}.weight" in weights}
    marks |= {name for name in weights if name == _WHOLE or name.endswith(f".{_WHOLE}")}
    slots: dict[str, Slot] = {}
    for name, slot in weights.slots.items():
        if name in marks:
            continue
        scale = scales.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
        slots[name] = _plain(weights.origin, name, slot, None if scale is None else weights.slots[scale], dtype)
    return weights if slots == weights.slots else weights.with_slots(slots)


def _plain(origin: str, name: str, slot: Slot, scale: Slot | None, dtype: torch.dtype) -> Slot:
    """The place of a tensor, unpacked if it is packed."""
    if isinstance(slot, Blocks):
        return Slot(slot.whole, dtype, partial(_unpacked, slot, dtype))
    if scale is None:
        return Slot(slot.shape, dtype, partial(_cast, slot, dtype)) if slot.dtype in _FP8 else slot
    rows = slot.shape[0] if slot.shape else 1
    count = torch.Size(scale.shape).numel()
    of_rows = count == rows and scale.shape[:1] == (rows,)
    if slot.dtype not in _PACKED or not scale.dtype.is_floating_point or not (count == 1 or of_rows):
        raise BadModel(
            f"{origin}: the scale of {name[:120]} has the shape {tuple(scale.shape)} and the kind {scale.dtype}, the weight "
            f"{slot.shape} and {slot.dtype}, and one number for all or for each row of fp8 or int8 is wanted; fetch the file in bf16."
        )
    view = (-1, *(1 for _ in slot.shape[1:])) if slot.shape else ()
    return Slot(slot.shape, dtype, partial(_scaled, slot, scale, view, dtype))


def _cast(slot: Slot, dtype: torch.dtype) -> Tensor:
    return slot.read().to(dtype)


def _scaled(slot: Slot, scale: Slot, view: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return slot.read().float().mul_(scale.read().float().reshape(view)).to(dtype)


def _unpacked(slot: Blocks, dtype: torch.dtype) -> Tensor:
    value = _unpack(slot.read().numpy(), slot.kind)
    return torch.from_numpy(value).reshape(slot.whole).to(dtype)


def _unpack(blocks: np.ndarray, kind: str) -> np.ndarray:
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    with np.errstate(all="ignore"):  # what is not finite is found, and named, where a module is filled
        return dequantize(blocks, GGMLQuantizationType[kind])


def _unpackable(weights: Weights) -> None:
    """Raise BadModel unless the library unpacks every kind of blocks there is: tried on one block of zeros each."""
    kinds = {slot.kind: name for name, slot in weights.slots.items() if isinstance(slot, Blocks)}
    if kinds:
        library()
    for kind, name in kinds.items():
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        try:
            _unpack(np.zeros((1, GGML_QUANT_SIZES[GGMLQuantizationType[kind]][1]), np.uint8), kind)
        except NotImplementedError as error:
            raise BadModel(
                f"{weights.origin}: {name[:120]} is packed as {kind}, which the library gguf does not unpack; fetch the file as "
                "Q8_0, Q6_K, Q5_K_M or Q4_K_M."
            ) from error


def _formats(weights: Weights) -> Iterator[tuple[str, str]]:
    """The layers of ComfyUI's newer files and how each says that it is packed: in the file's notes, or a tensor of bytes."""
    note = weights.metadata.get("_quantization_metadata")
    if note is not None:
        layers = _json(weights.origin, "_quantization_metadata", note)
        for layer, line in dict(layers.get("layers") or {}).items():
            yield str(layer), _format(weights.origin, str(layer), line)
    for name in weights:
        if name.endswith(".comfy_quant"):
            slot = weights.slots[name]
            if slot.dtype != torch.uint8 or weights.nbytes(name) > _LONGEST_NOTE:
                raise BadModel(
                    f"{weights.origin}: {name[:120]} is no note on how a layer is packed; fetch the file again."
                )
            layer = name.removesuffix(".comfy_quant")
            yield (
                layer,
                _format(weights.origin, layer, _json(weights.origin, name, slot.read().contiguous().numpy().tobytes())),
            )


def _format(origin: str, layer: str, line: Any) -> str:
    form = line.get("format") if isinstance(line, dict) else None
    if not isinstance(form, str):
        raise BadModel(f"{origin}: it does not say how the layer {layer[:120]} is packed; fetch the file again.")
    return form


def _json(origin: str, name: str, text: str | bytes) -> dict[str, Any]:
    try:
        table = json.loads(text)
        if not isinstance(table, dict) or not isinstance(table.get("layers", {}), dict):
            raise ValueError("no table")
    except (ValueError, RecursionError) as error:
        raise BadModel(
            f"{origin}: its note {name[:120]} on how layers are packed cannot be read ({str(error)[:100]}); fetch the file again."
        ) from error
    return table
