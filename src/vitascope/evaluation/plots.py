"""Plots as SVG, a string each: curves, dots in rows, scattered points. No script, no font from elsewhere; colours are the
page's (`STYLE`), light and dark.

Every plot has a title that is a question, axes with their units, and where there is one, the line of true films.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 620, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 18, 14, 46
ROW = 26  # the height of a row of dots
MOST = 7  # lines that can be told apart by colour
TITLE, KEYS, LETTER, GAP = (
    28,
    24,
    7,
    24,
)  # of a picture of plots: heights, the width of a letter, and what is between plots

LIGHT = {
    "paper": "#fbfaf7", "card": "#fff", "ink-1": "#1d1f23", "ink-2": "#4d525b", "ink-3": "#9096a1", "rule": "#e6e4de",
    "s0": "#1f6fb5", "s1": "#d9660a", "s2": "#12875e", "s3": "#b0478e", "s4": "#9c7a00", "s5": "#5b5bd0", "s6": "#6b7078",
}  # fmt: skip
DARK = {
    "paper": "#15171b", "card": "#1d2026", "ink-1": "#eceef2", "ink-2": "#b4bac5", "ink-3": "#767d8a", "rule": "#2e323a",
    "s0": "#6db3f2", "s1": "#ff9d4d", "s2": "#4fcb9c", "s3": "#ea8fca", "s4": "#e0bd45", "s5": "#a5a5ff", "s6": "#a3a9b3",
}  # fmt: skip
"""The colours by name, on a light page and on a dark one."""

STYLE = """
.plot text{font:12px system-ui,sans-serif;fill:var(--ink-2)}
.plot .grid{stroke:var(--rule);stroke-width:1}
.plot .axis{stroke:var(--ink-3);stroke-width:1}
.plot .true{stroke:var(--ink-1);stroke-width:1.5;stroke-dasharray:5 4;fill:none}
.plot .cut{stroke:var(--ink-3);stroke-width:1;stroke-dasharray:2 3}
.plot .name{fill:var(--ink-1)}
.plot .line{fill:none;stroke-width:2;stroke-linejoin:round}
.plot .dot{stroke:var(--paper);stroke-width:1.5}
.plot .span{stroke-width:2;opacity:.45}
""" + "".join(f".plot .s{k}{{stroke:var(--s{k})}}.plot .f{k}{{fill:var(--s{k})}}" for k in range(MOST))


@dataclass(frozen=True)
class Axis:
    """What an axis shows, in which unit, from where to where; None is found from the data."""

    name: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    log: bool = False

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True)
class Line:
    """A line through points (x, y) in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """A row of dots: one value a series, None where it has none."""

    name: str
    values: Sequence[float | None]
    span: tuple[float, float] | None = None
    """The first value's interval."""


class Scale:
    """From values to pixels, over what the values need."""

    def __init__(self, axis: Axis, values: Sequence[float], start: float, end: float) -> None:
        self.axis, self.start, self.end = axis, start, end
        known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
        low = min(known) if axis.low is None else axis.low
        high = max(known) if axis.high is None else axis.high
        if high <= low:
            low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        if axis.log:
            low = max(low, 1e-9)
            self.ticks = [v for v in _decades(low, high) if low * 0.999 <= v <= high * 1.001]
        else:
            self.ticks = ticks(low, high)
            low = self.ticks[0] if axis.low is None else low
            high = self.ticks[-1] if axis.high is None else high
            self.ticks = [v for v in self.ticks if low - 1e-9 <= v <= high + 1e-9]
        self.low, self.high = low, high

    def __call__(self, value: float) -> float:
        if self.axis.log:
            share = math.log(max(value, 1e-9) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most` steps apart: 1, 2 or 5 times a power of 10."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(k * step, 12) for k in range(first, last + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**p for p in powers for m in (1, 2, 5)]


def curve(
    question: str, x: Axis, y: Axis, lines: Sequence[Line], true: tuple[str, float] | None = None, note: str = ""
) -> str:
    """Lines over a number. `true` is the level that true films reach, and what to call it."""
    points = [point for line in lines for point in line.points]
    across = Scale(x, [p[0] for p in points], LEFT, WIDTH - RIGHT)
    up = Scale(y, [p[1] for p in points] + ([true[1]] if true else []), HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up)]
    if true:
        at = up(true[1])
        parts.append(f'<line class="true" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    for number, line in enumerate(lines):
        k = number % MOST
        places = [(across(a), up(b), a, b) for a, b in line.points if math.isfinite(b)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b, _, _ in places)
        parts.append(f'<polyline class="line s{k}" points="{path}"/>')
        parts += [_dot(a, b, k, f"{line.name} {_plain(c)}: {_plain(d)}") for a, b, c, d in places]
    keys = [(f"f{n % MOST}", line.name) for n, line in enumerate(lines) if len(lines) > 1]
    return _figure(question, "".join(parts), HEIGHT, keys, true[0] if true else None, note)


def rows(
    question: str, axis: Axis, found: Sequence[Row], series: Sequence[str], true: str | None = None, note: str = ""
) -> str:
    """Dots in rows, a value of each series; that of the series `true` is a mark of the true films."""
    left = 20 + 7 * max((len(row.name) for row in found), default=0)
    height = TOP + ROW * len(found) + BOTTOM
    spans = [v for row in found for v in row.span or ()]
    across = Scale(axis, [v for row in found for v in row.values if v is not None] + spans, left, WIDTH - RIGHT)
    parts = [_across(across, TOP, height - BOTTOM, height)]
    for number, row in enumerate(found):
        y = TOP + ROW * (number + 0.5)
        parts.append(f'<line class="grid" x1="{left}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="name" x="{left - 10}" y="{y + 4}" text-anchor="end">{escape(row.name)}</text>')
        if row.span:
            a, b = (across(v) for v in row.span)
            parts.append(f'<line class="span s0" x1="{a:.1f}" x2="{b:.1f}" y1="{y}" y2="{y}"/>')
        for k, (name, value) in reversed(list(enumerate(zip(series, row.values)))):
            if value is None or not math.isfinite(value):
                continue
            at, told = across(value), f"{row.name}, {name}: {_plain(value)}"
            if name == true:
                title = f"<title>{escape(told)}</title>"
                parts.append(f'<line class="true" x1="{at:.1f}" x2="{at:.1f}" y1="{y - 9}" y2="{y + 9}">{title}</line>')
            else:
                parts.append(_dot(at, y, k % MOST, told))
    keys = [(f"f{k % MOST}", name) for k, name in enumerate(series) if name != true]
    return _figure(question, "".join(parts), height, keys, true, note)


def scatter(
    question: str,
    x: Axis,
    y: Axis,
    points: Sequence[tuple[float, float, str]],
    true: tuple[str, float, float] | None = None,
    cuts: tuple[float | None, float | None] = (None, None),
    note: str = "",
) -> str:
    """Points (x, y, what they are); the middle of the true films as a cross; and lines that cut off what is suspicious."""
    extra = [(true[1], true[2])] if true else []
    pairs = [(a, b) for a, b, _ in points] + extra
    across = Scale(x, [p[0] for p in pairs] + [c for c in cuts[:1] if c is not None], LEFT, WIDTH - RIGHT)
    up = Scale(y, [p[1] for p in pairs] + [c for c in cuts[1:] if c is not None], HEIGHT - BOTTOM, TOP)
    parts = [_frame(across, up)]
    if cuts[0] is not None:
        at = across(cuts[0])
        parts.append(f'<line class="cut" x1="{at:.1f}" x2="{at:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    if cuts[1] is not None:
        at = up(cuts[1])
        parts.append(f'<line class="cut" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
    parts += [_dot(across(a), up(b), 0, told) for a, b, told in points]
    if true:
        for a, b in ((across(true[1]), None), (None, up(true[2]))):
            ends = (a, a, TOP, HEIGHT - BOTTOM) if a is not None else (LEFT, WIDTH - RIGHT, b, b)
            parts.append('<line class="true" x1="{}" x2="{}" y1="{}" y2="{}"/>'.format(*ends))
    return _figure(question, "".join(parts), HEIGHT, [], true[0] if true else None, note)


def picture(found: Sequence[Sequence[str]]) -> str:
    """Plots that were drawn here, in rows, as one SVG in the colours of a light page, for what shows pictures and no pages."""
    parts, y, width = [], float(GAP), max(map(len, found), default=0) * (WIDTH + GAP) + GAP
    for row in found:
        tall = 0.0
        for column, figure in enumerate(row):
            text, height = _placed(figure, GAP + column * (WIDTH + GAP), y)
            parts.append(text)
            tall = max(tall, height)
        y += tall + GAP
    style = re.sub(r"var\(--([\w-]+)\)", lambda name: LIGHT[name[1]], STYLE)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" width="{width}" height="{y:g}" viewBox="0 0 {width} {y:g}">'
        f"<style>{style}.plot .title{{font-weight:650;font-size:16px;fill:{LIGHT['ink-1']}}}</style>"
        f'<rect width="100%" height="100%" fill="{LIGHT["paper"]}"/>{"".join(parts)}</svg>\n'
    )


def _placed(figure: str, x: float, y: float) -> tuple[str, float]:
    """A figure's title, keys and plot from a corner on, and how high they are. It is the text that `_figure` gave."""
    title, *_ = re.findall(r"<figcaption>(.*?)</figcaption>", figure)
    drawn, height = re.findall(rf'(<svg .*?viewBox="0 0 {WIDTH} ([\d.]+)".*</svg>)', figure)[0]
    parts = [f'<text class="title" x="{x}" y="{y + 16:g}">{title}</text>']
    at, down = x, y + TITLE
    keys = re.findall(r'<i class="(\w+)"></i>(.*?)</span>', figure)
    for kind, name in keys:
        wide = 44 + LETTER * len(name)
        if at > x and at + wide > x + WIDTH:
            at, down = x, down + KEYS
        dash = f'<line class="true" x1="{at + 2}" x2="{at + 20}" y1="{down + 8:g}" y2="{down + 8:g}"/>'
        dot = f'<circle class="{kind}" cx="{at + 11}" cy="{down + 8:g}" r="5"/>'
        parts.append(f'{dash if kind == "dash" else dot}<text x="{at + 24}" y="{down + 12:g}">{name}</text>')
        at += wide
    down += KEYS if keys else 0
    parts.append(drawn.replace("<svg ", f'<svg x="{x}" y="{down:g}" width="{WIDTH}" height="{height}" ', 1))
    return "".join(parts), down + float(height) - y


def _dot(x: float, y: float, colour: int, told: str) -> str:
    return f'<circle class="dot f{colour}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"><title>{escape(told)}</title></circle>'


def _frame(across: Scale, up: Scale) -> str:
    """Grid, numbers and names of both axes."""
    parts = [_across(across, TOP, HEIGHT - BOTTOM, HEIGHT)]
    for value in up.ticks:
        y = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_plain(value)}</text>')
    middle = (TOP + HEIGHT - BOTTOM) / 2
    label = escape(up.axis.label)
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{label}</text>')
    return "".join(parts)


def _across(across: Scale, top: float, bottom: float, height: float) -> str:
    parts = []
    for value in across.ticks:
        x = across(value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{_plain(value)}</text>')
    parts.append(f'<line class="axis" x1="{across.start}" x2="{across.end}" y1="{bottom}" y2="{bottom}"/>')
    middle = (across.start + across.end) / 2
    parts.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{escape(across.axis.label)}</text>')
    return "".join(parts)


def _figure(
    question: str, body: str, height: float, keys: Sequence[tuple[str, str]], true: str | None, note: str
) -> str:
    told = "".join(f'<span class="key"><i class="{kind}"></i>{escape(name)}</span>' for kind, name in keys)
    if true:
        told += f'<span class="key"><i class="dash"></i>{escape(true)}</span>'
    legend = f'<div class="keys">{told}</div>' if told else ""
    small = f'<p class="note">{escape(note)}</p>' if note else ""
    title = escape(question)
    return (
        f'<figure><figcaption>{title}</figcaption>{legend}<svg class="plot" role="img" aria-label="{title}" '
        f'viewBox="0 0 {WIDTH} {height:g}">{body}</svg>{small}</figure>'
    )


def _plain(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
