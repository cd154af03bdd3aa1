"""The page of a measurement: figures as a table, plots, and the curves if there are any. One file that needs no other but
the sheets beside it. And all curves as one picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape

from vitascope.evaluation import plots
from vitascope.evaluation.curves import Curves, Measured, negations
from vitascope.evaluation.drawing import TRUE, Section, of_curves, of_result
from vitascope.evaluation.figures import Figure, beside, figures
from vitascope.evaluation.plots import Axis, Line, Row
from vitascope.evaluation.report import Result
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import CURVES


def _colours(named: Mapping[str, str]) -> str:
    return ";".join(f"--{name}:{value}" for name, value in named.items())


COLOURS = (
    f":root{{color-scheme:light dark;{_colours(plots.LIGHT)}}}\n"
    f"@media (prefers-color-scheme:dark){{:root{{{_colours(plots.DARK)}}}}}\n"
)
STYLE = """
*{box-sizing:border-box}
body{margin:0 auto;padding:40px 24px 80px;max-width:1360px;background:var(--paper);color:var(--ink-1);
font:15px/1.55 system-ui,sans-serif}
h1{font-size:28px;line-height:1.2;margin:0 0 6px}h2{font-size:20px;margin:48px 0 4px}
p{margin:4px 0 14px;max-width:75ch;color:var(--ink-2)}code{font-size:13px}
table{border-collapse:collapse;width:100%;background:var(--card);font-variant-numeric:tabular-nums;font-size:14px}
.wide{overflow-x:auto;border:1px solid var(--rule);border-radius:8px}
th,td{padding:6px 14px;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
th{color:var(--ink-2);font-weight:600}th:first-child,td:first-child,td:nth-child(2),th:nth-child(2){text-align:left}
tbody tr:last-child td{border-bottom:0}tr.new td{border-top:2px solid var(--rule)}
td.first{color:var(--ink-2)}td.better{font-weight:650}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,540px),1fr));gap:20px}
figure{margin:0;padding:16px 18px 10px;background:var(--card);border:1px solid var(--rule);border-radius:8px}
figcaption{font-weight:650;font-size:16px;margin-bottom:6px}
.keys{display:flex;flex-wrap:wrap;gap:4px 16px;font-size:13px;color:var(--ink-2)}
.key{display:inline-flex;align-items:center;gap:6px}.key i{width:10px;height:10px;border-radius:50%;display:inline-block}
.key i.dash{width:18px;height:0;border-radius:0;border-top:2px dashed var(--ink-1)}
.note{font-size:13px;margin:2px 0 6px}svg{width:100%;height:auto;display:block}img{max-width:100%;border-radius:8px}
""" + "".join(f".key .f{k}{{background:var(--s{k})}}" for k in range(plots.MOST))


def page(
    result: Result | None = None,
    against: Result | None = None,
    curves: Curves | None = None,
    images: Mapping[str, str] | None = None,
) -> str:
    """The whole page as HTML. `images` are captions of files that lie beside it."""
    told = result or curves
    if told is None:
        raise ValueError("a page shows a result or curves, got neither")
    parts = [f"<h1>{escape(told.model)}</h1>", f"<p>{_what(told, against)}</p>"]
    if result is not None:
        parts += [_table(result, against), *map(_section, of_result(result, against))]
    if curves is not None:
        parts += map(_curve_section, of_curves(curves), [curves.points] * len(CURVES))
    for name, caption in (images or {}).items():
        parts.append(
            f'<h2>{escape(caption)}</h2><a href="{escape(name)}"><img src="{escape(name)}" alt="{escape(caption)}"></a>'
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(told.model)}, measured</title><style>{COLOURS}{STYLE}{plots.STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _what(told: Result | Curves, against: Result | None) -> str:
    walk = told.walk if isinstance(told, Result) else told.held
    way = f"{walk['steps']} steps of {walk['solver']}, guidance {walk['guidance']}, shift {walk['shift']}"
    first = f"Weights <code>{escape(told.weights or 'not saved')}</code>; {escape(way)}."
    if isinstance(told, Result):
        begun = ", each begun with the first picture of its true film" if told.first else ""
        first += f" {len(told.adherence.films)} films of {told.adherence.split} combinations{begun}."
    if against is not None:
        first += f" Beside: {escape(against.model)}, weights <code>{escape(against.weights or 'not saved')}</code>."
    return first


def _table(result: Result, against: Result | None) -> str:
    head = (
        ["measure", "figure", "films"] + (["films of the other"] if against else []) + ["after the codec", "true films"]
    )
    lines, before = [], ""
    for row, other in beside(figures(result), figures(against) if against else []):
        new = ' class="new"' if row.measure != before else ""
        cells = [f'<td class="first">{escape(row.measure) if new else ""}</td><td>{escape(row.name)}</td>']
        cells.append(_cell(row, row.made, other.made if other else None))
        if against:
            cells.append(_cell(row, other.made if other else None, row.made))
        cells += [f"<td>{row.text(value)}</td>" for value in (row.codec, row.real)]
        lines.append(f"<tr{new}>{''.join(cells)}</tr>")
        before = row.measure
    top = "".join(f"<th>{name}</th>" for name in head)
    return f'<h2>All figures</h2><div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _cell(row: Figure, value: float | None, other: float | None) -> str:
    return f'<td class="better">{row.text(value)}</td>' if row.wins(value, other) else f"<td>{row.text(value)}</td>"


def _section(section: Section) -> str:
    told = f"<p>{escape(section.told)}</p>" if section.told else ""
    return f'<h2>{escape(section.title)}</h2>{told}<div class="plots">{"".join(section.plots)}</div>'


def _curve_section(section: Section, points: Sequence[Measured]) -> str:
    """A curve's plots, and what only some curves tell."""
    more = {CURVES["length"].question: _narrowing, CURVES["negative"].question: _negating}.get(section.title)
    drawn, table = more(points) if more else ("", "")
    return _section(section._replace(plots=[*section.plots, drawn] if drawn else section.plots)) + table


def _narrowing(points: Sequence[Measured]) -> tuple[str, str]:
    """What each further word leaves open: a line for each attribute that is said in the end, and all bits as a table."""
    told = [point for point in points if point.curve == "length" and point.finite and point.left | point.attributes]
    told.sort(key=lambda point: float(point.x))
    names = list(dict.fromkeys(name for point in told for name in point.left))
    if not names:
        return "", ""
    later = [name for name in names if name in told[-1].attributes]
    lines = [
        Line(name, [(float(p.x), 100 * p.left[name].made / p.left[name].world) for p in told if name in p.left])
        for name in later
    ]
    axis = Axis("entropy beside the world's own", "%", low=0)
    drawn = plots.curve(
        "How free is each attribute until it is said?",
        Axis("attributes said"),
        axis,
        lines,
        ("scenes of the world", 100),
    )
    cells = [
        [
            f"{float(p.x):g}",
            str(p.films),
            *(f"{p.left[n].made:.2f} of {p.left[n].world:.2f}" if n in p.left else "" for n in names),
        ]
        for p in told
    ]
    title = (
        "Bits that the films of a prompt leave open, of those that as many of the world's scenes leave which show what it says. "
        "A caption that is silent of weather, mood or camera is more often of the usual one, so the best of films leave fewer."
    )
    return drawn, _cells(title, ["said", "films", *names], cells)


def _negating(points: Sequence[Measured]) -> tuple[str, str]:
    """How many films show what a negative prompt names, without it and with it."""
    told = negations(points)
    if not told:
        return "", ""
    found = [Row(each.word, [100 * each.without.value, 100 * each.within.value]) for each in told]
    axis = Axis("films that show it", "%", low=0, high=100)
    drawn = plots.rows("Does what a negative prompt names go away?", axis, found, ("without it", "with it"))
    cells = [[each.word, str(each.without.of), _share(each.without), _share(each.within)] for each in told]
    return drawn, _cells(
        "Films that show what the negative prompt names", ["it names", "films", "without it", "with it"], cells
    )


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{100 * share.value:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _cells(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in lines)
    return (
        f'<p class="note">{escape(title)}</p><div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody>'
        "</table></div>"
    )


Series = Mapping[str, Callable[[Measured], float | None]]
"""Names of what is drawn of a point, and how to find it."""


def picture(curves: Curves) -> str:
    """All curves as one SVG: a row for each, of how films obey, of what else they are like, and of what only this one tells."""
    return plots.picture([list(_row(curves, name)) for name in CURVES if any(p.curve == name for p in curves.points)])


def _row(curves: Curves, name: str) -> Iterator[str]:
    points = [point for point in curves.points if point.curve == name and point.finite]
    lines = list(dict.fromkeys(point.line for point in points))
    if len(lines) > 1 and not any(isinstance(point.x, str) for point in points):
        obeyed: Series = {line: _on(line, _obeyed) for line in lines}
        apart: Series = {line: _on(line, lambda point: point.diversity) for line in lines}
        level = curves.world.diversity
        yield _panel(name, points, CURVES[name].question, Axis("of all readings, as asked", "%", high=100), obeyed)
        question, axis = "How far are films of one prompt apart?", Axis("distance in the probe's features", low=0)
        yield _panel(name, points, question, axis, apart, None if level is None else (TRUE, level))
    else:
        world = curves.world
        obeyed = {"as asked": lambda point: _percent(point.adherence), "of all": _obeyed}
        beside: Series = {
            "diversity": lambda point: _beside(point.diversity, world.diversity),
            "saturation": lambda point: _beside(point.saturation, world.saturation),
        }
        yield _panel(name, points, CURVES[name].question, Axis("readings as asked", "%", high=100), obeyed)
        question, axis = "How varied and how colourful are films?", Axis("beside true films", "%", low=0)
        yield _panel(name, points, question, axis, beside, (TRUE, 100))
    yield from (drawn for drawn in (_own(name, points),) if drawn)


def _own(name: str, points: Sequence[Measured]) -> str:
    """What only this curve tells, or nothing."""
    if name == "length":
        return _narrowing(points)[0]
    if name == "negative":
        return _negating(points)[0]
    contrary: Series = {
        "what is said first": lambda point: _percent(point.first),
        "what contradicts it": lambda point: _percent(point.last),
    }
    told = [point for point in points if point.first]
    return (
        _panel(name, told, "Which of the two do films show?", Axis("films", "%", low=0, high=100), contrary)
        if told
        else ""
    )


def _obeyed(point: Measured) -> float | None:
    return _percent(point.everything)


def _on(line: str, of: Callable[[Measured], float | None]) -> Callable[[Measured], float | None]:
    """The same of points of one line alone."""
    return lambda point: of(point) if point.line == line else None


def _percent(share: Share | None) -> float | None:
    return 100 * share.value if share and share.of else None


def _beside(value: float | None, true: float | None) -> float | None:
    return 100 * value / true if value is not None and true else None


def _panel(
    name: str,
    points: Sequence[Measured],
    question: str,
    axis: Axis,
    series: Series,
    true: tuple[str, float] | None = None,
) -> str:
    """A plot of a curve's points: lines over a number, or dots in rows."""
    if any(isinstance(point.x, str) for point in points):
        found = [Row(str(p.x), [*(of(p) for of in series.values()), *([true[1]] if true else [])]) for p in points]
        return plots.rows(question, axis, found, (*series, *([true[0]] if true else [])), true[0] if true else None)
    lines = [
        Line(told, sorted((float(p.x), value) for p in points if (value := of(p)) is not None))
        for told, of in series.items()
    ]
    return plots.curve(question, Axis(CURVES[name].turned, log=name == "steps"), axis, lines, true)
