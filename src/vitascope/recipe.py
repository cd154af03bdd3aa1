"""A Recipe: one description of a whole system and of how it is trained. TOML in `recipes/`, JSON inside a bundle."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from vitascope.errors import BadRecipe, VitascopeError, nearest
from vitascope.models.clip import CLIPConfig
from vitascope.models.dit import DiTConfig
from vitascope.models.vae import VAEConfig
from vitascope.shot import Shot
from vitascope.storybook.worlds import world_of

RECIPES = Path(__file__).parent / "recipes"

STAGES = ("codec", "clip", "diffusion", "decoder")

DEEPEST = 256
"""Layers of a network, at most; the deepest published one has about 100."""
WIDEST = 65_536
"""Any other size of a network, at most."""
MOST_WORDS = 1_000_000


def _sizes(kind: type) -> Callable[[Any], Any]:
    """Looks at a table before it becomes a config: the nearest right name for a wrong one, and no size without bound.

    A bundle's recipe comes from anywhere, and what it says is built before its weights can be compared with it.
    """
    names = [f.name for f in dataclasses.fields(kind)]

    def look(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name, entry in value.items():
            if name not in names:
                raise ValueError(f"there is no entry '{str(name)[:60]}' here; {_guess(str(name), names)}")
            least = 0 if name == "vocab" else 1
            most = MOST_WORDS if name == "vocab" else DEEPEST if "layers" in name or name == "blocks" else WIDEST
            for number in _numbers(entry):
                if isinstance(number, int) and not least <= number <= most:
                    raise ValueError(f"{name} is a whole number from {least} to {most:,}; got {_plain(number)}")
                if not math.isfinite(number):
                    raise ValueError(f"{name} is a finite number; got {number}")
        return {name: tuple(entry) if isinstance(entry, list) else entry for name, entry in value.items()}

    return look


def _numbers(value: Any) -> Iterator[int | float]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield value
    elif isinstance(value, list | tuple):
        if len(value) > 16:
            raise ValueError(f"a list here has a few entries; got {len(value):,}")
        for part in value:
            yield from _numbers(part)


def _in_turn(value: Any) -> Any:
    return (value,) if isinstance(value, int) else value


def _plain(number: int) -> str:
    return f"{number:,}" if number.bit_length() < 128 else f"a number of {number.bit_length():,} bits"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ClipShape(_Part):
    """The native shape of a video: frames (1 + 4k), pixels, frames a second."""

    frames: int = Field(ge=1, le=10_000)
    height: int = Field(ge=16, le=8192)
    width: int = Field(ge=16, le=8192)
    fps: float = Field(ge=1, le=240)


class DiffusionSettings(_Part):
    """The forward process, what the network predicts, and where training looks."""

    schedule: Literal["linear"] = "linear"
    predicts: Literal["velocity"] = "velocity"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    shift: float = Field(default=1.0, gt=0)
    """The logit-normal density of training times (Esser et al. 2024, arXiv:2403.03206), shifted towards noise."""
    temperature: float = Field(default=1.0, gt=0, le=1)
    """What the deviations of the priors that a network tells are multiplied by when films are made (`Diffusion`)."""


class Defaults(_Part):
    """What a Shot gets where it says nothing."""

    steps: int = 30
    solver: str = "unipc"
    guidance: float | str = 5.0
    shift: float = 3.0


class StageSettings(_Part):
    """How one stage is trained."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    clips: int = Field(ge=1)
    """How many different clips there are to learn from; of somebody's own films, all are taken."""
    crop: int | None = Field(default=None, ge=1)
    """Side of the square crops that the codec sees, in pixels; None takes whole frames. The network sees them too, of all
    frames and around subjects, in turn with whole pictures, and is told where they are: what a fox looks like is a small part
    of its film (Patch Diffusion, Wang et al. 2023, arXiv:2304.12526)."""
    frames: (
        Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(_in_turn), Field(min_length=1)] | None
    ) = None
    """Frames of a clip that this stage sees, one count or several that the steps take in turn; None takes them all.

    Where they are fewer, there are more clips in a batch, for the same work (codec, diffusion). The network sees latents of
    whole clips, of which it is given as many frames as make up these, from anywhere, and is told where: a film's look can be
    learned from single frames, five times as many for the same work at 17, and its motion only from all of them."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(gt=0)
    muon_lr: float = Field(default=1e-3, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0)
    """The joint norm that gradients are scaled down to."""
    warmup: int = Field(default=100, ge=0)
    decay: Literal["cosine", "linear"] = "cosine"
    cooldown: float = Field(default=0.3, gt=0, le=1)
    final: float = Field(default=0.01, ge=0, le=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    autocast: bool = True
    """Whether matrix products are in bf16, on machines that have instructions for it."""
    compile: bool = False
    """Whether the network is compiled first (torch.compile), once for the shape of a batch (diffusion). It takes a minute or
    two and, on a CPU, a C++ compiler; then each step of a transformer of 6 million weights takes about four fifths of its
    time."""
    dropout: float = Field(default=0.1, ge=0, le=1)
    """The share of captions that are replaced by the empty one (Ho & Salimans 2022, arXiv:2207.12598)."""
    first: float = Field(default=0.0, ge=0, le=1)
    """The share of clips of which the network is given the first frame, so that films can begin from a picture (diffusion)."""
    often: dict[str, dict[str, Annotated[int, Field(ge=1, le=100)]]] = {}
    """Attributes of the storybook's clips, their values, and how many times in an epoch such clips are learned from; others
    once (diffusion). For what a model still misses: `often = { camera = { "pans left" = 3 } }`."""
    focus: float = Field(default=0.0, ge=0)
    """How much more than elsewhere errors count where the storybook's subjects are, which are small beside what surrounds
    them (diffusion, see `Diffusion.loss`; codec and decoder, see `CodecTask`)."""
    plain: float = Field(default=0.0, ge=0, le=1)
    """The share of captions in the one canonical form, which says everything in the same words and order: what a word
    means is found sooner there, and the others are then learned beside it (diffusion)."""
    edges: float = Field(default=0.0, ge=0)
    """The weight of the L1 distance between spatial and temporal differences, beside that between pixels (codec)."""
    square: float = Field(default=0.0, ge=0)
    """The weight of the mean square error beside the absolute one (codec): large errors, as of what moves, weigh more."""
    rough: float = Field(default=0.0, ge=0, le=1)
    """The most noise that latents are given before they are decoded, in the measure in which the network walks them (codec,
    decoder): what a network makes is never exact, and a decoder that never saw that shows every mistake."""
    quiet: float = Field(default=1e-4, ge=0)
    """The weight of the latents' mean square (codec): it keeps them bounded, no more."""
    log_every: int = Field(default=20, ge=1)
    save_every: int = Field(default=200, ge=1)
    keep_every: int | None = Field(default=None, ge=1)
    """Steps after which the weights are kept for good, so that bundles of earlier steps can be had; None keeps the last."""
    preview_every: int = Field(default=500, ge=1)


class Stages(_Part):
    """The stages in the order in which they are trained."""

    codec: StageSettings
    clip: StageSettings
    diffusion: StageSettings
    decoder: StageSettings | None = None
    """The codec's decoder once more, with the encoder held: latents, and all that was learned on them, stay as they are."""


class Recipe(_Part):
    """Everything that is needed to build, train and run a system."""

    name: str = Field(pattern=r"^\w[\w.-]{0,99}$")
    seed: int = Field(default=0, ge=0)
    world: Literal["first", "whole"] = "first"
    """The storybook's world that is learned."""
    video: ClipShape
    codec: Annotated[VAEConfig, BeforeValidator(_sizes(VAEConfig))]
    text: Annotated[CLIPConfig, BeforeValidator(_sizes(CLIPConfig))]
    network: Annotated[DiTConfig, BeforeValidator(_sizes(DiTConfig))]
    diffusion: DiffusionSettings = DiffusionSettings()
    defaults: Defaults = Defaults()
    stages: Stages

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        """What one table says of another's sizes; else training would stop in the middle with a fault of shapes."""
        video, codec, text, network = self.video, self.codec, self.text, self.network
        time, rows, columns = codec.stride
        for name, got, unit in (
            ("video.frames - 1", video.frames - 1, time),
            ("video.height", video.height, rows * network.patch[1]),
            ("video.width", video.width, columns * network.patch[2]),
            ("the latent's frames", 1 + (video.frames - 1) // time, network.patch[0]),
            *self._crops(),
        ):
            if got % unit:
                raise ValueError(
                    f"{name} should be a multiple of {unit}, which codec and network join to one; got {got}"
                )
        for name, got, other, wanted in (
            ("network.in_channels", network.in_channels, "codec.z", codec.z),
            ("network.out_channels", network.out_channels, *_told_of(codec.z, network.prior)),
            ("network.text_width", network.text_width, "what text.context gives", text.context_width),
        ):
            if got != wanted:
                raise ValueError(f"{name} should be {other}; got {got} and {wanted}")
        for name, stage in self._spanning():
            if max(stage.frames or (1,)) > video.frames:
                raise ValueError(
                    f"stages.{name}.frames should be at most video.frames, {video.frames}; got {stage.frames}"
                )
        if self.stages.diffusion.frames and network.patch[0] != 1:
            raise ValueError(
                f"stages.diffusion.frames takes single frames of latents, and network.patch joins {network.patch[0]}; leave it out"
            )
        values = world_of(self.world).values
        for name, wanted in self.stages.diffusion.often.items():
            for value in (None, *wanted):
                known = values if value is None else values[name]
                if (value or name) not in known:
                    what = "attribute" if value is None else name
                    raise ValueError(
                        f"stages.diffusion.often: the world {self.world} has no {what} '{(value or name)[:60]}'; "
                        f"{_guess(value or name, list(known))}"
                    )
        if self.diffusion.temperature != 1 and not network.prior:
            raise ValueError(
                f"diffusion.temperature is of networks that tell priors; got {self.diffusion.temperature:g} and network.prior = false"
            )
        if network.image_width is not None:
            raise ValueError(
                "network.image_width is for image-to-video models, which recipes do not describe; leave it out"
            )
        try:
            Shot.model_validate({"prompt": "a", **video.model_dump(), **self.defaults.model_dump()})
        except VitascopeError as error:
            raise ValueError(f"with its defaults no film can be made, {str(error).rstrip('.')}") from error
        return self

    def _crops(self) -> Iterator[tuple[str, int, int]]:
        """What of the pieces that the stages see must be a multiple of what: (name, got, unit)."""
        time, rows, columns = self.codec.stride
        for name, stage in self._spanning():
            yield from ((f"stages.{name}.frames - 1", frames - 1, time) for frames in stage.frames or ())
            tokens = self.network.patch[1:] if name == "diffusion" else (1, 1)
            units = (rows * tokens[0], columns * tokens[1])
            yield from ((f"stages.{name}.crop", stage.crop, unit) for unit in units if stage.crop)

    def _spanning(self) -> Iterator[tuple[str, StageSettings]]:
        """The stages that see stretches of a clip, of as many frames as latents can be made of."""
        for name in ("codec", "diffusion", "decoder"):
            stage: StageSettings | None = getattr(self.stages, name)
            if stage:
                yield name, stage

    @staticmethod
    def read(name_or_path: str) -> Recipe:
        """A recipe by its name among those that ship, or by the path of a TOML file. Raises BadRecipe."""
        table = _table(name_or_path)
        if not {"codec", "text"} & table.keys():  # what it may say of the network is what that begins to be told
            raise BadRecipe(
                f"recipe {name_or_path}: it describes no networks of its own but goes on from a bundle's; add --from "
                "storybook, or another bundle."
            )
        return Recipe.of(table, f"recipe {name_or_path}")

    @staticmethod
    def upon(name_or_path: str, base: Recipe) -> tuple[Recipe, tuple[str, ...]]:
        """A recipe that goes on from `base`: what it leaves out is as there. Beside it the stages that it names itself.

        Whether a network is compiled is not taken over: that is for long runs, and for machines with a compiler. Nor is of which
        clips, and how much of them, the network saw more: that was for what it missed.

        Raises BadRecipe.
        """
        table = _table(name_or_path)
        left = {
            stage: {"compile", "often"} | ({"frames", "crop"} if stage == "diffusion" else set()) for stage in STAGES
        }
        known = base.model_dump(mode="json", exclude={"name": True, "stages": left})
        whole = _laid_over(known, table)
        named = table.get("stages")
        stages = tuple(stage for stage in STAGES if stage in named) if isinstance(named, dict) else ()
        return Recipe.of(whole, f"recipe {name_or_path}"), stages

    @staticmethod
    def of(table: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """A recipe from nested tables. Raises BadRecipe that names the first wrong entry."""
        try:
            return Recipe.model_validate(table)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            # A misspelt entry is there and is missing: the name that was written comes first.
            first = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
            where = ".".join(str(part)[:60] for part in first["loc"])
            entry = f"the entry '{where}' cannot be used" if where else "it contradicts itself"
            raise BadRecipe(f"{origin}: {entry}: {_why(first)}; compare it with the recipes that ship.") from error

    def json(self) -> str:
        """The recipe as the JSON text that a bundle carries."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"


def _told_of(z: int, prior: bool) -> tuple[str, int]:
    return ("twice codec.z, a mean and a deviation of each", 2 * z) if prior else ("codec.z", z)


def _laid_over(base: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """Nested tables, in which an entry of `table` takes the place of that of `base`."""
    both = dict(base)
    for name, value in table.items():
        before = both.get(name)
        both[name] = _laid_over(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return both


def _table(name_or_path: str) -> dict[str, Any]:
    """The tables of a recipe's TOML, by its name or path, as they are written."""
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = RECIPES / f"{name_or_path}.toml"
        if not path.is_file():
            known = sorted(p.stem for p in RECIPES.glob("*.toml"))
            guess = nearest(name_or_path, known)
            hint = f"did you mean '{guess}'" if guess else f"there are {', '.join(known)}"
            raise BadRecipe(
                f"recipe '{name_or_path}': no recipe has this name; {hint}, or give the path of a .toml file."
            )
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadRecipe(f"recipe {name_or_path}: there is no such file; check the name.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadRecipe(
            f"recipe {name_or_path}: it cannot be read ({error}); give a TOML file such as those that ship."
        ) from error


def _guess(name: str, names: list[str]) -> str:
    close = nearest(name[:60], names)
    return f"did you mean '{close}'?" if close else f"there are {', '.join(names)}"


def _why(error: ErrorDetails) -> str:
    """pydantic's complaint about an entry, in our words."""
    kind, path = error["type"], error["loc"]
    if kind == "extra_forbidden":
        part: Any = Recipe
        for step in path[:-1]:
            part = part.model_fields[step].annotation
        return f"there is no such entry; {_guess(str(path[-1]), list(part.model_fields))}"
    if kind == "missing":
        return "it is missing"
    why = str(error["msg"]).removeprefix("Value error, ").replace("Input should", "it should")
    if kind == "value_error":
        return why
    return f"{why[:1].lower()}{why[1:]}; got {repr(error['input'])[:60]}"
