"""The Engine: a Shot becomes a Video. It joins the parts; each part can be taken out and used alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope import __version__, bundle, exchange
from vitascope.checkpoints import wan_system
from vitascope.checkpoints.attaching import read_loras
from vitascope.checkpoints.layout import look
from vitascope.checkpoints.wan_system import WanSystem
from vitascope.checkpoints.weights import Weights, opened
from vitascope.codec import VideoCodec, tile_side
from vitascope.diffusion import Diffusion
from vitascope.emphasis import Phrase, Weighed, looks_weighed
from vitascope.errors import BadModel, BadShot
from vitascope.finding import choose_device, located
from vitascope.finding import find as find
from vitascope.media import Video, interpolate, interpolation
from vitascope.physics.field import Field
from vitascope.physics.guidance import emphasise, guide
from vitascope.physics.noise import Noise
from vitascope.physics.solvers import SOLVERS, Step
from vitascope.physics.times import shifted
from vitascope.pixels import to_bytes
from vitascope.planning import TILE, Ask, best_dtype, free_memory, gib, has_room, peak
from vitascope.presets import PRESETS, start
from vitascope.recipe import Recipe
from vitascope.shot import Given, Shot
from vitascope.system import Guides, System, ensure_pixels, ensure_taken, hashes
from vitascope.system import hashed as hashed
from vitascope.tensors import digest
from vitascope.text import TextEncoder

Watch = Callable[[str, int, int], None]
"""Hears (what is being done, done, of)."""


class Film(NamedTuple):
    """A film in the making: chunks of frames uint8 [n h w c], frames a second, and the record that it will carry."""

    chunks: Iterator[Tensor]
    fps: float
    record: dict[str, Any]


class Engine:
    """A system that is ready to make films. `diffusion`, `codec` and `text` are its parts."""

    def __init__(self, system: System, folder: Path | None = None) -> None:
        self.system = system
        self.folder = folder
        self.rows: int | None = None
        """Rows of a field that the network is asked for at once, at most; None: all. Fewer need less memory."""
        self.loras: tuple[tuple[str, float], ...] = ()
        """The LoRAs that the model carries, by their files' hashes, with their strengths."""

    @staticmethod
    def load(
        name_or_path: str | Path | None = None,
        device: str = "auto",
        *,
        parts: Mapping[str, Path] | None = None,
        dtype: str | None = None,
        offload: str = "none",
        tile: int | None = None,
        shot: Shot | None = None,
        given: Collection[str] | None = None,
        watch: Watch | None = None,
    ) -> Engine:
        """The shipped model by its name (or None), a bundle or an export of one by its folder, or a Wan model by the path of
        whatever holds its transformer: the official folder, diffusers' folder, a single file.

        tile: pixels of a side of the tiles in which frames are decoded (`VideoCodec.tile`); None: whole, or as "auto" says.

        parts, dtype and offload are for Wan models: files of other parts by their flags (`checkpoints.layout.FLAGS`), what
        weights are multiplied in (None: what is fastest on the device), and where they wait: an `Offload`, or "auto", the
        fastest way in which `shot` fits into this machine. given: what a film will be given, by the names of `Given`, so that
        what does not go with the model is refused before any weights are read.

        Raises BadModel, and BadShot where a film does not fit, in memory or to the model.
        """
        path, place = located(name_or_path), choose_device(device)
        if path.is_dir() and ((path / bundle.RECIPE).is_file() or not any(path.iterdir())):
            system = bundle.load(path)
        elif path.is_dir() and exchange.is_export(path):
            system = exchange.from_diffusers(path)
        else:
            rows, dtype = None, dtype or str(best_dtype(place)).removeprefix("torch.")
            if given is not None:
                wan_system.ensure_given(look(path, parts), path.name, given)
            if offload == "auto":
                made = wan_system.planned(path, place, parts, dtype, shot, tile)
                offload, rows, tile = made.offload, made.rows, made.tile
            engine = Engine(wan_system.load(path, place, parts=parts, dtype=dtype, offload=offload, watch=watch))
            engine.rows, engine.codec.tile = rows, tile
            return engine
        # bf16 where that is fast (`precision.has_bf16`); the state of the walk stays float32.
        engine = Engine(system.to(place).settle(autocast=True), path)
        engine.codec.tile = tile
        return engine

    @property
    def device(self) -> torch.device:
        """Where the system computes."""
        return self.system.device

    @property
    def recipe(self) -> Recipe:
        """How this system was described and trained. Raises BadModel for one that came without a recipe."""
        if not isinstance(self.system, bundle.System):
            raise BadModel(
                f"model {self.system.name}: it came without a recipe, and so without a world to compare its films with; take "
                "a bundle."
            )
        return self.system.recipe

    @property
    def diffusion(self) -> Diffusion:
        """The network, its schedule, and what it predicts."""
        return self.system.diffusion

    @property
    def codec(self) -> VideoCodec:
        """Pixels to latents and back."""
        return self.system.codec

    @property
    def text(self) -> TextEncoder:
        """Prompts to conditions."""
        return self.system.text

    @property
    def fps(self) -> float:
        """The frame rate that the model was trained at."""
        return self.defaults["fps"]

    @property
    def defaults(self) -> dict[str, Any]:
        """What a Shot gets where it says nothing."""
        return self.system.defaults_for(Given())

    @cached_property
    def weights(self) -> dict[str, str]:
        """SHA-256 of every file that determines the pixels; nothing for a system that was never saved."""
        if isinstance(self.system, WanSystem):
            return self.system.digests()
        return bundle.digests(self.folder) if self.folder and (self.folder / bundle.RECIPE).is_file() else {}

    @property
    def notices(self) -> list[str]:
        """What is odd about the files that the system came from, a sentence each."""
        return self.system.notices if isinstance(self.system, WanSystem) else []

    def attach(self, loras: Sequence[tuple[Path, float]]) -> list[str]:
        """Put LoRAs, files with strengths, on the model in place of those that it carries; what became of their keys, a
        sentence each.

        Raises BadModel for a file that is no LoRA for this model, and then the model is as it was without any; BadShot for a
        strength beyond reason.
        """
        if not isinstance(self.system, WanSystem):
            if loras:
                raise BadModel(
                    f"{loras[0][0]}: LoRAs go on Wan models, and {self.system.name} is none; leave --lora out."
                )
            return []
        self.loras = ()
        self.system.attach([])  # first, so that what is told of the model stays true where a file is refused
        reports = self.system.attach(read_loras(loras))
        self.loras = tuple((_of_files(opened(path)), strength) for path, strength in loras)
        return [str(report) for report in reports]

    def prepare(self, shot: Shot, given: Given | None = None) -> Shot:
        """The shot with every field filled, its seed drawn, checked against this model. Raises BadShot before any work."""
        defaults = self.system.defaults_for(given or Given())
        if shot.preset:
            defaults = PRESETS[shot.preset].prefers(defaults)
        full = shot.filled(defaults).seeded()
        if full.loras != self.loras:
            raise BadShot(
                f"loras: this film is made with {len(full.loras)} of them and the model carries {len(self.loras)}, or others; "
                "give the same files with --lora."
            )
        if full.preset:
            PRESETS[full.preset].grid(full)
        if full.control is not None and "video" not in self.system.takes:
            raise BadShot(
                f"control {full.control:g}: {self.system.name} follows no film, so there is nothing to follow more or less; "
                "leave --control out, or take a VACE model."
            )
        if full.fps is not None and full.fps < self.fps:
            raise BadShot(
                f"fps {full.fps:g}: this model's films have {self.fps:g} frames a second, and frames can be added between them "
                f"but not taken away; ask for {self.fps:g} or more."
            )
        self.latent_shape(full)
        begins, tile = given is not None and given.image is not None, self.codec.tile
        need, free = self._memory(full, begins, 1, tile), free_memory(self.device)
        if not has_room(need, free):
            less = tile is None and has_room(self._memory(full, begins, 1, TILE), free)
            raise BadShot(
                f"{full.frames} frames of {full.width}x{full.height}: this takes about {gib(need)} of memory, with a tenth to "
                f"spare, and {gib(free or 0)} are free; ask for fewer frames or a smaller picture"
                f"{f', or decode in tiles (--tile {TILE})' if less else ''}."
            )
        return full

    def latent_shape(self, shot: Shot) -> tuple[int, ...]:
        """[c t' h' w'] of a prepared shot's latent."""
        frames, height, width = (_known(shot, name) for name in ("frames", "height", "width"))
        return self.codec.latent_shape(frames, height, width, self.system.sizes.network.patch)

    def warnings(self, shot: Shot) -> list[str]:
        """What the model will not heed of a prepared shot, or has not learned, a sentence each."""
        alone = shot.image is not None and self.latent_shape(shot)[1] == 1
        told = [f"'{word}' is unknown to {self.system.name} and was ignored" for word in self.unknown_words(shot)]
        if isinstance(self.system, bundle.System):
            told += self.system.doubts(shot)
        if alone:
            told.append("a film of one frame that begins with a picture is that picture; ask for more frames")
        if shot.preset and any(looks_weighed(text) for text in _texts(shot)):
            told.append(
                f"to {shot.preset} parentheses and the numbers in them are text, and no weights; leave --as out"
            )
        if shot.negative and not shot.scale.guided:
            told.append("with guidance 1 a negative prompt has no effect; ask for more, such as 4")
        for text in _texts(shot):
            cut = self.text.cut(text)
            if cut:
                told.append(f"this model reads {self.text.length} words; what follows was cut: '{cut[:200]}'")
        return told

    def unknown_words(self, shot: Shot) -> list[str]:
        """The words of the prompt and the negative that the model never learned, as they were typed."""
        return list(dict.fromkeys(word for text in _texts(shot) for word in self.text.unknown_words(text)))

    def begun(self, shot: Shot, given: Given) -> tuple[Shot, Given]:
        """A prepared shot that names what it is given by its hashes, and that at the film's size.

        Raises BadShot for what this model cannot be given, and where the shot names something else already.
        """
        ensure_taken(self.system.name, self.system.takes, given.names)
        given = self.system.fitted(shot, given)
        for name, now in hashes(given).items():
            before = getattr(shot, name)
            if before and now and before != now:
                raise BadShot(
                    f"{name}: the film was made from another one, by its hash, than the one given; give that one, or make a new "
                    "film."
                )
            if before and not now:
                raise BadShot(
                    f"{name}: this film is made from one, which its record knows only by its hash; give it again."
                )
        return shot.model_copy(update={name: now for name, now in hashes(given).items() if now}), given

    def guides(self, shot: Shot, given: Given) -> Guides:
        """What a prepared shot is given (see `begun`), for the network."""
        return self.system.guides(shot, given) if given else Guides()

    def field(self, *shots: Shot, guides: Guides | None = None) -> Field:
        """The guided field of prepared shots, a row each: one expression; nothing has run yet but the text encoder.

        All shots share their guidance, their preset and what they are given. Raises ValueError where they do not.
        """
        _alike(shots, ("guidance", "preset", "control"))
        one, diffusion, guides = shots[0], self.diffusion, guides or Guides()
        preset = PRESETS[one.preset] if one.preset else None
        if preset:
            diffusion = diffusion.clocked(preset.grid(one).clocked)
        kind = self.system.kind
        negatives = [
            Weighed(preset.negative(shot, kind)) if preset and not shot.negative else shot.said("negative")
            for shot in shots
        ]
        prompts = [Weighed("") if shot.unconditional else shot.said("prompt") for shot in shots]
        with self.system.working("text"):
            wanted, other = (self._saying(diffusion, said, guides) for said in (prompts, negatives))
        guided = wanted
        if not all(shot.unconditional and not negative.text for shot, negative in zip(shots, negatives)):
            guided = guide(wanted, other, one.scale.at)
        if guides.first is not None:
            guided = diffusion.beginning(guided, guides.first, self.latent_shape(one)[1])
        return guided.at_most(
            self._rows(one, len(shots) * sum(1 + _most(said) for said in (prompts, negatives)), guides)
        )

    def _saying(self, diffusion: Diffusion, said: Sequence[Weighed], guides: Guides) -> Field:
        """The field of prompts, a row each, whose phrases count by their weights."""
        whole = diffusion.field(self._told([one.text for one in said], guides), guides.first)
        most = _most(said)
        if most == 0:
            return whole
        # Who has fewer phrases than others is compared with itself, and that counts nothing. The texts are read at once.
        rows = [[*one.phrases, *[Phrase("", 1.0, one.text)] * (most - len(one.phrases))] for one in said]
        texts = list(dict.fromkeys(phrase.without for row in rows for phrase in row))
        read = self._told(texts, guides)
        without: dict[Field, Tensor] = {}
        for phrases in zip(*rows, strict=True):
            chosen = torch.tensor([texts.index(phrase.without) for phrase in phrases], device=self.device)
            weight = torch.tensor([phrase.weight for phrase in phrases], device=self.device).view(-1, 1, 1, 1, 1)
            told = {name: value[chosen] for name, value in read.items()}
            without[diffusion.field(told, guides.first)] = weight
        return emphasise(whole, without)

    def _rows(self, shot: Shot, count: int, guides: Guides) -> int | None:
        """How many rows the network gets at once: one where `count` of them do not fit into memory; None: all."""
        if self.rows is not None:
            return self.rows
        need = self._memory(shot, guides.first is not None, count, self.codec.tile)
        return None if has_room(need, free_memory(self.device)) else 1

    def _memory(self, shot: Shot, begins: bool, rows: int, tile: int | None) -> int:
        frames, height, width = (_known(shot, name) for name in ("frames", "height", "width"))
        ask, bytes_ = Ask(frames, height, width, begins=begins), getattr(torch, self.system.dtype).itemsize
        return peak(self.system.sizes, ask, rows=rows, tile=tile, bytes_=bytes_)

    def _told(self, prompts: Sequence[str], guides: Guides) -> dict[str, Tensor]:
        told = {name: value.to(self.device) for name, value in self.text(prompts).items()}
        return told | {name: value.expand(len(prompts), *value.shape[1:]) for name, value in guides.condition.items()}

    def sample(self, *shots: Shot, guides: Guides | None = None) -> Iterator[Step]:
        """Walk prepared shots' field from noise to latents [n c t h w]; the caller watches, stops or branches.

        guides: what the films are given (`Engine.guides`); latent frames ahead of the films' own are walked too. A shot's film
        does not depend on its neighbours but for rounding. Raises ValueError where the shots differ in what one walk shares:
        size, steps, solver, shift, guidance.
        """
        one = shots[0]
        _alike(shots, ("frames", "height", "width", "steps", "solver", "shift", "preset"))
        if one.shift is None or one.solver is None:
            raise ValueError("sample: got a shot that is not prepared; expected the result of Engine.prepare")
        noise = Noise(tuple(_known(shot, "seed") for shot in shots))
        channels, frames, *size = self.latent_shape(one)
        preset = PRESETS[one.preset] if one.preset else None
        ahead = guides.ahead if guides else 0
        x = start(preset, shots, noise, (channels, frames + ahead, *size), self.device)
        times = preset.grid(one).times if preset else shifted(_known(one, "steps"), one.shift)
        return SOLVERS[one.solver](self.field(*shots, guides=guides), x, times, noise=noise)

    def frames(self, latent: Tensor) -> Iterator[Tensor]:
        """Chunks of frames, uint8 [n h w c], of one latent [1 c t h w], as the codec gives them. Raises ValueError for several."""
        if len(latent) != 1:
            raise ValueError(f"frames: expected the latent of one film, got {len(latent)}; give latent[i : i + 1]")
        for chunk in self.codec.decode(latent):
            yield to_bytes(chunk)[0]

    def record(self, shot: Shot) -> dict[str, Any]:
        """What a film carries, so that it can be made again: no clock, no path, no device."""
        tile, (_, _, *grid) = self.codec.tile, self.latent_shape(shot)
        made = {
            "vitascope": __version__,
            "model": self.system.name,
            "weights": bundle.fingerprint(self.weights),
            "shot": shot.told,
        }
        made |= {} if tile_side(self.codec.config, tile, *grid) is None else {"tile": tile}
        return made | {"dtype": self.system.dtype}

    def film(self, shot: Shot, watch: Watch | None = None, given: Given | None = None) -> Film:
        """The film of a prepared shot, made as its frames are asked for; `watch` hears of each step and of each chunk.

        given: what the shot names by hashes, at the film's size (`Engine.begun`). More frames a second than the model makes are
        interpolated, and the record says so. Raises FloatingPointError when the walk leaves the numbers, MemoryError when the
        device's memory ends.
        """
        given = given or Given()
        if self.begun(shot, given)[0] != shot:
            raise ValueError(
                "film: got something given that the shot does not name; expected the result of Engine.begun"
            )
        return self.filmed(shot, self._walked(shot, watch or (lambda *_: None), given))

    def filmed(self, shot: Shot, chunks: Iterable[Tensor]) -> Film:
        """Chunks of frames, uint8 [n h w c] at the model's rate, as the film of a prepared shot."""
        fps, record = float(shot.fps or self.fps), self.record(shot)
        if fps == self.fps:
            return Film(iter(chunks), fps, record)
        return Film(interpolate(chunks, self.fps, fps), fps, record | interpolation(self.fps, fps))

    def generate(
        self, shot: Shot, watch: Watch | None = None, image: Tensor | None = None, given: Given | None = None
    ) -> Video:
        """The film of a shot, whole; what it leaves open is filled first.

        image: a picture that it begins with, uint8 [h w 3] of any size; given: that and all else that it can be given.
        """
        given = (given or Given())._replace(**({} if image is None else {"image": image}))
        ensure_pixels(given)
        shot, given = self.begun(self.prepare(shot, given), given)
        chunks, fps, record = self.film(shot, watch, given)
        return Video(torch.cat(list(chunks)), fps, record)

    def _walked(self, shot: Shot, watch: Watch, given: Given) -> Iterator[Tensor]:
        steps, frames = _known(shot, "steps"), _known(shot, "frames")
        x = None
        try:
            guides = self.guides(shot, given)
            walk = self.sample(shot, guides=guides)
            watch("walking", 0, steps)
            with self.system.working("network"):
                for step in walk:
                    x, done = step.x, step.index + 1
                    if not torch.isfinite(x).all():
                        raise FloatingPointError(
                            f"the walk left the numbers at step {done}; use more steps, a lower guidance or another solver"
                        )
                    watch("walking", done, steps)
            if x is None:
                raise RuntimeError("expected at least one step, got none")
            made = 0
            with self.system.working("codec"):
                for chunk in self.frames(x[:, :, guides.ahead :]):
                    made += len(chunk)
                    watch("decoding", made, frames)
                    yield chunk
        except torch.OutOfMemoryError as error:
            raise MemoryError("the device's memory ran out; ask for fewer frames or a smaller picture") from error


def _of_files(weights: Weights) -> str:
    """The name of weights in a Shot, by the SHA-256 of the file that they lie in, or of those of all their files."""
    found = [digest(file) for file in weights.files]
    return f"sha256:{found[0] if len(found) == 1 else hashlib.sha256(''.join(found).encode()).hexdigest()}"


def _alike(shots: Sequence[Shot], names: Sequence[str]) -> None:
    for name in names:
        values = {getattr(shot, name) for shot in shots}
        if len(values) != 1:
            raise ValueError(f"{name}: got shots with {sorted(map(str, values))}; expected one value in one walk")


def _texts(shot: Shot) -> tuple[str, str]:
    """What a shot's prompt and its negative say, without the marks of weights."""
    return shot.said("prompt").text, shot.said("negative").text


def _most(said: Iterable[Weighed]) -> int:
    """How many weighed phrases the prompt has that has most of them."""
    return max(len(one.phrases) for one in said)


def _known(shot: Shot, name: str) -> int:
    value = getattr(shot, name)
    if value is None:
        raise ValueError(f"{name}: got a shot that is not prepared; expected the result of Engine.prepare")
    return value
