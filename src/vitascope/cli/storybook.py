"""vitascope storybook: the world that models learn, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.cli.evaluate import whole
from vitascope.cli.flags import BadCommand, File, Flag, Folder, Text, Whole
from vitascope.cli.progress import telling
from vitascope.errors import nearest
from vitascope.media import check_output, filmstrip, sheet, write

if TYPE_CHECKING:
    from vitascope.storybook import Scene

WORLDS = ("first", "whole")  # as `storybook.WORLDS` has them, without torch
PAGE = "vocabulary.md"
FRAMES, HEIGHT, WIDTH = 33, 72, 120
COLUMNS, STRIP = 4, 3


@dataclass(frozen=True)
class Command:
    """Show the storybook, the drawn world that models learn: clips on one PNG, or a page of all its labels and words.

    vitascope storybook --clips 12 --output clips.png

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
    """Where to, .png; storybook.png if not given."""
    page: Folder = None
    """A folder for vocabulary.md, every attribute with its values and a picture, and all the words."""
    force: Flag = False
    """Replace the output if there is such a file."""


def run(command: Command) -> None:
    """Draws, and prints the path of the picture or of the page."""
    world = _among("--world", "whole" if command.world is None else command.world, WORLDS)
    columns, strip = whole("--columns", command.columns, COLUMNS, 20), whole("--strip", command.strip, STRIP, 33)
    clips, seed = whole("--clips", command.clips, 24, 400), whole("--seed", command.seed, 0, 999_999_999, 0)
    _alone(command)
    if command.page is not None:
        print(_page(Path(command.page), _Way(world, seed, columns, strip), command.force))
        return
    path = Path(command.output or "storybook.png")
    if check_output(path, replace=command.force).suffix.lower() != ".png":
        raise BadCommand(f"--output {command.output!r}: a sheet is a picture; end the name in .png.")
    from vitascope.storybook import WORLDS as KNOWN
    from vitascope.storybook import scene, tour

    if command.attribute is None:
        shown = [scene(seed, index, "any", world) for index in range(clips)]
    else:
        attribute = _among("--attribute", command.attribute, tuple(KNOWN[world].values))
        shown = [made for _, made in tour(world, attribute, seed)]
    with telling() as told:
        _draw(path, shown, columns, strip, command.force, told)
    print(path)


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


def _alone(command: Command) -> None:
    """Raises BadCommand for flags that would be ignored."""
    for flag, says, others in (
        ("page", "every attribute", ("attribute", "clips", "output")),
        ("attribute", "a clip a value", ("clips",)),
    ):
        for other in others:
            if getattr(command, flag) is not None and getattr(command, other) is not None:
                raise BadCommand(f"--{flag} and --{other}: the one shows {says}; leave --{other} out.")


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


def _among(flag: str, text: str, values: tuple[str, ...]) -> str:
    """Raises BadCommand when `text` is none of the values."""
    if text not in values:
        guess = nearest(text[:60], values)
        hint = f"did you mean {guess}" if guess else f"there are {', '.join(values)}"
        raise BadCommand(f"{flag} {text[:60]!r}: there is no such thing in the storybook; {hint}?")
    return text
