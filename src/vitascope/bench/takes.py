"""What it brings to choose among takes: films of withheld prompts, the first take of each and the one that the bundle's own
probe chooses of several, as another probe reads both, which had no part in the choice.

    python -m vitascope.bench.takes --probe runs/referee [--model storybook] [--films 80] [--takes 4] [--steps 8] [--sheet a.png]

Where the folder does not exist yet, the other probe is trained, about an hour on one core, and kept there. It is the weaker one, so
that of what is gained it sees a part. Who chooses and who judges err alike where they learned alike: both saw true films alone. So
look at the sheet too, a row a prompt: the first take and the chosen one, from beginning to end.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table
from torch import Tensor

from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot, VitascopeError
from vitascope.evaluation.adherence import fits
from vitascope.evaluation.films import prepared
from vitascope.evaluation.lessons import train_probe
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.evaluation.scenes import SPLITS, scenes
from vitascope.evaluation.takes import judge, takes
from vitascope.finding import find
from vitascope.media import Video, filmstrip, sheet
from vitascope.shot import MOST_TAKES
from vitascope.storybook import plain

REFEREE, LESSONS, EXAMINED = 77, 1600, 500
"""The seed of the other probe's weights and lessons, how many lessons there are, and on how many films it is examined."""
STRIP = 4
"""Frames of a film on the sheet."""


def shares(read: Sequence[Mapping[str, str]], asked: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """The share of films that are read as they were asked for, for each attribute, and the mean of those."""
    found = {name: sum(r[name] == a[name] for r, a in zip(read, asked, strict=True)) / len(asked) for name in asked[0]}
    return found | {"mean": sum(found.values()) / len(found)}


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
            "--probe: this is the probe that chooses the takes, and it would judge its own choice; train another one, as "
            "vitascope evaluate --probe with a new folder does."
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
    own = referee.schooling.accuracy if referee.schooling else {}
    table = Table("read as asked", "one take", f"the best of {asked.takes}", "this probe on true films")
    table.title = f"of {len(shown)} {asked.split} prompts"
    for name in before:
        table.add_row(name, f"{before[name]:.1%}", f"{after[name]:.1%}", f"{own[name]:.1%}" if name in own else "")
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
    asked = parser.parse_args()
    try:
        if asked.sheet and asked.sheet.suffix != ".png":
            raise BadShot(f"--sheet {asked.sheet}: a contact sheet is a picture; name a file that ends in .png.")
        with torch.no_grad():
            table, image = _measure(asked)
        Console().print(table)
        if asked.sheet:
            print(Video(image[None], 1.0).save(asked.sheet))
    except VitascopeError as error:
        print(f"vitascope: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
