"""Worlds: which labels there are, and which go together.

`first` is the small world of nine subjects. `whole` has it all: people, animals and vehicles that move each in its own way,
twelve places, a mood, a second subject, a change half-way. Both are drawn by the same code: a world is a choice of words.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from vitascope.storybook.dice import one

if TYPE_CHECKING:
    from vitascope.storybook.scenes import Scene

DEFAULT = "first"

HEADED = ("walks", "runs", "rolls")
"""Actions that go to one side, which their word leaves open."""
TRAVELS = ("walks", "runs", "moves left", "moves right", "rolls")
"""Actions that cross the frame."""

PEOPLE = ("woman", "man", "child")
ANIMALS = ("fox", "dog", "cat")
WALKERS = (*PEOPLE, *ANIMALS)

_BRIGHT = ("red", "green", "blue", "yellow", "purple", "orange", "white", "black")
_COLOURS = (*_BRIGHT, "pink", "brown", "grey")
_FUR = ("orange", "orange", "brown", "grey", "white", "black")

_LAND = ("meadow", "snowy park", "snowfield", "forest", "desert", "beach", "city street")
_OPEN = ("meadow", "snowy park", "snowfield", "desert", "beach", "sea", "city street")
_GROUND = (*_LAND, "room")
_PLACES = (*_LAND, "sea", "underwater", "room", "outer space", "night sky")

_SIDES = ("moves left", "moves right")
_DEPTH = ("approaches", "leaves")
_LOOSE = (
    "rises",
    "falls",
    "bounces",
    "spins",
    *_SIDES,
    *_DEPTH,
    "swings",
    "floats",
    "orbits",
    "grows",
    "shrinks",
    "stays still",
)
_WALKER = ("walks", "walks", "runs", "runs", *_DEPTH, "bounces", "stays still")
_FLYER = (*_SIDES, *_SIDES, "rises", "floats", "orbits", "stays still", *_DEPTH)


@dataclass(frozen=True)
class Kind:
    """What a subject can do, where it can be, in which colours it is. What stands twice is twice as frequent."""

    actions: tuple[str, ...]
    places: tuple[str, ...] = _PLACES
    colours: tuple[str, ...] = _COLOURS


KINDS: dict[str, Kind] = {
    "ball": Kind((*_LOOSE, "rolls")),
    "box": Kind((*_LOOSE, "rolls")),
    "star": Kind((*_LOOSE, "rolls")),
    "heart": Kind((*_LOOSE, "rolls")),
    "balloon": Kind(("rises", "floats", *_SIDES, "swings", "orbits", "grows", "shrinks", "stays still", *_DEPTH)),
    "lantern": Kind(("swings", "swings", "rises", "floats", "falls", "spins", "orbits", "stays still")),
    "kite": Kind(("rises", "floats", "falls", "swings", "spins", *_SIDES), _OPEN),
    "woman": Kind(_WALKER, _GROUND),
    "man": Kind(_WALKER, _GROUND),
    "child": Kind(_WALKER, _GROUND),
    "fox": Kind(_WALKER, _GROUND, _FUR),
    "dog": Kind(_WALKER, _GROUND, ("brown", "brown", "white", "black", "grey", "orange")),
    "cat": Kind(_WALKER, _GROUND, ("black", "white", "grey", "orange", "brown")),
    "bird": Kind(_FLYER, (*_LAND, "sea")),
    "butterfly": Kind(_FLYER, ("meadow", "snowy park", "forest", "desert", "beach", "city street", "room")),
    "fish": Kind((*_SIDES, *_SIDES, "rises", "falls", "floats", "orbits", "stays still", *_DEPTH), ("underwater",)),
    "car": Kind((*_SIDES, *_SIDES, *_DEPTH, "stays still"), (*_LAND, "outer space")),
    "bicycle": Kind((*_SIDES, *_SIDES, "stays still"), _LAND),
    "boat": Kind((*_SIDES, *_SIDES, "floats", *_DEPTH), ("sea",)),
    "rocket": Kind(
        ("rises", "rises", "falls", "floats", "orbits", "stays still", *_DEPTH),
        ("outer space", "night sky", "meadow", "desert", "snowfield", "beach"),
    ),
    "tree": Kind(("stays still", "grows", "shrinks"), (*_LAND, "outer space")),
    "house": Kind(("stays still", "grows", "shrinks"), _LAND),
    "glass": Kind(("shatters", "shatters", "shatters", "spins", "falls", "stays still"), ("room", "city street", "beach", "meadow")),
    "stone": Kind(
        ("splashes", "splashes", "falls", "rolls", "bounces", "stays still"),
        (*_LAND, "sea"),
        ("grey", "brown", "black", "white", "red", "blue"),
    ),
}  # fmt: skip

ENDLESS_NIGHT = ("night sky", "outer space")
SHELTERED = ("room", "underwater", "outer space")
"""Places without weather."""
WATER = ("sea",)
"""Where things splash and leave a wake."""
SOFT = ("snowfield", "snowy park", "desert", "beach")
"""Where the ground keeps a print."""
WHEELED = ("car", "bicycle")

BEATS: dict[str, tuple[str, ...]] = {
    "walks": ("stops", "waits", "speeds up", "speeds up"),
    "runs": ("stops", "waits"),
    "moves left": ("stops", "waits"),
    "moves right": ("stops", "waits"),
    "approaches": ("stops", "waits"),
    "leaves": ("stops", "waits"),
    "rolls": ("stops", "waits"),
    "spins": ("stops", "waits"),
    "rises": ("falls", "stops", "waits"),
    "grows": ("shrinks", "stops"),
}
"""What can happen half-way to each action."""

TURNS: dict[str, tuple[str, str, str]] = {
    "dusk falls": ("light", "day", "dusk"),
    "night falls": ("light", "dusk", "night"),
    "day breaks": ("light", "night", "morning"),
    "rain begins": ("weather", "cloudy", "rain"),
    "rain ends": ("weather", "rain", "cloudy"),
    "snow begins": ("weather", "cloudy", "snow"),
    "snow ends": ("weather", "snow", "cloudy"),
}
"""What can change around the subject: which label, from what, to what."""

_STANDS = (
    "ball",
    "box",
    "star",
    "heart",
    "tree",
    "house",
    "car",
    "dog",
    "cat",
    "fox",
    "woman",
    "man",
    "child",
    "lantern",
)
"""What can be the other subject where it only stands there."""
_IN_PLACE = ("stays still", "spins", "bounces", "grows", "shrinks")


@dataclass(frozen=True)
class World:
    """The values of every attribute, in the words that `Scene` uses, how often the usual ones come, and what there is beside
    words: a scene asks its world (`Scene.laws`) and never for its name.
    """

    values: Mapping[str, tuple[str, ...]]
    """The usual value first, where one is usual."""
    clear: float = 0.5
    """The share of clips without rain or snow."""
    still: float = 0.4
    """The share of clips whose camera does not move."""
    free: bool = False
    """Whether everything goes with everything, and nothing is there but the subject."""
    grammar: bool = True
    """Whether captions are built from phrases (`grammar`), or fill the gaps of whole sentences (`words`)."""
    limbs: bool = True
    """Whether legs, wheels and wings move."""
    traces: bool = True
    """Whether something is left on the ground behind who goes there."""
    fronts: bool = True
    """Whether something stands before the subject."""
    rails: bool = False
    """Whether a camera that pans is moved, as on rails, and not turned."""
    own_draws: bool = True
    """Whether each part of the scenery has draws of its own, so that it lies where it lies whatever the light and the weather
    add before it; or one stream goes through them all."""
    night_clouds: bool = True
    """Whether there are clouds by night."""
    faint_shadows: bool = True
    """Whether the shadow of what is far off, or still small, is fainter."""

    def colours(self, subject: str) -> tuple[str, ...]:
        """The colours that a subject comes in."""
        return self.values["colour"] if self.free else KINDS[subject].colours

    def actions(self, subject: str) -> tuple[str, ...]:
        """What a subject does."""
        return self.values["action"] if self.free else KINDS[subject].actions

    def places(self, subject: str, action: str) -> tuple[str, ...]:
        """Where a subject does it."""
        if self.free:
            return self.values["place"]
        places = KINDS[subject].places
        if action == "splashes":
            return WATER
        return tuple(place for place in places if place not in WATER) if subject == "stone" else places

    def weathers(self, place: str) -> tuple[str, ...]:
        """The weather that a place can have, the usual one first."""
        return ("clear",) if place in SHELTERED and not self.free else self.values["weather"]

    def light_in(self, place: str, light: str) -> str:
        """The light that a place has when this one was drawn."""
        return "night" if place in ENDLESS_NIGHT else light

    def cameras(self, action: str) -> tuple[str, ...]:
        """How the camera can go, the usual first: it follows only what crosses the frame, and does not zoom on what comes."""
        found = self.values["camera"]
        if action in _DEPTH:
            found = tuple(name for name in found if not name.startswith("zooms"))
        return found if action in TRAVELS else tuple(name for name in found if name != "tracks")

    def enrich(self, scene: Scene, draw: random.Random) -> Scene:
        """The scene with what only the whole world has."""
        if self.free:
            return scene

        def seldom(values: tuple[str, ...], share: float) -> str:
            use, value = draw.random() < share, one(draw, values)
            return value if use else ""

        more: dict[str, Any] = {
            "mood": seldom(self.values["mood"][1:], 0.4) or "neutral",
            "size": seldom(("small", "large"), 0.35) or "usual",
            "dress": one(draw, ("coat", "coat", "scarf")) if scene.subject in PEOPLE else "nothing",
        }
        kind = draw.random()  # at most one of these in a clip: each is to be seen
        if kind < 0.2 and scene.action in BEATS:
            more["beat"] = one(draw, BEATS[scene.action])
        elif kind < 0.35 and scene.place not in (*ENDLESS_NIGHT, *SHELTERED):
            more["turn"] = one(draw, tuple(TURNS))
            name, before, _ = TURNS[more["turn"]]
            more[name] = before
        elif kind < 0.52 and scene.action not in ("shatters", "splashes", "orbits", *_DEPTH):
            more["count"] = one(draw, ("two", "three"))
            if more["size"] == "large":
                more["size"] = "usual"
        elif kind < 0.85:
            return replace(scene, **more, **_joined(scene, draw))
        return replace(scene, **more)


def withheld(subject: str, colour: str, action: str, place: str) -> bool:
    """Whether this combination is kept out of every training: sha256 of the joined words, modulo 10, is 0."""
    digest = hashlib.sha256(" ".join((subject, colour, action, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10 == 0


def _joined(scene: Scene, draw: random.Random) -> dict[str, Any]:
    """What a second subject changes in the scene: nothing if what the first one does leaves it no place."""
    if scene.action in _IN_PLACE:
        relation, others = one(draw, ("left of", "right of", "behind")), _STANDS
    elif scene.action in ("walks", "runs"):
        relation, others = "follows" if scene.action == "walks" else "chases", WALKERS
    else:
        return {}
    other = one(draw, tuple(name for name in others if name != scene.subject and scene.place in KINDS[name].places))
    does = "stays still" if scene.action in _IN_PLACE else scene.action
    colours = tuple(
        name
        for name in KINDS[other].colours
        if name != scene.colour and not withheld(other, name, does, scene.place)  # it is shown and named as well
    )
    return {"relation": relation, "other": other, "other_colour": one(draw, colours), "x": 0.0}


FIRST = World(
    {
        "subject": ("ball", "box", "star", "heart", "balloon", "car", "fish", "boat", "tree"),
        "colour": _BRIGHT,
        "action": ("rises", "falls", "bounces", "rolls", "spins", "moves left", "moves right", "grows", "stays still"),
        "place": ("meadow", "snowfield", "desert", "sea", "forest", "night sky"),
        "light": ("morning", "day", "dusk", "night"),
        "weather": ("clear", "rain", "snow"),
        "camera": ("still", "pans left", "pans right", "zooms in", "zooms out"),
    },
    free=True,
    grammar=False,
    limbs=False,
    traces=False,
    fronts=False,
    rails=True,
    own_draws=False,
    night_clouds=False,
    faint_shadows=False,
)

WHOLE = World(
    {
        "subject": tuple(KINDS),
        "colour": _COLOURS,
        "action": tuple(dict.fromkeys(action for kind in KINDS.values() for action in kind.actions)),
        "heading": ("none", "left", "right"),
        "place": _PLACES,
        "light": ("morning", "day", "dusk", "night"),
        "weather": ("clear", "cloudy", "rain", "snow", "fog", "wind"),
        "mood": ("neutral", "warm", "cold", "dreamy", "stark"),
        "camera": (
            "still", "pans left", "pans right", "tilts up", "tilts down", "zooms in", "zooms out", "tracks", "circles",
        ),
        "size": ("usual", "small", "large"),
        "count": ("one", "two", "three"),
        "relation": ("none", "left of", "right of", "behind", "follows", "chases"),
        "change": ("none", "stops", "waits", "speeds up", "falls", "shrinks", *TURNS),
    },
    clear=0.4,
)  # fmt: skip

WORLDS = {"first": FIRST, "whole": WHOLE}

ATTRIBUTES = FIRST.values
"""Every attribute of the first world and its values."""

MIRRORED = {
    "left": "right",
    "right": "left",
    "moves left": "moves right",
    "moves right": "moves left",
    "pans left": "pans right",
    "pans right": "pans left",
    "left of": "right of",
    "right of": "left of",
}
"""What values become when left and right are exchanged; all others stay."""


def world_of(name: str) -> World:
    """The world of this name. Raises ValueError for an unknown one."""
    if name not in WORLDS:
        raise ValueError(f"world is one of {', '.join(WORLDS)}, got {name!r}")
    return WORLDS[name]
