"""Weights written as safetensors, one tensor at a time: a copy of a `.pth`, which then opens in an instant and everywhere."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from vitascope.checkpoints.known import Watch, digest
from vitascope.checkpoints.slots import Weights
from vitascope.checkpoints.weights import opened
from vitascope.errors import BadModel
from vitascope.swapping import file_in_place_of
from vitascope.tensors import DTYPES

_WORDS = {dtype: word for word, dtype in DTYPES.items()}
_CHUNK = 1 << 26


def convert(path: Path, out: Path, *, watch: Watch | None = None) -> None:
    """Write what `opened(path)` finds as the safetensors file `out`, whole or not at all, with the SHA-256 of its source beside.

    Takes the memory of the largest tensor. watch is told of the bytes written and to be written. Raises BadModel.
    """
    weights = opened(path)
    if any(out.exists() and out.samefile(file) for file in weights.files):
        raise BadModel(f"{out}: the copy would take the place of what it is a copy of; give it another name.")
    notes = {"source": ", ".join(file.name for file in weights.files)}
    notes["source_sha256"] = ", ".join(digest(file) for file in weights.files)
    write(out, weights, {**weights.metadata, **notes}, watch=watch, after=weights.forget)


def write(
    out: Path,
    weights: Weights,
    metadata: Mapping[str, str],
    *,
    watch: Watch | None = None,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Write weights as a safetensors file, whole or not at all; `after` is called when a tensor is written. Raises BadModel."""
    strange = [name for name in weights if weights.dtype(name) not in _WORDS]
    if strange:
        raise BadModel(
            f"{weights.origin}: {strange[0][:120]} holds {weights.dtype(strange[0])}, which safetensors does not know; leave it out."
        )
    if "__metadata__" in weights:
        raise BadModel(
            f"{weights.origin}: a tensor in it is called __metadata__, where safetensors keeps its notes; leave it out."
        )
    # The widest first, so that each lies at a multiple of its own width.
    names = sorted(weights, key=lambda name: (-weights.dtype(name).itemsize, name))
    total = sum(weights.nbytes(name) for name in names)
    done = 0
    try:
        with file_in_place_of(out) as partial, partial.open("wb") as file:
            file.write(_header(weights, names, metadata))
            for name in names:
                for piece in _pieces(weights[name]):
                    file.write(piece)
                    done += len(piece)
                    if watch is not None:
                        watch(done, total)
                after()
    except OSError as error:
        raise BadModel(
            f"{out}: it could not be written ({error}); what was there before still stands; free some space, or give another folder."
        ) from error


def _header(weights: Weights, names: list[str], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    place = 0
    for name in names:
        end = place + weights.nbytes(name)
        kind = _WORDS[weights.dtype(name)]
        table[name] = {"dtype": kind, "shape": list(weights.shape(name)), "data_offsets": [place, end]}
        place = end
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _pieces(value: Tensor) -> Iterator[memoryview]:
    raw = value.detach().contiguous().reshape(-1)
    if raw.numel():
        view = raw.view(torch.uint8).numpy().data
        yield from (view[place : place + _CHUNK] for place in range(0, len(view), _CHUNK))
