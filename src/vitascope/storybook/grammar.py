"""The grammar of the whole world: from what a caption is to say to its sentences.

A caption has a core (who does what, and where) and clauses about the light, the weather, the mood, the camera and what
changes. A clause stands within the core's sentence, before it, or after it; there are at most three sentences.
"""

from __future__ import annotations

import random
import re
from typing import Literal, NamedTuple

from vitascope.physics.noise import key
from vitascope.storybook.inflection import article
from vitascope.storybook.lexicon import deeds, settings, telling, things
from vitascope.storybook.phrases import EVENTS, Deed, Phrases
from vitascope.storybook.scenes import Scene
from vitascope.storybook.worlds import ENDLESS_NIGHT, PEOPLE, SHELTERED, TURNS

_SAID = {
    "colour": 0.82, "dress": 0.85, "action": 0.95, "heading": 0.5, "place": 0.84, "light": 0.55, "count": 0.9, "weather": 0.75,
    "camera": 0.72, "mood": 0.75, "size": 0.8, "relation": 0.85, "change": 0.85,
}  # fmt: skip
"""How often an attribute is said when it is not the usual one."""
_SAID_IF_USUAL = {"weather": 0.12, "camera": 0.12, "mood": 0.04, "size": 0.0, "relation": 0.0, "change": 0.0}
"""How often one of these is said when it is: what has no usual value, or a number that the sentence has to keep, is not here."""
_SHORT = 0.14
"""The share of captions that say little."""
_PERSON = 0.12
"""How often a woman, a man or a child is only a person."""

Kind = Literal["time", "bound", "tag", "sentence"]


class Clause(NamedTuple):
    """A phrase beside the place; one that ends the sentence; a few words apart from it; a sentence of its own."""

    text: str
    kind: Kind


class First(random.Random):
    """Dice that always choose what stands first."""

    def random(self) -> float:
        return 0.0


def compose(scene: Scene, index: int) -> tuple[str, frozenset[str]]:
    """Caption number `index` of a scene of the whole world, and the attributes that it says."""
    draw = random.Random(key(scene.seed, f"caption {scene.index}", index))
    say = Phrases(scene, draw, _plan(scene, draw))
    who = say.who()
    opening = _opening(say)
    clauses = _clauses(say)
    times, bound = ([clause.text for clause in clauses if clause.kind == kind] for kind in ("time", "bound"))
    front, core = _core(say, who, times, bound)
    apart = [clause for clause in clauses if clause.kind in ("tag", "sentence")]
    text = _joined(say, opening, core, apart, may_front=not front)
    if len(text.split()) < 3:
        text = f"some {text}" if say.several else f"{article(text)} {text}"
    return text, frozenset(say.told)


def plain(scene: Scene) -> str:
    """The canonical caption: every attribute that is not the usual one, and colour, subject, action, place, light."""
    plan = {name for name in _SAID if name not in _SAID_IF_USUAL or not scene.usual(name)} | {"subject"}
    if scene.place in ENDLESS_NIGHT:
        plan.discard("light")
    turn = scene.turn != "none"
    say = Phrases(scene, First(), plan - ({"relation"} if scene.relation in deeds.PURSUITS else set()))
    who, deed = say.who(), say.deed()
    if scene.relation in deeds.PURSUITS:
        deed = Deed(f"{deed.head} and +{deeds.PURSUITS[scene.relation][0].format(other=say.other())}", deed.tail)
    light = settings.LIGHTS[scene.light][0] if "light" in plan else ""
    parts = [f"{who} {deed.said(say.form, ' '.join(' '.join((_beside(say), _at(say), light)).split()))}"]
    if not scene.usual("weather"):
        parts.append(settings.WEATHER_SENTENCES[scene.weather][0])
    if turn:
        parts.append(f"then {[*settings.TURNS[scene.turn][0], *settings.TURNS[scene.turn][1]][0]}")
    if not scene.usual("camera"):
        parts.append(telling.CAMERAS[scene.camera][2][0].format(it=f"{things.DEFINITE} {say.noun}"))
    if not scene.usual("mood"):
        parts.append(settings.MOODS[scene.mood][2][0])
    return ", ".join(parts)


def _plan(scene: Scene, draw: random.Random) -> set[str]:
    """Which attributes the caption is to say."""
    chance = dict(_SAID)
    for name, share in _SAID_IF_USUAL.items():
        if scene.usual(name):
            chance[name] = share
    if scene.dress == "nothing":
        del chance["dress"]
    if scene.place in ENDLESS_NIGHT:
        del chance["light"]
    if scene.place in SHELTERED:
        del chance["weather"]
    plan = {name for name, share in chance.items() if draw.random() < share}
    if draw.random() < _SHORT:
        few = sorted(plan - {"action"})
        plan = {one for one in few if draw.random() < 1.5 / len(few)} | ({"action"} if draw.random() < 0.75 else set())
    if scene.action in EVENTS:
        plan.add("action")
    if scene.turn != "none" and "change" not in plan:
        plan.discard(TURNS[scene.turn][0])  # it does not stay so
    if not plan & {"action", "colour", "dress", "place"}:
        plan.add("colour")
    if scene.subject not in PEOPLE or draw.random() > _PERSON:
        plan.add("subject")
    return plan


def _opening(say: Phrases) -> str:
    """ "a meadow at dusk", of which the rest then tells, or nothing."""
    scene = say.scene
    turning = scene.turn != "none" and TURNS[scene.turn][0] == "light"
    if turning or not {"place", "light", "action"} <= say.plan or scene.action in EVENTS or not say.chance(0.08):
        return ""
    say.tell("place", "light")
    say.plan -= {"place", "light"}
    place, light = say.pick(say.true(settings.PLACES[scene.place].name)), say.pick(settings.LIGHTS[scene.light])
    return say.pick(telling.OPENINGS).format(place=place, light=light)


def _clauses(say: Phrases) -> list[Clause]:
    """What is said of the weather, the light, the change around, the mood and the camera; what stands apart, in any order.

    At most one phrase ends the core's sentence, and none where that ends with ", then stops", to which it would belong.
    """
    scene = say.scene
    made = _turn(say)
    made += _when(say, room=not made and scene.beat == "none")
    for name, table, share in (("mood", settings.MOODS, 0.4), ("camera", telling.CAMERAS, 0.35)):
        if say.tell(name):
            full = scene.beat != "none" or any(clause.kind == "bound" for clause in made)
            kind: Kind = "bound" if not full and say.chance(share) else "tag" if say.chance(0.55) else "sentence"
            phrases = table[getattr(scene, name)][("bound", "tag", "sentence").index(kind)]
            made.append(Clause(say.pick(phrases).format(it=f"{things.DEFINITE} {say.noun}"), kind))
    apart = [clause for clause in made if clause.kind in ("tag", "sentence")]
    apart.sort(key=lambda _: say.draw.random())
    return [clause for clause in made if clause.kind in ("time", "bound")] + apart


def _when(say: Phrases, *, room: bool) -> list[Clause]:
    """The light and the weather, together ("on a foggy morning") or each for itself; `room` for what ends the sentence."""
    scene = say.scene
    if {"light", "weather"} <= say.plan and say.chance(0.4):
        say.tell("light", "weather")
        if (scene.weather, scene.light) == ("clear", "day"):
            return [Clause(say.pick(settings.SUNNY), "time")]
        kind = say.pick(settings.WEATHER_KINDS[scene.weather])
        return [Clause(f"on {article(kind)} {kind} {say.pick(settings.LIGHT_NOUNS[scene.light])}", "time")]
    made = []
    if say.tell("light"):
        apart = say.chance(0.15)
        table = settings.LIGHT_SENTENCES if apart else settings.LIGHTS
        made.append(Clause(say.pick(table[scene.light]), "sentence" if apart else "time"))
    if say.tell("weather"):
        text = say.pick(settings.WEATHERS[scene.weather])
        binds = text.startswith(("as ", "while "))
        if say.chance(0.4) or (binds and not room):
            made.append(Clause(say.pick(settings.WEATHER_SENTENCES[scene.weather]), "sentence"))
        else:
            made.append(Clause(text, "bound" if binds else "time"))
    return made


def _turn(say: Phrases) -> list[Clause]:
    """What changes around the subject; it takes the place of the light or the weather that it changes."""
    scene = say.scene
    if scene.turn == "none" or not say.tell("change"):
        return []
    changed = TURNS[scene.turn][0]
    brief, full = settings.TURNS[scene.turn]
    whole = not brief or (changed in say.plan and say.chance(0.5))
    if whole:
        say.told.add(changed)
    say.plan.discard(changed)
    text = say.pick(say.true(full if whole else brief))
    if scene.beat == "none" and say.chance(0.65):
        return [Clause(f"{say.pick(settings.TURN_JOINTS)} {text}", "bound")]
    return [Clause(text if say.chance(0.5) else f"then {text}", "sentence")]


def _beside(say: Phrases) -> str:
    """Where the subject is beside the other one, or where that one is."""
    scene = say.scene
    if scene.relation not in telling.RELATIONS or not say.tell("relation"):
        return ""
    here, there = telling.RELATIONS[scene.relation]
    return say.pick(here if say.chance(0.7) else there).format(other=say.other())


def _at(say: Phrases, *, moving: bool = False) -> str:
    """The place, unless the deed has named it."""
    if say.scene.action == "splashes":
        say.told.add("place")  # into the water
        return ""
    return say.place(moving=moving)


def _core(say: Phrases, who: str, times: list[str], bound: list[str]) -> tuple[bool, str]:
    """Whether its place or time stands first, and the sentence of who does what and where, with the phrases inside it."""
    it = (
        things.OTHER_PRONOUNS[say.several]
        if say.several
        else things.PRONOUNS.get(say.scene.subject, things.OTHER_PRONOUNS[0])
    )
    slots = {
        "who": who,
        "new": say.new(who),
        "is": "are" if say.several else "is",
        "it": "the person" if say.noun == "person" else it,
    }
    if _passive(say):
        other, by = say.other(), say.pick(telling.PURSUED[say.scene.relation])
        middle = "" if say.chance(0.5) else "is "
        return False, _spaced(other, middle + by, say.new(who), _at(say), *times, say.lamps(bound), *bound)
    if "action" not in say.plan and not ({"relation", "change"} & say.plan and say.scene.turn == "none"):
        rest = _spaced(_beside(say), _at(say), *times, say.lamps(bound), *bound)
        return False, _spaced(say.pick(telling.IDLE).format(where=rest, **slots))
    deed = say.deed()
    style = say.draw.random()
    beside = _beside(say)
    place = _at(say, moving=style >= 0.28)
    if style < 0.2 and (place or times):
        first = [phrase for phrase in (place, *times) if phrase]
        first, kept = (first, []) if say.chance(0.6) else (first[:1], first[1:])
        last = _spaced(beside, *kept, say.lamps(bound), say.trace(bound), *bound)
        slots |= {"where": _spaced(*first)} | _forms(say, deed, last)
        return True, say.pick(telling.FRONTED).format(**slots)
    if style < 0.28 and (place or beside):
        trace = _spaced(say.trace(bound), *bound)
        slots |= {"where": _spaced(beside, place, *times, say.lamps(bound))} | _forms(say, deed, trace)
        return False, say.pick(telling.TWO_SENTENCES).format(**slots)
    where = [phrase for phrase in (place, *times) if phrase]
    if say.chance(0.12):
        where.reverse()
    rest = _spaced(beside, *where, say.lamps(bound), say.trace(bound), *bound)
    slots |= _forms(say, deed, rest)
    return False, say.pick(telling.SENTENCES).format(**slots)


def _forms(say: Phrases, deed: Deed, where: str) -> dict[str, str]:
    """ "walks in a park", "walking in a park", "walk in a park"."""
    return {"verb": deed.said(say.form, where), "doing": deed.said("gerund", where), "bare": deed.said("plural", where)}


def _passive(say: Phrases) -> bool:
    """Whether the other one comes first: "a cat followed by a dog"; it leaves no room for a side or a second beat."""
    scene = say.scene
    if scene.relation not in telling.PURSUED or {"heading", "change"} & say.plan or say.several:
        return False
    return say.chance(0.3) and say.tell("relation")


def _joined(say: Phrases, opening: str, core: str, clauses: list[Clause], *, may_front: bool) -> str:
    """Opening, core and clauses as one to three sentences."""
    text = f"{opening}. {core}" if opening else core
    strung = False
    if clauses and may_front and not opening and say.chance(0.2):
        first, *clauses = clauses
        joint = say.pick((", ", ". ")) if first.kind == "tag" else ". "
        text = first.text.removeprefix("then ") + joint + core
    for clause in clauses:
        joint = say.pick((", ", ", ", ". ") if clause.kind == "tag" else (", ", ". ", ". ", ", and ", " and "))
        if ". " in joint and text.count(". ") >= 2:
            joint = ", "
        if " and" in joint and (strung or clause.text.startswith("then ")):
            joint = ", "
        strung = strung or " and" in joint
        text += joint + clause.text
    return text


def _spaced(*phrases: str) -> str:
    return re.sub(r" +", " ", " ".join(phrases)).replace(" ,", ",").strip()
