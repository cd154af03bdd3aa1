"""vitascope export: a model in the layout of another program, and back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from vitascope.cli.flags import BadCommand, Flag, word
from vitascope.cli.progress import telling
from vitascope.errors import nearest
from vitascope.media import local_path

LAYOUTS = ("diffusers", "vitascope")
"""What a model is written for."""
NAMINGS = ("diffusers", "comfy")
"""Whose names a LoRA is written under."""

_needed = tyro.conf.arg(help_behavior_hint="(required)")  # with words of our own where it is missing


@dataclass(frozen=True)
class Command:
    """Write a model in the layout of diffusers, whose WanPipeline then runs it, or bring such a folder back as a bundle; or
    write a LoRA under the names of another program. Prints the folder or the file.

    The text tower goes along in a folder of its own, and the README.md beside it shows how diffusers is handed what it says.

    vitascope export storybook --to diffusers storybook-diffusers

    vitascope export storybook-diffusers --to vitascope my-bundle

    vitascope export style.safetensors --to comfy style-comfy.safetensors
    """

    model: tyro.conf.Positional[Annotated[str, word("MODEL")]]
    """A shipped model's name or a bundle's folder; with --to vitascope, a folder that was exported; or a LoRA's file."""
    folder: tyro.conf.Positional[Annotated[str | None, word("FOLDER"), _needed]] = None
    """The folder to write, or for a LoRA the .safetensors file, which must not be there."""
    to: Annotated[str | None, word("LAYOUT"), _needed] = None
    """diffusers or vitascope; for a LoRA diffusers or comfy."""
    force: Flag = False
    """Replace what an earlier export wrote there."""


def run(command: Command) -> None:
    """Writes the folder or the file, whole or not at all."""
    lora = os.path.isfile(command.model)
    layout = _layout(command.to, NAMINGS if lora else LAYOUTS)
    if command.folder is None:
        raise BadCommand(
            f"export {command.model[:60]}: it needs a folder to write; add one, as in vitascope export {command.model[:60]} "
            f"--to {layout} my-folder."
        )
    folder = local_path(command.folder)
    if lora:
        _lora(local_path(command.model), layout, folder, command.force)
    elif layout == "diffusers":
        _out(command.model, folder, command.force)
    else:
        _back(local_path(command.model), folder, command.force)
    print(folder)


def _layout(asked: str | None, known: tuple[str, ...]) -> str:
    if asked is None:
        raise BadCommand("export without --to: it needs to know for which program; write --to diffusers.")
    if asked not in known:
        close = nearest(asked[:60], known)
        hint = f"the nearest is {close}" if close else f"there are {' and '.join(known)}"
        if known == NAMINGS:
            raise BadCommand(f"--to {asked[:60]!r}: a LoRA is written under no such names; {hint}.")
        raise BadCommand(
            f"--to {asked[:60]!r}: models are written in no such layout, for only what runs there to the same film is; {hint}."
        )
    return asked


def _lora(source: Path, naming: str, file: Path, force: bool) -> None:
    """Write a LoRA's changes under another program's names; keys that change nothing are told and left out."""
    if file.suffix != ".safetensors":
        raise BadCommand(f"{file}: a LoRA is one file; end its name in .safetensors.")
    if file.exists() and not force:
        raise BadCommand(f"{file}: this is there already; add --force to replace it, or give another name.")
    from vitascope.checkpoints import lora_export
    from vitascope.checkpoints.lora import Lora
    from vitascope.checkpoints.weights import opened
    from vitascope.tensors import write

    weights = opened(source)
    lora = Lora.read(weights, origin=weights.origin, metadata=weights.metadata)
    write(file, lora_export.diffusers(lora) if naming == "diffusers" else lora_export.comfyui(lora))
    if lora.ignored:
        first = next(iter(lora.ignored.items()))
        count = (
            "1 key changes nothing and was"
            if len(lora.ignored) == 1
            else f"{len(lora.ignored)} keys change nothing and were"
        )
        with telling() as told:
            told.warn(f"{source}: {count} left out, as {first[0]} ({first[1]})")


def _out(model: str, folder: Path, force: bool) -> None:
    from vitascope import bundle, exchange
    from vitascope.engine import find
    from vitascope.learned import take_note

    source = find(model)
    exchange.to_diffusers(bundle.load(source), folder, replace=force)
    take_note(source, folder / exchange.OURS)


def _back(source: Path, folder: Path, force: bool) -> None:
    from vitascope import bundle, exchange
    from vitascope.learned import take_note

    if folder.exists() and not force:
        raise BadCommand(
            f"{folder}: this is there already; add --force to replace the bundle in it, or give another folder."
        )
    system = exchange.from_diffusers(source)
    bundle.save(folder, system)
    take_note(source / exchange.OURS, folder)
    lost = exchange.rounded(system, folder)
    if lost:
        count = "1 tensor was" if len(lost) == 1 else f"{len(lost)} tensors were"
        with telling() as told:
            told.warn(f"{count} rounded to bf16, in which a bundle keeps matrices: {', '.join(lost[:3])}")
