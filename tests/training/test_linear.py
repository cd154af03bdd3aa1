"""A linear codec in a run: its components come of the clips at once, and what is learned on them belongs to them."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.training.test_run import brief, hashes, one_thread, written  # noqa: F401

from vitascope import bundle
from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.exchange import to_diffusers
from vitascope.models.blocks import Blocks
from vitascope.models.dit import DEVIATION
from vitascope.pixels import to_pixels
from vitascope.shot import Shot
from vitascope.training import checkpoint
from vitascope.training.run import Stopped, train_recipe

Z = 24


def recipe() -> dict[str, Any]:
    """The brief recipe of the other runs, on principal components."""
    made = brief()
    made["codec"] |= {"z": Z, "linear": True}
    made["network"] |= {"in_channels": Z, "out_channels": 2 * Z, "prior": True}
    made["stages"]["codec"] |= {"edges": 0.1}
    return made


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("linear")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train_recipe(written(folder / "recipe.toml", recipe()), folder / "run")
    torch.set_num_threads(before)
    return folder / "run"


def test_it_becomes_a_bundle_that_makes_films(run: Path) -> None:
    engine = Engine.load(run / "bundle", "cpu")
    film = engine.generate(Shot(prompt="a red ball bounces on a meadow", seed=1))
    assert film.frames.shape == (5, 32, 64, 3)
    assert film.frames.float().std() > 1


def test_its_components_are_those_of_its_clips(run: Path) -> None:
    clips = torch.from_numpy(np.fromfile(run / "data" / "clips-8.u8", np.uint8)).view(8, 5, 32, 64, 3)
    wanted = Blocks(Z, (4, 8, 8))
    wanted.fit(to_pixels(clips).split(3))
    found = bundle.load(run / "bundle").codec.vae.blocks
    torch.testing.assert_close(found.scale, wanted.scale, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.directions, wanted.directions.bfloat16().float(), atol=1e-2, rtol=0)


def test_the_network_knows_how_large_the_latents_are(run: Path) -> None:
    system = bundle.load(run / "bundle")
    deviation = getattr(system.diffusion.net, DEVIATION)
    torch.testing.assert_close(deviation, system.codec.std)
    latents = torch.from_numpy(np.fromfile(run / "data" / "latents.f16", np.float16).astype(np.float32))
    latents = latents.view(8, Z, 2, 4, 8)
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), deviation, rtol=0.01, atol=0)
    assert (deviation.diff() < 0).all()
    assert deviation[0] > 2 * deviation[-1]


def test_a_run_that_is_stopped_ends_in_the_same_weights(run: Path, tmp_path: Path) -> None:
    name = written(tmp_path / "recipe.toml", recipe())
    for number, at in enumerate((("training codec", 4), ("training diffusion", 2))):

        def watch(doing: str, done: int, of: int, figures: dict[str, float], at: tuple[str, int] = at) -> None:
            if (doing, done) == at:
                os.kill(os.getpid(), signal.SIGTERM)

        with pytest.raises(Stopped):
            train_recipe(name, tmp_path / "run", resume=number > 0, watch=watch)
    train_recipe(name, tmp_path / "run", resume=True)
    assert hashes(tmp_path / "run") == hashes(run)


@pytest.mark.parametrize("stage", ["decoder", "codec"])
def test_a_run_that_goes_on_from_it_keeps_its_components(stage: str, run: Path, tmp_path: Path) -> None:
    """And their whitening: its clips are others, and the network knows it as it was."""
    more = {"name": "more", "seed": 9, "stages": {stage: recipe()["stages"][stage]}}
    name, folder = written(tmp_path / "more.toml", more), tmp_path / "run"
    train_recipe(name, folder, start=str(run / "bundle"), stages=[stage])
    before, after = (bundle.load(one / "bundle") for one in (run, folder))
    for known, value in before.codec.vae.blocks.state_dict().items():
        assert torch.equal(value, after.codec.vae.blocks.state_dict()[known])
    for known in ("mean", "std"):
        assert torch.equal(getattr(before.codec, known), getattr(after.codec, known))
    assert torch.equal(getattr(before.diffusion.net, DEVIATION), getattr(after.diffusion.net, DEVIATION))
    old, new = (one.codec.vae.decoder.state_dict() for one in (before, after))
    assert any(not torch.equal(old[known], new[known]) for known in old)


def test_components_that_are_found_anew_are_those_that_all_others_go_on_with(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "codec.safetensors").unlink()
    longer = recipe()
    for settings in longer["stages"].values():
        settings["clips"] = 16
    for stage in ("diffusion", "decoder"):
        longer["stages"][stage]["steps"] += 2
    warned: list[str] = []
    train_recipe(written(tmp_path / "longer.toml", longer), tmp_path / "run", resume=True, warn=warned.append)
    made = bundle.load(tmp_path / "run" / "bundle")
    found = checkpoint.load(tmp_path / "run" / "codec.safetensors")["model/blocks.scale"]
    assert not torch.equal(found, bundle.load(run / "bundle").codec.vae.blocks.scale)
    assert torch.equal(made.codec.vae.blocks.scale, found)
    assert torch.equal(getattr(made.diffusion.net, DEVIATION), made.codec.std)
    told = [one for one in warned if "until step 12 it learned on latents of another codec" in one]
    assert len(told) == 2, "the network and the decoder, each of which goes on on it"


def test_the_temperature_may_change_between_two_parts_of_a_run(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    cooler = recipe() | {"diffusion": {"shift": 2.0, "temperature": 0.5}}
    train_recipe(written(tmp_path / "cooler.toml", cooler), tmp_path / "run", resume=True)
    assert Engine.load(tmp_path / "run" / "bundle").diffusion.temperature == 0.5


def test_diffusers_has_no_such_form(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="its network tells priors"):
        to_diffusers(bundle.load(run / "bundle"), tmp_path / "out")
    assert not (tmp_path / "out").exists()
