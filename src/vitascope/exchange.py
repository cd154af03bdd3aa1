"""A bundle in the layout of another program, and back from there, tensor for tensor."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitascope import bundle
from vitascope.bundle import CODEC, LARGEST_TEXT, LEARNED, NETWORK, RECIPE, TEXT, System
from vitascope.checkpoints.export import (
    AUTOENCODER,
    AUTOENCODER_CONFIG,
    INDEX,
    README,
    SCHEDULER,
    TRANSFORMER,
    TRANSFORMER_CONFIG,
    autoencoder_names,
    configs,
    put,
    transformer_names,
    write_diffusers,
)
from vitascope.errors import BadModel
from vitascope.headers import header
from vitascope.models.dit import PLACES, places
from vitascope.recipe import Recipe
from vitascope.swapping import in_place_of
from vitascope.tensors import agree, fill, read, write
from vitascope.text import TOKENIZER, ClipText, Words

OURS = "vitascope"
"""The folder in an exported one for what diffusers has no place for: recipe, tokeniser, text tower."""

_PLACES_FILE = f"{OURS}/places.safetensors"
"""What tells the network's tokens their places, which diffusers' class has no tensor for; only where it is told them."""

_FILES = {CODEC: AUTOENCODER, NETWORK: TRANSFORMER, TEXT: f"{OURS}/{TEXT}"}
"""Where the tensors of a bundle's file are in an exported folder."""


def to_diffusers(system: System, folder: Path, *, replace: bool = False) -> None:
    """Write a system into a new folder, whole or not at all, that diffusers' WanPipeline loads and `from_diffusers` too.

    replace: put it in the place of an earlier export. Raises BadModel where the folder exists, holds something else, cannot be
    written, or where diffusers' classes have no such form.
    """
    with in_place_of(folder, "the export", lambda there: _free(there, replace)) as partial:
        write_diffusers(partial, system.recipe, system.codec, system.diffusion.net.state_dict())
        put(partial / OURS / RECIPE, system.recipe.json())
        put(partial / OURS / TOKENIZER, system.text.words.json())
        tower = {name: _narrow(value) for name, value in system.text.clip.state_dict().items()}
        write(partial / OURS / TEXT, tower)
        if system.recipe.network.places:
            write(partial / _PLACES_FILE, {PLACES: system.diffusion.net.state_dict()[PLACES]})


def from_diffusers(folder: Path) -> System:
    """The system in a folder that `to_diffusers` wrote, also after its weights were trained on elsewhere.

    Everything that headers and configs can tell is told before memory is taken. Raises BadModel with the file that is wrong.
    """
    recipe, words = _described(folder)
    mean, std = _whitening(folder / AUTOENCODER_CONFIG, recipe.codec.z)
    _as_described(folder, configs(recipe, mean, std))
    names: dict[str, dict[str, str]] = {}
    told = _places(folder, recipe) if recipe.network.places else {}
    for file, shapes in bundle.outline(recipe, words).items():
        names[file] = _names(file, recipe, shapes)
        found = {name: entry.shape for name, entry in header(folder / _FILES[file]).items()}
        agree({theirs: shapes[ours] for ours, theirs in names[file].items()}, found, origin=str(folder / _FILES[file]))
    # Fresh weights are drawn, only to be overwritten: the caller's own draws stay what they would have been.
    with torch.random.fork_rng(devices=[]):
        system = bundle.build(recipe, words)
    for file, module in system.parts().items():
        path = folder / _FILES[file]
        tensors = _renamed(read(path), names[file])
        if file == CODEC:
            tensors |= {"mean": torch.tensor(mean), "std": torch.tensor(std)}
        if file == NETWORK:
            tensors |= told
        fill(module, tensors, origin=str(path))
    return system


def text_tower(folder: str | Path) -> ClipText:
    """The text encoder of an exported folder, for prompts that diffusers is then handed. Raises BadModel."""
    folder = Path(folder)
    recipe, words = _described(folder)
    path = folder / _FILES[TEXT]
    found = {name: entry.shape for name, entry in header(path).items()}
    agree(bundle.outline(recipe, words)[TEXT], found, origin=str(path))
    with torch.random.fork_rng(devices=[]):
        text = ClipText(recipe.text, words)
    fill(text.clip, read(path), origin=str(path))
    return text.eval().requires_grad_(False)


def places_told(folder: str | Path) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    """A forward hook for the patch embedding of diffusers' transformer, which adds what tells tokens their places.

    Raises BadModel.
    """
    folder = Path(folder)
    recipe, _ = _described(folder)
    if not recipe.network.places:
        raise BadModel(f"{folder}: its network is told of no places; leave the hook out.")
    weight = _places(folder, recipe)[PLACES]

    def told(module: nn.Module, given: Any, tokens: Tensor) -> Tensor:
        table = places((tokens.shape[2], tokens.shape[3], tokens.shape[4]), tokens.device) @ weight.to(tokens.device).T
        return tokens + table.T.unflatten(1, tokens.shape[2:]).to(tokens)

    return told


def _places(folder: Path, recipe: Recipe) -> dict[str, Tensor]:
    """The tensor that tells the network's tokens their places. Raises BadModel where its file does not hold it."""
    path = folder / _PLACES_FILE
    shape = (recipe.network.width, recipe.network.place_width)
    agree({PLACES: shape}, {name: entry.shape for name, entry in header(path).items()}, origin=str(path))
    found = read(path)
    if not torch.isfinite(found[PLACES]).all():
        raise BadModel(f"{path}: the tensor {PLACES} holds numbers that are not finite; export the model again.")
    return found


def rounded(system: System, folder: Path) -> list[str]:
    """The tensors that a bundle saved from this system does not hold exactly: it keeps matrices in bf16."""
    kept = bundle.load(folder).parts()
    return [
        name
        for file, module in system.parts().items()
        for name, value in module.state_dict().items()
        if not torch.equal(kept[file].state_dict()[name], value.cpu())
    ]


def is_export(folder: Path) -> bool:
    """Whether `to_diffusers` wrote this folder, by the files that are in it."""
    return (folder / INDEX).is_file() and (folder / OURS / RECIPE).is_file()


def _names(file: str, recipe: Recipe, ours: Mapping[str, Any]) -> dict[str, str]:
    """What each tensor of a bundle's file is called in the exported one."""
    if file == NETWORK:
        return transformer_names(ours)
    return autoencoder_names(ours, recipe.codec) if file == CODEC else {name: name for name in ours}


def _renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    return {ours: tensors[theirs] for ours, theirs in names.items()}


def _described(folder: Path) -> tuple[Recipe, Words]:
    if not is_export(folder):
        raise BadModel(
            f"{folder}: it is no folder that `vitascope export` wrote for diffusers, for it lacks {INDEX} or {OURS}/{RECIPE}; "
            "give one that has both."
        )
    return bundle.described(folder / OURS)


def _whitening(path: Path, channels: int) -> tuple[list[float], list[float]]:
    table = _table(path)
    mean, std = (_numbers(path, table, name, channels) for name in ("latents_mean", "latents_std"))
    if min(std) <= 0:
        raise BadModel(
            f"{path}: its latents_std are not all above 0, and latents are divided by them; export it again."
        )
    return mean, std


def _numbers(path: Path, table: Mapping[str, Any], name: str, count: int) -> list[float]:
    values = table.get(name)
    good = isinstance(values, list) and len(values) == count and all(type(value) in (int, float) for value in values)
    # Beyond float32 a number is none: 1e39 would become infinite in the buffer that it fills.
    if not good or not all(math.isfinite(v) and abs(v) <= torch.finfo(torch.float32).max for v in values or ()):
        raise BadModel(f"{path}: its {name} are not {count} finite numbers, one for each channel; export it again.")
    return [float(value) for value in values or ()]


def _as_described(folder: Path, wanted: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse a folder whose configs say another model than its recipe: a bundle has the recipe alone."""
    for place, table in wanted.items():
        found = _table(folder / place)
        for name, value in table.items():
            if name != "_diffusers_version" and found.get(name) != value:
                raise BadModel(
                    f"{folder / place}: it has {_shown(found.get(name))} as {name} where {OURS}/{RECIPE} beside it makes it "
                    f"{_shown(value)}; change one of the two."
                )


def _shown(value: object) -> str:
    return json.dumps(value)[:80]


def _table(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise BadModel(f"{path}: it has over {LARGEST_TEXT:,} bytes, as no such file has; export it again.")
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BadModel(f"{path}: it cannot be read as JSON ({error}); export it again.") from error
    if not isinstance(table, dict):
        raise BadModel(f"{path}: it holds no table of names; export it again.")
    return table


def _narrow(value: Tensor) -> Tensor:
    """In bf16 where that loses nothing, as of nearly all that a bundle holds."""
    small = value.to(torch.bfloat16)
    return small if value.is_floating_point() and torch.equal(small.to(value.dtype), value) else value


def _free(folder: Path, replace: bool) -> Sequence[Path]:
    """Nothing comes along from an earlier export. Raises BadModel where another may not be put."""
    if not folder.exists():
        return ()
    if not folder.is_dir():
        raise BadModel(f"{folder}: a file of this name is in the way; give another folder.")
    held: Sequence[Path] = sorted(folder.iterdir())
    if held and not is_export(folder):
        raise BadModel(
            f"{folder}: this folder holds {held[0].name} and no export; give a new folder, so that it stays."
        )
    if held and not replace:
        raise BadModel(f"{folder}: there is an export already; add --force to replace it, or give another folder.")
    own = {README, INDEX, SCHEDULER, TRANSFORMER_CONFIG, AUTOENCODER_CONFIG, *_FILES.values(), _PLACES_FILE}
    own |= {f"{OURS}/{name}" for name in (RECIPE, TOKENIZER, LEARNED)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in own and (not path.is_dir() or path.is_symlink()):
            raise BadModel(
                f"{folder}: beside the export it holds {name}, which would be lost; take that away, or give another folder."
            )
    return ()
