"""The parts of a Wan model that was found, loaded: each whole and checked, or an error and nothing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from vitascope.checkpoints import configs, names, recognition
from vitascope.checkpoints.assembly import DTYPES, SAFEST_WIDE, Watch, assemble, checked, shapes
from vitascope.checkpoints.layout import Found
from vitascope.checkpoints.views import view
from vitascope.checkpoints.weights import Weights, opened
from vitascope.codec import VideoCodec
from vitascope.errors import BadModel
from vitascope.models.clip import CLIPConfig, VisionTransformer
from vitascope.models.dit import DiT
from vitascope.models.outline import outlined

if TYPE_CHECKING:
    from vitascope.models.umt5 import UMT5Config
    from vitascope.wan_text import Kept, T5Words, UMT5Text

Precision = Literal["float32", "bfloat16", "float16"] | torch.dtype | None
"""What weights are kept in, by name or as torch calls it; None: as they lie in the file (bfloat16 if that is fewer than 16 bits)."""

TOWER_HEAD = 80
"""Width of a head of Wan's image tower (1,280 in 16 heads); it shows in no shape."""


def load_transformer(
    found: Found, dtype: Precision = None, watch: Watch | None = None, *, keep_wide: bool = False
) -> DiT:
    """The transformer, on the CPU: a DiT, or a VaceDiT for a VACE model. Raises BadModel.

    `keep_wide` leaves time embedding, modulation, norms and head in float32 whatever `dtype` the rest is in. Where the file has
    the wanted precision the parameters are views of it, mapped: the file must stay as it is while they are used.
    """
    with outlined():
        net = outline(found)
    weights = view(found.transformer, "transformer", _dtype(dtype) or torch.bfloat16)
    _assemble(net, weights, found.transformer, dtype, SAFEST_WIDE if keep_wide else None, watch)
    return net


def outline(found: Found) -> DiT:
    """The transformer with fresh weights; within `outlined`, with sizes alone."""
    network = found.network
    if network.variant != "vace":
        return DiT(network.config)
    from vitascope.models.vace import VaceConfig, VaceDiT

    sizes = {field.name: getattr(network.config, field.name) for field in dataclasses.fields(network.config)}
    return VaceDiT(VaceConfig(**sizes, vace_layers=network.vace_layers, vace_channels=network.vace_in))


def transformer_weights(found: Found, packed: torch.dtype = torch.float32) -> Weights:
    """The transformer's weights under our names, none of them read yet: what a network is streamed from.

    What is packed in 8 bits or fewer comes in `packed`. Reading one for the first time raises BadModel where it holds what is
    no number, or a hole of zeros.
    """
    return checked(view(found.transformer, "transformer", packed), str(found.transformer))


def load_codec(found: Found, dtype: Precision = "float32", watch: Watch | None = None) -> VideoCodec:
    """The autoencoder, with the whitening of its latents. Raises BadModel where it is missing, or of another model."""
    place = found.part("vae")
    weights = view(place, "vae")
    config = recognition.autoencoder(shapes(weights), str(place))
    if config.z != found.network.config.out_channels:
        raise BadModel(
            f"{place}: its latents have {config.z} channels and the transformer's {found.network.config.out_channels}; take "
            "the VAE that goes with it."
        )
    mean, std = configs.WAN_MEAN, configs.WAN_STD
    if (told := _config(place)) is not None:
        mean, std, notices = configs.autoencoder(configs.read(told), config, str(place), str(told))
        found.notices.extend(notice for notice in notices if notice not in found.notices)
    elif config.z != len(mean):
        raise BadModel(
            f"{place}: its latents have {config.z} channels, of which mean and deviation are not known; put diffusers' "
            "config.json beside it."
        )
    with outlined():
        codec = VideoCodec(config)
    _assemble(codec.vae, weights, place, dtype, None, watch)
    codec.mean, codec.std = torch.tensor(mean), torch.tensor(std)
    return codec.eval().requires_grad_(False)


def load_text(
    found: Found,
    dtype: Precision = "bfloat16",
    watch: Watch | None = None,
    *,
    resident: Literal["whole", "layers"] = "whole",
    kept: Kept | None = None,
) -> UMT5Text:
    """The text encoder with its tokeniser; "layers": layer by layer from the file, as prompts come. Raises BadModel."""
    from vitascope.models.umt5 import UMT5
    from vitascope.wan_text import UMT5Text

    place = found.part("text")
    words = _words(found)
    weights = view(place, "text")
    config = _text_config(found, place, weights)
    if config.width != found.network.config.text_width:
        raise BadModel(
            f"{place}: its states are {config.width} wide and the transformer reads {found.network.config.text_width}; take "
            "the text encoder that goes with it."
        )
    kind = _dtype(dtype) or torch.bfloat16
    if resident == "layers":
        return UMT5Text.of(config, weights, words, resident="layers", dtype=kind, kept=kept, origin=str(place))
    with outlined():
        encoder = UMT5(config)
    _assemble(encoder, weights, place, kind, None, watch)
    return UMT5Text(encoder, words, kept=kept)


def _text_config(found: Found, place: Path, weights: Weights) -> UMT5Config:
    from vitascope.models.umt5 import UMT5Config

    sizes = recognition.text_sizes(shapes(weights), str(place))
    added: dict[str, float | int] = {}
    if (told := _config(place)) is not None:
        added, notices = configs.text(configs.read(told), sizes, str(place), str(told))
        found.notices.extend(notice for notice in notices if notice not in found.notices)
    try:
        return UMT5Config(**{**sizes, **added})  # type: ignore[arg-type]
    except ValueError as error:
        raise BadModel(f"{place}: its sizes fit no UMT5 ({error}); take the published file.") from error


def _words(found: Found) -> T5Words:
    from vitascope.wan_text import T5Words

    place = found.part("tokenizer")
    if place.is_dir() or place.suffix in (".json", ".model"):
        return T5Words.read(place)
    packed = opened(place)
    if names.TOKENIZER not in packed:
        raise BadModel(f"{place}: there is no tokeniser in it; give tokenizer.json or spiece.model: --tokenizer FILE.")
    pieces: Tensor = packed[names.TOKENIZER]
    if pieces.dtype not in (torch.uint8, torch.int8) or pieces.ndim != 1:
        raise BadModel(
            f"{place}: its {names.TOKENIZER} holds no bytes; give tokenizer.json or spiece.model: --tokenizer FILE."
        )
    return T5Words.spiece(pieces.contiguous().view(torch.uint8).numpy().tobytes(), f"{place}: {names.TOKENIZER}")


def load_image_tower(found: Found, dtype: Precision = "float32", watch: Watch | None = None) -> VisionTransformer:
    """CLIP's image tower, for the models that read a picture. Raises BadModel where it is missing, or of another model.

    Wan reads its states one block before the end. Files hold the text tower too, or have no projection; neither is wanted.
    """
    place = found.part("image")
    weights = view(place, "image")
    sizes = recognition.tower_sizes(shapes(weights), str(place))
    width, side = sizes["width"], sizes["side"]
    if width != found.network.config.image_width or width % TOWER_HEAD:
        raise BadModel(
            f"{place}: its states are {width} wide and the transformer reads {found.network.config.image_width}; take the image "
            "encoder that goes with it, CLIP's ViT-H/14."
        )
    embed = weights.shape("proj")[-1] if "proj" in weights and weights.shape("proj") else width
    config = CLIPConfig.of_images(
        (side, side),
        sizes["patch"],
        width,
        sizes["layers"],
        width // TOWER_HEAD,
        ffn=sizes["ffn"],
        embed=embed,
    )
    with outlined():
        tower = VisionTransformer(config)
    if "proj" not in weights:
        tower.register_parameter("proj", None)
    _assemble(tower, weights, place, dtype, None, watch)
    return tower


def _config(place: Path) -> Path | None:
    """diffusers' and transformers' config.json of a part that has a folder of its own."""
    folder = place if place.is_dir() else place.parent
    config = folder / "config.json"
    known = folder.name in ("vae", "text_encoder") or place.is_dir()
    return config if known and config.is_file() else None


def _assemble(
    module: nn.Module,
    weights: Weights,
    place: Path,
    dtype: Precision,
    wide: re.Pattern[str] | None,
    watch: Watch | None,
) -> None:
    assemble(module, weights, origin=str(place), dtype=_dtype(dtype), wide=wide, watch=watch)


def _dtype(name: Precision) -> torch.dtype | None:
    if name is None or isinstance(name, torch.dtype):
        return name
    return DTYPES[name]
