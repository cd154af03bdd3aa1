"""LoRAs put on a network and taken off again, with an account of every key.

The changed weight is W + sum_i s_i D_i(W): each file's change is that of the network as it was, so the order of files does
not matter, not even where a change depends on the weight (DoRA, set_weight), and strength 0 is the bare network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from torch import nn

from vitascope.checkpoints.lora import Change, Lora
from vitascope.checkpoints.merged import Merged
from vitascope.checkpoints.unmerged import Unmerged
from vitascope.checkpoints.weights import opened
from vitascope.errors import BadModel, BadShot

STRONGEST = 100
"""Strengths beyond this are slips of the pen."""


@dataclass(frozen=True)
class Report:
    """What became of every key of one file; each is in exactly one of the three."""

    origin: str
    applied: Mapping[str, str]
    """Key to the parameter that it changes."""
    ignored: Mapping[str, str]
    """Key to the reason."""
    mismatched: Mapping[str, str]
    """Key to the shapes that do not fit."""

    def __str__(self) -> str:
        """A line of counts, and a line for each reason with the number of keys and the first of them."""
        weights = len(set(self.applied.values()))
        total = len(self.applied) + len(self.ignored) + len(self.mismatched)
        lines = [
            f"{self.origin}: {len(self.applied)} of {total} keys change {weights} weight{'s' if weights != 1 else ''}"
        ]
        for word, table in (("ignored", self.ignored), ("not fitting", self.mismatched)):
            reasons: dict[str, list[str]] = {}
            for key, why in table.items():
                reasons.setdefault(why, []).append(key)
            lines += [
                f"  {word}: {len(keys)} ({keys[0]}{', ...' if keys[1:] else ''}): {why}"
                for why, keys in reasons.items()
            ]
        return "\n".join(lines)


class Form(Protocol):
    """A way in which changes are in force."""

    def apply(self, strengths: Sequence[float]) -> None: ...

    def remove(self) -> None: ...


class Attached:
    """LoRAs in force on a network, until `remove` or the end of a `with`."""

    def __init__(self, module: nn.Module, form: Form, reports: tuple[Report, ...], strengths: Sequence[float]) -> None:
        self.reports = reports
        self._form = form
        self._strengths = tuple(strengths)
        form.apply(self._strengths)
        _CARRYING.add(module)
        # The set forgets a network that is gone; a strong reference from here is fine, as none leads back.
        self._module: nn.Module | None = module

    @property
    def strengths(self) -> tuple[float, ...]:
        """Of each file, in the order given."""
        return self._strengths

    def change(self, strengths: Sequence[float]) -> None:
        """Other strengths, counted from the bare network again. Where that fails, the network is left bare."""
        if self._module is None:
            raise ValueError("change: these LoRAs have been removed; attach them again")
        if len(strengths) != len(self.reports):
            raise ValueError(
                f"change: {len(self.reports)} LoRAs are attached and {len(strengths)} strengths were given"
            )
        sane(strengths)
        try:
            self._form.apply(strengths)
        except BaseException:
            self.remove()
            raise
        self._strengths = tuple(strengths)

    def remove(self) -> None:
        """The network as it was, bit for bit. A second time does nothing."""
        if self._module is not None:
            self._form.remove()
            _CARRYING.discard(self._module)
            self._module = None

    def __enter__(self) -> Attached:
        return self

    def __exit__(self, *failure: object) -> None:
        self.remove()


# Two attachments would each hold what the other left as the bare network.
_CARRYING: WeakSet[nn.Module] = WeakSet()


def attach(module: nn.Module, loras: Sequence[tuple[Lora, float]], *, merge: bool = True) -> Attached:
    """Put files on a network with official Wan names, each with a strength. Every key is told of in `.reports`.

    merge  True: each changed weight is computed in float32 (float64 for float64), rounded once to the weight's own dtype, and
           takes the place of the old one, which is kept beside it (in main memory): no cost per step, twice the weights.
           False: weights, names and state_dict stay as they are, and the change is added at each forward: a few percent of
           time for low rank; LoHa, LoKr and DoRA build the change anew each time. The way for weights that come and go (offload).

    Raises BadModel, and the network is as it was, where nothing of a file fits or more of it does not fit than does; or where
    a merged weight would not be finite; BadShot for a strength beyond 100; ValueError for a network that carries LoRAs.
    """
    if module in _CARRYING:
        raise ValueError(
            "attach: this network carries LoRAs already; remove them first, and attach all of them at once"
        )
    sane([strength for _, strength in loras])
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    reports: list[Report] = []
    plan: dict[str, list[tuple[Change, int]]] = {}
    for index, (lora, _) in enumerate(loras):
        report, fitting = _fitted(lora, shapes)
        reports.append(report)
        for change in fitting:
            plan.setdefault(change.target, []).append((change, index))
    deltas = {target: [(change.delta, index) for change, index in changes] for target, changes in plan.items()}
    form = Merged(module, deltas) if merge else Unmerged(module, deltas)
    return Attached(module, form, tuple(reports), [strength for _, strength in loras])


def fitting(module: nn.Module, lora: Lora) -> Report:
    """What would become of every key, and nothing is changed. Raises BadModel as `attach` does."""
    return _fitted(lora, {name: tuple(parameter.shape) for name, parameter in module.named_parameters()})[0]


def _fitted(lora: Lora, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Report, list[Change]]:
    applied: dict[str, str] = {}
    ignored, mismatched = dict(lora.ignored), {}
    fit: list[Change] = []
    misfits: list[str] = []
    for change in lora.changes:
        shape = shapes.get(change.target)
        why = None if shape is None else change.delta.misfit(shape)
        if shape is None:
            ignored |= dict.fromkeys(change.keys, _absent(change.target, shapes))
        elif why is not None:
            mismatched |= dict.fromkeys(change.keys, f"{change.target}: {why}")
            misfits.append(f"{change.target}: {why}")
        else:
            applied |= dict.fromkeys(change.keys, change.target)
            fit.append(change)
    if not fit or len(misfits) > len(fit):
        first = misfits[0] if misfits else next(f"{c.target}: {_absent(c.target, shapes)}" for c in lora.changes)
        raise BadModel(
            f"{lora.origin}: this LoRA was made for another model, for {len(fit)} of its {len(lora.changes)} changes fit this "
            f"one ({first}); take one made for this model's size and kind."
        )
    return Report(lora.origin, applied, ignored, mismatched), fit


def _absent(target: str, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Why the model has no such weight."""
    words = target.split(".")
    if "img" in target:
        return "this model takes no image"
    if "vace" in target:
        return "this model has no VACE blocks"
    if words[0] == "blocks" and not any(name.startswith(f"blocks.{words[1]}.") for name in shapes):
        return f"this model has {len({n.split('.')[1] for n in shapes if n.startswith('blocks.')})} blocks"
    return "this model has no such weight"


def sane(strengths: Sequence[float]) -> None:
    """Raise BadShot for a strength that nobody means."""
    for strength in strengths:
        if not abs(strength) <= STRONGEST:  # so that nan fails it too
            raise BadShot(
                f"a LoRA's strength: {strength:g} was asked for, and beyond {STRONGEST} in either direction nothing of the model "
                "is left; give one from -2 to 2."
            )


def read_loras(loras: Sequence[tuple[Path, float]]) -> list[tuple[Lora, float]]:
    """Files with strengths, as far as it can be told without a model. Raises BadModel for what is no LoRA, BadShot."""
    sane([strength for _, strength in loras])
    files = [(opened(path), strength) for path, strength in loras]
    return [(Lora.read(file, origin=file.origin, metadata=file.metadata), strength) for file, strength in files]
