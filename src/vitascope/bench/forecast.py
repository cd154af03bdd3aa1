"""The forecast beside what then happens: one forward of a published shape, in a fresh process.

    python -m vitascope.bench.forecast FOLDER                                    # 1.3B, resident, 256x256, 17 frames
    python -m vitascope.bench.forecast FOLDER --shape wan-14b --streamed --holes --frames 1 --height 64 --width 64

The weights are random numbers in bf16, written to FOLDER once; with --holes a file of zeros that takes no room on the disk.
"""

from __future__ import annotations

import argparse
import json
import math
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from vitascope.checkpoints.weights import opened
from vitascope.models.dit import DiT
from vitascope.planning import Ask, Machine, Sizes, gib, measured, plan, shape
from vitascope.streaming import Streamed

TYPE = torch.bfloat16


def written(folder: Path, sizes: Sizes, holes: bool) -> Path:
    """The network's file, made unless it is there; tensor by tensor, so that it may be larger than the memory."""
    path = folder / f"{sizes.name}{'-holes' if holes else ''}.safetensors"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        shapes = {name: list(value.shape) for name, value in DiT(sizes.network).state_dict().items()}
    entries, end = {}, 0
    for name, shaped in shapes.items():
        start, end = end, end + TYPE.itemsize * math.prod(shaped)
        entries[name] = {"dtype": "BF16", "shape": shaped, "data_offsets": [start, end]}
    text = json.dumps(entries).encode()
    text += b" " * (-(8 + len(text)) % 64)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if holes:
            file.truncate(8 + len(text) + end)
        else:
            for shaped in shapes.values():
                drawn = torch.randn(shaped, dtype=TYPE).mul_(shaped[-1] ** -0.5 if len(shaped) > 1 else 0.02)
                file.write(drawn.view(torch.uint8).numpy().tobytes())
    partial.rename(path)
    return path


def run(path: Path, sizes: Sizes, ask: Ask, streamed: bool, clock: Callable[[], float]) -> dict[str, float]:
    """One forward from the file: bytes at the most beyond what the process had before, and seconds."""
    before, started = _status("VmRSS"), clock()
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is counted from here
    weights = opened(path)
    with torch.device("meta"):
        network = DiT(sizes.network)
    stream = Streamed(network, weights, dtype=TYPE, forget=True, origin=str(path)) if streamed else None
    if stream is None:
        network.load_state_dict(dict(weights), assign=True)  # pages of the file itself: no second copy
    loaded, highest = clock() - started, _status("VmHWM")
    t, h, w = sizes.latent(ask.frames, ask.height, ask.width)
    x = torch.randn(1, sizes.network.in_channels, t, h, w)
    context = torch.randn(1, sizes.text_tokens, sizes.network.text_width)
    started = clock()
    with torch.no_grad():
        made = network(x, torch.full((1,), 500.0), context=context)
    taken, peak = clock() - started, _status("VmHWM")
    if stream is not None:
        stream.close()
    told = {"seconds": taken, "load": loaded, "loading": highest - before, "memory": peak - before}
    return told | {"anonymous": _status("RssAnon"), "all": peak, "finite": float(bool(torch.isfinite(made).all()))}


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"expected {name} in /proc/self/status: this benchmark needs Linux")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="The forecast beside what then happens.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shape", default="wan-1.3b")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--height", type=int, default=256)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--streamed", action="store_true", help="block by block from the file")
    parser.add_argument("--holes", action="store_true", help="weights of zeros, in a file that takes no room")
    parser.add_argument(
        "--busy", action="store_true", help="count the processor's seconds: for a machine that others use"
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    sizes = shape(asked.shape)
    ask = Ask(asked.frames, asked.height, asked.width, steps=1, guided=False)
    clock = time.process_time if asked.busy else time.perf_counter
    path = written(asked.folder, sizes, asked.holes)
    if asked.alone:
        print(json.dumps(run(path, sizes, ask, asked.streamed, clock)))
        return
    machine = Machine(torch.device("cpu"), None, None)
    pace = measured(sizes, ask.frames, ask.height, ask.width, machine.device, TYPE, clock)
    made = plan(sizes, ask, machine, pace=pace, dtype=TYPE, offload="disk" if asked.streamed else "component")
    walk = next(stage for stage in made.stages if stage.name == "walk")
    ran = subprocess.run(
        [sys.executable, "-m", __spec__.name, *sys.argv[1:], "--alone"], check=True, capture_output=True
    )
    _show(json.loads(ran.stdout), walk.memory, walk.seconds or 0.0, f"{made.model}, {made.film}, {made.tokens} tokens")


def _show(found: dict[str, Any], memory: int, seconds: float, title: str) -> None:
    table = Table("what", "forecast", "measured", "forecast / measured", title=title)
    table.add_row("memory of a forward", gib(memory), gib(found["memory"]), f"{memory / found['memory']:.3f}")
    table.add_row("seconds", f"{seconds:.2f}", f"{found['seconds']:.2f}", f"{seconds / found['seconds']:.3f}")
    console = Console()
    console.print(table)
    console.print(
        f"loading {found['load']:.2f} s, {gib(found['loading'])} at the most; the "
        f"process as a whole {gib(found['all'])} at the most, {gib(found['anonymous'])} of its own in the end; "
        f"{'all numbers finite' if found['finite'] else 'NUMBERS NOT FINITE'}"
    )


if __name__ == "__main__":
    main()
