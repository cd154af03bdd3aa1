"""What a weight on a phrase does when it weighs a field, as vitascope has it, and when it moves embeddings, as ComfyUI does: films of
prompts that ask for a pan, with that clause weighed, as the bundle's probe reads them.

    python -m vitascope.bench.emphasis [--model storybook] [--films 40] [--steps 8] [--sheet a.png]

Embeddings move along z0 + w (z - z0), where z is a token's in the prompt and z0 that of the empty prompt, which has one. Both ways
begin from the same noise. The sheet has a row a prompt: without a weight, then each way with the largest.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from vitascope.bench.answers import answer
from vitascope.bench.returns import shares
from vitascope.emphasis import weighed
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.evaluation.films import prepared
from vitascope.evaluation.scenes import scenes
from vitascope.evaluation.steering import phrase_of, stressed
from vitascope.evaluation.takes import judge
from vitascope.finding import find
from vitascope.media import filmstrip, sheet
from vitascope.physics.field import Condition
from vitascope.physics.guidance import guide
from vitascope.physics.noise import Noise
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import shifted
from vitascope.shot import Shot
from vitascope.storybook import Scene
from vitascope.text import ClipText

WEIGHTS = (1.0, 1.5, 2.0, 3.0)
WEIGHED = "camera"
STRIP = 3
"""Frames of a film on the sheet."""


def moved(text: ClipText, prompt: str) -> Condition:
    """What a network is told of a prompt whose weighed phrases have their tokens' embeddings moved. Raises BadShot where a phrase
    comes twice."""
    said = weighed(prompt)
    told, empty = text([said.text]), text([""])["context"][0, 0]
    context = told["context"].clone()
    for phrase in said.phrases:
        before, *after = said.text.split(phrase.text)
        if len(after) != 1:
            raise BadShot(f"'{phrase.text}' comes {len(after)} times in the prompt; take a phrase that comes once.")
        begin, end = (
            len(text.words.tokens(part, text.config.text_length)[0]) - 1 for part in (before, before + phrase.text)
        )
        context[0, begin:end] = empty + phrase.weight * (context[0, begin:end] - empty)
    return {**told, "context": context}


def by_field(engine: Engine, shot: Shot) -> Tensor:
    """The latent of a prepared shot, its phrases weighed as `generate` does."""
    *_, last = engine.sample(shot)
    return last.x


def by_embedding(engine: Engine, shot: Shot) -> Tensor:
    """The same, but that embeddings are moved."""
    text, diffusion = cast(ClipText, engine.text), engine.diffusion
    wanted, everything = moved(text, shot.prompt), text([""])
    field = guide(diffusion.field(wanted), diffusion.field(everything), shot.scale.at)
    assert shot.solver, "it is prepared, and so is all else"
    noise = Noise((shot.seed or 0,))
    x = noise.normal("start", 0, engine.latent_shape(shot), device=engine.device)
    *_, last = SOLVERS[shot.solver](field, x, shifted(shot.steps or 1, shot.shift or 1.0), noise=noise)
    return last.x


WAYS = {"the field": by_field, "embeddings": by_embedding}


def panning(world: str) -> Iterator[Scene]:
    """Withheld scenes that pan, without end; those of the evaluation's first 160 are not among them."""
    every = (scenes(1, start=number, world=world)[0] for number in itertools.count(160))
    return (one for one in every if one.camera.startswith("pans") and phrase_of(one, WEIGHED))


def _measure(asked: argparse.Namespace) -> tuple[Table, Tensor]:
    """The table, and the sheet."""
    if asked.films < 1:
        raise BadShot(f"--films {asked.films}: there is at least 1; 40 is usual.")
    engine = Engine.load(find(asked.model))
    assert engine.folder is not None, "a model that was found lies in a folder"
    probe = judge(engine.folder, engine.system.name).to(engine.device)
    shown = list(itertools.islice(panning(engine.recipe.world), asked.films))
    labels = [one.shows(probe.config.attributes) for one in shown]
    like = {} if asked.steps is None else {"steps": asked.steps}
    cases = [("no", WEIGHTS[0]), *((way, weight) for way in WAYS for weight in WEIGHTS[1:])]
    read: dict[tuple[str, float], list[dict[str, str]]] = {case: [] for case in cases}
    strips: list[Tensor] = []
    for number, scene in enumerate(track(shown, "weighing pans", console=Console(stderr=True))):
        for way, weight in cases:
            shot = prepared(engine, stressed(scene, WEIGHED, weight), number, like)
            film = torch.cat(list(engine.frames(WAYS.get(way, by_field)(engine, shot))))
            read[way, weight] += probe.read(film[None])
            if weight in (WEIGHTS[0], WEIGHTS[-1]):
                strips.append(filmstrip(film, STRIP))
    table = Table("weighs", "weight", "the pan is seen", "all else is as asked")
    table.title = f"of {len(shown)} withheld prompts that ask for a pan"
    for way, weight in cases:
        counts = shares(read[way, weight], labels)
        pans = counts.pop(WEIGHED)
        rest = sum(counts.values()) / len(counts) / len(shown)
        table.add_row(way, f"{weight:g}", f"{pans} of {len(shown)}", f"{rest:.1%}")
    return table, sheet(strips, 3)


def main() -> None:
    """Print the table, and draw the sheet if asked."""
    parser = argparse.ArgumentParser(description="What a weight on a phrase does, in two ways of weighing it.")
    parser.add_argument("--model", default="storybook")
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--sheet", type=Path, help="a PNG, a row a prompt: no weight, and either way's largest")
    answer(parser.parse_args(), _measure)


if __name__ == "__main__":
    main()
