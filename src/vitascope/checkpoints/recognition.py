"""What a file holds and how large it is, told from the names and shapes of its tensors, under our names.

A config.json is a claim about the weights; the weights are the fact. So sizes are read here, and `configs` only adds what
shapes do not tell and compares the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vitascope.errors import BadModel
from vitascope.models.dit import DiTConfig
from vitascope.models.vae import VAEConfig

Shapes = Mapping[str, Sequence[int]]
Variant = Literal["t2v", "i2v", "flf2v", "vace"]

HEAD_WIDTH = 128
"""Of every published Wan transformer. It shows in no shape; a config.json may say otherwise."""


@dataclass(frozen=True)
class Network:
    """A transformer recognised: what it does, and its sizes."""

    variant: Variant
    config: DiTConfig
    vace_layers: tuple[int, ...] = ()
    """Behind which blocks the hints of a VACE model are added; empty for all others."""
    vace_in: int = 96
    notices: list[str] = field(default_factory=list)


def transformer(shapes: Shapes, origin: str, heads: int | None = None) -> Network:
    """The transformer that has these tensors. Raises BadModel for what is none, or one that is not run here.

    `heads`: as a config says; None: as many as are 128 wide.
    """
    _not_another(shapes, origin)
    d = _size(shapes, "head.modulation", 2, 3, origin)
    embedding = _shape(shapes, "patch_embedding.weight", 5, origin)
    patch = (embedding[2], embedding[3], embedding[4])
    volume = math.prod(patch)
    out = _size(shapes, "head.head.weight", 0, 2, origin)
    image = _size(shapes, "img_emb.proj.0.weight", 0, 1, origin) if "img_emb.proj.0.weight" in shapes else None
    tokens = _size(shapes, "img_emb.emb_pos", 1, 3, origin) if "img_emb.emb_pos" in shapes else None
    vace = "vace_patch_embedding.weight" in shapes
    if heads is None and d % HEAD_WIDTH:
        raise BadModel(
            f"{origin}: its transformer is {d} wide, which is no multiple of the {HEAD_WIDTH} that a head of Wan has, so "
            "the number of heads cannot be told; put its config.json beside it."
        )
    heads = heads or d // HEAD_WIDTH
    layers = _count(shapes, "blocks", origin)
    variant: Variant = "vace" if vace else "flf2v" if tokens else "i2v" if image else "t2v"
    _not_of_another_family(embedding[1], out // max(volume, 1), image, origin)
    try:
        config = DiTConfig(
            width=d,
            heads=heads,
            layers=layers,
            ffn=_size(shapes, "blocks.0.ffn.0.weight", 0, 2, origin),
            in_channels=embedding[1],
            out_channels=out // volume,
            patch=patch,
            text_width=_size(shapes, "text_embedding.0.weight", 1, 2, origin),
            freq_width=_size(shapes, "time_embedding.0.weight", 1, 2, origin),
            image_width=image,
            image_tokens=tokens,
            qk_norm="blocks.0.self_attn.norm_q.weight" in shapes,
            cross_norm="blocks.0.norm3.weight" in shapes,
        )
    except (ValueError, ZeroDivisionError) as error:
        raise BadModel(
            f"{origin}: its sizes fit no transformer ({error}); take the file that was published, or its config.json."
        ) from error
    hints = _count(shapes, "vace_blocks", origin) if vace else 0
    if hints > layers:
        raise BadModel(
            f"{origin}: it has {hints} blocks of hints for {layers} blocks, which no VACE model has; fetch the file again."
        )
    steps = tuple(range(0, layers, math.ceil(layers / hints)))[:hints] if hints else ()
    width = _size(shapes, "vace_patch_embedding.weight", 1, 5, origin) if vace else 96
    return Network(variant, config, steps, width, _doubts(variant, config))


_PARTS: tuple[tuple[str, str], ...] = (
    (r"face_adapter\.|motion_encoder\.|pose_patch_embedding\.", "Wan2.2-Animate"),
    (r"casual_audio_encoder\.|audio_\w+\.", "Wan2.2-S2V"),
    (r"control_adapter\.", "Wan2.1-Fun or Wan2.2-Fun with camera control"),
    (r"ref_conv\.", "Wan2.1-Fun V1.1 Control"),
)
"""Parts that other models of the family have beside Wan 2.1's, and which those are."""

_HELD = "text-to-video, image-to-video, first-and-last-frame and VACE models of Wan 2.1"


def _not_another(shapes: Shapes, origin: str) -> None:
    for pattern, what in _PARTS:
        if any(re.match(pattern, name) for name in shapes):
            raise BadModel(f"{origin}: this is {what}, which is not run here; take one of the {_HELD}.")
    if "head.modulation" in shapes:
        return
    if any(name.startswith("vace_blocks.") for name in shapes):
        raise BadModel(
            f"{origin}: these are the VACE blocks alone, without the transformer that they belong to; take a file that has "
            "both, such as the published Wan2.1-VACE."
        )
    from vitascope.tensors import looks_like

    likely = looks_like(shapes)
    raise BadModel(
        f"{origin}: there is no Wan transformer in it, but {likely or 'something that is not known here'}; give the file "
        "that holds the transformer."
    )


def _not_of_another_family(inputs: int, outputs: int, image: int | None, origin: str) -> None:
    """Models under the very same names, which only their channels give away."""
    what = None
    if inputs == outputs == 48:
        what = "Wan2.2-TI2V-5B"
    elif inputs == 36 and image is None:
        what = "Wan2.2-I2V-A14B, one of its two experts,"
    elif inputs == 48 and outputs == 16:
        what = "Wan2.1-Fun Control"
    elif inputs == 32 and outputs == 16:
        what = "Wan2.1-Fun with camera control"
    if what:
        raise BadModel(f"{origin}: this is {what} which is not run here; take one of the {_HELD}.")
    if inputs != outputs + (20 if image is not None else 0):
        raise BadModel(
            f"{origin}: it takes {inputs} channels and gives {outputs}, as no model of Wan 2.1's does; take one of the {_HELD}."
        )


def _doubts(variant: Variant, config: DiTConfig) -> list[str]:
    if variant == "i2v" and config.width == 1536:
        return [
            "no image-to-video model of Wan 2.1 is 1,536 wide, so this is probably Wan2.1-Fun InP or SkyReels-V2; it is run "
            "as image-to-video"
        ]
    return []


def autoencoder(shapes: Shapes, origin: str) -> VAEConfig:
    """The autoencoder that has these tensors, in the plain or in the residual form. Raises BadModel for what is none."""
    residual = "encoder.downsamples.0.downsamples.0.residual.2.weight" in shapes
    z = _size(shapes, "conv2.weight", 0, 5, origin)
    conv, back = (_shape(shapes, f"{side}.conv1.weight", 5, origin) for side in ("encoder", "decoder"))
    widths, temporal, blocks = _levels(shapes, residual, origin)
    base = conv[0]
    narrow = _size(shapes, "decoder.head.0.gamma", 0, 4, origin)
    patch = math.isqrt(max(conv[1] // 3, 1))
    mults = tuple(width // base for width in widths)
    if not mults or not all(mults) or conv[1] != 3 * patch**2 or back[1] != z or narrow % mults[0]:
        raise BadModel(f"{origin}: its sizes fit no autoencoder of Wan's form; fetch the file again.")
    decoder = narrow // mults[0]
    try:
        return VAEConfig(
            z=z,
            base=base,
            decoder_base=None if decoder == base else decoder,
            mults=mults,
            blocks=blocks,
            temporal=temporal,
            patch=patch,
            residual=residual,
        )
    except ValueError as error:
        raise BadModel(f"{origin}: its sizes fit no autoencoder ({error}); fetch the file again.") from error


def _levels(shapes: Shapes, residual: bool, origin: str) -> tuple[list[int], tuple[bool, ...], int]:
    """Of the encoder: the width of each level, whether time halves after it, and how many blocks a level has."""
    rows: list[list[str]] = [[]]
    if residual:
        rows = [
            [
                f"encoder.downsamples.{i}.downsamples.{j}"
                for j in range(_count(shapes, f"encoder.downsamples.{i}.downsamples", origin))
            ]
            for i in range(_count(shapes, "encoder.downsamples", origin))
        ]
    else:
        for i in range(_count(shapes, "encoder.downsamples", origin)):
            rows[-1].append(f"encoder.downsamples.{i}")
            if f"encoder.downsamples.{i}.resample.1.weight" in shapes:
                rows.append([])
    counts = [sum(f"{layer}.residual.2.weight" in shapes for layer in row) for row in rows]
    if not rows[-1] or len(set(counts)) != 1 or not counts[0]:
        raise BadModel(
            f"{origin}: the levels of its encoder have {counts} blocks, as no Wan autoencoder has; fetch it again."
        )
    widths = [_size(shapes, f"{row[0]}.residual.2.weight", 0, 5, origin) for row in rows]
    temporal = tuple(f"{row[-1]}.time_conv.weight" in shapes for row in rows[:-1])
    return widths, temporal, counts[0]


def text_sizes(shapes: Shapes, origin: str) -> dict[str, int]:
    """The sizes of the UMT5 encoder that has these tensors, by the names of UMT5Config. Raises BadModel for what is none."""
    vocab, width = _shape(shapes, "token_embedding.weight", 2, origin)
    buckets, heads = _shape(shapes, "blocks.0.pos_embedding.embedding.weight", 2, origin)
    inner = _size(shapes, "blocks.0.attn.q.weight", 0, 2, origin)
    if not heads or inner % heads:
        raise BadModel(f"{origin}: {heads} heads do not divide the {inner} of its attention; fetch the file again.")
    ffn = _size(shapes, "blocks.0.ffn.fc1.weight", 0, 2, origin)
    layers = _count(shapes, "blocks", origin)
    sizes = {"vocab": vocab, "width": width, "heads": heads, "head_width": inner // heads, "ffn": ffn}
    return {**sizes, "layers": layers, "buckets": buckets}


def tower_sizes(shapes: Shapes, origin: str) -> dict[str, int]:
    """The sizes of the image tower that has these tensors (OpenAI's names): width, layers, ffn, patch and side in pixels."""
    width, _, patch, _ = _shape(shapes, "conv1.weight", 4, origin)
    places = _size(shapes, "positional_embedding", 0, 2, origin) - 1
    side = math.isqrt(max(places, 0))
    if side < 1 or side**2 != places:
        raise BadModel(f"{origin}: its {places} places make no square picture, as CLIP's do; fetch the file again.")
    ffn = _size(shapes, "transformer.resblocks.0.mlp.c_fc.weight", 0, 2, origin)
    return {
        "width": width,
        "layers": _count(shapes, "transformer.resblocks", origin),
        "ffn": ffn,
        "patch": patch,
        "side": side * patch,
    }


def _shape(shapes: Shapes, name: str, rank: int, origin: str) -> tuple[int, ...]:
    if name not in shapes:
        raise BadModel(f"{origin}: it lacks {name}, so what is in it cannot be told; fetch the file again.")
    found = tuple(shapes[name])
    if len(found) != rank or not all(found):
        raise BadModel(
            f"{origin}: the tensor {name} has the shape {list(found)}, as in no Wan model; fetch the file again."
        )
    return found


def _size(shapes: Shapes, name: str, axis: int, rank: int, origin: str) -> int:
    return _shape(shapes, name, rank, origin)[axis]


def _count(shapes: Shapes, stack: str, origin: str) -> int:
    """How many numbered parts a stack has; their numbers must run from 0 without a gap."""
    pattern = re.compile(re.escape(stack) + r"\.([0-9]{1,6})\.")
    numbers = {int(found[1]) for name in shapes if (found := pattern.match(name))}
    gap = next((n for n in range(len(numbers)) if n not in numbers), None)
    if not numbers or gap is not None:
        raise BadModel(f"{origin}: it lacks {stack}.{gap or 0} and what is in it; fetch the file again.")
    return len(numbers)
