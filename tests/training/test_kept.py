"""Bundles of a run on its way: raw or averaged, as it stands or as it was."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope import bundle
from vitascope.cli import main
from vitascope.errors import BadModel, BadRun
from vitascope.recipe import RECIPES
from vitascope.training import checkpoint
from vitascope.training.kept import bundle_of, kept_steps
from vitascope.training.run import train_recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of four steps a stage, of which every other one is kept, and a first half that was stopped."""
    folder = tmp_path_factory.mktemp("run")
    text = (RECIPES / "tiny.toml").read_text(encoding="utf-8")
    for name, value in (("steps = (?:40|30)", "steps = 4"), ("clips = 64", "clips = 8"), ("batch = [48]", "batch = 2")):
        text, count = re.subn(rf"^{name}$", value, text, flags=re.MULTILINE)
        assert count == 3
    text = text.replace("save_every = 20", "save_every = 2\nkeep_every = 2")
    (folder / "brief.toml").write_text(text, encoding="utf-8")
    train_recipe(str(folder / "brief.toml"), folder / "run")
    return folder / "run"


def network(folder: Path) -> dict[str, Tensor]:
    return bundle.load(folder).diffusion.net.state_dict()


def like(found: dict[str, Tensor], state: dict[str, Tensor], kind: str) -> None:
    for name, value in found.items():
        torch.testing.assert_close(value, state[f"{kind}/{name}"], atol=1e-6, rtol=2**-8)


def test_the_average_of_a_finished_run_is_its_own_bundle(run: Path, tmp_path: Path) -> None:
    bundle_of(run, tmp_path / "b")
    assert bundle.digests(tmp_path / "b") == bundle.digests(run / "bundle")


def test_raw_weights_are_those_that_training_moves(run: Path, tmp_path: Path) -> None:
    bundle_of(run, tmp_path / "raw", "raw")
    state = checkpoint.load(run / "diffusion.safetensors")
    like(network(tmp_path / "raw"), state, "model")
    raw, average = bundle.digests(tmp_path / "raw"), bundle.digests(run / "bundle")
    assert {name for name in raw if raw[name] != average[name]} == {bundle.NETWORK}, "the network alone"


def test_weights_of_an_earlier_step(run: Path, tmp_path: Path) -> None:
    assert kept_steps(run) == [2, 4]
    kept = checkpoint.load(run / "kept" / "diffusion-000002.safetensors")
    assert int(kept["step"]) == 2
    assert not any(name.startswith("optimizer/") for name in kept), "what only training needs is not kept"
    bundle_of(run, tmp_path / "early", step=2)
    like(network(tmp_path / "early"), kept, "average")
    bundle_of(run, tmp_path / "raw", "raw", 2)
    like(network(tmp_path / "raw"), kept, "model")
    bundle_of(run, tmp_path / "last", step=4)
    assert bundle.digests(tmp_path / "last") == bundle.digests(run / "bundle")


def test_what_is_not_there_is_told(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"step 3 were not kept, there are 2, 4.*keep_every"):
        bundle_of(run, tmp_path / "b", step=3)
    with pytest.raises(BadRun, match="no run is there"):
        bundle_of(tmp_path, tmp_path / "b")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine")
    with pytest.raises(BadModel, match=r"mine\.txt"):
        bundle_of(run, tmp_path / "notes")
    half = tmp_path / "half"
    half.mkdir()
    for name in ("recipe.json", "tokenizer.json", "codec.safetensors"):
        (half / name).write_bytes((run / name).read_bytes())
    with pytest.raises(BadRun, match="stage clip was never trained"):
        bundle_of(half, tmp_path / "b")
    (half / "clip.safetensors").write_bytes((run / "clip.safetensors").read_bytes())
    with pytest.raises(BadRun, match="the network was never trained"):
        bundle_of(half, tmp_path / "b")
    with pytest.raises(BadRun, match=r"this is a bundle and no run; give the run's folder"):
        bundle_of(run / "bundle", tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_recipe_that_is_spoiled_is_told_with_where_a_copy_is(run: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    (mine / "recipe.json").write_text("{")

    def go_on() -> None:
        train_recipe(str(run.parent / "brief.toml"), mine, resume=True)

    for what in (go_on, lambda: bundle_of(mine, tmp_path / "b")):
        with pytest.raises(
            BadRun, match=r"put back the one that was there, of which .*bundle.recipe\.json is a copy\.$"
        ):
            what()
    shutil.copy(mine / "bundle" / "recipe.json", mine / "recipe.json")
    go_on()
    assert (mine / "recipe.json").read_bytes() == (run / "recipe.json").read_bytes()
    shutil.rmtree(mine / "bundle")
    (mine / "recipe.json").write_text("{")
    with pytest.raises(BadRun, match="put back the one that was there, or give another --out folder"):
        go_on()


def test_a_run_is_not_overwritten_by_its_own_bundle(run: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    before = {path: path.read_bytes() for path in mine.glob("*.safetensors")}
    for place in (mine, mine / "data" / ".."):
        with pytest.raises(BadModel, match="this folder is a training run's, which a bundle would overwrite"):
            bundle_of(mine, place)
    assert before == {path: path.read_bytes() for path in mine.glob("*.safetensors")}
    with pytest.raises(BadModel, match=r"this is the folder of a training run; its bundle is .*bundle"):
        bundle.load(mine)


def test_a_run_that_goes_on_with_its_decoder_alone_has_the_bundles_network(run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "sharper.toml"
    recipe.write_text(
        'name = "sharper"\n[stages.decoder]\nsteps = 2\nbatch = 2\nclips = 8\nlr = 1e-2\ncrop = 16\nfocus = 2.0\n'
    )
    made = train_recipe(str(recipe), tmp_path / "run", start=str(run / "bundle"))
    bundle_of(tmp_path / "run", tmp_path / "b")
    assert bundle.digests(tmp_path / "b") == bundle.digests(made)
    kept = network(tmp_path / "b")
    for name, value in network(run / "bundle").items():
        assert torch.equal(kept[name], value)
    before, after = (bundle.load(each).codec.vae.state_dict() for each in (run / "bundle", tmp_path / "b"))
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder", "conv2"}
    with pytest.raises(BadRun, match="never trained"):
        bundle_of(tmp_path / "run", tmp_path / "c", "raw")
    with pytest.raises(BadRun, match="not kept"):
        bundle_of(tmp_path / "run", tmp_path / "c", step=2)


def test_weights_that_learned_on_another_codec_are_not_put_beside_this_one(run: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    for name in ("diffusion", "clip", "codec"):
        (mine / f"{name}.safetensors").unlink()
    text = (run.parent / "brief.toml").read_text(encoding="utf-8").replace("muon_lr = 2e-3", "muon_lr = 2e-2")
    (tmp_path / "other.toml").write_text(text, encoding="utf-8")
    train_recipe(str(tmp_path / "other.toml"), mine, resume=True)
    shutil.copy(run / "kept" / "diffusion-000002.safetensors", mine / "kept")
    bundle_of(mine, tmp_path / "b")
    with pytest.raises(
        BadRun, match="the weights of stage diffusion that this takes learned on latents of another codec"
    ):
        bundle_of(mine, tmp_path / "c", step=2)
    assert not (tmp_path / "c").exists()


def test_the_network_of_the_bundle_is_not_put_beside_another_codec(run: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "codec.toml"
    recipe.write_text(
        'name = "c"\n[stages.codec]\nsteps = 2\nbatch = 2\nclips = 8\nlr = 1e-2\n[stages.diffusion]\nsteps = 2\n'
    )
    train_recipe(str(recipe), tmp_path / "run", start=str(run / "bundle"), stages=["codec"])
    with pytest.raises(BadRun, match="stage diffusion that this takes learned on latents of another codec"):
        bundle_of(tmp_path / "run", tmp_path / "b")
    train_recipe(str(recipe), tmp_path / "run", resume=True)
    bundle_of(tmp_path / "run", tmp_path / "b")
    with pytest.raises(BadRun, match="stage diffusion that this takes learned on latents of another codec"):
        bundle_of(tmp_path / "run", tmp_path / "c", strength=0.5)


@pytest.fixture(scope="module")
def further(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that goes on with the network of the other one's bundle."""
    folder = tmp_path_factory.mktemp("further")
    recipe = folder / "further.toml"
    recipe.write_text('name = "further"\n[stages.diffusion]\nsteps = 4\nbatch = 2\nclips = 8\nlr = 1e-2\n')
    train_recipe(str(recipe), folder / "run", start=str(run / "bundle"))
    return folder / "run"


def test_strength_goes_from_what_a_run_began_with_to_what_came_of_it(run: Path, further: Path, tmp_path: Path) -> None:
    ends = network(run / "bundle"), network(further / "bundle")
    moved = {name for name in ends[0] if not torch.equal(ends[0][name], ends[1][name])}
    assert len(moved) > len(ends[0]) / 2
    for strength in (0.0, 0.3, 0.7, 1.0):
        bundle_of(further, tmp_path / f"{strength}", strength=strength)
        for name, value in network(tmp_path / f"{strength}").items():
            first, last = ends[0][name], ends[1][name]
            allowed = 2**-7 * (first.abs() + last.abs()) + 1e-6  # bundles have bf16: the ends are rounded, and it
            assert bool(((value - first.lerp(last, strength)).abs() <= allowed).all()), (name, strength)
    for strength, end in ((0.0, run / "bundle"), (1.0, further / "bundle")):
        found, told = bundle.digests(tmp_path / f"{strength}"), bundle.digests(end)
        assert found[bundle.NETWORK] == told[bundle.NETWORK], "the ends are exact"


def test_a_run_that_began_with_nothing_has_no_strength(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRun, match=r"strength 0\.5 of a run that began with no bundle"):
        bundle_of(run, tmp_path / "b", strength=0.5)
    assert not (tmp_path / "b").exists()


def test_the_command(run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "raw"
    assert main(["bundle", str(run), "--weights", "raw", "--step", "2", "--out", str(out)]) == 0
    assert capfd.readouterr().out == f"{out}\n"
    before = bundle.digests(out)
    for flags, told in (
        (["--out", str(out)], "--force"),
        (["--weights", "rw"], "the nearest is raw"),
        (["--step", "0"], "above 0"),
        (["--step", "99"], "were not kept"),
        (["--strength", "0.5"], "began with no bundle"),
        (["--strength", "2"], "from 0"),
        (["--strength", "nan"], "from 0"),
        (["--strength", "half"], "from 0"),
    ):
        assert main(["bundle", str(run), *flags]) == 2
        found = capfd.readouterr()
        assert found.out == ""
        assert told in found.err
        assert found.err.count("\n") == 1
    assert bundle.digests(out) == before
    assert main(["bundle", str(run), "--out", str(out), "--force"]) == 0
    assert bundle.digests(out) == bundle.digests(run / "bundle")
