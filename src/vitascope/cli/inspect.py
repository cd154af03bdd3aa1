"""vitascope inspect: what a film or a bundle is, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitascope.cli.bundles import look, weights
from vitascope.cli.flags import Flag, word
from vitascope.media import facts, local_path, read_record


@dataclass(frozen=True)
class Command:
    """Tell what a film is and how it was made, or what a bundle of weights holds.

    vitascope inspect a-red-ball-7.mp4

    vitascope inspect a-red-ball-7.mp4 --json

    vitascope inspect runs/tiny/bundle
    """

    file: tyro.conf.Positional[Annotated[str, word("FILE")]]
    """A film, a bundle's folder, or a safetensors file."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints what is known of the file."""
    about = told(local_path(command.file))
    if command.json:
        print(json.dumps(about))
    else:
        print("\n".join(lines(about)))


def told(path: Path) -> dict[str, Any]:
    """What a file or folder is, as it would be written in JSON.

    Raises:
        BadMedia, BadModel: when it is neither a film nor weights.
    """
    if path.is_dir():
        return {"kind": "bundle", **look(path).json()}
    if path.suffix == ".safetensors" and path.is_file():
        held = weights(path)
        return {"kind": "weights", "tensors": held.tensors, "parameters": held.parameters, "bytes": held.bytes}
    film = facts(path)
    return {"kind": "film", **film._asdict(), "seconds": round(film.seconds, 3), "record": read_record(path)}


def lines(about: Mapping[str, Any], indent: str = "") -> list[str]:
    """Nested names and values, a line each."""
    found = []
    for name, value in about.items():
        if isinstance(value, Mapping) and value:
            found += [f"{indent}{_shown(name)}:", *lines(value, indent + "  ")]
        else:
            found.append(f"{indent}{_shown(name)}: {_shown(value)}")
    return found


def _shown(value: object) -> str:
    # A record is whatever somebody wrote into a file: nothing in it may move the cursor or colour the terminal.
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
