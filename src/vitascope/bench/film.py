"""How long a film takes, from the shell's prompt to the finished mp4, and where the time goes.

    python -m vitascope.bench.film [--runs 5] [--steps 30]

The whole command runs in processes of its own, as a person would start it; the parts are timed in this one.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

PROMPT = "a red ball bounces across a snowfield at dusk"


def whole(runs: int, steps: int) -> list[float]:
    """Seconds of `vitascope generate`, each run in a fresh process."""
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(runs):
            path = Path(folder) / f"{run}.mp4"
            flags = ["--steps", str(steps), "--seed", str(run), "--output", str(path)]
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "vitascope", "generate", PROMPT, *flags], check=True, capture_output=True
            )
            taken.append(time.perf_counter() - started)
    return taken


def parts(runs: int, steps: int) -> dict[str, list[float]]:
    """Seconds of each part of making a film, in this process."""
    taken: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        made = work()
        taken.setdefault(name, []).append(time.perf_counter() - started)
        return made

    started = time.perf_counter()
    from vitascope.engine import Engine
    from vitascope.shot import Shot

    taken["import"] = [time.perf_counter() - started]
    for run in range(runs):
        engine = timed("load", Engine.load)
        shot = engine.prepare(Shot(prompt=PROMPT, seed=run, steps=steps))
        latent = timed(f"walk, {steps} steps", lambda: [step.x for step in engine.sample(shot)][-1])  # noqa: B023
        timed("decode", lambda: list(engine.frames(latent)))  # noqa: B023
    return taken


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How long a film takes, and where the time goes.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    asked = parser.parse_args()
    table = Table(
        "what", "runs", "fastest", "median", "slowest", title=f"a film in {asked.steps} guided steps, seconds"
    )
    rows = {"vitascope generate, whole": whole(asked.runs, asked.steps)} | parts(asked.runs, asked.steps)
    for name, taken in rows.items():
        figures = (f"{value:.2f}" for value in (min(taken), median(taken), max(taken)))
        table.add_row(name, str(len(taken)), *figures)
    Console().print(table)


if __name__ == "__main__":
    main()
