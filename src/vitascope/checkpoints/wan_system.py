"""Wan 2.1, ready to make films: its parts together, its makers' defaults, and what a film of each kind can be given.

Facts: as read in Wan-Video/Wan2.1 (wan/configs, wan/image2video.py, wan/first_last_frame2video.py).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vitascope import conditioning
from vitascope.checkpoints import known, makers, recognition, wan
from vitascope.checkpoints.assembly import DTYPES, SAFEST_WIDE, Watch, shapes
from vitascope.checkpoints.attaching import Attached, Report, attach
from vitascope.checkpoints.layout import Found, look
from vitascope.checkpoints.lora import Lora
from vitascope.checkpoints.views import view
from vitascope.checkpoints.weights import opened
from vitascope.codec import VideoCodec
from vitascope.diffusion import Diffusion
from vitascope.errors import BadModel, BadShot, nearest
from vitascope.media import fitted
from vitascope.models.clip import VisionTransformer
from vitascope.models.dit import DiTConfig
from vitascope.models.outline import outlined
from vitascope.models.umt5 import UMT5Config
from vitascope.models.vae import VAEConfig
from vitascope.physics.schedule import Linear
from vitascope.physics.times import LogitNormal
from vitascope.planning import OFFLOADS, Ask, Offload, Plan, Sizes, Tower, here, plan, shape
from vitascope.presets import PRESETS
from vitascope.shot import Given, Shot
from vitascope.streaming import Streamed, held, visiting
from vitascope.system import Guides, Work, ensure_taken
from vitascope.wan_text import LENGTH, Kept, UMT5Text, kept_folder

TAKES: Mapping[str, frozenset[str]] = {
    "t2v": frozenset(),
    "i2v": frozenset({"image"}),
    "flf2v": frozenset({"image", "last"}),
    "vace": frozenset({"video", "mask", "references"}),
}
"""What a film of each kind of model can be given."""

NEEDS: Mapping[str, frozenset[str]] = {"i2v": frozenset({"image"}), "flf2v": frozenset({"image", "last"})}
"""What it has to be given."""


@dataclass
class WanSystem:
    """A Wan model whose parts are in memory, or come in when they work (`working`)."""

    name: str
    found: Found
    codec: VideoCodec
    text: UMT5Text
    diffusion: Diffusion
    tower: VisionTransformer | None
    device: torch.device
    dtype: str = "bfloat16"
    """What it multiplies in."""
    offload: Offload = "none"
    streamed: Streamed | None = field(default=None, repr=False)
    attached: Attached | None = field(default=None, repr=False)
    """The LoRAs that it carries."""

    @property
    def kind(self) -> str:
        """t2v, i2v, flf2v or vace."""
        return self.found.variant

    @property
    def sizes(self) -> Sizes:
        """What it is made of, in numbers."""
        return sizes_of(self.found, self.codec.config, self.text.encoder.config, self.name)

    @property
    def network(self) -> DiTConfig:
        """The sizes of its transformer."""
        return self.found.network.config

    @property
    def notices(self) -> list[str]:
        """What is odd about its files, and of how it reads prompts, a sentence each."""
        odd = [told for file in files(self.found) if (told := known.altered(file)) is not None]
        return [*self.found.notices, *odd, *self.text.notices]

    @property
    def takes(self) -> frozenset[str]:
        """What a film can be given beside words."""
        return TAKES[self.kind]

    def defaults_for(self, given: Given) -> dict[str, Any]:
        """As its makers run it (`defaults`). A film that begins with a picture has about its shape; one that follows a film is
        at most as long."""
        usual = defaults(self.found)
        if given.image is not None and "image" in self.takes:
            codec, patch = self.codec, self.network.patch
            usual["height"], usual["width"] = conditioning.size_like(given.image, area(self.found), codec, patch)
        if given.video is not None:
            usual["frames"] = makers.following(len(given.video))
        return usual

    def fitted(self, shot: Shot, given: Given) -> Given:
        """Films and masks at the film's size and length; pictures as they are, since how they are scaled is part of a preset.

        Raises BadShot for a film that is too short, and where something that this model needs is not given.
        """
        self._ensure_whole(given)
        if shot.preset == "comfy" and given:
            raise BadShot(
                "--as comfy: how that program scales pictures and films is not known here; take --as diffusers, or leave it out."
            )
        height, width, frames = shot.height or 0, shot.width or 0, shot.frames or 0
        if given.last is not None:
            conditioning.ensure_both_ends(frames)
        video, mask = given.video, given.mask
        for name, film in (("video", video), ("mask", mask)):
            if film is not None and len(film) < frames and not (name == "mask" and len(film) == 1):
                raise BadShot(
                    f"{name}: it has {len(film)} frames and the film {frames}; ask for fewer, or give a longer one."
                )
        if video is not None:
            video = torch.stack([fitted(frame, height, width) for frame in video[:frames]])
        if mask is not None:
            mask = mask.expand(frames, -1, -1) if len(mask) == 1 else mask[:frames]
            mask = torch.stack([fitted(frame[..., None].expand(-1, -1, 3), height, width)[..., 0] for frame in mask])
        return given._replace(video=video, mask=mask)

    def guides(self, shot: Shot, given: Given) -> Guides:
        """The latents, tokens and masks of what a film is given."""
        self._ensure_whole(given)
        size, frames = (shot.height or 0, shot.width or 0), shot.frames or 0
        as_ = "diffusers" if shot.preset and PRESETS[shot.preset].crop == "middle" else "official"
        if self.kind == "vace":
            with self.working("codec"):
                told, ahead = conditioning.vace(
                    self.codec, given.video, given.mask, given.references, frames=frames, size=size, as_=as_
                )
            strength = 1.0 if shot.control is None else shot.control
            scale = torch.full((1,), strength, device=self.device)
            return Guides(
                {name: value.to(self.device) for name, value in told.items()} | {"vace_scale": scale}, ahead=ahead
            )
        if given.image is None:
            return Guides()
        with self.working("codec"), self.working("image"):
            told = conditioning.image_to_video(
                self.codec, self.tower, given.image, given.last, frames=frames, size=size, as_=as_
            )
        return Guides({name: value.to(self.device) for name, value in told.items()})

    @contextmanager
    def working(self, part: Work) -> Iterator[None]:
        """Within it a part is where it computes, and afterwards where it waits."""
        parts = {"text": self.text, "image": self.tower, "network": self.diffusion.net, "codec": self.codec}
        module = None if part == "network" and self.streamed is not None else parts[part]
        with nullcontext() if self.offload == "none" or module is None else visiting(module, self.device):
            yield

    def digests(self) -> dict[str, str]:
        """SHA-256 of every file that determines the pixels; what was hashed once is remembered."""
        return {file.name: known.digest(file) for file in files(self.found)}

    def _ensure_whole(self, given: Given) -> None:
        ensure_given(self.found, self.name, given.names)

    def attach(self, loras: Sequence[tuple[Lora, float]]) -> tuple[Report, ...]:
        """Put LoRAs on the transformer, each with a strength, in place of those that it carries; what became of every key.

        Merged where all weights are in memory, else added as they work. Raises BadModel, BadShot.
        """
        if self.attached is not None:
            self.attached.remove()
            self.attached = None
        if not loras:
            return ()
        self.attached = attach(self.diffusion.net, loras, merge=self.streamed is None)
        return self.attached.reports


def ensure_given(found: Found, name: str, given: Collection[str]) -> None:
    """Raise BadShot where a film is given what a model of this kind does not take, or not what it needs."""
    ensure_taken(name, TAKES[found.variant], given)
    lacking = sorted(NEEDS.get(found.variant, frozenset()) - set(given))
    if lacking:
        flags = " and ".join(f"--{'last-image' if part == 'last' else part} FILE" for part in lacking)
        does = "from one picture to another" if found.variant == "flf2v" else "that begin with a picture"
        raise BadShot(f"{' and '.join(lacking)} missing: {name} makes films {does}; add {flags}.")
    if "mask" in given and "video" not in given:
        raise BadShot(conditioning.MASK_ALONE)


def area(found: Found) -> int:
    """Pixels of a frame that a model was trained for: told by its name, and where that is silent by its size and kind."""
    return math.prod(makers.SMALL if _small(found) else makers.LARGE)


def _small(found: Found) -> bool:
    name = found.path.resolve().name
    if "480" in name or "720" in name:
        return "480" in name
    return found.network.config.width < 5120 or found.variant not in ("t2v", "flf2v")


def defaults(found: Found) -> dict[str, Any]:
    """Steps, shift, guidance and size with which a model's makers run it, or the shift of its scheduler's config."""
    usual = makers.run_with(found.variant, _small(found))
    shift = (found.scheduler or {}).get("flow_shift")
    return usual | ({"shift": float(shift)} if shift else {})


def files(found: Found) -> list[Path]:
    """The weight files of a model that was found."""
    places = [found.transformer, found.vae, found.text, found.image]
    return [file for place in places if place is not None for file in opened(place).files]


def sizes_of(found: Found, codec: VAEConfig, text: UMT5Config, name: str) -> Sizes:
    """What a model that was found is made of, in numbers, for whoever plans."""
    tower = Tower(
        text.width, text.layers, text.heads, text.head_width, text.ffn, LENGTH,
        gated=True, vocab=text.vocab, extra=text.width, bias=False,
    )  # fmt: skip
    network = found.network.config
    image = shape("wan-i2v-14b").image if network.image_width is not None else None
    return Sizes(name, network, codec, tower, LENGTH, image=image, hints=len(found.network.vace_layers or ()))


def load(
    path: Path,
    device: torch.device | str = "cpu",
    *,
    parts: Mapping[str, Path] | None = None,
    dtype: str = "bfloat16",
    offload: str = "none",
    keep: bool = True,
    watch: Watch | None = None,
) -> WanSystem:
    """A Wan model by the path of a folder or a file; `parts` names files of other parts (`layout.FLAGS`).

    dtype    what weights are kept and multiplied in: float32, bfloat16 or float16
    offload  what of it is on the device (`Offload`); on "disk" the transformer is read anew from its file at each step, and
             the text encoder layer by layer
    keep     whether what the text encoder says of a prompt is kept on disk

    Raises BadModel where a part is missing, damaged, or of another model.
    """
    kind, way = _chosen("dtype", dtype, tuple(DTYPES)), _chosen("offload", offload, OFFLOADS)
    precision, device = DTYPES[kind], torch.device(device)
    found = look(path, parts).complete()
    codec = wan.load_codec(found, torch.float32, watch)
    kept = Kept(folder, _identity(found, watch)) if keep and (folder := kept_folder()) is not None else None
    text = wan.load_text(found, precision, watch, resident="layers" if way == "disk" else "whole", kept=kept)
    tower = wan.load_image_tower(found, torch.float32, watch) if found.network.config.image_width else None
    streamed = None
    if way in ("block", "disk"):
        with outlined():
            net = wan.outline(found)
        weights, origin = wan.transformer_weights(found, precision), str(found.transformer)

        def kind_of(name: str) -> torch.dtype:
            return torch.float32 if SAFEST_WIDE.match(name) else precision

        source = held(weights, kind_of) if way == "block" else weights
        streamed = Streamed(net, source, device=device, dtype=kind_of, forget=way == "disk", origin=origin)
    else:
        net = wan.load_transformer(found, precision, watch, keep_wide=True)
    diffusion = Diffusion(net.eval().requires_grad_(False), Linear(), "velocity", LogitNormal(0.0, 1.0, 5.0))
    name = path.name.split(".safetensors")[0] if path.is_file() else path.resolve().name
    system = WanSystem(name, found, codec, text, diffusion, tower, device, kind, way, streamed)
    if way == "none" and device.type != "cpu":
        for part in (codec, text, net, *([tower] if tower is not None else [])):
            part.to(device)
    return system


def planned(
    path: Path,
    device: torch.device,
    parts: Mapping[str, Path] | None,
    dtype: str,
    shot: Shot | None,
    tile: int | None = None,
) -> Plan:
    """The fastest way of loading a model, walking and decoding in which a shot fits into this machine, or the fastest with tiles
    of so many pixels. Raises BadModel, BadShot.
    """
    found = look(path, parts).complete()
    sizes = sizes_found(found)
    shot = (shot or Shot(unconditional=True)).filled(defaults(found))
    guided, begins = shot.scale.guided, sizes.image is not None or found.variant == "vace"  # which encodes a film
    ask = Ask(shot.frames or 0, shot.height or 0, shot.width or 0, shot.steps or 0, guided=guided, begins=begins)
    return plan(sizes, ask, here(device), dtype=DTYPES[_chosen("dtype", dtype, tuple(DTYPES))], tile=tile)


def sizes_found(found: Found) -> Sizes:
    """What a model that was found is made of, from the headers of its files alone."""
    codec = recognition.autoencoder(shapes(view(found.part("vae"), "vae")), str(found.vae))
    text = UMT5Config(**recognition.text_sizes(shapes(view(found.part("text"), "text")), str(found.text)))
    return sizes_of(found, codec, text, found.path.name)


def _chosen(name: str, value: str, known: tuple[str, ...]) -> Any:
    if value not in known:
        guess = nearest(value[:60], known) or known[0]
        raise BadModel(f"{name} '{value[:60]}': there are {', '.join(known)}; did you mean '{guess}'?")
    return value


def _identity(found: Found, watch: Watch | None) -> str:
    """One name for the text encoder, by its files' hashes; they are remembered, so a file is read for this once."""
    whole = hashlib.sha256()
    told = found.part("text").parent / "config.json"
    if told.is_file():  # it may say how the weights are used
        whole.update(known.digest(told).encode())
    for file in opened(found.part("text")).files:
        told = None if watch is None else lambda done, of: watch("looking at the text encoder", done, of)
        whole.update(known.digest(file, watch=told).encode())
    return whole.hexdigest()
