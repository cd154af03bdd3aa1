"""A scene: what happens in one clip of the storybook, as exact labels and a few numbers.

A scene is a pure function of (seed, index). Its words are the labels; its numbers are in world units, of which the
frame is 1 high (see `motion.View`). Rules that keep the labels exact:

* in the night sky it is always night;
* every other (subject, colour, action, place, light, weather, camera) is possible;
* a (subject, colour, action, place) is withheld from training when the hash of its words says so (`withheld`).
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from vitascope.physics.noise import key

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "subject": ("ball", "box", "star", "heart", "balloon", "car", "fish", "boat", "tree"),
    "colour": ("red", "green", "blue", "yellow", "purple", "orange", "white", "black"),
    "action": ("rises", "falls", "bounces", "rolls", "spins", "moves left", "moves right", "grows", "stays still"),
    "place": ("meadow", "snowfield", "desert", "sea", "forest", "night sky"),
    "light": ("morning", "day", "dusk", "night"),
    "weather": ("clear", "rain", "snow"),
    "camera": ("still", "pans left", "pans right", "zooms in", "zooms out"),
}
"""Every attribute and its values, in the words that `Scene` uses."""

Split = Literal["train", "withheld", "any"]

_CLEAR = 0.5  # the share of clips without rain or snow
_STILL = 0.4  # the share of clips whose camera does not move


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


def withheld(subject: str, colour: str, action: str, place: str) -> bool:
    """Whether this combination is kept out of every training: sha256 of the joined words, modulo 10, is 0."""
    digest = hashlib.sha256(" ".join((subject, colour, action, place)).encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10 == 0


def _one(draw: random.Random, values: tuple[str, ...]) -> str:
    return values[int(draw.random() * len(values))]


def _usual(draw: random.Random, values: tuple[str, ...], share: float) -> str:
    """The first value with probability `share`, one of the others otherwise."""
    usual, other = draw.random() < share, _one(draw, values[1:])
    return values[0] if usual else other


def scene(seed: int, index: int, split: Split = "train") -> Scene:
    """The scene of (seed, index). Split "train" never yields a withheld combination, "withheld" only those.

    Raises ValueError for an unknown split.
    """
    if split not in ("train", "withheld", "any"):
        raise ValueError(f"split is one of 'train', 'withheld', 'any', got {split!r}")
    draw = random.Random(key(seed, "scene", index))  # only .random() is used: it is the same in every Python
    while True:
        words = tuple(_one(draw, ATTRIBUTES[name]) for name in ("subject", "colour", "action", "place"))
        if split == "any" or withheld(*words) == (split == "withheld"):
            break
    subject, colour, action, place = words
    light = _one(draw, ATTRIBUTES["light"])
    camera = _usual(draw, ATTRIBUTES["camera"], _STILL)
    low = -0.36 if camera.startswith("zooms") else -0.40
    return Scene(
        seed=seed,
        index=index,
        subject=subject,
        colour=colour,
        action=action,
        place=place,
        light="night" if place == "night sky" else light,
        weather=_usual(draw, ATTRIBUTES["weather"], _CLEAR),
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
    )
