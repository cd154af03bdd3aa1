"""Presets: the grid, the noise and the negative prompt of other programs, and an engine that walks in their way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.physics.field import Field
from vitascope.physics.times import wan_comfy, wan_diffusers, wan_official_dpmpp, wan_official_unipc
from vitascope.presets import COMFY, DIFFUSERS, NEGATIVE, OFFICIAL, PRESETS
from vitascope.recipe import Recipe
from vitascope.shot import PRESET_NAMES, Shot
from vitascope.training.beginning import complete, fresh

SHAPE = (16, 3, 8, 10)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(fresh(complete(Recipe.read("tiny"))).settle(autocast=False))


@pytest.fixture
def clocks(engine: Engine) -> Iterator[list[float]]:
    """What the network is told of time, in the order in which it is called."""
    heard: list[float] = []
    handle = engine.diffusion.net.register_forward_pre_hook(lambda net, args: heard.append(float(args[1][0])))
    yield heard
    handle.remove()


def test_there_is_a_preset_for_each_name() -> None:
    assert tuple(PRESETS) == PRESET_NAMES


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_noise_is_that_of_a_torch_generator(preset) -> None:
    drawn = preset.noise(7, SHAPE, torch.device("cpu"))
    torch.manual_seed(7)
    assert torch.equal(drawn, torch.randn(1, *SHAPE))  # ComfyUI and diffusers: a batch of one
    assert torch.equal(drawn[0], torch.randn(SHAPE, generator=torch.Generator().manual_seed(7)))  # official: no batch
    assert not torch.equal(drawn, preset.noise(8, SHAPE, torch.device("cpu")))


def test_noise_is_that_of_diffusers() -> None:
    from diffusers.utils.torch_utils import randn_tensor

    theirs = randn_tensor((1, *SHAPE), generator=torch.Generator().manual_seed(3))
    assert torch.equal(DIFFUSERS.noise(3, SHAPE, torch.device("cpu")), theirs)


@pytest.mark.parametrize(
    ("preset", "solver", "grid"),
    [
        ("official", "unipc", wan_official_unipc),
        ("official", "dpmpp_2m", wan_official_dpmpp),
        ("diffusers", "unipc", wan_diffusers),
        ("comfy", "euler", wan_comfy),
    ],
)
def test_a_walk_stands_on_the_programs_grid_and_tells_its_clock(
    engine: Engine, clocks: list[float], preset: str, solver: str, grid
) -> None:
    shot = engine.prepare(Shot(prompt="a red ball", preset=preset, solver=solver, steps=5, shift=4.0, seed=1))  # type: ignore[arg-type]
    steps = list(engine.sample(shot))
    made = grid(5, 4.0)
    assert [step.t for step in steps] == made.times[1:].tolist()
    assert clocks == pytest.approx(made.clock.tolist(), abs=1e-4)
    assert engine.record(shot)["shot"]["preset"] == preset


def test_the_walk_begins_at_the_programs_noise(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    ask = Field.denoised

    def heard(self: Field, x: torch.Tensor, t: float) -> torch.Tensor:
        seen.append(x)
        return ask(self, x, t)

    monkeypatch.setattr(Field, "denoised", heard)
    for preset in (None, "diffusers"):
        shot = engine.prepare(Shot(prompt="a red ball", preset=preset, solver="unipc", steps=2, seed=5))  # type: ignore[arg-type]
        next(iter(engine.sample(shot)))
    shape = engine.latent_shape(shot)
    assert torch.equal(seen[1], torch.randn(1, *shape, generator=torch.Generator().manual_seed(5)))
    assert not torch.equal(seen[0], seen[1])


def test_what_an_empty_negative_prompt_means(engine: Engine) -> None:
    shot = Shot(prompt="a")
    assert OFFICIAL.negative(shot, "t2v") == NEGATIVE
    assert OFFICIAL.negative(shot, "i2v").removeprefix("镜头晃动，") == NEGATIVE
    assert OFFICIAL.negative(shot, "flf2v").startswith("镜头切换，镜头晃动，")
    assert DIFFUSERS.negative(shot, "t2v") == COMFY.negative(shot, "i2v") == ""
    assert OFFICIAL.negative(Shot(prompt="a", negative="blur"), "t2v") == "blur"


def test_a_program_brings_its_shift_and_only_where_none_is_asked_for(engine: Engine) -> None:
    def shift(**asked: object) -> float | None:
        return engine.prepare(Shot.model_validate({"prompt": "a red ball", "solver": "euler", **asked})).shift

    own = shift()
    assert shift(preset="comfy") == 8.0 != own
    assert shift(preset="comfy", shift=2.0) == 2.0


def test_a_solver_that_the_program_walks_otherwise_is_refused(engine: Engine) -> None:
    with pytest.raises(BadShot, match=r"^solver unipc --as comfy: its grid there is not known; take euler, or leave"):
        engine.prepare(Shot(prompt="a", preset="comfy", solver="unipc"))
    with pytest.raises(BadShot, match="take unipc or dpmpp_2m, or leave"):
        engine.prepare(Shot(prompt="a", preset="official", solver="heun"))
