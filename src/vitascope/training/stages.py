"""The stages of a training run: what each learns from, its steps, and the weights that it leaves to the next."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TextIO

import torch
from torch import nn

from vitascope import bundle
from vitascope.bundle import LEARNED, System
from vitascope.data import Clips, Listing, OwnClips, StoryClips, encode_clips, own_clips, story_clips
from vitascope.data.clips import Source, to_pixels
from vitascope.data.latents import identity
from vitascope.data.own import Own
from vitascope.data.rendering import look
from vitascope.errors import BadRun
from vitascope.learned import Learned, learned_by, note
from vitascope.media.fitting import Measure
from vitascope.physics.noise import key
from vitascope.precision import bf16
from vitascope.recipe import Recipe, StageSettings
from vitascope.training import checkpoint
from vitascope.training.folder import START
from vitascope.training.held_out import held_out_loss, measuring
from vitascope.training.kept import NETWORK_STAGE, keep
from vitascope.training.loop import Report, State, train
from vitascope.training.preview import preview
from vitascope.training.tasks import ClipTask, CodecTask, DiffusionTask

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Hears (what is being done, done, of, figures)."""

Warn = Callable[[str], None]
"""Hears a sentence about what does not stop the run and should be known."""

Stopping = Callable[[], str | None]
"""Why the run is to stop now, or None."""


NEEDS = {"diffusion": ("codec", "clip"), "decoder": ("codec",)}
"""The stages whose weights a stage builds on: latents under captions, latents."""


INTERRUPTED = "interrupted"
"""How the reason of a stop begins that SIGINT asked for."""


class Stopped(Exception):
    """The run was asked to stop (SIGTERM, SIGINT), or its minutes are over; its state is saved."""

    @property
    def interrupted(self) -> bool:
        """Whether it was by SIGINT, as from Ctrl-C."""
        return str(self).startswith(INTERRUPTED)


def _never() -> None:
    return None


@dataclass
class Run:
    """One training run: a folder, a recipe, the system that grows in it, and the films that it learns from."""

    folder: Path
    recipe: Recipe
    system: System
    device: str
    watch: Watch
    warn: Warn
    stopping: Stopping = field(default=_never)
    films: Listing | None = None
    """Somebody's own; without, clips are rendered from the storybook."""
    continues: bool = False
    """Whether the system began with the weights of a bundle."""
    workers: int = 1
    """Processes that render clips."""

    def settings(self, stage: str) -> StageSettings:
        """How a stage is trained."""
        return getattr(self.recipe.stages, stage)

    def recipe_has(self, stage: str) -> bool:
        """Whether the recipe asks for this stage; the decoder's own is left out where the codec's was enough."""
        return getattr(self.recipe.stages, stage) is not None

    @cached_property
    def own(self) -> Own | None:
        """The clips of somebody's own films, read once; what was set aside is told."""
        if self.films is None:
            return None
        path, told = own_path(self.folder), self._progress("reading films")
        found = own_clips(path, self.films, measure_of(self.recipe), told, self._heed)
        for fault in found.faults:
            self.warn(f"{fault.name} was set aside: {fault.why}")
        return found

    @property
    def learned_before(self) -> tuple[Learned, ...]:
        """What the network was learned from until now: that of the bundle with which the run began, and in the run."""
        if (self.folder / LEARNED).is_file():
            return learned_by(self.recipe, self.folder)
        start = self.folder / START
        return learned_by(bundle.described(start)[0], start) if self.continues else ()

    def note_learned(self) -> None:
        """Note in the run's folder what its network learns from."""
        note(self.folder, (*self.learned_before, self.clips(NETWORK_STAGE).source))

    def read_films(self) -> None:
        """Read somebody's own films now, and not when a stage first asks for clips. Raises BadData where none can be used."""
        _ = self.own

    def clips(self, stage: str) -> StoryClips | OwnClips:
        """The stage's clips; stages that want as many share them."""
        if self.own:
            return self.own.training
        video = self.recipe.video
        count = self.settings(stage).clips
        world = self.recipe.world
        source = Source(self.recipe.seed, count, video.frames, video.height, video.width, world=world, look=look(world))
        told = self._progress("rendering clips")
        return story_clips(self.folder / "data" / f"clips-{count}.u8", source, told, self.device, self.workers)

    def task(self, stage: str) -> CodecTask | ClipTask | DiffusionTask:
        """The stage's task, with the data that it needs."""
        return self._task(stage, self.clips(stage), self.settings(stage), "latents")

    def measured(self, stage: str, state: State) -> Callable[[], float] | None:
        """What gives the stage's loss on films that are held out, where there are any."""
        clips = self.own and self.own.held_out
        if not clips or (stage == "clip" and len(clips) < 2):  # one caption alone is always the nearest
            return None
        settings = measuring(self.settings(stage), len(clips), whole=stage == NETWORK_STAGE)  # as films are
        task, seed = self._task(stage, clips, settings, "latents-held-out"), key(self.recipe.seed, stage, 2)
        return lambda: held_out_loss(task, settings, len(clips), state, seed, self.device)

    def _task(
        self, stage: str, clips: Clips, settings: StageSettings, latents: str
    ) -> CodecTask | ClipTask | DiffusionTask:
        seed = key(self.recipe.seed, stage)
        if stage in ("codec", "decoder"):
            return CodecTask(self.system.codec, clips, settings, seed, self.device)
        if stage == "clip":
            return ClipTask(self.system.text, clips, settings, seed, self.device)
        codec = self.system.codec
        codec.autocast = settings.autocast
        told = self._progress("encoding clips")
        encoded = encode_clips(self.folder / "data" / f"{latents}.f16", codec, clips, told, self.device)
        self.system.text.clip.eval().requires_grad_(False)
        network, text = self.system.diffusion, self.system.text
        stride, patch = self.recipe.codec.stride, self.recipe.network.patch[1:]
        return DiffusionTask(network, text, clips, encoded, settings, seed, self.device, stride, patch)

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

    def _heed(self) -> None:
        why = self.stopping()
        if why:
            raise Stopped(f"{why} while reading a film; those before it are kept; --resume goes on from there")

    def _progress(self, what: str) -> Callable[[int, int], None]:
        def told(done: int, of: int) -> None:
            self.watch(what, done, of, {})
            why = self.stopping()
            if why and done < of:
                raise Stopped(f"{why} while {what}, {done:,} of {of:,}, which are kept; --resume goes on from there")

        return told


def measure_of(recipe: Recipe) -> Measure:
    """What somebody's own films are cut to."""
    video = recipe.video
    return Measure(video.frames, video.height, video.width, video.fps)


def own_path(folder: Path) -> Path:
    """Where a run keeps the clips of somebody's own films."""
    return folder / "data" / "own.u8"


def train_stage(run: Run, stage: str) -> None:
    """Train a stage from where its state stands, logged, previewed and saved. Raises BadRun; Stopped once its state is saved."""
    settings, path = run.settings(stage), run.state_path(stage)
    for needed in NEEDS.get(stage, ()):
        if not run.continues and not run.state_path(needed).is_file():
            raise BadRun(
                f"{run.folder}: stage {stage} builds on what stage {needed} learns, which was never trained here; "
                f"train it first, with --stage {needed}."
            )
    if stage == "codec" and not path.is_file() and not run.continues:
        run.system.codec.vae.zero_residuals()
    state = State.fresh(run.module(stage), settings)
    if path.is_file():
        state.restore(checkpoint.load(path))
    if state.step >= settings.steps:
        if stage == NETWORK_STAGE and not (run.folder / LEARNED).is_file():  # learned by a version that noted nothing
            run.note_learned()
        return
    if settings.compile and stage == NETWORK_STAGE:
        _check_compiler(run.recipe.name)
        # What it is called by, in place: the names of its weights stay. Once for each shape, of which there are few: one
        # program for all would be slower.
        run.system.diffusion.net.compile(dynamic=False)
    if stage == NETWORK_STAGE:
        run.note_learned()
    task, measured = run.task(stage), run.measured(stage, state)
    started, first = time.monotonic(), state.step
    about = {"stage": stage, "recipe": run.recipe.name}
    with (run.folder / "log.jsonl").open("a", encoding="utf-8") as log:
        lately: list[Report] = []
        if state.step == 0:
            _measure(run, log, stage, 0, measured)
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
            if settings.keep_every and report.step % settings.keep_every == 0:
                keep(run.folder, stage, state, about)
            if why:
                raise Stopped(
                    f"{why} at step {report.step} of stage {stage}, which is saved; --resume goes on from there"
                )
            if report.step % settings.preview_every == 0 or done:
                preview(run.folder / "previews", stage, run.system, state, task, report.step)
                _measure(run, log, stage, report.step, measured)


def _check_compiler(recipe: str) -> None:
    """Raises BadRun where torch.compile would find nothing to compile with, as it would only after clips and latents are made."""
    names = [os.environ.get("CXX") or "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise BadRun(
            f"recipe {recipe}: its stages.{NETWORK_STAGE} says compile = true, and there is no C++ compiler here; install g++, or "
            "say compile = false."
        )


def _measure(run: Run, log: TextIO, stage: str, step: int, measured: Callable[[], float] | None) -> None:
    """Log the loss on what is held out, where anything is."""
    if measured:
        figures = {"held out": measured()}
        log.write(json.dumps({"stage": stage, "step": step, **figures}) + "\n")
        run.watch(f"training {stage}", step, run.settings(stage).steps, figures)


def _figures(reports: Sequence[Report], speed: float) -> dict[str, float]:
    """The mean of what the last steps said: one step alone says more about its batch than about the model."""
    told = [{"loss": r.loss, "rate": r.rate, "gradient": r.gradient, **r.figures} for r in reports]
    means = {name: sum(each[name] for each in told) / len(told) for name in told[0]}
    return means | {"clips/s": speed}


def finish_stage(run: Run, stage: str) -> None:
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
    with torch.no_grad(), bf16(kind, autocast):
        for indices in rows:
            pixels = to_pixels(torch.stack([clips.pixels(i) for i in indices]).to(run.device))
            chunks.append(codec.vae.encode(pixels).float())
    codec.whiten(torch.cat(chunks))
    held = torch.frombuffer(bytearray(weights), dtype=torch.uint8)
    checkpoint.save(path, {"mean": codec.mean, "std": codec.std, "weights": held}, {"stage": "codec"})
