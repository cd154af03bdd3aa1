"""vitascope models: the models that are here."""

from __future__ import annotations

import json
from dataclasses import dataclass

from vitascope.cli.bundles import here
from vitascope.cli.flags import Flag


@dataclass(frozen=True)
class Command:
    """List the models that ship with vitascope and those in this folder.

    vitascope models

    vitascope generate "a red ball" --model runs/tiny/bundle
    """

    json: Flag = False
    """As JSON, for a program to read."""


def run(command: Command) -> None:
    """Prints a line for each model."""
    bundles = here()
    if command.json:
        print(json.dumps([bundle.json() for bundle in bundles]))
        return
    for bundle in bundles:
        size = f"{bundle.parameters / 1e6:.1f} M parameters, {bundle.bytes / 1e6:.1f} MB"
        print(f"{bundle.name}  {bundle.origin}  {size}  {bundle.clip}")
