"""Adherence: whether a generated film shows what its prompt said, attribute by attribute, as a probe reads it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitascope.engine import Engine, to_bytes
from vitascope.errors import BadModel
from vitascope.evaluation.fidelity import reconstructed
from vitascope.evaluation.probe import Probe
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split, real, scenes
from vitascope.shot import Shot
from vitascope.storybook import ATTRIBUTES, Scene, plain

ROWS = 8  # films that walk together


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    hits: int
    of: int

    @property
    def value(self) -> float:
        """The share, in [0, 1]."""
        return self.hits / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Where the true share is with 95 % confidence (Wilson 1927)."""
        if not self.of:
            return 0.0, 1.0
        z, n, p = 1.959964, self.of, self.value
        middle, spread = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (middle - spread) / (1 + z * z / n), (middle + spread) / (1 + z * z / n)


@dataclass(frozen=True)
class Reading:
    """One film: what was asked for and what the probe reads in it."""

    prompt: str
    seed: int
    asked: dict[str, str]
    read: dict[str, str]


@dataclass(frozen=True)
class Obeyed:
    """One attribute. Beside the generated films stand the same scenes' true renders, as they are and after the codec: what
    the probe reads there is the most that it could read."""

    attribute: str
    measured: bool
    """Whether the probe reads it well enough (`probe.ENOUGH`) for the figures to count."""
    probe: float | None
    """The probe's own accuracy on renders that it never saw."""
    generated: Share
    codec: Share
    real: Share
    chance: float
    """What films that do not heed their prompts would reach."""
    values: dict[str, Share]
    """The generated films apart, by what was asked for."""


@dataclass(frozen=True)
class Adherence:
    """All attributes, and the readings that they are counted from."""

    split: Split
    mean: float | None
    """The mean share over the measured attributes; None when there is none."""
    whole: Share
    """Films in which every measured attribute is as asked."""
    attributes: tuple[Obeyed, ...]
    films: tuple[Reading, ...]

    @staticmethod
    def of(split: Split, attributes: Sequence[Obeyed], films: Sequence[Reading]) -> Adherence:
        """With the figures that follow from the others."""
        measured = [row for row in attributes if row.measured]
        mean = sum(row.generated.value for row in measured) / len(measured) if measured else None
        right = [all(film.read[row.attribute] == film.asked[row.attribute] for row in measured) for film in films]
        return Adherence(split, mean, Share(sum(right), len(right)), tuple(attributes), tuple(films))


def generated(
    engine: Engine, shown: Sequence[Scene], like: Mapping[str, Any], watch: Watch | None = None
) -> Iterator[tuple[list[Shot], Tensor]]:
    """Films of the scenes' full captions with the seeds 0, 1, 2..., in batches: their shots and uint8 [b t h w c].

    `like` are fields of a Shot that all of them share, such as steps. Raises BadShot; FloatingPointError when a walk leaves
    the numbers.
    """
    shots = [engine.prepare(Shot.model_validate({**like, "prompt": plain(s), "seed": i})) for i, s in enumerate(shown)]
    for start in range(0, len(shots), ROWS):
        part = shots[start : start + ROWS]
        last = None
        for last in engine.sample(*part):
            done = min(1.0, (last.index + 1) / max(1, part[0].steps or 1))
            if watch:
                watch("making films", start + int(done * len(part)), len(shots))
        if last is None or not torch.isfinite(last.x).all():
            raise FloatingPointError(
                f"the films with the seeds {start} to {start + len(part) - 1} left the numbers; use more steps, a lower "
                "guidance or another solver"
            )
        yield part, to_bytes(torch.cat(list(engine.codec.decode(last.x)), dim=2))


def adherence(
    engine: Engine,
    probe: Probe,
    prompts: int = 200,
    split: Split = "withheld",
    like: Mapping[str, Any] | None = None,
    *,
    watch: Watch | None = None,
    film: Callable[[Shot, Tensor], None] | None = None,
) -> Adherence:
    """Generate `prompts` films, read them, and read their scenes' true renders beside. `film` is given each film as it comes.

    Raises:
        BadModel: when the probe was trained on films of another shape.
    """
    fits(probe, engine)
    shown = scenes(prompts, split)
    made: list[dict[str, str]] = []
    said: list[Shot] = []
    for shots, films in generated(engine, shown, like or {}, watch):
        made += probe.read(films)
        said += shots
        for shot, pixels in zip(shots, films):
            if film:
                film(shot, pixels)
    true: list[dict[str, str]] = []
    through: list[dict[str, str]] = []
    for start in range(0, prompts, ROWS):
        films = real(engine.recipe.video, shown[start : start + ROWS])
        true += probe.read(films)
        through += probe.read(reconstructed(engine, films))
        if watch:
            watch("reading true films", len(true), prompts)
    asked = [{name: str(getattr(one, name)) for name in probe.config.attributes} for one in shown]
    rows = [counted(probe, name, asked, made, through, true) for name in probe.config.attributes]
    readings = [Reading(s.prompt, s.seed or 0, a, m) for s, a, m in zip(said, asked, made, strict=True)]
    return Adherence.of(split, rows, readings)


def fits(probe: Probe, engine: Engine) -> None:
    """Raises BadModel when the probe cannot look at this model's films, or knows another world."""
    video, seen = engine.recipe.video, probe.config
    way = "name with --probe a folder that does not exist yet, and one is trained."
    if (seen.frames, seen.height, seen.width) != (video.frames, video.height, video.width):
        raise BadModel(
            f"probe: it was trained on {seen.frames} frames of {seen.width}x{seen.height} and this model makes "
            f"{video.frames} of {video.width}x{video.height}; {way}"
        )
    for name, values in seen.attributes.items():
        if tuple(values) != ATTRIBUTES.get(name):
            raise BadModel(f"probe: what it knows of '{name}' is not what the storybook shows; {way}")


Labels = Sequence[Mapping[str, str]]


def counted(probe: Probe, name: str, asked: Labels, made: Labels, through: Labels, true: Labels) -> Obeyed:
    """One attribute's row, from what was asked and what was read."""

    def share(read: Labels) -> Share:
        return Share(sum(r[name] == a[name] for r, a in zip(read, asked, strict=True)), len(asked))

    often = Counter(one[name] for one in asked)
    right = Counter(a[name] for a, m in zip(asked, made, strict=True) if a[name] == m[name])
    own = probe.schooling.accuracy.get(name) if probe.schooling else None
    return Obeyed(
        attribute=name,
        measured=probe.measures(name),
        probe=own,
        generated=share(made),
        codec=share(through),
        real=share(true),
        chance=sum((count / len(asked)) ** 2 for count in often.values()),
        values={value: Share(right[value], often[value]) for value in probe.config.attributes[name] if often[value]},
    )
