"""Layouts: what a path holds is told from headers, the parts beside it are found, and what is missing is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, Variant, twin

from vitascope.checkpoints.layout import Found, look
from vitascope.errors import BadModel

VARIANTS: tuple[Variant, ...] = ("t2v", "i2v", "flf2v", "vace")


def small(variant: Variant = "t2v") -> twins.Twin:
    return twin(variant, head=128, heads=1)


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.official(small(), tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.comfy(small("i2v"), tmp_path_factory.mktemp("comfy"))


def refusal(path: Path, parts: dict[str, Path] | None = None) -> str:
    with pytest.raises(BadModel) as told:
        look(path, parts).complete()
    assert "\n" not in str(told.value)
    return str(told.value)


def same(found: Path | None, wanted: Path | None) -> bool:
    """A folder stands for the weights in it, and a file for its folder."""
    return found is not None and wanted is not None and (found == wanted or wanted in found.parents)


def agrees(found: Found, packed: Packed, variant: Variant) -> None:
    assert found.variant == variant
    assert not found.notices
    for part in ("transformer", "vae", "text"):
        assert same(getattr(found, part), getattr(packed, part)), part
    assert (found.image is None) == (packed.image is None)
    if packed.image is not None:
        assert same(found.image, packed.image)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_packagings_are_known(variant: Variant, tmp_path: Path) -> None:
    # Heads of another width than 128 where a config tells; where none does, the shapes have to.
    one = twins.official(twin(variant), tmp_path / "official", shards=2)
    found = look(one.root)
    agrees(found, one, variant)
    assert found.layout == "official"
    assert found.tokenizer == one.tokenizer
    assert found.complete() is found
    assert look(one.transformer).network == found.network

    two = twins.diffusers(twin(variant), tmp_path / "diffusers", shard="200KB")
    found = look(two.root)
    agrees(found, two, variant)
    assert found.layout == "diffusers"
    assert found.tokenizer == two.tokenizer
    assert found.scheduler == {"name": "UniPCMultistepScheduler", "flow_shift": twins.SHIFT[variant], "solver_order": 2}
    assert look(two.root / "transformer").vae == found.vae
    assert look(two.root / "model_index.json").network == found.network

    three = twins.comfy(small(variant), tmp_path / "comfy")
    for path in (three.root, three.transformer, three.transformer.parent):
        found = look(path)
        agrees(found, three, variant)
        assert found.layout == "single"
        assert found.tokenizer == found.text

    four = twins.kijai(small(variant), tmp_path / "kijai")
    found = look(four.root)
    agrees(found, four, variant)
    assert found.missing() == ["tokenizer"]
    tokens = {"tokenizer": one.tokenizer} if one.tokenizer else {}
    assert look(four.root, tokens).complete().tokenizer == one.tokenizer


def test_what_is_missing_is_named_with_what_would_do(comfy: Packed, tmp_path: Path) -> None:
    alone = tmp_path / "deep" / "model.safetensors"
    alone.parent.mkdir()
    shutil.copy(comfy.transformer, alone)
    said = refusal(alone)
    for word in ("i2v", "Wan2.1_VAE.pth", "--vae", "--text-encoder", "--tokenizer", "--image-encoder", "clip_vision_h"):
        assert word in said
    with pytest.raises(BadModel, match="--vae FILE"):
        look(alone.parent).part("vae")
    assert comfy.image is not None
    parts = {"vae": comfy.vae, "text_encoder": comfy.text, "image_encoder": comfy.image}
    found = look(alone, parts).complete()
    assert (found.vae, found.text, found.image, found.tokenizer) == (comfy.vae, comfy.text, comfy.image, comfy.text)
    assert "no such file" in refusal(alone, {"vae": tmp_path / "none"})


def test_among_several_one_is_taken_and_that_is_told(comfy: Packed, tmp_path: Path) -> None:
    root = tmp_path / "models"
    shutil.copytree(comfy.root / "split_files" if (comfy.root / "split_files").is_dir() else comfy.root, root)
    shutil.copy(comfy.vae, root / "vae" / "a_copy.safetensors")
    (root / "vae" / "broken.safetensors").write_bytes(b"nothing")
    save_file(
        {"conv2.bias": torch.zeros(48), "decoder.middle.0.residual.0.gamma": torch.ones(1)},
        root / "vae" / "5b.safetensors",
    )
    found = look(root)
    assert found.vae == root / "vae" / comfy.vae.name
    assert len(found.notices) == 1
    assert "2 files with a Wan VAE" in found.notices[0]
    shutil.copy(comfy.transformer, root / "diffusion_models" / "other.safetensors")
    assert "there are 2 transformers" in refusal(root)
    assert look(root / "diffusion_models" / "other.safetensors").variant == "i2v"


def test_a_broken_file_of_a_known_name_is_not_passed_over(official: Packed, tmp_path: Path) -> None:
    root = tmp_path / "model"
    shutil.copytree(official.root, root)
    (root / "Wan2.1_VAE.pth").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "Git LFS pointer" in refusal(root)


def with_config(official: Packed, root: Path, **change: Any) -> Path:
    shutil.copytree(official.root, root)
    config = root / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    return root


def test_a_config_is_held_against_the_weights(official: Packed, tmp_path: Path) -> None:
    assert "num_layers is 30" in refusal(with_config(official, tmp_path / "a", num_layers=30))
    found = look(with_config(official, tmp_path / "b", auto_map={"AutoModel": "evil.Model"}))
    assert found.notices == [f"{tmp_path / 'b' / 'config.json'}: nothing is made of auto_map"]


def test_wan_2_2_is_named(official: Packed, tmp_path: Path) -> None:
    root = tmp_path / "Wan2.2-T2V-A14B"
    shutil.copytree(official.root, root / "high_noise_model")
    assert "Wan2.2-A14B" in refusal(root)
    found = look(root / "high_noise_model")
    assert found.variant == "t2v"
    assert "one of the two experts of Wan2.2-T2V-A14B" in found.notices[0]
    for change, what in (
        ({"transformer_2": ["diffusers", "WanTransformer3DModel"]}, "Wan2.2-A14B"),
        ({"boundary_ratio": 0.875}, "Wan2.2-A14B"),
        ({"expand_timesteps": True}, "Wan2.2-TI2V-5B"),
    ):
        (root / "model_index.json").write_text(json.dumps({"_class_name": "WanPipeline", **change}))
        assert what in refusal(root)


@pytest.mark.parametrize("what", ["nothing", "empty", "a vae", "NUL", "text"])
def test_where_there_is_no_transformer(what: str, comfy: Packed, tmp_path: Path) -> None:
    if what == "nothing":
        assert "no such file or folder" in refusal(tmp_path / "none")
    elif what == "empty":
        assert "it holds no weights" in refusal(tmp_path)
    elif what == "a vae":
        said = refusal(comfy.vae)
        assert "a Wan transformer was wanted and this is a Wan VAE" in said
        shutil.copy(comfy.vae, tmp_path)
        assert f"it holds {comfy.vae.name} and none of them is one" in refusal(tmp_path)
    elif what == "NUL":
        assert "look at the path again" in refusal(tmp_path / "a\0b")
    else:
        (tmp_path / "model.safetensors").write_text("<!doctype html>")
        assert "web page" in refusal(tmp_path / "model.safetensors")


def test_looking_reads_no_numbers(comfy: Packed, tmp_path: Path) -> None:
    state = load_file(comfy.transformer)
    path = tmp_path / "model.safetensors"
    save_file({name: torch.full_like(value, torch.nan) for name, value in state.items()}, path)
    assert look(path).variant == "i2v"
