"""What a prompt asks for: captions, read backwards.

A prompt is cut into phrases that mean something (`meanings`), and who does what is found by their order. People write other
sentences than captions, so what is not understood is left out and nothing is guessed: not who a girl is that holds a balloon, nor
what is said not to be, nor what two phrases claim differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vitascope.storybook.lexicon import things
from vitascope.storybook.meanings import ARTICLES, PERSON, Facts, Meaning, Part, cut
from vitascope.storybook.worlds import HEADED, KINDS, PEOPLE, WATER, WORLDS

_ONE = ("a", things.ELIDED, "one")
_NOT = (
    "no",
    "not",
    "without",
    "never",
    "nobody",
    "nothing",
    "neither",
    "nor",
    "cannot",
    "avoid",
    "before",
    "after",
    "until",
)
_STOPS = (".", ",", ";", "but")
_BOUND = ("and", "or", "of", "in", "on", "at", "with", "under", "over", "by", "near", "behind", "to", "from", "for", "past",
          "like", "as", "into", "onto", "between", "around", "through", "his", "her", "its", "their", "my", "your", "our")  # fmt: skip
"""Words that tie what follows to something else, so that it is neither a quality of a thing nor its verb."""
_SHOWN = ("see", "watch", "is", "are", "show", "shows", "showing", "me", "then", "while", "where")
"""Words after which somebody new may come."""
_WHO_ACTS = ("is", "are", "that", "who", "which", "it", "she", "he", "they", "then", "and")
"""Words between a subject and what it does."""
_PICTURES = ("video", "clip", "shot", "film", "movie", "scene", "footage", "picture", "image", "view", "close-up", "closeup",
             "animation", "photo", "group", "couple")  # fmt: skip
_LENS = ("camera", "lens", "pan", "panning", "zoom", "looking")
"""What goes to a side without being the subject."""
_BESIDE = ("of", "up", "past", "through", "into", "across", "over", "behind", "hand", "side")
"""Words behind "left" or "right" with which these tell no way to go."""
_WEARING = ("dressed", "in", "wearing", "with", *_ONE, things.DEFINITE, "long", "short", "warm", "thick")
_GARMENTS = ("coat", "coats", "scarf", "scarves", "jacket", "jackets", "cloak", "raincoat", "parka")
_ELSEWHERE = {"stone": WATER}
"""Where a subject is only for one of its actions (`World.places`)."""


def asked(prompt: str, world: str = "whole") -> Facts:
    """The attributes of a world that a prompt names, with the values that it asks for.

    Raises ValueError for an unknown world.
    """
    if world not in WORLDS:
        raise ValueError(f"world is one of {', '.join(WORLDS)}, got {world!r}")
    laws, found = WORLDS[world], _understood(_affirmed(cut(prompt)))
    kind = None if laws.free else KINDS.get(found.get("subject", ""))
    if kind:  # what this subject cannot have in its world is not asked of it
        places = (*kind.places, *_ELSEWHERE.get(found["subject"], ()))
        has = {"colour": kind.colours, "action": kind.actions, "place": places}
        found = {name: value for name, value in found.items() if value in has.get(name, (value,))}
        if "action" not in found:
            found.pop("heading", None)
    return {name: found[name] for name in laws.values if found.get(name) in laws.values[name]}


def _affirmed(said: Iterable[Part]) -> list[Part]:
    """What is said to be: from a "no" to the next stop or "but" nothing is."""
    found: list[Part] = []
    denied = False
    for one in said:
        if isinstance(one, str):
            denied = one not in _STOPS and (denied or one in _NOT or one.endswith("n't"))
        if not denied:
            found.append(one)
    return found


def _understood(said: Sequence[Part]) -> Facts:
    """What phrases and the words between them ask for together."""
    facts: dict[str, set[str]] = {}
    who = _subject(said)
    for each in (*(one.facts for one in said if isinstance(one, Meaning)), {} if who is None else _told(said, who)):
        for name, value in each.items():
            facts.setdefault(name, set()).add(value)
    return {name: values.pop() for name, values in facts.items() if len(values) == 1}


def _told(said: Sequence[Part], who: int) -> Facts:
    """What is said of the subject that is named at `who`."""
    named = said[who]
    assert isinstance(named, Meaning)
    subject = named.noun or ""
    pursuing: Facts = {}
    for place, one in enumerate(said):
        if isinstance(one, Meaning) and one.relation and (one.passive or _whose(said, place) == subject):
            pursuing |= one.relation
    return (
        ({"subject": subject} if subject in KINDS else {})
        | _described(said, who)
        | _done(said, who, pursuing.get("action", ""))
        | pursuing
    )


def _subject(said: Sequence[Part]) -> int | None:
    """Where the subject is named; None where that is not sure."""
    begin = next((i for i, one in enumerate(said) if isinstance(one, Meaning) and one.passive), 0)
    for place, one in enumerate(said):
        if place < begin or not isinstance(one, Meaning) or not one.noun:
            continue
        after = said[place + 1] if place + 1 < len(said) else ""
        if isinstance(after, Meaning) and after.noun:
            continue  # a stone house is a house
        first = _beginning(said, place)
        if first is not None and _may_begin(said, first):
            return place
    return None


def _beginning(said: Sequence[Part], place: int) -> int | None:
    """Where what is said of the noun at a place begins, its article or first quality; None where it is tied to something else."""
    strange = 0
    for at in range(place - 1, -1, -1):
        one = said[at]
        if isinstance(one, Meaning):
            if not one.quality:
                return at + 1
        elif one in ARTICLES:
            return at
        elif at and one in ("and", "or", ",") and _quality(said[at - 1]) and _quality(said[at + 1]):
            continue  # red and blue; small, red
        elif one in _BOUND or one in _SHOWN or not one[0].isalpha():
            return at + 1
        elif strange == 2 or "'" in one or (one.endswith(("s", "ing")) and not (at and said[at - 1] in ARTICLES)):
            return None  # a girl holding; but a smiling woman, a sports car
        else:
            strange += 1
    return 0


def _may_begin(said: Sequence[Part], first: int) -> bool:
    """Whether somebody new may come at a place: at the beginning, after a stop, a setting, "there is", "a video of"."""
    if first == 0:
        return True
    before = said[first - 1]
    if isinstance(before, Meaning):
        walking = before.verb and (first == 1 or said[first - 2] in ARTICLES)  # a walking woman
        return before.passive or walking or not (before.noun or before.verb or before.relation or before.side)
    if before in ("of", "on"):
        pictured = said[first - 2] if first > 1 else ""
        return "camera" in pictured.facts if isinstance(pictured, Meaning) else before == "of" and pictured in _PICTURES
    return before in _SHOWN or not before[0].isalpha()


def _described(said: Sequence[Part], who: int) -> Facts:
    """The colour, size and number of the subject that is named at `who`."""
    named = said[who]
    assert isinstance(named, Meaning)
    found, close = Facts(), True  # close: nothing unknown stands between, which a quality may belong to
    if named.number == "one":
        found["count"] = "one"
    for one in reversed(said[_beginning(said, who) or 0 : who]):
        if isinstance(one, Meaning):
            for name, value in one.quality.items() if close or "count" in one.quality else ():
                found[name] = value if found.get(name, value) == value else ""  # red blue
        elif one in _ONE and close and not named.number:  # a fish
            found["count"] = "one"
        elif one != ",":
            close = False
            if one in ("and", "or"):  # red and blue
                found.pop("colour", None)
    if named.noun in (*PEOPLE, PERSON) and "colour" not in found:
        found |= _dressed(said[who + 1 :])
    again = [i for i, one in enumerate(said) if i > who and isinstance(one, Meaning) and one.noun == named.noun]
    if any(said[_beginning(said, i) or 0] != things.DEFINITE for i in again):  # a red ball and a blue ball
        return {}
    return {name: value for name, value in found.items() if value}


def _dressed(after: Sequence[Part]) -> Facts:
    """The colour of a person's coat or scarf, from what follows the noun: "in a long red coat", "dressed in red"."""
    place = next((i for i, one in enumerate(after) if one not in _WEARING), len(after))
    colour = after[place] if place < len(after) else ""
    if place == 0 or not isinstance(colour, Meaning) or "colour" not in colour.quality:
        return {}
    worn, next_ = (*after[place + 1 : place + 3], ".", ".")[:2]
    alone = after[place - 1] == "in" and not _names(worn) and not (worn == "and" and _quality(next_))
    alone = alone and (isinstance(worn, Meaning) or worn in (*_BOUND, *_SHOWN, *_STOPS, "that", "who"))
    return {"colour": colour.quality["colour"]} if worn in _GARMENTS or alone else {}


def _names(one: Part) -> bool:
    return isinstance(one, Meaning) and one.noun is not None


def _quality(one: Part) -> bool:
    return isinstance(one, Meaning) and bool(one.quality)


def _whose(said: Sequence[Part], place: int) -> str:
    """Who is named last before a place: a subject, or the camera; "" where nobody is."""
    for one in reversed(said[:place]):
        if isinstance(one, Meaning) and one.noun:
            return one.noun
        if isinstance(one, str) and one in _LENS:
            return one
    return ""


def _acts(said: Sequence[Part], place: int, subject: str) -> bool:
    """Whether the verb at a place is what the subject does, and no noun ("on a swing"), quality ("green leaves") or deed of
    something unknown ("with snow falling")."""
    before = said[place - 1]
    if isinstance(before, Meaning):
        fits = not before.quality or (place > 1 and said[place - 2] == "in")  # a man in red walks
    else:
        fits = before in (*_WHO_ACTS, *_GARMENTS, *_STOPS) or before.endswith("ly")
    return fits and _whose_sentence(said, place) in (subject, "")


def _whose_sentence(said: Sequence[Part], place: int) -> str:
    """Who is named last before a place in its sentence; nobody where it begins with "it"."""
    begin = max((i for i, one in enumerate(said[:place]) if one == "."), default=-1)
    return _whose(said[begin + 1 :], place - begin - 1)


def _done(said: Sequence[Part], who: int, pursuing: str) -> Facts:
    """What the subject does, to which side, and what changes half-way in it; `pursuing`: what it does to catch the other."""
    named = said[who]
    assert isinstance(named, Meaning)
    subject = named.noun or ""
    action, change = _verbs(said, who, subject)
    action, side = pursuing or action, _side(said)
    if pursuing and change == "waits":
        change = ""
    if action == "moves":
        action = f"moves {side}" if side else ""
    heading = side if action in HEADED or action.startswith("moves ") else ""
    found = {"action": action, "heading": heading, "change": change, "place": "sea" if action == "splashes" else ""}
    return {name: value for name, value in found.items() if value}


def _verbs(said: Sequence[Part], who: int, subject: str) -> tuple[str, str]:
    """What the subject does, by the first of its verbs or after a wait, and what the second one changes; "" where not said."""
    verbs = [(i, one) for i, one in enumerate(said) if i > who and isinstance(one, Meaning) and one.verb]
    at, verb = next(((i, one) for i, one in verbs if _acts(said, i, subject)), (who, Meaning()))
    later = next((one for i, one in verbs if i > at and _follows(said, i)), Meaning())
    action, then = _deed(verb, subject), _deed(later, subject)
    if subject == "glass" and "shatters" in (action, then):  # it falls and shatters
        return "shatters", ""
    if verb.waits and then:
        return then, "waits"
    return action, later.second or ""


def _follows(said: Sequence[Part], place: int) -> bool:
    """Whether the verb at a place is the second of two: "then stops", "and then it stops"."""
    before = place - 2 if said[place - 1] in ("it", "he", "she", "they") else place - 1
    return said[before] in ("then", "and")


def _side(said: Sequence[Part]) -> str:
    """The side to which somebody goes: "to the left" in a clause that speaks of no camera, "left" alone right after a verb."""
    sides: set[str] = set()
    for place, one in enumerate(said):
        if not isinstance(one, Meaning) or not one.side:
            continue
        before, after = said[place - 1] if place else "", said[place + 1] if place + 1 < len(said) else ""
        # To the left of the road, right behind a man.
        bound = after in _BESIDE or (isinstance(after, Meaning) and after.relation)
        goes = not one.bare or (isinstance(before, Meaning) and before.verb)
        if goes and not bound and not any(lens in said[_clause(said, place) : place] for lens in _LENS):
            sides.add(one.side)
    return sides.pop() if len(sides) == 1 else ""


def _clause(said: Sequence[Part], place: int) -> int:
    """Where the clause of a place begins, behind the stop before it."""
    return max((i + 1 for i, one in enumerate(said[:place]) if one in _STOPS), default=0)


def _deed(verb: Meaning, subject: str) -> str:
    """What a subject does by a verb; nothing where that is not known."""
    own = verb.deed.get(subject) or verb.deed.get("")
    if own or subject in KINDS:
        return own or ""
    each = set(verb.deed.values())  # of whoever it may be
    return each.pop() if len(each) == 1 else ""
