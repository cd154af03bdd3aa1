"""What a machine has: memory that is free, and how fast it computes what our networks are made of.

`measured` runs the real modules at the shapes that a film would have, on weights of one constant, for a second or two.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vitascope.models.attention import attend
from vitascope.models.dit import Block, DiTConfig
from vitascope.models.vae import ResidualBlock, VAEConfig
from vitascope.planning.sizes import Sizes
from vitascope.precision import has_bf16

Clock = Callable[[], float]

LONG_ENOUGH = 0.15
"""Seconds that a measurement lasts at least, unless the film itself is shorter."""
LONGEST_KEYS = 16_384
"""The cost of a score no longer changes with more keys than these."""


@dataclass(frozen=True)
class Machine:
    """Where a film is made: the device, and bytes free on it and in the computer's memory (None: it does not tell)."""

    device: torch.device
    free: int | None
    host: int | None

    @property
    def cpu(self) -> bool:
        """Whether the device's memory is the computer's own."""
        return self.device.type == "cpu"


@dataclass(frozen=True)
class Pace:
    """Operations a second: of a block's maps with all that lies between them, of self-attention, of the codec's blocks by
    width; and bytes a second from the computer's memory to the device."""

    linear: float
    attention: float
    convolution: Mapping[int, float]
    copy: float

    def codec(self, flops: Mapping[int, float]) -> float:
        """Seconds of so many operations at each width; a width that was not measured counts as the nearest."""
        return sum(
            count / self.convolution[min(self.convolution, key=lambda known: abs(known - width))]
            for width, count in flops.items()
        )


def here(device: torch.device) -> Machine:
    """This machine, as it is now."""
    free = free_memory(device)
    return Machine(device, free, free if device.type == "cpu" else free_memory(torch.device("cpu")))


def free_memory(device: torch.device) -> int | None:
    """Bytes free on the device, or None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    table = Path("/proc/meminfo")
    if not table.is_file():
        return None
    for line in table.read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


_known: dict[object, Pace] = {}


def measured(
    sizes: Sizes,
    frames: int,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    clock: Clock = time.perf_counter,
) -> Pace:
    """How fast this machine computes this film, found by computing a small part of it; once for a process.

    clock: what seconds are; `time.process_time`, where a busy machine is to be measured as if it were idle.
    """
    tokens = sizes.tokens(frames, height, width)
    key = (sizes, frames, height, width, device, dtype, torch.get_num_threads(), clock)
    timer = _Timer(device, clock)
    if key not in _known:
        with torch.no_grad():
            attention = _attention(sizes.network, tokens, timer, dtype)
            linear = _block(sizes, tokens, timer, dtype, attention)
            kind = dtype if sizes.codec_bytes < 4 else torch.float32
            convolution = _codec(sizes.codec, *sizes.latent(frames, height, width)[1:], timer, kind)
        _known[key] = Pace(linear, attention, convolution, _copying(timer))
    return _known[key]


def reading(path: Path, most: int = 1 << 27) -> float:
    """Bytes a second from a file, as far as the system has not kept it in memory; parts of all of it are read."""
    size = path.stat().st_size
    piece, count = 1 << 23, max(1, most >> 23)
    done = 0
    with path.open("rb", buffering=0) as file:
        started = time.perf_counter()
        for start in range(0, size, max(piece, size // count)):
            file.seek(start)
            done += len(file.read(piece))
        taken = time.perf_counter() - started
    return done / max(taken, 1e-9)


@dataclass(frozen=True)
class _Timer:
    device: torch.device
    clock: Clock

    def seconds(self, work: Callable[[], object]) -> float:
        """Of one run, the faster of two."""
        best = math.inf
        for _ in range(2):
            self._finish()
            started = self.clock()
            work()
            self._finish()
            best = min(best, self.clock() - started)
        return best

    def growing(self, run: Callable[[int], Callable[[], object]], start: int, most: int) -> tuple[int, float]:
        """The size at which a run lasts long enough, or the largest, and its seconds; each run warms up the next."""
        size = min(start, most)
        while True:
            work = run(size)
            work()
            taken = self.seconds(work)
            if taken >= LONG_ENOUGH or size >= most:
                return size, taken
            size = min(most, max(2 * size, min(8 * size, int(size * LONG_ENOUGH / max(taken, 1e-6)))))

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _constant(module: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A module built on the meta device, with weights of one small number: to draw them would take longer than to use them."""
    module = module.to(dtype).to_empty(device=device)
    for parameter in module.parameters():
        parameter.fill_(0.01)
    return module


def _attention(config: DiTConfig, tokens: int, timer: _Timer, dtype: torch.dtype) -> float:
    device = timer.device
    keys, head = min(tokens, LONGEST_KEYS), config.width // config.heads
    k = torch.full((1, config.heads, keys, head), 0.1, device=device, dtype=dtype)

    def run(rows: int) -> Callable[[], Tensor]:
        return lambda: attend(k[:, :, :rows], k, k)

    rows, taken = timer.growing(run, 64, keys)
    return 4.0 * rows * keys * config.width / taken


def _block(sizes: Sizes, tokens: int, timer: _Timer, dtype: torch.dtype, attention: float) -> float:
    config, d, device = sizes.network, sizes.network.width, timer.device
    with torch.device("meta"):
        empty = Block(config)
    block = _constant(empty, device, dtype)
    context = torch.full((1, sizes.text_tokens, d), 0.1, device=device)
    image = None if config.image_width is None else torch.full((1, 257, d), 0.1, device=device)
    time_ = torch.full((1, 1, 6, d), 0.1, device=device)
    told = sizes.text_tokens + (0 if image is None else 257)

    def run(count: int) -> Callable[[], Tensor]:
        x = torch.full((1, count, d), 0.1, device=device)
        turns = torch.full((count, d // config.heads // 2, 2), 0.7, device=device)
        return lambda: block(x, time_, context, None, image, turns)

    count, taken = timer.growing(run, 64, tokens)
    flops = 2.0 * count * (6 * d * d + 2 * d * config.ffn) + 4.0 * told * d * d
    rest = taken - 4.0 * count**2 * d / attention
    return (flops + 4.0 * count * told * d) / max(rest, 0.2 * taken)


def _codec(config: VAEConfig, height: int, width: int, timer: _Timer, dtype: torch.dtype) -> dict[int, float]:
    base = config.decoder_base or config.base
    found: dict[int, float] = {}
    device, frames = timer.device, config.stride[0]
    for level, mult in enumerate(reversed(config.mults)):
        features = base * mult
        if features in found:
            continue
        with torch.device("meta"):
            empty = ResidualBlock(features, features)
        block = _constant(empty, device, dtype)
        rows, columns = height << level, width << level

        def run(area: int, block: nn.Module = block, features: int = features, columns: int = columns):
            across = min(columns, max(8, math.isqrt(area)))
            x = torch.full((1, frames, max(1, area // across), across, features), 0.1, device=device, dtype=dtype)
            return lambda: block(x)

        area, taken = timer.growing(run, 256, rows * columns)
        across = min(columns, max(8, math.isqrt(area)))
        done = max(1, area // across) * across
        found[features] = 2 * 2.0 * frames * done * features**2 * 27 / taken
    return found


def _copying(timer: _Timer) -> float:
    device = timer.device
    if device.type == "cpu":
        return math.inf
    here_ = torch.empty(1 << 26, dtype=torch.uint8, pin_memory=device.type == "cuda")
    there = torch.empty(1 << 26, dtype=torch.uint8, device=device)
    there.copy_(here_)
    return (1 << 26) / timer.seconds(lambda: there.copy_(here_))


def best_dtype(device: torch.device) -> torch.dtype:
    """In which the device computes its matrix products fastest: bf16 where it has that, else fp16, on an old CPU fp32."""
    if device.type == "cuda":
        return torch.bfloat16 if has_bf16("cuda") else torch.float16
    if device.type == "mps":
        return torch.float16
    return torch.bfloat16 if has_bf16(device.type) else torch.float32


def memory_of_process() -> int:
    """Bytes that this process holds now and that no file stands behind (Linux), or all that it ever held at once."""
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)
