"""Several takes of one shot, as on a film set: drafts of some seeds in few steps, of which the one is kept in which the model's
own probe reads most of what the prompt asks for.

Nothing of a film is changed by it. What is chosen is a seed, and the film is the one that `generate --seed` makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.films import Keep, generated
from vitascope.evaluation.probe import ABOUT, Probe
from vitascope.evaluation.progress import Watch
from vitascope.shot import LARGEST_SEED, MOST_TAKES, Given, Shot
from vitascope.storybook.asking import asked

DRAFT = 8
"""Steps of a draft. With so many a film shows what it shows with more (docs/howto.md, "What steers the shipped model")."""
RESTLESS = ("ddpm", "dpmpp_2m_sde", "euler_maruyama")
"""Solvers that add noise at every step, so that in few steps they go elsewhere: their drafts have all the steps."""


SURE = 0.99
"""No probe is surer than this of any attribute, so that one that it misreads cannot outweigh all others."""


@dataclass(frozen=True)
class Take:
    """A draft's seed, and what was read in it."""

    seed: int
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
        return f"seed {self.seed}: the probe reads {seen or 'nothing as asked'}" + (f", but {other}" if other else "")


def judge(folder: Path, name: str) -> Probe:
    """The probe that lies in a bundle. Raises BadModel where there is none; `name`: the model's."""
    place = folder / "probe"
    if not (place / ABOUT).is_file():
        raise BadModel(
            f"takes: a probe that says what films show chooses among them, and {name} has none beside it; make one film, or "
            "take storybook."
        )
    return Probe.load(place)


def wanted(shot: Shot, probe: Probe) -> dict[str, str]:
    """What a shot's prompt asks for, of what a probe reads. Raises BadShot where that is nothing, or where the probe reads no
    films of the shot's size, as far as that is said."""
    if shot.unconditional:
        raise BadShot(
            "takes: the one is kept that shows most of what the prompt asks for, and a film without a prompt asks for nothing; "
            "give a prompt, or make one film."
        )
    sees = probe.config
    size = {"frames": sees.frames, "height": sees.height, "width": sees.width}
    other = [f"{name} {said}" for name, own in size.items() if (said := getattr(shot, name)) not in (None, own)]
    if other:
        raise BadShot(
            f"takes: the probe that chooses among them reads {sees.frames} frames of {sees.width}x{sees.height}, and this film "
            f"has {', '.join(other)}; leave that out, or make one film."
        )
    found = asked(shot.prompt, sees.world)
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
    engine: Engine,
    shot: Shot,
    count: int,
    probe: Probe,
    given: Given | None = None,
    watch: Watch | None = None,
    draft: Keep | None = None,
) -> list[Take]:
    """`count` takes of a prepared shot, of its seed and those after it: the best first, and of equals the earlier.

    given: what the shot names by hashes (`Engine.begun`); `draft` is given each draft.

    Raises:
        BadShot: where nothing of the prompt is understood, where the probe reads no films of this size, and for a count that is
            not from 2 to `MOST_TAKES`.
        FloatingPointError: when a draft's walk leaves the numbers.
        MemoryError: when the device's memory ends.
    """
    if not 2 <= count <= MOST_TAKES:
        raise BadShot(f"takes {count}: it is a whole number from 2 to {MOST_TAKES}; 4 would do.")
    given = given or Given()
    wants = wanted(shot, probe)
    if shot.seed is None or shot.steps is None or engine.begun(shot, given)[0] != shot:
        raise ValueError("takes: expected the result of Engine.prepare and Engine.begun, got another shot")
    steps = shot.steps if shot.solver in RESTLESS else min(DRAFT, shot.steps)
    drafts = [shot.model_copy(update={"seed": seed, "steps": steps}) for seed in seeds(shot.seed, count)]
    first = engine.guides(shot, given).first
    if first is not None:
        first = first.expand(count, *first.shape[1:])

    def tell(_: str, done: int, of: int) -> None:
        if watch:
            watch("trying takes", done, of)

    tell("", 0, count)
    found: list[Take] = []
    probe = probe.to(engine.device)
    try:
        for part, films in generated(engine, drafts, tell, first):
            if draft:
                for one, film in zip(part, films):
                    draft(one, film)
            found += _read(part, films, wants, probe)
    except torch.OutOfMemoryError as error:
        raise MemoryError("the device's memory ran out; ask for fewer takes, or make one film") from error
    return sorted(found, key=lambda take: -take.likely)


def _read(shots: Sequence[Shot], films: Tensor, wants: Mapping[str, str], probe: Probe) -> list[Take]:
    """What the probe reads in the films of these shots, uint8 [b t h w c]."""
    accuracy = probe.schooling.accuracy if probe.schooling else {}
    told = probe.told(films)
    found = []
    for row, shot in enumerate(shots):
        read, likely = {}, []
        for name, value in wants.items():
            values, sure = list(probe.config.attributes[name]), min(SURE, accuracy.get(name, SURE))
            chances = told[name][row].softmax(0)
            read[name] = values[int(chances.argmax())]
            likely.append(math.log(sure * float(chances[values.index(value)]) + (1 - sure) / len(values)))
        found.append(Take(shot.seed or 0, wants, read, sum(likely) / len(likely)))
    return found
