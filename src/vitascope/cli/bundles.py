"""What a folder of weights holds, read from its headers alone: no tensor is loaded and no torch is needed."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vitascope.errors import BadModel
from vitascope.shipped import shipped

LARGEST_HEADER = 100_000_000  # bytes: the limit that safetensors sets itself


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


def here(folder: Path | None = None) -> list[Bundle]:
    """The bundles in a folder and its `runs`; with no folder given the shipped ones, and those in this one.

    What cannot be read is left out.
    """
    ships = [] if folder else [place / "recipe.json" for place in shipped().values()]
    patterns = (*(["recipe.json"] if folder else []), "*/recipe.json", "runs/*/bundle/recipe.json")
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
    return Bundle(folder.name if origin == "shipped" else str(folder), origin, str(folder), recipe, files)


def weights(path: Path) -> Weights:
    """How much a safetensors file holds.

    Raises:
        BadModel: when its header is not one.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        header = file.read(length) if 2 <= length <= min(size - 8, LARGEST_HEADER) else b""
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        counts = [math.prod(entry["shape"]) for entry in entries.values()]
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, AttributeError, TypeError, KeyError, IndexError, RecursionError):
        raise BadModel(f"{path}: its header is not that of a safetensors file; fetch the file again.") from None
    if size != 8 + length + end:
        raise BadModel(
            f"{path}: it has {size:,} bytes and its header promises {8 + length + end:,}; fetch the file again."
        )
    return Weights(len(counts), sum(counts), size)
