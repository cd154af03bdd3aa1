"""Which plots show a Result, and which show Curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from vitascope.evaluation import plots
from vitascope.evaluation.curves import Curves, Measured
from vitascope.evaluation.figures import beside, figures
from vitascope.evaluation.footprints import LATER
from vitascope.evaluation.memory import COPY, NEAR, Memory
from vitascope.evaluation.plots import Axis, Line, Row
from vitascope.evaluation.report import Result
from vitascope.evaluation.steering import CURVES

SERIES = ("generated films", "true films after the codec", "true films")
TRUE = "true films"
PERCENT = Axis("share", "%", low=0, high=100)
QUESTIONS = {
    "falls": "Does what falls fall as in this world?",
    "bounces": "Does what bounces obey the same gravity?",
    "rolls": "Does what rolls move and turn the right way?",
    "uniform": "Is even motion straight and even, and does who moves look where it goes?",
    "swings": "Does what swings keep a pendulum's path?",
    "prints": "Do walkers leave footprints, and do these stay?",
}
"""Of the laws; one that is not here is asked for by its name."""


class Section(NamedTuple):
    """A part of the page: its heading, a sentence or two, its plots as SVG."""

    title: str
    told: str
    plots: list[str]


def of_result(result: Result, against: Result | None = None) -> Iterator[Section]:
    """All measures, each beside the codec's floor, true films, and another model where there is one."""

    def three(question: str, measure: str, names: Sequence[str], axis: Axis) -> str:
        return _rows(result, against, question, measure, names, axis)

    yield Section(
        "Adherence",
        "A probe that was taught on true films alone reads what the films show.",
        [_adherence(result, against)],
    )
    levels = Axis("change", "levels of 255", low=0)
    told = "How much changes around a subject that is alone, where most of the true film rests; and that subject in either half of a film."
    steady = [three("How much changes that should not?", "continuity", ("flicker", "drift"), levels)]
    if result.continuity.sure:
        steady.append(
            three("Is the subject of the second half that of the first?", "continuity", ("same subject",), PERCENT)
        )
    else:
        told += " The latter is not measured, for the probe reads true subjects or their colours too badly."
    yield Section("Continuity", told, steady)
    whole = ("Frechet distance", "kernel distance")
    beside_spread = Axis("distance, beside the variance of true films")
    apart = Axis("distance in the probe's features", low=0)
    yield Section(
        "Distribution",
        "In the space of the probe's last layer, beside as many true films as there are generated ones.",
        [
            three("How far are films from true ones, as a whole?", "distribution", whole, beside_spread),
            three("How far are films of one prompt apart?", "distribution", ("diversity of one prompt",), apart),
            three("Are films plausible, and is everything there?", "distribution", ("precision", "recall"), PERCENT),
        ],
    )
    if result.memory:
        searched = f"{result.memory.clips:,} of {result.memory.of:,} training clips were searched"
        asked = ", for films that their own captions asked for." if result.memory.recited else "."
        yield Section("Memory", searched + asked, [_memory(result.memory)])
    yield Section("Laws of motion", _tracker(result), list(_laws(result, against)))


def _series(against: Result | None) -> tuple[str, ...]:
    return (*SERIES, "films of the other model") if against else SERIES


def _rows(result: Result, against: Result | None, question: str, measure: str, names: Sequence[str], axis: Axis) -> str:
    found = []
    for row, other in beside(figures(result), figures(against) if against else []):
        if row.measure != measure or row.name not in names:
            continue
        size = 100 if row.unit == "%" else 1
        values = [row.made, row.codec, row.real, *([other.made if other else None] if against else [])]
        name = row.name.partition(": ")[2] or row.name
        found.append(Row(name, [None if v is None else size * v for v in values]))
    return plots.rows(question, axis, found, _series(against), TRUE)


def _adherence(result: Result, against: Result | None) -> str:
    found = []
    other = {row.attribute: row.generated.value for row in against.adherence.attributes} if against else {}
    for row in result.adherence.attributes:
        if row.measured:
            shares = [row.generated.value, row.codec.value, row.real.value]
            values = [100 * share for share in shares]
            if against:
                values.append(100 * other[row.attribute])
            low, high = row.generated.interval
            found.append(Row(row.attribute, values, (100 * low, 100 * high)))
    left_out = [row.attribute for row in result.adherence.attributes if not row.measured]
    note = f"Not measured, for the probe reads true films too badly: {', '.join(left_out)}." if left_out else ""
    axis = Axis("films as asked", "%", low=0, high=100)
    return plots.rows("What of the prompt do films show?", axis, found, _series(against), TRUE, note)


def _memory(told: Memory) -> str:
    points = [
        (p.distance, p.ratio, f"film {p.film}, training clip {p.clip}: {p.distance:.1f}, {p.ratio:.2f}")
        for p in told.pairs
    ]
    return plots.scatter(
        "Does any film repeat a training clip?",
        Axis("distance to the nearest training clip", "levels of 255", low=0),
        Axis("beside that to the next ones", low=0, high=1),
        points,
        ("middle of true films that were withheld", told.withheld_distance, told.withheld_ratio),
        (NEAR * told.usual, COPY),
        f"A near copy lies left of and below the dotted lines: {told.copies.hits} of {told.copies.of} films.",
    )


def _tracker(result: Result) -> str:
    median, tenth = result.laws.tracker_median, result.laws.tracker_worst_tenth
    if median is None or tenth is None:
        return "No film with a camera at rest was asked to obey a law that can be measured."
    return (
        f"Subjects are tracked by their colours where the camera is at rest. On true films the tracker is {median:.2f} "
        f"pixels off in half of the frames, and more than {tenth:.2f} in a tenth of them.{_prints(result)}"
    )


def _prints(result: Result) -> str:
    """How the persistence of prints is counted, where any are asked for."""
    told = next((law for law in result.laws.laws if law.law == "prints"), None)
    if told is None or told.later is None:
        return ""
    short = "" if told.later == LATER else f", for these films are too short for {LATER}"
    return f" Footprints are looked for again {told.later} frames later{short}, and in the last frame."


def _laws(result: Result, against: Result | None) -> Iterator[str]:
    """Of each law how many films have its form, and how far those are from its constants."""
    for law in result.laws.laws:
        own = [row for row in figures(result) if row.name.startswith(f"{law.law}: ") and row.unit == "%"]
        shares = [row.name for row in own if row.better == "more"]
        errors = [row.name for row in own if row.better == "less"]
        question = QUESTIONS.get(law.law, f"Is the law of what {law.law} obeyed?")
        yield _rows(result, against, question, "laws", shares, Axis("films", "%", low=0, high=100))
        if errors:
            question = f"{law.law.capitalize()}: how far are lawful films from the law?"
            yield _rows(result, against, question, "laws", errors, Axis("relative error", "%", low=0))


class Value(NamedTuple):
    """What is drawn of the points of a curve: a question about what is turned, an axis, a number or None."""

    question: str
    axis: Axis
    of: Callable[[Measured], float | None]


VALUES = (
    Value(
        "Do films obey?",
        Axis("readings as asked", "%", high=100),
        lambda point: 100 * point.adherence.value if point.adherence.of else None,
    ),
    Value(
        "Do they, by what the probe reads less well, too?",
        Axis("readings as asked", "%", high=100),
        lambda point: 100 * point.everything.value if point.everything.of else None,
    ),
    Value(
        "How far are films of one prompt apart?",
        Axis("distance in the probe's features", low=0),
        lambda point: point.diversity,
    ),
    Value(
        "How strong are the colours?",
        Axis("saturation", "%", low=0),
        lambda point: None if point.saturation is None else 100 * point.saturation,
    ),
    Value(
        "How free is what is not said?",
        Axis("entropy beside the world's own", "%", low=0),
        lambda point: None if point.freedom is None else 100 * point.freedom,
    ),
    Value(
        "How many films show what is said first?",
        Axis("films", "%", low=0, high=100),
        lambda point: 100 * point.first.value if point.first else None,
    ),
    Value(
        "How many films show what contradicts it?",
        Axis("films", "%", low=0, high=100),
        lambda point: 100 * point.last.value if point.last else None,
    ),
)


def of_curves(told: Curves) -> Iterator[Section]:
    """The curves that have points, a plot for each of their values."""
    for name, curve in CURVES.items():
        points = [point for point in told.points if point.curve == name]
        lost = [f"{point.line} {point.x}".strip() for point in points if not point.finite]
        note = (
            f"About {told.films} films a point, and for the length of prompts of each scene; readings are of what the probe "
            "measures, where nothing else is said."
        )
        if lost:
            note += f" Films left the numbers at {', '.join(lost)}."
        found = [drawn for value in VALUES if (drawn := _curve(told, name, value, points))]
        if found:
            yield Section(curve.question, note, found)


def _curve(told: Curves, name: str, value: Value, points: Sequence[Measured]) -> str:
    turned = CURVES[name].turned
    kept = [(point, found) for point in points if point.finite and (found := value.of(point)) is not None]
    if not kept:
        return ""
    level = value.of(told.world)
    if any(isinstance(point.x, str) for point, _ in kept):
        found = [Row(str(point.x), [number] if level is None else [number, level]) for point, number in kept]
        series = ("generated films",) if level is None else ("generated films", TRUE)
        return plots.rows(value.question, value.axis, found, series, None if level is None else TRUE)
    lines: dict[str, list[tuple[float, float]]] = {}
    for point, number in kept:
        lines.setdefault(point.line or "films", []).append((float(point.x), number))
    true = None if level is None else (TRUE, level)
    x = Axis(turned, log=name == "steps")
    return plots.curve(value.question, x, value.axis, [Line(n, sorted(each)) for n, each in lines.items()], true)
