"""The twins are the real thing: diffusers runs the folders, torch opens the pickles, and the names are Wan's."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.checkpoints.twin_names import autoencoder_state, transformer_state
from tests.checkpoints.twins import Variant, comfy, diffusers, kijai, lightx2v, official, pipeline, twin
from torch import Tensor

from vitascope.models.dit import DiT, DiTConfig
from vitascope.models.vae import VAE, VAEConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

VARIANTS = pytest.mark.parametrize("variant", ["t2v", "i2v", "flf2v", "vace"])
IGNORED = pytest.mark.filterwarnings("ignore")  # what diffusers says of itself


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def film(pipe: Any, variant: Variant) -> Tensor:
    """Two guided steps of diffusers' own pipeline: 5 frames of 32 x 48."""
    pixels = (draw(32, 48, 3, seed=3) * 60 + 128).clamp(0, 255).byte().numpy()
    first, last = Image.fromarray(pixels), Image.fromarray(pixels[:, ::-1].copy())
    given: dict[str, Any] = {"prompt": "a red fox runs", "negative_prompt": "blurred", "guidance_scale": 3.0}
    given |= {"height": 32, "width": 48, "num_frames": 5, "num_inference_steps": 2, "output_type": "pt"}
    given |= {"i2v": {"image": first}, "flf2v": {"image": first, "last_image": last}}.get(variant, {})
    return pipe(generator=torch.Generator().manual_seed(1), **given).frames


@IGNORED
@VARIANTS
@torch.no_grad()
def test_diffusers_runs_the_folder(variant: Variant, tmp_path: Path) -> None:
    t = twin(variant)
    packed = diffusers(t, tmp_path / "folder", shard="200KB" if variant == "t2v" else None)
    again: Any = DiffusionPipeline.from_pretrained(packed.root)
    again.set_progress_bar_config(disable=True)
    ours, theirs = film(pipeline(t), variant), film(again, variant)
    assert (ours - theirs).norm() < 1e-5 * ours.norm()  # sums are rounded otherwise where memory is aligned otherwise
    assert ours.std() > 0.03
    assert json.loads((packed.root / "model_index.json").read_text())["tokenizer"] == [
        "transformers",
        "T5TokenizerFast",
    ]
    if t.image is not None:
        assert all(
            name.startswith("vision_model.") for name in load_file(packed.root / "image_encoder/model.safetensors")
        )


@VARIANTS
@torch.no_grad()
def test_the_names_are_the_published_ones(variant: Variant) -> None:
    """Those of our own modules, which are held equal to diffusers elsewhere, and the counts of the published files."""
    t = twin(variant, layers=2)
    state = transformer_state(t.transformer.state_dict())
    blocks = [name for name in state if name.startswith("blocks.0.")]
    assert len(blocks) == (32 if t.image is not None else 27)
    if variant != "vace":
        c = t.transformer.config
        config = DiTConfig(
            width=48,
            heads=2,
            layers=2,
            ffn=96,
            in_channels=c.in_channels,
            text_width=c.text_dim,
            image_width=c.image_dim,
            image_tokens=c.pos_embed_seq_len,
        )
        DiT(config).load_state_dict(state, strict=True)
    else:
        assert {n for n in state if n.startswith("vace_blocks.0.")} == {
            *(f"vace_{name}" for name in blocks),
            *(f"vace_blocks.0.{part}_proj.{kind}" for part in ("before", "after") for kind in ("weight", "bias")),
        }
    codec = autoencoder_state(t.vae.state_dict())
    assert len(codec) == 194
    vae = VAE(VAEConfig(base=8))
    vae.load_state_dict(codec, strict=True)
    video = draw(1, 3, 5, 16, 16).clamp(-1, 1)
    theirs: Any = t.vae.encode(video)
    torch.testing.assert_close(vae.encode(video), theirs.latent_dist.mean, atol=1e-5, rtol=1e-4)


def test_the_official_folder(tmp_path: Path) -> None:
    t = twin("i2v")
    packed = official(t, tmp_path, shards=3)
    index = json.loads(packed.transformer.read_text())
    assert set(index["weight_map"]) == set(transformer_state(t.transformer.state_dict()))
    assert sorted(set(index["weight_map"].values())) == sorted(p.name for p in tmp_path.glob("*.safetensors"))
    words = torch.load(packed.text, weights_only=True)
    assert words["blocks.1.pos_embedding.embedding.weight"].shape == (32, 4)
    assert {value.dtype for value in words.values()} == {torch.bfloat16}
    assert torch.equal(words["token_embedding.weight"].float(), t.text.shared.weight)
    assert len(words) == 2 + 10 * 2
    assert packed.image is not None
    tower = torch.load(packed.image, weights_only=True)
    assert tower["visual.transformer.2.attn.to_qkv.weight"].shape == (480, 160)
    assert tower["visual.pos_embedding"].shape == (1, 257, 160)
    assert len([name for name in tower if name.startswith("visual.")]) == 9 + 12 * 3 - 1
    assert len(torch.load(packed.vae, weights_only=True)) == 194
    assert packed.tokenizer is not None
    assert (packed.tokenizer / "spiece.model").is_file()


@pytest.mark.parametrize("quantised", ["scaled_old", "scaled_new", "plain"])
def test_what_fp8_holds_is_near(quantised: Any, tmp_path: Path) -> None:
    t = twin("t2v")
    packed = comfy(t, tmp_path, quantised=quantised, prefix="diffusion_model.")
    state = load_file(packed.transformer)
    eighths = [name for name, value in state.items() if value.dtype == torch.float8_e4m3fn and value.ndim]
    assert len([name for name in eighths if name.endswith(".weight")]) == 20
    for mine, held in ((t.transformer, packed.holds.transformer), (t.text, packed.holds.text)):
        distance = sum(float((a - b).norm()) for a, b in zip(mine.parameters(), held.parameters()))
        size = sum(float(a.norm()) for a in mine.parameters())
        assert 1e-4 < distance / size < 0.05


@pytest.mark.parametrize("kind", ["fp8", "int8"])
def test_a_scale_for_each_row(kind: Any, tmp_path: Path) -> None:
    packed = lightx2v(twin("t2v"), tmp_path, kind=kind)
    state = load_file(packed.transformer)
    name = "blocks.1.ffn.0.weight"
    assert state[f"{name}_scale"].shape == (96, 1)
    held = packed.holds.transformer.blocks[1].ffn.net[0].proj.weight
    assert torch.equal(state[name].float() * state[f"{name}_scale"], held)


def test_every_dtype_holds_the_same_weights(tmp_path: Path) -> None:
    t = twin("i2v", head=128, heads=1, layers=1)
    files = [official(t, tmp_path / "a").transformer, kijai(t, tmp_path / "b").transformer]
    files.append(comfy(t, tmp_path / "c", prefix="").transformer)
    states = [load_file(file) for file in files]
    assert [state["head.head.weight"].dtype for state in states] == [torch.float32, torch.bfloat16, torch.float16]
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(value.float(), states[0][name]) for name, value in state.items())
    full = transformer_state(twin("i2v", short=False).transformer.state_dict())["head.head.weight"]
    assert not torch.equal(full.bfloat16().float(), full)
