"""Pictures of how far a stage has come: a contact sheet tells in a glance what a loss does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from vitascope.bundle import System
from vitascope.engine import Engine
from vitascope.media import Video, sheet
from vitascope.pixels import to_bytes, to_pixels
from vitascope.precision import bf16
from vitascope.shot import Shot
from vitascope.training.loop import State, Task
from vitascope.training.tasks import CodecTask, DiffusionTask

PROMPTS = (
    "a red ball bounces across a snowfield at dusk",
    "a blue car moves right in the desert, day",
    "a green fish rises in the sea at night",
    "a yellow star spins in the night sky",
    "a purple balloon falls over a meadow in the rain",
    "a white boat moves left on the sea in the morning",
)
MOMENTS = 5


def preview(folder: Path, stage: str, system: System, state: State, task: Task, step: int) -> None:
    """Write `<stage>-<step>.png`, seen through the averaged weights. CLIP has nothing to look at."""
    with averaged(state):
        if isinstance(task, CodecTask):
            rows = _reconstructions(task)
        elif isinstance(task, DiffusionTask):
            rows = samples(system, task.clips.prompts[: len(PROMPTS)] or PROMPTS)
        else:
            return
    folder.mkdir(parents=True, exist_ok=True)
    picture = sheet([_moments(row) for row in rows], columns=2)
    Video(picture.unsqueeze(0), 1.0).save(folder / f"{stage}-{step:06d}.png")


def samples(system: System, prompts: Sequence[str]) -> list[Tensor]:
    """A film uint8 [t h w c] for each prompt, seeds 0, 1, 2..., with the recipe's defaults but at most 20 steps."""
    engine = Engine(system)
    steps = min(20, system.recipe.defaults.steps)
    shots = [engine.prepare(Shot(prompt=prompt, seed=seed, steps=steps)) for seed, prompt in enumerate(prompts)]
    before = system.diffusion.autocast, system.codec.autocast
    system.diffusion.autocast = system.codec.autocast = True
    *_, last = engine.sample(*shots)
    films = to_bytes(torch.cat(list(system.codec.decode(last.x)), dim=2))
    system.diffusion.autocast, system.codec.autocast = before
    return list(films)


def _reconstructions(task: CodecTask) -> list[Tensor]:
    clips = torch.stack([task.clips.pixels(i) for i in range(min(4, len(task.clips)))])
    video = to_pixels(clips).to(task.device)
    with torch.no_grad(), bf16(video.device.type, task.settings.autocast):
        decoded = task.model.reconstruct(video)[0].float()
    return [row for pair in zip(clips, to_bytes(decoded)) for row in pair]


def _moments(film: Tensor) -> Tensor:
    chosen = torch.linspace(0, film.shape[0] - 1, min(MOMENTS, film.shape[0])).round().long()
    return torch.cat(list(film[chosen]), dim=1)


@contextmanager
def averaged(state: State) -> Iterator[None]:
    """Within it a stage's model has its averaged weights, is in its mode of use, and runs as it is written: where it was
    compiled, it was so for the batches of training, and other shapes would each wait for a compiler."""
    model = state.model
    raw = {name: p.detach().clone() for name, p in model.named_parameters()}
    state.average.copy_to(model)
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(raw[name])
        model.train()
