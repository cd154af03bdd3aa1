"""Changes added while a network runs; its modules, names and state_dict stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from vitascope.checkpoints.deltas import Delta, LowRank
from vitascope.checkpoints.merged import Deltas, changed, place


class Unmerged:
    """The form that leaves the weights alone. Linear maps get a second, small map beside them; the few other parameters
    (norms, modulations, the patch embedding) are exchanged while their module runs and are back when it is done."""

    def __init__(self, module: nn.Module, deltas: Deltas) -> None:
        self._strengths: list[float] = []
        self._handles: list[RemovableHandle] = []
        self._beside: dict[nn.Module, _Beside] = {}
        self._exchanges: dict[nn.Module, _Exchange] = {}
        self._hosts: dict[nn.Module, nn.Module] = {}
        for target, changes in deltas.items():
            owner, leaf = place(module, target)
            if isinstance(owner, nn.Linear):
                beside = self._beside.setdefault(owner, _Beside(self._strengths))
                (beside.bias if leaf == "bias" else beside.weight).extend(changes)
            else:
                self._exchanges.setdefault(owner, _Exchange(owner, self._strengths)).deltas[leaf] = list(changes)
                # A convolution's weight may be read by the module around it, without a call of its own: DiT does so.
                outside = module.get_submodule(".".join(target.split(".")[:-2]))
                self._hosts[owner] = outside if isinstance(owner, nn.Conv3d) else owner

    def apply(self, strengths: Sequence[float]) -> None:
        """From the next forward on, these strengths."""
        self._strengths[:] = strengths
        if self._handles:
            return
        for owner, beside in self._beside.items():
            self._handles.append(owner.register_forward_hook(beside, with_kwargs=True))
        for owner, exchange in self._exchanges.items():
            host = self._hosts[owner]
            # After those who bring weights (offload), and before those who take them away again, even out of a failure.
            self._handles.append(host.register_forward_pre_hook(exchange.enter))
            self._handles.append(host.register_forward_hook(exchange.leave, prepend=True, always_call=True))

    def remove(self) -> None:
        """Nothing is added any more, and nothing is left exchanged."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        for exchange in self._exchanges.values():
            exchange.back()


class _Beside:
    """A forward hook of a linear map: x W^T + b becomes x W^T + b + sum of s (x D^T + d)."""

    def __init__(self, strengths: Sequence[float]) -> None:
        self.weight: list[tuple[Delta, int]] = []
        self.bias: list[tuple[Delta, int]] = []
        self._strengths = strengths
        self._near: dict[tuple[int, torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def __call__(self, module: nn.Linear, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> Tensor:
        x = args[0] if args else kwargs["input"]
        # In the dtype of the map itself; autocast would narrow the maps that keep out of its reach.
        kind = output.device.type
        with torch.autocast(kind, enabled=False):
            x = x.to(output.dtype)
            for place, (delta, index) in enumerate(self.weight):
                if strength := self._strengths[index]:
                    if isinstance(delta, LowRank) and delta.mid is None:
                        down, up = self._factors(place, delta, output)
                        output = torch.add(output, F.linear(F.linear(x, down), up), alpha=strength * delta.scale)
                    else:
                        matrix = delta.of(module.weight.detach()).to(output.device, output.dtype)
                        output = torch.add(output, F.linear(x, matrix), alpha=strength)
            for delta, index in self.bias:
                if (strength := self._strengths[index]) and module.bias is not None:
                    output = torch.add(output, delta.of(module.bias.detach()).to(output), alpha=strength)
        return output

    def _factors(self, place: int, delta: LowRank, output: Tensor) -> tuple[Tensor, Tensor]:
        """The factors where the map runs and as it computes, moved once."""
        key = (place, output.device, output.dtype)
        if key not in self._near:
            down, up = delta.down.flatten(1), delta.up.flatten(1)
            self._near[key] = (down.to(output.device, output.dtype), up.to(output.device, output.dtype))
        return self._near[key]


class _Exchange:
    """Forward hooks that put changed parameters into a module before a forward and the old ones back after it."""

    def __init__(self, owner: nn.Module, strengths: Sequence[float]) -> None:
        self.deltas: dict[str, list[tuple[Delta, int]]] = {}
        self._owner = owner
        self._strengths = strengths
        self._old: dict[str, nn.Parameter] = {}

    @torch.no_grad()
    def enter(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        self.back()  # an interrupt may have kept `leave` from being called
        for leaf, deltas in self.deltas.items():
            old = self._owner.get_parameter(leaf)
            if old.is_meta:
                raise ValueError(f"{leaf}: it has no numbers yet; attach LoRAs after what streams the weights in")
            new = nn.Parameter(changed(old.detach(), deltas, self._strengths), requires_grad=False)
            self._old[leaf] = old
            setattr(self._owner, leaf, new)

    def leave(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self.back()

    def back(self) -> None:
        for leaf, old in self._old.items():
            setattr(self._owner, leaf, old)
        self._old.clear()
