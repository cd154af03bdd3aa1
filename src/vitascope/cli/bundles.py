"""What a folder of weights holds, read from its headers alone: no tensor is loaded and no torch is needed."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitascope.errors import BadModel
from vitascope.headers import contents
from vitascope.shipped import shipped


@dataclass(frozen=True)
class Weights:
    """One safetensors file."""

    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True)
class Bundle:
    """A folder with a recipe.json and weights."""

    name: str  # what --model takes
    origin: str  # shipped or found
    folder: str
    recipe: dict[str, Any] = field(repr=False)
    files: dict[str, Weights]
    fingerprint: str | None
    """What a film that it made calls its weights; None where a file is missing."""

    @property
    def parameters(self) -> int:
        return sum(weights.parameters for weights in self.files.values())

    @property
    def bytes(self) -> int:
        return sum(weights.bytes for weights in self.files.values())

    @property
    def clip(self) -> str:
        """The films that it was trained to make, in words."""
        video = self.recipe.get("video")
        if not isinstance(video, dict):
            return "unknown"
        return "{width}x{height}, {frames} frames, {fps:g} fps".format_map({**dict.fromkeys(_CLIP, math.nan), **video})

    @property
    def defaults(self) -> str:
        """How a film is made where nothing is said, in words."""
        table = self.recipe.get("defaults")
        table = table if isinstance(table, dict) else {}
        told = {"steps": "{} steps", "solver": "{}", "guidance": "guidance {}", "shift": "shift {}"}
        return ", ".join(
            way.format(f"{table[name]:g}" if isinstance(table[name], int | float) else table[name])
            for name, way in told.items()
            if name in table
        )

    @property
    def does(self) -> str:
        """What it can do, in words."""
        stages = self.recipe.get("stages")
        diffusion = stages.get("diffusion") if isinstance(stages, dict) else None
        pictures = isinstance(diffusion, dict) and bool(diffusion.get("first"))
        return "films of a prompt" + (", also ones that begin with a picture" if pictures else "")

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        counts = {"does": self.does, "parameters": self.parameters, "bytes": self.bytes}
        return {"kind": "bundle"} | asdict(self) | counts


_CLIP = ("width", "height", "frames", "fps")
LOCK, HASHES = "run.lock", "hashes.json"  # as `bundle` has them, without torch
FILES = ("codec.safetensors", "clip.safetensors", "network.safetensors", "tokenizer.json", "recipe.json")
"""What determines the pixels, as `bundle` has it."""


def here(folder: Path | None = None) -> list[Bundle]:
    """The bundles in a folder and its `runs`; with no folder given the shipped ones, and those in this one.

    What cannot be read is left out.
    """
    ships = [] if folder else [place / "recipe.json" for place in shipped().values()]
    # A run keeps its bundle in its own folder, and has a recipe.json of its own, which `look` refuses.
    inner = ("*/recipe.json", "*/bundle/recipe.json", "runs/*/bundle/recipe.json")
    patterns = (*(["recipe.json"] if folder else []), *inner)
    found = [path for pattern in patterns for path in sorted((folder or Path()).glob(pattern))]
    bundles = []
    for origin, paths in (("shipped", ships), ("found", found)):
        for path in paths:
            try:
                bundles.append(look(path.parent, origin))
            except BadModel:
                continue
    return bundles


def look(folder: Path, origin: str = "found") -> Bundle:
    """What a bundle's folder holds.

    Raises:
        BadModel: when it is no bundle, or one of its files is not what its name says.
    """
    if (folder / LOCK).exists() and not (folder / HASHES).exists():
        raise BadModel(f"{folder}: this is the folder of a training run; its bundle is {folder / 'bundle'}.")
    try:
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadModel(
            f"{folder}: there is no recipe.json in it, so it is no bundle; give a folder of weights."
        ) from None
    except (OSError, ValueError, RecursionError):
        raise BadModel(f"{folder}: its recipe.json cannot be read; copy the bundle again.") from None
    paths = sorted(folder.glob("*.safetensors"))
    if not isinstance(recipe, dict) or not paths:
        raise BadModel(
            f"{folder}: it holds no weights, so it is no bundle; give a folder with safetensors files in it."
        )
    files = {path.name: weights(path) for path in paths}
    name = folder.name if origin == "shipped" else str(folder)
    return Bundle(name, origin, str(folder), recipe, files, fingerprint(folder))


def fingerprint(folder: Path) -> str | None:
    """The name of a bundle's weights in the records of films, or None where a file is missing or cannot be read.

    A hash that was written beside them is believed, since nobody makes a film with files that it is not the hash of.
    """
    try:
        written = json.loads((folder / HASHES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        written = {}
    found = []
    for name in sorted(FILES):
        digest = written.get(name) if isinstance(written, dict) else None
        if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
            try:
                with (folder / name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                return None
        found.append(f"{name}:{digest}\n")
    return hashlib.sha256("".join(found).encode()).hexdigest()[:16]


def weights(path: Path) -> Weights:
    """How much a safetensors file holds.

    Raises:
        BadModel: when it is none, as whoever loads it would say.
    """
    found = contents(path)
    numbers = sum(math.prod(entry.shape) for entry in found.entries.values())
    return Weights(len(found.entries), numbers, found.size)
