"""A recipe becomes a bundle: the stages in their order, each logged, previewed, saved, and resumed where it stopped."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vitascope import bundle
from vitascope.bundle import System
from vitascope.data import Clips, encode_clips, story_clips
from vitascope.data.clips import Source, to_pixels
from vitascope.data.latents import identity
from vitascope.errors import BadRecipe, BadRun, nearest
from vitascope.physics.noise import key
from vitascope.recipe import STAGES, Recipe, StageSettings
from vitascope.storybook import vocabulary
from vitascope.text import Words
from vitascope.training import checkpoint
from vitascope.training.loop import Report, State, train
from vitascope.training.preview import preview
from vitascope.training.tasks import ClipTask, CodecTask, DiffusionTask

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Hears (what is being done, done, of, figures)."""

Stopping = Callable[[], str | None]
"""Why the run is to stop now, or None."""


NEEDS = {"diffusion": ("codec", "clip"), "decoder": ("codec",)}
"""The stages whose weights a stage builds on: latents under captions, latents."""


class Stopped(Exception):
    """The run was asked to stop (SIGTERM), or its minutes are over; its state is saved."""


def _never() -> None:
    return None


@dataclass
class Run:
    """One training run: a folder, a recipe, the system that grows in it."""

    folder: Path
    recipe: Recipe
    system: System
    device: str
    watch: Watch
    stopping: Stopping = field(default=_never)

    def settings(self, stage: str) -> StageSettings:
        """How a stage is trained."""
        return getattr(self.recipe.stages, stage)

    def recipe_has(self, stage: str) -> bool:
        """Whether the recipe asks for this stage; the decoder's own is left out where the codec's was enough."""
        return getattr(self.recipe.stages, stage) is not None

    def clips(self, stage: str) -> Clips:
        """The stage's clips; stages that want as many share them."""
        video = self.recipe.video
        count = self.settings(stage).clips
        source = Source(self.recipe.seed, count, video.frames, video.height, video.width, world=self.recipe.world)
        told = self._progress("rendering clips")
        return story_clips(self.folder / "data" / f"clips-{count}.u8", source, told, self.device)

    def task(self, stage: str) -> CodecTask | ClipTask | DiffusionTask:
        """The stage's task, with the data that it needs."""
        settings, clips = self.settings(stage), self.clips(stage)
        seed = key(self.recipe.seed, stage)
        if stage in ("codec", "decoder"):
            return CodecTask(self.system.codec, clips, settings, seed, self.device)
        if stage == "clip":
            return ClipTask(self.system.text, clips, settings, seed, self.device)
        codec = self.system.codec
        codec.autocast = settings.autocast
        told = self._progress("encoding clips")
        latents = encode_clips(self.folder / "data" / "latents.f16", codec, clips, told, self.device)
        self.system.text.clip.eval().requires_grad_(False)
        return DiffusionTask(self.system.diffusion, self.system.text, clips, latents, settings, seed, self.device)

    def module(self, stage: str) -> nn.Module:
        """What a stage trains: of the codec, in its second stage, only what turns latents into pixels."""
        vae = self.system.codec.vae
        for part in (vae.encoder, vae.conv1):
            part.requires_grad_(stage != "decoder")
        return {
            "codec": vae,
            "clip": self.system.text.clip,
            "diffusion": self.system.diffusion.net,
            "decoder": vae,
        }[stage]

    def state_path(self, stage: str) -> Path:
        """Where a stage's state is kept."""
        return self.folder / f"{stage}.safetensors"

    def _progress(self, what: str) -> Callable[[int, int], None]:
        def told(done: int, of: int) -> None:
            self.watch(what, done, of, {})
            why = self.stopping()
            if why and done < of:
                raise Stopped(f"{why} while {what}, {done:,} of {of:,}, which are kept; --resume goes on from there")

        return told


def train_recipe(
    recipe: str,
    out: Path | None = None,
    resume: bool = False,
    stages: Sequence[str] | None = None,
    *,
    device: str = "cpu",
    watch: Watch | None = None,
    minutes: float | None = None,
) -> Path:
    """Train a recipe's stages (all of them, unless named) in a run folder; returns the bundle's folder.

    Finished stages are kept. Without `resume`, a folder in which something was trained already is refused. Raises BadRecipe,
    BadRun; Stopped after SIGTERM, or once it has run for so many `minutes`, when the state has been saved.
    """
    described = complete(Recipe.read(recipe))
    chosen = list(stages) if stages else list(STAGES)
    for stage in chosen:
        if stage not in STAGES:
            raise BadRecipe(
                f"stage '{stage}': a recipe has {', '.join(STAGES)}; did you mean '{nearest(stage, STAGES) or STAGES[0]}'?"
            )
        if getattr(described.stages, stage) is None and stages:
            has = ", ".join(name for name in STAGES if getattr(described.stages, name) is not None)
            raise BadRecipe(f"stage '{stage}': recipe {described.name} has no such stage; it has {has}.")
    folder = out or Path("runs") / described.name
    if minutes is not None and not 0 < minutes < float("inf"):
        raise BadRun(f"{minutes:g} minutes: a run lasts longer than none; give a number above 0, or leave it out.")
    with _locked(folder), _stoppable(minutes) as stopping:
        _remember(folder, described, resume)
        system = fresh(described).to(device)
        run = Run(folder, described, system, device, watch or (lambda *_: None), stopping)
        for stage in STAGES:
            if run.recipe_has(stage):
                if stage in chosen:
                    _train_stage(run, stage)
                _finish_stage(run, stage)
        bundle.save(folder / "bundle", system)
    return folder / "bundle"


def complete(recipe: Recipe) -> Recipe:
    """The recipe with the number of words that the storybook uses."""
    return recipe.model_copy(
        update={"text": dataclasses.replace(recipe.text, vocab=len(Words.of(vocabulary(recipe.world))))}
    )


def fresh(recipe: Recipe) -> System:
    """The recipe's system before any training: its weights are a function of the recipe's seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(recipe.seed, "weights"))
        return bundle.build(recipe, Words.of(vocabulary(recipe.world)))


def _train_stage(run: Run, stage: str) -> None:
    settings, path = run.settings(stage), run.state_path(stage)
    for needed in NEEDS.get(stage, ()):
        if not run.state_path(needed).is_file():
            raise BadRun(
                f"{run.folder}: stage {stage} builds on what stage {needed} learns, which was never trained here; "
                f"train it first, with --stage {needed}."
            )
    if stage == "codec" and not path.is_file():
        run.system.codec.vae.zero_residuals()
    state = State.fresh(run.module(stage), settings)
    if path.is_file():
        state.restore(checkpoint.load(path))
    if state.step >= settings.steps:
        return
    task = run.task(stage)
    started, first = time.monotonic(), state.step
    about = {"stage": stage, "recipe": run.recipe.name}
    with (run.folder / "log.jsonl").open("a", encoding="utf-8") as log:
        lately: list[Report] = []
        for report in train(task, task.batch, settings, state, seed=key(run.recipe.seed, stage, 1), device=run.device):
            done, why = report.step == settings.steps, run.stopping()
            lately.append(report)
            if report.step % settings.log_every == 0 or done:
                speed = (report.step - first) * settings.batch / (time.monotonic() - started)
                figures = _figures(lately, speed)
                lately.clear()
                log.write(json.dumps({"stage": stage, "step": report.step, **figures}) + "\n")
                log.flush()
                run.watch(f"training {stage}", report.step, settings.steps, figures)
            if report.step % settings.save_every == 0 or done or why:
                checkpoint.save(path, state.tensors(), about)
            if why:
                raise Stopped(
                    f"{why} at step {report.step} of stage {stage}, which is saved; --resume goes on from there"
                )
            if report.step % settings.preview_every == 0 or done:
                preview(run.folder / "previews", stage, run.system, state, task, report.step)


def _figures(reports: Sequence[Report], speed: float) -> dict[str, float]:
    """The mean of what the last steps said: one step alone says more about its batch than about the model."""
    told = [{"loss": r.loss, "rate": r.rate, "gradient": r.gradient, **r.figures} for r in reports]
    means = {name: sum(each[name] for each in told) / len(told) for name in told[0]}
    return means | {"clips/s": speed}


def _finish_stage(run: Run, stage: str) -> None:
    """Put the averaged weights where the next stage and the bundle find them."""
    path = run.state_path(stage)
    module = run.module(stage)
    if path.is_file():
        state = State.fresh(module, run.settings(stage))
        state.restore(checkpoint.load(path))
        state.average.copy_to(module)
        if stage == "codec":
            _whiten(run)
    module.eval()


def _whiten(run: Run) -> None:
    """Set the codec's whitening from some of its clips, once for these weights: it is measured again only for others."""
    path, codec = run.folder / "data" / "whitening.safetensors", run.system.codec
    weights = identity(codec.vae)
    if path.is_file():
        kept = checkpoint.load(path)
        if bytes(kept["weights"].tolist()) == weights:
            codec.mean.copy_(kept["mean"])
            codec.std.copy_(kept["std"])
            return
    clips = run.clips("codec")
    count = min(256, len(clips))
    rows = [range(first, min(first + 8, count)) for first in range(0, count, 8)]
    chunks = []
    kind, autocast = torch.device(run.device).type, run.settings("codec").autocast
    with torch.no_grad(), torch.autocast(kind, dtype=torch.bfloat16, enabled=autocast):
        for indices in rows:
            pixels = to_pixels(torch.stack([clips.pixels(i) for i in indices]).to(run.device))
            chunks.append(codec.vae.encode(pixels).float())
    codec.whiten(torch.cat(chunks))
    held = torch.frombuffer(bytearray(weights), dtype=torch.uint8)
    checkpoint.save(path, {"mean": codec.mean, "std": codec.std, "weights": held}, {"stage": "codec"})


def _remember(folder: Path, recipe: Recipe, resume: bool) -> None:
    path = folder / "recipe.json"
    if path.is_file():
        if not resume:
            raise BadRun(
                f"{folder}: a run is there already; add --resume to go on with it, or give another --out folder."
            )
        if _identity(path) != _identity_of(json.loads(recipe.json())):
            raise BadRun(
                f"{folder}: the run there was started from another recipe; give another --out folder, or that recipe."
            )
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(recipe.json(), encoding="utf-8")
    os.replace(partial, path)


def _identity(path: Path) -> str:
    try:
        return _identity_of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise BadRun(
            f"{path}: it cannot be read ({error}), so what is trained there is not known; give another --out folder."
        ) from error


def _identity_of(table: dict[str, Any]) -> str:
    # Lengths may be changed between two parts of a run; what the weights mean may not.
    kept = {k: v for k, v in table.items() if k not in {"stages", "defaults"}}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / "run.lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise BadRun(f"{folder}: nothing can be written there ({error}); give another --out folder.") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.seek(0)
            raise BadRun(
                f"{folder}: process {lock.read().strip()} is training in this folder; wait for it, or give another --out folder."
            ) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _stoppable(minutes: float | None) -> Iterator[Stopping]:
    """Within it, SIGTERM no longer ends the process but gives a reason to stop, as does the end of its minutes."""
    asked: list[int] = []
    started = time.monotonic()

    def why() -> str | None:
        if asked:
            return "stopped"
        if minutes is not None and time.monotonic() - started >= 60 * minutes:
            return f"stopped after {minutes:g} minutes"
        return None

    try:
        before = signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    except ValueError:  # not the main thread: whoever runs it there stops it by other means
        yield why
        return
    try:
        yield why
    finally:
        signal.signal(signal.SIGTERM, before)
