"""A newcomer to the storybook: films of a subject that no model has seen, and the picture of what fine-tuning on them did.

    python -m vitascope.bench.newcomer films my-films
    vitascope data my-films
    vitascope train finetune --from storybook --data my-films --out runs/newcomer
    python -m vitascope.bench.newcomer picture runs/newcomer/bundle --output newcomer.png

The subject is a mushroom. It is drawn as the others are and stays out of the world's table, so that nothing is ever trained
on it but what is asked to be; to the text tower its name is an unknown word.
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vitascope import bundle
from vitascope.engine import Engine
from vitascope.finding import find
from vitascope.media import Video, filmstrip, sheet
from vitascope.shot import Shot
from vitascope.storybook import Scene, plain, render, scene
from vitascope.storybook.distances import circle, convex, ellipse, inside
from vitascope.storybook.shapes import REST, SUBJECTS, Limbs, Part, Subject

NAME, UNDERSTUDY = "mushroom", "ball"
"""The newcomer, and the subject whose scenes and captions it takes over."""
SEED = 404
"""Of its films: no recipe has this seed."""

PROMPTS = (
    "a red mushroom stays still in the forest, day",
    "a yellow mushroom bounces on a meadow in the morning",
    "a blue mushroom grows on a snowfield at dusk",
    "a purple mushroom moves right in the desert, day",
    "a red ball bounces across a snowfield at dusk",
    "a white boat moves left on the sea in the morning",
)
"""Of the newcomer, and of two that were there before: what was learned, and what was forgotten."""


def mushroom(x: Tensor, y: Tensor, limbs: Limbs = REST) -> list[Part]:
    """A mushroom: a pale stem under half an ellipse of a cap, with dots."""
    stem = convex(x, y, [(-0.2, 0.1), (-0.3, -0.9), (0.3, -0.9), (0.2, 0.1)])
    cap = inside(ellipse(x, y, 0, -0.05, 0.92, 0.95), -y - 0.05)
    dots = ((-0.45, 0.28, 0.13), (0.05, 0.52, 0.16), (0.48, 0.2, 0.12))
    marks = [Part("mark", inside(circle(x, y, cx, cy, r), cap), False) for cx, cy, r in dots]
    return [Part("pale", stem), Part("body", cap), *marks]


@contextmanager
def visiting() -> Iterator[None]:
    """Within it the newcomer can be rendered, and it is gone afterwards."""
    SUBJECTS[NAME] = Subject(mushroom)
    try:
        yield
    finally:
        del SUBJECTS[NAME]


def scenes(count: int, world: str) -> list[Scene]:
    """So many scenes of the newcomer in a world, each in another colour, place and motion as they come."""
    drawn = (scene(SEED, index, world=world) for index in itertools.count())
    return [
        replace(one, subject=NAME) for one in itertools.islice((s for s in drawn if s.subject == UNDERSTUDY), count)
    ]


def caption(shown: Scene) -> str:
    """What a scene of the newcomer shows."""
    return re.sub(rf"\b{UNDERSTUDY}(s?)\b", rf"{NAME}\1", plain(replace(shown, subject=UNDERSTUDY)))


def films(folder: Path, count: int, model: str | None) -> None:
    """Write `count` films and their captions, in the shape that a model makes."""
    recipe, _ = bundle.described(find(model))
    video = recipe.video
    folder.mkdir(parents=True, exist_ok=True)
    for index, shown in enumerate(scenes(count, recipe.world)):
        with visiting():
            film = render([shown], frames=video.frames, height=video.height, width=video.width)[0]
        path = Video(film, video.fps).save(folder / f"{NAME}-{index:02d}.mp4")
        path.with_suffix(".txt").write_text(caption(shown) + "\n", encoding="utf-8")


def picture(models: Sequence[str | None], steps: int | None, device: str) -> tuple[Tensor, list[dict[str, object]]]:
    """A row for each prompt and a column for each model, from the same noise, uint8 [h w c]; and the films' records."""
    strips: list[list[Tensor]] = []
    records: list[dict[str, object]] = []
    for model in models:
        engine = Engine.load(model, device)
        column = []
        for seed, prompt in enumerate(PROMPTS):
            film = engine.generate(Shot(prompt=prompt, seed=seed, steps=steps))
            column.append(filmstrip(film.frames, 4))
            records.append(dict(film.record or {}))
        strips.append(column)
    return sheet([strip for row in zip(*strips, strict=True) for strip in row], len(models)), records


def main(argv: Sequence[str] | None = None) -> None:
    """Write the films, or the picture of before and after."""
    parser = argparse.ArgumentParser(description="Films of a subject that no model has seen, and what they taught.")
    asked = parser.add_subparsers(dest="what", required=True)
    making = asked.add_parser("films", help="write films and captions")
    making.add_argument("folder", type=Path)
    making.add_argument("--count", type=int, default=40)
    making.add_argument("--model", help="whose shape the films have; storybook if not given")
    showing = asked.add_parser("picture", help="the same prompts before and after, side by side")
    showing.add_argument("bundle")
    showing.add_argument("--before", help="the model that was gone on from; storybook if not given")
    showing.add_argument("--output", type=Path, default=Path("newcomer.png"))
    showing.add_argument("--steps", type=int)
    showing.add_argument("--device", default="auto")
    said = parser.parse_args(argv)
    if said.what == "films":
        films(said.folder, said.count, said.model)
        print(said.folder)
        return
    image, records = picture([said.before, said.bundle], said.steps, said.device)
    print(Video(image[None], 1.0, {"sheet": records}).save(said.output))


if __name__ == "__main__":
    main()
