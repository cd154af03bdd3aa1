"""Changes summed into the weights themselves, with the old weights kept to go back to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from vitascope.checkpoints.deltas import Delta
from vitascope.errors import BadModel

Deltas = Mapping[str, Sequence[tuple[Delta, int]]]
"""Of each parameter its changes, and which file's strength goes with each."""


def changed(base: Tensor, deltas: Sequence[tuple[Delta, int]], strengths: Sequence[float]) -> Tensor:
    """base + sum of strength * delta(base), summed in float32 at least and rounded once to base's dtype; a new tensor."""
    total = base.to(torch.float64 if base.dtype == torch.float64 else torch.float32, copy=True)
    for delta, index in deltas:
        if strengths[index]:
            total.add_(delta.of(base), alpha=strengths[index])
    return total.to(base.dtype)


class Merged:
    """The form that costs nothing per step. The old parameters are put aside as objects and never written to.

    So a weight that is a view of a memory map stays one, and what comes back is what was there. The old weights of an
    accelerator wait in main memory.
    """

    def __init__(self, module: nn.Module, deltas: Deltas) -> None:
        self._deltas = deltas
        self._places = {target: place(module, target) for target in deltas}
        self._base: dict[str, nn.Parameter] = {}
        for target, (owner, leaf) in self._places.items():
            weight = owner.get_parameter(leaf)
            if weight.is_meta:
                raise ValueError(
                    f"{target}: its numbers are not in memory, so nothing can be merged into them; attach unmerged"
                )
            if weight.element_size() < 2:
                raise BadModel(
                    f"{target}: a LoRA was to be merged into weights of {weight.dtype}, which are too coarse to hold it; attach "
                    "it unmerged, or load the model in bf16."
                )

    @torch.no_grad()
    def apply(self, strengths: Sequence[float]) -> None:
        """Sets every weight for these strengths, counted from the old ones. All or, where it fails, none."""
        try:
            for target, (owner, leaf) in self._places.items():
                self._set(target, owner, leaf, strengths)
        except BaseException:
            self.remove()
            raise

    def _set(self, target: str, owner: nn.Module, leaf: str, strengths: Sequence[float]) -> None:
        present = owner.get_parameter(leaf)
        base = self._base.get(target, present)
        value = changed(base.detach().to(present.device), self._deltas[target], strengths)
        if not torch.isfinite(value).all():
            raise BadModel(
                f"{target}: with strengths {', '.join(f'{s:g}' for s in strengths)} the merged weight exceeds what "
                f"{base.dtype} can hold; lower the strengths."
            )
        if target not in self._base:
            aside = (
                base
                if base.device.type == "cpu"
                else nn.Parameter(base.detach().cpu(), requires_grad=base.requires_grad)
            )
            self._base[target] = aside
        setattr(owner, leaf, nn.Parameter(value, requires_grad=base.requires_grad))

    def remove(self) -> None:
        """The old parameters, on the device and in the dtype that the network has by now."""
        for target, base in self._base.items():
            owner, leaf = self._places[target]
            present = owner.get_parameter(leaf)
            if (base.device, base.dtype) != (present.device, present.dtype):
                moved = base.detach().to(present.device, present.dtype)
                base = nn.Parameter(moved, requires_grad=base.requires_grad)
            setattr(owner, leaf, base)
        self._base.clear()


def place(module: nn.Module, target: str) -> tuple[nn.Module, str]:
    """The module that owns a parameter, and its name there."""
    path, _, leaf = target.rpartition(".")
    return module.get_submodule(path), leaf
