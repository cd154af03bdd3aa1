"""vitascope train: a recipe becomes weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vitascope.cli.flags import Flag, Folder, Text, word
from vitascope.cli.generate import chosen_device
from vitascope.cli.progress import telling
from vitascope.cli.stopping import Stopped


@dataclass(frozen=True)
class Command:
    """Train a model from a recipe, and print the folder of its weights.

    vitascope train tiny

    vitascope train storybook-mini --out runs/mine --resume
    """

    recipe: tyro.conf.Positional[Annotated[str, word("RECIPE")]]
    """A shipped recipe's name, or a TOML file."""
    out: Folder = None
    """The folder of the run; runs/NAME if not given."""
    resume: Flag = False
    """Go on with the run that is in the folder."""
    stage: Text = None
    """Only these stages, with commas: codec,clip,diffusion."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""


def run(command: Command) -> None:
    """Trains, telling of each step that is logged."""
    device = chosen_device(command.device)
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
                device=str(choose_device(device)),
                watch=lambda doing, step, of, figures: told.step(doing, step, of, **figures),
            )
        except training.Stopped as error:
            raise Stopped(str(error)) from error
    print(bundle)
