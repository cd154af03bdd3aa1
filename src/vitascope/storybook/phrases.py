"""Phrases of the whole world: who, what it does, and where; the parts from which `grammar` builds sentences.

A phrase says only what the plan holds; what it says is added to `told`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vitascope.storybook.dice import T, one
from vitascope.storybook.inflection import Form, article, conjugate
from vitascope.storybook.lexicon import deeds, settings, telling, things
from vitascope.storybook.scenes import Scene
from vitascope.storybook.worlds import PEOPLE, TRAVELS

SWIMMERS = ("fish",)
FLYERS = ("bird", "butterfly", "kite")
_AIRBORNE = ("rises", "floats", "orbits", "spins", "swings", "moves left", "moves right", "approaches", "leaves")
CLOSED = ("cloudy", "rain", "snow", "fog")
"""The weather in which no sun, moon or star is seen."""
_HIDDEN = re.compile(r"\b(starry|the sun)\b")
EVENTS = ("shatters", "splashes")
"""What the shot is about, so that it is always said."""


class Deed(NamedTuple):
    """What the subject does: the verb phrase before the place is said, and what follows it; verbs have a "+"."""

    head: str
    tail: str = ""

    def said(self, form: Form, where: str) -> str:
        """As "walks in a park, then stops"."""
        head, tail = conjugate(self.head, form), conjugate(self.tail, form)
        return f"{head} {where} {tail}".strip().replace("  ", " ").replace(" ,", ",")


@dataclass
class Phrases:
    """The phrases of one caption: the scene, the dice, which attributes it is to say, which it has said."""

    scene: Scene
    draw: random.Random
    plan: set[str]
    told: set[str] = field(default_factory=set)
    noun: str = ""
    """The noun chosen for the subject, in its number."""

    @property
    def several(self) -> bool:
        """Whether there is more than one of the subject."""
        return self.scene.count != "one"

    @property
    def form(self) -> Form:
        """The verb's form in a sentence."""
        return "plural" if self.several else "third"

    def tell(self, *names: str) -> bool:
        """Whether all of these are to be said; then they count as said."""
        if not set(names) <= self.plan:
            return False
        self.told.update(names)
        return True

    def pick(self, choices: Sequence[T]) -> T:
        """One of them."""
        return one(self.draw, choices)

    def true(self, choices: Sequence[str]) -> tuple[str, ...]:
        """Those that speak of nothing that a closed sky hides."""
        closed = self.scene.weather in CLOSED
        return tuple(phrase for phrase in choices if not (closed and _HIDDEN.search(phrase)))

    def chance(self, share: float) -> bool:
        """True in this share of captions."""
        return self.draw.random() < share

    def who(self) -> str:
        """The subject with its article or number: "a small red ball", "two women in red coats"."""
        scene = self.scene
        noun = self.pick(things.NOUNS[scene.subject])
        if "subject" in self.plan:
            self.told.add("subject")
        else:
            noun = things.PERSON
        self.noun = noun[self.several]
        words = [self.noun]
        if scene.dress == "nothing" and self.tell("colour"):
            words.insert(0, self.colour(scene.subject, scene.colour))
        if scene.size != "usual" and self.tell("size"):
            words.insert(0, self.pick(things.SIZES[scene.size]))
        if scene.dress != "nothing":
            words.append(self.dressed())
        return self._counted(" ".join(words).strip())

    def colour(self, subject: str, colour: str) -> str:
        """A word for a subject's colour."""
        ginger = colour == "orange" and subject in ("cat", "dog")  # of a fox one says orange
        return self.pick(things.GINGER if ginger else things.COLOURS[colour])

    def dressed(self) -> str:
        """ "in a red coat", "wearing a coat", "in red", or nothing; a red scarf makes nobody one in red."""
        scene = self.scene
        colour = self.pick(things.COLOURS[scene.colour]) if self.tell("colour") else ""
        if colour and scene.dress == "scarf":
            self.plan.add("dress")
        if self.tell("dress"):
            phrase = self.pick(things.DRESS[scene.dress])[self.several]
            if " a {" in phrase:
                phrase = phrase.replace(" a {", f" {article(colour or scene.dress)} {{")
            return " ".join(phrase.format(colour=colour).split())
        return self.pick(things.CLOTHED).format(colour=colour) if colour else ""

    def _counted(self, named: str) -> str:
        if self.several:
            told = self.tell("count")
            number = self.pick(things.COUNTS[self.scene.count] if told else things.UNCOUNTED)
            return f"{number} {named}".strip()
        self.told.add("count")
        first = self.pick(things.ARTICLES)
        return f"{article(named) if first == 'a' else first} {named}".strip()

    def new(self, who: str) -> str:
        """The subject as one says it in mid-sentence and for the first time: not "the ball", nor "ball" alone."""
        if self.several or who.startswith(("a ", f"{things.ELIDED} ", "one ")):
            return who
        named = who.removeprefix(f"{things.DEFINITE} ")
        return f"{article(named)} {named}"

    def other(self) -> str:
        """The second subject: "a blue box", "a man in red", or "a man with a red scarf" where people wear scarves."""
        scene = self.scene
        name = self.pick([noun for noun, _ in things.NOUNS[scene.other]])
        if self.chance(0.8):
            colour = self.colour(scene.other, scene.other_colour)
            if scene.other not in PEOPLE:
                name = f"{colour} {name}"
            elif scene.dress == "scarf":
                name = f"{name} with {article(colour)} {colour} scarf"
            else:
                name = f"{name} in {colour}"
        return f"{article(name)} {name}"

    def verb(self) -> str:
        """The subject's action in its plain form, without its side."""
        scene = self.scene
        action = "moves" if scene.action.startswith("moves ") else scene.action
        if scene.subject == "rocket" and scene.place == "night sky" and action in deeds.ALOFT:
            return self.pick(deeds.ALOFT[action])
        found = deeds.OWN.get(scene.subject, {}).get(action) or deeds.GENERAL[action]
        if scene.place in ("underwater", "outer space"):
            found = tuple(phrase for phrase in found if not phrase.endswith(" air"))
        return self.pick(found)

    def side(self, *, apart: bool) -> str:
        """The side to which it goes, when it is said: always with "moves", whose meaning it is.

        `apart`: something stands between it and the verb, so that "right" alone would not be understood.
        """
        scene = self.scene
        always = scene.action.startswith("moves ")
        if scene.heading == "none" or not (always or "heading" in self.plan):
            return ""
        self.told.add("heading")
        return " " + self.pick([side for side in telling.SIDES[scene.heading] if " " in side or not apart])

    def deed(self) -> Deed:
        """What the subject does: its action with its side, its pursuit of the other, its two beats."""
        scene = self.scene
        pursuit = scene.relation in deeds.PURSUITS and self.tell("relation")
        first = self.verb()
        if pursuit:
            phrase = self.pick(deeds.PURSUITS[scene.relation])
            if " after " in phrase:
                self.told.add("action")
            first = phrase.format(other=self.other())
        else:
            self.told.add("action")
        first += self.side(apart=pursuit)
        if scene.beat != "none" and self.tell("change"):
            head, tail = self.pick(deeds.BEATS[scene.beat]).format(first=first).split(" / ")
            return Deed("+" + head, tail)
        return Deed("+" + first)

    def place(self, *, moving: bool) -> str:
        """Where: "in a meadow"; if it goes somewhere, perhaps "across a meadow" or "over a meadow"."""
        scene = self.scene
        if not self.tell("place"):
            return ""
        place = settings.PLACES[scene.place]
        found = place.at
        flies = scene.subject in FLYERS and scene.action in _AIRBORNE
        if flies and place.above:  # not "on the grass"
            found = place.above
        elif (
            moving and scene.beat != "waits" and scene.action in (*TRAVELS, "approaches", "leaves") and self.chance(0.5)
        ):
            found = place.across
        if scene.subject in SWIMMERS:
            found = tuple(phrase for phrase in found if not phrase.endswith("floor"))
        return self.pick(self.true(found))

    def trace(self, bound: list[str]) -> str:
        """What it leaves behind it: footprints, wheel tracks, a wake, rings; `bound` is what follows in the sentence."""
        scene = self.scene
        if scene.action == "splashes":
            return self.pick(settings.RINGS) if not bound and self.chance(0.2) else ""
        if scene.beat == "waits" and "change" in self.told:
            return ""  # the sentence stands at the wait
        if scene.trace is None:
            return ""
        left = self.pick(settings.TRACES[scene.trace])
        if not self.chance(0.35):
            return ""
        if "place" not in self.told and scene.place in settings.INTO_SOFT and self.chance(0.5):
            left = f"{left} {settings.INTO_SOFT[scene.place]}"
        return f", {left}" if self.chance(0.4) else left

    def lamps(self, bound: list[str]) -> str:
        """Lit lamps and bare trees, where they are and are said; not "with lamps with a pan", if that is what follows."""
        scene = self.scene
        if any(phrase.startswith("with ") for phrase in bound):
            return ""
        lit = scene.light in ("dusk", "night") and scene.turn not in ("dusk falls", "day breaks")
        if scene.place not in ("snowy park", "city street") or "place" not in self.told:
            return ""
        if scene.place == "snowy park":
            if lit and self.chance(0.3):
                return self.pick(settings.LAMPS_AND_TREES)
            if self.chance(0.12):
                return self.pick(settings.TREES)
        return self.pick(settings.LAMPS) if lit and self.chance(0.3) else ""
