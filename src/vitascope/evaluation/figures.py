"""The figures of a Result in rows: what is printed, drawn, and set beside those of another model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vitascope.evaluation.report import Result
from vitascope.evaluation.share import Share

Better = Literal["more", "less", "as true"]

UNITS = {"gravity": "heights/s²"}
CONSTANTS = ("gravity", "restitution", "period")
"""Figures of laws that are to be the world's, neither more nor less; the period is beside that of the world."""
GOOD = ("right way", "forwards", "still there", "at the end")
"""Figures of laws of which more is better."""


@dataclass(frozen=True)
class Figure:
    """One number: of generated films, of true ones after the codec (the floor), and of true ones."""

    measure: str
    name: str
    made: float | None
    codec: float | None = None
    real: float | None = None
    unit: str = ""
    """"%" says that the number is a share, to be shown times 100."""
    better: Better = "more"

    def wins(self, value: float | None, other: float | None) -> bool:
        """Whether a value of this figure is better than another one: more, less, or nearer to that of true films."""
        if value is None or other is None:
            return False
        if self.better == "as true":
            return self.real is not None and abs(value - self.real) < abs(other - self.real)
        return value > other if self.better == "more" else value < other

    def text(self, value: float | None) -> str:
        """A value of this figure for a person; nothing where there is none."""
        if value is None or value != value:
            return ""
        if self.unit == "%":
            return f"{100 * value:.1f} %"
        return f"{value:.3g} {self.unit}".strip()


def figures(result: Result) -> list[Figure]:
    """All of them, in the order in which they are told."""
    shown = result.adherence
    rows = [
        Figure("adherence", "mean", shown.mean, unit="%"),
        Figure("adherence", "all at once", None if shown.mean is None else shown.whole.value, unit="%"),
    ]
    rows += [
        Figure("adherence", row.attribute, row.generated.value, row.codec.value, row.real.value, "%")
        for row in shown.attributes
        if row.measured
    ]
    rows += [
        Figure("codec", "signal to noise", result.fidelity.psnr, unit="dB"),
        Figure("codec", "the same where subjects are", result.fidelity.subjects, unit="dB"),
        Figure("codec", "fine detail still there", result.fidelity.thin, unit="%"),
        Figure("codec", "fine detail of subjects", result.fidelity.thin_subjects, unit="%"),
    ]
    rows.append(Figure("text tower", "clips found", result.retrieval.video.top1, unit="%"))
    return [*rows, *_first(result), *_continuity(result), *_distribution(result), *_memory(result), *_laws(result)]


def _first(result: Result) -> Iterator[Figure]:
    told = result.first
    if told is None:
        return
    yield Figure("first picture", "kept", told.made.kept, told.codec.kept, unit="dB")
    yield Figure("first picture", "jump after it", told.made.jump, told.codec.jump, told.real.jump, better="as true")


def _continuity(result: Result) -> Iterator[Figure]:
    made, codec, real = (getattr(result.continuity, name) for name in ("made", "codec", "real"))
    for name in ("flicker", "drift"):
        values = [getattr(each, name) for each in (made, codec, real)]
        yield Figure("continuity", name, *values, unit="of 255", better="less")
    if result.continuity.sure:
        yield Figure("continuity", "same subject", *(_share(each.identity) for each in (made, codec, real)), unit="%")


def _distribution(result: Result) -> Iterator[Figure]:
    rows = [getattr(result.distribution, name) for name in ("made", "codec", "real")]
    yield Figure("distribution", "Frechet distance", *(row.frechet for row in rows), better="less")
    yield Figure("distribution", "kernel distance", *(row.kernel for row in rows), better="less")
    yield Figure("distribution", "precision", *(row.precision for row in rows), unit="%")
    yield Figure("distribution", "recall", *(row.recall for row in rows), unit="%")
    if result.diversity is not None:
        told = result.diversity
        yield Figure("distribution", "diversity of one prompt", told.made, None, told.world, better="as true")


def _memory(result: Result) -> Iterator[Figure]:
    told = result.memory
    if told is None:
        return
    yield Figure(
        "memory", "near copies", _share(told.copies), None, _share(told.withheld_copies), unit="%", better="less"
    )
    yield Figure("memory", "distance", told.distance, None, told.withheld_distance, "of 255", "as true")
    yield Figure("memory", "nearest beside next", told.ratio, None, told.withheld_ratio, better="as true")


def _laws(result: Result) -> Iterator[Figure]:
    for law in result.laws.laws:
        rows = [law.made, law.codec, law.real]
        yield Figure("laws", f"{law.law}: tracked", *(_share(row.tracked) for row in rows), unit="%")
        yield Figure("laws", f"{law.law}: lawful", *(_share(row.lawful) for row in rows), unit="%")
        names = dict.fromkeys(name for row in rows for name in row.figures)
        for name in names:
            if name == "height":
                continue  # a constant of the film, not of the world
            values = [row.figures.get(name) for row in rows]
            better: Better = "more" if name in GOOD else "as true" if name in CONSTANTS else "less"
            unit = UNITS.get(name, "" if name in CONSTANTS else "%")
            yield Figure("laws", f"{law.law}: {name}", *values, unit=unit, better=better)


def _share(share: Share) -> float | None:
    return share.value if share.of else None


def beside(rows: Sequence[Figure], others: Sequence[Figure]) -> list[tuple[Figure, Figure | None]]:
    """Each figure with that of another model, where it has one."""
    known = {(row.measure, row.name): row for row in others}
    return [(row, known.get((row.measure, row.name))) for row in rows]
