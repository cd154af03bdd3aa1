"""vitascope models and vitascope inspect: other people's models."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, twin

from vitascope.checkpoints import known
from vitascope.checkpoints.known import Known

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.official(twin(), tmp_path_factory.mktemp("official"))


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.comfy(twin("flf2v", head=128, heads=1), tmp_path_factory.mktemp("comfy"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_wan_models_stand_after_the_bundles(vitascope: Run, official: Packed, toy: Path) -> None:
    before = vitascope("models").out.splitlines()
    shutil.copytree(toy, "toy")
    Path("Wan2.1-T2V-1.3B").symlink_to(official.root)
    (broken := Path("Wan2.2") / "low_noise_model").mkdir(parents=True)
    lines = vitascope("models").out.splitlines()
    assert lines[: len(before)] == before
    assert lines[len(before)].startswith("toy  found  ")
    wan, other = lines[len(before) + 1 :]
    assert wan.startswith("Wan2.1-T2V-1.3B  found  0.1 M parameters, ")
    assert wan.endswith(" fp32  official t2v: films of a prompt  hashes: unknown")
    assert other.startswith(f"{broken.parent}  found  cannot be used: this is Wan2.2-A14B")
    told = json.loads(vitascope("models", "--json").out)
    assert [model["kind"] for model in told] == ["bundle"] * (len(before) + 1) + ["wan", "wan"]
    assert {"name", "origin", "folder", "recipe", "files", "parameters", "bytes", "does"} <= set(told[0])
    assert {"name", "origin", "layout", "variant", "takes", "parameters", "bytes", "dtype"} <= set(told[-2])
    assert told[-1]["reason"]
    assert [model["name"] for model in told[-2:]] == ["Wan2.1-T2V-1.3B", "Wan2.2"]
    planned = ("plan", "--model", told[-2]["name"], "--device", "cpu", "--no-measure", "--frames", "5")
    assert vitascope(*planned, "--height", "32", "--width", "32").code == 0, "a name is what --model takes"


def test_a_folder_that_is_named(vitascope: Run, comfy: Packed, toy: Path) -> None:
    (comfy.root / "mine").mkdir(exist_ok=True)
    told = json.loads(vitascope("models", comfy.root, "--json").out)
    assert [model["name"] for model in told] == [str(comfy.transformer)], "and nothing that ships"
    assert told[0]["takes"] == told[0]["needs"] == ["image", "last"]
    assert [model["name"] for model in json.loads(vitascope("models", toy, "--json").out)] == [str(toy)]
    refused = vitascope("models", comfy.transformer)
    assert (refused.code, refused.out, len(refused.err)) == (2, "", 1)
    assert "vitascope inspect" in refused.err[0]


def test_missing_parts_and_hashes_are_told(vitascope: Run, official: Packed, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in official.root.iterdir():
        if file.is_file() and not file.name.startswith("models_t5"):
            shutil.copy(file, file.name)
    vae = Path("Wan2.1_VAE.pth")
    line = Known("the VAE", vae.name, vae.stat().st_size, hashlib.sha256(vae.read_bytes()).hexdigest())
    monkeypatch.setattr(known, "KNOWN", (line,))
    monkeypatch.setattr(known, "SMALL", 0)
    told = vitascope("models")
    assert told.out.splitlines()[-1].endswith("hashes: 1 unknown, 1 not hashed yet  missing: text encoder, tokeniser")
    assert told.out.splitlines()[-1].startswith(".  found")
    assert told.err == []
    hashed = vitascope("models", "--hash")
    assert "hashes: 1 unknown, 1 known" in hashed.out
    assert hashed.json[-1]["doing"] == "hashing Wan2.1_VAE.pth"
    assert vitascope("models").out == hashed.out, "the hash is remembered"


def test_models_needs_no_torch_where_there_are_none(tmp_path: Path) -> None:
    code = (
        "import sys; from vitascope.cli import main; c = main(['models']); sys.exit(9 if 'torch' in sys.modules else c)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0


def test_inspect_tells_of_a_whole_model(vitascope: Run, official: Packed, comfy: Packed) -> None:
    about = json.loads(vitascope("inspect", official.root, "--json").out)
    assert {k: about[k] for k in ("kind", "layout", "variant", "takes", "missing")} == {
        "kind": "wan",
        "layout": "official",
        "variant": "t2v",
        "takes": [],
        "missing": [],
    }
    assert about["sizes"] == {"width": 48, "heads": 2, "layers": 2, "ffn": 96}
    assert set(about["parts"]) == {"transformer", "vae", "text", "tokenizer"}
    assert about["parts"]["vae"]["tensors"] == 194
    assert about["parts"]["text"]["dtypes"].keys() == {"bf16"}
    plain = vitascope("inspect", official.root).out
    assert "  vae:\n" in plain
    assert "missing: []" in plain
    single = json.loads(vitascope("inspect", comfy.transformer, "--json").out)
    assert (single["layout"], single["variant"], single["dtype"]) == ("single", "flf2v", "fp16")
    assert json.loads(vitascope("inspect", comfy.root, "--json").out)["parts"] == single["parts"]
    model = json.loads(vitascope("inspect", official.root / "config.json", "--json").out or "null")
    assert model is None, "a config is no weights"


def test_inspect_tells_of_a_part(vitascope: Run, official: Packed, comfy: Packed) -> None:
    assert comfy.image is not None
    for path, part, says in (
        (official.vae, "vae", "a Wan VAE of Wan 2.1"),
        (official.text, "text", "a UMT5 text encoder for Wan"),
        (comfy.text, "text", "a UMT5 text encoder for Wan"),
        (comfy.image, "image", "a CLIP image tower for image-to-video"),
        (comfy.image.parent, "image", "a CLIP image tower for image-to-video"),
    ):
        about = json.loads(vitascope("inspect", path, "--json").out)
        assert (about["kind"], about["part"], about["is"]) == ("part", part, says)
        assert about["bytes"] > 0
        assert about["sizes"]
    shutil.copy(official.vae, "blob")
    assert json.loads(vitascope("inspect", "blob", "--json").out)["part"] == "vae", "what it is tells its content"


def test_inspect_tells_of_a_gguf(vitascope: Run, official: Packed) -> None:
    gguf = pytest.importorskip("gguf")
    writer = gguf.GGUFWriter("wan.gguf", "wan")
    state = twins.transformer_state(twin(head=128, heads=1).transformer.state_dict())
    for name, value in state.items():
        if name.endswith("ffn.0.weight"):
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(value.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(value.shape))
            writer.add_tensor(name, value.numpy().reshape(-1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    about = json.loads(vitascope("inspect", "wan.gguf", "--json").out)
    assert (about["kind"], about["variant"], about["missing"]) == ("wan", "t2v", ["vae", "text", "tokenizer"])
    assert "Q8_0" in about["parts"]["transformer"]["dtypes"]
    assert about["parameters"] == sum(value.numel() for value in state.values())
    assert "wan.gguf  found" in vitascope("models").out


def test_inspect_reports_every_key_of_a_lora(vitascope: Run) -> None:
    keys: dict[str, torch.Tensor] = {}
    for k in range(3):
        keys[f"diffusion_model.blocks.{k}.self_attn.q.lora_A.weight"] = torch.ones(4, 24)
        keys[f"diffusion_model.blocks.{k}.self_attn.q.lora_B.weight"] = torch.ones(24, 4)
    keys["diffusion_model.blocks.0.norm3.diff"] = torch.ones(24)
    keys["lora_te_text_model.x.alpha"] = torch.ones(1)
    save_file(keys, "lora.safetensors")
    about = json.loads(vitascope("inspect", "lora.safetensors", "--json").out)
    assert (about["kind"], about["changes"], about["blocks"], about["ranks"]) == ("lora", 4, 3, [4])
    assert about["forms"] == {"LowRank": 3, "Added": 1}
    assert about["keys"] == {"down": 3, "up": 3, "diff": 1}
    [(why, ignored)] = about["ignored"].items()
    assert "text encoder" in why
    assert ignored == {"keys": 1, "first": "lora_te_text_model.x.alpha"}
    assert about["tensors"] == sum(about["keys"].values()) + ignored["keys"]
    assert "ignored:\n" in vitascope("inspect", "lora.safetensors").out


def test_inspect_refuses_in_one_sentence(vitascope: Run, official: Packed) -> None:
    whole = (official.root / "diffusion_pytorch_model.safetensors").read_bytes()
    pickled = official.vae.read_bytes()
    faults: dict[str, tuple[bytes, str]] = {
        "cut.safetensors": (whole[:-1], "was cut off"),
        "padded.safetensors": (whole + b"\0", "something added"),
        "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        "page.pth": (b"<!DOCTYPE html><html></html>", "web page"),
        "empty.pth": (b"", "empty"),
        "cut.pth": (pickled[: len(pickled) // 2], "fetch the file again"),
        "bare.pth": (b"\x80\x02cposix\nsystem\nX\x05\0\0\0touch\x85R.", "pickle"),
        "cut.gguf": (b"GGUF\x03\0\0\0" + b"\xff" * 16, "GGUF"),
        "none.safetensors.index.json": (b"[]", "no"),
        "out.safetensors.index.json": (b'{"weight_map": {"a": "../a.safetensors"}}', "leads out of its folder"),
        "model_index.json": (b'{"boundary_ratio": 0.9}', "Wan2.2-A14B"),
    }
    for name, (content, says) in faults.items():
        Path(name).write_bytes(content)
        told = vitascope("inspect", name)
        assert (told.code, told.out, len(told.err)) == (2, "", 1), name
        assert says in told.err[0], told.err
        Path(name).unlink()
    save_file({"lora_unet_double_blocks_0_img.lora_down.weight": torch.ones(2, 2)}, "flux.safetensors")
    for path in ("flux.safetensors", "gone.safetensors", "."):
        told = vitascope("inspect", path)
        assert (told.code, told.out, len(told.err)) == (2, "", 1), path
    Path("empty").mkdir()
    assert "no recipe.json" in vitascope("inspect", "empty").err[0]


def test_inspect_tells_of_weights_that_are_not_wan(vitascope: Run) -> None:
    save_file({"double_blocks.0.x": torch.zeros(2), "single_blocks.0.x": torch.zeros(3).half()}, "a.safetensors")
    about = json.loads(vitascope("inspect", "a.safetensors", "--json").out)
    assert (about["kind"], about["tensors"], about["parameters"]) == ("weights", 2, 5)
    assert "Flux" in about["is"]
    assert about["dtypes"] == {"fp32": 8, "fp16": 6}
