"""A bundle is a folder of weights: safetensors, the tokeniser, and recipe.json that tells how to build what they fill.

`hashes.json` beside them holds the SHA-256 of each. Whoever changes a file on purpose deletes its line there. Nothing in a
bundle names another file: which files are read is written here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitascope.codec import VideoCodec
from vitascope.diffusion import Diffusion
from vitascope.errors import BadModel, BadRecipe
from vitascope.headers import Entry, header
from vitascope.media import fitted
from vitascope.models.dit import DiT
from vitascope.models.outline import outlined
from vitascope.physics.schedule import Linear
from vitascope.physics.times import LogitNormal
from vitascope.pixels import from_bytes
from vitascope.planning import Sizes, of_clip
from vitascope.precision import has_bf16
from vitascope.recipe import Recipe
from vitascope.shipped import WEIGHTS
from vitascope.shot import Given, Shot
from vitascope.swapping import in_place_of
from vitascope.system import Guides, Work
from vitascope.tensors import agree, digest, fill, read, write
from vitascope.text import TOKENIZER, ClipText, Words

SHIPPED = WEIGHTS / "storybook"

LOCK = "run.lock"
"""What a training run's folder holds, and a bundle's never."""

CODEC, TEXT, NETWORK = "codec.safetensors", "clip.safetensors", "network.safetensors"
RECIPE, HASHES, LEARNED = "recipe.json", "hashes.json", "learned.json"
FILES = (CODEC, TEXT, NETWORK, TOKENIZER, RECIPE)
"""What determines the pixels."""

LARGEST_TEXT = 50_000_000
"""Bytes of the longest recipe.json, tokenizer.json or hashes.json that is read."""

FAR = 2
"""How many times as many frames as were learned, or pixels, or how much fewer pixels, are worth a word."""


@dataclass
class System:
    """All parts of a text-to-video system, built."""

    recipe: Recipe
    codec: VideoCodec
    text: ClipText
    diffusion: Diffusion

    @property
    def name(self) -> str:
        """What messages and records call it."""
        return self.recipe.name

    @property
    def kind(self) -> str:
        """What its films begin from: a prompt."""
        return "t2v"

    def defaults_for(self, given: Given) -> dict[str, Any]:
        """What a Shot gets where it says nothing."""
        return self.recipe.video.model_dump() | self.recipe.defaults.model_dump()

    def doubts(self, shot: Shot) -> list[str]:
        """What is so far from what was learned that the film may be of little, a sentence each."""
        learned, told = self.recipe.video, []
        if shot.prompt.strip() and self.text.says_nothing(shot.said("prompt").text):
            told.append(f"nothing in the prompt is known to {self.name}: the film is of anything")
        frames, height, width = (
            getattr(shot, name) or getattr(learned, name) for name in ("frames", "height", "width")
        )
        area = height * width / (learned.height * learned.width)
        if frames == 1 < learned.frames and shot.image is None:
            told.append(
                f"{self.name} learned films, and a single picture of it comes out coarse; take one out of a film"
            )
        elif frames > FAR * learned.frames or not 1 / FAR <= area <= FAR:
            told.append(
                f"{self.name} learned films of {learned.frames} frames of {learned.width}x{learned.height}, and shows less of what "
                "is asked for the further a film is from that"
            )
        return told

    @property
    def sizes(self) -> Sizes:
        """What it is made of, in numbers."""
        return sizes(self.recipe, 2 if self.dtype == "bfloat16" else 4)

    @property
    def dtype(self) -> str:
        """What matrix products are computed in."""
        return "bfloat16" if self.diffusion.autocast and has_bf16(self.device.type) else "float32"

    @property
    def takes(self) -> frozenset[str]:
        """A first picture, where it was trained to go on from one."""
        return frozenset({"image"} if self.recipe.stages.diffusion.first > 0 else ())

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.codec.mean.device

    def working(self, part: Work) -> AbstractContextManager[None]:
        """Nothing is moved: all parts are where they compute."""
        return nullcontext()

    def fitted(self, shot: Shot, given: Given) -> Given:
        """The middle of the picture that a film begins with, scaled to the film."""
        if given.image is None:
            return given
        return given._replace(image=fitted(given.image, shot.height or 0, shot.width or 0))

    def guides(self, shot: Shot, given: Given) -> Guides:
        """The latent frame of the picture that a film begins with."""
        if given.image is None:
            return Guides()
        pixels = from_bytes(given.image.permute(2, 0, 1)[None, :, None])
        return Guides(first=self.codec.encode(pixels.to(self.codec.mean.device)))

    def parts(self) -> dict[str, nn.Module]:
        """The modules that a bundle keeps, by file name."""
        return {CODEC: self.codec, TEXT: self.text.clip, NETWORK: self.diffusion.net}

    def to(self, device: torch.device | str) -> System:
        """Move every part."""
        for module in self.parts().values():
            module.to(device)
        return self

    def settle(self, *, autocast: bool) -> System:
        """Ready to make films: no gradients, matrix products in bf16 where `autocast` says so and it is fast."""
        for module in self.parts().values():
            module.eval().requires_grad_(False)
        self.codec.autocast = self.diffusion.autocast = autocast
        return self


def sizes(recipe: Recipe, codec_bytes: int) -> Sizes:
    """What a recipe's system is made of, in numbers, for whoever plans; codec_bytes: of a number in its codec."""
    return of_clip(recipe.name, recipe.network, recipe.codec, recipe.text, codec_bytes)


def build(recipe: Recipe, words: Words) -> System:
    """A system with fresh weights, as its recipe describes it."""
    settings = recipe.diffusion
    if recipe.network.text_width != recipe.text.context_width:
        raise BadRecipe(
            f"recipe {recipe.name}: the network reads tokens {recipe.network.text_width} wide and the text tower gives "
            f"{recipe.text.context_width}; make network.text_width that"
        )
    density = LogitNormal(settings.mean, settings.std, settings.shift)
    diffusion = Diffusion(DiT(recipe.network), Linear(), settings.predicts, density, temperature=settings.temperature)
    return System(recipe, VideoCodec(recipe.codec), ClipText(recipe.text, words), diffusion)


def outline(recipe: Recipe, words: Words) -> dict[str, dict[str, torch.Size]]:
    """The shapes of all tensors that a recipe's system has, by file and name, found without allocating any."""
    with outlined():
        parts = build(recipe, words).parts()
    return {file: {name: value.shape for name, value in part.state_dict().items()} for file, part in parts.items()}


def save(folder: Path, system: System) -> None:
    """Write a bundle: matrices in bf16, vectors in float32, and the hashes of all files.

    It replaces an older bundle as a whole, or leaves it as it was; what else lies in the folder (`probe/`, notes) stays.
    Raises BadModel when it cannot be written, when a weight is not finite, and for a folder that holds something else.
    """
    for name, module in system.parts().items():
        _finite(name, module)
    with in_place_of(folder, "the bundle", _beside) as partial:
        for name, module in system.parts().items():
            write(partial / name, {key: _slim(value) for key, value in module.state_dict().items()})
        _put(partial / TOKENIZER, system.text.words.json())
        _put(partial / RECIPE, system.recipe.json())
        _put(partial / HASHES, json.dumps(digests(partial), indent=2) + "\n")


def _beside(folder: Path) -> list[Path]:
    """What stands in a bundle's folder beside the bundle, as a probe does. Raises BadModel where a bundle may not be put."""
    if not folder.exists():
        return []
    if not folder.is_dir():
        raise BadModel(f"{folder}: a file of this name is in the way of the bundle; give another folder.")
    others = [path for path in folder.iterdir() if path.name not in (*FILES, HASHES, LEARNED, LOCK)]
    if _of_a_run(folder):
        raise BadModel(
            f"{folder}: this folder is a training run's, which a bundle would overwrite; give another folder."
        )
    if (folder / RECIPE).is_file():
        try:
            Recipe.of(_json(folder / RECIPE))
        except (BadRecipe, BadModel) as error:
            raise BadModel(
                f"{folder}: its {RECIPE} is of no bundle; give a new folder, so that nothing of it is lost."
            ) from error
    elif others:
        raise BadModel(
            f"{folder}: this folder holds {others[0].name} and no bundle; give a new folder, so that nothing of it is lost."
        )
    return others


def _of_a_run(folder: Path) -> bool:
    """Whether a training run is in a folder; a bundle may hold the lock of one that was refused there."""
    return (folder / LOCK).exists() and not (folder / HASHES).exists()


def _put(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _finite(file: str, module: nn.Module) -> None:
    for name, value in module.state_dict().items():
        if not torch.isfinite(value).all():
            raise BadModel(
                f"{file}: the tensor {name} holds numbers that are not finite, so nothing was written; train again with a "
                "lower learning rate."
            )


def _slim(value: Tensor) -> Tensor:
    small = value.ndim < 2 or max(value.shape) == value.numel()
    return value.contiguous() if small or not value.is_floating_point() else value.to(torch.bfloat16).contiguous()


def load(folder: Path) -> System:
    """The system in a bundle, on the CPU, in float32. Raises BadModel with the file that is wrong; never half a system.

    Everything that can be told from the files' headers is told before any memory is taken.
    """
    recipe, words = described(folder)
    headers = {name: header(folder / name) for name in (CODEC, TEXT, NETWORK)}
    _affordable(folder, headers)
    for name, shapes in outline(recipe, words).items():
        found = {key: entry.shape for key, entry in headers[name].items()}
        agree(shapes, found, origin=str(folder / name))
    _verify(folder)
    # Fresh weights are drawn, only to be overwritten: the caller's own draws stay what they would have been.
    with torch.random.fork_rng(devices=[]):
        system = build(recipe, words)
    for name, module in system.parts().items():
        fill(module, read(folder / name), origin=str(folder / name))
    return system


def described(folder: Path) -> tuple[Recipe, Words]:
    """What a bundle says of itself, its weights unread. Raises BadModel."""
    if _of_a_run(folder):
        raise BadModel(f"{folder}: this is the folder of a training run; its bundle is {folder / 'bundle'}.")
    if not (folder / RECIPE).is_file():
        raise BadModel(
            f"{folder}: there is no {RECIPE} in it, so it is no vitascope bundle; give a folder that `vitascope train` wrote."
        )
    words = Words.parse(_text(folder / TOKENIZER), str(folder / TOKENIZER))
    try:
        recipe = Recipe.of(_json(folder / RECIPE), str(folder / RECIPE))
    except BadRecipe as error:  # whoever loads a model asked for no recipe
        raise BadModel(str(error)) from error
    if len(words) != recipe.text.vocab:
        raise BadModel(
            f"{folder / TOKENIZER}: it has {len(words)} words and the text tower {recipe.text.vocab}; take the one that came "
            "with the bundle."
        )
    return recipe, words


def _affordable(folder: Path, headers: Mapping[str, Mapping[str, Entry]]) -> None:
    need = sum(4 * math.prod(entry.shape) for entries in headers.values() for entry in entries.values())
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if need > have:
        raise BadModel(
            f"{folder}: its weights take {need / 2**30:.1f} GiB of memory and this machine has {have / 2**30:.1f}; take a "
            "smaller model."
        )


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise BadModel(f"{path}: it has over {LARGEST_TEXT:,} bytes, as no such file has; copy the bundle again.")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadModel(f"{path}: it cannot be read ({error}); copy the bundle again.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        table = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path}: it is no JSON ({error}); copy the bundle again.") from error
    if not isinstance(table, dict):
        raise BadModel(f"{path}: it holds no table of names; copy the bundle again.")
    return table


def _verify(folder: Path) -> None:
    """Compare the files with the hashes written when they were saved. A file without a line there is taken as it is."""
    path = folder / HASHES
    if not path.exists():
        return
    for name, wanted in _json(path).items():
        if name not in FILES:
            raise BadModel(
                f"{path}: it names {name[:80]!r}, which is no file of a bundle, so it is not followed; delete that line."
            )
        if digest(folder / name) != wanted:
            raise BadModel(
                f"{folder / name}: its SHA-256 is not the one in {HASHES}, so it is not the file that was saved; copy it "
                f"again, or delete its line from {HASHES} if you changed it on purpose."
            )


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that determines the pixels, by name."""
    return {name: digest(folder / name) for name in FILES}


def fingerprint(hashes: Mapping[str, str]) -> str:
    """One short name for a set of digests."""
    return hashlib.sha256("".join(f"{k}:{v}\n" for k, v in sorted(hashes.items())).encode()).hexdigest()[:16]
