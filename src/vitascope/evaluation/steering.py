"""Which films a steering curve asks for: one thing is turned, all else is held, and the same scenes are asked for each time.

A curve answers a question that guides to prompting like to answer without a measurement. It is a list of points, a point
a list of prompts with what they say, and how the films of all of them are made.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from vitascope.evaluation.scenes import scenes
from vitascope.shot import Shot
from vitascope.storybook import Scene, caption, plain, said, vocabulary, words
from vitascope.storybook.grammar import First
from vitascope.storybook.inflection import article
from vitascope.storybook.lexicon import settings, telling
from vitascope.storybook.phrases import EVENTS, Phrases
from vitascope.storybook.worlds import DEFAULT, ENDLESS_NIGHT, SHELTERED, world_of

GUIDANCE = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0)
STEPS = (4, 8, 16, 32, 64, 100)
SOLVERS = ("ddpm", "ddim", "euler", "heun", "dpmpp_2m", "unipc", "adaptive")
WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
STRESSED = ("camera", "weather", "colour")
"""Attributes of which a prompt has a phrase that is weighed: what films obey seldom, often, and in between."""
FRAMES = (17, 33)
"""The lengths of films whose prompts are simple and complex."""
CONTRADICTED = "light"
SEEDS = 4
"""Films of each prompt, which differ in their seeds alone: their distances are the diversity. `length` has more of them."""
SCENES = 4
"""Scenes whose captions grow word by word: each of them takes a point's films, for the question is what a prompt leaves open."""
UNWANTED: dict[str, dict[str, tuple[str, ...]]] = {
    "night": {"light": ("night",)},
    "clear sky": {"weather": ("clear",)},
    "snow": {"place": ("snowfield", "snowy park"), "weather": ("snow",)},
}
"""Negative prompts as one types them, and by which values of which attributes a film shows the thing. They are what films show
often where nothing is said of it: what is seldom there cannot be seen to go."""
OPEN = "open, no negative"
NIGHT, CLEAR_NIGHT, SUNNY_NIGHT, SUNNY_DAY = (
    "at night",
    "on a clear night",
    "on a bright sunny night",
    "on a bright sunny day",
)
DRAWS = 400  # captions of a scene among which those that say little and much are looked for


@dataclass(frozen=True)
class Asked:
    """A prompt and what it says by attribute; the other value where it contradicts itself; what it should not show."""

    prompt: str
    says: Mapping[str, str]
    against: str | None = None
    negative: str = ""


@dataclass(frozen=True)
class Point:
    """One place on a curve."""

    curve: str
    line: str
    """Which of the curve's lines; "" where there is one."""
    x: float | str
    asked: tuple[Asked, ...]
    like: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a Shot that all films share, before those that hold for all curves."""
    seeds: int = SEEDS
    narrowing: bool = False
    """Whether it is told by attribute how much is left open, beside the world's scenes that show what is said. What the prompts
    say comes before what they leave open in the order in which a scene is drawn."""
    counted: tuple[str, ...] = ()
    """Names of UNWANTED of which it is told how many films show them."""

    @property
    def name(self) -> str:
        """Tells it from every other point."""
        return f"{self.curve} / {self.line} / {self.x}"


@dataclass(frozen=True)
class Curve:
    """A question, what is turned, and the points that answer it, for a number of films a point and a world."""

    question: str
    turned: str
    points: Callable[[int, str], Iterator[Point]]


def shots(point: Point, held: Mapping[str, Any]) -> list[Shot]:
    """The shots of a point, prompt by prompt, seeds 0, 1, 2... within each. Raises BadShot."""
    return [
        Shot.model_validate({**held, **point.like, "prompt": asked.prompt, "negative": asked.negative, "seed": seed})
        for asked in point.asked
        for seed in range(point.seeds)
    ]


def _plainly(films: int, world: str = DEFAULT) -> tuple[Asked, ...]:
    return tuple(Asked(plain(s), s.shows()) for s in scenes(max(1, films // SEEDS), world=world))


def _guidance(films: int, world: str = DEFAULT) -> Iterator[Point]:
    for scale in GUIDANCE:
        yield Point("guidance", "", scale, _plainly(films, world), {"guidance": scale})


def _steps(films: int, world: str = DEFAULT) -> Iterator[Point]:
    for solver in SOLVERS:
        for steps in STEPS:
            yield Point("steps", solver, float(steps), _plainly(films, world), {"solver": solver, "steps": steps})


def _saying(shown: Sequence[Scene]) -> dict[int, list[Asked]]:
    """Captions of the world's own grammar by how many attributes they say: of these very scenes, in their order, each time."""
    found: dict[int, list[Asked]] = {}
    for scene in shown:
        kept: dict[int, Asked] = {}
        for index in range(DRAWS):
            names = said(scene, index)
            if len(names) not in kept:
                kept[len(names)] = Asked(caption(scene, index), scene.shows(names))
        for count, asked in kept.items():
            found.setdefault(count, []).append(asked)
    return {count: asked for count, asked in sorted(found.items()) if len(asked) == len(shown)}


def levels(world: str = DEFAULT) -> tuple[str, ...]:
    """What the captions of `length` say, one more each time, in the order in which a scene is drawn."""
    last = "mood" if "mood" in world_of(world).values else "camera"
    return "subject", "colour", "action", "place", "light", "weather", last


@cache
def growing(world: str = DEFAULT) -> tuple[Scene, ...]:
    """The scenes of `length`: the first of the evaluation that are unlike in every attribute of which there are enough values."""
    kinds = [name for name in levels(world) if len(world_of(world).values[name]) >= SCENES]
    found: list[Scene] = []
    for scene in _evaluated(world):
        if _grows(scene) and all(getattr(scene, name) != getattr(one, name) for one in found for name in kinds):
            found.append(scene)
        if len(found) == SCENES:
            break
    return tuple(found)


def _grows(scene: Scene) -> bool:
    """Whether each level says one attribute more, and none that the world has settled by then, and none that is the usual one."""
    laws, last = world_of(scene.world), levels(scene.world)[-1]
    return (
        _bare(scene)
        and scene.place not in (*ENDLESS_NIGHT, *SHELTERED)
        and scene.action not in EVENTS
        and (not laws.grammar or not scene.action.startswith("moves "))  # which says a heading, too
        and len(laws.places(scene.subject, scene.action)) > 1
        and all(getattr(scene, name) != laws.values[name][0] for name in ("weather", last))
    )


def _bare(scene: Scene) -> bool:
    """Whether there is nothing in it that one would have to say beside who does what, where, when and in which weather."""
    return (scene.count, scene.size, scene.relation, scene.change) == ("one", "usual", "none", "none")


def _evaluated(world: str) -> Iterator[Scene]:
    """The scenes of the evaluation, without end."""
    return (scenes(1, start=number, world=world)[0] for number in itertools.count())


def _fitting(films: int, world: str, fits: Callable[[Scene], bool]) -> list[Scene]:
    """The first scenes of the evaluation that are fit for a question, for so many films."""
    return list(itertools.islice(filter(fits, _evaluated(world)), max(1, films // SEEDS)))


def telling_only(scene: Scene, names: Collection[str]) -> Asked:
    """A caption in the words of the canonical one that says these attributes, a subject among them, and as little else as it can:
    an article says that there is one, a coat in a colour that there is a coat. (Not of what splashes, whose words name a place.)"""
    if not scene.laws.grammar:
        named = f"{scene.colour} {scene.subject}" if "colour" in names else scene.subject
        who, does, told = f"{article(named)} {named}", scene.action, set(names)
        place, light = words.PLACES[scene.place][0], words.LIGHTS[scene.light][0]
        apart = {"weather": words.PLAIN_WEATHER[scene.weather], "camera": words.CAMERA_SENTENCES[scene.camera][0]}
    else:
        say = Phrases(scene, First(), set(names) | ({"dress"} if "colour" in names else set()))
        who, does = say.who(), say.deed().said(say.form, "") if "action" in names else ""
        place, light, told = say.place(moving=False), settings.LIGHTS[scene.light][0], {*names, *say.told}
        apart = {"weather": settings.WEATHER_SENTENCES[scene.weather][0], "mood": settings.MOODS[scene.mood][2][0]}
    core = {"subject": who, "action": does, "place": place, "light": light}
    clauses = [" ".join(phrase for name, phrase in core.items() if name in names)]
    return Asked(", ".join([*clauses, *(clause for name, clause in apart.items() if name in names)]), scene.shows(told))


def _length(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """Captions of which each says what the one before it says and one attribute more, with the same seeds."""
    names = levels(world)
    for many in range(1, len(names) + 1):
        asked = tuple(telling_only(scene, names[:many]) for scene in growing(world))
        yield Point("length", "growing captions", float(many), asked, seeds=films, narrowing=True)


def _complexity(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """Captions that say least, half-way, and most, in short films and in long ones."""
    found = _saying(scenes(max(1, films // SEEDS), world=world))
    counts = list(found)
    for frames in FRAMES:
        for count in dict.fromkeys((counts[0], counts[len(counts) // 2], counts[-1])):
            yield Point("complexity", f"{frames} frames", float(count), tuple(found[count]), {"frames": frames})


def in_clauses(scene: Scene) -> tuple[str, list[str]]:
    """The core of the canonical caption, and its details as clauses of their own. Without a change half-way no clause but theirs
    stands behind a comma."""
    core, *details = plain(scene).split(", ")
    return core, details


def _movable(scene: Scene) -> bool:
    """Whether there are details, and all can stand on either side of the core: nothing happens half-way, and none of them speaks
    of "the fox" whom nobody has seen yet."""
    if scene.change != "none":
        return False
    details = in_clauses(scene)[1]
    named = scene.laws.grammar and "{it}" in telling.CAMERAS[scene.camera][2][0]
    return bool(details) and not named


def _order(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """The clauses of the full caption: the subject's first, as the canonical order has it, or last."""
    shown = _fitting(films, world, _movable)
    for name, turned in (("details last", False), ("details first", True)):
        asked = []
        for scene in shown:
            core, details = in_clauses(scene)
            asked.append(Asked(", ".join([*details, core] if turned else [core, *details]), scene.shows()))
        yield Point("order", "details that can move", name, tuple(asked))


def _contradiction(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """A sentence at the end says the light once more, rightly or wrongly."""
    shown = [s for s in scenes(4 * films, world=world) if plain(s) != plain(_other_light(s))][: max(1, films // SEEDS)]
    for name, contrary in (("said twice alike", False), ("contradicted", True)):
        asked = []
        for scene in shown:
            other = str(getattr(_other_light(scene), CONTRADICTED))
            told = other if contrary else str(getattr(scene, CONTRADICTED))
            asked.append(Asked(f"{plain(scene)}. it is {told}", scene.shows(), other))
        yield Point("contradiction", "", name, tuple(asked))
    if {"bright", "sunny"} <= set(vocabulary(world)):
        yield from _sunny(films, world)


def _sunny(films: int, world: str) -> Iterator[Point]:
    """The contradiction within one phrase, beside the two phrases that it is made of. Films are asked whether they show the night
    first, then whether the day; of "a bright sunny day" the other way round."""
    for phrase, light in ((CLEAR_NIGHT, "night"), (SUNNY_NIGHT, "night"), (SUNNY_DAY, "day")):
        asked = []
        for scene in _fitting(films, world, _under_the_sky):
            clear = replace(scene, light="night", weather="clear")
            says = clear.shows() | {"light": light}
            asked.append(Asked(plain(clear).replace(NIGHT, phrase), says, "day" if light == "night" else "night"))
        yield Point("contradiction", "in one phrase", phrase.removeprefix("on "), tuple(asked))


def _under_the_sky(scene: Scene) -> bool:
    """Whether any light and a clear sky can be there, and last."""
    return scene.change == "none" and scene.place not in (*ENDLESS_NIGHT, *SHELTERED)


def _other_light(scene: Scene) -> Scene:
    return _shifted(scene, CONTRADICTED)


def _shifted(scene: Scene, name: str) -> Scene:
    """The scene with another value of an attribute: the one half of the way on, which is seldom a neighbour in kind."""
    values = world_of(scene.world).values[name]
    at = values.index(str(getattr(scene, name)))
    return replace(scene, **{name: values[(at + max(1, len(values) // 2)) % len(values)]})


def _stranger(scene: Scene) -> Scene:
    """The first scene of the evaluation that shares nothing with this one that a full caption always says."""
    for other in itertools.islice(_evaluated(scene.world), 1000):
        if all(
            getattr(other, name) != getattr(scene, name) for name in ("subject", "colour", "action", "place", "light")
        ):
            return other
    raise RuntimeError(f"no scene of {scene.world} differs from {plain(scene)!r} in everything")


def _negative(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """The negative prompt is the full caption of a scene that has nothing in common with the one asked for; or a word or two, of a
    thing that the prompt leaves open."""
    for name, without in (("without", True), ("with", False)):
        asked = []
        for scene in scenes(max(1, films // SEEDS), world=world):
            other = "" if without else plain(_stranger(scene))
            asked.append(Asked(plain(scene), scene.shows(), negative=other))
        yield Point("negative", "", name, tuple(asked))
    shown = [telling_only(scene, ("subject", "colour", "action")) for scene in _fitting(films, world, _anywhere)]
    for word in ("", *UNWANTED):
        asked = [replace(one, negative=word) for one in shown]
        yield Point("negative", "open prompts", negated(word), tuple(asked), counted=tuple(UNWANTED))


def negated(word: str) -> str:
    """Where on the curve of negative prompts the films are whose prompts leave open what this one of UNWANTED names."""
    return f"open, negative: {word}" if word else OPEN


def _anywhere(scene: Scene) -> bool:
    """Whether all that is UNWANTED can come of who does what there, and none of it has to."""
    places = set(world_of(scene.world).places(scene.subject, scene.action))
    snowy = set(UNWANTED["snow"]["place"])
    return _bare(scene) and bool(places & snowy) and bool(places - snowy - set(ENDLESS_NIGHT))


def _emphasis(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """One phrase of the full caption counts more or less than the rest, with the same seeds."""
    for name in STRESSED:
        shown = _fitting(films, world, lambda scene, name=name: phrase_of(scene, name) is not None)
        for weight in WEIGHTS:
            asked = tuple(Asked(stressed(scene, name, weight), scene.shows()) for scene in shown)
            yield Point("emphasis", name, weight, asked)


def phrase_of(scene: Scene, name: str) -> str | None:
    """What the full caption says of an attribute and of nothing else, a word for the colour and else a clause, where the attribute
    is not the usual one; None where there is no such phrase."""
    if name == "colour":
        return scene.colour if plain(scene).split().count(scene.colour) == 1 else None
    if scene.turn != "none":  # which tells of the light or the weather once more
        return None
    usual = replace(scene, **{name: world_of(scene.world).values[name][0]})
    clauses, other = in_clauses(scene)[1], in_clauses(usual)[1]
    own = [clause for clause in clauses if clause not in other]
    return (
        own[0] if len(own) == 1 and [c for c in clauses if c not in own] == [c for c in other if c in clauses] else None
    )


def stressed(scene: Scene, name: str, weight: float) -> str:
    """The full caption, in which what it says of an attribute has a weight."""
    phrase = phrase_of(scene, name)
    assert phrase is not None
    return re.sub(rf"\b{re.escape(phrase)}\b", f"({phrase}:{weight:g})", plain(scene), count=1)


CURVES: dict[str, Curve] = {
    "guidance": Curve("What does stronger guidance give, and what does it take?", "guidance", _guidance),
    "steps": Curve("How many steps does each solver need?", "steps", _steps),
    "length": Curve("What does a longer prompt pin down?", "attributes said", _length),
    "order": Curve("Does it matter whether details come first or last?", "order", _order),
    "contradiction": Curve("What does a prompt show that contradicts itself?", "last sentence", _contradiction),
    "complexity": Curve("How much of a prompt can short and long films hold?", "attributes said", _complexity),
    "negative": Curve("Does a negative prompt help?", "negative prompt", _negative),
    "emphasis": Curve("What does a weight on a phrase do?", "weight of the phrase", _emphasis),
}
"""The curves by name, in the order in which they are measured."""
