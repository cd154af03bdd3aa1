"""What a LoRA file holds: a change for each of some weights, and an account of every key that makes none."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from vitascope.checkpoints.deltas import Added, Decomposed, Delta, Hadamard, Kronecker, LowRank, Replaced
from vitascope.checkpoints.dialects import BARE, Name, Slot, Unknown, parsed
from vitascope.errors import BadModel
from vitascope.tensors import looks_like


@dataclass(frozen=True)
class Change:
    """One change of one weight."""

    target: str
    """The parameter, as Wan calls it: `blocks.0.self_attn.q.weight`."""
    delta: Delta
    keys: tuple[str, ...]
    """The file's keys that it was made of."""


@dataclass(frozen=True)
class Lora:
    """A file's changes, in the order of the file, and why its other keys change nothing. Of each key one of the two is told."""

    origin: str
    changes: tuple[Change, ...]
    ignored: Mapping[str, str]

    @classmethod
    def read(
        cls,
        weights: Mapping[str, Tensor],
        *,
        origin: str,
        metadata: Mapping[str, str] | None = None,
        expert: Literal[1, 2] = 1,
    ) -> Lora:
        """What a file in any of the dialects says. Its tensors stay where they are, memory maps too.

        metadata  the safetensors file's notes: `lora_adapter_metadata`, where diffusers keeps alpha; what peft keeps beside
                  its file, the text of adapter_config.json, reads the same under that name
        expert    which of Wan 2.2's two transformers is meant; the other's keys are ignored

        Raises BadModel: nothing in it is for a Wan transformer; half of a pair is missing, or kohya's alpha; a number in it
        is not finite; two keys say the same.
        """
        settings = _Settings.read(metadata or {}, origin, expert)
        groups: dict[str, _Group] = {}
        ignored: dict[str, str] = {}
        for key in weights:
            name = parsed(key)
            if isinstance(name, Unknown):
                ignored[key] = name.why
            elif name.expert != expert:
                ignored[key] = f"it is for Wan 2.2's transformer {name.expert}, and this is transformer {expert}"
            else:
                value = _checked(weights[key], key, origin)
                groups.setdefault(name.module, _Group(origin, name.module)).take(name, key, value)
        changes = [change for group in groups.values() for change in group.changes(settings, ignored)]
        if not changes:
            raise BadModel(f"{origin}: {_nothing(weights, ignored)}; give a LoRA made for Wan.")
        return cls(origin, tuple(changes), ignored)


_Part = tuple[Delta, tuple[str, ...]]
"""A change of a weight and the keys it was made of."""


@dataclass
class _Group:
    """The tensors of one module on their way to become changes."""

    origin: str
    module: str
    held: dict[Slot, tuple[str, Tensor]] = field(default_factory=dict)
    path: str = ""
    flat: bool = False

    def take(self, name: Name, key: str, value: Tensor) -> None:
        if name.slot in self.held:
            raise BadModel(
                f"{self.origin}: {self.held[name.slot][0]} and {key} say the same of {self.module}, and which is meant cannot "
                "be told; keep one of them."
            )
        self.held[name.slot] = (key, value)
        self.path, self.flat = name.path, self.flat or name.flat

    def changes(self, settings: _Settings, ignored: dict[str, str]) -> list[Change]:
        """The module's changes; what is left over is told in `ignored`."""
        bare = self.module.rsplit(".", 1)[-1] in BARE
        weight = self.module if bare else f"{self.module}.weight"
        bias = f"{self.module}.bias"
        alpha = self.held.get("alpha")
        forms = (self._low_rank(settings), self._hadamard(settings), self._kronecker(settings))
        parts = [part for part in forms if part is not None]
        if parts and alpha is not None:
            parts[0] = (parts[0][0], (*parts[0][1], alpha[0]))
            del self.held["alpha"]
        parts += [(Added(value), keys) for value, keys in self._value("diff")]
        changes = [Change(weight, delta, keys) for delta, keys in parts]
        if parts and "dora_scale" in self.held:
            key, magnitude = self.held.pop("dora_scale")
            whole = Decomposed(tuple(delta for delta, _ in parts), magnitude)
            changes = [Change(weight, whole, (*(k for _, keys in parts for k in keys), key))]
        changes += [Change(weight, Replaced(value), keys) for value, keys in self._value("set_weight")]
        changes += [Change(bias, Added(value), keys) for value, keys in self._value("diff_b")]
        scale = next((delta.scale for delta, _ in parts if isinstance(delta, LowRank)), None)
        if scale is not None and "up_bias" in self.held:
            # peft: it is the bias of B, so alpha / rank scales it as it scales B A.
            key, value = self.held.pop("up_bias")
            changes.append(Change(bias, Added(value if scale == 1 else value.float() * scale), (key,)))
        for slot, (key, _) in self.held.items():
            ignored[key] = f"there is no change of {self.module} that this {slot} would belong to"
        return changes

    def _value(self, slot: Slot) -> list[tuple[Tensor, tuple[str, ...]]]:
        """The tensor of a slot and its key, if it is there."""
        if slot not in self.held:
            return []
        key, value = self.held.pop(slot)
        return [(value, (key,))]

    def _low_rank(self, settings: _Settings) -> _Part | None:
        found = self._taken("down", "up")
        if found is None:
            return None
        (down, up), keys = found
        mid = self.held.pop("mid", None)
        delta = LowRank(down, up, self._scale(settings, down.shape[0]), None if mid is None else mid[1])
        return delta, keys if mid is None else (*keys, mid[0])

    def _hadamard(self, settings: _Settings) -> _Part | None:
        cores: tuple[Slot, ...] = ("hada_t1", "hada_t2") if {"hada_t1", "hada_t2"} & set(self.held) else ()
        found = self._taken("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", *cores)
        if found is None:
            return None
        (a, b, c, d, *t), keys = found
        t1, t2 = t or (None, None)
        return Hadamard(a, b, c, d, self._scale(settings, b.shape[0]), t1, t2), keys

    def _kronecker(self, settings: _Settings) -> _Part | None:
        if not any(slot.startswith("lokr") for slot in self.held):
            return None
        first, first_keys = self._side("lokr_w1", "lokr_w1_a", "lokr_w1_b")
        second, second_keys = self._side("lokr_w2", "lokr_w2_a", "lokr_w2_b")
        core, keys = None, (*first_keys, *second_keys)
        if len(second) == 2 and "lokr_t2" in self.held:
            key, core = self.held.pop("lokr_t2")
            keys = (*keys, key)
        delta = Kronecker(first, second, 1.0, core)
        # Where both sides are whole there is no rank, and alpha has no effect: LyCORIS and ComfyUI agree.
        return delta if delta.rank is None else replace(delta, scale=self._scale(settings, delta.rank)), keys

    def _side(self, whole: Slot, a: Slot, b: Slot) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        found = self._taken(whole) or self._taken(a, b)
        if found is None:
            raise self._lacking(whole)
        return tuple(found[0]), found[1]

    def _taken(self, *slots: Slot) -> tuple[list[Tensor], tuple[str, ...]] | None:
        """The tensors of these slots and their keys; None where none is there. Raises BadModel where only some are."""
        missing = [slot for slot in slots if slot not in self.held]
        if len(missing) == len(slots):
            return None
        if missing:
            raise self._lacking(*missing)
        taken = [self.held.pop(slot) for slot in slots]
        return [value for _, value in taken], tuple(key for key, _ in taken)

    def _lacking(self, *slots: str) -> BadModel:
        return BadModel(
            f"{self.origin}: of {self.module} it lacks {', '.join(slots)}, without which the rest means nothing: it was cut "
            "off or badly converted; fetch the file again."
        )

    def _scale(self, settings: _Settings, rank: int) -> float:
        """What multiplies the product of the factors: alpha / rank, or 1 where no alpha is told."""
        told = self.held.get("alpha")
        if told is None and self.flat:
            raise BadModel(
                f"{self.origin}: {self.path} has no .alpha, which this kind of file always gives, so how strong it is cannot be "
                "known; fetch the file again."
            )
        if told is not None and told[1].numel() != 1:
            raise BadModel(
                f"{self.origin}: {told[0]} holds {told[1].numel()} numbers and one was wanted; fetch the file again."
            )
        alpha = settings.alpha(self.path) if told is None else float(told[1])
        if alpha is None or rank == 0:
            return 1.0
        return alpha / (math.sqrt(rank) if settings.rank_stabilised else rank)


@dataclass(frozen=True)
class _Settings:
    """What peft's notes say of alpha. Ranks are not read from there: the tensors have them, whatever the pattern."""

    default: float | None = None
    pattern: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False
    """alpha / sqrt(rank) (Kalajdzievski 2023, arXiv:2312.03732)."""

    @classmethod
    def read(cls, metadata: Mapping[str, str], origin: str, expert: int) -> _Settings:
        text = metadata.get("lora_adapter_metadata")
        if text is None:
            return cls()
        try:
            table = json.loads(text)
            if not isinstance(table, dict):
                raise ValueError("it is no table")
            # A pipeline's file says of which model each line is; a model's own does not.
            own = "transformer." if expert == 1 else "transformer_2."
            mine = {key.removeprefix(own): value for key, value in table.items() if key.startswith(own)} or table
            alpha, pattern = mine.get("lora_alpha"), mine.get("alpha_pattern") or {}
            if not isinstance(pattern, dict):
                raise ValueError("alpha_pattern is no table")
            table = {_literal(key): _number(value, f"alpha of {key[:80]}") for key, value in pattern.items()}
            return cls(None if alpha is None else _number(alpha, "lora_alpha"), table, mine.get("use_rslora") is True)
        except (ValueError, RecursionError) as error:
            raise BadModel(
                f"{origin}: its notes (lora_adapter_metadata) cannot be read ({' '.join(str(error).split())[:120]}), and how "
                "strong it is stands there; fetch the file again."
            ) from error

    def alpha(self, path: str) -> float | None:
        # The ends of names, as peft takes them, but never as the regular expressions that a stranger may have written.
        found = next((value for end, value in self.pattern.items() if path == end or path.endswith(f".{end}")), None)
        return self.default if found is None else found


def _literal(pattern: str) -> str:
    return pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is no number")
    return float(value)


def _checked(value: Tensor, key: str, origin: str) -> Tensor:
    if not value.is_floating_point() and not key.endswith(".alpha"):
        raise BadModel(
            f"{origin}: {key} holds {value.dtype}, and floating-point numbers were wanted; fetch the plain file."
        )
    if not value.numel() or value.ndim > 5:
        raise BadModel(f"{origin}: {key} has the shape {list(value.shape)}, which no weight has; fetch the file again.")
    if value.is_floating_point() and not torch.isfinite(value if value.element_size() > 1 else value.float()).all():
        raise BadModel(
            f"{origin}: {key} holds numbers that are not finite, so a film made with it would be black; fetch the file again, "
            "or train it again if it was saved so."
        )
    return value


def _nothing(weights: Mapping[str, Tensor], ignored: Mapping[str, str]) -> str:
    if not weights:
        return "it holds no tensors"
    key, why = next(iter(ignored.items()))
    likely = (
        None if any("lora" in name or "lokr" in name or "hada" in name for name in weights) else looks_like(weights)
    )
    if likely:
        return f"a LoRA was wanted and it looks like {likely}"
    return f"of its {len(weights)} tensors none changes a Wan transformer (the first, {key[:120]}: {why})"
