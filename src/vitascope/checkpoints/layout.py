"""What lies where: a path that somebody has, and the parts of a Wan model that are found from it. Headers and configs alone are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vitascope.checkpoints import configs, names
from vitascope.checkpoints.assembly import shapes
from vitascope.checkpoints.recognition import Network, Variant
from vitascope.checkpoints.shelf import weight_files
from vitascope.checkpoints.views import WORDS, Kind, is_diffusers, kind, view
from vitascope.checkpoints.weights import Weights, opened
from vitascope.errors import BadModel

Layout = Literal["official", "diffusers", "single"]
Part = Literal["vae", "text", "tokenizer", "image"]


@dataclass(frozen=True)
class Found:
    """A Wan model on disk: which files its parts lie in (None: not found), and what its configs say."""

    path: Path
    """What was looked at."""
    layout: Layout
    network: Network
    transformer: Path
    """A file, an index of several, or the folder of one of them; so are the others."""
    vae: Path | None = None
    text: Path | None = None
    tokenizer: Path | None = None
    """A folder or file with tokenizer.json or spiece.model; or the text encoder's own file, which holds it as a tensor."""
    image: Path | None = None
    scheduler: dict[str, Any] | None = None
    """Of diffusers' scheduler_config.json: name, flow_shift, solver_order."""
    notices: list[str] = field(default_factory=list)
    """What is odd and no reason to stop."""

    @property
    def variant(self) -> Variant:
        """What the transformer does."""
        return self.network.variant

    def missing(self) -> list[Part]:
        """The parts that making a film needs and that were not found."""
        wanted: list[Part] = ["vae", "text", "tokenizer"]
        if self.network.config.image_width is not None:
            wanted.append("image")
        return [part for part in wanted if getattr(self, part) is None]

    def complete(self) -> Found:
        """Itself. Raises BadModel that names every part that is missing, and what would do."""
        if lacking := self.missing():
            told = ", ".join(_TOLD[part] for part in lacking)
            raise BadModel(
                f"{self.path}: the transformer ({self.variant}) is here and not {told}; put what is missing beside it, or name "
                "it with that flag."
            )
        return self

    def part(self, part: Part) -> Path:
        """Where a part lies. Raises BadModel that says what would do, where it was not found."""
        path = getattr(self, part)
        if path is None:
            raise BadModel(
                f"{self.path}: the transformer ({self.variant}) is here and not {_TOLD[part]}; put it beside it, or name it "
                "with that flag."
            )
        return path


_TOLD: Mapping[Part, str] = {
    "vae": "the VAE (Wan2.1_VAE.pth or wan_2.1_vae.safetensors: --vae FILE)",
    "text": "the text encoder (models_t5_umt5-xxl-enc-bf16.pth or umt5_xxl_fp16.safetensors: --text-encoder FILE)",
    "tokenizer": "the text encoder's tokeniser (google/umt5-xxl/tokenizer.json or spiece.model: --tokenizer FILE)",
    "image": "the image encoder (models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth or clip_vision_h.safetensors: "
    "--image-encoder FILE)",
}

_FOLDERS: Mapping[str, tuple[str, ...]] = {
    "vae": ("vae",),
    "text": ("text_encoder", "text_encoders", "clip"),
    "image": ("image_encoder", "clip_vision", "clip_visions"),
    "tokenizer": ("google/umt5-xxl", "tokenizer", "umt5-xxl"),
    "transformer": ("transformer", "diffusion_models", "unet"),
}
"""Where the packagings keep what, below a model's root."""

_HINTS: Mapping[str, tuple[str, ...]] = {
    "vae": ("wan2.1_vae", "wan_2.1_vae", "wan2_1_vae"),
    "text": ("models_t5_umt5", "umt5"),
    "image": ("models_clip", "open-clip", "clip_vision_h"),
}
"""How the published files begin; they come first where there are several."""

FLAGS: Mapping[str, Part] = {"vae": "vae", "text_encoder": "text", "tokenizer": "tokenizer", "image_encoder": "image"}
"""The parts that can be named, by their flags, to what they are called here."""
_WORDS = ("tokenizer.json", "spiece.model")


def look(path: Path, parts: Mapping[str, Path] | None = None) -> Found:
    """What is at `path`: the official folder, diffusers' folder, a single file, or a folder of single files.

    `parts` names files of other parts, by the keys of FLAGS; they go before what is found beside the transformer.
    Raises BadModel where no transformer is found, or one that is not run here; other parts may be missing (`Found.complete`).
    """
    given: dict[Part, Path] = {FLAGS[flag]: Path(place) for flag, place in (parts or {}).items()}
    path = Path(path)
    try:
        if not path.exists():
            raise BadModel(f"{path}: there is no such file or folder; look at the path again.")
        for part, place in given.items():
            if not place.exists():
                raise BadModel(
                    f"{place}: there is no such file or folder, and {_TOLD[part]} was said to be there; look at the path again."
                )
        return _looked(path, given)
    except (OSError, ValueError) as error:
        raise BadModel(f"{str(path)[:300]!r}: it cannot be read ({error}); look at the path again.") from error


def _looked(path: Path, given: Mapping[Part, Path]) -> Found:
    notices: list[str] = []
    root, place, config = _transformer(path, notices)
    weights = view(place, "transformer")
    facts = configs.read(config) if config else None
    if facts is not None and not {"num_heads", "num_attention_heads"} & set(facts) and place.is_file():
        notices.append(f"{config}: it is of no Wan transformer, and nothing is made of it")
        facts = None
    network = configs.network(shapes(weights), str(place), facts, str(config))
    _expert(place, notices)
    scheduler = None
    if (plan := root / "scheduler" / "scheduler_config.json").is_file():
        scheduler, told = configs.scheduler(configs.read(plan), str(plan))
        notices += told
    own = is_diffusers(opened(place), "transformer")
    layout: Layout = "single" if facts is None else "diffusers" if own else "official"
    vae, text, image = (given.get(part) or _beside(root, place, part, network, notices) for part in _WEIGHTS)
    tokenizer = given.get("tokenizer") or _tokenizer(root, place, text)
    notices = [*network.notices, *notices]
    return Found(path, layout, network, place, vae, text, tokenizer, image, scheduler, notices)


_WEIGHTS: tuple[Literal["vae", "text", "image"], ...] = ("vae", "text", "image")


def _transformer(path: Path, notices: list[str]) -> tuple[Path, Path, Path | None]:
    """The root of a model, where its transformer lies, and its config.json."""
    if path.is_file():
        if path.name == "model_index.json":
            return _transformer(path.parent, notices)
        config = path.parent / "config.json"
        return _root(path.parent), path, config if config.is_file() else None
    index = path / "model_index.json"
    if index.is_file():
        _pipeline(configs.read(index), index)
    if (path / "high_noise_model").is_dir() or (path / "low_noise_model").is_dir():
        raise BadModel(
            f"{path}: this is Wan2.2-A14B, two experts that take turns, which is not run here; take a model of Wan 2.1, or "
            "give one of its two folders, if it is text-to-video, to run that expert alone."
        )
    inner = path / "split_files" if (path / "split_files").is_dir() else path
    for name in _FOLDERS["transformer"]:
        if (inner / name).is_dir():
            place, config = _one(inner / name, path)
            return inner, place, config
    place, config = _one(path, path)
    return _root(path), place, config


def _root(folder: Path) -> Path:
    """The folder above which parts lie side by side, for a transformer in a folder of its own."""
    return folder.parent if folder.name in _FOLDERS["transformer"] else folder


def _one(folder: Path, asked: Path) -> tuple[Path, Path | None]:
    """The one transformer of a folder, and its config.json. Raises BadModel where there is none, or a choice."""
    config = folder / "config.json"
    if not config.is_file():
        config = None
    found = [file for file in _files(folder) if _kind(file, strict=config is not None) == "transformer"]
    if not found:
        held = [file.name for file in _files(folder)][:10]
        there = f"it holds {', '.join(held)} and none of them is one" if held else "it holds no weights"
        raise BadModel(
            f"{asked}: a Wan transformer is looked for in {folder} and {there}; give the file or the folder that has it."
        )
    if len(found) > 1:
        listed = ", ".join(file.name for file in found[:10])
        raise BadModel(
            f"{asked}: there are {len(found)} transformers in {folder} ({listed}); say which by giving the file."
        )
    return found[0], config


def _files(folder: Path, hints: tuple[str, ...] = ()) -> list[Path]:
    """The weight files of a folder, those with a known beginning first; an index stands for the files that it names."""
    found = weight_files(sorted(folder.iterdir()))
    return sorted(found, key=lambda file: not file.name.lower().startswith(hints)) if hints else found


def _kind(file: Path, *, strict: bool = True) -> Kind | None:
    """What lies in a file; where it cannot be read, None, unless that is what was asked about."""
    try:
        return kind(opened(file))
    except BadModel:
        if strict:
            raise
        return None


def _pipeline(table: Mapping[str, Any], index: Path) -> None:
    """Raise BadModel for what diffusers' model_index.json says is Wan 2.2."""
    second = table.get("transformer_2")
    if table.get("boundary_ratio") is not None or (isinstance(second, list) and any(second)):
        raise BadModel(
            f"{index}: this is Wan2.2-A14B, two transformers that take turns, which is not run here; take a model of Wan 2.1, "
            "or give its folder transformer/ alone, if it is text-to-video."
        )
    if table.get("expand_timesteps") is True:
        raise BadModel(f"{index}: this is Wan2.2-TI2V-5B, which is not run here; take a model of Wan 2.1.")


def _expert(place: Path, notices: list[str]) -> None:
    # Their names and sizes are those of Wan 2.1: only the path tells.
    words = " ".join(place.parts[-3:]).lower()
    if any(mark in words for mark in ("high_noise", "low_noise", "transformer_2", "wan2.2", "wan2_2")):
        notices.append(
            f"{place.name} is probably one of the two experts of Wan2.2-T2V-A14B, each of which knows half of the way; it is "
            "run alone, as text-to-video"
        )


def _places(root: Path, place: Path, part: str) -> Iterator[Path]:
    """Folders that may hold a part, the nearest first."""
    here = place if place.is_dir() else place.parent
    seen = set()
    for base in (root, here, here.parent, here.parent.parent):
        folders = [base / name for name in _FOLDERS[part]]
        for folder in folders if base not in (root, here) else [*folders, base]:
            if folder not in seen and folder.is_dir():
                seen.add(folder)
                yield folder


def _beside(root: Path, place: Path, part: Kind, network: Network, notices: list[str]) -> Path | None:
    """A part's file near the transformer: in the folders where the packagings keep it, or right beside it."""
    if part == "image" and network.config.image_width is None:
        return None
    for folder in _places(root, place, part):
        hits = [file for file in _files(folder, _HINTS[part]) if file != place and _fits(file, part, network)]
        if hits:
            if len(hits) > 1:
                notices.append(
                    f"{folder} holds {len(hits)} files with {WORDS[part]}; {hits[0].name} is taken, give another by its flag"
                )
            return hits[0]
    return None


def _fits(file: Path, part: Kind, network: Network) -> bool:
    known = file.name.lower().startswith(_HINTS[part])
    if _kind(file, strict=known) != part:
        return False
    return part != "vae" or _channels(opened(file)) in (None, network.config.out_channels)


def _channels(weights: Weights) -> int | None:
    """Channels of a VAE's latents: Wan 2.2's has 48 and does not go with this transformer."""
    for name in (before + mark for before in names.PREFIXES for mark in ("conv2.bias", "post_quant_conv.bias")):
        if name in weights:
            return weights.shape(name)[0]
    return None


def _tokenizer(root: Path, place: Path, text: Path | None) -> Path | None:
    folders = list(_places(root, place, "tokenizer"))
    if text is not None:
        here = text if text.is_dir() else text.parent
        folders += [here, *(base / name for base in (here, here.parent) for name in _FOLDERS["tokenizer"])]
    for folder in folders:
        if any((folder / word).is_file() for word in _WORDS):
            return folder
    if text is not None and names.TOKENIZER in opened(text):
        return text
    return None
