"""The stages of a training run: the system that grows in them, and what each learns from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from torch import nn

from vitascope import bundle
from vitascope.bundle import LEARNED, System
from vitascope.data import Clips, Listing, OwnClips, StoryClips, encode_clips, own_clips, story_clips
from vitascope.data.clips import Source
from vitascope.data.own import Own
from vitascope.data.rendering import look
from vitascope.learned import Learned, learned_by, note
from vitascope.media.fitting import Measure
from vitascope.physics.noise import key
from vitascope.recipe import Recipe, StageSettings
from vitascope.training import checkpoint
from vitascope.training.beginning import begun, complete, fresh, words_for
from vitascope.training.folder import START, agreed_words, note_words
from vitascope.training.held_out import held_out_loss, measuring, parts
from vitascope.training.kept import NETWORK_STAGE
from vitascope.training.loop import State
from vitascope.training.tasks import ClipTask, CodecTask, DiffusionTask

Watch = Callable[[str, int, int, dict[str, float]], None]
"""Hears (what is being done, done, of, figures)."""

Warn = Callable[[str], None]
"""Hears a sentence about what does not stop the run and should be known."""

Stopping = Callable[[], str | None]
"""Why the run is to stop now, or None."""


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
    """What it is to be; how many words it has, its system's says."""
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
    def system(self) -> System:
        """What grows in the run, as it began. Raises BadRun where what is trained does not know all words that it would learn from.

        Its words are found when it is asked for first, and kept. Of somebody's own films they are those of the captions that are
        trained on: a word of a film that was set aside or is held out would be known, and no step would ever see it.
        """
        start = self.folder / START if self.continues else None
        wanted = words_for(self.recipe, start, self.own.training.prompts if self.own else None)
        words = agreed_words(self.folder, wanted)
        recipe = complete(self.recipe, words)
        note_words(self.folder, recipe, words)
        return (begun(recipe, start, words) if start else fresh(recipe, words)).to(self.device)

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
        settings = measuring(self.settings(stage), whole=stage == NETWORK_STAGE)  # as films are
        task, seed = self._task(stage, clips, settings, "latents-held-out"), key(self.recipe.seed, stage, 2)
        sizes = parts(len(clips), settings.batch, least=2 if stage == "clip" else 1)
        task.order = replace(task.order, batch=sizes)
        return lambda: held_out_loss(task, sizes, settings, state, seed, self.device)

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
        for part in vae.encoding():
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

    def done(self, stage: str) -> bool:
        """Whether a stage has seen all the steps that the recipe asks for."""
        path = self.state_path(stage)
        return path.is_file() and checkpoint.noted(path).step >= self.settings(stage).steps

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
