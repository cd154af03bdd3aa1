"""What it brings to choose among takes: films of withheld prompts, the first take of each and the one that the bundle's own
probe chooses of several, as another probe reads both, which had no part in the choice.

    python -m vitascope.bench.takes --probe runs/referee [--model storybook] [--films 80] [--takes 4] [--steps 8] [--sheet a.png]

Where the folder does not exist yet, the other probe is trained, about an hour on one core, and kept there. It is the weaker one, so
that of what is gained it sees a part. Who chooses and who judges err alike where they learned alike: both saw true films alone. So
look at the sheet too, a row a prompt: the first take and the chosen one, from beginning to end. What is gained in the mean is told
with its standard error over the prompts.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from torch import Tensor

from vitascope.bench.answers import answer
from vitascope.bench.returns import shares
from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.adherence import fits
from vitascope.evaluation.films import prepared
from vitascope.evaluation.lessons import train_probe
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.evaluation.scenes import SPLITS, scenes
from vitascope.evaluation.takes import judge, takes
from vitascope.finding import find
from vitascope.media import filmstrip, sheet
from vitascope.shot import MOST_TAKES
from vitascope.storybook import plain

REFEREE, LESSONS, EXAMINED = 77, 1600, 500
"""The seed of the other probe's weights and lessons, how many lessons there are, and on how many films it is examined."""
STRIP = 4
"""Frames of a film on the sheet."""


def referee_in(folder: Path, engine: Engine) -> Probe:
    """The probe in a folder; where there is no such folder, one that is trained now and kept there. Raises BadModel."""
    if folder.exists():
        return Probe.load(folder).to(engine.device)
    config, console = ProbeConfig.of(engine.recipe.video, engine.recipe.world), Console(stderr=True)
    with Progress(console=console) as bar:
        lessons = bar.add_task("teaching another probe", total=LESSONS)
        probe = train_probe(
            config,
            REFEREE,
            LESSONS,
            held_out=EXAMINED,
            device=engine.device,
            log=lambda step, *_: bar.update(lessons, completed=step),
        )
    probe.save(folder)
    return probe


def ensure_another(chooser: Probe, referee: Probe) -> None:
    """Raises BadModel where both probes are one and the same."""
    ours, theirs = chooser.state_dict(), referee.state_dict()
    if ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise BadModel(
            "--probe: this is the probe that chooses the takes, and it would judge its own choice; name a folder that does not "
            "exist yet, and another is trained."
        )


def _measure(asked: argparse.Namespace) -> tuple[Table, Tensor]:
    """The table, and the sheet: of each prompt the first take and the chosen one."""
    if asked.films < 1 or not 2 <= asked.takes <= MOST_TAKES:
        raise BadShot(
            f"--films {asked.films} --takes {asked.takes}: there is at least 1 film, and from 2 to {MOST_TAKES} takes of it."
        )
    engine = Engine.load(find(asked.model))
    assert engine.folder is not None, "a model that was found lies in a folder"
    chooser, referee = judge(engine.folder, engine.system.name), referee_in(asked.probe, engine)
    fits(referee, engine)
    ensure_another(chooser.to(engine.device), referee)
    shown = scenes(asked.films, asked.split, world=engine.recipe.world)
    labels = [one.shows(referee.config.attributes) for one in shown]
    read: dict[str, list[dict[str, str]]] = {"first": [], "chosen": []}
    strips: list[Tensor] = []
    like = {} if asked.steps is None else {"steps": asked.steps}
    for number, scene in enumerate(track(shown, "trying takes", console=Console(stderr=True))):
        shot = prepared(engine, plain(scene), number * asked.takes, like)
        made = list(takes(engine, shot, asked.takes, chooser))
        pair = made[0], max(made, key=lambda take: take.likely)
        for name, take in zip(read, pair):
            read[name] += referee.read(take.frames[None])
        strips += [filmstrip(take.frames, STRIP) for take in pair]
    before, after = shares(read["first"], labels), shares(read["chosen"], labels)
    own, count = referee.schooling.accuracy if referee.schooling else {}, len(shown)
    table = Table("read as asked", "one take", f"the best of {asked.takes}", "this probe on true films")
    table.title = f"of {count} {asked.split} prompts"
    for name in before:
        row = f"{before[name] / count:.1%}", f"{after[name] / count:.1%}", f"{own[name]:.1%}" if name in own else ""
        table.add_row(name, *row)
    gains = [
        sum((c[name] == a[name]) - (f[name] == a[name]) for name in a) / len(a)
        for f, c, a in zip(read["first"], read["chosen"], labels, strict=True)
    ]
    mean = [sum(counts.values()) / len(counts) / count for counts in (before, after)]
    spread = torch.tensor(gains, dtype=torch.float64).std().item() / count**0.5 if count > 1 else 0.0
    table.add_row("mean", *(f"{share:.1%}" for share in mean), "")
    table.caption = f"the mean gains {mean[1] - mean[0]:.1%}, with a standard error of {spread:.1%}"
    return table, sheet(strips, 2)


def main() -> None:
    """Print the table, and draw the sheet if asked."""
    parser = argparse.ArgumentParser(description="What it brings to choose among takes.")
    parser.add_argument(
        "--probe",
        type=Path,
        required=True,
        help="the folder of another probe than the bundle's own, or where one is kept",
    )
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--films", type=int, default=80)
    parser.add_argument("--takes", type=int, default=4)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--split", choices=SPLITS, default=SPLITS[0])
    parser.add_argument("--sheet", type=Path, help="a PNG of the first take of each prompt and the chosen one")
    answer(parser.parse_args(), _measure)


if __name__ == "__main__":
    main()
