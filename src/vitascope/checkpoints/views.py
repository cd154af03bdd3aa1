"""A file's weights under our names, whatever it calls them and however it packs them; and which part of a model it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import torch

from vitascope.checkpoints import names
from vitascope.checkpoints.quantised import dequantised
from vitascope.checkpoints.weights import Rule, Weights, derived, opened, renamed
from vitascope.errors import BadModel
from vitascope.tensors import looks_like

Kind = Literal["transformer", "vae", "text", "image"]

_ORIGINAL: Mapping[Kind, tuple[str, ...]] = {
    "transformer": ("head.modulation", "vace_patch_embedding.weight"),
    "vae": ("decoder.middle.0.residual.0.gamma",),
    "text": ("blocks.0.pos_embedding.embedding.weight",),
    "image": ("visual.patch_embedding.weight", "cls_embedding"),
}
_ELSEWHERE: Mapping[Kind, tuple[str, ...]] = {
    "transformer": ("condition_embedder.time_proj.weight",),
    "vae": ("decoder.mid_block.resnets.0.norm1.gamma",),
    "text": ("encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",),
    "image": ("vision_model.embeddings.patch_embedding.weight",),
}
"""Names that give each part away: in the original layout, and in that of diffusers and transformers."""

WORDS: Mapping[Kind, str] = {
    "transformer": "a Wan transformer",
    "vae": "a Wan VAE",
    "text": "a UMT5 text encoder",
    "image": "a CLIP image tower",
}


def kind(weights: Weights) -> Kind | None:
    """Which part of a model lies in a file, by its names; None where it is none of a Wan model's."""
    for part, marks in _ORIGINAL.items():
        if names.prefix(weights, (*marks, *_ELSEWHERE[part])) is not None:
            return part
    return None


def is_diffusers(weights: Weights, part: Kind) -> bool:
    """Whether a file has the names of diffusers, or of transformers."""
    return names.prefix(weights, _ELSEWHERE[part]) is not None


def view(path: Path, part: Kind, packed: torch.dtype = torch.float32) -> Weights:
    """A part of a model under our names; a name that no table knows stays, and is told later.

    What is packed in 8 bits or fewer is unpacked to `packed` when it is touched.

    Reads headers alone. Raises BadModel where the file holds something else.
    """
    weights = opened(path)
    before = names.prefix(weights, (*_ORIGINAL[part], *_ELSEWHERE[part]))
    if before is None:
        other = kind(weights)
        what = WORDS[other] if other else looks_like(weights)
        # The blocks of a VACE model alone are refused in words of their own, by whoever reads the shapes.
        if part != "transformer" or (other is not None and other != "transformer"):
            raise BadModel(
                f"{weights.origin}: {WORDS[part]} was wanted and this is {what or 'something that is not known here'}; give the "
                "file that holds it."
            )
        before = ""
    weights = dequantised(weights, packed)
    if before:
        weights = _named(weights, lambda name: name.removeprefix(before))
    return _VIEWS[part](weights)


def _named(weights: Weights, ours: Callable[[str], str], wanted: Iterable[str] | None = None) -> Weights:
    """The weights, or the wanted ones, under the names that `ours` gives them. Raises BadModel where two get the same one."""
    table: dict[str, str] = {}
    for theirs in weights if wanted is None else wanted:
        name = ours(theirs)
        if name in table:
            raise BadModel(
                f"{weights.origin}: {table[name][:120]} and {theirs[:120]} in it are two names of one tensor, and which is meant "
                "cannot be told; take a file that was not put together of two."
            )
        table[name] = theirs
    return renamed(weights, table)


def _of(table: names.Names) -> Callable[[str], str]:
    """Our name for theirs. One that no line tells stands under itself, so that it is not lost."""
    return lambda name: table.ours(name) or name


def _transformer(weights: Weights) -> Weights:
    if not is_diffusers(weights, "transformer"):
        return weights
    wanted = (name for name in weights if not names.STRAY.fullmatch(name))
    return _named(weights, _of(names.TRANSFORMER), wanted)


def _vae(weights: Weights) -> Weights:
    if not is_diffusers(weights, "vae"):
        return weights
    residual = any(name.startswith("decoder.up_blocks.0.upsampler.") for name in weights)
    last = max(
        (
            int(n.split(".")[4])
            for n in weights
            if n.startswith("decoder.up_blocks.0.resnets.") and n.split(".")[4].isdigit()
        ),
        default=2,
    )
    levels = len({name.split(".")[2] for name in weights if name.startswith("decoder.up_blocks.")})
    return _named(weights, _of(names.autoencoder(max(last, 1), levels, residual)))


def _text(weights: Weights) -> Weights:
    wanted = [name for name in weights if name != names.TOKENIZER]
    if not is_diffusers(weights, "text"):
        return _named(weights, str, wanted)
    if names.SHARED in wanted:
        wanted = [name for name in wanted if name != names.TWICE]
    return _named(weights, lambda name: names.TEXT.ours(names.SHARED if name == names.TWICE else name) or name, wanted)


def _image(weights: Weights) -> Weights:
    shapes = {name: weights.shape(name) for name in weights}
    table, made = {}, {}
    for ours, (needs, make) in names.image_rules(shapes).items():
        if make is names.as_it_is:
            table[ours] = needs[0]
            continue
        # What comes out is tried on tensors that have a shape and nothing else.
        shape = make(*(torch.empty(shapes[name], device="meta") for name in needs)).shape
        made[ours] = Rule(needs, tuple(shape), weights.dtype(needs[0]), make)
    plain = renamed(weights, table)
    derivable = derived(weights, made)
    return weights.with_slots(plain.slots | {name: derivable.slots[name] for name in made})


_VIEWS: Mapping[Kind, Callable[[Weights], Weights]] = {
    "transformer": _transformer,
    "vae": _vae,
    "text": _text,
    "image": _image,
}
