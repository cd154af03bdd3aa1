"""Weights in a prompt: `(the camera pans right:2)` counts that phrase twice, `(a dog)` a tenth more. Needs no torch.

A weight says how strongly a phrase is heard beside the rest of the prompt. At 1 the prompt is as without the marks, at 0 as
without the phrase, between them between both; above 1 the film goes on in that direction, below 0 away from it
(`physics.guidance.emphasise`). Weights multiply where marks stand around marks, as usual: `((dog))` is 1.21.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from vitascope.errors import BadPrompt

USUAL = 1.1
"""What marks without a number weigh."""
LARGEST = 10.0
MOST = 8
"""Phrases that are weighed in a prompt, at most: each is a row more for the network at every step."""

_WEIGHT = re.compile(r"(?<=\S)\s*:\s*(?P<weight>[-+]?(?:\d+(?:\.\d*)?|\.\d+))\s*$", re.ASCII)
_COUNTED = re.compile(r"\d:\d+\s*$", re.ASCII)
"""A time of day or a ratio, as 5:30 and 16:9, and no weight."""
_LONGEST = 60  # characters of a weight with its colon and the spaces around it
_SEAM = (
    (re.compile(r"\s+([,.;:!?])"), r"\1"),
    (re.compile(r"[,;:](?=\s*[,.;:!?])"), ""),
    (re.compile(r"\s{2,}"), " "),
    (re.compile(r"^[\s,.;:!?]+"), ""),
)
"""What is mended where a phrase was taken out."""


class Phrase(NamedTuple):
    """A part of a prompt that counts more or less than the rest."""

    text: str
    weight: float
    without: str
    """The prompt without it, and without any marks."""


class Weighed(NamedTuple):
    """What a prompt says, without marks, and its phrases of another weight than 1."""

    text: str
    phrases: tuple[Phrase, ...] = ()


@dataclass(frozen=True)
class _Mark:
    """A pair of parentheses that weighs something: where it opens, and where it closes behind its weight, in what was written;
    where its phrase begins and ends."""

    begin: int
    end: int
    close: int
    weight: float


@lru_cache(maxsize=256)
def weighed(prompt: str) -> Weighed:
    """A prompt read with its weights; `\\(` and `\\)` are parentheses as such, and so are those that have no partner.

    Raises BadPrompt for a weight beyond reason and for more phrases than are weighed.
    """
    marks = list(_marks(prompt))
    signs = {place for mark in marks for place in (mark.begin - 1, *range(mark.end, mark.close + 1))}
    signs |= {place for place in range(len(prompt)) if _escape(prompt, place)}
    text = "".join(sign for place, sign in enumerate(prompt) if place not in signs)
    if not text.strip():  # "()": marks around nothing are what was said
        return Weighed(prompt)
    at = [0, *itertools.accumulate(place not in signs for place in range(len(prompt)))]  # where a place is in the text
    spans: dict[tuple[int, int], float] = {}
    for mark in marks:
        begin, end = at[mark.begin], at[mark.end]
        phrase = text[begin:end]
        if phrase.strip():
            span = end - len(phrase.lstrip()), begin + len(phrase.rstrip())
            spans[span] = spans.get(span, 1.0) * mark.weight
    found = [(span, weight) for span, weight in sorted(spans.items()) if weight != 1]
    for (begin, end), weight in found:
        if not abs(weight) <= LARGEST:
            raise BadPrompt(
                f"{text[begin:end][:60]!r} with weight {weight:g}: a weight is from -{LARGEST:g} to {LARGEST:g}, and 2 is much; write "
                "\\( and \\) for parentheses that mean no weight."
            )
    if len(found) > MOST:
        raise BadPrompt(
            f"{len(found)} phrases with weights: each costs another look of the network at every step, and {MOST} at most have one; "
            "weigh fewer, or write \\( and \\) for parentheses that mean no weight."
        )
    return Weighed(
        text,
        tuple(Phrase(text[begin:end], weight, _without(text, begin, end)) for (begin, end), weight in found),
    )


def _marks(prompt: str) -> Iterator[_Mark]:
    """The pairs of parentheses, the inner ones first."""
    opened: list[int] = []
    for place, sign in enumerate(prompt):
        if sign not in "()" or (place and _escape(prompt, place - 1)):
            continue
        if sign == "(":
            opened.append(place + 1)
        elif opened:
            begin = opened.pop()
            near = max(begin, place - _LONGEST)
            told = None if _COUNTED.search(prompt, near, place) else _WEIGHT.search(prompt, near, place)
            yield _Mark(begin, told.start() if told else place, place, float(told["weight"]) if told else USUAL)


def _escape(prompt: str, place: int) -> bool:
    """Whether a backslash stands there that makes the next sign a parenthesis as such."""
    return prompt[place] == "\\" and prompt[place + 1 : place + 2] in ("(", ")")


def _without(text: str, begin: int, end: int) -> str:
    """A text with a part taken out, and no stray stops or spaces where it was."""
    left = f"{text[:begin]} {text[end:]}"
    for pattern, instead in _SEAM:
        left = pattern.sub(instead, left)
    return left.rstrip(" ,;:\t\n")
