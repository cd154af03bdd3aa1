"""The figures of `vitascope evaluate`, as tables on standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from vitascope.evaluation import Curves, Obeyed, Result, Share


def show(result: Result, against: Result | None = None) -> None:
    """What was measured of a model, beside another one's figures where they are given."""
    console = _console()
    console.print(_what(result), soft_wrap=True)
    if against is not None:
        console.print(f"beside {_what(against)}", soft_wrap=True)
    console.print(_obeyed(result))
    console.print(_figures(result, against))
    for line in _sentences(result):
        console.print(line, soft_wrap=True)


def show_curves(curves: Curves) -> None:
    """A line for each point of the curves; and in a sentence each what contradictions show, what negative prompts remove and
    what each further word leaves open."""
    from rich import box
    from rich.table import Table

    from vitascope.evaluation.curves import negations

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("curve", "line", "at"):
        table.add_column(name)
    for name in ("films", "as asked", "95 %", "of all", "diversity", "colour", "left free"):
        table.add_column(name, justify="right")
    before = ""
    for point in (curves.world, *curves.points):
        if before and point.curve != before:
            table.add_section()
        before = point.curve
        at = point.x if isinstance(point.x, str) else f"{point.x:g}"
        if not point.finite:
            table.add_row(point.curve, point.line, at, str(point.films), "left the numbers")
            continue
        asked = (_percent(point.adherence.value), _range(point.adherence)) if point.adherence.of else ("", "")
        read = _percent(point.everything.value) if point.everything.of else ""
        shares = ("" if v is None else _percent(v) for v in (point.saturation, point.freedom))
        apart = "" if point.diversity is None else f"{point.diversity:.3f}"
        table.add_row(point.curve, point.line, at, str(point.films), *asked, read, apart, *shares)
    console = _console()
    console.print(
        f"{curves.model} {curves.weights}: curves of about {curves.films} films a point, of length of each scene; world: true films"
    )
    console.print(
        "as asked: readings of what the probe measures; of all: of what it reads less well, too; colour: saturation",
        soft_wrap=True,
    )
    console.print(table)
    for point in curves.points:
        if point.first and point.last:
            first, last, of = point.first.hits, point.last.hits, point.first.of
            told = (
                f"{point.curve}, {point.x}: {first} of {of} films show what is said first, {last} what contradicts it"
            )
            console.print(told, soft_wrap=True)
    for word, without, within in negations(curves.points):
        told = (
            f"negative prompt '{word}': {without.hits} of {without.of} films show it without the negative prompt, "
            f"{within.hits} of {within.of} with it"
        )
        console.print(told, soft_wrap=True)
    for point in curves.points:
        if point.left:
            bits = ", ".join(f"{name} {each.made:.2f} of {each.world:.2f}" for name, each in point.left.items())
            console.print(
                f"{point.curve}, {point.x:g} said: bits left open of those in the world: {bits}", soft_wrap=True
            )


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() else 110
    return Console(file=sys.stdout, width=width, highlight=False, markup=False)


def _what(result: Result) -> str:
    walk, shown = result.walk, result.adherence
    begun = ", each begun with the first picture of its true film" if result.first else ""
    return (
        f"{result.model} {result.weights}: {len(shown.films)} films of {shown.split} combinations{begun}, {walk['steps']} steps of "
        f"{walk['solver']}, guidance {walk['guidance']}, shift {walk['shift']}"
    )


def _figures(result: Result, against: Result | None) -> Table:
    from rich import box
    from rich.table import Table

    from vitascope.evaluation.figures import beside, figures

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure")
    table.add_column("figure")
    for name in ("films", *(("the other", "better") if against else ()), "after codec", "true films"):
        table.add_column(name, justify="right")
    before = ""
    for row, other in beside(figures(result), figures(against) if against else []):
        if row.measure == "adherence" and against is None:
            continue  # the table above tells it
        if before and row.measure != before:
            table.add_section()
        told = [row.text(row.made)]
        if against is not None:
            made = other.made if other else None
            better = "films" if row.wins(row.made, made) else "the other" if row.wins(made, row.made) else ""
            told += [row.text(made), better]
        name = row.measure if row.measure != before else ""
        table.add_row(name, row.name, *told, row.text(row.codec), row.text(row.real))
        before = row.measure
    return table


def _obeyed(result: Result) -> Table:
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
    thin = ", ".join(f"{name} {_percent(value)}" for name, value in fidelity.thin_weather.items())
    told = [
        f"codec: {fidelity.psnr:.2f} dB on {fidelity.clips} withheld clips ({apart}; lowest {fidelity.lowest:.2f})",
        f"of fine detail {_percent(fidelity.thin)} is still there after it ({thin}), of that of subjects "
        f"{_percent(fidelity.thin_subjects)}",
        f"text tower among {retrieval.clips} withheld clips: clips found by text {_found(retrieval.video)}, texts found by clip "
        f"{_found(retrieval.text)}, by chance {_found(retrieval.chance)}",
    ]
    if not result.continuity.sure:
        told.append(
            "same subject in both halves of a film: unmeasured, for the probe reads subjects or colours too badly"
        )
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
