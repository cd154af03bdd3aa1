"""A scene: what happens in one clip of the storybook, as exact labels and a few numbers.

A scene is a pure function of (world, seed, index). Its words are the labels; its numbers are in world units, of which the
frame is 1 high (see `motion`). Rules that keep the labels exact:

* each subject does what it can do, in places where it can be, in colours that it can have (`worlds`);
* a place that has one light or no weather keeps it: it is always night in outer space, and never rains in a room;
* a (subject, colour, action, place) is withheld from training when the hash of its words says so (`withheld`).
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from vitascope.physics.noise import key
from vitascope.storybook.dice import one
from vitascope.storybook.worlds import (
    DEFAULT,
    HEADED,
    SOFT,
    TRAVELS,
    WALKERS,
    WATER,
    WHEELED,
    World,
    withheld,
    world_of,
)

Split = Literal["train", "withheld", "any"]
Trace = Literal["footprints", "wheels", "groove", "wake"]


@dataclass(frozen=True)
class Scene:
    """The labels of a clip and the numbers that make it this clip.

    radius, x, floor, horizon are in world units (frame height 1, origin at the centre, y up); direction and facing are
    +1 (right) or -1 (left); vigour and phase, in [0, 1), choose a speed and a start within what the action allows;
    reach, in [0, 1), how far the camera travels; shade, three numbers in [-1, 1], the shade of the colour; detail seeds
    the scenery.
    """

    seed: int
    index: int
    subject: str
    colour: str
    action: str
    place: str
    light: str
    weather: str
    camera: str
    radius: float
    x: float
    floor: float
    horizon: float
    direction: int
    facing: int
    vigour: float
    phase: float
    reach: float
    shade: tuple[float, float, float]
    detail: int
    world: str = DEFAULT
    mood: str = "neutral"
    """How the picture is graded."""
    size: str = "usual"
    """The subject's, beside what is usual for its kind."""
    count: str = "one"
    """How many of the subject there are."""
    dress: str = "nothing"
    """What a person wears in the colour: a coat or a scarf."""
    beat: str = "none"
    """What happens half-way: it stops, it waited until then, it falls, speeds up or shrinks."""
    turn: str = "none"
    """What changes around it meanwhile: the light or the weather. `light` and `weather` say how it begins."""
    other: str = "none"
    """A second subject."""
    other_colour: str = "none"
    relation: str = "none"
    """Where the subject is, or what it does, to the other: left of, right of, behind, follows, chases."""

    @property
    def laws(self) -> World:
        """Its world. Raises ValueError for an unknown one."""
        return world_of(self.world)

    @property
    def heading(self) -> str:
        """The side to which it goes: left, right, or none where its action has no side."""
        if self.action in ("moves left", "moves right"):
            return self.action.removeprefix("moves ")
        return ("right" if self.direction > 0 else "left") if self.action in HEADED else "none"

    @property
    def labels(self) -> dict[str, Any]:
        """The fields that are labels: two scenes that share them differ in what labels leave open. A heading is one of them."""
        found: dict[str, Any] = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        if "heading" in self.laws.values and self.heading != "none":
            found["direction"] = self.direction
        return found

    def shows(self, names: Collection[str] | None = None) -> dict[str, str]:
        """What it shows of its world's attributes, of all or of those among `names`: {"camera": "pans left", ...}."""
        return {name: str(getattr(self, name)) for name in self.laws.values if names is None or name in names}

    def usual(self, name: str) -> bool:
        """Whether it has the usual value of an attribute of its world: the first one. Raises KeyError for another name."""
        return getattr(self, name) == self.laws.values[name][0]

    @property
    def change(self) -> str:
        """What changes in the shot, of the subject or around it."""
        return self.beat if self.beat != "none" else self.turn

    @property
    def trace(self) -> Trace | None:
        """What the subject leaves behind it that lasts: it is drawn, and told, where this says so. What falls into water makes
        rings, which do not last."""
        if not self.laws.traces or self.action not in TRAVELS:
            return None
        if self.place in WATER:
            return "wake" if self.subject == "boat" else None
        if self.place not in SOFT:
            return None
        if self.subject in WALKERS and self.action != "rolls":
            return "footprints"
        return "wheels" if self.subject in WHEELED else "groove" if self.action == "rolls" else None


def _mostly(draw: random.Random, values: tuple[str, ...], share: float) -> str:
    """The first value with probability `share`, one of the others otherwise."""
    usual, other = draw.random() < share, one(draw, values[1:])
    return values[0] if usual else other


def scene(seed: int, index: int, split: Split = "train", world: str = DEFAULT) -> Scene:
    """The scene of (world, seed, index). Split "train" never yields a withheld combination, "withheld" only those.

    Raises ValueError for an unknown split or world.
    """
    if split not in ("train", "withheld", "any"):
        raise ValueError(f"split is one of 'train', 'withheld', 'any', got {split!r}")
    laws = world_of(world)
    draw = random.Random(key(seed, "scene", index))  # only .random() is used: it is the same in every Python
    while True:
        words = _words(draw, laws)
        if split == "any" or withheld(*words) == (split == "withheld"):
            break
    subject, colour, action, place = words
    light = one(draw, laws.values["light"])
    camera = _mostly(draw, laws.cameras(action), laws.still)
    low = -0.36 if camera.startswith("zooms") else -0.40
    weathers = laws.weathers(place)
    made = Scene(
        seed=seed,
        index=index,
        subject=subject,
        colour=colour,
        action=action,
        place=place,
        light=laws.light_in(place, light),
        weather=_mostly(draw, weathers, laws.clear) if weathers[1:] else "clear",
        camera=camera,
        radius=0.208 + 0.052 * draw.random(),
        x=-0.22 + 0.44 * draw.random(),
        floor=low + 0.06 * draw.random(),
        horizon=-0.12 + 0.16 * draw.random(),
        direction=1 if draw.random() < 0.5 else -1,
        facing=1 if draw.random() < 0.5 else -1,
        vigour=draw.random(),
        phase=draw.random(),
        reach=draw.random(),
        shade=(2 * draw.random() - 1, 2 * draw.random() - 1, 2 * draw.random() - 1),
        detail=key(seed, "scene detail", index),
        world=world,
    )
    return laws.enrich(made, random.Random(key(seed, "scene extras", index)))


def _words(draw: random.Random, laws: World) -> tuple[str, str, str, str]:
    """(subject, colour, action, place), each possible for the subject."""
    subject = one(draw, laws.values["subject"])
    colour = one(draw, laws.colours(subject))
    action = one(draw, laws.actions(subject))
    return subject, colour, action, one(draw, laws.places(subject, action))
