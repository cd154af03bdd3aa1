"""The page of a measurement: figures as a table, plots, and the curves if there are any. One file that needs no other but
the sheets beside it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from vitascope.evaluation import plots
from vitascope.evaluation.curves import Curves
from vitascope.evaluation.drawing import Section, of_curves, of_result
from vitascope.evaluation.figures import Figure, beside, figures
from vitascope.evaluation.report import Result

STYLE = """
:root{color-scheme:light dark;--paper:#fbfaf7;--card:#fff;--ink-1:#1d1f23;--ink-2:#4d525b;--ink-3:#9096a1;--rule:#e6e4de;
--s0:#1f6fb5;--s1:#d9660a;--s2:#12875e;--s3:#b0478e;--s4:#9c7a00;--s5:#5b5bd0;--s6:#6b7078}
@media (prefers-color-scheme:dark){:root{--paper:#15171b;--card:#1d2026;--ink-1:#eceef2;--ink-2:#b4bac5;--ink-3:#767d8a;
--rule:#2e323a;--s0:#6db3f2;--s1:#ff9d4d;--s2:#4fcb9c;--s3:#ea8fca;--s4:#e0bd45;--s5:#a5a5ff;--s6:#a3a9b3}}
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
        parts += map(_section, of_curves(curves))
    for name, caption in (images or {}).items():
        parts.append(
            f'<h2>{escape(caption)}</h2><a href="{escape(name)}"><img src="{escape(name)}" alt="{escape(caption)}"></a>'
        )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(told.model)}, measured</title><style>{STYLE}{plots.STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _what(told: Result | Curves, against: Result | None) -> str:
    walk = told.walk if isinstance(told, Result) else told.held
    way = f"{walk['steps']} steps of {walk['solver']}, guidance {walk['guidance']}, shift {walk['shift']}"
    first = f"Weights <code>{escape(told.weights or 'not saved')}</code>; {escape(way)}."
    if isinstance(told, Result):
        first += f" {len(told.adherence.films)} films of {told.adherence.split} combinations."
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
