"""vitascope train: a recipe becomes weights."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vitascope.cli.flags import BadCommand, Flag, Folder, Real, Text, real, word
from vitascope.cli.generate import chosen_device
from vitascope.cli.progress import telling
from vitascope.cli.stopping import Stopped


@dataclass(frozen=True)
class Command:
    """Train a model from a recipe, and print the folder of its weights.

    With --from it goes on from a bundle: what the recipe leaves out is as there, and only the stages that the recipe or
    --stage names are trained. With --data it learns from a folder of films instead of the storybook; vitascope data
    examines one first.

    vitascope train tiny

    vitascope train finetune --from storybook --data my-films

    vitascope train storybook-mini --out runs/mine --resume

    vitascope train storybook --minutes 9 --resume
    """

    recipe: tyro.conf.Positional[Annotated[str, word("RECIPE")]]
    """A shipped recipe's name, or a TOML file."""
    out: Folder = None
    """The folder of the run; runs/RECIPE if not given, by its name or its file's."""
    data: Folder = None
    """A folder of films and captions to learn from."""
    from_: Annotated[str | None, word("MODEL"), tyro.conf.arg(name="from", help_behavior_hint="")] = None
    """A shipped model's name or a bundle's folder to go on from."""
    resume: Flag = False
    """Go on with the run that is in the folder; it remembers --data and --from."""
    stage: Text = None
    """Only these stages, with commas: codec,clip,diffusion,decoder."""
    minutes: Real = None
    """Stop after so many minutes, saved; --resume goes on from there."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""


def run(command: Command) -> None:
    """Trains, telling of each step that is logged."""
    device = chosen_device(command.device)
    says = "it is a number of minutes above 0; write for instance --minutes 9"
    minutes = None if command.minutes is None else real("--minutes", command.minutes, lambda m: 0 < m < math.inf, says)
    if command.out is not None:
        _ensure_folder(command.out)
    stages = [stage.strip() for stage in command.stage.split(",")] if command.stage else None
    from vitascope.engine import choose_device
    from vitascope.training import run as training

    with telling() as told:
        try:
            bundle = training.train_recipe(
                command.recipe,
                Path(command.out) if command.out else None,
                command.resume,
                stages,
                data=Path(command.data) if command.data else None,
                start=command.from_,
                device=str(choose_device(device)),
                watch=lambda doing, step, of, figures: told.step(doing, step, of, **figures),
                warn=told.warn,
                minutes=minutes,
                workers=os.cpu_count() or 1,
            )
        except training.Stopped as error:
            if error.interrupted:
                raise KeyboardInterrupt(str(error)) from error
            raise Stopped(str(error)) from error
    print(bundle)


def _ensure_folder(out: str) -> None:
    """Raises BadCommand where there is a file in the way of the run's folder."""
    nearest_there = next(place for place in (Path(out), *Path(out).absolute().parents) if os.path.lexists(place))
    if not nearest_there.is_dir():
        raise BadCommand(f"--out {out[:200]}: {nearest_there} is a file, and a run is a folder; name another.")
