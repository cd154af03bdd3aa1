"""Which films a steering curve asks for: one thing is turned, all else is held, and the same scenes are asked for each time.

A curve answers a question that guides to prompting like to answer without a measurement. It is a list of points, a point
a list of prompts with what they say, and how the films of all of them are made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vitascope.evaluation.scenes import scenes
from vitascope.shot import Shot
from vitascope.storybook import Scene, caption, plain, said
from vitascope.storybook.worlds import DEFAULT, world_of

GUIDANCE = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 11.0, 15.0)
STEPS = (4, 8, 16, 32, 64, 100)
SOLVERS = ("ddpm", "ddim", "euler", "heun", "dpmpp_2m", "unipc", "adaptive")
FRAMES = (17, 33)
"""The lengths of films whose prompts are simple and complex."""
CONTRADICTED = "light"
SEEDS = 4
"""Films of each prompt, which differ in their seeds alone: their distances are the diversity."""
MANY_SEEDS = 16
"""The same where the question is what the prompt leaves open."""
DRAWS = 400  # captions of a scene among which those that say little and much are looked for


@dataclass(frozen=True)
class Asked:
    """A prompt and what it says by attribute; the other value where it contradicts itself; what it should not show."""

    prompt: str
    says: Mapping[str, str]
    against: str | None = None
    negative: str = ""


@dataclass(frozen=True)
class Point:
    """One place on a curve."""

    curve: str
    line: str
    """Which of the curve's lines; "" where there is one."""
    x: float | str
    asked: tuple[Asked, ...]
    like: Mapping[str, Any] = field(default_factory=dict)
    """Fields of a Shot that all films share, before those that hold for all curves."""
    seeds: int = SEEDS

    @property
    def name(self) -> str:
        """Tells it from every other point."""
        return f"{self.curve} / {self.line} / {self.x}"


@dataclass(frozen=True)
class Curve:
    """A question, what is turned, and the points that answer it, for a number of films a point and a world."""

    question: str
    turned: str
    points: Callable[[int, str], Iterator[Point]]


def shots(point: Point, held: Mapping[str, Any]) -> list[Shot]:
    """The shots of a point, prompt by prompt, seeds 0, 1, 2... within each. Raises BadShot."""
    return [
        Shot.model_validate({**held, **point.like, "prompt": asked.prompt, "negative": asked.negative, "seed": seed})
        for asked in point.asked
        for seed in range(point.seeds)
    ]


def _plainly(films: int, world: str = DEFAULT) -> tuple[Asked, ...]:
    return tuple(Asked(plain(s), s.shows()) for s in scenes(max(1, films // SEEDS), world=world))


def _guidance(films: int, world: str = DEFAULT) -> Iterator[Point]:
    for scale in GUIDANCE:
        yield Point("guidance", "", scale, _plainly(films, world), {"guidance": scale})


def _steps(films: int, world: str = DEFAULT) -> Iterator[Point]:
    for solver in SOLVERS:
        for steps in STEPS:
            yield Point("steps", solver, float(steps), _plainly(films, world), {"solver": solver, "steps": steps})


def _saying(shown: Sequence[Scene]) -> dict[int, list[Asked]]:
    """Captions of the world's own grammar by how many attributes they say: of these very scenes, in their order, each time."""
    found: dict[int, list[Asked]] = {}
    for scene in shown:
        kept: dict[int, Asked] = {}
        for index in range(DRAWS):
            names = said(scene, index)
            if len(names) not in kept:
                kept[len(names)] = Asked(caption(scene, index), scene.shows(names))
        for count, asked in kept.items():
            found.setdefault(count, []).append(asked)
    return {count: asked for count, asked in sorted(found.items()) if len(asked) == len(shown)}


def _length(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """Captions that say two attributes, three, and so on."""
    for count, asked in _saying(scenes(max(1, films // MANY_SEEDS), world=world)).items():
        yield Point("length", "", float(count), tuple(asked), seeds=min(films, MANY_SEEDS))


def _complexity(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """Captions that say least, half-way, and most, in short films and in long ones."""
    found = _saying(scenes(max(1, films // SEEDS), world=world))
    counts = list(found)
    for frames in FRAMES:
        for count in dict.fromkeys((counts[0], counts[len(counts) // 2], counts[-1])):
            yield Point("complexity", f"{frames} frames", float(count), tuple(found[count]), {"frames": frames})


def _order(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """The clauses of the full caption: the subject's first, as the canonical order has it, or last."""
    for name, turned in (("details last", False), ("details first", True)):
        asked = []
        for scene in scenes(max(1, films // SEEDS), world=world):
            main, *details = plain(scene).split(", ")
            asked.append(Asked(", ".join([*details, main] if turned else [main, *details]), scene.shows()))
        yield Point("order", "", name, tuple(asked))


def _contradiction(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """A sentence at the end says the light once more, rightly or wrongly."""
    shown = [s for s in scenes(4 * films, world=world) if plain(s) != plain(_other_light(s))][: max(1, films // SEEDS)]
    for name, contrary in (("said twice alike", False), ("contradicted", True)):
        asked = []
        for scene in shown:
            other = str(getattr(_other_light(scene), CONTRADICTED))
            told = other if contrary else str(getattr(scene, CONTRADICTED))
            asked.append(Asked(f"{plain(scene)}. it is {told}", scene.shows(), other))
        yield Point("contradiction", "", name, tuple(asked))


def _other_light(scene: Scene) -> Scene:
    return _shifted(scene, CONTRADICTED)


def _shifted(scene: Scene, name: str) -> Scene:
    """The scene with another value of an attribute: the one half of the way on, which is seldom a neighbour in kind."""
    values = world_of(scene.world).values[name]
    at = values.index(str(getattr(scene, name)))
    return replace(scene, **{name: values[(at + max(1, len(values) // 2)) % len(values)]})


def _stranger(scene: Scene) -> Scene:
    """The first scene of the evaluation that shares nothing with this one that a full caption always says."""
    for other in scenes(1000, world=scene.world):
        if all(
            getattr(other, name) != getattr(scene, name) for name in ("subject", "colour", "action", "place", "light")
        ):
            return other
    raise RuntimeError(f"no scene of {scene.world} differs from {plain(scene)!r} in everything")


def _negative(films: int, world: str = DEFAULT) -> Iterator[Point]:
    """The negative prompt is the full caption of a scene that has nothing in common with the one asked for."""
    for name, without in (("without", True), ("with", False)):
        asked = []
        for scene in scenes(max(1, films // SEEDS), world=world):
            other = "" if without else plain(_stranger(scene))
            asked.append(Asked(plain(scene), scene.shows(), negative=other))
        yield Point("negative", "", name, tuple(asked))


CURVES: dict[str, Curve] = {
    "guidance": Curve("What does stronger guidance give, and what does it take?", "guidance", _guidance),
    "steps": Curve("How many steps does each solver need?", "steps", _steps),
    "length": Curve("What does a longer prompt pin down?", "attributes said", _length),
    "order": Curve("Does it matter whether details come first or last?", "order", _order),
    "contradiction": Curve("What does a prompt show that contradicts itself?", "last sentence", _contradiction),
    "complexity": Curve("How much of a prompt can short and long films hold?", "attributes said", _complexity),
    "negative": Curve("Does a negative prompt help?", "negative prompt", _negative),
}
"""The curves by name, in the order in which they are measured."""
