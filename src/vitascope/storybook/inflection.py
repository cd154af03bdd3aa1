"""Inflection: the forms of English verbs and articles that captions need."""

from __future__ import annotations

import re
from typing import Literal

Form = Literal["third", "plural", "gerund"]
"""walks, walk, walking."""
FORMS: tuple[Form, ...] = ("third", "plural", "gerund")

_DOUBLED = ("run", "spin", "get", "drop", "trot", "jog", "hop", "swim", "stop", "bob", "travel")


def third(verb: str) -> str:
    """The third person singular: goes, dashes, flies, stays."""
    if verb.endswith(("s", "sh", "ch", "x", "o")):
        return verb + "es"
    return verb[:-1] + "ies" if re.search("[^aeiou]y$", verb) else verb + "s"


def gerund(verb: str) -> str:
    """The form in -ing: going, riding, running, flying."""
    if verb in _DOUBLED:
        return verb + verb[-1] + "ing"
    return (verb[:-1] if verb.endswith("e") else verb) + "ing"


def conjugate(phrase: str, form: Form) -> str:
    """A phrase with its verbs in this form: those that have a "+" before them."""
    bend = {"third": third, "plural": str, "gerund": gerund}[form]
    return re.sub(r"\+(\w+)", lambda found: bend(found[1]), phrase)


def article(noun: str) -> str:
    """a or an, by the first letter: no noun, colour or size of ours is spoken otherwise."""
    return "an" if noun[0] in "aeiou" else "a"
