"""Where a model is, by what a person calls it; and where it computes."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from vitascope.bundle import SHIPPED
from vitascope.errors import BadModel, nearest
from vitascope.shipped import shipped


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
            f"model {name_or_path}: this is a file and a bundle is a folder; give the folder that holds recipe.json"
        )
    guess = nearest(name, known)
    hint = f"did you mean '{guess}'" if guess else f"there are {', '.join(sorted(known)) or 'none shipped'}"
    raise BadModel(
        f"model '{name[:200]}': no model has this name and no folder this path; {hint}, or give a bundle's folder"
    )


def located(name_or_path: str | Path | None) -> Path:
    """Where a model is: the folder of a bundle, or whatever somebody's weights lie in. Raises BadModel."""
    path = Path(name_or_path or "")
    return path if os.path.isfile(path) else find(name_or_path)


def choose_device(device: str) -> torch.device:
    """`auto` takes an accelerator where there is one. Raises BadModel for a device that this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadModel(f"device '{device}': this machine cannot compute on it; use --device cpu, or auto") from error
    return chosen
