"""What the flags of vitascope evaluate say, checked before any weights are read. Needs no torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.cli.flags import BadCommand, among
from vitascope.errors import MISPRINT, BadMedia, nearest
from vitascope.shipped import shipped
from vitascope.shot import Shot

if TYPE_CHECKING:
    from vitascope.cli.evaluate import Command

SPLITS = ("withheld", "seen")  # as `evaluation.scenes` has them, without torch
CURVES = (
    "guidance",
    "steps",
    "length",
    "order",
    "contradiction",
    "complexity",
    "negative",
    "emphasis",
)  # as `evaluation.steering` has them
SETS = {"guidance": ("guidance",), "steps": ("steps", "solver")}
"""The flags whose values a curve sets itself, point by point."""
FEWEST = 4
"""Films of which a distribution can be told: a film's three nearest others (`evaluation.distribution`) have to be there."""
RESULTS, AGAINST, FILMS, CLOSEST = "results.json", "against.json", "films.png", "closest.png"
POINTS, PICTURE, PAGE = "curves.json", "curves.svg", "page.html"
PROMPTS = f"it is a whole number from {FEWEST} to 10000, since films are compared with their {FEWEST - 1} nearest others; 200 would do"


def fit_together(command: Command) -> None:
    """Raises BadCommand for flags of which one would change nothing, or that ask for two measurements at once."""
    if command.data is not None and command.against is not None:
        raise BadCommand(
            "--data and --against: copies of one's films are looked for in one model; measure the two apart."
        )
    for name, why in (
        ("data", "copies are looked for in films that captions alone ask for"),
        ("seeds", "how films of one prompt differ is measured of films of words alone"),
        ("curves", "curves are of films of words alone"),
    ):
        if command.first and getattr(command, name) is not None:
            raise BadCommand(f"--first and --{name}: {why}; leave one of the two out.")
    if command.curves is None:
        if command.films is not None:
            raise BadCommand("--films without --curves: only curves have points; give --prompts, or --curves all.")
        return
    for name in ("against", "prompts", "split", "seeds", "moving", "training", "data"):
        if getattr(command, name) is not None:
            raise BadCommand(f"--{name} and --curves: curves ask for films of their own; leave one of the two out.")
    curves = chosen_curves(command.curves)
    for name in ("guidance", "steps", "solver"):
        if getattr(command, name) is not None and all(name in SETS.get(curve, ()) for curve in curves):
            raise BadCommand(
                f"--{name} and --curves {command.curves}: each point of this curve has its own {name}; leave --{name} out."
            )


def chosen_curves(text: str | None) -> tuple[str, ...]:
    """The names of curves in the order in which they are measured; none where none are asked for.

    Raises:
        BadCommand: when there is no such curve.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise BadCommand(f"--curves {text[:60]!r}: there is no name in it; there are {', '.join(CURVES)}, and all.")
    for name in names:
        among("--curves", name, (*CURVES, "all"), "there is no such curve")
    return CURVES if "all" in names else tuple(name for name in CURVES if name in names)


def shared(command: Command) -> dict[str, Any]:
    """The fields of a Shot that all films share. Raises BadShot when no film can be made so."""
    said = {name: getattr(command, name) for name in ("steps", "solver", "guidance", "shift")}
    said = {name: value for name, value in said.items() if value is not None}
    shot = Shot.model_validate({"prompt": "a film", **said})
    return {name: getattr(shot, name) for name in said}


def chosen_split(text: str | None) -> Any:
    """Raises BadCommand when there is no such split."""
    if text is None:
        return "withheld"
    return among("--split", text, SPLITS, "films are of withheld or of seen combinations")


def free_folder(out: Path, force: bool, curves: bool = False) -> Path:
    """`out`, if results can be put there, or curves, which go on from what is there. Raises BadMedia."""
    nearest_there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not nearest_there.is_dir():
        raise BadMedia(f"--out {out}: {nearest_there} is a file; name a folder.")
    if not os.access(nearest_there, os.W_OK):
        raise BadMedia(f"--out {out}: the folder {nearest_there} is read-only; write somewhere else.")
    ours = any((out / name).exists() for name in (RESULTS, POINTS))  # then the page is ours, too
    names = () if curves else (RESULTS, AGAINST, FILMS, CLOSEST)
    names += () if ours else (PAGE,)
    names += (PICTURE,) if curves and not (out / POINTS).exists() else ()
    there = [name for name in names if (out / name).exists()]
    if there and not force:
        raise BadMedia(f"--out {out}: there is a {there[0]} already; name another folder, or replace it with --force.")
    return out


def probe_of(place: str) -> Path:
    """The folder of a probe: that of a model that ships, by its name, or one by its path.

    Raises BadCommand for a name that is nearly a shipped one's, of which a misprint would cost ten minutes.
    """
    ships = shipped().get(place)
    if ships:
        return ships / "probe"
    meant = None if Path(place).exists() or os.sep in place else nearest(place, shipped(), MISPRINT)
    if meant is not None:
        raise BadCommand(
            f"--probe {place[:60]!r}: no model that ships has this name, and there is no such folder; the nearest is {meant}, "
            f"or ./{place[:60]} for a new probe."
        )
    return Path(place)
