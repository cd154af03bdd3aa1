"""How fast the storybook is drawn: clips a second, by one process, by all of them, and on a GPU.

    python -m vitascope.bench.rendering [--clips 512] [--processes 2] [--device cuda]

The clips are drawn as training has them drawn (`data.rendering`), which asks several processes only where there are clips
enough for them. Asked for are at least 15 clips a second of the recipe `storybook`'s shape on two cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table

from vitascope.data import rendering
from vitascope.data.rendering import Job
from vitascope.errors import BadShot, VitascopeError
from vitascope.storybook import WORLDS

ASKED = 15.0
"""Clips a second on two cores."""
CHUNK = 8
SEED = 7


class Drawn(NamedTuple):
    """So many clips, drawn in so many seconds: `began` is when the first of them came; `busy` those of processors, in all
    processes."""

    clips: int
    seconds: float
    began: float
    busy: float


def jobs(clips: int, world: str, shape: tuple[int, int, int]) -> list[Job]:
    """The clips in parts, as training has them drawn."""
    chunks = [range(at, min(at + CHUNK, clips)) for at in range(0, clips, CHUNK)]
    return [(SEED, chunk, "train", world, shape) for chunk in chunks]


def drawn(parts: Sequence[Job], device: str, processes: int) -> Drawn:
    """Draw them all, and tell how long it took. What is started for it is counted."""
    before, started, began = _busy(), time.perf_counter(), 0.0
    with closing(rendering.drawn_in_order(list(parts), device, processes)) as clips:
        for _ in clips:
            began = began or time.perf_counter() - started
    return Drawn(sum(len(part[1]) for part in parts), time.perf_counter() - started, began, _busy() - before)


def _busy() -> float:
    """Seconds of processors that this process and those that it has waited for have had."""
    told = os.times()
    return told.user + told.system + told.children_user + told.children_system


def measure(parts: Sequence[Job], device: str, processes: int) -> Table:
    """The table: a row for each way to draw them."""
    clips = sum(len(part[1]) for part in parts)
    threads = torch.get_num_threads()
    found = {f"one process, {_counted(threads, 'thread')}": drawn(parts, "cpu", 1)}
    if processes > 1 and clips >= rendering.WORTHWHILE:
        found[_counted(processes, "process")] = drawn(parts, "cpu", processes)
    if device != "cpu":
        rendering.drawn(parts[0], device)  # what a GPU loads and chooses once
        found[torch.cuda.get_device_name(device)] = drawn(parts, device, 1)
    frames, height, width = parts[0][-1]
    table = Table(
        title=f"{clips} clips of the {parts[0][3]} world, {width}x{height}x{frames}, torch {torch.__version__}"
    )
    for column in ("drawn by", "seconds", "the first came after", "clips a second", "a processor's second"):
        table.add_column(column, justify="left" if column == "drawn by" else "right")
    for name, took in found.items():
        rates = f"{took.clips / took.seconds:.1f}", f"{took.clips / max(took.busy, 1e-9):.1f}"
        table.add_row(name, f"{took.seconds:.1f}", f"{took.began:.1f}", *rates)
    return table


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}{'es' if thing.endswith('s') else 's'}"


def _number(flag: str, value: int, least: int) -> int:
    if value < least:
        raise BadShot(f"{flag} {value}: there is nothing to draw with less than {least}; ask for at least {least}.")
    return value


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m vitascope.bench.rendering", description="How fast the storybook is drawn, in clips a second."
    )
    parser.add_argument("--clips", type=int, default=rendering.WORTHWHILE)
    parser.add_argument("--frames", type=int, default=33)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--width", type=int, default=160)
    parser.add_argument("--world", choices=tuple(WORLDS), default="whole")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="as many as cores if not given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="cuda: a GPU's figure beside")
    asked = parser.parse_args(arguments)
    try:
        clips, processes = _number("--clips", asked.clips, 1), _number("--processes", asked.processes, 1)
        shape = (
            _number("--frames", asked.frames, 1),
            _number("--height", asked.height, 8),
            _number("--width", asked.width, 8),
        )
        if asked.device == "cuda" and not torch.cuda.is_available():
            raise BadShot("--device cuda: this machine has no GPU that torch can use; leave --device out.")
        table = measure(jobs(clips, asked.world, shape), asked.device, processes)
    except VitascopeError as error:
        print(f"vitascope: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    if processes > 1 and clips < rendering.WORTHWHILE:
        console.print(
            f"Fewer than {rendering.WORTHWHILE} clips are drawn by one process, which is done before another has begun."
        )
    console.print(f"Asked for: {ASKED:g} clips a second of the whole world at 160x96x33 on two cores.")


if __name__ == "__main__":
    main()
