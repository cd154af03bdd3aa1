"""The autoencoder against diffusers' own class, against itself in chunks, and against the promise that no frame sees a later one."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from vitascope.models.vae import VAE, VAEConfig

PLAIN = VAEConfig(z=3, base=8, mults=(1, 2, 4, 4), blocks=1)
RESIDUAL = VAEConfig(z=3, base=6, decoder_base=8, mults=(1, 2, 4, 4), blocks=1, patch=2, residual=True)
SHORT = VAEConfig(z=4, base=8, mults=(1, 4, 4), blocks=1, temporal=(True, True), patch=2, residual=True)
DEEP = VAEConfig(z=3, base=4, mults=(2, 4, 4), blocks=2, temporal=(True, True))
FORMS = pytest.mark.parametrize("config", [PLAIN, RESIDUAL, SHORT, DEEP], ids=["plain", "residual", "short", "deep"])


def build(config: VAEConfig, dtype: torch.dtype = torch.float32) -> VAE:
    """Random weights of a size that keeps signals alive, gamma and biases included."""
    torch.manual_seed(0)
    vae = VAE(config).to(dtype)
    with torch.no_grad():
        for name, parameter in vae.named_parameters():
            if name.endswith("gamma"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.uniform_(-0.3, 0.3)
    return vae.requires_grad_(False)


def clip(config: VAEConfig, frames: int, dtype: torch.dtype = torch.float32, rows: int = 1) -> Tensor:
    _, high, wide = config.stride
    return (
        torch.rand(rows, 3, frames, 2 * high, 3 * wide, generator=torch.Generator().manual_seed(1), dtype=dtype) * 2 - 1
    )


def to_diffusers(name: str, config: VAEConfig) -> str:
    """One parameter's name in the published files to its name in diffusers."""
    if name.startswith("conv"):
        return name.replace("conv1", "quant_conv").replace("conv2", "post_quant_conv")
    tower, part, rest = name.split(".", 2)
    if part == "conv1":
        return f"{tower}.conv_in.{rest}"
    if part == "head":
        return f"{tower}." + rest.replace("0.", "norm_out.", 1).replace("2.", "conv_out.", 1)
    index, rest = rest.split(".", 1)
    if part == "middle":
        block = {"0": "resnets.0", "1": "attentions.0", "2": "resnets.1"}[index]
        return f"{tower}.mid_block.{block}.{_inside(rest)}"
    if config.residual:
        nested, rest = re.fullmatch(r"\w+samples\.(\d+)\.(.*)", rest).groups()  # type: ignore[union-attr]
        blocks = {"downsamples": "down_blocks", "upsamples": "up_blocks"}[part]
        sampler = {"downsamples": "downsampler", "upsamples": "upsampler"}[part]
        where = sampler if rest.startswith(("resample", "time_conv")) else f"resnets.{nested}"
        return f"{tower}.{blocks}.{index}.{where}.{_inside(rest)}"
    if part == "downsamples":
        return f"{tower}.down_blocks.{index}.{_inside(rest)}"
    level, place = divmod(int(index), config.blocks + 2)
    where = "upsamplers.0" if place > config.blocks else f"resnets.{place}"
    return f"{tower}.up_blocks.{level}.{where}.{_inside(rest)}"


def _inside(name: str) -> str:
    table = {"residual.0": "norm1", "residual.2": "conv1", "residual.3": "norm2", "residual.6": "conv2"}
    table["shortcut"] = "conv_shortcut"
    for old, new in table.items():
        if name.startswith(old + "."):
            return new + name[len(old) :]
    return name


def oracle(vae: VAE) -> AutoencoderKLWan:
    c = vae.config
    channels = 3 * c.patch**2
    other = AutoencoderKLWan(
        base_dim=c.base,
        decoder_base_dim=c.decoder_base,
        z_dim=c.z,
        dim_mult=list(c.mults),
        num_res_blocks=c.blocks,
        temperal_downsample=list(c.temporal),
        is_residual=c.residual,
        patch_size=None if c.patch == 1 else c.patch,
        in_channels=channels,
        out_channels=channels,
    )
    other.load_state_dict({to_diffusers(name, c): tensor for name, tensor in vae.state_dict().items()}, strict=True)
    return other.requires_grad_(False)


def close(ours: Tensor, theirs: Tensor, limit: float) -> None:
    assert ours.shape == theirs.shape
    assert (ours - theirs).norm() <= limit * theirs.norm()


@FORMS
@pytest.mark.parametrize("frames", [1, 5, 17, 33])
def test_encodes_and_decodes_as_diffusers_does(config: VAEConfig, frames: int) -> None:
    vae = build(config)
    other = oracle(vae)
    video = clip(config, frames)
    mu, logvar = vae.moments(video)
    theirs = other.encode(video).latent_dist  # type: ignore[union-attr]
    close(mu, theirs.mean, 1e-5)
    close(logvar.clamp(-30, 20), theirs.logvar, 1e-5)
    z = theirs.mean / theirs.mean.std()
    decoded = vae.decode(z)
    close(decoded, other.decode(z).sample, 1e-5)  # type: ignore[union-attr]
    assert decoded.std() > 0.05
