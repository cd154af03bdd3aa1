"""The films that are measured: made once for all measures, beside their scenes' true renders and what the codec leaves of
those, which is the most that any film of the model can have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitascope.engine import Engine
from vitascope.evaluation.fidelity import reconstructed
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import real
from vitascope.pixels import to_bytes
from vitascope.shot import Given, Shot
from vitascope.storybook import Scene, plain
from vitascope.system import Guides

ROWS = 8  # films that walk together
Keep = Callable[[Shot, Tensor], None]
"""Is given each film as it comes, uint8 [t h w c]."""


@dataclass(frozen=True)
class Shown:
    """Scenes, the shots that asked for them, and films uint8 [n t h w c]: as made, after the codec, and true."""

    scenes: tuple[Scene, ...]
    shots: tuple[Shot, ...]
    made: Tensor
    codec: Tensor
    real: Tensor

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def versions(self) -> dict[str, Tensor]:
        """The three kinds of films by name."""
        return {"made": self.made, "codec": self.codec, "real": self.real}


def joined(a: Shown, b: Shown) -> Shown:
    """Both, one after the other."""
    films = (torch.cat((a.versions[name], b.versions[name])) for name in a.versions)
    return Shown((*a.scenes, *b.scenes), (*a.shots, *b.shots), *films)


def generated(
    engine: Engine, shots: Sequence[Shot], watch: Watch | None = None, first: Tensor | None = None
) -> Iterator[tuple[list[Shot], Tensor]]:
    """The films of prepared shots that are alike but for prompts and seeds, in batches: their shots and uint8 [b t h w c].

    `first` [n c 1 h w] are the latents of the pictures with which they begin, if with any. Raises FloatingPointError when a
    walk leaves the numbers.
    """
    for start in range(0, len(shots), ROWS):
        part = list(shots[start : start + ROWS])
        guides = None if first is None else Guides(first=first[start : start + ROWS])
        last = None
        for last in engine.sample(*part, guides=guides):
            done = min(1.0, (last.index + 1) / max(1, part[0].steps or 1))
            if watch:
                watch("making films", start + int(done * len(part)), len(shots))
        if last is None or not torch.isfinite(last.x).all():
            raise FloatingPointError(
                f"the films with the seeds {part[0].seed} to {part[-1].seed} left the numbers; use more steps, a lower "
                "guidance or another solver"
            )
        yield part, to_bytes(torch.cat(list(engine.codec.decode(last.x)), dim=2))


def show(
    engine: Engine,
    scenes: Sequence[Scene],
    like: Mapping[str, Any] | None = None,
    watch: Watch | None = None,
    film: Keep | None = None,
    *,
    begun: bool = False,
) -> Shown:
    """Films of the scenes' full captions with the seeds 0, 1, 2..., and what stands beside them.

    `like` are fields of a Shot that all of them share, such as steps; if `begun`, each is given the first picture of its true
    film. Raises BadShot.
    """
    true, through = [], []
    for start in range(0, len(scenes), ROWS):
        true.append(real(engine.recipe.video, scenes[start : start + ROWS]))
        through.append(reconstructed(engine, true[-1]))
        if watch:
            watch("rendering true films", min(start + ROWS, len(scenes)), len(scenes))
    shots = [prepared(engine, plain(scene), seed, like) for seed, scene in enumerate(scenes)]
    first = None
    if begun:
        shots, first = _begun(engine, shots, [film[0] for films in true for film in films])
    made: list[Tensor] = []
    for part, films in generated(engine, shots, watch, first):
        made.append(films)
        for shot, pixels in zip(part, films):
            if film:
                film(shot, pixels)
    return Shown(tuple(scenes), tuple(shots), torch.cat(made), torch.cat(through), torch.cat(true))


def _begun(engine: Engine, shots: Sequence[Shot], pictures: Sequence[Tensor]) -> tuple[list[Shot], Tensor]:
    """The shots with the pictures uint8 [h w 3] that they begin with, by their hashes, and the latents of those [n c 1 h w]."""
    named, first = [], []
    for shot, picture in zip(shots, pictures, strict=True):
        shot, given = engine.begun(shot, Given(image=picture))
        latent = engine.guides(shot, given).first
        assert latent is not None, (
            "whoever is not told of a picture by its latent is no model of ours, and has no world"
        )
        named.append(shot)
        first.append(latent)
    return named, torch.cat(first)


def prepared(engine: Engine, prompt: str, seed: int, like: Mapping[str, Any] | None = None) -> Shot:
    """One shot, whole. Raises BadShot."""
    return engine.prepare(Shot.model_validate({**(like or {}), "prompt": prompt, "seed": seed}))
