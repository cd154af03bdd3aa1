"""vitascope inspect: what a film is and how it was made, or what weights are."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from vitascope.checkpoints.known import known_so_far
from vitascope.cli.bundles import look, weights
from vitascope.cli.flags import Flag, word
from vitascope.cli.models import hashes
from vitascope.cli.progress import plain, telling
from vitascope.media import facts, is_complete, local_path, read_record
from vitascope.shipped import shipped

WEIGHTS = (".safetensors", ".pth", ".pt", ".ckpt", ".bin", ".gguf", ".index.json", "model_index.json")
"""How the names of files end that are no films, whatever is in them."""


@dataclass(frozen=True)
class Command:
    """Tell what a film is and how it was made, or what weights are: a bundle, a Wan model, one part of it, a LoRA.

    vitascope inspect a-red-ball-7.mp4

    vitascope inspect a-red-ball-7.mp4 --json

    vitascope inspect runs/tiny/bundle

    vitascope inspect storybook

    vitascope inspect Wan2.1-T2V-1.3B --hash

    Of weights the headers are read, and nothing is ever unpickled.
    """

    file: tyro.conf.Positional[Annotated[str, word("FILE")]]
    """A film, a weight file, the folder of a bundle or of a Wan model, or the name of a model that ships."""
    hash: Flag = False
    """Read weight files that have the size of a published one, to tell whether they are its very bytes."""
    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints what is known of the file."""
    with telling() as progress:
        path = shipped().get(command.file) or local_path(command.file)  # a name stands for what it does with --model
        about = told(path, hashes(progress) if command.hash else known_so_far)
    if command.json:
        print(json.dumps(about))
    else:
        print("\n".join(lines(about)))


def told(path: Path, hashes: Callable[[Path], str] = known_so_far) -> dict[str, Any]:
    """What a file or folder is, as it would be written in JSON.

    Raises:
        BadMedia, BadModel: when it is neither a film nor weights.
    """
    if path.is_dir() and (path / "recipe.json").exists():
        return look(path, "shipped" if path in shipped().values() else "found").json()
    if path.is_file() and path.suffix == ".safetensors" and (path.parent / "recipe.json").is_file():
        return {"kind": "weights", **asdict(weights(path))}
    if path.is_dir() or (path.is_file() and _holds_weights(path)):
        from vitascope.checkpoints import labels

        return labels.told(path, hashes)
    film = facts(path)
    about = {**film._asdict(), "seconds": round(film.seconds, 3), "whole": is_complete(path)}
    return {"kind": "film", **about, "record": read_record(path)}


def _holds_weights(path: Path) -> bool:
    if path.name.endswith(WEIGHTS):
        return True
    try:
        with path.open("rb") as file:
            begin = file.read(9)
    except OSError:
        return False
    return begin[8:] == b"{" or begin[:4] in (b"GGUF", b"PK\x03\x04")


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
    # A record, or a header, is whatever somebody wrote into a file.
    return plain(value if isinstance(value, str) else "none" if value is None else json.dumps(value))
