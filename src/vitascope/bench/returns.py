"""Where along its walk a model loses what a film shows: true films are noised to a time t, and walked back from there.

    python -m vitascope.bench.returns [--model storybook] [--films 40] [--times 0.5,0.7,0.95] [--guidance 4] [--sheet a.png]

At t = 0 it is what the codec leaves. What is lost where t is small, the network cannot draw though it sees it through the
noise; what is lost only where t is near 1, it does not understand of the words. So the table tells at which times to learn.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vitascope.bench.answers import answer
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.evaluation.films import ROWS
from vitascope.evaluation.report import probe_for
from vitascope.evaluation.scenes import SPLITS, real, scenes
from vitascope.finding import find
from vitascope.media import sheet
from vitascope.physics.noise import Noise
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import shift_time
from vitascope.pixels import to_bytes, to_pixels
from vitascope.shot import Shot
from vitascope.storybook import plain

TIMES = (0.5, 0.7, 0.85, 0.95, 1.0)


def grid(first: float, steps: int, shift: float) -> Tensor:
    """The steps from `first` to 0 of a walk whose grid is shifted, as many as such a walk from 1 has from there on; [n + 1]."""
    begin = first / (shift - (shift - 1) * first)
    count = max(1, round(steps * begin))
    return shift_time(torch.linspace(begin, 0, count + 1, dtype=torch.float64), shift)


@torch.no_grad()
def returned(engine: Engine, shots: Sequence[Shot], latents: Tensor, first: float) -> Tensor:
    """Latents [n c t h w], noised to the time `first` by the shots' seeds and walked back under their prompts.

    The shots are prepared and alike but for prompts and seeds; at 0 nothing happens.
    """
    if first == 0:
        return latents
    one = shots[0]
    if one.steps is None or one.shift is None or one.solver is None:
        raise ValueError("returned: got a shot that is not prepared; expected the result of Engine.prepare")
    noise = Noise(tuple(shot.seed or 0 for shot in shots))
    eps = noise.like("start", 0, latents)
    x = engine.diffusion.schedule.noised(latents, eps, torch.full((len(shots),), first, dtype=torch.float64))
    walk = SOLVERS[one.solver](engine.field(*shots), x, grid(first, one.steps, one.shift), noise=noise)
    return deque(walk, maxlen=1).pop().x


def shares(read: Sequence[Mapping[str, str]], asked: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many films are read as they were asked for, for each attribute."""
    return {name: sum(r[name] == a[name] for r, a in zip(read, asked, strict=True)) for name in asked[0]}


def _times(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= t <= 1 for t in found):
        raise BadShot(f"--times {text}: times are numbers from 0 (data) to 1 (noise); give some, with commas between.")
    return found


def _measure(asked: argparse.Namespace) -> tuple[Table, Tensor]:
    """The table, and the contact sheet: a row for each film, true and as it comes back from each time, half-way through."""
    times = [0.0, *_times(asked.times)]
    if asked.films < 1:
        raise BadShot(f"--films {asked.films}: without films there is nothing to read; ask for at least 1.")
    engine = Engine.load(find(asked.model))
    probe = probe_for(engine)
    shown = scenes(asked.films, asked.split, world=engine.recipe.world)
    fields = {"guidance": asked.guidance, "steps": asked.steps}
    like = {name: value for name, value in fields.items() if value is not None}
    shots = [engine.prepare(Shot.model_validate({**like, "prompt": plain(s), "seed": i})) for i, s in enumerate(shown)]
    labels = [one.shows(probe.config.attributes) for one in shown]
    found: list[dict[str, int]] = [dict.fromkeys(labels[0], 0) for _ in times]
    cells: list[Tensor] = []
    for begin in track(range(0, len(shown), ROWS), "walking back", console=Console(stderr=True)):
        part = slice(begin, begin + ROWS)
        true = real(engine.recipe.video, shown[part])
        versions = [true]
        latents = engine.codec.encode(to_pixels(true).to(engine.device))
        for counts, first in zip(found, times):
            walked = returned(engine, shots[part], latents, first)
            versions.append(to_bytes(torch.cat(list(engine.codec.decode(walked)), dim=2)).cpu())
            for name, right in shares(probe.read(versions[-1]), labels[part]).items():
                counts[name] += right
        cells += [film[len(film) // 2] for row in zip(*versions, strict=True) for film in row]
    table = Table("read as asked", *(f"t = {t:g}" for t in times), title=f"of {len(shown)} films, walked back from t")
    for name in labels[0]:
        table.add_row(name, *(str(counts[name]) for counts in found))
    return table, sheet(cells, 1 + len(times))


def main() -> None:
    """Print the table, and draw the sheet if asked."""
    parser = argparse.ArgumentParser(description="Where along its walk a model loses what a film shows.")
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--times", default=",".join(map(str, TIMES)))
    parser.add_argument("--split", choices=SPLITS, default=SPLITS[0])
    parser.add_argument("--guidance", default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--sheet", type=Path, help="a PNG of each film, true and as it comes back from each time")
    answer(parser.parse_args(), _measure)


if __name__ == "__main__":
    main()
