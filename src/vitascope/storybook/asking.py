"""What a prompt asks for: captions, read backwards.

The tables of `lexicon`, from which captions are built, say what each phrase means. A prompt is cut into the longest of those
phrases; who does what is found by their order. What is not understood is left out, and nothing is guessed: an attribute that
two phrases claim differently is not asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from vitascope.storybook import words
from vitascope.storybook.inflection import FORMS, conjugate
from vitascope.storybook.lexicon import deeds, settings, telling, things
from vitascope.storybook.worlds import HEADED, KINDS, PEOPLE, TURNS, WORLDS

Facts = dict[str, str]
"""Values of attributes."""

_LEADING = re.compile(r"^(?:in|on|at|across|through|along|during|by|an?|the) (?:an? |the )?")
"""What stands before the words that tell a place or a time: these may stand behind other words too, as in "in a green meadow"."""
_NEAR = 4
"""Words between a person and the colour of the coat, at most."""


@dataclass
class Meaning:
    """What a phrase can mean, where it stands: one of these."""

    facts: Facts = field(default_factory=dict)
    """What it says by itself; nothing for a phrase that speaks of no attribute, such as lit street lamps."""
    noun: str | None = None
    """The subject that it names; "person" for one of those."""
    number: str = ""
    """one or several, where the noun's form tells."""
    adjective: Facts = field(default_factory=dict)
    """The colour, size or number of what it stands before."""
    deed: dict[str, str] = field(default_factory=dict)
    """What each subject does by this verb; "" for whoever is not named here."""
    second: str | None = None
    """The change that it is, as the second verb of two."""
    waits: bool = False
    """Whether a verb after it is what happens, after a wait."""
    side: str | None = None
    passive: bool = False
    """Whether the subject comes after it: "followed by"."""


def asked(prompt: str, world: str = "whole") -> Facts:
    """The attributes of a world that a prompt names, with the values that it asks for.

    Raises ValueError for an unknown world.
    """
    if world not in WORLDS:
        raise ValueError(f"world is one of {', '.join(WORLDS)}, got {world!r}")
    values, found = WORLDS[world].values, _understood(list(_cut(prompt)))
    return {name: found[name] for name in values if found.get(name) in values[name]}


def _understood(said: Sequence[Meaning | str]) -> Facts:
    """What phrases and the words between them ask for together."""
    facts: dict[str, set[str]] = {}

    def tell(more: Mapping[str, str]) -> None:
        for name, value in more.items():
            facts.setdefault(name, set()).add(value)

    for one in said:
        if isinstance(one, Meaning):
            tell(one.facts)
    by = next((place for place, one in enumerate(said) if isinstance(one, Meaning) and one.passive), 0)
    place = next((i for i, one in enumerate(said) if i >= by and isinstance(one, Meaning) and one.noun), None)
    subject = ""
    if place is not None:
        named = said[place]
        assert isinstance(named, Meaning)
        subject = named.noun or ""
        tell(_described(said, place))
        if subject in KINDS:
            tell({"subject": subject})
    tell(_done(said, subject, next(iter(facts.get("action", ())), "")))
    return {name: values.pop() for name, values in facts.items() if len(values) == 1}


def _described(said: Sequence[Meaning | str], place: int) -> Facts:
    """The colour, size and number of the subject that is named at a place."""
    named, found = said[place], Facts()
    assert isinstance(named, Meaning)
    if named.number == "one":
        found["count"] = "one"
    close = True  # whether all words so far are known ones: "a fish" is one, and "a video of fish" may be several
    for one in reversed(said[max(0, place - _NEAR) : place]):
        if isinstance(one, Meaning):
            if not one.adjective:
                break
            for name, value in one.adjective.items():
                found[name] = value if found.get(name, value) == value else ""  # red and blue
            continue
        if one in ("a", "an", "one") and close and not named.number:
            found.setdefault("count", "one")
        if one in _ARTICLES or not one.isalpha():
            break
        close = False
    if named.noun in (*PEOPLE, _PERSON) and "colour" not in found:
        for one in said[place + 1 : place + 1 + _NEAR]:
            if isinstance(one, Meaning) and "colour" in one.adjective:
                found["colour"] = one.adjective["colour"]
                break
            if not isinstance(one, str) or one not in _WEARING:
                break
    return {name: value for name, value in found.items() if value}


def _done(said: Sequence[Meaning | str], subject: str, pursuing: str) -> Facts:
    """What the subject does, to which side, and what changes half-way in it; `pursuing`: what it does to catch the other."""
    verbs = [
        (i, one) for i, one in enumerate(said) if isinstance(one, Meaning) and (one.deed or one.second or one.waits)
    ]
    sides = {one.side for one in said if isinstance(one, Meaning) and one.side}
    side = sides.pop() if len(sides) == 1 else ""
    if pursuing:
        action, change = pursuing, next((one.second for _, one in verbs if one.second), None)
    else:
        action, change = _beats(said, verbs, subject)
    found = Facts() if change is None else {"change": change}
    if action == "moves":
        action = f"moves {side}" if side else ""
    if side and (action in HEADED or action.startswith("moves ")):
        found["heading"] = side
    if action:
        found["action"] = action
    if action == "splashes":
        found["place"] = "sea"
    return found


def _beats(said: Sequence[Meaning | str], verbs: Sequence[tuple[int, Meaning]], subject: str) -> tuple[str, str | None]:
    """What the subject does, by the first of its verbs or after a wait, and what the second one changes."""
    if not verbs:
        return "", None
    first, verb = verbs[0]
    if len(verbs) == 1:
        return _deed(verb, subject), None
    second, other = verbs[1]
    later = _deed(other, subject)
    if verb.waits and later and "then" in said[first:second]:
        return later, "waits"
    return _deed(verb, subject), other.second


def _deed(verb: Meaning, subject: str) -> str:
    """What a subject does by a verb; nothing where that is not known."""
    own = verb.deed.get(subject) or verb.deed.get("")
    if own or subject in KINDS:
        return own or ""
    each = set(verb.deed.values())  # of whoever it may be
    return each.pop() if len(each) == 1 else ""


_PERSON = things.PERSON[0]
_ARTICLES = ("a", "an", "one", "the")
_WEARING = ("in", "a", "an", "the", "with", "wearing", "dressed")
_WORD = re.compile(r"[a-z]+|[.,;]")


def _cut(prompt: str) -> Iterator[Meaning | str]:
    """The longest phrases of which something is known, and the words and stops between them."""
    text = " ".join(_WORD.findall(prompt.lower()))
    pattern, meanings = _phrases()
    at = 0
    while at < len(text):
        found = pattern.match(text, at)
        if found:
            key = found.lastgroup or found[0]
            yield meanings[key]
            at = found.end() + 1
        else:
            end = text.find(" ", at)
            end = len(text) if end < 0 else end
            yield text[at:end]
            at = end + 1


@lru_cache(maxsize=1)
def _phrases() -> tuple[re.Pattern[str], dict[str, Meaning]]:
    """All phrases as one pattern, the longest first, and what each means."""
    meanings: dict[str, Meaning] = {}
    for phrase, meaning in (*_alone(), *_who(), *_deeds()):
        key = " ".join(_WORD.findall(phrase.lower()))
        before = meanings.setdefault(key, meaning)
        if before is not meaning:
            meanings[key] = _either(before, meaning)
    for phrase, meaning in _shortened(meanings):
        meanings.setdefault(phrase, meaning)
    closed = sorted(meanings, key=len, reverse=True)
    open_ = []
    for index, (phrase, relation) in enumerate(
        (phrase, relation) for relation, (_, there) in telling.RELATIONS.items() for phrase in there
    ):
        open_.append(f"(?P<beside_{index}>{phrase.format(other=_other())})")
        meanings[f"beside_{index}"] = Meaning({"relation": relation})
    return re.compile("|".join(rf"{one}(?![a-z])" for one in (*open_, *closed))), meanings


def _other() -> str:
    """A pattern for a second subject: "a blue box", "a man with a red scarf"."""
    noun = "|".join(name for nouns in things.NOUNS.values() for name, _ in nouns)
    colour = "|".join({name for names in things.COLOURS.values() for name in names} | {*things.GINGER})
    return rf"(?:an? |the )?(?:(?:{colour}) )?(?:{noun})(?: in (?:{colour})| with an? (?:{colour}) scarf)?"


def _either(a: Meaning, b: Meaning) -> Meaning:
    """What a phrase means that two tables have: what they say alike, and what only one of them says."""
    facts = {k: v for k, v in (a.facts | b.facts).items() if a.facts.get(k, v) == b.facts.get(k, v)}
    return Meaning(
        facts,
        a.noun or b.noun,
        a.number or b.number,
        a.adjective | b.adjective,
        b.deed | a.deed,
        a.second or b.second,
        a.waits or b.waits,
        a.side or b.side,
        a.passive or b.passive,
    )


def _alone() -> Iterator[tuple[str, Meaning]]:
    """Phrases that say the same wherever they stand."""

    def all_of(phrases: Iterable[str], **facts: str) -> Iterator[tuple[str, Meaning]]:
        for phrase in phrases:
            yield phrase, Meaning(dict(facts))

    for name, place in settings.PLACES.items():
        yield from all_of((*place.at, *place.across, *place.above, *place.name), place=name)
    for name in settings.LIGHTS:
        yield from all_of((*settings.LIGHTS[name], *settings.LIGHT_SENTENCES[name]), light=name)
    yield from all_of(settings.SUNNY, weather="clear", light="day")
    for name in settings.WEATHERS:
        yield from all_of((*settings.WEATHERS[name], *settings.WEATHER_SENTENCES[name]), weather=name)
        for kind in settings.WEATHER_KINDS[name]:
            yield from all_of((kind,), weather=name)
            for light, nouns in settings.LIGHT_NOUNS.items():
                yield from all_of((f"{kind} {noun}" for noun in nouns), weather=name, light=light)
    for name, (brief, full) in settings.TURNS.items():
        changed, before, _ = TURNS[name]
        yield from all_of(brief, change=name)
        yield from all_of(full, change=name, **{changed: before})
    for name, kinds in settings.MOODS.items():
        yield from all_of((phrase for kind in kinds for phrase in kind), mood=name)
    nouns = [noun for pair in (*(n for each in things.NOUNS.values() for n in each), things.PERSON) for noun in pair]
    its = [f"{things.DEFINITE} {noun}" for noun in nouns] + ["it", "them", "him", "her"]
    for name, kinds in telling.CAMERAS.items():
        for phrase in (phrase for kind in kinds for phrase in kind):
            yield from all_of({phrase.format(it=it) for it in its}, camera=name)
    for name, (here, _) in telling.RELATIONS.items():
        yield from all_of((phrase.removesuffix(" {other}") for phrase in here), relation=name)
    for name, table in (("weather", words.WEATHER_SENTENCES), ("camera", words.CAMERA_SENTENCES)):  # of the first world
        for value, phrases in table.items():
            yield from all_of(phrases, **{name: value})
    yield from all_of((*settings.LAMPS, *settings.TREES, *settings.LAMPS_AND_TREES, *settings.RINGS))
    for phrases in settings.TRACES.values():
        yield from all_of(phrases)
        yield from all_of(f"{phrase} {into}" for phrase in phrases for into in set(settings.INTO_SOFT.values()))


def _shortened(meanings: Mapping[str, Meaning]) -> Iterator[tuple[str, Meaning]]:
    """Places and lights without the words before them, where what is left means one thing alone."""
    found: dict[str, Facts | None] = {}
    for phrase, meaning in meanings.items():
        short = _LEADING.sub("", phrase)
        if short != phrase and meaning.facts and set(meaning.facts) <= {"place", "light"}:
            found[short] = meaning.facts if found.get(short, meaning.facts) == meaning.facts else None
    for short, facts in found.items():
        if facts is not None:
            yield short, Meaning(dict(facts))
            yield f"{things.DEFINITE} {short}", Meaning(dict(facts))


def _who() -> Iterator[tuple[str, Meaning]]:
    """Nouns, and what stands before them."""
    for subject, nouns in (*things.NOUNS.items(), (_PERSON, (things.PERSON,))):
        for one, several in nouns:
            yield one, Meaning(noun=subject, number="" if one == several else "one")
            yield several, Meaning(noun=subject, number="" if one == several else "several")
    for name, table in (
        ("colour", things.COLOURS | {"orange": things.GINGER}),
        ("size", things.SIZES),
        ("count", things.COUNTS),
    ):
        for value, phrases in table.items():
            for phrase in phrases:
                yield phrase, Meaning(adjective={name: value})
    for side, phrases in telling.SIDES.items():
        for phrase in phrases:
            yield phrase, Meaning(side=side)
    for relation, phrases in telling.PURSUED.items():
        for phrase in phrases:
            yield phrase, Meaning({"relation": relation, **_PURSUING[relation]}, passive=True)


_PURSUING = {"follows": {"action": "walks"}, "chases": {"action": "runs"}}
"""Who follows walks, and who chases runs."""


def _deeds() -> Iterator[tuple[str, Meaning]]:
    """Verbs in every form."""

    def forms(phrase: str) -> Iterator[str]:
        for form in FORMS:
            yield conjugate("+" + phrase.removeprefix("+"), form)

    def verbs(table: deeds.Deeds, who: str) -> Iterator[tuple[str, Meaning]]:
        for action, phrases in table.items():
            for phrase in phrases:
                for text in forms(phrase):
                    yield text, Meaning(deed={who: action})

    for subject, table in deeds.OWN.items():
        yield from verbs(table, subject)
    yield from verbs(deeds.ALOFT, "rocket")
    yield from verbs(deeds.GENERAL, "")
    for change, phrases in deeds.BEATS.items():
        for phrase in phrases:
            head, tail = phrase.split(" / ")
            if change == "waits":
                for text in forms(head):
                    yield text, Meaning(waits=True)
            else:
                for text in forms(tail[tail.index("+") :]):
                    yield text, Meaning(second=change)
    for relation, phrases in deeds.PURSUITS.items():
        for phrase in phrases:
            for text in forms(phrase.removesuffix(" {other}")):
                yield text, Meaning({"relation": relation, **_PURSUING[relation]})
