"""Steering curves: adherence, diversity and saturation, as one thing after another is turned.

A measurement of all of them takes hours on a small machine. It is kept point by point, so that one that was stopped goes
on where it stood, and says of what it is: weights, probe and everything that was held.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vitascope.bundle import fingerprint
from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.evaluation.adherence import fits
from vitascope.evaluation.distribution import features, spread
from vitascope.evaluation.films import generated
from vitascope.evaluation.probe import Probe, Schooling
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.rounding import rounded
from vitascope.evaluation.scenes import real, scenes, siblings
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import CONTRADICTED, CURVES, OPEN, SEEDS, UNWANTED, Asked, Point, negated, shots
from vitascope.physics.noise import key
from vitascope.storybook import Scene, dice, plain, scene
from vitascope.storybook.worlds import DEFAULT, TURNS, world_of

DRAWS = 32
"""Groups of scenes over which the world's own entropy is a mean."""


@dataclass(frozen=True)
class Left:
    """How much is left open of an attribute, in bits: by the films of one prompt, and by as many scenes of the world that show
    what the prompt says. Both are means over prompts, and over those alone where the world leaves it open."""

    made: float
    world: float


@dataclass(frozen=True)
class Measured:
    """What a point's films are like. Nothing but `finite` is known of films that left the numbers."""

    name: str
    curve: str
    line: str
    x: float | str
    films: int
    finite: bool
    adherence: Share
    """Readings that are as the prompts say, of all attributes that they say and the probe measures."""
    diversity: float | None
    """The mean distance between films of one prompt, in the probe's feature space."""
    saturation: float | None
    """The mean difference between a pixel's strongest and weakest channel, in [0, 1]."""
    freedom: float | None = None
    """The entropy, over films of one prompt, of the attributes that it leaves open, beside that of as many scenes of the
    world: 1 is as free. Where `left` is told, of scenes that show what the prompt says. None where nothing is open."""
    first: Share | None = None
    """Films that show what a contradictory prompt says first, or by its noun, and what contradicts that."""
    last: Share | None = None
    attributes: dict[str, Share] = field(default_factory=dict)
    """By attribute, of all that are said: also of those that the probe reads too badly to call them measured, whose figures
    tell one point from another at most, and only beside the world's."""
    left: dict[str, Left] = field(default_factory=dict)
    """By attribute that the prompts leave open; of every attribute as in `attributes`. The world's scenes are drawn by what is
    said alone, as if silence told nothing. It does: a caption that is silent of the weather is more often of a clear sky. So
    the best of models is less free in what a caption says when it is unusual: weather, mood, camera, size, relation, change."""
    shown: dict[str, Share] = field(default_factory=dict)
    """Films that show what a negative prompt of some point names, whether this one's names it or not."""

    @property
    def everything(self) -> Share:
        """Readings that are as the prompts say, of all attributes that they say."""
        told = self.attributes.values()
        return Share(sum(share.hits for share in told), sum(share.of for share in told))


@dataclass(frozen=True)
class Curves:
    """All points so far, and how true films of the same scenes measure."""

    model: str
    weights: str
    probe: Schooling | None
    held: dict[str, Any]
    films: int
    """Films a point."""
    world: Measured
    points: tuple[Measured, ...]

    def json(self) -> str:
        """As JSON text."""
        return _CURVES.dump_json(self, indent=1).decode() + "\n"

    @staticmethod
    def parse(text: str) -> Curves:
        """From the text that `json` gave. Raises BadModel."""
        try:
            return _CURVES.validate_json(text)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "the whole"
            raise BadModel(
                f"curves: the entry '{where}' is not what vitascope evaluate writes; measure the curves again"
            ) from error

    def continues(self, other: Curves) -> bool:
        """Whether these are of the same measurement as others, whatever is measured of either."""
        return replace(self, points=(), world=other.world) == replace(other, points=())


_CURVES = TypeAdapter(Curves)


def measure_curves(
    engine: Engine,
    probe: Probe,
    names: Sequence[str] = tuple(CURVES),
    films: int = 16,
    held: Mapping[str, Any] | None = None,
    *,
    before: Curves | None = None,
    watch: Watch | None = None,
    keep: Callable[[Curves], None] | None = None,
) -> Curves:
    """The curves of these names, with about `films` films a point; `held` are fields of a Shot for all of them.

    Points that `before` has are not measured again; `keep` is given everything known after each point.

    Raises:
        BadModel: when the probe knows another world, or `before` is of another measurement or of prompts of an earlier version.
    """
    fits(probe, engine)
    fresh = header(engine, probe, films, held or {})
    if before is not None and not before.continues(fresh):
        raise BadModel("curves: what is there was measured of other weights or otherwise; measure into another folder")
    if before is not None:
        _as_now(before, engine.recipe.world)
    known = before or replace(fresh, world=world(engine, probe, films))
    have = {point.name for point in known.points}
    todo = [p for name in names for p in CURVES[name].points(films, engine.recipe.world) if p.name not in have]
    for done, point in enumerate(todo, 1):
        known = replace(known, points=(*known.points, measured(engine, probe, point, held or {}, watch)))
        if keep:
            keep(known)
        if watch:
            watch("measuring curves", done, len(todo))
    return known


def _as_now(before: Curves, world: str) -> None:
    """Raises BadModel when points were asked for in words that are no longer asked for: one page cannot show both."""
    names = {point.curve for point in before.points}
    now = {point.name for name in names & set(CURVES) for point in CURVES[name].points(before.films, world)}
    old = next((point.name for point in before.points if point.name not in now), None)
    if old is not None:
        raise BadModel(
            f"curves: '{old}' was asked for by an earlier version in other prompts than it is now, and one page cannot show "
            "both; measure into another folder, or anew with --force"
        )


def header(engine: Engine, probe: Probe, films: int, held: Mapping[str, Any]) -> Curves:
    """What is measured, before anything is."""
    defaults = engine.defaults | dict(held)
    walk = {name: defaults[name] for name in ("steps", "solver", "guidance", "shift")}
    nothing = Measured("world", "", "", "", 0, True, Share(0, 0), None, None)
    return Curves(engine.recipe.name, fingerprint(engine.weights), probe.schooling, walk, films, nothing, ())


def world(engine: Engine, probe: Probe, films: int) -> Measured:
    """How true films measure: as many of the same full captions; nothing is as free as the world."""
    shown = scenes(max(1, films // SEEDS), world=engine.recipe.world)
    true = torch.cat([real(engine.recipe.video, siblings(one, SEEDS)) for one in shown])
    asked = tuple(Asked(plain(one), one.shows()) for one in shown)
    return replace(judged(probe, Point("world", "", "", asked), true), freedom=1.0)


def measured(
    engine: Engine, probe: Probe, point: Point, held: Mapping[str, Any], watch: Watch | None = None
) -> Measured:
    """One point: its films are made and judged."""
    asked = [engine.prepare(shot) for shot in shots(point, held)]
    try:
        films = torch.cat([made for _, made in generated(engine, asked, watch)])
    except FloatingPointError:
        return Measured(point.name, point.curve, point.line, point.x, len(asked), False, Share(0, 0), None, None)
    return judged(probe, point, films)


def judged(probe: Probe, point: Point, films: Tensor) -> Measured:
    """Films uint8 [n t h w c] of a point's shots, in their order."""
    read = [probe.read(part) for part in films.split(point.seeds)]
    usable = [name for name in probe.config.attributes if probe.measures(name)]
    hits: dict[str, list[bool]] = {}
    for asked, group in zip(point.asked, read):
        for film in group:
            for name, said in asked.says.items():
                if name in film and not (asked.against and name == CONTRADICTED):
                    hits.setdefault(name, []).append(film[name] == said)
    right = [hit for name in usable for hit in hits.get(name, ())]
    told = features(probe, films).split(point.seeds)
    apart = [spread(each) for each in told if len(each) > 1]
    free = left(point.asked, read, probe.config.world) if point.narrowing else {}
    contrary = [(a, film[CONTRADICTED]) for a, group in zip(point.asked, read) for film in group if a.against]
    found = Measured(
        name=point.name,
        curve=point.curve,
        line=point.line,
        x=point.x,
        films=len(films),
        finite=True,
        adherence=Share(sum(right), len(right)),
        diversity=sum(apart) / len(apart) if apart else None,
        saturation=saturation(films),
        freedom=share_of(free, usable) if point.narrowing else freedom(point.asked, read, usable, probe.config.world),
        first=Share(sum(v == a.says[CONTRADICTED] for a, v in contrary), len(contrary)) if contrary else None,
        last=Share(sum(v == a.against for a, v in contrary), len(contrary)) if contrary else None,
        attributes={name: Share(sum(each), len(each)) for name, each in hits.items()},
        left=free,
        shown={word: _showing(word, [film for group in read for film in group]) for word in point.counted},
    )
    return rounded(found)


def _showing(word: str, films: Sequence[Mapping[str, str]]) -> Share:
    """The films that show what a word of UNWANTED names."""
    signs = UNWANTED[word].items()
    return Share(sum(any(film.get(name) in values for name, values in signs) for film in films), len(films))


class Negated(NamedTuple):
    """What a negative prompt names, and the films that show it nevertheless: without that negative prompt, and with it."""

    word: str
    without: Share
    within: Share


def negations(points: Sequence[Measured]) -> list[Negated]:
    """What negative prompts of a word or two do, as far as both of its points are measured."""
    found = {point.x: point.shown for point in points if point.curve == "negative" and point.shown}
    pairs = ((word, found.get(OPEN), found.get(negated(word))) for word in UNWANTED)
    return [Negated(word, off[word], on[word]) for word, off, on in pairs if off and on]


def saturation(films: Tensor) -> float:
    """The mean difference between a pixel's strongest and weakest channel, in [0, 1], of films uint8 [n t h w c]."""
    return float(sum(float((f.amax(-1) - f.amin(-1)).float().mean()) for f in films) / len(films) / 255)


def freedom(
    asked: Sequence[Asked],
    read: Sequence[Sequence[Mapping[str, str]]],
    usable: Sequence[str],
    world: str = DEFAULT,
) -> float | None:
    """The entropy of what prompts leave open, over the films of each, beside that of as many scenes of the world."""
    made = whole = 0.0
    for one, group in zip(asked, read):
        for name in usable:
            if name not in one.says:
                made += entropy([film[name] for film in group])
                whole += usual_entropy(name, len(group), world)
    return made / whole if whole else None


def entropy(values: Sequence[str]) -> float:
    """Of the values' own frequencies, in bits."""
    return -sum(n / len(values) * math.log2(n / len(values)) for n in Counter(values).values())


@cache
def usual_entropy(name: str, count: int, world: str = DEFAULT, draws: int = 32) -> float:
    """The mean entropy of an attribute among `count` scenes of the world: few draws show less than there is."""
    seed = key(0, "usual entropy")
    told = [str(getattr(scene(seed, index, "any", world), name)) for index in range(draws * count)]
    return sum(entropy(told[start : start + count]) for start in range(0, len(told), count)) / draws


def left(asked: Sequence[Asked], read: Sequence[Sequence[Mapping[str, str]]], world: str = DEFAULT) -> dict[str, Left]:
    """What prompts leave open, by attribute: of the films of each, and of as many scenes of the world that show what it says.

    An entropy of few draws is too low; both are of equally many, so that they can be compared.
    """
    found: dict[str, list[tuple[float, float]]] = {}
    for one, group in zip(asked, read):
        usual = _usual_entropies(tuple(one.says.items()), len(group), world)
        for name in group[0]:
            if usual.get(name):
                found.setdefault(name, []).append((entropy([film[name] for film in group]), usual[name]))
    means = {name: [sum(bits) / len(each) for bits in zip(*each)] for name, each in found.items()}
    return {name: Left(made, whole) for name, (made, whole) in means.items()}


def share_of(free: Mapping[str, Left], names: Sequence[str]) -> float | None:
    """How free these attributes are, together, beside the world; None where the world leaves none of them open."""
    kept = [free[name] for name in names if name in free]
    whole = sum(each.world for each in kept)
    return sum(each.made for each in kept) / whole if whole else None


@cache
def _usual_entropies(said: tuple[tuple[str, str], ...], count: int, world: str) -> dict[str, float]:
    """The mean entropy of each attribute that is not said, among `count` scenes that show what is."""
    shown, index = [], 0
    while len(shown) < DRAWS * count:
        one = given(dict(said), index, world)
        shown += [] if one is None else [one]
        index += 1
    names = [name for name in world_of(world).values if name not in dict(said)]
    told = {name: [str(getattr(one, name)) for one in shown] for name in names}
    starts = range(0, len(shown), count)
    return {name: sum(entropy(each[at : at + count]) for at in starts) / DRAWS for name, each in told.items()}


def given(said: Mapping[str, str], index: int, world: str = DEFAULT) -> Scene | None:
    """Number `index` of the world's scenes that show what is said; None where it was drawn and shows something else.

    What is said is not left to the draw, which is right where all that its chances depend on is said, too: a subject before its
    colour and its action, those before the place, the place before the weather. A light or a weather that is said does not turn
    half-way, for then a caption does not say it.
    """
    laws, seed = world_of(world), key(0, "scenes that show what is said")
    draw = random.Random(key(seed, "words", index))

    def one(name: str, values: Sequence[str]) -> str:
        drawn = dice.one(draw, values)
        return said.get(name, drawn)

    subject = one("subject", laws.values["subject"])
    colour, action = one("colour", laws.colours(subject)), one("action", laws.actions(subject))
    place = one("place", laws.places(subject, action))
    light = laws.light_in(place, one("light", laws.values["light"]))
    weathers, cameras = laws.weathers(place), laws.cameras(action)
    weather = one("weather", weathers[:1] if draw.random() < laws.clear else weathers[1:] or weathers)
    camera = one("camera", cameras[:1] if draw.random() < laws.still else cameras[1:])
    words = {"subject": subject, "colour": colour, "action": action, "place": place, "light": light, "weather": weather}
    none = dict.fromkeys(("beat", "turn", "relation", "other", "other_colour"), "none")
    bare = replace(scene(seed, index, "any", world), **words, camera=camera, count="one", **none)
    made = laws.enrich(bare, random.Random(key(seed, "extras", index)))
    if "mood" in said:  # it depends on nothing, and nothing on it
        made = replace(made, mood=said["mood"])
    turned = made.turn != "none" and TURNS[made.turn][0] in said
    return made if not turned and all(getattr(made, name) == value for name, value in said.items()) else None
