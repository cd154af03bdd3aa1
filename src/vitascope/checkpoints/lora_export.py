"""A LoRA written under the names that others read, and made from the difference of two models."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vitascope.checkpoints.deltas import Added, Decomposed, Delta, Hadamard, Kronecker, LowRank, Replaced
from vitascope.checkpoints.dialects import BARE, to_diffusers
from vitascope.checkpoints.lora import Change, Lora
from vitascope.errors import BadModel


def comfyui(lora: Lora) -> dict[str, Tensor]:
    """Tensors by the names that ComfyUI reads: `diffusion_model.` and the official module. Factors as they are, and alpha."""
    named: dict[str, Tensor] = {}
    for change in lora.changes:
        module, leaf = _module(change.target)
        place = f"diffusion_model.{module}"
        if leaf == "bias":
            named |= {f"{place}.diff_b": _value(change)}
        else:
            named |= {f"{place}.{ending}": value for ending, value in _written(change.delta).items()}
    return {name: value.contiguous() for name, value in named.items()}


def diffusers(lora: Lora) -> dict[str, Tensor]:
    """Tensors by the names that diffusers and peft read: `transformer.` and diffusers' module, lora_A and lora_B.

    That naming has no place for alpha, so a scale other than 1 goes into A: exact for powers of two, rounded once to A's
    dtype otherwise. Raises BadModel for what diffusers cannot read for Wan: anything but low rank and the bias beside it.
    """
    named: dict[str, Tensor] = {}
    low_rank = {_module(c.target)[0] for c in lora.changes if isinstance(c.delta, LowRank)}
    for change in lora.changes:
        module, leaf = _module(change.target)
        delta = change.delta
        if isinstance(delta, LowRank) and delta.mid is None:
            place = f"transformer.{to_diffusers(module)}"
            scaled = delta.down if delta.scale == 1 else (delta.down.float() * delta.scale).to(delta.down.dtype)
            named |= {f"{place}.lora_A.weight": scaled, f"{place}.lora_B.weight": delta.up}
        elif leaf == "bias" and module in low_rank:
            named[f"transformer.{to_diffusers(module)}.lora_B.bias"] = _value(change)
        else:
            raise BadModel(
                f"{lora.origin}: it was to be written for diffusers, whose naming for Wan has only low-rank changes, and that of "
                f"{change.target} is of another form ({type(delta).__name__}); write it for ComfyUI."
            )
    return {name: value.contiguous() for name, value in named.items()}


@torch.no_grad()
def difference(
    base: Mapping[str, Tensor],
    tuned: Mapping[str, Tensor],
    *,
    rank: int,
    origin: str,
    dtype: torch.dtype = torch.float32,
) -> Lora:
    """The LoRA that leads from one set of weights, under official names, to another.

    Matrices and convolutions by the nearest change of that rank (Eckart and Young 1936, doi:10.1007/BF02288367: the largest
    singular values), whole where they are no larger than that; biases, norms and modulations in full. What does not
    differ is left out. Raises BadModel where names or shapes differ or nothing does, ValueError for a rank below 1.
    """
    if rank < 1:
        raise ValueError(f"difference: rank must be at least 1, got {rank}")
    changes: list[Change] = []
    for name in dict.fromkeys((*base, *tuned)):
        if name not in base or name not in tuned or base[name].shape != tuned[name].shape:
            raise BadModel(
                f"{origin}: the two models differ in {name} itself, not in its numbers; take two of one architecture."
            )
        delta = tuned[name].double() - base[name].double()
        if not delta.any():
            continue
        if delta.ndim < 2 or name.rsplit(".", 1)[-1] in BARE:
            changes.append(Change(name, Added(delta.to(dtype)), (name,)))
        else:
            changes.append(Change(name, _nearest(delta, rank, dtype), (name,)))
    if not changes:
        raise BadModel(f"{origin}: the two models are the same, so there is nothing to keep; take two that differ.")
    return Lora(origin, tuple(changes), {})


def _nearest(delta: Tensor, rank: int, dtype: torch.dtype) -> LowRank:
    u, s, v = torch.linalg.svd(delta.flatten(1), full_matrices=False)
    root = s[:rank].sqrt()  # half of each singular value to each side: both in the range of a narrow dtype
    down = (root[:, None] * v[:rank]).reshape(-1, *delta.shape[1:])
    up = (u[:, :rank] * root).reshape(delta.shape[0], -1, *[1] * (delta.ndim - 2))
    return LowRank(down.to(dtype), up.to(dtype), 1.0)


def _written(delta: Delta) -> dict[str, Tensor]:
    """Ending and tensor of each part of a weight's change."""
    match delta:
        case LowRank(down, up, scale, mid):
            named = {"lora_down.weight": down, "lora_up.weight": up, "alpha": _alpha(scale, delta.rank)}
            return named if mid is None else {**named, "lora_mid.weight": mid}
        case Hadamard():
            named = {f"hada_{slot}": getattr(delta, slot) for slot in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")}
            named = {name: value for name, value in named.items() if value is not None}
            return {**named, "alpha": _alpha(delta.scale, delta.rank)}
        case Kronecker():
            named = _side("lokr_w1", delta.first) | _side("lokr_w2", delta.second)
            if delta.t2 is not None:
                named["lokr_t2"] = delta.t2
            return named if delta.rank is None else {**named, "alpha": _alpha(delta.scale, delta.rank)}
        case Decomposed(parts, magnitude):
            named = {ending: value for part in parts for ending, value in _written(part).items()}
            return {**named, "dora_scale": magnitude}
        case Replaced(value):
            return {"set_weight": value}
        case Added(value):
            return {"diff": value}
    raise TypeError(f"no ending is known for {type(delta).__name__}")


def _side(name: str, side: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {name: side[0]} if len(side) == 1 else {f"{name}_a": side[0], f"{name}_b": side[1]}


def _alpha(scale: float, rank: int) -> Tensor:
    return torch.tensor(scale * rank)


def _module(target: str) -> tuple[str, str]:
    """The module, or the parameter that belongs to none, and which of its parameters is meant."""
    path, _, leaf = target.rpartition(".")
    return (target, "weight") if leaf in BARE else (path, leaf)


def _value(change: Change) -> Tensor:
    assert isinstance(change.delta, Added)
    return change.delta.value
