"""vitascope sheet: a film of every line of a file, on one picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitascope.cli.flags import BadCommand, File, Flag, Real, Text, Whole, whole, word
from vitascope.cli.generate import chosen_device
from vitascope.cli.progress import telling
from vitascope.errors import BadPrompt
from vitascope.media import check_output, filmstrip, local_path, sheet, write
from vitascope.shot import Shot

MOST_FILMS = 1000


@dataclass(frozen=True)
class Command:
    """Make a film of every line of a file, with the seeds 0, 1, 2 and so on, and put frames of each on one PNG.

    Nothing is chosen: the picture shows what comes. It carries the prompts and seeds, which `vitascope inspect` tells.

    vitascope sheet prompts.txt --output sheet.png

    vitascope sheet prompts.txt --seeds 4 --columns 2 --output four-of-each.png
    """

    prompts: tyro.conf.Positional[Annotated[str, word("FILE")]]
    """A text file with a prompt a line; empty lines and lines that begin with # are left out."""
    output: File = None
    """Where to, .png; named after the file of prompts if not given."""
    seeds: Whole = None
    """Each prompt with so many seeds, from 0 on; if not given once, with its place in the file as the seed."""
    columns: Whole = None
    """How many films side by side; 3 if not given."""
    strip: Whole = None
    """How many frames of each film, from its first to its last; 4 if not given."""
    negative: Text = None
    """What none of them should show."""
    frames: Whole = None
    """How many frames each film has; as the model prefers if not given, here and below."""
    height: Whole = None
    """Height in pixels."""
    width: Whole = None
    """Width in pixels."""
    steps: Whole = None
    """How many steps the solver takes."""
    solver: Text = None
    """Who walks the field."""
    guidance: Text = None
    """How strongly the prompts are followed."""
    shift: Real = None
    """How far the steps lean towards noise."""
    model: Text = None
    """A shipped model's name or a bundle's folder."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    force: Flag = False
    """Replace the output if there is such a file."""


def run(command: Command) -> None:
    """Makes the films one by one, then the picture."""
    shots = shots_of(command, prompts_in(local_path(command.prompts)))
    columns, strip = whole("--columns", command.columns, 3, 100), whole("--strip", command.strip, 4, 100)
    device = chosen_device(command.device)
    path = Path(command.output) if command.output else Path(Path(command.prompts).stem + ".png")
    if check_output(path, replace=command.force).suffix.lower() != ".png":
        raise BadCommand(f"--output {command.output!r}: a sheet is a picture; end the name in .png.")
    from vitascope.engine import Engine

    with telling() as told:
        engine = Engine.load(command.model, device)
        strips, records = [], []
        for index, full in enumerate([engine.prepare(shot) for shot in shots]):
            told.step("films", index, len(shots))
            frames, record = frames_of(engine, full)
            strips.append(filmstrip(frames, strip))
            records.append(record)
        told.step("films", len(shots), len(shots))
        write(path, [sheet(strips, columns)[None]], 1.0, {"sheet": records}, replace=command.force)
    print(path)


def frames_of(engine: Any, full: Shot) -> tuple[Any, dict[str, Any]]:
    """All frames [t h w c] of a prepared shot, and its record."""
    import torch

    chunks, _, record = engine.film(full)
    return torch.cat(list(chunks)), record


def asked(command: Command, prompt: str, seed: int) -> Shot:
    """The shot of one line. Raises BadShot when it cannot be made."""
    names = ("negative", "frames", "height", "width", "steps", "solver", "guidance", "shift")
    said = {name: value for name in names if (value := getattr(command, name)) is not None}
    return Shot.model_validate({"prompt": prompt, "seed": seed, **said})


def shots_of(command: Command, prompts: list[str]) -> list[Shot]:
    """Each prompt with its own seed, or with as many as the command asks for.

    Raises:
        BadCommand: when that is more than a picture holds.
    """
    seeds = whole("--seeds", command.seeds, 1, MOST_FILMS)
    if len(prompts) * seeds > MOST_FILMS:
        raise BadCommand(
            f"--seeds {seeds}: {len(prompts)} prompts with {seeds} seeds each are {len(prompts) * seeds:,} films; a sheet holds "
            f"{MOST_FILMS:,} at the most."
        )
    shots = []
    for number, prompt in enumerate(prompts):
        try:
            shots += [asked(command, prompt, number if command.seeds is None else seed) for seed in range(seeds)]
        except BadPrompt as error:
            raise BadPrompt(f"{command.prompts}, prompt {number + 1}: {error}") from error
    return shots


def prompts_in(path: Path) -> list[str]:
    """The prompts in a text file.

    Raises:
        BadPrompt: when it is not a text file with prompts in it.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise BadPrompt(f"{path}: it cannot be read ({(error.strerror or '').lower()}); check the name.") from None
    except UnicodeDecodeError as error:
        raise BadPrompt(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text.") from None
    prompts = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not 1 <= len(prompts) <= MOST_FILMS:
        raise BadPrompt(f"{path}: there are {len(prompts)} prompts in it; write from 1 to {MOST_FILMS}, one a line.")
    return prompts
