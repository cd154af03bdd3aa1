"""Weights from a file into a network that has sizes and no values yet: all of them, or an error and no network.

Where the numbers are already of the kind that is wanted, the network's parameters become the file's memory map itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vitascope.checkpoints.weights import Slot, Weights
from vitascope.errors import BadModel
from vitascope.tensors import agree

Watch = Callable[[str, int, int], None]
"""Hears what is being loaded, how many tensors of it are in, and of how many."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""In which precision a network is kept, by name."""

SAFEST_WIDE = re.compile(
    r"(time_embedding|time_projection|head)\.|(.*\.)?(modulation|norm[0-9]?|norm_(q|k|k_img))(\.|$)"
)
"""What is safest in float32 whatever the precision of the rest: the sense of time, the head, modulation, norms. Small all."""

_CHUNK = 1 << 20
"""Numbers looked at in one go, so that looking needs no memory to speak of."""
_FORGET = 1 << 26
"""Bytes converted from the file before the memory of the pages read is given back."""


def assemble(
    module: nn.Module,
    weights: Weights,
    *,
    origin: str,
    dtype: torch.dtype | None = None,
    wide: re.Pattern[str] | None = None,
    watch: Watch | None = None,
) -> None:
    """Give a module that was built on the meta device all its weights, on the CPU, or raise BadModel and leave it as it is.

    weights  under the module's own names, nothing missing and nothing beside them
    dtype    what they are kept as; None: each as it lies in the file
    wide     names that stay in float32 all the same (`SAFEST_WIDE`)

    No copy is made of what has the dtype already: it is then a private view of the file. Every number must be finite, also
    after it was narrowed. A tensor of zeros that is no bias is a hole that a broken copy left, and is refused.
    """
    own = module.state_dict()
    agree({k: v.shape for k, v in own.items()}, {k: weights.shape(k) for k in weights}, origin=origin)
    ready: dict[str, Tensor] = {}
    copied = 0
    for done, name in enumerate(own, 1):
        value = weights[name]
        kept = torch.float32 if wide is not None and wide.match(name) else dtype or value.dtype
        _sound(name, value, origin)
        ready[name] = value if value.dtype == kept else _narrowed(name, value, kept, origin)
        # What is no part of the map any more does not need the map's pages.
        if ready[name].untyped_storage().nbytes() == ready[name].nbytes:
            copied += value.nbytes
        del value
        if copied >= _FORGET:
            weights.forget()
            copied = 0
        if watch:
            watch(origin, done, len(own))
    if copied:
        weights.forget()
    module.load_state_dict(ready, assign=True)
    module.eval().requires_grad_(False)


def checked(weights: Weights, origin: str) -> Weights:
    """The weights, of which each is looked at when it is first read, as `assemble` does: for a network that is streamed."""
    seen: set[str] = set()

    def read(name: str) -> Tensor:
        value = weights[name]
        if name not in seen:
            _sound(name, value, origin)
            seen.add(name)
        return value

    return weights.with_slots(
        {name: Slot(slot.shape, slot.dtype, partial(read, name)) for name, slot in weights.slots.items()}
    )


def _sound(name: str, value: Tensor, origin: str) -> None:
    """Raise BadModel for what are no floats, for what is not finite, and for anything but a bias that is all zeros."""
    if not value.is_floating_point():
        raise BadModel(
            f"{origin}: the tensor {name} holds {_kind(value)} where floats are wanted; fetch the file again."
        )
    least, most = _extent(value)
    if not (-torch.inf < least and most < torch.inf):
        raise BadModel(
            f"{origin}: the tensor {name} holds numbers that are not finite; fetch the file again, or convert it again if "
            "it was converted."
        )
    if least == most == 0 and value.numel() and not name.endswith("bias"):
        raise BadModel(
            f"{origin}: the tensor {name} holds nothing but zeros, which no training leaves; fetch the file again."
        )


def _extent(value: Tensor) -> tuple[float, float]:
    """The least and the greatest number; both NaN where one number is."""
    if not value.numel():
        return 0.0, 0.0
    flat = value.view(-1) if value.is_contiguous() else value.reshape(-1)
    least, most = float("inf"), float("-inf")
    for chunk in flat.split(_CHUNK):
        low, high = torch.aminmax(chunk)
        if low != low or high != high:
            return float("nan"), float("nan")
        least, most = min(least, float(low)), max(most, float(high))
    return least, most


def _narrowed(name: str, value: Tensor, dtype: torch.dtype, origin: str) -> Tensor:
    changed = value.to(dtype, memory_format=torch.contiguous_format)
    if dtype == torch.float16 and value.dtype != torch.float16:
        least, most = _extent(changed)
        if not (-torch.inf < least and most < torch.inf):
            raise BadModel(
                f"{origin}: the tensor {name} holds numbers beyond 65,504, the largest of float16; take bfloat16 or float32."
            )
    return changed


def _kind(value: Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def shapes(weights: Weights) -> Mapping[str, Sequence[int]]:
    """Names and shapes, read from the headers alone."""
    return {name: weights.shape(name) for name in weights}
