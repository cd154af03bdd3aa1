"""vitascope models: the models that are here."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from vitascope.checkpoints import known
from vitascope.checkpoints.shelf import FOLDERS, standing, usual
from vitascope.cli.bundles import here
from vitascope.cli.flags import Flag, word
from vitascope.cli.progress import Told, plain, telling
from vitascope.errors import BadModel
from vitascope.media import local_path

if TYPE_CHECKING:
    from vitascope.checkpoints.labels import Label, Unusable

_plain = tyro.conf.arg(help_behavior_hint="")


@dataclass(frozen=True)
class Command:
    """List the models that ship with vitascope and those that are here: bundles and models of Wan 2.1.

    Looked into are this folder and two levels below it, ComfyUI's models in it, and the cache of Hugging Face's hub. What is
    told is read from headers; the first word of a line is what --model takes.

    vitascope models

    vitascope models ~/ComfyUI --hash

    vitascope generate "a red ball" --model runs/tiny/bundle
    """

    folder: tyro.conf.Positional[Annotated[str | None, word("FOLDER"), _plain]] = None
    """A folder to look into instead, and three levels below it."""
    hash: Flag = False
    """Read the files that have the size of a published one, to tell whether they are its very bytes; this is remembered."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints a line for each model."""
    folder = None if command.folder is None else _folder(command.folder)
    bundles = here(folder)
    shelf = standing(usual() if folder is None else [(folder, 3)])
    models: Sequence[Label | Unusable] = []
    with telling() as told:
        if not shelf.whole:
            told.warn(f"only the first {FOLDERS:,} folders were looked into; name a folder to look further in it")
        if shelf.models:
            from vitascope.checkpoints.labels import labels

            models = labels(shelf.models, hashes(told) if command.hash else known.known_so_far)
        if not bundles and not models:
            told.note(f"{command.folder or '.'}: no model was found in it, neither a bundle nor one of Wan 2.1")
    if command.json:
        found = [model.json() | {"origin": "found"} for model in models]
        print(json.dumps([*(bundle.json() for bundle in bundles), *found]))
        return
    for bundle in bundles:
        size = f"{bundle.parameters / 1e6:.1f} M parameters, {bundle.bytes / 1e6:.1f} MB"
        print(plain("  ".join([bundle.name, bundle.origin, size, bundle.clip, *filter(None, [bundle.defaults])])))
    for model in models:
        print(plain(line(model)))


def line(model: Label | Unusable) -> str:
    """A Wan model in a line."""
    from vitascope.checkpoints.labels import Unusable

    if isinstance(model, Unusable):
        return f"{model.path}  found  cannot be used: {model.reason}"
    found = model.found
    size = (
        f"{_scaled(model.parameters)} parameters, {_scaled(model.bytes, 'G', 'M')}B, {model.parts['transformer'].dtype}"
    )
    states = model.hashes()
    told = ", ".join(state if len(states) == 1 else f"{count} {state}" for state, count in states.items())
    missing = ", ".join(_PARTS[part] for part in found.missing())
    words = [str(found.path), "found", size, f"{found.layout} {found.variant}: {model.does}", f"hashes: {told}"]
    return "  ".join([*words, *([f"missing: {missing}"] if missing else [])])


def hashes(told: Told) -> Callable[[Path], str]:
    """The hash state of files that are read for it where need be, with a bar in megabytes."""

    def state(path: Path) -> str:
        shown = -1

        def watch(done: int, of: int) -> None:
            nonlocal shown
            if (percent := 100 * done // max(of, 1)) > shown:
                shown = percent
                told.step(f"hashing {plain(path.name)}", done // 10**6, of // 10**6)

        return known.known_so_far(path, most=sys.maxsize, watch=watch)

    return state


_PARTS = {"vae": "VAE", "text": "text encoder", "tokenizer": "tokeniser", "image": "image encoder"}


def _folder(name: str) -> Path:
    folder = local_path(name)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise BadModel(f"{name}: this is a file, and a folder was wanted; vitascope inspect {name} tells what it is.")
    raise BadModel(f"{name}: there is no such folder; look at the path again.")


def _scaled(count: float, *units: Any) -> str:
    large, small = units or ("B", "M")
    return f"{count / 1e9:.1f} {large}" if count >= 1e9 else f"{count / 1e6:.1f} {small}"
