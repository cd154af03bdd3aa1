"""Any weight file, opened with no trust, as one mapping: safetensors in one file or many, torch's `.pth`, GGUF."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from vitascope.checkpoints import sharded
from vitascope.checkpoints.mapped import Mapped
from vitascope.checkpoints.sharded import listed
from vitascope.checkpoints.slots import Slot, Weights, held
from vitascope.errors import BadModel
from vitascope.headers import contents
from vitascope.tensors import DTYPES

__all__ = ["Rule", "Slot", "Weights", "derived", "held", "joined", "opened", "renamed"]

_ENDINGS = {".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".gguf"}


@dataclass(frozen=True)
class Rule:
    """A tensor that is made of others when it is asked for."""

    needs: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[..., Tensor]
    """From the tensors needed, in their order."""


def opened(path: Path) -> Weights:
    """The weights in a file (what it is tells its content, not its name), of an index, or of a folder that holds one of these.

    Reads the header alone. Raises BadModel that says what else the file is, and what would do.
    """
    try:
        if path.is_dir():
            path = _only(path)
        if not path.exists():
            raise BadModel(f"{path}: there is no such file; look at the path again.")
        if not path.is_file():
            raise BadModel(
                f"{path}: this is neither a file nor a folder, and weights were wanted; give the file that holds them."
            )
    except (OSError, ValueError) as error:
        raise BadModel(f"{str(path)!r}: it cannot be read ({error}); look at the path again.") from error
    if path.name.endswith(sharded.ENDING):
        return sharded.opened(path, _single)
    return _single(path)


def joined(parts: Sequence[Weights]) -> Weights:
    """All tensors of several. Raises BadModel where a name is in two of them."""
    slots: dict[str, Slot] = {}
    for part in parts:
        twice = [name for name in part if name in slots]
        if twice:
            others = ", ".join(other.origin for other in parts if other is not part and twice[0] in other)
            raise BadModel(f"{part.origin}: it holds {listed(twice)}, as {others} does; give one of the two.")
        slots |= part.slots
    metadata = {name: note for part in reversed(parts) for name, note in part.metadata.items()}
    files = tuple(file for part in parts for file in part.files)
    origin = ", ".join(part.origin for part in parts)
    return Weights(slots, origin=origin, files=files, metadata=metadata, forget=partial(_forget, tuple(parts)))


def renamed(weights: Weights, table: Mapping[str, str]) -> Weights:
    """The weights under our names, by a table of ours and theirs.

    What the table does not name is absent, and so is what it names and the file lacks: whoever fills a module compares the names.
    """
    return weights.with_slots({ours: weights.slots[theirs] for ours, theirs in table.items() if theirs in weights})


def derived(weights: Weights, rules: Mapping[str, Rule]) -> Weights:
    """The weights, and beside them those that the rules make of some, which are themselves not seen any more.

    Raises BadModel where a rule needs what is not there.
    """
    needed = {name for rule in rules.values() for name in rule.needs}
    lacking = sorted(needed - set(weights))
    if lacking:
        raise BadModel(f"{weights.origin}: it lacks {listed(lacking)}, of which others are made; fetch the file again.")
    kept = {name: slot for name, slot in weights.slots.items() if name not in needed}
    made = {name: Slot(rule.shape, rule.dtype, partial(_make, weights, rule)) for name, rule in rules.items()}
    return weights.with_slots(kept | made)


def _make(weights: Weights, rule: Rule) -> Tensor:
    made = rule.make(*(weights[name] for name in rule.needs))
    assert (tuple(made.shape), made.dtype) == (rule.shape, rule.dtype), "a rule makes what it says"
    return made


def _forget(parts: tuple[Weights, ...]) -> None:
    for part in parts:
        part.forget()


def _single(path: Path) -> Weights:
    """One file, by what it begins with. The readers of other formats are imported where they are needed."""
    try:
        with path.open("rb") as file:
            begin = file.read(9)
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
    if begin[:4] == b"GGUF":
        from vitascope.checkpoints import blocks

        return blocks.opened(path)
    # A safetensors file begins with the header's length, which may well read as another format's mark: 640 is a pickle's.
    if begin[8:] != b"{" and (begin[:4] == b"PK\x03\x04" or begin[:1] == b"\x80"):
        from vitascope.checkpoints import pickled

        return pickled.opened(path)
    return _safetensors(path)


def _safetensors(path: Path) -> Weights:
    found = contents(path)
    mapped = Mapped(path, found.size)
    slots: dict[str, Slot] = {}
    for name, entry in found.entries.items():
        dtype = DTYPES[entry.dtype]
        read = partial(_numbers, mapped, found.start + entry.start, found.start + entry.end, dtype, entry.shape)
        slots[name] = Slot(entry.shape, dtype, read)
    return Weights(slots, origin=str(path), files=(path,), metadata=found.metadata, forget=mapped.forget)


def _numbers(mapped: Mapped, start: int, end: int, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
    if start == end:
        return torch.empty(shape, dtype=dtype)
    return mapped.numbers(start, end, dtype).view(shape)


def _only(folder: Path) -> Path:
    """The one file of a folder that holds weights, or their index. Raises BadModel where there is none, or a choice."""
    files = sorted(file for file in folder.iterdir() if not file.name.startswith(".") and file.is_file())
    indices = [file for file in files if file.name.endswith(sharded.ENDING)]
    named = {folder / shard for index in indices for shard in sharded.shards(index).values()}
    found = indices + [file for file in files if file.suffix.lower() in _ENDINGS and file not in named]
    if not found:
        raise BadModel(
            f"{folder}: this folder holds no weights (a .safetensors, .pth or .gguf file, or an index of several); give the "
            "folder or the file that does."
        )
    if len(found) > 1:
        raise BadModel(
            f"{folder}: this folder holds {listed([file.name for file in found])}; say which by giving the file."
        )
    return found[0]
