"""vitascope data: what is in a folder of films, before anything is trained on it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from vitascope.cli.flags import BadCommand, Flag, Text, word
from vitascope.cli.progress import plain, telling

if TYPE_CHECKING:
    from vitascope.data.survey import Survey

RECIPE, BUNDLE = "finetune", "storybook"
"""What is asked about where nothing is said: going on from the model that ships."""


@dataclass(frozen=True)
class Command:
    """Examine a folder of films and captions: what is there, what is wrong with which file, what would be trained.

    A film's caption is in clip.txt beside clip.mp4, or in metadata.jsonl or metadata.csv (file_name, text).

    vitascope data my-films

    vitascope data my-films --recipe storybook-mini --json
    """

    folder: tyro.conf.Positional[Annotated[str, word("FOLDER")]]
    """The folder; folders in it are looked through as well."""
    recipe: Text = None
    """The recipe that would be trained; finetune if not given."""
    from_: Annotated[str | None, word("MODEL"), tyro.conf.arg(name="from", help_behavior_hint="")] = None
    """The bundle that training would go on from; storybook if no recipe is given either."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints what was found; every film is decoded, and nothing is kept.

    Raises:
        BadData: after that, when there is nothing to train on.
        BadCommand: for "", which is what a shell makes of a variable that is not set, and would be the folder one is in.
    """
    if not command.folder:
        raise BadCommand("FOLDER '': it names no folder; give its name, or . for the one that you are in.")
    from vitascope.data import listing
    from vitascope.data.survey import survey
    from vitascope.engine import find
    from vitascope.training.beginning import described, words_of
    from vitascope.training.stages import measure_of

    base = command.from_ or (None if command.recipe else BUNDLE)
    recipe = described(command.recipe or RECIPE, find(base) if base else None, base).recipe
    found = listing(Path(command.folder))
    with telling() as told:
        words = words_of(find(base)) if base else None
        seen = survey(found, measure_of(recipe), words, lambda done, of: told.step("reading films", done, of))
    if command.json:
        print(json.dumps(seen.json()))
    elif sys.stdout.isatty():
        _show(seen)
    else:
        print("\n".join(lines(seen)))
    seen.ensure_trainable()


def lines(seen: Survey) -> list[str]:
    """The report as plain lines: a film each, then what is wrong, then what would be trained."""
    found = []
    for entry, held in zip(seen.used, seen.held_out):
        side = "held out" if held else "training"
        found.append(f"film: {plain(entry.name)}, {_seen(entry.seen)}, {_clips(len(entry.windows))}, {side}")
    found += [f"wrong: {plain(str(fault))}" for fault in seen.faults]
    found += [f"note: {plain(str(note))}" for note in seen.notes]
    return [*found, *summary(seen)]


def summary(seen: Survey) -> list[str]:
    """What would be trained, in a few lines."""
    measure, training, held = seen.measure, seen.windows(False), seen.windows(True)
    about = f"{measure.width}x{measure.height}, {measure.frames} frames, {measure.fps:g} a second"
    seconds = training * measure.seconds
    if not seen.used:
        return ["would be trained: nothing"]
    told = [f"would be trained: {_clips(training)} of {about}, {seconds:.0f} s in all, of {_films(seen, False)}"]
    if held:
        told.append(f"held out, to measure on: {_clips(held)} of {_films(seen, True)}")
    if seen.faults:
        told.append(f"set aside: {len(seen.faults)}, each named above")
    if seen.unknown:
        words = ", ".join(f"{plain(word)} ({count})" for word, count in list(seen.unknown.items())[:20])
        told.append(f"words that the model does not know yet, and will learn: {words}")
    return told


def _show(seen: Survey) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Plain

    console = Console()
    table = Table("film", "was", "clips", "for", "caption", title="films")
    for entry, held in zip(seen.used, seen.held_out):
        cells = (
            entry.name,
            _seen(entry.seen),
            str(len(entry.windows)),
            "held out" if held else "training",
            entry.caption,
        )
        table.add_row(*(Plain(plain(cell)) for cell in cells))
    console.print(table)
    for name, told, style in (("wrong", seen.faults, "red"), ("worth a look", seen.notes, "yellow")):
        if told:
            listed = Table("file", name)
            for fault in told:
                listed.add_row(Plain(plain(fault.name), style), Plain(plain(fault.why)))
            console.print(listed)
    for line in summary(seen):
        console.print(Plain(line))


def _seen(seen: dict[str, float] | None) -> str:
    return "{width}x{height}, {frames} frames, {seconds:.2f} s".format_map(seen or {})


def _clips(count: int) -> str:
    return f"{count} clip{'' if count == 1 else 's'}"


def _films(seen: Survey, held: bool) -> str:
    count = sum(apart == held for apart in seen.held_out)
    return f"{count} film{'' if count == 1 else 's'}"
