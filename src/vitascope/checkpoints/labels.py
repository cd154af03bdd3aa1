"""What a file or folder of weights is, told from headers: a Wan model and its parts, one part of it, a LoRA, or something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vitascope.checkpoints import known, recognition
from vitascope.checkpoints.assembly import shapes
from vitascope.checkpoints.blocks import Blocks
from vitascope.checkpoints.dialects import Name, parsed
from vitascope.checkpoints.layout import Found, look
from vitascope.checkpoints.lora import Lora
from vitascope.checkpoints.shelf import signed, standing, weight_files
from vitascope.checkpoints.slots import Weights
from vitascope.checkpoints.views import WORDS, Kind, kind, view
from vitascope.checkpoints.wan_system import NEEDS, TAKES
from vitascope.checkpoints.weights import opened
from vitascope.errors import BadModel
from vitascope.tensors import looks_like

DOES: Mapping[str, str] = {
    "t2v": "films of a prompt",
    "i2v": "films of a prompt that begin with a picture",
    "flf2v": "films of a prompt that begin and end with given pictures",
    "vace": "films of a prompt, also ones that follow a film, fill in a mask, or show what is on pictures",
}
"""What each kind of model can do."""

Hashes = Callable[[Path], str]
"""The hash state of a file, in words."""

_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16", torch.float64: "fp64"}
_PARTS: tuple[Kind, ...] = ("transformer", "vae", "text", "image")
_SHOWN = 10


@dataclass(frozen=True)
class Held:
    """Weights in a file or several."""

    path: Path
    tensors: int
    """As the files have them, marks of packing with them."""
    parameters: int
    """Once unpacked, where it is a part of a Wan model; else the numbers that lie there."""
    bytes: int
    """Of the files."""
    dtypes: dict[str, int]
    """Bytes of tensors by their kind, the most first."""
    hashes: dict[str, str]
    """What is known of each file, by its name."""

    @property
    def dtype(self) -> str:
        """The kind of most of it."""
        return next(iter(self.dtypes), "nothing")

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        return vars(self) | {"path": str(self.path), "dtype": self.dtype}


@dataclass(frozen=True)
class Label:
    """A Wan model: what it is, what it can do, and which of its parts are there."""

    found: Found
    parts: dict[str, Held]
    tokenizer: dict[str, str]
    """What is known of the tokeniser's files, by their names."""

    @property
    def parameters(self) -> int:
        """Of the transformer, by which models are called 1.3B or 14B."""
        return self.parts["transformer"].parameters

    @property
    def bytes(self) -> int:
        """Of all the files that were found."""
        return sum(part.bytes for part in self.parts.values())

    @property
    def does(self) -> str:
        """What it can do, in words."""
        return DOES[self.found.variant]

    def hashes(self) -> Counter[str]:
        """How many files of weights are known, not hashed yet, unknown."""
        return Counter(_state(text) for part in self.parts.values() for text in part.hashes.values())

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        found, config = self.found, self.found.network.config
        sizes = {"width": config.width, "heads": config.heads, "layers": config.layers, "ffn": config.ffn}
        place = None if found.tokenizer is None else {"path": str(found.tokenizer), "hashes": self.tokenizer}
        return {
            "kind": "wan",
            "name": str(found.path),
            "layout": found.layout,
            "variant": found.variant,
            "does": self.does,
            "takes": sorted(TAKES[found.variant]),
            "needs": sorted(NEEDS.get(found.variant, ())),
            "parameters": self.parameters,
            "bytes": self.bytes,
            "dtype": self.parts["transformer"].dtype,
            "sizes": sizes,
            "parts": {name: part.json() for name, part in self.parts.items()} | ({"tokenizer": place} if place else {}),
            "missing": found.missing(),
            "scheduler": found.scheduler,
            "notices": found.notices,
        }


@dataclass(frozen=True)
class Unusable:
    """What is a Wan model, or was one, and cannot be run."""

    path: Path
    reason: str

    def json(self) -> dict[str, Any]:
        """As a program reads it."""
        return {"kind": "wan", "name": str(self.path), "reason": self.reason}


def labels(paths: Iterable[Path], hashes: Hashes = known.known_so_far) -> list[Label | Unusable]:
    """What each of the paths of a shelf is; the same transformer once, and what is no Wan model after all not at all."""
    told: list[Label | Unusable] = []
    places: dict[tuple[Path, ...], int] = {}
    for path in paths:
        try:
            if path.is_file() and kind(opened(path)) != "transformer":
                continue
            label = labelled(path, hashes)
        except BadModel as error:
            told.append(Unusable(path, _reason(str(error))))
            continue
        files = tuple(sorted(file.resolve() for file in opened(label.found.transformer).files))
        before = told[places[files]] if files in places else None
        if before is None:
            places[files] = len(told)
            told.append(label)
        elif isinstance(before, Label) and len(label.found.missing()) < len(before.found.missing()):
            told[places[files]] = label
    return told


def labelled(path: Path, hashes: Hashes = known.known_so_far) -> Label:
    """What the Wan model at a path is. Raises BadModel as `look` does, and where a part's file cannot be read."""
    found = look(path)
    places: dict[Kind, Path] = {part: place for part in _PARTS if (place := getattr(found, part)) is not None}
    tokens: dict[str, str] = {}
    if found.tokenizer is not None and found.tokenizer != found.text:
        files = [found.tokenizer] if found.tokenizer.is_file() else sorted(found.tokenizer.iterdir())
        tokens = {file.name: hashes(file) for file in files if file.name in ("tokenizer.json", "spiece.model")}
    parts: dict[str, Held] = {
        part: _held(place, opened(place), view(place, part), hashes) for part, place in places.items()
    }
    return Label(found, parts, tokens)


def told(path: Path, hashes: Hashes = known.known_so_far) -> dict[str, Any]:
    """What a file or folder of weights is, as it would be written in JSON. Raises BadModel for what cannot be read or run."""
    try:
        if path.is_dir():
            return _folder(path, hashes)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); look at the path again.") from error
    if path.name == "model_index.json":
        return labelled(path, hashes).json()
    weights = opened(path)
    part = kind(weights)
    if part == "transformer":
        return labelled(path, hashes).json()
    if part is not None:
        return _part(path, weights, part, hashes)
    likely = looks_like(weights)
    if any(isinstance(parsed(key), Name) for key in weights) or (likely or "").startswith("a LoRA"):
        return _lora(path, weights, hashes)
    held = _held(path, weights, weights, hashes).json()
    return {"kind": "weights", "is": likely or "nothing that is known here", **held}


def _folder(path: Path, hashes: Hashes) -> dict[str, Any]:
    """The Wan model of a folder, the one somewhere below it, or the weights in it. Raises BadModel."""
    try:
        return labelled(path, hashes).json()
    except BadModel as error:
        below = standing([(path, 2)]).models
        if len(below) == 1 and below[0] != path:
            return labelled(below[0], hashes).json()
        if below or signed(path):
            raise
        files = weight_files(sorted(path.iterdir()))
        if len(files) == 1:
            return told(files[0], hashes)
        held = f"and of its {len(files)} weight files none is a Wan transformer" if files else "or weights"
        raise BadModel(
            f"{path}: there is no recipe.json in it, as in a bundle, {held}; give a folder of weights, or one file."
        ) from error


def _part(path: Path, weights: Weights, part: Kind, hashes: Hashes) -> dict[str, Any]:
    plain = view(path, part)
    if part == "vae":
        config = recognition.autoencoder(shapes(plain), str(path))
        form = "of Wan 2.1" if config.z == 16 and not config.residual else "not of Wan 2.1"
        sizes: dict[str, Any] = {"channels": config.z, "base": config.base, "residual": config.residual}
    elif part == "text":
        form, sizes = "for Wan", recognition.text_sizes(shapes(plain), str(path))
    else:
        form, sizes = "for image-to-video", recognition.tower_sizes(shapes(plain), str(path))
    return {
        "kind": "part",
        "part": part,
        "is": f"{WORDS[part]} {form}",
        "sizes": sizes,
        **_held(path, weights, plain, hashes).json(),
    }


def _lora(path: Path, weights: Weights, hashes: Hashes) -> dict[str, Any]:
    """The report of a LoRA's keys: which make changes and of what form, and why the others make none."""
    lora = Lora.read(weights, origin=str(path), metadata=weights.metadata)
    names = [name for key in weights if isinstance(name := parsed(key), Name)]
    reasons: dict[str, list[str]] = {}
    for key, why in lora.ignored.items():
        reasons.setdefault(why, []).append(key)
    forms = Counter(type(change.delta).__name__ for change in lora.changes)
    ranks = Counter(rank for change in lora.changes if (rank := getattr(change.delta, "rank", None)) is not None)
    blocks = {change.target.split(".")[1] for change in lora.changes if change.target.startswith("blocks.")}
    return {
        "kind": "lora",
        "is": "a LoRA for a Wan transformer" + (" of pictures" if any("_img" in n.module for n in names) else ""),
        "changes": len(lora.changes),
        "blocks": len(blocks),
        "forms": dict(forms.most_common()),
        "ranks": [rank for rank, _ in ranks.most_common(_SHOWN)],
        "keys": dict(Counter(name.slot for name in names).most_common()),
        "ignored": {why: {"keys": len(keys), "first": keys[0]} for why, keys in reasons.items()},
        **_held(path, weights, weights, hashes).json(),
    }


def _held(path: Path, weights: Weights, plain: Weights, hashes: Hashes) -> Held:
    """weights: as they lie in the file; plain: unpacked."""
    sizes: Counter[str] = Counter()
    for name, slot in weights.slots.items():
        sizes[slot.kind if isinstance(slot, Blocks) else _word(slot.dtype)] += weights.nbytes(name)
    count = sum(torch.Size(plain.shape(name)).numel() for name in plain)
    files = weights.files
    try:
        size = sum(file.stat().st_size for file in files)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); look at the path again.") from error
    states = {file.name: hashes(file) for file in files}
    return Held(path, len(weights), count, size, dict(sizes.most_common()), states)


def _word(dtype: torch.dtype) -> str:
    word = str(dtype).removeprefix("torch.")
    return _SHORT.get(dtype, word.replace("float8", "fp8"))


def _state(text: str) -> str:
    return "known" if text.startswith("known") else "not hashed yet" if text.endswith("not hashed yet") else "unknown"


def _reason(sentence: str) -> str:
    """The middle of a sentence in three parts: without what was asked, and without what would do."""
    _, _, rest = sentence.partition(": ")
    words: Sequence[str] = (rest or sentence).split("; ")
    return words[0].rstrip(".")[:300]
