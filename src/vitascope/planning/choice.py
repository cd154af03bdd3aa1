"""What a film will take on a machine, and how to make it there: dtype, where weights wait, rows at once, tiles."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import torch

from vitascope.codec import check_tile, latent_shape, tile_side
from vitascope.errors import BadShot
from vitascope.planning.machine import Machine, Pace
from vitascope.planning.sizes import Sizes, Tower
from vitascope.planning.tiles import Grid, decoder, encoder
from vitascope.planning.work import codec_parameters, forward, network_memory, tower_flops, tower_memory

Offload = Literal["none", "component", "block", "disk"]
"""Where weights wait that are not being used. none: all are on the device; component: a stage's come for the stage;
block: a block's come from the computer's memory for the block; disk: the same, from the file."""
OFFLOADS: tuple[str, ...] = get_args(Offload)

TILE = 256
"""Pixels of a side of a tile, where frames are decoded in tiles; as in diffusers."""

MARGIN = 1.1
"""A film is made where the forecast, so many times over, is free (`has_room`): allocators keep more than is alive."""

CALLS = {"heun": 2, "midpoint": 2, "rk4": 4, "adaptive": 3}
"""Calls of the field a step, where it is not one; `adaptive` takes as many steps as it needs, at least these."""

DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
"""As --dtype takes them and films record them."""


@dataclass(frozen=True)
class Ask:
    """The film that is asked for, as far as its cost depends on it."""

    frames: int
    height: int
    width: int
    steps: int = 50
    solver: str = "unipc"
    guided: bool = True
    begins: bool = False
    """Whether it begins with pictures, which the codec then encodes and the image tower sees."""
    words: int = 64
    """Tokens of a prompt: some fifty words."""

    def told(self) -> str:
        """Its shape in words."""
        return f"{self.frames} frames of {self.width}x{self.height}"


@dataclass(frozen=True)
class Stage:
    """One stage of making a film. Bytes on the device: its weights and what it computes with; `other`: in the computer's
    memory beside that. `seconds` is None where nothing was measured."""

    name: str
    flops: float
    weights: int
    activations: int
    other: int
    seconds: float | None

    @property
    def memory(self) -> int:
        """Bytes on the device at the stage's fullest moment."""
        return self.weights + self.activations


@dataclass(frozen=True)
class Plan:
    """A film's cost, stage by stage, and how it is to be made. `why` has a sentence for each choice."""

    model: str
    film: str
    tokens: int
    calls: int
    """Forwards of the network, a row each."""
    per_call: float
    """Operations of one of them."""
    device: str
    dtype: str
    offload: Offload
    rows: int
    """Rows of the guided field at once: 2, or 1 where the prompt and its negative go one after the other."""
    tile: int | None
    """Pixels of a side of the tiles in which the codec works; None: on whole frames."""
    stages: tuple[Stage, ...]
    why: tuple[str, ...]

    @property
    def memory(self) -> int:
        """Bytes on the device at the film's fullest moment."""
        return max(stage.memory for stage in self.stages)

    @property
    def other(self) -> int:
        """Bytes in the computer's memory beside those on the device."""
        return max(stage.other for stage in self.stages)

    @property
    def together(self) -> int:
        """Bytes of both at the film's fullest moment: what counts where they are one memory."""
        return max(stage.memory + stage.other for stage in self.stages)

    @property
    def flops(self) -> float:
        """Operations in all."""
        return sum(stage.flops for stage in self.stages)

    @property
    def seconds(self) -> float | None:
        """In all, or None where nothing was measured."""
        known = [stage.seconds for stage in self.stages if stage.seconds is not None]
        return sum(known) if len(known) == len(self.stages) else None

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        totals = {"memory": self.memory, "other": self.other, "together": self.together}
        totals |= {"flops": self.flops, "seconds": self.seconds}
        return asdict(self) | totals


def plan(
    sizes: Sizes,
    ask: Ask,
    machine: Machine,
    *,
    pace: Pace | None = None,
    disk: float | None = None,
    dtype: torch.dtype = torch.bfloat16,
    offload: Offload | None = None,
    tile: int | None = None,
) -> Plan:
    """How to make this film on this machine: the first way that fits, fastest first.

    pace: how fast the machine is (`machine.measured`); without it, no seconds. disk: bytes a second from the weights' file,
    which count where they are streamed from there. offload: this way and no other. tile: tiles of so
    many pixels; without it there are tiles only where whole frames would not fit.

    Raises BadShot for a size that the model cannot make, and for a film that does not fit in any way: what would.
    """
    latent_shape(sizes.codec, ask.frames, ask.height, ask.width, sizes.network.patch)
    if tile is not None:
        check_tile(sizes.codec, tile)
    for way in _ways(machine, ask, offload, tile):
        made = _planned(sizes, ask, machine, way, dtype, pace, disk)
        if _fits(made, machine):
            return replace(made, why=tuple(_reasons(sizes, ask, machine, way, dtype, made, tile)))
    raise BadShot(_refusal(sizes, ask, machine, dtype, offload, tile))


def _activations(
    sizes: Sizes, ask: Ask, *, rows: int, cpu: bool = True, bytes_: int = 2, tile: int | None = None
) -> dict[str, int]:
    """Bytes at the fullest moment of the walk and of decoding, weights apart, and those of the film itself; `tiles`: of what is
    held of it while there are tiles."""
    t, h, w = sizes.latent(ask.frames, ask.height, ask.width)
    frames = t if ask.begins and sizes.own_clock else 1
    tokens = sizes.tokens(ask.frames, ask.height, ask.width)
    latent = 4 * t * h * w * (rows * (sizes.network.in_channels + sizes.network.out_channels) + 6 * sizes.codec.z)
    codec = decoder(sizes.codec, _grid(sizes, ask), tile, sizes.codec_bytes)
    return {
        "walk": network_memory(sizes, tokens, rows=rows, bytes_=bytes_, cpu=cpu, frames=frames) + latent,
        "decode": codec.memory + 4 * t * h * w * sizes.codec.z * 2,
        "film": ask.frames * ask.height * ask.width * 3,
        "tiles": codec.held,
    }


def peak(sizes: Sizes, ask: Ask, *, rows: int, tile: int | None = None, bytes_: int = 2) -> int:
    """A forecast of the bytes that making a film takes at its fullest moment, weights apart: guided rows of tokens through the
    network, or the codec's fullest chunk, whichever is more; and the film itself. bytes_: of a number of the network's."""
    need = _activations(sizes, ask, rows=rows, tile=tile, bytes_=bytes_)
    return max(need["walk"], need["decode"] + need["tiles"]) + need["film"]


def has_room(need: int, free: int | None) -> bool:
    """Whether what takes `need` bytes by the forecast is made where `free` are: with a tenth to spare. None: nobody can tell,
    and so it is."""
    return free is None or need * MARGIN <= free


def _grid(sizes: Sizes, ask: Ask) -> Grid:
    return ask.frames, *sizes.latent(ask.frames, ask.height, ask.width)[1:]


@dataclass(frozen=True)
class _Way:
    offload: Offload
    rows: int
    tile: int | None


def _ways(machine: Machine, ask: Ask, offload: Offload | None, tile: int | None) -> Iterator[_Way]:
    """Fastest first: fewer rows and tiles only where they are needed, one in the walk and the other in the codec.

    On a CPU the weights on the device are those in memory, so `block` has nowhere to come from.
    """
    kinds: tuple[Offload, ...] = (
        ("none", "component", "disk") if machine.cpu else ("none", "component", "block", "disk")
    )
    for kind in kinds:
        if offload in (None, kind):
            for tile_ in (None, TILE) if tile is None else (tile,):
                for rows in (2, 1) if ask.guided else (1,):
                    yield _Way(kind, rows, tile_)


def _fits(plan: Plan, machine: Machine) -> bool:
    return has_room(_here(plan, machine), machine.free) and (machine.cpu or has_room(plan.other, machine.host))


def _here(plan: Plan, machine: Machine) -> int:
    """Bytes in the device's memory at the fullest moment."""
    return plan.together if machine.cpu else plan.memory


def _planned(
    sizes: Sizes, ask: Ask, machine: Machine, way: _Way, dtype: torch.dtype, pace: Pace | None, disk: float | None
) -> Plan:
    size = sizes.stored or dtype.itemsize
    t = sizes.latent(ask.frames, ask.height, ask.width)[0]
    tokens = sizes.tokens(ask.frames, ask.height, ask.width)
    calls = ask.steps * CALLS.get(ask.solver, 1) * (2 if ask.guided else 1)
    one = forward(sizes, tokens)
    whole, held, waiting = _weights(sizes, ask, machine, way.offload, size)
    streamed = way.offload in ("block", "disk")
    need = _activations(sizes, ask, rows=way.rows, cpu=machine.cpu, bytes_=dtype.itemsize, tile=way.tile)
    grid = _grid(sizes, ask)
    decoding, encoding = (work(sizes.codec, grid, way.tile, sizes.codec_bytes) for work in (decoder, encoder))
    share = t - 1 + 1 / sizes.codec.stride[0]  # the first latent frame is one frame of pixels
    texts = 2 if ask.guided else 1
    counted: dict[str, tuple[float, int]] = {
        "text": (texts * tower_flops(sizes.text, ask.words), tower_memory(sizes.text, sizes.text.length, size)),
        "encode": (
            sum(encoding.flops.values()) * share,
            encoding.memory + 2 * sizes.codec_bytes * sizes.codec.pixels * ask.frames * ask.height * ask.width,
        ),
        "walk": (calls * one.flops, need["walk"]),
        "decode": (sum(decoding.flops.values()) * share, need["decode"]),
    }
    if sizes.image:
        counted["image"] = (tower_flops(sizes.image, sizes.image.length), tower_memory(sizes.image, 257, size))
    seconds: dict[str, float | None] = dict.fromkeys(whole)
    if pace is not None:
        rate = math.inf if not streamed else disk or math.inf if way.offload == "disk" else pace.copy
        rate = rate if machine.cpu else min(rate, pace.copy) if streamed else rate
        moved = calls / way.rows * (whole["walk"] if streamed else 0) / rate
        work = calls * (one.linear / pace.linear + (one.attention + one.cross) / pace.attention)
        seconds["walk"] = max(work, moved)
        seconds["decode"] = share * pace.codec(decoding.flops)
        for name in ("text", "image"):
            if name in seconds:
                seconds[name] = counted[name][0] / pace.linear + (held[name] / disk if disk and streamed else 0)
        if "encode" in seconds:
            seconds["encode"] = share * pace.codec(encoding.flops)
    stages = tuple(
        Stage(
            name, counted[name][0], held[name], counted[name][1],
            waiting + need["film"] + (need["tiles"] if name == "decode" else 0), seconds[name],
        )
        for name in whole
    )  # fmt: skip
    return Plan(
        sizes.name, ask.told(), tokens, calls, one.flops, str(machine.device), DTYPES[dtype], way.offload, way.rows, way.tile,
        stages, (),
    )  # fmt: skip


def _weights(
    sizes: Sizes, ask: Ask, machine: Machine, offload: Offload, size: int
) -> tuple[dict[str, int], dict[str, int], int]:
    """Bytes of each stage's weights, how many of them are on the device during it, and how many wait beside it."""
    codec = 4 * codec_parameters(sizes.codec)
    whole = {
        "text": sizes.text.parameters * size,
        **({"image": sizes.image.parameters * size} if ask.begins and sizes.image else {}),
        **({"encode": codec} if ask.begins else {}),
        "walk": sizes.network_parameters * size,
        "decode": codec,
    }
    together = sum(value for name, value in whole.items() if name != "encode")  # one codec for both
    held = dict.fromkeys(whole, together) if offload == "none" else dict(whole)
    if offload in ("block", "disk"):
        held["walk"] = (sizes.outside_parameters + 2 * sizes.largest_block) * size
        held["text"] = _tower_streamed(sizes.text, size)
        if "image" in held and sizes.image:
            held["image"] = _tower_streamed(sizes.image, size)
    waiting = 0 if machine.cpu or offload == "none" else together
    if offload == "disk" and not machine.cpu:  # two blocks, on their way from the file
        waiting = max(held["walk"], held["text"], codec)
    return whole, held, waiting


def _tower_streamed(tower: Tower, size: int) -> int:
    return (tower.vocab * tower.width + tower.extra + 2 * tower.layer_parameters) * size


_WAITING: Mapping[str, tuple[str, str]] = {
    "none": ("all weights stay on the device", "they fit"),
    "component": ("each part's weights come for its stage and go after it", "all at once do not fit"),
    "block": (
        "each block's weights come from the computer's memory just before it runs",
        "the network does not fit whole",
    ),
    "disk": ("each block's weights come from the file just before it runs", "the network does not fit whole"),
}
"""What becomes of the weights, and why, where nobody asked for it."""


def _reasons(
    sizes: Sizes, ask: Ask, machine: Machine, way: _Way, dtype: torch.dtype, made: Plan, tile: int | None
) -> Iterator[str]:
    waiting, since = _WAITING[way.offload]
    for other in _ways(machine, ask, None, tile):
        if other.offload == way.offload:
            break
        if _fits(_planned(sizes, ask, machine, other, dtype, None, None), machine):
            since = ""  # a faster way would do: this one can only have been asked for
    stored = f", from weights of {8 * sizes.stored} bits" if sizes.stored else ""
    yield f"{DTYPES[dtype]}: matrix products in {8 * dtype.itemsize} bits{stored}; what lies between them in float32"
    yield f"offload {way.offload}: {waiting}, {f'since {since}' if since else 'as was asked'}"
    if ask.guided and way.rows == 1:
        yield "the prompt and its negative go one after the other, since both at once do not fit"
    grid = _grid(sizes, ask)
    if tile_side(sizes.codec, way.tile, *grid[1:]) is not None:
        one, whole = (gib(decoder(sizes.codec, grid, tile, sizes.codec_bytes).memory) for tile in (way.tile, None))
        yield f"tiles of {way.tile} pixels, blended: the codec decodes in {one}, and would take {whole} for whole frames"
    if machine.free is not None:
        room = f"the fullest moment takes {gib(_here(made, machine))} of {gib(machine.free)}"
        yield f"memory: {room} free on {machine.device}"
    if not machine.cpu:
        yield f"memory: {gib(made.other)} in the computer's own memory"


def _refusal(
    sizes: Sizes, ask: Ask, machine: Machine, dtype: torch.dtype, offload: Offload | None, tile: int | None
) -> str:
    least = [_planned(sizes, ask, machine, way, dtype, None, None) for way in _ways(machine, ask, offload, tile)]
    if not least:
        return (
            f"offload {offload} on {machine.device}: weights are in its memory already; choose none, component or disk."
        )
    best = min(least, key=lambda made: _here(made, machine))
    need, free = _here(best, machine), machine.free
    place = f"on {machine.device}"
    if has_room(need, free):  # then it is the computer's own memory that is short
        best = min(least, key=lambda made: made.other)
        need, free, place = best.other, machine.host, "in the computer's memory"
    where = f"{sizes.name} takes at least {gib(need)} {place} for that (offload {best.offload}), with a tenth to spare"
    return (
        f"{ask.told()}: {where}, and {gib(free or 0)} are free; {_way_out(sizes, ask, machine, dtype, offload, tile)}."
    )


def _way_out(
    sizes: Sizes, ask: Ask, machine: Machine, dtype: torch.dtype, offload: Offload | None, tile: int | None
) -> str:
    """What would fit: smaller tiles, or another way of offloading; else fewer frames, else a smaller picture."""

    def fits(other: Ask, kind: Offload | None = offload, side: int | None = tile) -> bool:
        return any(
            _fits(_planned(sizes, other, machine, way, dtype, None, None), machine)
            for way in _ways(machine, other, kind, side)
        )

    if tile is not None and tile > TILE and fits(ask, side=TILE):
        return f"--tile {TILE} would do"
    if offload is not None:
        for way in _ways(machine, ask, None, tile):
            if fits(ask, way.offload):
                return f"--offload {way.offload} would do"
    found = []
    step = sizes.codec.stride[0]
    fewer = _largest(1 + (ask.frames - 1) // step, lambda k: fits(replace(ask, frames=1 + (k - 1) * step)))
    if fewer:
        found.append(f"{1 + (fewer - 1) * step} frames of this size")
    unit = sizes.codec.stride[1] * sizes.network.patch[1], sizes.codec.stride[2] * sizes.network.patch[2]

    def scaled(columns: int) -> Ask:
        rows = max(1, round(columns * unit[1] * ask.height / ask.width / unit[0]))
        return replace(ask, width=columns * unit[1], height=min(ask.height, rows * unit[0]))

    smaller = _largest(ask.width // unit[1], lambda columns: fits(scaled(columns)))
    if smaller:
        size = scaled(smaller)
        found.append(f"as many of {size.width}x{size.height}")
    if found:
        return f"{' or '.join(found)} would fit"
    return "no film of this model fits here: take a smaller model, or a machine with more memory"


def _largest(most: int, fits: Any) -> int:
    """The largest number below `most` that fits, or 0; what is larger takes more."""
    low, high = 0, most  # `low` fits (0: nothing asked), `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def gib(count: float) -> str:
    """Bytes as a person reads them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"
