"""Which paths on this machine look like Wan models: found by the names in headers alone, without torch.

What is found may still be damaged or of a kind that is not run; `labels` reads on and tells. Bounded in how many folders and
files are looked into; a link back to a folder that was seen leads nowhere, and what cannot be read is passed by.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ENDINGS = (".safetensors", ".pth", ".gguf", ".pt", ".bin")
"""How weight files end."""
MARKS = ("head.modulation", "vace_patch_embedding.weight", "condition_embedder.time_proj.weight")
"""Names of tensors that give a Wan transformer away, in the original layout and in that of diffusers."""
FOLDERS = 1000
"""Folders that are looked into, in all."""
FILES = 200
"""Weight files that are looked into, of one folder."""
_ENTRIES = 5000
_BEGIN = 1 << 20
"""Bytes of a file that are searched: a zip of torch begins with its names, and so does the GGUF file of a transformer."""
_LONGEST = 1 << 24
"""Bytes of a safetensors header, or of an index, that are searched."""
_CLASSES = ("WanModel", "VaceWanModel", "WanTransformer3DModel", "WanVACETransformer3DModel")
_FREE = frozenset({"models", "diffusion_models", "unet", "transformer", "split_files", "hub"})
"""Folders in which packagings keep transformers: to go into one is no level deeper."""
_PASSED = frozenset({"node_modules", "__pycache__", "site-packages", "blobs"})
_REPOSITORY = "models--"


@dataclass(frozen=True)
class Shelf:
    """What was found."""

    models: tuple[Path, ...]
    """Each as `layout.look` takes it: a folder, or a file where a folder holds several."""
    whole: bool
    """Whether all was looked into that there was."""


def usual() -> list[tuple[Path, int]]:
    """Where models lie on most machines, and how many levels down: this folder, and the cache of Hugging Face's hub."""
    return [(Path(), 2), *((hub, 0) for hub in [_hub()] if hub is not None)]


def standing(roots: Iterable[tuple[Path, int]]) -> Shelf:
    """The Wan models in some folders and so many levels below each. A folder of weights that holds a bundle is passed by."""
    queue = deque((root, deep, True) for root, deep in roots)
    seen: set[tuple[int, int]] = set()
    models: dict[Path, None] = {}
    while queue and len(seen) < FOLDERS:
        folder, deep, root = queue.popleft()
        try:
            state = folder.stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            entries = sorted(islice(folder.iterdir(), _ENTRIES))
        except (OSError, ValueError):
            continue
        seen.add((state.st_dev, state.st_ino))
        if folder.name.startswith(_REPOSITORY):
            queue.extend((snapshot, 1, False) for snapshot in _listed(folder / "snapshots"))
            continue
        names = {entry.name for entry in entries}
        bundle = "recipe.json" in names
        if not bundle and (found := _whole(folder, names)) is not None:
            models |= dict.fromkeys([folder] if found else [])
            continue
        models |= dict.fromkeys(() if bundle else _loose(folder, entries))
        if not bundle or root:
            queue.extend((inner, left, False) for inner, left in _below(entries, deep))
    return Shelf(tuple(models), not queue)


def signed(folder: Path) -> bool:
    """Whether a folder says of itself that it is of a Wan model, runnable or not."""
    try:
        return bool(_whole(folder, {entry.name for entry in islice(folder.iterdir(), _ENTRIES)})) or _configured(folder)
    except OSError:
        return False


def weight_files(entries: Iterable[Path]) -> list[Path]:
    """The weight files of a folder's; an index, and those come first, stands for the files that it names."""
    here = [file for file in entries if not file.name.startswith(".") and _is_file(file)]
    indices = [file for file in here if file.name.endswith(".index.json")]
    shards = tuple(file.name.removesuffix(".index.json").rsplit(".", 1)[0] + "-" for file in indices)
    weights = [
        f for f in here if f.name.endswith(ENDINGS) and not (shards and f.name.startswith(shards) and "-of-" in f.name)
    ]
    return [*indices, *weights][:FILES]


def _whole(folder: Path, names: set[str]) -> bool | None:
    """Whether a folder with the parts of a model in it is Wan's; None where it is no such folder."""
    if "model_index.json" in names:
        return _class(folder / "model_index.json").startswith("Wan") and not (folder / "vitascope").is_dir()
    if names & {"high_noise_model", "low_noise_model"}:
        return True
    return None


def _loose(folder: Path, entries: list[Path]) -> list[Path]:
    """A folder with one transformer, or its transformers where there are several, or where no config.json goes with them."""
    files = [file for file in weight_files(entries) if _names_wan(file)]
    return [folder] if len(files) < 2 and _configured(folder) else files


def _below(entries: list[Path], deep: int) -> Iterator[tuple[Path, int]]:
    """The folders in a folder that are looked into, and how many levels go on below each."""
    for entry in entries:
        if entry.name.startswith(".") or entry.name in _PASSED:
            continue
        free = entry.name in _FREE or entry.name.startswith(_REPOSITORY)
        if (free or deep) and _is_dir(entry):
            yield entry, deep - (not free)


def _configured(folder: Path) -> bool:
    return _class(folder / "config.json") in _CLASSES


def _class(path: Path) -> str:
    """The class that a file of JSON names; nothing where there is no such file, or no such name."""
    try:
        with path.open("rb") as file:
            table = json.loads(file.read(_BEGIN))
    except (OSError, ValueError, RecursionError):
        return ""
    name = table.get("_class_name") if isinstance(table, dict) else None
    return name if isinstance(name, str) else ""


def _names_wan(path: Path) -> bool:
    """Whether a file begins with names of a Wan transformer. It may be cut off all the same, or hold a LoRA."""
    try:
        with path.open("rb") as file:
            begin = file.read(9)
            header = int.from_bytes(begin[:8], "little") if begin[8:] == b"{" else 0
            text = path.name.endswith(".json")
            begin += file.read(_LONGEST if text else min(header, _LONGEST) or _BEGIN)
    except (OSError, ValueError):
        return False
    return any(mark.encode() in begin for mark in MARKS)


def _hub() -> Path | None:
    """The cache of Hugging Face's hub, by the rules of huggingface_hub; None where there is no home."""
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if told := os.environ.get(name):
            return Path(os.path.expanduser(told)) / below
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache) / "huggingface" / "hub"
    try:
        return Path.home() / ".cache" / "huggingface" / "hub"
    except RuntimeError:
        return None


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(islice(folder.iterdir(), FILES))
    except OSError:
        return []


def _is_dir(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
