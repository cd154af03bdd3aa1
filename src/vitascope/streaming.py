"""Models larger than the memory they run in: weights come to the device for as long as they are needed, and then go.

Two ways. `visiting` brings a whole component in for its stage and lets it go after it (the text tower, then the
transformer, then the codec). `Streamed` does so for each block of a deep network, from CPU memory or from a
memory-mapped file, while the block before it still runs. The sums are those of the resident network, bit for bit.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from vitascope.tensors import agree

Dtype = torch.dtype | Callable[[str], torch.dtype]
"""One for all tensors, or one for each name (norms and the sense of time are often kept in float32)."""

_PAGEOUT = 21
"""Linux's MADV_PAGEOUT (5.4): give these pages back now. Unlike MADV_DONTNEED it loses nothing, whatever they hold."""


class Streamed:
    """The blocks of `module`, each with its weights only while it runs; all else of it is resident on `device`.

    module   built on the meta device. Its blocks are the members of its `nn.ModuleList`s, whatever order they run in
    weights  by the module's own names; touched block by block, in another thread, again and again
    dtype    what the weights become on the way
    forget   tell the system after each block that its part of a memory map will not be wanted soon. For weights that do not
             fit into memory: it would drop them anyway, but other programs' memory first

    Two blocks are held at once: the one that runs and the next. Raises BadModel where names or shapes do not agree.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: Mapping[str, Tensor],
        *,
        device: torch.device | str = "cpu",
        dtype: Dtype,
        forget: bool = False,
        origin: str = "these weights",
    ) -> None:
        wanted = module.state_dict()
        agree({k: v.shape for k, v in wanted.items()}, _shapes(weights), origin=origin)
        self.module = module
        self._blocks = dict(_blocks(module))
        self._source = _Source(weights, torch.device(device), dtype, forget)
        self._outside = [name for name in wanted if not name.startswith(tuple(f"{b}." for b in self._blocks))]
        self._absent = {name: _own(module, name) for name in self._outside}
        outside = self._source.fetch("", self._outside)
        self._source.await_(outside)
        _put(module, outside.tensors)
        self._parts = {name: list(block.state_dict()) for name, block in self._blocks.items()}
        self._empty = {name: {p: _own(block, p) for p in self._parts[name]} for name, block in self._blocks.items()}
        # What runs after what: as they are listed at first, as they were seen to run from then on.
        names = list(self._blocks)
        self._next = dict(zip(names, [*names[1:], *names[:1]]))
        self._last: str | None = None
        self._coming: tuple[str, Future[_Slot]] | None = None
        self._running: dict[str, _Slot] = {}
        self._thread = ThreadPoolExecutor(1, "weights")
        self._hooks = [hook for name, block in self._blocks.items() for hook in self._watch(name, block)]

    @property
    def block_bytes(self) -> int:
        """Of the largest block, on the device."""
        return max(
            sum(t.numel() * self._source.dtype(f"{name}.{p}").itemsize for p, t in empty.items())
            for name, empty in self._empty.items()
        )

    def close(self) -> None:
        """Let everything go: all of the module is on the meta device again."""
        if self._coming is not None:
            self._coming[1].result()
            self._coming = None
        for hook in self._hooks:
            hook.remove()
        self._hooks = []
        self._thread.shutdown()
        self._source.settle()
        _put(self.module, self._absent)
        self._source.shelf.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self, name: str, block: nn.Module) -> Iterator[Any]:
        yield block.register_forward_pre_hook(lambda *_: self._enter(name))
        # also where the block raises, so that nothing is held by a forward that failed
        yield block.register_forward_hook(lambda *_: self._leave(name), always_call=True)

    def _enter(self, name: str) -> None:
        for left in list(
            self._running
        ):  # torch calls no hook after an interrupt, so that one may still hold its weights
            self._leave(left)
        coming, self._coming = self._coming, None
        slot = None
        if coming is not None:
            slot = coming[1].result()
            if coming[0] != name:  # another order than the last time
                self._source.release(slot)
                slot = None
        if slot is None:
            slot = self._thread.submit(self._source.fetch, name, self._parts[name]).result()
        if self._last is not None:
            self._next[self._last] = name
        self._last = name
        self._source.await_(slot)
        _put(self._blocks[name], slot.tensors)
        self._running[name] = slot
        after = self._next[name]
        if after != name:
            self._coming = after, self._thread.submit(self._source.fetch, after, self._parts[after])

    def _leave(self, name: str) -> None:
        slot = self._running.pop(name, None)
        if slot is not None:
            _put(self._blocks[name], self._empty[name])
            self._source.release(slot)


@contextmanager
def visiting(
    module: nn.Module,
    device: torch.device | str,
    weights: Mapping[str, Tensor] | None = None,
    dtype: Dtype | None = None,
) -> Iterator[nn.Module]:
    """`module` on `device` within, and where it was before afterwards.

    Nothing is copied back: what was there before is what is there again (inference changes no weights). With `weights`,
    the module is on the meta device and its tensors come from there, as `dtype`. Raises BadModel where names or shapes
    do not agree.
    """
    state, source = module.state_dict(keep_vars=True), None
    if weights is None:
        at = torch.device(device)
        names = [*state, *(n for n, _ in module.named_buffers() if n not in state)]
        before = {name: _own(module, name) for name in names}
        inside = {name: value.detach().to(at) for name, value in before.items()}
    else:
        if dtype is None:
            raise ValueError("visiting: weights need a dtype, got None")
        agree({k: v.shape for k, v in state.items()}, _shapes(weights), origin="these weights")
        before = {name: _own(module, name) for name in state}
        source = _Source(weights, torch.device(device), dtype, False)
        slot = source.fetch("", list(state))
        source.await_(slot)
        inside = slot.tensors
    _put(module, inside)
    try:
        yield module
    finally:
        if source is not None:
            source.settle()
        _put(module, before)


def held(weights: Mapping[str, Tensor], dtype: Dtype, *, locked: bool | None = None) -> dict[str, Tensor]:
    """The weights in CPU memory, as `dtype`; page-locked where there is a CUDA device (or as `locked` says), so that they
    go over while it computes."""
    pin = torch.cuda.is_available() if locked is None else locked
    made = {}
    for name in weights:
        source = weights[name]
        kind = dtype(name) if callable(dtype) else dtype
        made[name] = torch.empty(source.shape, dtype=kind, pin_memory=pin).copy_(source)
    return made


@dataclass
class _Slot:
    """Room for one block's weights on the device, and what has to have happened before it is read or written again."""

    tensors: dict[str, Tensor]
    staging: dict[str, Tensor] = field(default_factory=dict)
    filled: torch.cuda.Event | None = None
    read: torch.cuda.Event | None = None


class _Source:
    """Brings weights to the device, in room that is used again. On a CUDA device: on a stream of its own."""

    def __init__(self, weights: Mapping[str, Tensor], device: torch.device, dtype: Dtype, forget: bool) -> None:
        self.weights, self.device, self.forget = weights, device, forget
        self._dtype = dtype
        self.shelf: dict[object, list[_Slot]] = {}
        self.lock = Lock()
        """Over the shelf: slots are taken from it in the thread that fetches and put on it in the one that computes."""
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def dtype(self, name: str) -> torch.dtype:
        """What a tensor becomes on the way."""
        return self._dtype if isinstance(self._dtype, torch.dtype) else self._dtype(name)

    @torch.no_grad()
    def fetch(self, prefix: str, names: list[str]) -> _Slot:
        """The tensors `prefix.name`, by name. On a CUDA device they may still be on their way: see `await_`."""
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream):
            sources = {name: self.weights[f"{prefix}.{name}" if prefix else name] for name in names}
            kinds = {name: self.dtype(f"{prefix}.{name}" if prefix else name) for name in names}
            slot = self._room(sources, kinds)
            if self.stream is not None and slot.read is not None:
                self.stream.wait_event(slot.read)
            if slot.filled is not None:
                slot.filled.synchronize()  # what is staged may be overwritten once it has gone over
            for name, source in sources.items():
                self._copy(slot, name, source)
                if self.forget:
                    _forget(source)
            if self.stream is not None:
                filled = slot.filled = slot.filled or torch.cuda.Event()
                filled.record(self.stream)
        return slot

    def await_(self, slot: _Slot) -> None:
        """Have the device's own work wait until the slot is filled."""
        if slot.filled is not None:
            torch.cuda.current_stream(self.device).wait_event(slot.filled)

    def release(self, slot: _Slot) -> None:
        """Nobody reads the slot any more, once what was asked of the device so far is done."""
        if self.stream is not None:
            slot.read = slot.read or torch.cuda.Event()
            slot.read.record(torch.cuda.current_stream(self.device))
        with self.lock:
            self.shelf.setdefault(_signature(slot.tensors), []).append(slot)

    def settle(self) -> None:
        """Wait until the device has done all that was asked of it: room made on one stream may then be let go of."""
        if self.stream is not None:
            torch.cuda.synchronize(self.device)

    def _room(self, sources: Mapping[str, Tensor], kinds: Mapping[str, torch.dtype]) -> _Slot:
        key = tuple((name, tuple(source.shape), kinds[name]) for name, source in sources.items())
        with self.lock:
            free = self.shelf.pop(key, [])
            if free:
                slot = free.pop()
                self.shelf[key] = free
                return slot
            # What lies here in other shapes (VACE's first block is larger) is not kept: it would be held for nothing. Its room
            # is this stream's again as soon as it is let go of, and may still be read by what was asked of the device.
            for slot in (slot for slots in self.shelf.values() for slot in slots):
                if self.stream is not None and slot.read is not None:
                    self.stream.wait_event(slot.read)
            self.shelf = {}
        return _Slot({n: torch.empty(s.shape, dtype=kinds[n], device=self.device) for n, s in sources.items()})

    def _copy(self, slot: _Slot, name: str, source: Tensor) -> None:
        target = slot.tensors[name]
        if self.stream is None:
            target.copy_(source)
            return
        if not source.is_pinned():
            if name not in slot.staging:
                slot.staging[name] = torch.empty(target.shape, dtype=target.dtype, pin_memory=True)
            source = slot.staging[name].copy_(source)
        target.copy_(source, non_blocking=True)


@runtime_checkable
class _Shaped(Protocol):
    """Weights that know their shapes without being read, as `checkpoints.weights.Weights` do."""

    def shape(self, name: str) -> tuple[int, ...]: ...


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Names and shapes; where the weights can tell without unpacking every tensor, they are asked for no more."""
    if isinstance(weights, _Shaped):
        return {name: weights.shape(name) for name in weights}
    return {name: tuple(weights[name].shape) for name in weights}


def _signature(tensors: Mapping[str, Tensor]) -> object:
    return tuple((name, tuple(value.shape), value.dtype) for name, value in tensors.items())


def _blocks(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            for index, block in enumerate(child):
                yield f"{name}.{index}", block


def _own(module: nn.Module, name: str) -> Tensor:
    path, _, last = name.rpartition(".")
    return getattr(module.get_submodule(path), last)


def _put(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Have the module's parameters and buffers be these very tensors."""
    for name, value in tensors.items():
        path, _, last = name.rpartition(".")
        owner = module.get_submodule(path)
        if last in owner._parameters:
            whole = value if isinstance(value, nn.Parameter) else nn.Parameter(value, requires_grad=False)
            owner._parameters[last] = whole
        else:
            owner._buffers[last] = value


def _forget(tensor: Tensor) -> None:
    """Give the memory pages under a CPU tensor back to the system, where it knows how; what they hold is not lost."""
    if not sys.platform.startswith("linux") or tensor.device.type != "cpu" or not tensor.numel():
        return
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page  # whole pages only: the ends may be somebody else's
    length = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // page * page - start
    if length > 0:
        # A hint: where it is not taken (an older kernel), nothing is lost but the courtesy.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(_PAGEOUT))
