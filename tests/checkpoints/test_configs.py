"""Configs and shapes: every published model is recognised with and without its config, and no config is believed or followed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from vitascope.checkpoints import configs, recognition
from vitascope.checkpoints.recognition import Shapes
from vitascope.errors import BadModel
from vitascope.models.clip import VIT_H_14, VisionTransformer
from vitascope.models.dit import DiT, DiTConfig
from vitascope.models.outline import outlined
from vitascope.models.umt5 import UMT5, UMT5Config
from vitascope.models.vace import VaceConfig, VaceDiT
from vitascope.models.vae import VAE, VAEConfig

SMALL: dict[str, Any] = {"width": 1536, "heads": 12, "layers": 30, "ffn": 8960}
LARGE: dict[str, Any] = {"width": 5120, "heads": 40, "layers": 40, "ffn": 13824}
PICTURED: dict[str, Any] = {"in_channels": 36, "image_width": 1280}
# The table of published models: variant, sizes, layers with hints, tensors, parameters.
PUBLISHED = {
    "T2V-1.3B": ("t2v", SMALL, (), 825, 1_418_996_800),
    "T2V-14B": ("t2v", LARGE, (), 1095, 14_288_491_584),
    "I2V-14B": ("i2v", LARGE | PICTURED, (), 1303, 16_394_878_784),
    "FLF2V-14B": ("flf2v", LARGE | PICTURED | {"image_tokens": 514}, (), 1304, 16_395_536_704),
    "VACE-1.3B": ("vace", SMALL, tuple(range(0, 30, 2)), 1264, 2_153_972_032),
    "VACE-14B": ("vace", LARGE, tuple(range(0, 40, 5)), 1331, 17_337_592_896),
}


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def network(name: str) -> tuple[DiT, Shapes]:
    _, sizes, layers, *_ = PUBLISHED[name]
    with outlined():
        net = VaceDiT(VaceConfig(**sizes, vace_layers=layers)) if layers else DiT(DiTConfig(**sizes))
    return net, shapes(net)


def official(name: str) -> dict[str, Any]:
    variant, sizes, layers, *_ = PUBLISHED[name]
    told = {"_class_name": "WanModel", "_diffusers_version": "0.30.0", "dim": sizes["width"], "eps": 1e-06}
    told |= {"ffn_dim": sizes["ffn"], "freq_dim": 256, "in_dim": sizes.get("in_channels", 16), "model_type": variant}
    told |= {"num_heads": sizes["heads"], "num_layers": sizes["layers"], "out_dim": 16, "text_len": 512}
    return told | ({"vace_layers": list(layers), "vace_in_dim": 96} if layers else {})


def diffusers(name: str) -> dict[str, Any]:
    _, sizes, layers, *_ = PUBLISHED[name]
    told = {"_class_name": "WanTransformer3DModel", "_diffusers_version": "0.33.0.dev0", "attention_head_dim": 128}
    told |= {
        "added_kv_proj_dim": sizes["width"] if "image_width" in sizes else None,
        "cross_attn_norm": True,
        "eps": 1e-06,
    }
    told |= {"ffn_dim": sizes["ffn"], "freq_dim": 256, "image_dim": sizes.get("image_width"), "out_channels": 16}
    told |= {"in_channels": sizes.get("in_channels", 16), "num_attention_heads": sizes["heads"], "text_dim": 4096}
    told |= {"num_layers": sizes["layers"], "patch_size": [1, 2, 2], "pos_embed_seq_len": sizes.get("image_tokens")}
    told |= {"qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024}
    return told | ({"vace_layers": list(layers), "vace_in_channels": 96} if layers else {})


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_model_is_recognised_with_and_without_its_config(name: str) -> None:
    variant, sizes, layers, tensors, parameters = PUBLISHED[name]
    net, found = network(name)
    assert len(found) == tensors
    assert sum(p.numel() for p in net.parameters()) == parameters
    for config in (None, official(name), diffusers(name)):
        told = configs.network(found, "weights", config)
        assert told.variant == variant
        assert told.config == DiTConfig(**sizes)
        assert told.vace_layers == layers
        assert not told.notices


def test_the_other_parts_are_recognised_by_their_shapes() -> None:
    with outlined():
        vae, text, tower = VAE(VAEConfig()), UMT5(UMT5Config()), VisionTransformer(VIT_H_14)
    assert len(vae.state_dict()) == 194
    assert recognition.autoencoder(shapes(vae), "vae") == VAEConfig()
    assert len(text.state_dict()) == 242
    assert UMT5Config(**recognition.text_sizes(shapes(text), "text")) == UMT5Config()
    assert recognition.tower_sizes(shapes(tower), "tower") == {
        **{"width": 1280, "layers": 32, "ffn": 5120, "patch": 14, "side": 224}
    }


@pytest.mark.parametrize(
    "config",
    [
        VAEConfig(z=48, base=160, decoder_base=256, patch=2, residual=True),
        VAEConfig(z=4, base=8, mults=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True),
        VAEConfig(z=6, base=8, mults=(1, 3), blocks=3, temporal=(True,)),
    ],
)
def test_other_autoencoders_too(config: VAEConfig) -> None:
    with outlined():
        vae = VAE(config)
    assert recognition.autoencoder(shapes(vae), "vae") == config


def small(**changed: Any) -> dict[str, tuple[int, ...]]:
    with outlined():
        return shapes(DiT(DiTConfig(**{"width": 128, "heads": 1, "layers": 2, "ffn": 64, **changed})))


def refusal(found: Shapes, config: dict[str, Any] | None = None) -> str:
    with pytest.raises(BadModel) as told:
        configs.network(found, "file.safetensors", config)
    assert "\n" not in str(told.value)
    assert str(told.value).endswith(".")
    return str(told.value)


@pytest.mark.parametrize(
    ("found", "what"),
    [
        (small(in_channels=48, out_channels=48), "Wan2.2-TI2V-5B"),
        (small(in_channels=36), "Wan2.2-I2V-A14B"),
        (small(in_channels=48), "Wan2.1-Fun Control"),
        (small(in_channels=32), "Wan2.1-Fun with camera"),
        (small() | {"control_adapter.conv.weight": (1, 1)}, "camera control"),
        (small() | {"ref_conv.weight": (1, 1)}, "Fun V1.1 Control"),
        (small(**PICTURED) | {"face_adapter.fuser_blocks.0.k_norm.weight": (1,)}, "Wan2.2-Animate"),
        (small() | {"casual_audio_encoder.weights": (1,)}, "Wan2.2-S2V"),
        (small(in_channels=20), "20 channels"),
        (
            {"vace_blocks.0.after_proj.weight": (4, 4), "vace_patch_embedding.weight": (4, 96, 1, 2, 2)},
            "VACE blocks alone",
        ),
        ({"encoder.downsamples.0.x": (1,), "decoder.upsamples.0.x": (1,)}, "an autoencoder of Wan's form"),
        ({}, "something that is not known"),
        ({k: v for k, v in small().items() if not k.startswith("blocks.0.")}, "lacks blocks.0"),
        (small() | {"head.modulation": (1, 2, 130)}, "no multiple of the 128"),
        (small() | {"head.modulation": (128,)}, "the shape [128]"),
        (small() | {"patch_embedding.weight": (128, 16, 0, 2, 2)}, "the shape [128, 16, 0, 2, 2]"),
    ],
)
def test_what_is_not_run_here_is_named(found: Shapes, what: str) -> None:
    assert what in refusal(found)


BASE = {"num_heads": 1, "num_layers": 2, "ffn_dim": 64, "dim": 128}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"num_layers": 30}, "it says num_layers is 30 and the weights in file.safetensors have 2"),
        ({"ffn_dim": 8960}, "ffn_dim"),
        ({"in_dim": 36}, "in_dim"),
        ({"dim": 10**30}, "dim"),
        ({"dim": "wide"}, 'dim is "wide"'),
        ({"qk_norm": 1}, "qk_norm"),
        ({"model_type": "i2v"}, "model_type 'i2v'"),
        ({"num_heads": 0}, "num_heads is 0"),
        ({"num_heads": True}, "num_heads is true"),
        ({"num_heads": 12.0}, "num_heads is 12.0"),
        ({"num_heads": [1]}, "num_heads is [1]"),
        ({"num_heads": 10**9}, "a whole number from 1 to"),
        ({"num_heads": None}, "does not say num_heads"),
        ({"num_heads": 3}, "heads must divide width"),
        ({"eps": -1.0}, "eps is -1.0"),
        ({"eps": 10**400}, "eps is 1000"),
        ({"eps": "small"}, "eps"),
        ({"window_size": [3, 3]}, "window_size"),
        ({"text_len": 256}, "text_len"),
        ({"patch_size": [1, 2, 4]}, "patch_size"),
    ],
)
def test_a_config_that_disagrees_with_the_weights_is_told(change: dict[str, Any], what: str) -> None:
    assert what in refusal(small(), BASE | change)


def test_a_head_width_that_disagrees_is_told_where_it_shows() -> None:
    assert "2 heads of 128 are 256 wide" in refusal(small(), {"num_attention_heads": 2, "attention_head_dim": 128})
    assert configs.network(small(), "file", {"num_attention_heads": 2, "attention_head_dim": 64}).config.heads == 2


def test_unknown_keys_are_noticed_and_nothing_hostile_is_followed() -> None:
    hostile = {"auto_map": {"AutoModel": "evil.Model"}, "_attn_implementation": "evil/kernel", "ffn_dimm": 3}
    told = configs.network(small(), "file", BASE | hostile)
    assert told.config == configs.network(small(), "file").config
    assert told.notices == ["config.json: nothing is made of auto_map, _attn_implementation, ffn_dimm"]
    assert configs.network(small(), "file", BASE | {"ffn_dimm": 3}).notices == [
        "config.json: nothing is made of ffn_dimm (is ffn_dim meant?)"
    ]


@pytest.mark.parametrize("layers", [[1], [0, 0], [0, 2], "0", [0.0], [0, 1]])
def test_layers_of_hints_that_cannot_be(layers: Any) -> None:
    with outlined():
        found = shapes(VaceDiT(VaceConfig(width=128, heads=1, layers=2, ffn=64, vace_layers=(0,))))
    assert "vace_layers" in refusal(found, BASE | {"vace_layers": layers})
    assert configs.network(found, "file", BASE | {"vace_layers": [0]}).vace_layers == (0,)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no JSON"),
        ("[1]", "no table"),
        ('{"eps": NaN}', "NaN is no number"),
        ('{"eps": -Infinity}', "-Infinity is no number"),
        ("[" * 100_000, "no JSON"),
        ('{"a": "' + "x" * 1_000_001 + '"}', "bytes"),
        (b"\xff\xfe{}", "no JSON"),
    ],
)
def test_a_file_that_is_no_config(tmp_path: Path, text: str | bytes, what: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadModel, match=what) as told:
        configs.read(path)
    assert "\n" not in str(told.value)


VAE_CONFIG = {
    **{"_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2},
    **{"attn_scales": [], "temperal_downsample": [False, True, True], "dropout": 0.0},
    **{"latents_mean": list(configs.WAN_MEAN), "latents_std": list(configs.WAN_STD)},
}


def test_an_autoencoders_config_gives_the_whitening() -> None:
    mean, std, notices = configs.autoencoder(VAE_CONFIG | {"clip_output": False}, VAEConfig(), "vae", "config.json")
    assert (mean, std) == (configs.WAN_MEAN, configs.WAN_STD)
    assert notices == ["config.json: nothing is made of clip_output"]


def test_the_whitening_is_that_of_diffusers() -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    told = AutoencoderKLWan(base_dim=8).config
    assert list(configs.WAN_MEAN) == list(told.latents_mean)  # type: ignore[attr-defined]
    assert list(configs.WAN_STD) == list(told.latents_std)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "change",
    [
        {"z_dim": 48},
        {"dim_mult": [1, 2]},
        {"latents_mean": [0.0]},
        {"latents_std": [0.0] * 16},
        {"latents_std": [float("inf")] * 16},
        {"latents_mean": [float("nan")] * 16},
        {"latents_mean": "none"},
        {"attn_scales": [1.0]},
    ],
)
def test_an_autoencoders_config_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(BadModel, match=next(iter(change))):
        configs.autoencoder(VAE_CONFIG | change, VAEConfig(), "vae", "config.json")


def test_a_text_encoders_config() -> None:
    sizes = {"vocab": 10, "width": 4, "head_width": 2, "heads": 2, "ffn": 8, "layers": 1, "buckets": 32}
    told = {
        "model_type": "umt5",
        "d_model": 4,
        "relative_attention_max_distance": 64,
        "auto_map": {},
        "is_encoder_decoder": True,
    }
    assert configs.text(told, sizes, "text", "c") == ({"furthest": 64}, ["c: nothing is made of auto_map"])
    for change in ({"d_model": 8}, {"model_type": "t5"}, {"layer_norm_epsilon": 0}, {"pad_token_id": 3}):
        with pytest.raises(BadModel, match=next(iter(change))):
            configs.text(told | change, sizes, "text", "c")


def test_a_schedulers_config() -> None:
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    theirs = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    told = json.loads(theirs.to_json_string())
    facts, notices = configs.scheduler(told, "scheduler_config.json")
    assert facts == {"name": "UniPCMultistepScheduler", "flow_shift": 3.0, "solver_order": 2}
    assert not notices
    for change in ({"prediction_type": "epsilon"}, {"flow_shift": 0}, {"flow_shift": "5"}, {"use_flow_sigmas": False}):
        with pytest.raises(BadModel, match=next(iter(change))):
            configs.scheduler(told | change, "scheduler_config.json")
