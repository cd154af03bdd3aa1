"""vitascope evaluate: how well a model does what it is told."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vitascope.cli.flags import BadCommand, Flag, Folder, Real, Text, Whole
from vitascope.cli.generate import chosen_device
from vitascope.cli.progress import telling
from vitascope.errors import BadMedia, nearest
from vitascope.media import filmstrip, sheet, write
from vitascope.shot import Shot

if TYPE_CHECKING:
    from rich.table import Table

    from vitascope.evaluation import Obeyed, Result, Share

SPLITS = ("withheld", "seen")  # as `evaluation.scenes` has them, without torch
RESULTS, FILMS = "results.json", "films.png"
MOST_STRIPS = 100  # films on the contact sheet


@dataclass(frozen=True)
class Command:
    """Measure a model: its codec, its text tower, and whether its films show what was asked for.

    The films are judged by a probe, a small network that was trained on true films alone and that tells its own accuracy.
    It comes with a model; where it does not, one is trained, which takes some ten minutes.

    vitascope evaluate

    vitascope evaluate --model runs/storybook/bundle --prompts 48 --guidance 6 --out figures
    """

    model: Text = None
    """A shipped model's name or a bundle's folder."""
    prompts: Whole = None
    """How many films are made, with the seeds 0, 1, 2 and so on; 200 if not given."""
    split: Text = None
    """withheld: combinations that were kept out of all training; seen: others. withheld if not given."""
    steps: Whole = None
    """How many steps the solver takes."""
    solver: Text = None
    """Who walks the field."""
    guidance: Text = None
    """How strongly the prompts are followed."""
    shift: Real = None
    """How far the steps lean towards noise."""
    probe: Folder = None
    """The probe's folder; one that is not there is trained and kept there. The model's own if not given."""
    probe_steps: Whole = None
    """How long a probe is trained, if one has to be."""
    out: Folder = None
    """A folder for results.json and films.png, the contact sheet; nothing is kept if not given."""
    device: Text = None
    """auto, cpu, cuda, cuda:1 or mps."""
    json: Flag = False
    """As JSON, for a program to read."""
    force: Flag = False
    """Replace what is in the folder."""


def run(command: Command) -> None:
    """Prints the figures. Everything that can be refused is refused before the weights are read."""
    device = chosen_device(command.device)
    prompts, split = whole("--prompts", command.prompts, 200, 10_000), chosen_split(command.split)
    like = shared(command)
    out = free_folder(Path(command.out), command.force) if command.out is not None else None
    folder = Path(command.probe) if command.probe is not None else None
    from vitascope.engine import Engine
    from vitascope.evaluation import evaluate, probe_for
    from vitascope.evaluation.lessons import STEPS

    steps = whole("--probe-steps", command.probe_steps, STEPS, 1_000_000)
    strips: list[Any] = []
    records: list[Any] = []
    with telling() as told:
        engine = Engine.load(command.model, device)

        def film(shot: Shot, frames: Any) -> None:
            if out is not None and len(strips) < MOST_STRIPS:
                strips.append(filmstrip(frames))
                records.append(engine.record(shot))

        engine.prepare(Shot.model_validate({"prompt": "a film", **like}))
        probe = probe_for(engine, folder, steps=steps, watch=told.step)
        result = evaluate(engine, probe, prompts=prompts, split=split, like=like, watch=told.step, film=film)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write(out / FILMS, [sheet(strips, 4)[None]], 1.0, {"sheet": records})
        partial = out / f".{RESULTS}.partial"
        partial.write_text(result.json(), encoding="utf-8")
        os.replace(partial, out / RESULTS)
    if command.json:
        print(result.json(), end="")
    else:
        show(result)


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
    if text not in SPLITS:
        guess = nearest(text[:60], SPLITS)
        hint = f"did you mean {guess}" if guess else "choose withheld or seen"
        raise BadCommand(f"--split {text[:60]!r}: films are of withheld or of seen combinations; {hint}?")
    return text


def free_folder(out: Path, force: bool) -> Path:
    """`out`, if results can be put there. Raises BadMedia."""
    nearest_there = next(place for place in (out, *out.absolute().parents) if place.exists())
    if not nearest_there.is_dir():
        raise BadMedia(f"--out {out}: {nearest_there} is a file; name a folder.")
    if not os.access(nearest_there, os.W_OK):
        raise BadMedia(f"--out {out}: the folder {nearest_there} is read-only; write somewhere else.")
    there = [name for name in (RESULTS, FILMS) if (out / name).exists()]
    if there and not force:
        raise BadMedia(f"--out {out}: there is a {there[0]} already; name another folder, or replace it with --force.")
    return out


def whole(flag: str, text: str | None, default: int, largest: int, smallest: int = 1) -> int:
    """A whole number from `smallest` to `largest`.

    Raises:
        BadCommand: when `text` is not one.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not smallest <= int(text) <= largest:
        raise BadCommand(
            f"{flag} {text[:60]!r}: it is a whole number from {smallest} to {largest}; {default} would do."
        )
    return int(text)


def show(result: Result) -> None:
    """The figures as a table on standard output."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 110
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False)
    walk, shown = result.walk, result.adherence
    console.print(
        f"{result.model} {result.weights}: {len(shown.films)} films of {shown.split} combinations, {walk['steps']} steps of "
        f"{walk['solver']}, guidance {walk['guidance']}, shift {walk['shift']}"
    )
    console.print(_table(result))
    for line in _sentences(result):
        console.print(line, soft_wrap=True)


def _table(result: Result) -> Table:
    from rich import box
    from rich.table import Table

    shown = result.adherence
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("attribute")
    for name in ("as asked", "95 %", "by chance", "true films", "after codec", "probe"):
        table.add_column(name, justify="right")
    table.add_column("weakest")
    for row in shown.attributes:
        own = "unknown" if row.probe is None else _percent(row.probe)
        asked = (_percent(row.generated.value), _range(row.generated)) if row.measured else ("unmeasured", "")
        rest = (_percent(row.chance), _percent(row.real.value), _percent(row.codec.value), own)
        table.add_row(row.attribute, *asked, *rest, _weakest(row) if row.measured else "")
    if shown.mean is not None:
        table.add_section()
        table.add_row("mean", _percent(shown.mean))
        table.add_row("all at once", _percent(shown.whole.value), _range(shown.whole))
    return table


def _sentences(result: Result) -> list[str]:
    fidelity, retrieval, probe = result.fidelity, result.retrieval, result.probe
    apart = ", ".join(f"{name} {value:.2f}" for name, value in fidelity.weather.items())
    told = [
        f"codec: {fidelity.psnr:.2f} dB on {fidelity.clips} withheld clips ({apart}; lowest {fidelity.lowest:.2f})",
        f"text tower among {retrieval.clips} withheld clips: clips found by text {_found(retrieval.video)}, texts found by clip "
        f"{_found(retrieval.text)}, by chance {_found(retrieval.chance)}",
    ]
    if probe is not None:
        told.append(
            f"probe: read {probe.held_out} true films of its own; true films are those of the same scenes as asked"
        )
    return told


def _found(found: Any) -> str:
    return f"{_percent(found.top1)} first, {_percent(found.top5)} in five"


def _weakest(row: Obeyed) -> str:
    name, share = min(row.values.items(), key=lambda item: item[1].value)
    return f"{name} {share.hits}/{share.of}"


def _range(share: Share) -> str:
    low, high = share.interval
    return f"{100 * low:.0f}-{100 * high:.0f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
