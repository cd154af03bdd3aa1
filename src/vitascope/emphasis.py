"""Weights in a prompt: `(the camera pans right:2)` counts that phrase twice, `(a dog)` a tenth more. Needs no torch.

A weight says how strongly a phrase is heard beside the rest of the prompt. At 1 the prompt is as without the marks, at 0 as
without the phrase, between them between both; above 1 the film goes on in that direction, below 0 away from it
(`physics.guidance.emphasise`). What several phrases add is added up, also where one lies within another; marks around the same
phrase multiply, as usual: `((dog))` is 1.21.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

from vitascope.errors import BadPrompt

USUAL = 1.1
"""What marks without a number weigh."""
LARGEST = 10.0
MOST = 8
"""Phrases that are weighed in a prompt, at most: each is a row more for the network at every step."""

_WEIGHT = re.compile(r"\s*:\s*(?P<weight>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+))\s*$")
_ODD = re.compile(r":[-+.]*[0-9]\S*\s*$")
"""What looks like a weight."""
_COUNTED = re.compile(r"(?<![0-9])([0-9]{1,2}:[0-5][0-9]|16:9|9:16|4:3|3:4|21:9)\s*$")
"""A time of day, or the shape of a picture."""
_NEAR = 60  # characters of a weight with its colon and the spaces around it
_STOPS = ",.;:!?"


class Phrase(NamedTuple):
    """A part of a prompt that counts more or less than the rest."""

    text: str
    weight: float
    without: str
    """The prompt without it, and without any marks."""


class Weighed(NamedTuple):
    """What a prompt says, without marks and without what weighs nothing, and its phrases of another weight than 1."""

    text: str
    phrases: tuple[Phrase, ...] = ()
    against: str | None = None
    """The text without the phrases that the film goes away from, where there are any."""

    @property
    def wanted(self) -> str:
        """What the film is to show."""
        return self.text if self.against is None else self.against


class _Mark(NamedTuple):
    """A pair of parentheses around a phrase: where that begins and ends in what was written, where they close."""

    begin: int
    end: int
    close: int
    weight: float


_Spans = dict[tuple[int, int], float]
"""Where weighed phrases begin and end in a text, and their weights."""


@lru_cache(maxsize=256)
def weighed(prompt: str) -> Weighed:
    """A prompt read with its weights; `\\(` and `\\)` are parentheses as such, and so are those that have no partner.

    Raises BadPrompt for what looks like a weight and is none, for a weight beyond reason, and for more phrases than are weighed.
    """
    marks = list(_marks(prompt))
    signs = {place for mark in marks for place in (mark.begin - 1, *range(mark.end, mark.close + 1))}
    signs |= {place for place in range(len(prompt)) if _escape(prompt, place)}
    text = "".join(sign for place, sign in enumerate(prompt) if place not in signs)
    at = [0, *itertools.accumulate(place not in signs for place in range(len(prompt)))]  # where a place is in the text
    spans: _Spans = {}
    for mark in marks:
        span = _trimmed(text, at[mark.begin], at[mark.end])
        spans[span] = spans.get(span, 1.0) * mark.weight
    spans = _weighty(spans)
    if len(spans) > MOST:
        raise BadPrompt(
            f"{len(spans)} phrases with weights: each costs another look of the network at every step, and {MOST} at most have one; "
            "weigh fewer, or write \\( and \\) for parentheses that mean no weight."
        )
    text, spans = _cut(text, spans, lambda weight: weight == 0)
    spans = _weighty(spans)
    for (begin, end), weight in spans.items():
        if not abs(weight) <= LARGEST:
            raise BadPrompt(
                f"{text[begin:end][:60]!r} with weight {weight:g}: a weight is from -{LARGEST:g} to {LARGEST:g}, and 2 is much; write "
                "\\( and \\) for parentheses that mean no weight."
            )
    phrases = [Phrase(text[slice(*span)], weight, _without(text, *span)) for span, weight in spans.items()]
    away = any(weight < 0 for weight in spans.values())
    return Weighed(text, tuple(phrases), _cut(text, spans, lambda weight: weight < 0)[0] if away else None)


def _weighty(spans: _Spans) -> _Spans:
    """Those that weigh more or less than the rest, in their order."""
    return {span: weight for span, weight in sorted(spans.items()) if weight != 1}


def unmarked(prompt: str) -> str:
    """What a prompt says where no parentheses weigh anything."""
    return prompt.replace("\\(", "(").replace("\\)", ")")


def looks_weighed(text: str) -> bool:
    """Whether a text has marks with a number."""
    return any(_WEIGHT.search(part[-_NEAR:]) for part in text.split(")")[:-1] if "(" in part)


def _marks(prompt: str) -> Iterator[_Mark]:
    """The pairs of parentheses that have something between them, the inner ones first."""
    opened: list[int] = []
    for place, sign in enumerate(prompt):
        if sign not in "()" or (place and _escape(prompt, place - 1)):
            continue
        if sign == "(":
            opened.append(place + 1)
        elif opened:
            begin = opened.pop()
            near = max(begin, place - _NEAR)
            counted = _COUNTED.search(prompt, near, place)
            told = None if counted else _WEIGHT.search(prompt, near, place)
            if not (told or counted) and _ODD.search(prompt, near, place):
                raise BadPrompt(
                    f"{prompt[near - 1 : place + 1]!r}: what stands behind the colon is no weight; write a number, as in (a dog:1.5), or "
                    "\\( and \\) for parentheses that mean no weight."
                )
            end = told.start() if told else place
            if prompt[begin:end].strip():
                yield _Mark(begin, end, place, float(told["weight"]) if told else USUAL)


def _escape(prompt: str, place: int) -> bool:
    """Whether a backslash stands there that makes the next sign a parenthesis as such."""
    return prompt[place] == "\\" and prompt[place + 1 : place + 2] in ("(", ")")


def _trimmed(text: str, begin: int, end: int) -> tuple[int, int]:
    """A part of a text without the spaces at its ends."""
    part = text[begin:end]
    return end - len(part.lstrip()), begin + len(part.rstrip())


def _cut(text: str, spans: _Spans, gone: Callable[[float], bool]) -> tuple[str, _Spans]:
    """A text without the phrases of some weights and what was in them, and where the others are in it."""
    while True:
        span = next((span for span, weight in spans.items() if gone(weight)), None)
        if span is None:
            return text, spans
        begin, end = _gap(text, *span)
        text = text[:begin] + text[end:]
        left: _Spans = {}
        for (first, last), weight in spans.items():
            part = [place if place <= begin else max(begin, place - (end - begin)) for place in (first, last)]
            if (first, last) != span and text[slice(*part)].strip():
                moved = _trimmed(text, *part)
                left[moved] = left.get(moved, 1.0) * weight
        spans = left


def _without(text: str, begin: int, end: int) -> str:
    first, last = _gap(text, begin, end)
    return text[:first] + text[last:]


def _gap(text: str, begin: int, end: int) -> tuple[int, int]:
    """What goes with a phrase that is taken out: a comma before or behind it, and one of the spaces on its sides."""
    before, behind = len(text[:begin].rstrip()), len(text) - len(text[end:].lstrip())
    if before == 0:
        return 0, len(text) - len(text[end:].lstrip(" \t\r\n,;."))
    if behind == len(text):
        return len(text[:before].rstrip(" \t\r\n,;")), len(text)
    if text[behind] in _STOPS:
        return (before - 1 if text[before - 1] in ",;" else before), end
    return begin, (behind if before < begin else end)
