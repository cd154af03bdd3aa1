"""What a bench of films answers with: a table, and if asked a contact sheet; where it cannot, a sentence and exit code 2."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from vitascope.errors import BadShot, VitascopeError
from vitascope.media import Video


def answer(asked: argparse.Namespace, measure: Callable[[argparse.Namespace], tuple[Table, Tensor]]) -> None:
    """Print the table that is measured, and write the sheet uint8 [h w c] where `asked.sheet` says."""
    try:
        if asked.sheet and asked.sheet.suffix != ".png":
            raise BadShot(f"--sheet {asked.sheet}: a contact sheet is a picture; name a file that ends in .png.")
        with torch.no_grad():
            table, image = measure(asked)
        Console().print(table)
        if asked.sheet:
            print(Video(image[None], 1.0).save(asked.sheet))
    except VitascopeError as error:
        print(f"vitascope: {error}", file=sys.stderr)
        raise SystemExit(2) from None
