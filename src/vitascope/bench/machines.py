"""How the plan would make Wan's films on machines of several sizes: where weights wait, and what the device then holds.

    python -m vitascope.bench.machines [--frames 81]

Reckoned from published shapes in bf16; no weights and no such machine are needed, and nothing is timed. A GB is 10^9 bytes,
all of them free. Where the frames do not fit, the most that do are told.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

import torch
from rich.console import Console
from rich.table import Table

from vitascope.errors import BadShot
from vitascope.planning import Ask, Machine, gib, plan, shape

FILMS = (("wan-1.3b", 480, 832), ("wan-14b", 480, 832), ("wan-14b", 720, 1280), ("wan-vace-14b", 720, 1280))
"""Shape, height and width of the columns."""
MACHINES = ((8, 32), (12, 32), (24, 64), (48, 128), (80, 128))
"""GB of the device and of the computer."""


def cell(name: str, ask: Ask, machine: Machine) -> str:
    """How the film is made there, and GiB on the device at its fullest moment; else the most frames that fit, or "no"."""
    sizes = shape(name)
    try:
        made = plan(sizes, ask, machine)
    except BadShot:
        return next(_shorter(name, ask, machine), "no")
    return f"{made.offload}, {gib(made.memory)}{', tiles' if made.tile else ''}"


def _shorter(name: str, ask: Ask, machine: Machine) -> Iterator[str]:
    for frames in range(ask.frames - 4, 0, -4):
        try:
            plan(shape(name), Ask(frames, ask.height, ask.width), machine)
        except BadShot:
            continue
        yield f"{frames} frame{'s' if frames > 1 else ''}"


def rows(frames: int = 81) -> list[tuple[str, ...]]:
    """The table: what a machine has, and a cell for each of `FILMS`."""
    return [
        (
            f"{device} and {host} GB",
            *(
                cell(name, Ask(frames, h, w), Machine(torch.device("cuda"), device * 10**9, host * 10**9))
                for name, h, w in FILMS
            ),
        )
        for device, host in MACHINES
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m vitascope.bench.machines",
        description="How the plan would make Wan's films on machines of several sizes.",
    )
    parser.add_argument("--frames", type=int, default=81)
    frames = parser.parse_args(arguments).frames
    if frames < 1 or frames % 4 != 1:
        parser.error(f"--frames {frames}: Wan makes 1, 5, 9 frames and so on, of 4 k + 1; give for instance 81.")
    table = Table(title=f"{frames} frames in bf16")
    for name in ("GPU and memory", *(f"{name}, {width}x{height}" for name, height, width in FILMS)):
        table.add_column(name)
    for row in rows(frames):
        table.add_row(*row)
    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    main()
