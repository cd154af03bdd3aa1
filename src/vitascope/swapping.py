"""A folder, or a file, that is whole or is not there: it is filled beside its place and moved in at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vitascope.errors import BadModel


@contextmanager
def in_place_of(folder: Path, what: str, coming_along: Callable[[Path], Sequence[Path]]) -> Iterator[Path]:
    """A new folder to fill, which takes the place of `folder` once it is whole; what had the name before stands until then.

    `coming_along(folder)` is asked before anything is written, when a process that was killed between the two moves has been
    made good: it refuses by raising, and else says which entries of the old folder the new one keeps. `what` is what messages
    call the folder's content. Raises BadModel where the disk refuses.
    """
    folder = folder.resolve()
    partial, old = (folder.with_name(f".{folder.name}.{kind}") for kind in ("partial", "old"))
    try:
        if old.is_dir() and not folder.exists():
            old.rename(folder)
        kept = coming_along(folder)
        for stale in (partial, old):
            shutil.rmtree(stale, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        for path in kept:
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, partial / path.name, symlinks=True)
            else:
                shutil.copy2(path, partial / path.name, follow_symlinks=False)
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)
    except OSError as error:
        raise BadModel(
            f"{folder}: {what} could not be written ({error}); what was there before still stands; free some space, or give "
            "another folder."
        ) from error
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def file_in_place_of(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file to, which takes the place of `path` once the block is done and the disk has it.

    Where the block fails, or the disk refuses, what had the name before stands, and nothing is left beside it. Raises OSError,
    since what is lost by that, and what would do, is known to whoever writes.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        # Before the move: a machine that fails just after it would else have the new name and none of the bytes.
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
