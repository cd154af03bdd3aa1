"""The public surface, frozen. Who changes a line here changes what other people's programs may rely on: say so in
CHANGELOG.md."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import vitascope
from vitascope import SOLVERS, Diffusion, Engine, Recipe, Shot, Step, VitascopeError, errors
from vitascope.cli.flags import _known
from vitascope.cli.generate import ELSEWHERE, Command
from vitascope.shot import SOLVER_NAMES

NAMES = """
    SOLVERS Diffusion Engine Field Noise Recipe Shot Step Video VitascopeError guide
"""

SIGNATURES = """
    guide(positive: Field, negative: Field, scale: Weight) -> Field
    Diffusion.field(self, condition: Mapping[str, Tensor], first: Tensor | None = None) -> Field
    Diffusion.beginning(self, field: Field, first: Tensor, frames: int) -> Field
    Diffusion.loss(self, x0: Tensor, condition: Mapping[str, Tensor], *, noise: Noise, index: int = 0, begun: Tensor | None = None, focus: Tensor | None = None) -> Tensor
    Engine.load(name_or_path: str | Path | None = None, device: str = auto, *, parts: Mapping[str, Path] | None = None, dtype: str | None = None, offload: str = none, tile: int | None = None, shot: Shot | None = None, given: Collection[str] | None = None, watch: Watch | None = None) -> Engine
    Engine.attach(self, loras: Sequence[tuple[Path, float]]) -> list[str]
    Engine.prepare(self, shot: Shot, given: Given | None = None) -> Shot
    Engine.latent_shape(self, shot: Shot) -> tuple[int, ...]
    Engine.begun(self, shot: Shot, given: Given) -> tuple[Shot, Given]
    Engine.guides(self, shot: Shot, given: Given) -> Guides
    Engine.field(self, *shots: Shot, guides: Guides | None = None) -> Field
    Engine.sample(self, *shots: Shot, guides: Guides | None = None) -> Iterator[Step]
    Engine.frames(self, latent: Tensor) -> Iterator[Tensor]
    Engine.film(self, shot: Shot, watch: Watch | None = None, given: Given | None = None) -> Film
    Engine.generate(self, shot: Shot, watch: Watch | None = None, image: Tensor | None = None, given: Given | None = None) -> Video
    Engine.record(self, shot: Shot) -> dict[str, Any]
    Engine.warnings(self, shot: Shot) -> list[str]
    Engine.unknown_words(self, shot: Shot) -> list[str]
    Field.__call__(self, x: Tensor, t: float | Tensor) -> Tensor
    Field.denoised(self, x: Tensor, t: float | Tensor) -> Tensor
    Field.at_most(self, max_rows: int | None) -> Field
    Field.__add__(self, other: Field) -> Field
    Field.__sub__(self, other: Field) -> Field
    Field.__mul__(self, weight: Weight) -> Field
    Field.__rmul__(self, weight: Weight) -> Field
    Field.__truediv__(self, number: float | Tensor) -> Field
    Noise(seeds: tuple[int, ...]) -> None
    Noise.normal(self, purpose: str, index: int, shape: Sequence[int], *, dtype: torch.dtype = torch.float32, device: torch.device | str = cpu) -> Tensor
    Noise.uniform(self, purpose: str, index: int, shape: Sequence[int] = (), *, dtype: torch.dtype = torch.float64, device: torch.device | str = cpu) -> Tensor
    Noise.like(self, purpose: str, index: int, x: Tensor) -> Tensor
    Recipe.read(name_or_path: str) -> Recipe
    Recipe.upon(name_or_path: str, base: Recipe) -> tuple[Recipe, tuple[str, ...]]
    Recipe.of(table: Mapping[str, Any], origin: str = recipe) -> Recipe
    Recipe.json(self) -> str
    Shot.filled(self, defaults: Mapping[str, object]) -> Shot
    Shot.seeded(self) -> Shot
    Video(frames: Tensor, fps: float, record: Mapping[str, Any] | None = None) -> None
    Video.save(self, path: Name, *, replace: bool = True) -> Path
    Video.load(path: Name) -> Video
"""  # noqa: E501

PARTS = {"notices", "diffusion", "codec", "text", "recipe", "device", "fps", "defaults", "weights"}
"""What an Engine shows of itself."""

WALK = "(field: Field, x: Tensor, times: Tensor, *, noise: Noise | None = None, after: Step | None = None"

SHOT = {
    "prompt": "", "negative": "", "frames": None, "height": None, "width": None, "fps": None, "steps": None,
    "solver": None, "guidance": None, "shift": None, "seed": None, "unconditional": False,
    "image": None, "last": None, "video": None, "mask": None, "references": (), "control": None, "preset": None, "loras": (),
}  # fmt: skip

FLAGS = {
    "negative": "TEXT", "frames": "INT", "height": "INT", "width": "INT", "fps": "NUMBER", "steps": "INT",
    "solver": "TEXT", "guidance": "TEXT", "shift": "NUMBER", "seed": "INT", "takes": "INT",
    "image": "FILE", "last-image": "FILE", "video": "FILE", "mask": "FILE",
    "reference": "FILE", "control": "NUMBER", "lora": "TEXT", "as": "PROGRAM",
    "unconditional": "", "model": "TEXT", "vae": "FILE", "text-encoder": "FILE", "tokenizer": "FILE", "image-encoder": "FILE",
    "dtype": "TEXT", "offload": "TEXT", "tile": "INT",
    "output": "FILE", "from": "FILE", "device": "TEXT", "force": "",
}  # fmt: skip

ERRORS = {
    "BadShot": "VitascopeError", "BadPrompt": "BadShot", "BadModel": "VitascopeError", "BadRecipe": "VitascopeError",
    "BadMedia": "VitascopeError", "BadData": "VitascopeError", "BadRun": "VitascopeError", "Undefined": "VitascopeError",
}  # fmt: skip


def told(call: Callable[..., Any]) -> str:
    """A signature without the quotes that stand around annotations, and around text."""
    return str(inspect.signature(call)).replace("'", "")


def test_the_public_names() -> None:
    assert sorted(vitascope.__all__) == sorted(NAMES.split())
    assert {*vitascope.__all__, "__version__"} <= set(dir(vitascope))
    assert all(getattr(vitascope, name) is not None for name in vitascope.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Engin'"):
        vitascope.Engin  # type: ignore[attr-defined]  # noqa: B018


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, vitascope; vitascope.Shot(prompt='a'); vitascope.Video; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("line", [line.strip() for line in SIGNATURES.strip().splitlines()])
def test_signatures(line: str) -> None:
    name, _, rest = line.partition("(")
    found: Any = vitascope
    for part in name.split("."):
        found = getattr(found, part)
    assert told(inspect.unwrap(found)) == "(" + rest


def test_how_a_diffusion_is_made() -> None:
    # Told apart from the others: a default that is a function would be told with its address.
    parameters = inspect.signature(Diffusion).parameters
    assert list(parameters) == ["net", "schedule", "predicts", "density", "clock", "temperature"]
    assert parameters["clock"].default.__name__ == "thousandfold"
    assert parameters["temperature"].default == 1


def test_what_an_engine_shows() -> None:
    properties = {name for name, value in vars(Engine).items() if name[0] != "_" and not callable(value)}
    assert properties == PARTS


def test_solvers_are_one_kind_of_call_and_one_set_of_names() -> None:
    assert tuple(SOLVERS) == SOLVER_NAMES
    assert SOLVER_NAMES == (
        "ddpm", "ddim", "euler", "heun", "midpoint", "rk4", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "euler_maruyama",
        "adaptive",
    )  # fmt: skip
    for name, solver in SOLVERS.items():
        assert told(solver).startswith(WALK), name
        own = list(inspect.signature(solver).parameters.values())[5:]
        assert all(parameter.default is not parameter.empty for parameter in own), name
    assert Step._fields == ("index", "t", "x", "x0", "memory", "error")


def test_the_fields_of_a_shot() -> None:
    assert {name: field.default for name, field in Shot.model_fields.items()} == SHOT


def test_the_flags_of_generate() -> None:
    known = _known(Command)
    assert {field.flag: field.metavar for field in known if not field.positional} == FLAGS
    assert [field.name for field in known if field.positional] == ["prompt"]
    said = {ELSEWHERE.get(name, name).strip("_").replace("_", "-") for name in SHOT if name != "prompt"}
    assert said <= set(FLAGS)


def test_the_tables_of_a_recipe() -> None:
    assert list(Recipe.model_fields) == [
        "name", "seed", "world", "video", "codec", "text", "network", "diffusion", "defaults", "stages",
    ]  # fmt: skip


def test_what_a_user_can_meet() -> None:
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, VitascopeError)]
    assert {kind.__name__: kind.__mro__[1].__name__ for kind in kinds if kind is not VitascopeError} == ERRORS
