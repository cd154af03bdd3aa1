"""What is told on the way, on standard error: a bar on a terminal, a line of JSON for a program."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def plain(text: str) -> str:
    """A text with nothing in it that could move a terminal's cursor or colour it: file names and captions are anybody's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class Told:
    """Where a command tells how far it is. Nothing of it is the result."""

    def __init__(self, bar: Progress | None, *, silent: bool = False) -> None:
        self._bar = bar
        self._silent = silent
        self._tasks: dict[str, TaskID] = {}

    @classmethod
    def silent(cls) -> Told:
        """One that says nothing, for a part of a larger work."""
        return cls(None, silent=True)

    def step(self, doing: str, step: int, of: int, **figures: Any) -> None:
        """`step` of `of` steps of what is being done are over."""
        if self._silent:
            return
        if self._bar is None:
            print(json.dumps({"doing": doing, "step": step, "of": of, **figures}), file=sys.stderr, flush=True)
            return
        label = "  ".join([doing, *(f"{name} {value:.4g}" for name, value in figures.items())])
        if doing not in self._tasks:
            self._tasks[doing] = self._bar.add_task(doing, total=of)
        self._bar.update(self._tasks[doing], completed=step, total=of, description=label)

    def warn(self, sentence: str) -> None:
        """Something that does not stop the work, and that a person should know."""
        if self._silent:
            return
        if self._bar is None:
            print(json.dumps({"warning": sentence}), file=sys.stderr, flush=True)
        else:
            self._bar.console.print(f"warning: {plain(sentence)}", markup=False, highlight=False, style="yellow")

    def note(self, sentence: str) -> None:
        """Something that was done, and that a person may want to know."""
        if self._silent:
            return
        if self._bar is None:
            print(json.dumps({"note": sentence}), file=sys.stderr, flush=True)
        else:
            self._bar.console.print("\n".join(map(plain, sentence.splitlines())), markup=False, highlight=False)


@contextmanager
def telling() -> Iterator[Told]:
    """A bar while the block runs if standard error is a terminal, else lines of JSON."""
    if not sys.stderr.isatty():
        yield Told(None)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Told(bar)
