"""vitascope evaluate: how well a model does what it is told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from vitascope.cli.flags import BadCommand, Flag, Folder, Text, Whole
from vitascope.cli.generate import chosen_device
from vitascope.cli.inspect import lines
from vitascope.cli.progress import telling


@dataclass(frozen=True)
class Command:
    """Measure a model: its codec, its text tower, and whether its films show what was asked for.

    vitascope evaluate

    vitascope evaluate --model runs/tiny/bundle --prompts 20 --json
    """

    model: Text = None
    """A shipped model's name or a bundle's folder."""
    prompts: Whole = None
    """How many films are made; 200 if not given."""
    out: Folder = None
    """A folder for the films and the figures; none is kept if not given."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints the figures."""
    device = chosen_device(command.device)
    prompts = whole("--prompts", command.prompts, 200, 100_000)
    from vitascope.engine import Engine
    from vitascope.evaluation import evaluate

    with telling() as told:
        engine = Engine.load(command.model, device)
        out = Path(command.out) if command.out else None
        figures = evaluate(engine, prompts=prompts, out=out, watch=told.step)
    print(json.dumps(figures) if command.json else "\n".join(lines(figures)))


def whole(flag: str, text: str | None, default: int, largest: int) -> int:
    """A whole number from 1 to `largest`.

    Raises:
        BadCommand: when `text` is not one.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= largest:
        raise BadCommand(f"{flag} {text[:60]!r}: it is a whole number from 1 to {largest}; {default} would do.")
    return int(text)
