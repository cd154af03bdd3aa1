"""What a bundle's films were learned from, noted beside its weights: so that copies can be looked for among all of it.

`learned.json` is no part of what determines a film; a bundle without it was learned from what its recipe says.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import TypeAdapter

from vitascope.bundle import LEARNED
from vitascope.data.clips import Source
from vitascope.data.own import OwnSource
from vitascope.data.rendering import look
from vitascope.errors import BadModel, BadRun
from vitascope.recipe import Recipe
from vitascope.storybook.worlds import world_of
from vitascope.swapping import file_in_place_of

Learned = Source | OwnSource
"""Clips of the storybook, which can be drawn again, or of somebody's own films, which have to be given again."""

_LIST: TypeAdapter[list[Learned]] = TypeAdapter(list[Learned])


def learned_by(recipe: Recipe, folder: Path | None) -> tuple[Learned, ...]:
    """What the bundle in a folder was learned from, the first first; what its recipe says where nothing is noted.

    Raises BadModel when the note cannot be read.
    """
    path = folder / LEARNED if folder else None
    if path is None or not path.is_file():
        return (rendered_for(recipe),)
    try:
        found = tuple(_LIST.validate_json(path.read_bytes()))
        for source in found:
            world_of(source.world if isinstance(source, Source) else recipe.world)
        return found
    except (OSError, ValueError) as error:  # pydantic's is one
        raise BadModel(
            f"{path}: it does not tell what a model was learned from; delete it, to go by the recipe alone."
        ) from error


def redrawn(learned: Sequence[Learned]) -> bool:
    """Whether the storybook draws otherwise now than when clips of it were learned from, as far as that was noted."""
    return any(isinstance(each, Source) and each.look not in ("", look(each.world)) for each in learned)


def rendered_for(recipe: Recipe) -> Source:
    """The clips of the storybook that a recipe's network is trained on."""
    video = recipe.video
    count = recipe.stages.diffusion.clips
    return Source(recipe.seed, count, video.frames, video.height, video.width, world=recipe.world)


def take_note(source: Path, folder: Path) -> None:
    """Take the note in one folder along to another, where there is one. Raises BadRun when it cannot be written."""
    if (source / LEARNED).is_file():
        try:
            with file_in_place_of(folder / LEARNED) as partial:
                shutil.copyfile(source / LEARNED, partial)
        except OSError as error:
            raise BadRun(f"{folder / LEARNED}: it could not be written ({error}); free some space.") from error


def note(folder: Path, learned: Sequence[Learned]) -> None:
    """Write into a folder what the network of its bundle, or of its run, was learned from; each once.

    Raises BadRun when it cannot be written.
    """
    lines = ",\n ".join(json.dumps(asdict(each)) for each in dict.fromkeys(learned))
    try:
        with file_in_place_of(folder / LEARNED) as partial:
            partial.write_text(f"[{lines}]\n", encoding="utf-8")
    except OSError as error:
        raise BadRun(f"{folder / LEARNED}: it could not be written ({error}); free some space and resume.") from error
