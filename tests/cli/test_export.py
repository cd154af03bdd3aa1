"""vitascope export: one line for a mistake, a whole folder or none, and the bundle back as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from vitascope import bundle
from vitascope.checkpoints import export

Run = Callable[..., Any]


@pytest.fixture
def trained(toy: Path, tmp_path: Path) -> Path:
    """The toy, moved off its silent start as any training would: a tensor of zeros is refused in a file."""
    system = bundle.load(toy)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in system.parts().values():
            for value in module.parameters():
                value.add_(0.05 * torch.randn(value.shape, generator=draw))
    bundle.save(tmp_path / "trained", system)
    return tmp_path / "trained"


def test_there_and_back(vitascope: Run, trained: Path) -> None:
    there = vitascope("export", trained, "--to", "diffusers", "out")
    assert (there.code, there.out, there.err, there.files) == (0, "out\n", [], ["out"])
    assert {path.name for path in Path("out").iterdir()} == {
        *("model_index.json", "README.md", "scheduler", "transformer", "vae", "vitascope"),
    }
    back = vitascope("export", "out", "--to", "vitascope", "back")
    assert (back.code, back.out, back.err, back.files) == (0, "back\n", [], ["back", "out"])
    assert bundle.digests(Path("back")) == bundle.digests(trained)


def test_what_is_there_stays_without_force(vitascope: Run, trained: Path) -> None:
    vitascope("export", trained, "--to=diffusers", "out")
    Path("out", "README.md").write_text("mine")
    told = vitascope("export", trained, "--to=diffusers", "out")
    assert (told.code, told.out, told.files) == (2, "", ["out"])
    assert "add --force" in told.err[0]
    assert Path("out", "README.md").read_text() == "mine"
    assert vitascope("export", trained, "--to=diffusers", "out", "--force").code == 0
    assert Path("out", "README.md").read_text() != "mine"
    Path("out", "vae", "notes.txt").write_text("mine")
    told = vitascope("export", trained, "--to=diffusers", "out", "--force")
    assert told.code == 2
    assert "beside the export it holds vae/notes.txt, which would be lost" in told.err[0]
    Path("out", "vae", "notes.txt").unlink()
    vitascope("export", "out", "--to=vitascope", "back")
    before = bundle.digests(Path("back"))
    told = vitascope("export", "out", "--to=vitascope", "back")
    assert (told.code, told.out) == (2, "")
    assert "this is there already; add --force" in told.err[0]
    assert vitascope("export", "out", "--to=vitascope", "back", "--force").code == 0
    assert bundle.digests(Path("back")) == before


def test_rounding_is_told(vitascope: Run, trained: Path) -> None:
    vitascope("export", trained, "--to=diffusers", "out")
    path = Path("out") / export.TRANSFORMER
    tensors = load_file(path)
    tensors["proj_out.weight"] = tensors["proj_out.weight"] + 1e-6
    save_file(tensors, path)
    told = vitascope("export", "out", "--to=vitascope", "back")
    assert (told.code, told.out) == (0, "back\n")
    assert told.json == [
        {"warning": "1 tensor was rounded to bf16, in which a bundle keeps matrices: head.head.weight"}
    ]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["export"], "it needs a MODEL"),
        (["export", "storybook"], "write --to diffusers"),
        (["export", "storybook", "--to", "diffusers"], "vitascope export storybook --to diffusers my-folder"),
        (["export", "storybook", "--to", "difusers", "out"], "the nearest is diffusers"),
        (["export", "storybook", "--to", "comfy", "out"], "there are diffusers and vitascope"),
        (["export", "storibook", "--to", "diffusers", "out"], "did you mean 'storybook'"),
        (["export", "storybook", "--to", "diffusers", "x" * 300], "255 bytes"),
        (["export", "missing", "--to", "vitascope", "out"], "no folder that `vitascope export` wrote"),
        (["export", "storybook", "--to", "diffusers", "a", "b"], "'b'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_writes_nothing(vitascope: Run, argv: list[str], says: str) -> None:
    told = vitascope(*argv)
    assert (told.code, told.out, told.files) == (2, "", [])
    assert len(told.err) == 1
    assert says in told.err[0]


def lora(path: Path, **more: torch.Tensor) -> dict[str, torch.Tensor]:
    """A LoRA by ComfyUI's names, of rank 2 with alpha 1, so that its scale is a half."""
    draw = torch.Generator().manual_seed(0)
    place = "diffusion_model.blocks.0.self_attn.q"
    tensors = {
        f"{place}.lora_down.weight": torch.randn(2, 8, generator=draw),
        f"{place}.lora_up.weight": torch.randn(8, 2, generator=draw),
        f"{place}.alpha": torch.tensor(1.0),
        **more,
    }
    save_file(tensors, path)
    return tensors


def test_a_lora_goes_to_other_names_and_back(vitascope: Run) -> None:
    before = lora(Path("style.safetensors"))
    there = vitascope("export", "style.safetensors", "--to", "diffusers", "theirs.safetensors")
    assert (there.code, there.out) == (0, "theirs.safetensors\n")
    theirs = load_file("theirs.safetensors")
    assert set(theirs) == {f"transformer.blocks.0.attn1.to_q.lora_{side}.weight" for side in "AB"}
    down, up, _ = before.values()
    product = (
        theirs["transformer.blocks.0.attn1.to_q.lora_B.weight"]
        @ theirs["transformer.blocks.0.attn1.to_q.lora_A.weight"]
    )
    torch.testing.assert_close(product, 0.5 * up @ down)
    assert vitascope("export", "theirs.safetensors", "--to", "comfy", "back.safetensors").code == 0
    back = {name.rsplit("blocks.", 1)[1]: value for name, value in load_file("back.safetensors").items()}
    torch.testing.assert_close(
        back["0.self_attn.q.lora_up.weight"] @ back["0.self_attn.q.lora_down.weight"], 0.5 * up @ down
    )


def test_what_is_left_out_of_a_lora_is_told(vitascope: Run) -> None:
    lora(Path("style.safetensors"), **{"text_encoders.x.lora_down.weight": torch.zeros(1, 1)})
    told = vitascope("export", "style.safetensors", "--to", "comfy", "out.safetensors")
    assert told.code == 0
    assert "1 key changes nothing and was left out, as text_encoders.x" in told.err[-1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--to", "vitascope", "out.safetensors"], "there are diffusers and comfy"),
        (["--to", "comfi", "out.safetensors"], "the nearest is comfy"),
        (["--to", "comfy", "out"], "end its name in .safetensors"),
        (["--to", "comfy", "style.safetensors"], "add --force"),
        (["--to", "comfy"], "it needs a folder"),
    ],
)
def test_wrong_words_about_a_lora(vitascope: Run, words: list[str], why: str) -> None:
    lora(Path("style.safetensors"))
    before = Path("style.safetensors").read_bytes()
    told = vitascope("export", "style.safetensors", *words)
    assert (told.code, told.out) == (2, "")
    assert why in told.err[-1]
    assert sorted(p.name for p in Path().iterdir() if p.is_file()) == ["style.safetensors"]
    assert Path("style.safetensors").read_bytes() == before


def test_a_file_that_is_no_lora_is_refused(vitascope: Run) -> None:
    save_file({"blocks.0.self_attn.q.weight": torch.ones(2, 2)}, "model.safetensors")
    told = vitascope("export", "model.safetensors", "--to", "comfy", "out.safetensors")
    assert (told.code, told.out) == (2, "")
    assert not Path("out.safetensors").exists()
