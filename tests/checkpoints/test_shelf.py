"""The shelf: Wan models are found wherever people keep them, and what is no Wan model is passed by."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, twin

from vitascope.checkpoints import known, shelf
from vitascope.checkpoints.known import Known, known_so_far
from vitascope.checkpoints.labels import Label, Unusable, labels
from vitascope.checkpoints.shelf import standing, usual
from vitascope.checkpoints.views import _ELSEWHERE, _ORIGINAL


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.official(twin(), tmp_path_factory.mktemp("official"), shards=2)


@pytest.fixture(scope="module")
def diffusers(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.diffusers(twin(), tmp_path_factory.mktemp("diffusers"))


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.comfy(twin("i2v", head=128, heads=1), tmp_path_factory.mktemp("comfy"), quantised="scaled_old")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def only(root: Path, deep: int = 2) -> Label:
    [found] = labels(standing([(root, deep)]).models)
    assert isinstance(found, Label)
    return found


def into_hub(source: Path, hub: Path, name: str) -> Path:
    """A folder as huggingface_hub keeps it: each file a link into blobs, which are called by their hashes."""
    repository = hub / f"models--Wan-AI--{name}"
    snapshot = repository / "snapshots" / ("37ec" * 10)
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    for file in source.rglob("*"):
        if file.is_file():
            blob = repository / "blobs" / hashlib.sha256(file.read_bytes()).hexdigest()
            shutil.copyfile(file, blob)
            link = snapshot / file.relative_to(source)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


def test_the_marks_are_those_that_tell_a_transformer() -> None:
    assert set(shelf.MARKS) == {*_ORIGINAL["transformer"], *_ELSEWHERE["transformer"]}


def test_an_official_folder(official: Packed, tmp_path: Path) -> None:
    (tmp_path / "Wan2.1-T2V-1.3B").symlink_to(official.root)
    found = only(tmp_path)
    assert found.found.path == tmp_path / "Wan2.1-T2V-1.3B"
    assert (found.found.layout, found.found.variant, found.found.missing()) == ("official", "t2v", [])
    t = official.holds
    assert found.parameters == sum(p.numel() for p in t.transformer.parameters())
    files = {file for file in official.root.iterdir() if file.name != "config.json" and file.is_file()}
    assert found.bytes == sum(file.stat().st_size for file in files)
    assert {name: part.dtype for name, part in found.parts.items()} == {
        "transformer": "fp32",
        "vae": "fp32",
        "text": "bf16",
    }
    assert found.parts["vae"].parameters == sum(p.numel() for p in t.vae.parameters())
    assert set(found.tokenizer.values()) == {"unknown"}
    assert found.does == "films of a prompt"
    assert json.loads(json.dumps(found.json()))["parts"]["text"]["path"] == str(found.found.text)


def test_the_folder_itself_and_one_level_too_deep(official: Packed, tmp_path: Path) -> None:
    assert only(official.root, 0).found.path == official.root
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    (deep / "wan").symlink_to(official.root)
    assert standing([(tmp_path, 3)]).models == ()
    assert standing([(tmp_path, 4)]).models == (deep / "wan",)


def test_a_cache_of_the_hub(diffusers: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = into_hub(diffusers.root, tmp_path / "hf" / "hub", "Wan2.1-T2V-1.3B-Diffusers")
    other = tmp_path / "hf" / "hub" / "models--flux" / "snapshots" / "1" / "model_index.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"_class_name": "FluxPipeline"}')
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert standing(usual()).models == (snapshot,)
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert standing(usual()).models == ()
    (tmp_path / "huggingface").symlink_to(tmp_path / "hf")
    assert standing(usual()).models == (tmp_path / "huggingface" / "hub" / snapshot.relative_to(tmp_path / "hf/hub"),)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    [label] = labels(standing(usual()).models)
    assert isinstance(label, Label)
    assert (label.found.path, label.found.layout, label.found.missing()) == (snapshot, "diffusers", [])
    assert {only(tmp_path / "hf" / "hub").found.path, only(snapshot.parents[1]).found.path} == {snapshot}


def test_the_models_of_comfy(comfy: Packed, tmp_path: Path) -> None:
    models = tmp_path / "ComfyUI" / "models"
    shutil.copytree(comfy.root / "split_files", models)
    shutil.copy(comfy.transformer, models / "diffusion_models" / "again.safetensors")
    save_file({"double_blocks.0.x": torch.zeros(2)}, models / "diffusion_models" / "flux.safetensors")
    save_file({"diffusion_model.head.modulation.diff": torch.zeros(2)}, models / "diffusion_models" / "l.safetensors")
    found = labels(standing([(tmp_path, 2)]).models)
    assert [label.found.path.name for label in found if isinstance(label, Label)] == [
        "again.safetensors",
        comfy.transformer.name,
    ]
    assert len(found) == 2, "what is no Wan transformer is left out, a LoRA too"
    assert isinstance(first := found[0], Label)
    assert (first.found.layout, first.found.variant, first.found.missing()) == ("single", "i2v", [])
    assert set(first.parts["transformer"].dtypes) == {"fp16", "fp8_e4m3fn", "fp32"}  # scales are fp32
    assert first.parameters == sum(p.numel() for p in comfy.holds.transformer.parameters())
    (models / "vae" / "wan_2.1_vae.safetensors").unlink()
    (models / "clip_vision" / "clip_vision_h.safetensors").unlink()
    assert isinstance(first := labels(standing([(models, 0)]).models)[0], Label)
    assert first.found.missing() == ["vae", "image"]


def test_the_same_files_are_told_once(comfy: Packed, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "wan.safetensors").symlink_to(comfy.transformer)
    (tmp_path / "b").symlink_to(comfy.root)
    assert len(standing([(tmp_path, 2)]).models) == 2
    found = only(tmp_path).found
    assert (found.path.name, found.missing()) == (comfy.transformer.name, []), "the one with more of its parts"


def test_what_cannot_be_used_is_told_why(official: Packed, tmp_path: Path) -> None:
    (tmp_path / "a14b" / "high_noise_model").mkdir(parents=True)
    for name in ("pointer", "cut", "shards"):
        shutil.copytree(official.root, tmp_path / name)
    for file in (tmp_path / "pointer").glob("diffusion*"):
        file.unlink()
    (tmp_path / "pointer" / "diffusion_pytorch_model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\n"
    )
    shard = next((tmp_path / "cut").glob("*-00002-of*"))
    shard.write_bytes(shard.read_bytes()[:-1])
    next((tmp_path / "shards").glob("*-00002-of*")).unlink()
    told = {label.path.name: label.reason for label in labels(standing([(tmp_path, 2)]).models)}  # type: ignore[union-attr]
    assert told["a14b"].startswith("this is Wan2.2-A14B")
    assert told["pointer"].startswith("this is a Git LFS pointer")
    assert "was cut off" in told["cut"]
    assert "-00002-of-00002.safetensors is not beside it" in told["shards"]
    assert len(told) == 4
    assert not any("\n" in reason or str(tmp_path) in reason.split(",")[0] for reason in told.values())


def test_loops_and_what_cannot_be_read_are_passed_by(
    official: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wan").symlink_to(official.root)
    (tmp_path / "models").symlink_to(tmp_path)
    (tmp_path / "split_files").symlink_to(tmp_path / "models")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "self").symlink_to(tmp_path / "self")
    os.mkfifo(tmp_path / "pipe.safetensors")
    (tmp_path / "config.json").write_text("[" * 100_000)
    whole = standing([(tmp_path, 2), (tmp_path / "gone", 2), (Path("a\0b"), 2)])
    assert whole.whole
    assert [model.name for model in whole.models] == ["wan"]
    locked, inner = tmp_path / "locked", Path.iterdir

    def refused(self: Path) -> object:
        if self == locked:
            raise PermissionError(13, "no", str(self))
        return inner(self)

    locked.mkdir()
    monkeypatch.setattr(Path, "iterdir", refused)
    assert standing([(tmp_path, 2)]) == whole


def test_how_much_is_looked_into_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "FOLDERS", 5)
    for k in range(9):
        (tmp_path / str(k)).mkdir()
    assert not standing([(tmp_path, 2)]).whole
    for k in range(4, 9):
        (tmp_path / str(k)).rmdir()
    assert standing([(tmp_path, 2)]).whole


def test_bundles_and_their_exports_are_not_on_this_shelf(official: Packed, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(official.root, run / "bundle")
    (run / "recipe.json").write_text("{}")
    export = tmp_path / "export"
    shutil.copytree(official.root, export / "transformer")
    (export / "vitascope").mkdir()
    (export / "model_index.json").write_text('{"_class_name": "WanPipeline"}')
    assert standing([(tmp_path, 3)]).models == ()


def test_looking_needs_no_torch(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    code = (
        "import sys; from pathlib import Path; from vitascope.checkpoints.shelf import standing;"
        "assert standing([(Path(sys.argv[1]), 2)]).models == (); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 0


def test_hash_states(official: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    vae, text = official.vae, official.text
    line = Known("the VAE", vae.name, vae.stat().st_size, hashlib.sha256(vae.read_bytes()).hexdigest())
    wrong = Known("the text", text.name, text.stat().st_size, "0" * 64)
    monkeypatch.setattr(known, "KNOWN", (line, wrong))
    unread = pytest.MonkeyPatch()
    with unread.context() as patch:
        patch.setattr(known, "digest", lambda *a, **k: pytest.fail("a large file was read unasked"))
        assert known_so_far(vae, most=0) == "size of the VAE, not hashed yet"
        assert known_so_far(official.transformer, most=0) == "unknown"
    assert known_so_far(vae) == "known: the VAE"
    assert known_so_far(vae, most=0) == "known: the VAE", "it is remembered"
    assert known_so_far(text) == "unknown: size of the text, other bytes"
    label = only(official.root)
    assert label.parts["vae"].hashes == {vae.name: "known: the VAE"}
    assert label.hashes() == {"known": 1, "unknown": 4}  # two shards, their index, the text encoder


def test_a_reason_is_not_lost_on_what_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"_class_name": "WanModel"}')
    [told] = labels(standing([(tmp_path, 0)]).models)
    assert isinstance(told, Unusable)
    assert told.json()["reason"].endswith("it holds no weights")


def test_a_transformer_of_another_kind_is_told(official: Packed, tmp_path: Path) -> None:
    shapes = {name: value for shard in official.root.glob("*-of-*") for name, value in load_file(shard).items()}
    shapes["patch_embedding.weight"] = torch.zeros(48, 36, 1, 2, 2)
    save_file(shapes, tmp_path / "wan2.2_i2v_high_noise_14B.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"_class_name": "WanModel", "num_heads": 2}))
    [told] = labels(standing([(tmp_path, 0)]).models)
    assert isinstance(told, Unusable)
    assert told.reason.startswith("this is Wan2.2-I2V-A14B")
