"""Where a model is, by what a person calls it; and where it computes."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import torch

from vitascope.bundle import LOCK, RECIPE, SHIPPED
from vitascope.checkpoints.shelf import signed, weight_files
from vitascope.data.folder import SUFFIXES
from vitascope.errors import BadModel, nearest
from vitascope.media.controls import PICTURES
from vitascope.shipped import shipped

ENTRIES = 1000
"""Files of a folder that are looked at to see whether there are weights."""


def find(name_or_path: str | Path | None) -> Path:
    """The folder of a model. Raises BadModel with the nearest name."""
    name = SHIPPED.name if name_or_path is None else str(name_or_path)
    known = shipped()
    if name in known:  # before any folder of that name which happens to lie where the program is run
        return known[name]
    path = Path(name)
    if os.path.isdir(path):  # unlike Path.is_dir, it says no to a name that is too long, in every Python
        return path
    if os.path.exists(path):
        raise BadModel(
            f"model {name_or_path}: this is a file and a bundle is a folder; give the folder that holds recipe.json."
        )
    guess = nearest(name, known)
    hint = f"did you mean '{guess}'" if guess else f"there are {', '.join(sorted(known)) or 'none shipped'}"
    raise BadModel(
        f"model '{name[:200]}': no model has this name and no folder this path; {hint}, or give a bundle's folder."
    )


def located(name_or_path: str | Path | None) -> Path:
    """Where a model is: the folder of a bundle, or whatever somebody's weights lie in. Raises BadModel, also for a file or a
    folder of which nothing but its name and those in it need be read to see that no weights are there."""
    path = Path(name_or_path or "")
    if os.path.isfile(path):
        if path.suffix.lower() in (*SUFFIXES, *PICTURES):
            raise BadModel(
                f"model {path}: this is a film or a picture and no file of weights; give a model's name, its folder or its file."
            )
        return path
    folder = find(name_or_path)
    if not _holds_weights(folder):
        raise BadModel(
            f"{folder}: there is no recipe.json in it, as in a bundle, and no file of weights; give a model's name, its folder or "
            "its file."
        )
    return folder


def _holds_weights(folder: Path) -> bool:
    """Whether a folder, or one where packagings keep weights below it, has weights or says of itself that it should."""
    if (folder / RECIPE).exists() or (folder / LOCK).exists() or signed(folder):
        return True
    inner = [*_listed(folder), *_listed(folder / "split_files")]
    return any(weight_files(_listed(place)) for place in (folder, *(below for below in inner if os.path.isdir(below))))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(islice(folder.iterdir(), ENTRIES))
    except OSError:  # of a folder that cannot be read whoever opens it tells
        return []


def choose_device(device: str) -> torch.device:
    """`auto` takes an accelerator where there is one. Raises BadModel for a device that this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadModel(f"device '{device}': this machine cannot compute on it; use --device cpu, or auto.") from error
    return chosen
