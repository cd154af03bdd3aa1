"""vitascope storybook: the world that models learn, to look at."""

from __future__ import annotations

import json
import math
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.cli.flags import BadCommand, File, Flag, Folder, Text, Whole, among, whole
from vitascope.cli.progress import telling
from vitascope.media import check_output, filmstrip, local_path, sheet, write

if TYPE_CHECKING:
    from vitascope.storybook import Scene

WORLDS = ("first", "whole")  # as `storybook.WORLDS` has them, without torch
UNKNOWN = "there is no such thing in the storybook"
PAGE = "vocabulary.md"
FRAMES, HEIGHT, WIDTH = 33, 72, 120
COLUMNS, STRIP = 4, 3
CLIP = {"frames": 33, "height": 96, "width": 160}
"""The shape of clips in a folder: that of the recipe `storybook`."""
MOST_SHOWN, MOST_CLIPS = 400, 20_000
CHUNK = 8  # clips between two steps of the bar, at most
LARGEST_CHUNK = 2**26  # bytes of them, unless one clip alone has more


@dataclass(frozen=True)
class Command:
    """Show the storybook, the drawn world that models learn: clips on one PNG, a folder of clips with the truth of each, or a
    page of all its labels and words.

    vitascope storybook --clips 12 --output clips.png

    vitascope storybook --clips 20 --seed 3 --output my-clips/

    vitascope storybook --attribute place --output places.png

    vitascope storybook --page docs/vocabulary
    """

    world: Text = None
    """first, the world of nine subjects, or whole; whole if not given."""
    attribute: Text = None
    """One strip for each value of this attribute, in place of clips as they come."""
    clips: Whole = None
    """How many clips; 24 if not given."""
    seed: Whole = None
    """Other clips; 0 if not given."""
    columns: Whole = None
    """How many clips side by side; 4 if not given."""
    strip: Whole = None
    """How many frames of each clip, from its first to its last; 3 if not given."""
    output: File = None
    """Where to: a picture, .png; or a folder, its name ending in /, for clips as train --data reads them, and beside each a
    JSON of its labels, of where everything is in each frame and of the camera's path. storybook.png if not given."""
    frames: Whole = None
    """Of clips in a folder: how many frames their two seconds have; 33 if not given."""
    height: Whole = None
    """Of clips in a folder, in pixels; 96 if not given."""
    width: Whole = None
    """Of clips in a folder, in pixels; 160 if not given."""
    page: Folder = None
    """A folder for vocabulary.md, every attribute with its values and a picture, and all the words."""
    force: Flag = False
    """Replace the output if there is such a file."""


def run(command: Command) -> None:
    """Draws, and prints the path of the picture, of the folder or of the page."""
    world = among("--world", "whole" if command.world is None else command.world, WORLDS, UNKNOWN)
    columns, strip = whole("--columns", command.columns, COLUMNS, 20), whole("--strip", command.strip, STRIP, 33)
    folder = _folder(command.output)
    clips = whole("--clips", command.clips, 24, MOST_SHOWN if folder is None else MOST_CLIPS)
    seed = whole("--seed", command.seed, 0, 999_999_999, 0)
    _alone(command, folder)
    if command.page is not None:
        print(_page(Path(command.page), _Way(world, seed, columns, strip), command.force))
        return
    if folder is not None:
        print(_films(folder, world, seed, clips, _shape(command), command.force))
        return
    path = Path(command.output or "storybook.png")
    if path.suffix.lower() != ".png":
        raise BadCommand(
            f"--output {command.output!r}: a sheet is a picture; end the name in .png, or in / for a folder of clips."
        )
    check_output(path, replace=command.force)
    from vitascope.storybook import WORLDS as KNOWN
    from vitascope.storybook import scene, tour

    if command.attribute is None:
        shown = [scene(seed, index, "any", world) for index in range(clips)]
    else:
        attribute = among("--attribute", command.attribute, tuple(KNOWN[world].values), UNKNOWN)
        shown = [made for _, made in tour(world, attribute, seed)]
    with telling() as told:
        _draw(path, shown, columns, strip, command.force, told)
    print(path)


def _folder(output: str | None) -> Path | None:
    """The folder that --output names, or None where it names a picture."""
    if output is None or not (output.endswith(("/", os.sep)) or os.path.isdir(output)):
        return None
    return local_path(output)


def _shape(command: Command) -> tuple[int, int, int]:
    """Frames, height and width of clips in a folder. Raises BadCommand for what cannot be drawn, or written as mp4."""
    frames = whole("--frames", command.frames, CLIP["frames"], 241, 2)
    height, width = (whole(f"--{n}", getattr(command, n), CLIP[n], 1080, 16) for n in ("height", "width"))
    for flag, side in (("--height", height), ("--width", width)):
        if side % 2:
            raise BadCommand(f"{flag} {side}: an mp4 has even sides; {side - 1} would do.")
    return frames, height, width


def _draw(path: Path, shown: list[Scene], columns: int, strip: int, force: bool, told: Any) -> None:
    """A strip for each scene; the picture carries the captions and labels, which `vitascope inspect` tells."""
    import dataclasses

    from vitascope.storybook import caption, render

    strips, records = [], []
    for index, made in enumerate(shown):
        told.step("drawing clips", index, len(shown))
        strips.append(filmstrip(render([made], frames=FRAMES, height=HEIGHT, width=WIDTH)[0], strip))
        labels = {name: value for name, value in dataclasses.asdict(made).items() if isinstance(value, str)}
        records.append({"caption": caption(made), "labels": labels})
    told.step("drawing clips", len(shown), len(shown))
    write(path, [sheet(strips, columns)[None]], 1.0, {"sheet": records}, replace=force)


def _films(folder: Path, world: str, seed: int, clips: int, shape: tuple[int, int, int], force: bool) -> Path:
    """Clips of a world, none of a withheld combination, each as an mp4 with its caption and its truth; all of them, or none."""
    from vitascope.data.rendering import Job, drawn_in_order

    _free(folder, world, seed, clips, force)
    several = max(1, min(CHUNK, LARGEST_CHUNK // (3 * math.prod(shape))))
    chunks = [range(at, min(at + several, clips)) for at in range(0, clips, several)]
    jobs: list[Job] = [(seed, indices, "train", world, shape) for indices in chunks]
    with (
        telling() as told,
        _all_or_none(folder) as (partial, done),
        closing(drawn_in_order(jobs, "cpu", os.cpu_count() or 1)) as drawn,
    ):
        for indices, pixels in zip(chunks, drawn, strict=True):
            told.step("drawing clips", indices.start, clips)
            _write_clips(partial, world, seed, indices, shape, pixels)
        told.step("drawing clips", clips, clips)
        _free(folder, world, seed, clips, force)
        for path in sorted(partial.iterdir()):
            if not force:
                done.append(folder / path.name)
            os.replace(path, folder / path.name)
    return folder


def _write_clips(
    folder: Path, world: str, seed: int, indices: Sequence[int], shape: tuple[int, int, int], pixels: bytes
) -> None:
    """Clips that were drawn, uint8 [n t h w c] as bytes, three files each."""
    import torch

    from vitascope.storybook import DURATION, plain, scene, truth

    for index, clip in zip(indices, torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(-1, *shape, 3)):
        made, path = scene(seed, index, "train", world), folder / f"{_name(world, seed, index)}.mp4"
        known = truth(made, *shape)
        record = {"caption": plain(made), **{name: known[name] for name in ("world", "seed", "index", "labels")}}
        write(path, [clip], (shape[0] - 1) / DURATION, record)
        path.with_suffix(".txt").write_text(plain(made) + "\n", encoding="utf-8")
        path.with_suffix(".json").write_text(json.dumps(known, allow_nan=False) + "\n", encoding="utf-8")


def _name(world: str, seed: int, index: int) -> str:
    return f"{world}-{seed}-{index:05d}"


def _free(folder: Path, world: str, seed: int, clips: int, force: bool) -> None:
    """Raises BadCommand when a clip would be written over something."""
    if force or not folder.is_dir():
        return
    there = {path.name for path in folder.iterdir()}
    for index in range(clips):
        for name in (_name(world, seed, index) + suffix for suffix in (".mp4", ".txt", ".json")):
            if name in there:
                raise BadCommand(
                    f"--output {folder}: there is a {name} already; name another folder or --seed, or use --force."
                )


@contextmanager
def _all_or_none(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A folder within `folder` to write to, and a list for what has left it: when the block does not end well, these are removed,
    and so is `folder` if it was not there."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    partial, done = folder / f".vitascope-{secrets.token_hex(8)}.part", []
    try:
        _make(partial, folder)
        yield partial, done
        made = []
    except BaseException:
        for path in done:
            path.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        for place in made:
            if place.is_dir() and not any(place.iterdir()):
                place.rmdir()


def _make(folder: Path, named: Path) -> None:
    """Raises BadCommand when there can be no such folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadCommand(
            f"--output {named}: no such folder can be made ({(error.strerror or '').lower()}); name another one."
        ) from None


def _alone(command: Command, folder: Path | None) -> None:
    """Raises BadCommand for flags that would be ignored."""
    for flag, says, others in (
        ("page", "every attribute", ("attribute", "clips", "output")),
        ("attribute", "a clip a value", ("clips",)),
    ):
        for other in others:
            if getattr(command, flag) is not None and getattr(command, other) is not None:
                raise BadCommand(f"--{flag} and --{other}: the one shows {says}; leave --{other} out.")
    others = CLIP if folder is None else ("attribute", "columns", "strip")
    why = (
        "it is of clips in a folder, as --output my-clips/"
        if folder is None
        else "it is of a picture, and not of a folder"
    )
    for other in others:
        if getattr(command, other) is not None:
            raise BadCommand(f"--{other}: {why}; leave it out.")


@dataclass(frozen=True)
class _Way:
    """Which clips a page shows, and how."""

    world: str
    seed: int
    columns: int
    strip: int

    @property
    def flags(self) -> str:
        """What is to be typed beside --page for the same page."""
        usual = _Way("whole", 0, COLUMNS, STRIP)
        said = [f" --{name} {value}" for name, value in vars(self).items() if value != getattr(usual, name)]
        return "".join(said)


def _page(folder: Path, way: _Way, force: bool) -> Path:
    """Everything that there is in a world, as a page of Markdown with a picture for each attribute."""
    from vitascope.storybook import WORLDS as KNOWN
    from vitascope.storybook import tour, vocabulary

    world, seed, columns, strip = way.world, way.seed, way.columns, way.strip
    page = folder / PAGE
    names = tuple(KNOWN[world].values)
    for path in (page, *(folder / f"{name}.png" for name in names)):
        if path.exists() and not force:
            raise BadCommand(f"--page {folder}: there is a {path.name} already; name another folder, or use --force.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadCommand(
            f"--page {folder}: no such folder can be made ({(error.strerror or '').lower()}); name another one."
        ) from None
    words = vocabulary(world)
    lines = [
        "# The vocabulary of the storybook",
        "",
        f"Everything that there is in the {world} world, drawn by "
        f"`vitascope storybook --page {folder.name if folder.is_absolute() else folder.as_posix()}{way.flags}`: "
        f"under each picture the values in its order, {strip} frames of each.",
        "",
    ]
    with telling() as told:
        for name in names:
            shown = dict(tour(world, name, seed))
            _draw(folder / f"{name}.png", list(shown.values()), columns, strip, force, told)
            lines += [f"## {name.capitalize()}", "", f"![Every {name}]({name}.png)", ""]
            values, width = list(shown), min(columns, len(shown))
            rows = [values[at : at + width] for at in range(0, len(values), width)]
            lines += [_row(rows[0], width), _row(["---"] * width, width), *(_row(row, width) for row in rows[1:]), ""]
    lines += ["## Words", "", f"The {len(words)} words that its captions use:", "", ", ".join(words) + ".", ""]
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def _row(cells: list[str], width: int) -> str:
    return "| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |"
