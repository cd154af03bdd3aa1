"""Embeddings on disk, so that a prompt that was read once is not read again by 5.7 billion parameters."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from vitascope import tensors
from vitascope.errors import BadModel
from vitascope.headers import header

LIMIT = 512 * 2**20
"""Bytes that a folder may hold; 512 tokens of UMT5-XXL take 8 MiB, a sentence of 30 half of one."""

_FORM = 1
"""Part of every name: another one where the computation changes."""
_ENDING = ".embedding.safetensors"
_STALE = 3600.0
"""Seconds after which a file that was begun and never finished is swept away."""


def kept_folder() -> Path | None:
    """Where a user's caches lie (XDG_CACHE_HOME, else ~/.cache), the part of ours; None where there is no such place."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # the XDG specification: what is not absolute is ignored
        return Path(given) / "vitascope" / "embeddings"
    try:
        return Path.home() / ".cache" / "vitascope" / "embeddings"
    except RuntimeError:
        return None


class Kept:
    """The states of prompts, a file each, named by (tokens, encoder, dtype); the tokens are what is left of a cleaned text.

    Nothing of it is ever in the way: what cannot be written is not kept, and what cannot be read, or has a byte changed, is as
    if it were not there. Files appear whole or not at all, so that processes can share a folder. Beyond `limit` bytes the
    files that were not used for longest go.
    """

    def __init__(self, folder: Path, encoder: str, limit: int = LIMIT) -> None:
        self.folder = folder
        self.encoder = encoder
        """The SHA-256 of the encoder's weights."""
        self.limit = limit

    def get(self, ids: Sequence[int], dtype: torch.dtype, width: int) -> Tensor | None:
        """The states, float32 [l width], of these tokens from an encoder that computes in `dtype`; None: not kept."""
        path = self._path(ids, dtype)
        wanted = {"digest": ("U8", (32,)), "ids": ("I64", (len(ids),)), "states": ("F32", (len(ids), width))}
        try:
            if not path.is_file() or {k: (v.dtype, v.shape) for k, v in header(path).items()} != wanted:
                return None
            found = tensors.read(path)
        except (BadModel, OSError):
            return None
        if found["ids"].tolist() != list(ids) or not torch.equal(found["digest"], _digest(found["states"])):
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found["states"]

    def put(self, ids: Sequence[int], dtype: torch.dtype, states: Tensor) -> None:
        """Keep the states, float32 [l width]."""
        states = states.detach().float().cpu().contiguous()
        data = save({"digest": _digest(states), "ids": torch.tensor(ids), "states": states})
        if len(data) > self.limit:
            return
        path, partial = self._path(ids, dtype), None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # A name of its own, because another process may be writing the same prompt.
            handle, partial = tempfile.mkstemp(".partial", dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(partial, path)
            self._sweep()
        except OSError:
            if partial is not None:
                with contextlib.suppress(OSError):
                    os.unlink(partial)

    def _path(self, ids: Sequence[int], dtype: torch.dtype) -> Path:
        key = json.dumps([_FORM, self.encoder, str(dtype), list(ids)])
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:40]}{_ENDING}"

    def _sweep(self) -> None:
        """Remove the files that were used longest ago, until the folder is within its limit; and what never was finished."""
        held: list[tuple[float, int, Path]] = []
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # another process may have swept it already
                told = path.stat()
                if path.name.endswith(_ENDING):
                    held.append((told.st_mtime, told.st_size, path))
                elif path.name.endswith(".partial") and told.st_mtime < time.time() - _STALE:
                    path.unlink()
        total = sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if total <= self.limit:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def _digest(states: Tensor) -> Tensor:
    return torch.tensor(list(hashlib.sha256(states.numpy().tobytes()).digest()), dtype=torch.uint8)
