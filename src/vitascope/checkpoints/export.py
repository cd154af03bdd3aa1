"""Our model in the layout of diffusers: a folder that its WanPipeline loads, written without it.

The transformer and the autoencoder are Wan's own, only smaller, so that every tensor has its place there, unchanged, but for
the one that tells tokens where they are: a hook adds what that says. The text tower has no place either: WanPipeline knows
UMT5 alone and is handed what ours says, as the folder's README shows.

Source: the files of Wan-AI/Wan2.1-T2V-1.3B-Diffusers, and what the classes named in them take.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vitascope.checkpoints import names
from vitascope.codec import VideoCodec
from vitascope.errors import BadModel
from vitascope.models.dit import PLACES, DiTConfig
from vitascope.models.vae import VAEConfig
from vitascope.recipe import Recipe
from vitascope.shot import Guidance

INDEX, SCHEDULER = "model_index.json", "scheduler/scheduler_config.json"
TRANSFORMER, TRANSFORMER_CONFIG = "transformer/diffusion_pytorch_model.safetensors", "transformer/config.json"
AUTOENCODER, AUTOENCODER_CONFIG = "vae/diffusion_pytorch_model.safetensors", "vae/config.json"
README = "README.md"

CLASSES = "0.35.0"
"""The release of diffusers that brought the autoencoder's residual form; the files say that they are of it."""


def configs(recipe: Recipe, mean: list[float], std: list[float]) -> dict[str, dict[str, Any]]:
    """What diffusers reads beside the tensors, by the file's place in the folder; mean and std whiten the latents.

    Raises BadModel where diffusers' classes cannot be told what the recipe says.
    """
    return {
        INDEX: _index(),
        SCHEDULER: _scheduler(recipe.defaults.shift),
        TRANSFORMER_CONFIG: _transformer(recipe.network, recipe.name),
        AUTOENCODER_CONFIG: _autoencoder(recipe.codec, recipe.name, mean, std),
    }


def _index() -> dict[str, Any]:
    nothing = [None, None]
    return {
        **_of("WanPipeline"),
        "boundary_ratio": None,
        "expand_timesteps": False,
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        "text_encoder": nothing,
        "tokenizer": nothing,
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "transformer_2": nothing,
        "vae": ["diffusers", "AutoencoderKLWan"],
    }


def _scheduler(shift: float) -> dict[str, Any]:
    """UniPC on the times of `physics.times.wan_diffusers`."""
    return {
        **_of("UniPCMultistepScheduler"),
        "num_train_timesteps": 1000,
        **{"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear"},  # asked for, and of no effect on flows
        **{"solver_order": 2, "solver_type": "bh2", "predict_x0": True, "lower_order_final": True},
        **{"disable_corrector": [], "solver_p": None, "thresholding": False},
        **{"final_sigmas_type": "zero", "timestep_spacing": "linspace"},
        **{"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": shift},
    }


def _transformer(config: DiTConfig, name: str) -> dict[str, Any]:
    if not config.qk_norm:
        raise BadModel(
            f"{name} for diffusers: its network has qk_norm = false and WanTransformer3DModel norms queries and keys always; "
            "export a model that does."
        )
    if config.prior:
        raise BadModel(
            f"{name} for diffusers: its network tells priors, means and deviations, and WanTransformer3DModel the velocity itself; "
            "export a model whose network does."
        )
    return {
        **_of("WanTransformer3DModel"),
        **{"num_attention_heads": config.heads, "attention_head_dim": config.width // config.heads},
        **{"num_layers": config.layers, "ffn_dim": config.ffn, "patch_size": list(config.patch)},
        **{"in_channels": config.in_channels, "out_channels": config.out_channels},
        **{"text_dim": config.text_width, "freq_dim": config.freq_width, "eps": config.eps},
        **{"cross_attn_norm": config.cross_norm, "qk_norm": "rms_norm_across_heads"},
        **{"rope_max_seq_len": 1024, "image_dim": None, "added_kv_proj_dim": None, "pos_embed_seq_len": None},
    }


def _autoencoder(config: VAEConfig, name: str, mean: list[float], std: list[float]) -> dict[str, Any]:
    if config.linear:
        raise BadModel(
            f"{name} for diffusers: the latents of its codec are principal components, which AutoencoderKLWan does not know; "
            "export a model whose codec has an encoder."
        )
    time, space, _ = config.stride
    pixels = config.pixels * config.patch**2
    return {
        **_of("AutoencoderKLWan"),
        **{"base_dim": config.base, "decoder_base_dim": config.decoder_base, "z_dim": config.z},
        **{"dim_mult": list(config.mults), "num_res_blocks": config.blocks, "attn_scales": [], "dropout": 0.0},
        "temperal_downsample": list(config.temporal),  # spelled so in the class
        **{"is_residual": config.residual, "patch_size": None if config.patch == 1 else config.patch},
        **{"in_channels": pixels, "out_channels": pixels},
        **{"scale_factor_temporal": time, "scale_factor_spatial": space},
        **{"latents_mean": mean, "latents_std": std},
    }


def _of(name: str) -> dict[str, Any]:
    return {"_class_name": name, "_diffusers_version": CLASSES}


def transformer_names(ours: Iterable[str]) -> dict[str, str]:
    """What each tensor of a `DiT` is called in `TRANSFORMER`, which has none that tells tokens their places."""
    return {name: _theirs(names.TRANSFORMER, name) for name in ours if name != PLACES}


def autoencoder_names(ours: Iterable[str], config: VAEConfig) -> dict[str, str]:
    """What each tensor of a `VideoCodec` is called in `AUTOENCODER`; the whitening is not there but in the config."""
    table = names.autoencoder(config.blocks, len(config.mults), config.residual)
    return {name: _theirs(table, name.removeprefix("vae.")) for name in ours if name.startswith("vae.")}


def _theirs(table: names.Names, name: str) -> str:
    told = table.theirs(name)
    if told is None:
        raise KeyError(name)
    return told


def write_diffusers(folder: Path, recipe: Recipe, codec: VideoCodec, network: Mapping[str, Tensor]) -> None:
    """All that diffusers reads of a system, and the README, into an empty folder; tensors in float32, as on the hub.

    network: the tensors of its `DiT`. Raises BadModel where diffusers' classes have no such form, OSError.
    """
    tables = configs(recipe, codec.mean.double().tolist(), codec.std.double().tolist())
    for place, table in tables.items():
        put(folder / place, json.dumps(table, indent=2) + "\n")
    own = codec.state_dict()
    for place, tensors, table in (
        (TRANSFORMER, network, transformer_names(network)),
        (AUTOENCODER, own, autoencoder_names(own, recipe.codec)),
    ):
        theirs = {name: tensors[ours].detach().to("cpu", torch.float32).contiguous() for ours, name in table.items()}
        put(folder / place, save(theirs, metadata={"format": "pt"}))  # without this diffusers warns of each file
    put(folder / README, readme(recipe))


def put(path: Path, content: str | bytes) -> None:
    """Write a file, and its folder where there is none, down to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        file.flush()
        os.fsync(file.fileno())


def readme(recipe: Recipe) -> str:
    """How the folder is run, with a block of Python that runs in it as it stands."""
    video, defaults = recipe.video, recipe.defaults
    time, rows, columns = recipe.codec.stride
    guidance = Guidance.parse(defaults.guidance)
    beyond = "" if guidance.constant else f"  # the model's own is {guidance}, which WanPipeline cannot follow"
    # WanPipeline takes multiples of 16 alone, whatever the model could make.
    height, width = (
        _up(side, math.lcm(16, stride * join))
        for side, stride, join in zip((video.height, video.width), (rows, columns), recipe.network.patch[1:])
    )
    latent = (recipe.codec.z, 1 + (video.frames - 1) // time, height // rows, width // columns)
    return _README.format(
        name=recipe.name,
        latent=latent,
        size=f"height={height}, width={width}, num_frames={video.frames}",
        steps=defaults.steps,
        scale=f"{guidance.start},{beyond}",
        imported="places_told, text_tower" if recipe.network.places else "text_tower",
        told=_TOLD if recipe.network.places else "",
        hooked=", with the hook below, without which its films are others" if recipe.network.places else "",
        fps=f"{video.fps:g}",
    )


def _up(number: int, unit: int) -> int:
    return -(-number // unit) * unit


_TOLD = """\
pipe.transformer.patch_embedding.register_forward_hook(places_told("."))  # which diffusers' class has no tensor for
"""

_README = """\
# {name}, for diffusers

A model of vitascope in the layout of diffusers: the transformer of Wan 2.1 and the causal autoencoder in the residual form
of Wan 2.2, only smaller. `WanPipeline` runs it{hooked}. The text tower is vitascope's own (in `vitascope/`), so what it says of a
prompt is handed over as `prompt_embeds`. With vitascope, diffusers and transformers installed, run in this folder:

```python
import torch
from diffusers import WanPipeline

from vitascope import Noise, Video
from vitascope.exchange import {imported}

pipe = WanPipeline.from_pretrained(".", text_encoder=None, tokenizer=None)
{told}text = text_tower(".")
with torch.no_grad():
    prompt, negative = (text([words])["context"] for words in ("a red ball bounces across a snowfield at dusk", ""))
film = pipe(
    prompt_embeds=prompt,
    negative_prompt_embeds=negative,
    latents=Noise((7,)).normal("start", 0, {latent}),  # what vitascope draws for --seed 7
    {size},
    num_inference_steps={steps},
    guidance_scale={scale}
    output_type="pt",
).frames  # [1 t 3 h w] in [0, 1]
Video((film[0].permute(0, 2, 3, 1) * 255).round().to(torch.uint8), {fps}).save("film.mp4")
```

* One prompt at a time, without padding: diffusers attends to every token that it is given, and this model was trained to
  attend to real ones alone.
* The steps are those of diffusers' UniPC. What vitascope takes by itself begins at the same noise but steps on other times,
  and its film differs in details.
* `vitascope export . --to vitascope ../bundle` brings the model back, tensor for tensor.
"""
