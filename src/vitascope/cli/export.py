"""vitascope export: a model in the layout of another program, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vitascope.cli.flags import BadCommand, Flag, word
from vitascope.cli.progress import telling
from vitascope.errors import nearest
from vitascope.media import local_path

LAYOUTS = ("diffusers", "vitascope")

_plain = tyro.conf.arg(help_behavior_hint="")


@dataclass(frozen=True)
class Command:
    """Write a model in the layout of diffusers, whose WanPipeline then runs it, or bring such a folder back as a bundle.
    Prints the folder.

    The text tower goes along in a folder of its own, and the README.md beside it shows how diffusers is handed what it says.

    vitascope export storybook --to diffusers storybook-diffusers

    vitascope export storybook-diffusers --to vitascope my-bundle
    """

    model: tyro.conf.Positional[Annotated[str, word("MODEL")]]
    """A shipped model's name or a bundle's folder; with --to vitascope, a folder that was exported."""
    folder: tyro.conf.Positional[Annotated[str | None, word("FOLDER"), _plain]] = None
    """The folder to write, which must not be there."""
    to: Annotated[str | None, word("LAYOUT"), _plain] = None
    """diffusers or vitascope."""
    force: Flag = False
    """Replace what an earlier export wrote there."""


def run(command: Command) -> None:
    """Writes the folder, whole or not at all."""
    layout = _layout(command.to)
    if command.folder is None:
        raise BadCommand(
            f"export {command.model[:60]}: it needs a folder to write; add one, as in vitascope export {command.model[:60]} "
            f"--to {layout} my-folder."
        )
    folder = local_path(command.folder)
    if layout == "diffusers":
        _out(command.model, folder, command.force)
    else:
        _back(local_path(command.model), folder, command.force)
    print(folder)


def _layout(asked: str | None) -> str:
    if asked is None:
        raise BadCommand("export without --to: it needs to know for which program; write --to diffusers.")
    if asked not in LAYOUTS:
        close = nearest(asked[:60], LAYOUTS)
        hint = f"the nearest is {close}" if close else f"there are {' and '.join(LAYOUTS)}"
        raise BadCommand(
            f"--to {asked[:60]!r}: models are written in no such layout, for only what runs there to the same film is; {hint}."
        )
    return asked


def _out(model: str, folder: Path, force: bool) -> None:
    from vitascope import bundle, exchange
    from vitascope.engine import find

    exchange.to_diffusers(bundle.load(find(model)), folder, replace=force)


def _back(source: Path, folder: Path, force: bool) -> None:
    from vitascope import bundle, exchange

    if folder.exists() and not force:
        raise BadCommand(
            f"{folder}: this is there already; add --force to replace the bundle in it, or give another folder."
        )
    system = exchange.from_diffusers(source)
    bundle.save(folder, system)
    lost = exchange.rounded(system, folder)
    if lost:
        count = "1 tensor was" if len(lost) == 1 else f"{len(lost)} tensors were"
        with telling() as told:
            told.warn(f"{count} rounded to bf16, in which a bundle keeps matrices: {', '.join(lost[:3])}")
