"""A stage takes its course: it is begun or gone on with, logged and saved on the way, and leaves its weights to the next."""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TextIO

import torch

from vitascope.bundle import LEARNED
from vitascope.data.latents import identity
from vitascope.errors import BadRun
from vitascope.models.dit import DEVIATION
from vitascope.physics.noise import key
from vitascope.pixels import to_pixels
from vitascope.precision import bf16
from vitascope.training import checkpoint
from vitascope.training.basis import NEEDS, other, strange, to_note
from vitascope.training.folder import BUNDLE
from vitascope.training.kept import NETWORK_STAGE, keep
from vitascope.training.loop import Report, State, train
from vitascope.training.preview import preview
from vitascope.training.stages import Run, Stopped
from vitascope.training.tasks import ClipTask, CodecTask, DiffusionTask

FITTED = 256
"""Clips whose blocks a linear codec's components are found in."""


def ensure_together(run: Run, stages: Sequence[str]) -> None:
    """Raise BadRun where a stage among those that are to be trained would move on, and others, which learned on what it was, are
    done and would stay as they are. Before anything is trained: that it is so is known before the hours that it takes.

    One whose state was deleted, to be trained anew from nothing, may come out as it was: only a warning tells of it here, and
    `finish_stage` raises where it did not.
    """
    for stage in filter(run.recipe_has, stages):
        left = [each for each, needs in NEEDS.items() if stage in needs and run.recipe_has(each) and run.done(each)]
        at = checkpoint.noted(run.state_path(stage)).step if run.state_path(stage).is_file() else 0
        if not left or at >= run.settings(stage).steps:
            continue
        done, one = " and ".join(left), len(left) == 1
        if at == 0 and not run.continues:
            run.warn(
                f"{run.folder}: stage {stage} begins anew, and {done}, which learned on what it was, {'is' if one else 'are'} done; "
                f"should it not come out as it was, {'it has' if one else 'they have'} to be trained anew too"
            )
            continue
        was = f"is to go on from step {at}" if at else "is to be trained"
        states = " and ".join(run.state_path(each).name for each in left)
        they_are, them = ("it is", "it") if one else ("they are", "them")
        keeping = f"leave its steps at {at}" if at else "leave it out"
        raise BadRun(
            f"{run.folder}: stage {stage} {was}, and {done}, learned on what it is now, would stay as {they_are}; delete {states} "
            f"to have {them} trained anew, give {them} more steps too, or {keeping}."
        )


def train_stage(run: Run, stage: str) -> None:
    """Train a stage from where its state stands, logged, previewed and saved. Raises BadRun; Stopped once its state is saved."""
    settings, state = run.settings(stage), _begun(run, stage)
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
    with (run.folder / "log.jsonl").open("a", encoding="utf-8") as log:
        ledger = _Ledger(run, stage, state, task, measured, log)
        for report in train(task, task.batch, settings, state, seed=key(run.recipe.seed, stage, 1), device=run.device):
            ledger.enter(report)


def _begun(run: Run, stage: str) -> State:
    """A stage's state as it stands, or before its first step. Raises BadRun where what it builds on was never trained."""
    path = run.state_path(stage)
    for needed in NEEDS.get(stage, ()):
        if not run.continues and not run.state_path(needed).is_file():
            raise BadRun(
                f"{run.folder}: stage {stage} builds on what stage {needed} learns, which was never trained here; "
                f"train it first, with --stage {needed}."
            )
    if stage == "codec" and not path.is_file() and not run.continues:
        run.system.codec.vae.zero_residuals()
        _find_blocks(run)
    state = State.fresh(run.module(stage), run.settings(stage))
    if path.is_file():
        _restore(run, stage, state)
        others = strange(stage, run.system, checkpoint.noted(path).about)
        if others and not run.done(stage):
            run.warn(
                f"{path}: until step {state.step} it learned on {other(others)} than there is now, and goes on on this; delete it "
                "to train the stage anew"
            )
    if stage == NETWORK_STAGE:
        _tell_deviation(run)
    return state


def _restore(run: Run, stage: str, state: State) -> None:
    """Put a stage's saved state back. The components of a linear codec are its own stage's, whatever the decoder's began with."""
    vae = run.system.codec.vae
    own = copy.deepcopy(vae.blocks.state_dict()) if stage == "decoder" and run.recipe.codec.linear else None
    state.restore(checkpoint.load(run.state_path(stage)))
    if own is not None:
        vae.blocks.load_state_dict(own)


class _Ledger:
    """What is written of a stage while it is trained: its log, its state beside what it was learned on, and pictures."""

    def __init__(
        self,
        run: Run,
        stage: str,
        state: State,
        task: CodecTask | ClipTask | DiffusionTask,
        measured: Callable[[], float] | None,
        log: TextIO,
    ) -> None:
        self.run, self.stage, self.state, self.task, self.measured, self.log = run, stage, state, task, measured, log
        self.settings = run.settings(stage)
        self.about = {"stage": stage, "recipe": run.recipe.name, **to_note(stage, run.system)}
        self.started, self.first = time.monotonic(), state.step
        self.lately: list[Report] = []
        if state.step == 0:
            self._measure(0)

    def enter(self, report: Report) -> None:
        """What is due after a step. Raises Stopped, once the state is saved, where the run is to stop."""
        run, settings, step = self.run, self.settings, report.step
        done, why = step == settings.steps, run.stopping()
        self.lately.append(report)
        if step % settings.log_every == 0 or done:
            self._log(step)
        if step % settings.save_every == 0 or done or why:
            checkpoint.save(run.state_path(self.stage), self.state.tensors(), self.about)
        if settings.keep_every and step % settings.keep_every == 0:
            keep(run.folder, self.stage, self.state, self.about)
        if why:
            raise Stopped(f"{why} at step {step} of stage {self.stage}, which is saved; --resume goes on from there")
        if step % settings.preview_every == 0 or done:
            preview(run.folder / "previews", self.stage, run.system, self.state, self.task, step)
            self._measure(step)

    def _log(self, step: int) -> None:
        speed = (step - self.first) * self.settings.batch / (time.monotonic() - self.started)
        self._write(step, _figures(self.lately, speed))
        self.lately.clear()

    def _measure(self, step: int) -> None:
        """The loss on what is held out, where anything is."""
        if self.measured:
            self._write(step, {"held out": self.measured()})

    def _write(self, step: int, figures: dict[str, float]) -> None:
        self.log.write(json.dumps({"stage": self.stage, "step": step, **figures}) + "\n")
        self.log.flush()
        self.run.watch(f"training {self.stage}", step, self.settings.steps, figures)


def _check_compiler(recipe: str) -> None:
    """Raises BadRun where torch.compile would find nothing to compile with, as it would only after clips and latents are made."""
    names = [os.environ.get("CXX") or "g++", "clang++"]
    if not any(shutil.which(name) for name in names):
        raise BadRun(
            f"recipe {recipe}: its stages.{NETWORK_STAGE} says compile = true, and there is no C++ compiler here; install g++, or "
            "say compile = false."
        )


def _figures(reports: Sequence[Report], speed: float) -> dict[str, float]:
    """The mean of what the last steps said: one step alone says more about its batch than about the model."""
    told = [{"loss": r.loss, "rate": r.rate, "gradient": r.gradient, **r.figures} for r in reports]
    means = {name: sum(each[name] for each in told) / len(told) for name in told[0]}
    return means | {"clips/s": speed}


def finish_stage(run: Run, stage: str) -> None:
    """Put the averaged weights where the next stage and the bundle find them.

    Raises BadRun where the stage is done, and was learned on something else than there is now.
    """
    path = run.state_path(stage)
    module = run.module(stage)
    if path.is_file():
        _ensure_belongs(run, stage)
        state = State.fresh(module, run.settings(stage))
        _restore(run, stage, state)
        state.average.copy_to(module)
        # Components that came with a bundle are whitened as its network learned them: they did not move.
        if stage == "codec" and not (run.continues and run.recipe.codec.linear):
            _whiten(run)
    module.eval()


def _ensure_belongs(run: Run, stage: str) -> None:
    path = run.state_path(stage)
    others = strange(stage, run.system, checkpoint.noted(path).about)
    if others and run.done(stage):
        raise BadRun(
            f"{path}: stage {stage} is done, and learned on {other(others)} than there is now, so that the two do not belong "
            "together; delete it, to have it trained anew."
        )
    if others:
        run.warn(
            f"{run.folder / BUNDLE}: its {stage} learned on {other(others)} than there is now, so that its films are spoiled; go "
            f"on with --resume --stage {stage}"
        )


def _find_blocks(run: Run) -> None:
    """Give a linear codec the principal components of some of its clips: all that its latents will ever be."""
    vae = run.system.codec.vae
    if run.recipe.codec.linear:
        clips = run.clips("codec")
        vae.blocks.fit(to_pixels(clips.pixels(i)[None]).to(run.device) for i in range(min(FITTED, len(clips))))


def _tell_deviation(run: Run) -> None:
    """Tell a network that tells priors how large its codec's latents are."""
    if run.recipe.network.prior:
        getattr(run.system.diffusion.net, DEVIATION).copy_(run.system.codec.left)


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
