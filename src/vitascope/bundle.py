"""A bundle is a folder of weights: safetensors, the tokeniser, and recipe.json that tells how to build what they fill."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vitascope.codec import VideoCodec
from vitascope.diffusion import Diffusion
from vitascope.errors import BadModel, BadRecipe
from vitascope.models.dit import DiT
from vitascope.physics.schedule import Linear
from vitascope.physics.times import LogitNormal
from vitascope.recipe import Recipe
from vitascope.tensors import fill, read, write
from vitascope.text import ClipText, Words

SHIPPED = Path(__file__).parent / "weights" / "storybook"

CODEC, TEXT, NETWORK = "codec.safetensors", "clip.safetensors", "network.safetensors"
TOKENIZER, RECIPE = "tokenizer.json", "recipe.json"


@dataclass
class System:
    """All parts of a text-to-video system, built."""

    recipe: Recipe
    codec: VideoCodec
    text: ClipText
    diffusion: Diffusion

    def parts(self) -> dict[str, nn.Module]:
        """The modules that a bundle keeps, by file name."""
        return {CODEC: self.codec, TEXT: self.text.clip, NETWORK: self.diffusion.net}

    def to(self, device: torch.device | str) -> System:
        """Move every part."""
        for module in self.parts().values():
            module.to(device)
        return self

    def settle(self, *, autocast: bool) -> System:
        """Ready to make films: no gradients, matrix products in bf16 where `autocast` says so."""
        for module in self.parts().values():
            module.eval().requires_grad_(False)
        self.codec.autocast = self.diffusion.autocast = autocast
        return self


def build(recipe: Recipe, words: Words) -> System:
    """A system with fresh weights, as its recipe describes it."""
    settings = recipe.diffusion
    if recipe.network.text_width != recipe.text.text_width:
        raise BadRecipe(
            f"recipe {recipe.name}: the network takes text states {recipe.network.text_width} wide and the text tower gives "
            f"{recipe.text.text_width}; make network.text_width equal to text.text_width"
        )
    density = LogitNormal(settings.mean, settings.std, settings.shift)
    diffusion = Diffusion(DiT(recipe.network), Linear(), settings.predicts, density)
    return System(recipe, VideoCodec(recipe.codec), ClipText(recipe.text, words), diffusion)


def save(folder: Path, system: System) -> None:
    """Write a bundle: matrices in bf16, vectors in float32. The folder appears whole or not at all."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name, module in system.parts().items():
        write(partial / name, {key: _slim(value) for key, value in module.state_dict().items()})
    (partial / TOKENIZER).write_text(system.text.words.json(), encoding="utf-8")
    (partial / RECIPE).write_text(system.recipe.json(), encoding="utf-8")
    if (folder / "probe").is_dir():
        shutil.copytree(folder / "probe", partial / "probe")
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _slim(value: Tensor) -> Tensor:
    small = value.ndim < 2 or max(value.shape) == value.numel()
    return value.contiguous() if small or not value.is_floating_point() else value.to(torch.bfloat16).contiguous()


def load(folder: Path) -> System:
    """The system in a bundle, on the CPU, in float32. Raises BadModel with the file that is wrong; never half a system."""
    if not (folder / RECIPE).is_file():
        raise BadModel(
            f"{folder}: there is no {RECIPE} in it, so it is no vitascope bundle; give a folder that `vitascope train` wrote"
        )
    try:
        table = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        words = Words.parse((folder / TOKENIZER).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BadModel(
            f"{folder}: its {RECIPE} or {TOKENIZER} cannot be read ({error}); copy the bundle again"
        ) from error
    system = build(Recipe.of(table, f"{folder}/{RECIPE}"), words)
    for name, module in system.parts().items():
        fill(module, read(folder / name), origin=str(folder / name))
    return system


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that determines the pixels, by name."""
    names: Sequence[str] = (CODEC, TEXT, NETWORK, TOKENIZER, RECIPE)
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}


def fingerprint(hashes: Mapping[str, str]) -> str:
    """One short name for a set of digests."""
    return hashlib.sha256("".join(f"{k}:{v}\n" for k, v in sorted(hashes.items())).encode()).hexdigest()[:16]
