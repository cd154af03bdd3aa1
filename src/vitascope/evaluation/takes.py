"""Several takes of one shot, as on a film set: the same shot with some seeds, of which the one is kept in which the model's own
probe reads most of what the prompt asks for.

Nothing of a film is changed by it. What is chosen is a seed, and the film is the one that `generate --seed` makes of it:

    best = max(takes(engine, shot, 4, probe), key=lambda take: take.likely)
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vitascope.engine import Engine, Watch
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.probe import ABOUT, Probe
from vitascope.shot import LARGEST_SEED, MOST_TAKES, Given, Shot
from vitascope.storybook.asking import asked

SURE = 0.99
"""No probe is surer than this of any attribute, so that one that it misreads cannot outweigh all others."""


@dataclass(frozen=True)
class Take:
    """A film, and what was read in it."""

    shot: Shot
    frames: Tensor
    """uint8 [t h w c], at the model's own rate."""
    asked: Mapping[str, str]
    """What the prompt asks for, as far as it is understood."""
    read: Mapping[str, str]
    """What the probe reads of those attributes."""
    likely: float
    """The mean logarithm of how likely each of what was asked for is, by the probe and by how often that errs; 0 at best."""

    def __str__(self) -> str:
        seen = ", ".join(f"{name} {value}" for name, value in self.asked.items() if self.read[name] == value)
        other = ", ".join(
            f"{name} {self.read[name]} instead of {v}" for name, v in self.asked.items() if self.read[name] != v
        )
        return f"seed {self.shot.seed}: the probe reads {seen or 'nothing as asked'}" + (
            f", but {other}" if other else ""
        )


def judge(folder: Path, name: str) -> Probe:
    """The probe that lies in a bundle. Raises BadModel where there is none that can be read; `name`: the model's."""
    place = folder / "probe"
    if not (place / ABOUT).is_file():
        raise BadModel(
            f"takes: a probe that says what films show chooses among them, and {name} has none beside it; make one film, or "
            "take storybook."
        )
    try:
        return Probe.load(place)
    except BadModel:
        raise BadModel(
            f"takes: the probe of {name}, which chooses among them, cannot be read; copy the whole bundle again, or make one film."
        ) from None


def wanted(shot: Shot, probe: Probe, frames: int | None = None) -> dict[str, str]:
    """What a shot's prompt asks for, of what a probe reads. Raises BadShot where that is nothing, or where the probe reads no
    films of the shot's size, as far as that is said; frames: how many the model's own films have, if that is known."""
    if shot.unconditional:
        raise BadShot(
            "takes: the one is kept that shows most of what the prompt asks for, and a film without a prompt asks for nothing; "
            "give a prompt, or make one film."
        )
    sees = probe.config
    size = {"height": sees.height, "width": sees.width}
    other = [f"{name} {said}" for name, own in size.items() if (said := getattr(shot, name)) not in (None, own)]
    own = frames if frames is not None and probe.reads(frames) else sees.frames
    if shot.frames is not None and not (shot.frames == own or (frames is None and probe.reads(shot.frames))):
        other.insert(0, f"frames {shot.frames}")
    if other:
        raise BadShot(
            f"takes: the probe that chooses among them reads {own} frames of {sees.width}x{sees.height}, and this film "
            f"has {', '.join(other)}; leave that out, or make one film."
        )
    found = asked(shot.said("prompt").wanted, sees.world)
    found = {name: value for name, value in found.items() if value in sees.attributes.get(name, ())}
    if not found:
        raise BadShot(
            "takes: the one is kept that shows most of what the prompt asks for, and nothing in this prompt is among what the "
            "probe knows; name a subject or a place of the storybook, or make one film."
        )
    return found


def seeds(first: int, count: int) -> list[int]:
    """The seeds of so many takes: the first one's and those after it; after the largest comes 0."""
    return [(first + number) % (LARGEST_SEED + 1) for number in range(count)]


def takes(
    engine: Engine, shot: Shot, count: int, probe: Probe, given: Given | None = None, watch: Watch | None = None
) -> Iterator[Take]:
    """`count` takes of a prepared shot, of its seed and those after it, each as it is made.

    given: what the shot names by hashes (`Engine.begun`). `watch` hears of all steps of all takes.

    Raises:
        BadShot: where nothing of the prompt is understood, where the probe reads no films of this size, and for a count that is
            not from 2 to `MOST_TAKES`.
        FloatingPointError, MemoryError: as `Engine.film` does.
    """
    if not 2 <= count <= MOST_TAKES:
        raise BadShot(f"takes {count}: it is a whole number from 2 to {MOST_TAKES}; 4 would do.")
    wants = wanted(shot, probe, engine.defaults["frames"])
    if shot.seed is None:
        raise ValueError("takes: got a shot that is not prepared; expected the result of Engine.prepare")
    probe = probe.to(engine.device)
    for number, seed in enumerate(seeds(shot.seed, count)):

        def tell(doing: str, step: int, of: int, before: int = number) -> None:
            if watch and doing == "walking":
                watch("trying takes", before * of + step, count * of)

        one = shot.model_copy(update={"seed": seed})
        # A probe reads films at the model's rate: what is interpolated between their frames comes after it.
        film = engine.film(one.model_copy(update={"fps": engine.fps}), tell, given)
        yield read(one, torch.cat(list(film.chunks)), wants, probe)


def read(shot: Shot, frames: Tensor, wants: Mapping[str, str], probe: Probe) -> Take:
    """What a probe reads in a shot's frames, uint8 [t h w c], of what is wanted of them."""
    accuracy = probe.schooling.accuracy if probe.schooling else {}
    told = probe.told(frames[None])
    found, likely = {}, []
    for name, value in wants.items():
        values, sure = list(probe.config.attributes[name]), min(SURE, accuracy.get(name, SURE))
        chances = told[name][0].softmax(0)
        found[name] = values[int(chances.argmax())]
        likely.append(math.log(sure * float(chances[values.index(value)]) + (1 - sure) / len(values)))
    return Take(shot, frames, wants, found, sum(likely) / len(likely))
