"""A Recipe: one description of a whole system and of how it is trained. TOML in `recipes/`, JSON inside a bundle."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from vitascope.errors import BadRecipe, nearest
from vitascope.models.clip import CLIPConfig
from vitascope.models.dit import DiTConfig
from vitascope.models.vae import VAEConfig

RECIPES = Path(__file__).parent / "recipes"

STAGES = ("codec", "clip", "diffusion")


def _table(kind: type) -> Callable[[Any], Any]:
    """A TOML table to a config dataclass, with the nearest right name for a wrong one."""
    names = [f.name for f in dataclasses.fields(kind)]

    def read(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        for name in value:
            if name not in names:
                raise ValueError(f"'{name}' is no field here; did you mean '{nearest(name, names) or names[0]}'?")
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in value.items()})

    return read


_as_dict = PlainSerializer(dataclasses.asdict)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClipShape(_Part):
    """The native shape of a video: frames (1 + 4k), pixels, frames a second."""

    frames: int = Field(ge=1)
    height: int = Field(ge=16)
    width: int = Field(ge=16)
    fps: float = Field(gt=0)


class DiffusionSettings(_Part):
    """The forward process, what the network predicts, and where training looks."""

    schedule: Literal["linear"] = "linear"
    predicts: Literal["velocity"] = "velocity"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    """The logit-normal density of training times (Esser et al. 2024, arXiv:2403.03206), shifted towards noise."""


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
    """How many different clips there are to learn from."""
    crop: int | None = None
    """Side of the square crops that the codec sees, in pixels; None takes whole frames."""
    frames: int | None = None
    """Frames a clip that this stage sees; None takes them all."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(gt=0)
    muon_lr: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    clip: float = 1.0
    """The joint norm that gradients are scaled down to."""
    warmup: int = 100
    decay: Literal["cosine", "linear"] = "cosine"
    cooldown: float = 0.3
    final: float = 0.01
    ema: float = 0.999
    autocast: bool = True
    dropout: float = 0.1
    """The share of captions that are replaced by the empty one (Ho & Salimans 2022, arXiv:2207.12598)."""
    edges: float = 0.0
    """The weight of the L1 distance between spatial and temporal differences, beside that between pixels (codec)."""
    quiet: float = 1e-4
    """The weight of the latents' mean square (codec): it keeps them bounded, no more."""
    log_every: int = 20
    save_every: int = 200
    preview_every: int = 500


class Stages(_Part):
    """The stages in the order in which they are trained."""

    codec: StageSettings
    clip: StageSettings
    diffusion: StageSettings


class Recipe(_Part):
    """Everything that is needed to build, train and run a system."""

    name: str
    seed: int = 0
    video: ClipShape
    codec: Annotated[VAEConfig, BeforeValidator(_table(VAEConfig)), _as_dict]
    text: Annotated[CLIPConfig, BeforeValidator(_table(CLIPConfig)), _as_dict]
    network: Annotated[DiTConfig, BeforeValidator(_table(DiTConfig)), _as_dict]
    diffusion: DiffusionSettings = DiffusionSettings()
    defaults: Defaults = Defaults()
    stages: Stages

    @staticmethod
    def read(name_or_path: str) -> Recipe:
        """A recipe by its name among those that ship, or by the path of a TOML file. Raises BadRecipe."""
        path = Path(name_or_path)
        if path.suffix != ".toml":
            path = RECIPES / f"{name_or_path}.toml"
            if not path.is_file():
                known = sorted(p.stem for p in RECIPES.glob("*.toml"))
                guess = nearest(name_or_path, known)
                hint = f"did you mean '{guess}'" if guess else f"there are {', '.join(known)}"
                raise BadRecipe(
                    f"recipe '{name_or_path}': no recipe has this name; {hint}, or give the path of a .toml file"
                )
        try:
            return Recipe.of(tomllib.loads(path.read_text(encoding="utf-8")), str(name_or_path))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadRecipe(
                f"recipe {name_or_path}: it cannot be read ({error}); give a TOML file such as those that ship"
            ) from error

    @staticmethod
    def of(table: Mapping[str, Any], origin: str = "recipe") -> Recipe:
        """A recipe from nested tables. Raises BadRecipe that names the first wrong entry."""
        try:
            return Recipe.model_validate(table)
        except (ValidationError, TypeError) as error:
            if isinstance(error, ValidationError):
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"]) or "the whole"
                why = str(first["msg"]).removeprefix("Value error, ")
            else:
                where, why = "the whole", str(error)
            raise BadRecipe(
                f"{origin}: the entry '{where}' cannot be used ({why}); compare it with the recipes that ship"
            ) from error

    def json(self) -> str:
        """The recipe as the JSON text that a bundle carries."""
        return json.dumps(self.model_dump(mode="json"), indent=2) + "\n"
