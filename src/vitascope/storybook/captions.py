"""Captions: what a person might type for a scene.

A caption is true of its scene, and what it does not say is free. The subject is always said, the action nearly always,
the rest often; attributes come in any order, in one sentence or up to about three. Everything is lowercase. The first
world's sentences are built here, from `words`; the whole world's in `grammar`, from `lexicon`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import ModuleType

from vitascope.physics.noise import key
from vitascope.storybook import grammar, words
from vitascope.storybook.dice import one
from vitascope.storybook.inflection import FORMS, conjugate
from vitascope.storybook.lexicon import deeds, settings, telling, things
from vitascope.storybook.scenes import Scene
from vitascope.storybook.worlds import DEFAULT, world_of

_SAID = {"colour": 0.88, "action": 0.96, "place": 0.85, "light": 0.6}  # how often an attribute is said
_SAID_IF_SPECIAL = {"weather": 0.75, "camera": 0.7}  # how often rain, snow, a moving camera is said
_SAID_IF_USUAL = {"weather": 0.12, "camera": 0.12}  # how often a clear sky, a camera at rest is said
_SHORT = 0.12  # the share of captions that say little beside the subject and the action


def _plan(scene: Scene, draw: random.Random) -> set[str]:
    """Which attributes the caption says."""
    chance = dict(_SAID)
    for name in _SAID_IF_SPECIAL:
        chance[name] = (_SAID_IF_USUAL if scene.usual(name) else _SAID_IF_SPECIAL)[name]
    if scene.place == "night sky":
        chance["light"] = 0.08  # the place says it
    plan = {name for name, share in chance.items() if draw.random() < share}
    if draw.random() < _SHORT:
        plan &= {"action", "colour"} if draw.random() < 0.5 else {"action", "place"}
    if not plan:
        plan = {"colour"}
    return plan | {"subject"}


def said(scene: Scene, index: int = 0) -> frozenset[str]:
    """The attributes that caption number `index` of a scene says: names of its world's values, and "dress"."""
    return frozenset(_compose(scene, index)[1])


def caption(scene: Scene, index: int = 0) -> str:
    """Caption number `index` of a scene; every index is another draw from the grammar."""
    return _compose(scene, index)[0]


def plain(scene: Scene) -> str:
    """The canonical caption. In the first world it names every attribute; in the whole one colour, subject, action, place,
    light, and what is not the usual. Of the night sky, the place names the light."""
    if scene.laws.grammar:
        return grammar.plain(scene)
    article = words.ELIDED if scene.colour[0] in "aeiou" else "a"
    light = "" if scene.place == "night sky" else " " + words.LIGHTS[scene.light][0]
    clauses = (
        f"{article} {scene.colour} {scene.subject} {scene.action} {words.PLACES[scene.place][0]}{light}",
        words.PLAIN_WEATHER[scene.weather],
        words.CAMERA_SENTENCES[scene.camera][0],
    )
    return ", ".join(clauses)


def _who(scene: Scene, plan: set[str], draw: random.Random) -> str:
    noun = one(draw, words.NOUNS[scene.subject])
    if "colour" in plan:
        noun = one(draw, words.COLOURS[scene.colour]) + " " + noun
    article = one(draw, words.ARTICLES)
    if article == "a" and noun[0] in "aeiou":
        article = words.ELIDED
    return f"{article} {noun}".strip()


def _verb(scene: Scene, draw: random.Random) -> tuple[str, str]:
    """What the subject does, in the third person and as a gerund."""
    own = words.OWN_VERBS.get(scene.subject)
    if own and scene.action in words.SIDES and draw.random() < 0.3:
        side = one(draw, words.SIDES[scene.action])
        return f"{own[0]} {side}", f"{own[1]} {side}"
    return one(draw, words.VERBS[scene.action])


def _place(scene: Scene, plan: set[str], draw: random.Random) -> str:
    across = "action" in plan and scene.action in words.TRAVELS and draw.random() < 0.4
    return one(draw, (words.ACROSS if across else words.PLACES)[scene.place])


def _tails(scene: Scene, plan: set[str], draw: random.Random) -> tuple[list[str], list[str]]:
    """What follows within the sentence, and the clauses of their own after it."""
    inside, after = [], []
    for name, phrases, sentences, apart in (
        ("light", words.LIGHTS, words.LIGHT_SENTENCES, 0.15),
        ("weather", words.WEATHERS, words.WEATHER_SENTENCES, 0.5),
        ("camera", words.CAMERAS, words.CAMERA_SENTENCES, 0.7),
    ):
        if name in plan:
            value = getattr(scene, name)
            if draw.random() < apart:
                after.append(one(draw, sentences[value]))
            else:
                inside.append(one(draw, phrases[value]))
    if draw.random() < 0.3:
        after.reverse()
    return inside, after


def _compose(scene: Scene, index: int) -> tuple[str, set[str] | frozenset[str]]:
    if scene.laws.grammar:
        return grammar.compose(scene, index)
    draw = random.Random(key(scene.seed, f"caption {scene.index}", index))
    plan = _plan(scene, draw)
    who, (verb, doing) = _who(scene, plan, draw), _verb(scene, draw)
    opening = ""
    if {"place", "light", "action"} <= plan and draw.random() < 0.08:
        opening = one(draw, words.SCENES).format(
            place_name=one(draw, words.PLACE_NAMES[scene.place]), light=one(draw, words.LIGHTS[scene.light])
        )
    inside, after = _tails(scene, plan - {"light"} if opening else plan, draw)
    clause = [phrase for phrase in inside if " camera" in phrase or phrase.startswith(("while", "as ", "with"))]
    inside = [phrase for phrase in inside if phrase not in clause]
    if "place" in plan and not opening:
        inside.insert(0, _place(scene, plan, draw))
    if len(inside) > 1 and draw.random() < 0.15:
        inside.reverse()
    kinds = words.SENTENCES if "action" in plan else words.IDLE_SENTENCES
    if "action" in plan and inside and draw.random() < 0.08:
        kinds = words.TWO_SENTENCES
    kind = one(draw, kinds)
    if inside and inside[-1].endswith(("snow", "rain")) and "{where} {verb}" in kind:
        kind = kinds[0]  # a ball on the snow falls: one would read that the snow falls
    if not inside:  # nowhere said: the plain order, whatever was drawn
        kind = kind if kind.endswith("{where}") else kinds[0] if "action" in plan else "{who} {where}"
    text = kind.format(who=who, verb=verb, doing=doing, where=" ".join(inside)).strip()
    text = " ".join([text, *clause])
    parts = [opening, text, *after] if opening else [text, *after]
    for part in parts[1:]:
        joint = one(draw, words.JOINTS)
        if part is text:
            joint = ". "
        elif not part.startswith(("the ", "it ")):
            joint = ", "  # "and" wants a verb
        parts[0] += joint + part
    return re.sub(r" +", " ", parts[0]).strip(), plan


def _texts(table: object) -> Iterator[str]:
    if isinstance(table, str):
        yield re.sub(r"{\w+}", " ", table)
    elif isinstance(table, dict):
        for value in table.values():
            yield from _texts(value)
    elif isinstance(table, Iterable):
        for value in table:
            yield from _texts(value)


def _tables(*modules: ModuleType) -> Iterator[str]:
    for module in modules:
        yield from _texts([table for name, table in vars(module).items() if name.isupper()])


@lru_cache(maxsize=2)
def vocabulary(world: str = DEFAULT) -> tuple[str, ...]:
    """Every word that a caption of this world can contain, lowercase, sorted. Raises ValueError for an unknown world."""
    if world_of(world).grammar:
        verbs = [conjugate("+" + phrase, form) for phrase in _tables(deeds) for form in FORMS]
        texts = [*_tables(things, settings, telling), *verbs, "is are an"]
    else:
        texts = list(_tables(words))
    return tuple(sorted({word for text in texts for word in re.findall(r"[a-z]+", text)}))
