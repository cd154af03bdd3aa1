"""Weights in several files, and the index that says which tensor is in which; the index is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from vitascope.checkpoints.slots import Slot, Weights
from vitascope.errors import BadModel

ENDING = ".index.json"

LONGEST = 64_000_000
"""Bytes of the longest index that is read; that of the 14B transformer has a hundred thousand."""

_SHOWN = 10


def shards(path: Path) -> dict[str, str]:
    """An index: the file's name for each tensor's.

    Raises BadModel where it is none, or names a file outside its own folder.
    """
    try:
        size = path.stat().st_size
        if size > LONGEST:
            raise BadModel(
                f"{path}: an index of {size:,} bytes is longer than any that is read ({LONGEST:,}); fetch it again."
            )
        table = json.loads(path.read_bytes())
    except OSError as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path}: it is no index in JSON ({_short(error)}); fetch it again.") from error
    places = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(places, dict) or not places:
        raise BadModel(
            f"{path}: an index has a table weight_map of tensors and files, and this has none; fetch it again."
        )
    for name, file in places.items():
        if not isinstance(file, str) or not name.isprintable() or not file.isprintable():
            raise BadModel(f"{path}: its line for {name[:80]!r} names no file; fetch it again.")
    for file in set(places.values()):
        _within(path, file)
    return places


def opened(path: Path, single: Callable[[Path], Weights]) -> Weights:
    """The tensors of all shards, each opened by `single`.

    Raises BadModel for an index as `shards` does, for a shard that is missing, and where index and shard do not say the same.
    """
    places = shards(path)
    wanted: dict[str, set[str]] = {}
    for name, file in places.items():
        wanted.setdefault(file, set()).add(name)
    missing = sorted(file for file in wanted if not (path.parent / file).is_file())
    if missing:
        raise BadModel(
            f"{path}: of the {len(wanted)} shards that it names, {listed(missing)} {'is' if len(missing) == 1 else 'are'} not "
            f"beside it; fetch {'it' if len(missing) == 1 else 'them'} into {path.parent}."
        )
    parts = {file: single(path.parent / file) for file in sorted(wanted)}
    slots: dict[str, Slot] = {}
    for file, part in parts.items():
        _same(path, file, wanted[file], part.slots)
        slots |= part.slots

    def forget() -> None:
        for part in parts.values():
            part.forget()

    notes = {k: v for part in reversed(parts.values()) for k, v in part.metadata.items()}
    files = (path, *(file for part in parts.values() for file in part.files))
    return Weights(slots, origin=str(path), files=files, metadata=notes, forget=forget)


def listed(names: list[str]) -> str:
    """The first ten of many names."""
    shown = ", ".join(name[:120] for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"


def _same(path: Path, file: str, wanted: set[str], found: Mapping[str, Any]) -> None:
    """Raise BadModel unless a shard holds what the index says, no less and no more."""
    lacking = sorted(wanted - set(found))
    if lacking:
        raise BadModel(
            f"{path}: it says that {file} holds {listed(lacking)}, and that is not in it; fetch the shard and the index again, "
            "both from one place."
        )
    more = sorted(set(found) - wanted)
    if more:
        raise BadModel(
            f"{path}: {file} holds {listed(more)}, of which the index does not speak there; fetch the shard and the index "
            "again, both from one place."
        )


def _within(index: Path, file: str) -> None:
    """Raise BadModel unless the name stays in the index's folder, or in the store of the hub's cache that the folder is of."""
    refusal = f"{index}: it names the file {file[:200]!r}"
    way_out = "take the index from where the weights are from, and never one that reaches elsewhere."
    pure = PurePosixPath(file)
    windows = PureWindowsPath(file)
    if pure.is_absolute() or windows.drive or windows.root:
        raise BadModel(f"{refusal}, which is an absolute path; {way_out}")
    if not file or "\\" in file or ".." in pure.parts:
        raise BadModel(f"{refusal}, which leads out of its folder; {way_out}")
    folder = index.parent
    try:
        target, home = (folder / file).resolve(), folder.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise BadModel(f"{refusal}, which leads nowhere ({_short(error)}); {way_out}") from error
    if not target.is_relative_to(home) and not any(target.is_relative_to(store) for store in _stores(home)):
        raise BadModel(f"{refusal}, a link that leads out of its folder; {way_out}")


def _stores(folder: Path) -> list[Path]:
    """Where the hub's cache keeps the files that its snapshots link to: REPOSITORY/blobs beside REPOSITORY/snapshots."""
    return [parent.parent / "blobs" for parent in (folder, *folder.parents) if parent.name == "snapshots"]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
