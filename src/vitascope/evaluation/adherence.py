"""Adherence: whether a generated film shows what its prompt said, attribute by attribute, as a probe reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.evaluation.films import Shown
from vitascope.evaluation.probe import Probe
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split
from vitascope.evaluation.share import Share
from vitascope.storybook.worlds import world_of

ROWS = 16  # films that are read together


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


def adherence(shown: Shown, probe: Probe, split: Split = "withheld", watch: Watch | None = None) -> Adherence:
    """What the probe reads in generated films, in their scenes' true renders, and in those after the codec."""
    read: list[list[dict[str, str]]] = [[], [], []]
    for start in range(0, len(shown), ROWS):
        for found, films in zip(read, (shown.made, shown.codec, shown.real)):
            found += probe.read(films[start : start + ROWS])
        if watch:
            watch("reading films", len(read[0]), len(shown))
    made, through, true = read
    asked = [one.shows(probe.config.attributes) for one in shown.scenes]
    rows = [counted(probe, name, asked, made, through, true) for name in probe.config.attributes]
    readings = [Reading(s.prompt, s.seed or 0, a, m) for s, a, m in zip(shown.shots, asked, made, strict=True)]
    return Adherence.of(split, rows, readings)


def fits(probe: Probe, engine: Engine) -> None:
    """Raises BadModel when the probe cannot look at this model's films, or knows another world."""
    video, seen = engine.recipe.video, probe.config
    way = "name with --probe a folder that does not exist yet, and one is trained."
    if (seen.height, seen.width) != (video.height, video.width) or not probe.reads(video.frames):
        raise BadModel(
            f"probe: it was trained on {seen.frames} frames of {seen.width}x{seen.height} and this model makes "
            f"{video.frames} of {video.width}x{video.height}; {way}"
        )
    known = world_of(engine.recipe.world).values
    for name, values in seen.attributes.items():
        if seen.world != engine.recipe.world or tuple(values) != known.get(name):
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
