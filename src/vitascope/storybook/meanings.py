"""What phrases mean: the tables of `lexicon`, from which captions are built, turned round; and a text cut into such phrases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from vitascope.storybook import words
from vitascope.storybook.inflection import FORMS, conjugate
from vitascope.storybook.lexicon import deeds, settings, telling, things
from vitascope.storybook.worlds import TURNS, WALKERS

Facts = dict[str, str]
"""Values of attributes."""


@dataclass(frozen=True)
class Meaning:
    """What a phrase can mean; where it stands decides which of these it does."""

    facts: Facts = field(default_factory=dict)
    """What it says by itself; nothing for a phrase that speaks of no attribute, such as lit street lamps."""
    noun: str | None = None
    """The subject that it names; "person" for one of those."""
    number: str = ""
    """one or several, where the noun's form tells."""
    quality: Facts = field(default_factory=dict)
    """The colour, size or number of what it stands before."""
    deed: dict[str, str] = field(default_factory=dict)
    """What each subject does by this verb; "" for whoever is not named here."""
    second: str | None = None
    """The change that it is, as the second verb of two."""
    waits: bool = False
    """Whether the verb after it is what happens, after a wait."""
    side: str | None = None
    bare: bool = False
    """Whether a side is said by its one word, which says other things too: a right hand."""
    relation: Facts = field(default_factory=dict)
    """What the subject is to another one, and what it does for that."""
    passive: bool = False
    """Whether the subject comes after it: "followed by"."""

    @property
    def verb(self) -> bool:
        """Whether it can be what somebody does."""
        return bool(self.deed or self.second or self.waits)


Part = Meaning | str
"""A phrase, or a word or stop of which nothing is known."""

PERSON = things.PERSON[0]
ARTICLES = (*things.ARTICLES, things.ELIDED)
_OTHERWISE = (
    "dark",
    "water",
    "moon",
    "space",
    "snow",
    "midnight",
    "evening",
    "day",
    "clear",
    "snowy",
    "waves",
    "shore",
)
"""Words that say a place, a light or a weather within their phrases, and other things elsewhere: a dark blue ball."""
_PLAINER = (
    (re.compile(r"\b(it|there|he|she|that)'s\b"), r"\1 is"),
    (re.compile(r"\bcamera (?:is )?(?:slowly |gently |smoothly |quickly )?(?=\w+(?:s|ing)\b)(?!is\b)"), "camera "),
    (re.compile(r"\b2\b"), "two"),
    (re.compile(r"\b3\b"), "three"),
)
"""What is said in other words: contractions, adverbs of the camera, digits."""
_ALSO: dict[str, dict[str, tuple[str, ...]]] = {
    "camera": {
        "zooms in": ("zoom in", "camera zoom in"),
        "zooms out": ("zoom out", "camera zoom out"),
        "pans left": ("the camera moves left", "camera moving to the left", "camera moving left"),
        "pans right": ("the camera moves right", "camera moving to the right", "camera moving right"),
    },
    "weather": {"clear": ("sunny day", "clear blue sky")},
}
"""What people say as well, beside what captions do."""
_WATERS = ("water", "sea", "ocean")
_LEADING = re.compile(r"^(?:in|on|at|across|through|along|during|by|an?|the) (?:an? |the )?")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*|[.,;]")


def cut(prompt: str) -> Iterator[Part]:
    """The longest phrases of which something is known, and the words and stops between them."""
    text = prompt.lower().replace("\u2019", "'")
    for pattern_, plain in _PLAINER:
        text = pattern_.sub(plain, text)
    text = " ".join(_WORD.findall(text))
    pattern, meanings = _phrases()
    at = 0
    while at < len(text):
        found = pattern.match(text, at)
        if found:
            yield meanings[found.lastgroup or found[0]]
            at = found.end() + 1
        else:
            end = text.find(" ", at)
            end = len(text) if end < 0 else end
            yield text[at:end]
            at = end + 1


@lru_cache(maxsize=1)
def _phrases() -> tuple[re.Pattern[str], dict[str, Meaning]]:
    """All phrases as one pattern, those with a gap and then the longest first, and what each means."""
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
    for index, (phrase, meaning) in enumerate(sorted(_gapped(), key=lambda pair: -len(pair[0]))):
        open_.append(f"(?P<gapped_{index}>{phrase})")
        meanings[f"gapped_{index}"] = meaning
    return re.compile("|".join(rf"{one}(?![\w'-])" for one in (*open_, *closed))), meanings


def _either(a: Meaning, b: Meaning) -> Meaning:
    """What a phrase means that two tables have: what they say alike, and what only one of them says."""
    facts = {k: v for k, v in (a.facts | b.facts).items() if a.facts.get(k, v) == b.facts.get(k, v)}
    return Meaning(
        facts,
        a.noun or b.noun,
        a.number or b.number,
        a.quality | b.quality,
        b.deed | a.deed,
        a.second or b.second,
        a.waits or b.waits,
        a.side or b.side,
        a.bare and b.bare,
        a.relation | b.relation,
        a.passive or b.passive,
    )


def _alone() -> Iterator[tuple[str, Meaning]]:
    """Phrases that say the same wherever they stand."""

    def all_of(phrases: Iterable[str], **facts: str) -> Iterator[tuple[str, Meaning]]:
        for phrase in phrases:
            yield phrase, Meaning(dict(facts))

    for name, place in settings.PLACES.items():
        yield from all_of((*place.at, *place.across, *place.above), place=name)
        for light, phrases in settings.LIGHTS.items():
            yield from all_of((f"{one} {phrase}" for one in place.name for phrase in phrases), place=name, light=light)
    for name in settings.LIGHTS:
        yield from all_of((*settings.LIGHTS[name], *settings.LIGHT_SENTENCES[name]), light=name)
    yield from all_of(settings.SUNNY, weather="clear", light="day")
    for name in settings.WEATHERS:
        yield from all_of((*settings.WEATHERS[name], *settings.WEATHER_SENTENCES[name]), weather=name)
        for kind in settings.WEATHER_KINDS[name]:
            yield from all_of(() if kind in _OTHERWISE else (kind,), weather=name)
            for light, nouns in settings.LIGHT_NOUNS.items():
                yield from all_of((f"{kind} {noun}" for noun in nouns), weather=name, light=light)
    for name, (brief, full) in settings.TURNS.items():
        changed, before, _ = TURNS[name]
        yield from all_of(brief, change=name)
        yield from all_of(full, change=name, **{changed: before})
    moments = [noun for nouns in settings.LIGHT_NOUNS.values() for noun in nouns] + [*settings.LIGHTS]
    for joint in ("turns to", "turns into", "to"):  # where it is none of the world's turns, half of it says nothing
        for before in moments:
            for after in moments:
                yield f"{before} {joint} {after}", Meaning()
    for name, kinds in settings.MOODS.items():
        yield from all_of((phrase for kind in kinds for phrase in kind), mood=name)
    for name, kinds in telling.CAMERAS.items():
        yield from all_of((phrase for kind in kinds for phrase in kind if "{it}" not in phrase), camera=name)
    first = (("weather", words.WEATHER_SENTENCES), ("camera", words.CAMERA_SENTENCES))  # of the first world
    for name, table in (*first, *_ALSO.items()):
        for value, phrases in table.items():
            yield from all_of(phrases, **{name: value})
    yield from all_of((*settings.LAMPS, *settings.TREES, *settings.LAMPS_AND_TREES, *settings.RINGS))
    for phrases in settings.TRACES.values():
        yield from all_of(phrases)
        yield from all_of(f"{phrase} {into}" for phrase in phrases for into in set(settings.INTO_SOFT.values()))


def _shortened(meanings: Mapping[str, Meaning]) -> Iterator[tuple[str, Meaning]]:
    """Places and lights without the words before them, where what is left means one thing alone: "in a green meadow"."""
    found: dict[str, Facts | None] = {}
    for phrase, meaning in meanings.items():
        short = _LEADING.sub("", phrase)
        if (
            short != phrase
            and short not in _OTHERWISE
            and len(meaning.facts) == 1
            and meaning.facts.keys() <= {"place", "light"}
        ):
            found[short] = meaning.facts if found.get(short, meaning.facts) == meaning.facts else None
    for short, facts in found.items():
        if facts is not None:
            yield short, Meaning(dict(facts))
            yield f"{things.DEFINITE} {short}", Meaning(dict(facts))


def _who() -> Iterator[tuple[str, Meaning]]:
    """Nouns, what stands before them, and sides."""
    for subject, nouns in (*things.NOUNS.items(), (PERSON, (things.PERSON,))):
        for one, several in nouns:
            yield one, Meaning(noun=subject, number="" if one == several else "one")
            yield several, Meaning(noun=subject, number="" if one == several else "several")
    colours = things.COLOURS | {"orange": things.GINGER}
    for name, table in (
        ("colour", colours),
        ("size", things.SIZES),
        ("count", things.COUNTS | {"two": (*things.COUNTS["two"], "a couple of")}),
    ):
        for value, phrases in table.items():
            for phrase in phrases:
                yield phrase, Meaning(quality={name: value})
    for side, phrases in telling.SIDES.items():
        for phrase in (*phrases, *(one.removeprefix("from ") for one in phrases)):
            yield phrase, Meaning(side=side, bare=phrase == side)


_GOING = ("walk", "run", "trot", "jog", "stroll", "drive", "ride", "sail", "fly", "swim", "roll", "float", "drift", "glide",
          "move")  # fmt: skip
_DEPTHS = {
    "approaches": ("towards the camera", "toward the camera", "towards us", "toward us"),
    "leaves": ("away", "away from the camera", "away from us"),
}
_NEITHER = ("go up and down", "move up and down", "stand up", "fall asleep", "fall apart", "stand in line")
"""What sounds like a deed of the storybook and is none."""


def _deeds() -> Iterator[tuple[str, Meaning]]:
    """Verbs in every form."""

    def verbs(table: deeds.Deeds, who: str) -> Iterator[tuple[str, Meaning]]:
        for action, phrases in table.items():
            for phrase in phrases:
                for text in _forms(phrase):
                    yield text, Meaning(deed={who: action})

    for subject, table in deeds.OWN.items():
        yield from verbs(table, subject)
    yield from verbs(deeds.ALOFT, "rocket")
    yield from verbs({"shatters": ("break", "break to pieces", "break into pieces", "smash")}, "glass")
    yield from verbs({"shrinks": ("grow smaller",)}, "")
    for action, ways in _DEPTHS.items():
        yield from verbs({action: tuple(f"{verb} {way}" for verb in _GOING for way in ways)}, "")
    for phrase in _NEITHER:
        for text in _forms(phrase):
            yield text, Meaning()
    into = [
        f"{verb} {where}{water}" for verb in ("drop", "fall") for where in ("into ", "into the ") for water in _WATERS
    ]
    yield from verbs({"splashes": (*into, *(f"{one} with a splash" for one in into))}, "stone")
    yield from verbs(deeds.GENERAL, "")
    for change, phrases in deeds.BEATS.items():
        for phrase in phrases:
            head, tail = phrase.split(" / ")
            if change == "waits":
                for text in _forms(head):
                    yield text, Meaning(waits=True)
            else:
                for text in _forms(tail[tail.index("+") :]):
                    yield text, Meaning(second=change)


def _forms(phrase: str) -> Iterator[str]:
    for form in FORMS:
        yield conjugate("+" + phrase.removeprefix("+"), form)


_PURSUING = {"follows": {"action": "walks"}, "chases": {"action": "runs"}}
"""Who follows walks, and who chases runs."""


def _gapped() -> Iterator[tuple[str, Meaning]]:
    """Phrases around somebody, as patterns: with a blue box on the right, followed by a dog, the camera tracks it."""
    anyone, walker = _somebody(things.NOUNS), _somebody(WALKERS)
    every = "|".join(noun for pairs in (*things.NOUNS.values(), (things.PERSON,)) for pair in pairs for noun in pair)
    for name, kinds in telling.CAMERAS.items():
        for phrase in (phrase for kind in kinds for phrase in kind if "{it}" in phrase):
            known = rf"(?:{things.DEFINITE} (?:{every})|it|them|him|her)"
            yield (
                f"{phrase.format(it='').strip()}(?: {known}|(?= (?!{things.DEFINITE} ){anyone}))",
                Meaning({"camera": name}),
            )
    for name, (here, there) in telling.RELATIONS.items():
        for phrase in here:
            yield f"{phrase.removesuffix(' {other}')}(?= {anyone})", Meaning(relation={"relation": name})
        for phrase in there:
            yield phrase.format(other=anyone), Meaning(relation={"relation": name})
    for name, phrases in telling.PURSUED.items():
        for phrase in phrases:
            yield f"{phrase}(?= {walker})", Meaning(relation={"relation": name, **_PURSUING[name]}, passive=True)
    for name, phrases in deeds.PURSUITS.items():
        for phrase in phrases:
            for text in _forms(phrase.removesuffix(" {other}")):
                yield f"{text}(?= {walker})", Meaning(relation={"relation": name, **_PURSUING[name]})


def _somebody(subjects: Iterable[str]) -> str:
    """A pattern for one of these or some: "a blue box", "two women", "a man with a red scarf"."""
    nouns = "|".join({noun for name in subjects for pair in things.NOUNS[name] for noun in pair} | {*things.PERSON})
    colour = "|".join({name for names in things.COLOURS.values() for name in names} | {*things.GINGER})
    before = "|".join({name for table in (things.COUNTS, things.SIZES) for names in table.values() for name in names})
    article = "|".join(name for name in {*ARTICLES} if name)
    worn = rf" in (?:{colour})| with an? (?:{colour}) scarf| in an? (?:{colour}) coat"
    return rf"(?:(?:{article}|{before}) )*(?:(?:{colour}) )?(?:{nouns})(?:{worn})?(?![\w'-])"
