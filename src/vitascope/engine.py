"""The Engine: a Shot becomes a Video. It joins the parts; each part can be taken out and used alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vitascope import __version__, bundle
from vitascope.bundle import SHIPPED, System
from vitascope.codec import VideoCodec
from vitascope.diffusion import Diffusion
from vitascope.errors import BadModel, BadShot, nearest
from vitascope.media import Video, fitted, interpolate, interpolation
from vitascope.physics.field import Field
from vitascope.physics.guidance import guide
from vitascope.physics.noise import Noise
from vitascope.physics.solvers import SOLVERS, Step
from vitascope.physics.times import shifted
from vitascope.planning import Ask, activations, free_memory, of_clip
from vitascope.recipe import Recipe
from vitascope.shot import Shot
from vitascope.text import ClipText

Watch = Callable[[str, int, int], None]
"""Hears (what is being done, done, of)."""


class Film(NamedTuple):
    """A film in the making: chunks of frames uint8 [n h w c], frames a second, and the record that it will carry."""

    chunks: Iterator[Tensor]
    fps: float
    record: dict[str, Any]


class Engine:
    """A system that is ready to make films. `diffusion`, `codec`, `text` and `recipe` are its parts."""

    def __init__(self, system: System, folder: Path | None = None) -> None:
        self.system = system
        self.folder = folder

    @staticmethod
    def load(name_or_path: str | Path | None = None, device: str = "auto") -> Engine:
        """The shipped model by its name (or None), or a bundle by its folder. Raises BadModel."""
        folder = find(name_or_path)
        # bf16 matrix products are several times faster on every device; the state of the walk stays float32.
        return Engine(bundle.load(folder).to(choose_device(device)).settle(autocast=True), folder)

    @property
    def device(self) -> torch.device:
        """Where the system computes."""
        return self.codec.mean.device

    @property
    def recipe(self) -> Recipe:
        """How this system was described and trained."""
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
    def text(self) -> ClipText:
        """Prompts to conditions."""
        return self.system.text

    @property
    def fps(self) -> float:
        """The frame rate that the model was trained at."""
        return self.recipe.video.fps

    @property
    def defaults(self) -> dict[str, Any]:
        """What a Shot gets where it says nothing."""
        video, chosen = self.recipe.video, self.recipe.defaults
        return video.model_dump() | chosen.model_dump()

    @cached_property
    def weights(self) -> dict[str, str]:
        """SHA-256 of every file that determines the pixels; nothing for a system that was never saved."""
        return bundle.digests(self.folder) if self.folder else {}

    def prepare(self, shot: Shot) -> Shot:
        """The shot with every field filled, its seed drawn, checked against this model. Raises BadShot before any work."""
        full = shot.filled(self.defaults).seeded()
        shape = self.latent_shape(full)
        need, free = memory(self.recipe, shape, shot.image is not None), free_memory(self.device)
        if free is not None and need > free:
            raise BadShot(
                f"{full.frames} frames of {full.width}x{full.height}: this takes about {need / 2**30:.1f} GiB of memory and "
                f"{free / 2**30:.1f} GiB are free; ask for fewer frames or a smaller picture."
            )
        return full

    def latent_shape(self, shot: Shot) -> tuple[int, ...]:
        """[c t' h' w'] of a prepared shot's latent."""
        frames, height, width = (_known(shot, name) for name in ("frames", "height", "width"))
        return self.codec.latent_shape(frames, height, width, self.recipe.network.patch)

    def warnings(self, shot: Shot) -> list[str]:
        """What the model will not heed of a shot's words, a sentence each."""
        words, length = self.text.words, self.recipe.text.text_length
        alone = shot.image is not None and self.latent_shape(shot)[1] == 1
        told = [f"'{word}' is unknown to {self.recipe.name} and was ignored" for word in self.unknown_words(shot)]
        if alone:
            told.append("a film of one frame that begins with a picture is that picture; ask for more frames")
        for text in (shot.prompt, shot.negative):
            cut = words.tokens(text, length)[1]
            if cut:
                told.append(f"this model reads {length - 1} words; what follows was cut: '{cut[:200]}'")
        return told

    def unknown_words(self, shot: Shot) -> list[str]:
        """The words of the prompt and the negative that the model never learned, as they were typed."""
        words = self.text.words
        return list(dict.fromkeys([*words.unknown_words(shot.prompt), *words.unknown_words(shot.negative)]))

    @property
    def begins(self) -> bool:
        """Whether this model was trained to go on from a first frame that it is given."""
        return self.recipe.stages.diffusion.first > 0

    def first(self, *pictures: Tensor) -> Tensor:
        """Pictures uint8 [h w 3] as clean first latent frames [n c 1 h' w'].

        Raises BadShot for a model that was never trained to begin with a picture.
        """
        if not self.begins:
            raise BadShot(
                f"image: {self.recipe.name} was not trained to begin with a picture; leave it out, or take a model whose recipe "
                "has 'first' above 0."
            )
        pixels = torch.stack(pictures).permute(0, 3, 1, 2).unsqueeze(2).float().div(127.5).sub(1.0)
        return self.codec.encode(pixels.to(self.device))

    def field(self, *shots: Shot, first: Tensor | None = None) -> Field:
        """The guided field of prepared shots, a row each: one expression; nothing has run yet but the text encoder.

        first [n c 1 h w]: first latent frames that are given (`Engine.first`). All shots share their guidance. Raises
        ValueError where they do not.
        """
        _alike(shots, ("guidance",))
        guided = self.diffusion.field(self.text(["" if shot.unconditional else shot.prompt for shot in shots]), first)
        if not all(shot.unconditional and not shot.negative for shot in shots):
            negative = self.diffusion.field(self.text([shot.negative for shot in shots]), first)
            guided = guide(guided, negative, shots[0].scale.at)
        if first is None:
            return guided
        return self.diffusion.beginning(guided, first, self.latent_shape(shots[0])[1])

    def sample(self, *shots: Shot, first: Tensor | None = None) -> Iterator[Step]:
        """Walk prepared shots' field from noise to latents [n c t h w]; the caller watches, stops or branches.

        first [n c 1 h w]: first latent frames that are given (`Engine.first`). A shot's film does not depend on its neighbours
        but for rounding. Raises ValueError where the shots differ in what one walk shares: size, steps, solver, shift, guidance.
        """
        one = shots[0]
        _alike(shots, ("frames", "height", "width", "steps", "solver", "shift"))
        if one.shift is None or one.solver is None:
            raise ValueError("sample: got a shot that is not prepared; expected the result of Engine.prepare")
        noise = Noise(tuple(_known(shot, "seed") for shot in shots))
        x = noise.normal("start", 0, self.latent_shape(one), device=self.device)
        times = shifted(_known(one, "steps"), one.shift)
        return SOLVERS[one.solver](self.field(*shots, first=first), x, times, noise=noise)

    def frames(self, latent: Tensor) -> Iterator[Tensor]:
        """Chunks of frames, uint8 [n h w c], of one latent [1 c t h w], as the codec gives them."""
        for chunk in self.codec.decode(latent):
            yield to_bytes(chunk)[0]

    def record(self, shot: Shot) -> dict[str, Any]:
        """What a film carries, so that it can be made again: no clock, no path, no device."""
        return {
            "vitascope": __version__,
            "model": self.recipe.name,
            "weights": bundle.fingerprint(self.weights),
            "shot": shot.model_dump(exclude=None if shot.image else {"image"}),
        }

    def film(self, shot: Shot, watch: Watch | None = None, image: Tensor | None = None) -> Film:
        """The film of a prepared shot, made as its frames are asked for; `watch` hears of each step and of each chunk.

        image: the picture that it begins with, uint8 [h w 3] of the film's size, where the shot names one (`begun_with`).
        More frames a second than the model makes are interpolated, and the record says so. Raises BadShot when fewer are asked
        for, FloatingPointError when the walk leaves the numbers, MemoryError when the device's memory ends.
        """
        fps, record = float(shot.fps or self.fps), self.record(shot)
        if fps < self.fps:
            raise BadShot(
                f"fps {fps:g}: this model's films have {self.fps:g} frames a second, and frames can be added between them "
                f"but not taken away; ask for {self.fps:g} or more."
            )
        chunks = self._walked(shot, watch or (lambda *_: None), self._beginning(shot, image))
        if fps == self.fps:
            return Film(chunks, fps, record)
        return Film(interpolate(chunks, self.fps, fps), fps, record | interpolation(self.fps, fps))

    def generate(self, shot: Shot, watch: Watch | None = None, image: Tensor | None = None) -> Video:
        """The film of a shot, whole; what it leaves open is filled first.

        image: a picture that it begins with, uint8 [h w 3] of any size: it is scaled and cut to the film's.
        """
        full = self.prepare(shot)
        if image is not None:
            if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise ValueError(f"image: expected uint8 [h w 3], got {image.dtype} {list(image.shape)}")
            image = fitted(image, _known(full, "height"), _known(full, "width"))
            full = begun_with(full, image)
        chunks, fps, record = self.film(full, watch, image)
        return Video(torch.cat(list(chunks)), fps, record)

    def _beginning(self, shot: Shot, image: Tensor | None) -> Tensor | None:
        if image is None and shot.image is None:
            return None
        if image is None:
            raise BadShot(
                "image: this film begins with a picture, which its record knows only by its hash; give the picture again."
            )
        size = (_known(shot, "height"), _known(shot, "width"), 3)
        if tuple(image.shape) != size or image.dtype != torch.uint8:
            raise ValueError(f"image: expected uint8 [{size[0]} {size[1]} 3], got {image.dtype} {list(image.shape)}")
        if shot.image is None:
            raise ValueError("image: the shot names no picture; expected the result of begun_with")
        if shot.image != picture_hash(image):
            raise BadShot(
                "image: this is not the picture that the film begins with, by its hash; give that one, or leave 'image' out of "
                "the shot."
            )
        return self.first(image)

    def _walked(self, shot: Shot, watch: Watch, first: Tensor | None) -> Iterator[Tensor]:
        steps, frames = _known(shot, "steps"), _known(shot, "frames")
        x = None
        try:
            for step in self.sample(shot, first=first):
                x, done = step.x, step.index + 1
                if not torch.isfinite(x).all():
                    raise FloatingPointError(
                        f"the walk left the numbers at step {done}; use more steps, a lower guidance or another solver"
                    )
                watch("walking", done, steps)
            if x is None:
                raise RuntimeError("expected at least one step, got none")
            made = 0
            for chunk in self.frames(x):
                made += len(chunk)
                watch("decoding", made, frames)
                yield chunk
        except torch.OutOfMemoryError as error:
            raise MemoryError("the device's memory ran out; ask for fewer frames or a smaller picture") from error


def picture_hash(image: Tensor) -> str:
    """The name of a picture uint8 [h w 3] in a Shot: the SHA-256 of its size and its pixels."""
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    digest.update(image.cpu().contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def begun_with(shot: Shot, image: Tensor) -> Shot:
    """The prepared shot, beginning with this picture, uint8 [h w 3] of the film's size.

    Raises BadShot where the shot names another picture already.
    """
    name = picture_hash(image)
    if shot.image not in (None, name):
        raise BadShot(
            "image: the film begins with another picture, by its hash, than the one given; give that picture, or make a new film."
        )
    return shot.model_copy(update={"image": name})


def to_bytes(pixels: Tensor) -> Tensor:
    """Pixels [b 3 t h w] in [-1, 1] to uint8 [b t h w c] on the CPU."""
    return ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).cpu()


def find(name_or_path: str | Path | None) -> Path:
    """The folder of a model. Raises BadModel with the nearest name."""
    name = SHIPPED.name if name_or_path is None else str(name_or_path)
    shipped = {folder.parent.name: folder.parent for folder in SHIPPED.parent.glob("*/recipe.json")}
    if name in shipped:  # before any folder of that name which happens to lie where the program is run
        return shipped[name]
    path = Path(name)
    if os.path.isdir(path):  # unlike Path.is_dir, it says no to a name that is too long, in every Python
        return path
    if os.path.exists(path):
        raise BadModel(
            f"model {name_or_path}: this is a file and a bundle is a folder; give the folder that holds recipe.json"
        )
    guess = nearest(name, shipped)
    hint = f"did you mean '{guess}'" if guess else f"there are {', '.join(sorted(shipped)) or 'none shipped'}"
    raise BadModel(
        f"model '{name[:200]}': no model has this name and no folder this path; {hint}, or give a bundle's folder"
    )


def choose_device(device: str) -> torch.device:
    """`auto` takes an accelerator where there is one. Raises BadModel for a device that this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BadModel(f"device '{device}': this machine cannot compute on it; use --device cpu, or auto") from error
    return chosen


def memory(recipe: Recipe, shape: tuple[int, ...], own_clock: bool = False) -> int:
    """A forecast, in bytes, of what making a latent of `shape` takes at its peak, weights apart.

    Two guided rows of tokens through the network, or the codec's fullest chunk, whichever is more; and the film itself, as
    bytes. own_clock: the first latent frame is given, and has a clock of its own.
    """
    sizes = of_clip(recipe.name, recipe.network, recipe.codec, recipe.text)
    (time, rows, columns), (_, t, h, w) = recipe.codec.stride, shape
    need = activations(sizes, Ask(1 + (t - 1) * time, h * rows, w * columns, own_clock=own_clock), rows=2)
    return max(need["walk"], need["decode"]) + need["film"]


def _alike(shots: Sequence[Shot], names: Sequence[str]) -> None:
    for name in names:
        values = {getattr(shot, name) for shot in shots}
        if len(values) != 1:
            raise ValueError(f"{name}: got shots with {sorted(map(str, values))}; expected one value in one walk")


def _known(shot: Shot, name: str) -> int:
    value = getattr(shot, name)
    if value is None:
        raise ValueError(f"{name}: got a shot that is not prepared; expected the result of Engine.prepare")
    return value
