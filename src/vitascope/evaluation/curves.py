"""Steering curves: adherence, diversity and saturation, as one thing after another is turned.

A measurement of all of them takes hours on a small machine. It is kept point by point, so that one that was stopped goes
on where it stood, and says of what it is: weights, probe and everything that was held.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

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
from vitascope.evaluation.steering import CONTRADICTED, CURVES, SEEDS, Asked, Point, shots
from vitascope.physics.noise import key
from vitascope.storybook import plain, scene
from vitascope.storybook.worlds import DEFAULT


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
    world: 1 is as free. None where nothing is open."""
    first: Share | None = None
    """Films that show what a contradictory prompt says first, and what it says last."""
    last: Share | None = None
    attributes: dict[str, Share] = field(default_factory=dict)
    """By attribute, of all that are said: also of those that the probe reads too badly to call them measured, whose figures
    tell one point from another at most, and only beside the world's."""

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
        BadModel: when the probe knows another world, or `before` is of another measurement.
    """
    fits(probe, engine)
    fresh = header(engine, probe, films, held or {})
    if before is not None and not before.continues(fresh):
        raise BadModel("curves: what is there was measured of other weights or otherwise; measure into another folder")
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
    seen = paced(films, probe.config.frames)
    read = [probe.read(part) for part in seen.split(point.seeds)]
    usable = [name for name in probe.config.attributes if probe.measures(name)]
    hits: dict[str, list[bool]] = {}
    for asked, group in zip(point.asked, read):
        for film in group:
            for name, said in asked.says.items():
                if name in film and not (asked.against and name == CONTRADICTED):
                    hits.setdefault(name, []).append(film[name] == said)
    right = [hit for name in usable for hit in hits.get(name, ())]
    told = features(probe, seen).split(point.seeds)
    apart = [spread(each) for each in told if len(each) > 1]
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
        freedom=freedom(point.asked, read, usable, probe.config.world),
        first=Share(sum(v == a.says[CONTRADICTED] for a, v in contrary), len(contrary)) if contrary else None,
        last=Share(sum(v == a.against for a, v in contrary), len(contrary)) if contrary else None,
        attributes={name: Share(sum(each), len(each)) for name, each in hits.items()},
    )
    return rounded(found)


def paced(films: Tensor, frames: int) -> Tensor:
    """Films [n t h w c] in as many frames as a probe looks at, from the first to the last: frames are left out of longer ones,
    and shown more than once of shorter ones."""
    last = films.shape[1] - 1
    if last + 1 == frames:
        return films
    return films[:, [round(k * last / max(1, frames - 1)) for k in range(frames)]]


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
