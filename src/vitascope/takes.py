"""Several takes of one shot, as on a film set: drafts of some seeds in few steps, of which the one is kept in which the model's
own probe reads most of what the prompt asks for.

Nothing of a film is changed by it. What is chosen is a seed, and the film is the one that `generate --seed` makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

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


@dataclass(frozen=True)
class Take:
    """A draft's seed, and what was read in it."""

    seed: int
    asked: Mapping[str, str]
    """What the prompt asks for, as far as it is understood."""
    read: Mapping[str, str]
    """What the probe reads of those attributes."""
    likely: float
    """The mean logarithm of how likely each of what was asked for is to the probe; 0 at best."""

    def __str__(self) -> str:
        seen = ", ".join(f"{name} {value}" for name, value in self.asked.items() if self.read[name] == value)
        other = ", ".join(f"{name} {self.read[name]} for {v}" for name, v in self.asked.items() if self.read[name] != v)
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
    """What a shot's prompt asks for, of what a probe reads. Raises BadShot where that is nothing."""
    found = {} if shot.unconditional else asked(shot.prompt, probe.config.world)
    found = {name: value for name, value in found.items() if value in probe.config.attributes.get(name, ())}
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

    given: what the shot names by hashes (`Engine.begun`); `draft` is given each draft. Raises BadShot where nothing of the prompt
    is understood, where the probe reads no films of this size, and for a count below 1 or above `MOST_TAKES`.
    """
    if not 1 <= count <= MOST_TAKES:
        raise BadShot(f"takes {count}: it is a whole number from 1 to {MOST_TAKES}; 4 is usual.")
    wants, sees = wanted(shot, probe), probe.config
    if (shot.frames, shot.height, shot.width) != (sees.frames, sees.height, sees.width):
        raise BadShot(
            f"takes: the probe that chooses among them reads {sees.frames} frames of {sees.width}x{sees.height}, and this film "
            f"has {shot.frames} of {shot.width}x{shot.height}; leave the size as it is, or make one film."
        )
    if shot.seed is None or shot.steps is None:
        raise ValueError("takes: got a shot that is not prepared; expected the result of Engine.prepare")
    steps = shot.steps if shot.solver in RESTLESS else min(DRAFT, shot.steps)
    drafts = [shot.model_copy(update={"seed": seed, "steps": steps}) for seed in seeds(shot.seed, count)]
    first = engine.guides(shot, given).first if given else None
    if first is not None:
        first = first.expand(count, *first.shape[1:])
    probe = probe.to(engine.device)
    found: list[Take] = []

    def tell(_: str, done: int, of: int) -> None:
        if watch:
            watch("trying takes", done, of)

    tell("", 0, count)
    for part, films in generated(engine, drafts, tell, first):
        told = probe.told(films)
        for row, one in enumerate(part):
            if draft:
                draft(one, films[row])
            read, chances = {}, []
            for name, value in wants.items():
                values, likely = list(sees.attributes[name]), told[name][row].log_softmax(0)
                read[name] = values[int(likely.argmax())]
                chances.append(float(likely[values.index(value)]))
            found.append(Take(one.seed or 0, wants, read, sum(chances) / len(chances)))
    return sorted(found, key=lambda take: -take.likely)
