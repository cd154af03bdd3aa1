"""A recipe is one description that agrees with itself, and one sentence where it does not."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from vitascope.errors import BadRecipe
from vitascope.finding import find
from vitascope.recipe import RECIPES, Recipe

BASE = "tiny"
"""A recipe that stands alone."""
BUNDLE = Recipe.of(json.loads((find("storybook") / "recipe.json").read_text(encoding="utf-8")))
"""What a recipe that goes on from a bundle is read upon."""

SHIPPED = sorted(path.stem for path in RECIPES.glob("*.toml"))


def table() -> dict[str, Any]:
    return tomllib.loads((RECIPES / "tiny.toml").read_text(encoding="utf-8"))


def read(name: str) -> Recipe:
    """A shipped recipe, whether it stands alone or goes on from the shipped bundle."""
    alone = "codec" in tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))
    return Recipe.read(name) if alone else Recipe.upon(name, BUNDLE)[0]


def changed(entry: str, value: object) -> dict[str, Any]:
    """The tiny recipe with one entry, named with dots, set to something else."""
    whole = copy.deepcopy(table())
    *path, last = entry.split(".")
    part = whole
    for step in path:
        part = part[step]
    part[last] = value
    return whole


def refusal(whole: object) -> str:
    with pytest.raises(BadRecipe) as told:
        Recipe.of(whole, "x.toml")  # type: ignore[arg-type]
    said = str(told.value)
    assert said.startswith("x.toml: ")
    assert "\n" not in said
    assert len(said) < 700
    return said


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_recipe_can_be_used_and_its_header_says_what_it_costs(name: str) -> None:
    recipe = read(name)
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    for line in (f"command   vitascope train {name}", "time   ", "score   "):
        assert any(comment.startswith(f"#   {line}") for comment in text.splitlines())
    assert max(recipe.stages.codec.frames or (1,)) <= recipe.video.frames


def test_the_recipes_that_there_must_be() -> None:
    assert {"tiny", "storybook-mini", "storybook", "finetune"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_json_says_the_same_recipe(name: str) -> None:
    recipe = read(name)
    assert Recipe.of(json.loads(recipe.json())) == recipe


def test_a_number_of_frames_is_a_list_of_one() -> None:
    assert Recipe.of(changed("stages.clip.frames", 3)).stages.clip.frames == (3,)


@pytest.mark.parametrize(
    ("entry", "value", "why"),
    [
        ("auto_map", {"AutoModel": "evil.Model"}, "the entry 'auto_map' cannot be used: there is no such entry"),
        ("network.auto_map", "evil.Model", "there is no entry 'auto_map' here"),
        ("network._attn_implementation", "evil/kernel", "there is no entry '_attn_implementation' here"),
        ("network.widht", 64, "did you mean 'width'?"),
        ("stages.codec.step", 64, "did you mean 'steps'?"),
        ("network.layers", 10**6, "layers is a whole number from 1 to 256; got 1,000,000"),
        ("network.width", 10**9, "width is a whole number from 1 to 65,536; got 1,000,000,000"),
        ("network.width", 10**4000, "got a number of 13,288 bits"),
        ("network.heads", 0, "heads is a whole number from 1"),
        ("network.heads", 7, "heads must divide width"),
        ("network.eps", float("nan"), "eps is a finite number"),
        ("network.width", "64 thousand", "the entry 'network.width' cannot be used"),
        ("network.patch", [1, 2], "the entry 'network.patch.2' cannot be used: it is missing"),
        ("codec.mults", [1] * 1000, "a list here has a few entries; got 1,000"),
        ("codec.temporal", [True], "expected 2, one between two levels"),
        ("text.text_layers", 300, "text_layers is a whole number from 1 to 256"),
        ("video.frames", 6, "video.frames - 1 should be a multiple of 4"),
        ("video.width", 72, "video.width should be a multiple of 16"),
        ("video.fps", float("inf"), "finite number"),
        ("codec.z", 8, "network.in_channels should be codec.z"),
        (
            "network.prior",
            True,
            "network.out_channels should be twice codec.z, a mean and a deviation of each; got 4 and 8",
        ),
        ("diffusion.temperature", 0.5, "diffusion.temperature is of networks that tell priors; got 0.5"),
        ("diffusion.temperature", 0, "should be greater than 0"),
        ("network.text_width", 33, "network.text_width should be what text.context gives"),
        ("text.image", [60, 64], "patch must divide the image"),
        ("stages.codec.frames", [5, 9], "stages.codec.frames should be at most video.frames, 5"),
        ("stages.codec.frames", [4], "stages.codec.frames - 1 should be a multiple of 4"),
        ("stages.diffusion.frames", [1, 9], "stages.diffusion.frames should be at most video.frames, 5"),
        ("stages.diffusion.frames", [1, 3], "stages.diffusion.frames - 1 should be a multiple of 4"),
        ("stages.diffusion.often", {"camra": {"still": 2}}, "no attribute 'camra'; did you mean 'camera'"),
        ("stages.diffusion.often", {"camera": {"pan left": 2}}, "no camera 'pan left'; did you mean 'pans left'"),
        ("stages.diffusion.often", {"camera": {"pans left": 0}}, "greater than or equal to 1"),
        ("stages.codec.frames", [], "at least 1 item"),
        ("stages.decoder", table()["stages"]["codec"] | {"crop": 20}, "stages.decoder.crop should be a multiple of 8"),
        ("stages.codec.crop", 20, "stages.codec.crop should be a multiple of 8"),
        ("stages.diffusion.crop", 24, "stages.diffusion.crop should be a multiple of 16"),
        ("stages.codec.lr", -1.0, "greater than 0; got -1.0"),
        ("stages.codec.ema", 1.0, "less than 1"),
        ("stages.codec.save_every", 0, "greater than or equal to 1"),
        ("stages.codec.optimizer", "sgd", "'adamw' or 'muon'; got 'sgd'"),
        ("stages.codec", None, "the entry 'stages.codec' cannot be used"),
        ("network.image_width", 1280, "image-to-video"),
        ("defaults.solver", "uniqc", "the nearest is unipc"),
        ("defaults.steps", 10**6, "steps 1000000"),
        ("defaults.guidance", "much", "guidance 'much'"),
        ("name", "../tiny", "the entry 'name' cannot be used"),
        ("network", 3, "the entry 'network' cannot be used"),
    ],
)
def test_a_wrong_entry_is_named(entry: str, value: object, why: str) -> None:
    assert why in refusal(changed(entry, value))


def test_what_is_no_table_is_refused() -> None:
    assert "it contradicts itself" in refusal([1, 2]) or "cannot be used" in refusal([1, 2])
    assert "the entry 'name' cannot be used: it is missing" in refusal({})


def test_a_name_that_no_recipe_has(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="did you mean 'tiny'"):
        Recipe.read("tinny")
    with pytest.raises(BadRecipe, match=r"there are .*storybook.*tiny"):
        Recipe.read("qqqq")
    with pytest.raises(BadRecipe, match=r"none\.toml: there is no such file; check the name"):
        Recipe.read(str(tmp_path / "none.toml"))


def test_a_misspelt_entry_that_is_needed_is_named_as_it_was_written() -> None:
    spoiled = table()
    spoiled["stages"]["codec"]["bacth"] = spoiled["stages"]["codec"].pop("batch")
    assert "'stages.codec.bacth' cannot be used: there is no such entry; did you mean 'batch'?" in refusal(spoiled)


@pytest.mark.parametrize("text", [b"name = ", b"\xff\xfe", b"seed = " + b"9" * 5000, b"a = " + b"[" * 100_000])
def test_a_file_that_is_no_toml(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(text)
    with pytest.raises(BadRecipe, match="cannot be read"):
        Recipe.read(str(path))


def test_a_recipe_upon_another_says_what_differs(tmp_path: Path) -> None:
    base = Recipe.read(BASE)
    path = tmp_path / "upon.toml"
    path.write_text(
        'name = "upon"\n[video]\nfps = 12\n[stages.decoder]\nsteps = 3\nbatch = 1\nclips = 1\nlr = 1e-3\n'
        "[stages.clip]\nsteps = 2\n"
    )
    missed = {"compile": True, "frames": (1, 5), "crop": 16, "often": {"light": {"night": 2}}}
    compiled = base.stages.diffusion.model_copy(update=missed)
    learned = base.model_copy(update={"stages": base.stages.model_copy(update={"diffusion": compiled})})
    assert Recipe.upon(str(path), learned) == Recipe.upon(str(path), base), "these are asked for anew"
    recipe, stages = Recipe.upon(str(path), base)
    assert recipe.name == "upon"
    assert stages == ("clip", "decoder")
    assert recipe.video == base.video.model_copy(update={"fps": 12.0})
    assert recipe.stages.clip == base.stages.clip.model_copy(update={"steps": 2})
    assert recipe.stages.decoder is not None
    assert base.stages.decoder is None
    assert recipe.stages.codec == base.stages.codec
    same = {"seed", "codec", "text", "network", "diffusion", "defaults"}
    assert recipe.model_dump(include=same) == base.model_dump(include=same)
    with pytest.raises(BadRecipe, match="goes on from a bundle's; add --from storybook"):
        Recipe.read(str(path))
