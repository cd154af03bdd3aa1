"""The autoencoder against diffusers' own class, against itself in chunks, and against the promise of causality."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from torch import Tensor

from vitascope.models.causal import Enlarge, RMSNorm, average_down, duplicate_up
from vitascope.models.vae import VAE, ResidualBlock, VAEConfig, fold, unfold

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


@FORMS
@pytest.mark.parametrize("frames", [1, 5, 13])
def test_a_clip_in_chunks_is_the_clip_whole(config: VAEConfig, frames: int) -> None:
    vae = build(config, torch.float64)
    frames = 1 + (frames - 1) // 4 * config.stride[0]
    video = clip(config, frames, torch.float64, rows=2)
    whole = vae.moments(video)
    for a, b in zip(whole, vae.moments(video, chunked=True)):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert torch.equal(vae.encode(video), whole[0])
    z = torch.randn(whole[0].shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    pixels = vae.decode(z)
    for latents in (1, 2, 3):
        parts = torch.cat(list(vae.decode_chunks(z, latents)), 2)
        torch.testing.assert_close(pixels, parts, rtol=1e-10, atol=1e-12)


@FORMS
def test_one_latent_frame_is_one_pixel_frame_at_first_and_a_stride_of_them_later(config: VAEConfig) -> None:
    vae = build(config)
    time, high, wide = config.stride
    video = clip(config, 1 + 2 * time)
    z = vae.encode(video)
    assert z.shape == (1, config.z, 3, video.shape[3] // high, video.shape[4] // wide)
    assert [chunk.shape[2] for chunk in vae.decode_chunks(z)] == [1, time, time]
    assert torch.equal(torch.cat(list(vae.decode_chunks(z)), 2), vae.decode(z, chunked=True))
    assert vae.decode(z).shape == video.shape


@FORMS
def test_no_latent_sees_a_later_chunk_and_no_pixel_a_later_latent(config: VAEConfig) -> None:
    vae = build(config)
    time = config.stride[0]
    video = clip(config, 1 + 3 * time)
    z = vae.encode(video)
    for frame in (0, 1, time, time + 1, 3 * time):
        changed = video.clone()
        changed[:, :, frame] += 0.3
        other = vae.encode(changed)
        untouched = -(-frame // time)  # latents of frames before this one's chunk
        assert torch.equal(z[:, :, :untouched], other[:, :, :untouched])
        assert not torch.equal(z[:, :, untouched], other[:, :, untouched])
    pixels = vae.decode(z)
    for latent in range(4):
        changed = z.clone()
        changed[:, :, latent] += 0.3
        other = vae.decode(changed)
        untouched = 0 if latent == 0 else 1 + (latent - 1) * time
        assert torch.equal(pixels[:, :, :untouched], other[:, :, :untouched])
        assert not torch.equal(pixels[:, :, untouched:], other[:, :, untouched:])


@FORMS
def test_decoded_pixels_are_clamped_and_those_for_a_loss_are_not(config: VAEConfig) -> None:
    vae = build(config)
    vae.decoder.get_parameter("head.2.weight").mul_(30)
    video = clip(config, 1 + config.stride[0])
    raw, mu = vae.reconstruct(video)
    assert raw.abs().max() > 1
    assert torch.equal(mu, vae.encode(video))
    assert torch.equal(vae.decode(mu), raw.clamp(-1, 1))


@FORMS
def test_training_moves_every_parameter_that_a_mean_depends_on(config: VAEConfig) -> None:
    vae = build(config).requires_grad_(True)
    raw, _ = vae.reconstruct(clip(config, 1 + 2 * config.stride[0]))
    raw.square().mean().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        rows = parameter.grad.flatten(1) if parameter.dim() > 1 else parameter.grad[:, None]
        if name.startswith("conv1"):  # half of these channels are the log-variance, which no loss here looks at
            rows = rows[: config.z]
        # A bias of the keys shifts all scores of a query alike: softmax does not see it.
        elif name.endswith("to_qkv.bias"):
            rows = torch.cat([rows[: len(rows) // 3], rows[2 * len(rows) // 3 :]])
        assert (rows.abs().amax(1) > 0).all(), name


@FORMS
def test_bfloat16_autocast_computes_nearly_the_same_and_trains(config: VAEConfig) -> None:
    vae = build(config).requires_grad_(True)
    video = clip(config, 1 + config.stride[0])
    exact, _ = vae.reconstruct(video)
    with torch.autocast("cpu", torch.bfloat16):
        rough, mu = vae.reconstruct(video)
    assert mu.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 0.1 * exact.norm()
    rough.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())


def test_zeroed_residuals_leave_what_the_shortcuts_carry() -> None:
    vae = build(SHORT)
    vae.zero_residuals()
    x = torch.randn(1, 3, 4, 4, 32)
    for part in (vae.encoder.middle, vae.decoder.middle):
        for layer in part:
            assert torch.equal(layer(x), x)
    moved = [name for name, p in vae.named_parameters() if not p.any()]
    assert len(moved) == 2 * sum(isinstance(m, ResidualBlock) for m in vae.modules()) + 4
    video = clip(SHORT, 5)
    assert vae.decode(vae.encode(video)).std() > 0


def test_the_hand_written_gradient_of_the_norm_is_the_true_one() -> None:
    torch.manual_seed(0)
    for silu in (True, False):
        norm = RMSNorm(5, silu=silu).double()
        x = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
        gamma = torch.rand(5, 1, 1, 1, dtype=torch.float64, requires_grad=True)

        def apply(x: Tensor, gamma: Tensor, norm: RMSNorm = norm) -> Tensor:
            return torch.func.functional_call(norm, {"gamma": gamma}, (x,))

        torch.autograd.gradcheck(apply, (x, gamma))
        y = torch.nn.functional.normalize(x, dim=-1) * 5**0.5 * gamma.flatten()
        torch.testing.assert_close(apply(x, gamma), torch.nn.functional.silu(y) if silu else y)
    assert torch.equal(RMSNorm(4)(torch.zeros(1, 4)), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("inputs", "outputs", "time"), [(4, 4, 2), (4, 8, 2), (2, 16, 2), (4, 8, 1), (4, 2, 2), (3, 4, 2)]
)
def test_the_shortcuts_are_each_other_s_transpose(inputs: int, outputs: int, time: int) -> None:
    """<down(x), y> = <x, up(y)> / group: averaging and repeating are one linear map, read from either end."""
    torch.manual_seed(0)
    x = torch.randn(2, 2 * time, 4, 6, inputs, dtype=torch.float64)
    down = average_down(x, outputs, time, 2)
    assert down.shape == (2, 2, 2, 3, outputs)
    y = torch.randn_like(down)
    up = duplicate_up(y, inputs, time, 2, first=False)
    group = inputs * time * 4 / outputs
    torch.testing.assert_close((down * y).sum() * group, (x * up).sum())


def test_enlarging_is_nearest_neighbour_and_a_convolution() -> None:
    torch.manual_seed(0)
    x, conv = torch.randn(2, 3, 5, 4, dtype=torch.float64), Enlarge(4, 6, 3).double()
    big = torch.nn.functional.interpolate(x.movedim(-1, 1), scale_factor=2, mode="nearest-exact")
    plain = torch.nn.functional.conv2d(big, conv.weight, conv.bias, padding=1)
    torch.testing.assert_close(conv(x), plain.movedim(1, -1))


def test_folded_channels_are_ordered_colour_column_row() -> None:
    video = torch.arange(2 * 3 * 2 * 4 * 6, dtype=torch.float32).view(2, 3, 2, 4, 6)
    folded = fold(video, 2)
    assert folded.shape == (2, 2, 2, 3, 12)
    for c, column, row in [(0, 0, 1), (1, 1, 0), (2, 1, 1)]:
        assert torch.equal(folded[..., 4 * c + 2 * column + row], video[:, c, :, row::2, column::2])
    assert torch.equal(unfold(folded, 2), video)


@pytest.mark.parametrize(
    ("config", "tensors", "parameters", "stride"),
    [
        (VAEConfig(), 194, 126_892_531, (4, 8, 8)),
        (VAEConfig(z=48, base=160, decoder_base=256, patch=2, residual=True), 196, 704_688_668, (4, 16, 16)),
    ],
    ids=["wan 2.1", "wan 2.2"],
)
def test_the_published_sizes(config: VAEConfig, tensors: int, parameters: int, stride: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        vae = VAE(config)
    assert len(vae.state_dict()) == tensors
    assert sum(p.numel() for p in vae.parameters()) == parameters
    assert config.stride == stride


def test_what_cannot_be_is_refused() -> None:
    vae = build(SHORT)
    with pytest.raises(ValueError, match=r"got 4 frames of 16x16; expected 1 \+ 4k frames, multiples of 8x8"):
        vae.encode(torch.zeros(1, 3, 4, 16, 16))
    with pytest.raises(ValueError, match="got 5 frames of 16x12"):
        vae.encode(torch.zeros(1, 3, 5, 16, 12))
    with pytest.raises(ValueError, match=r"got a video of shape \(3, 5, 16, 16\)"):
        vae.encode(torch.zeros(3, 5, 16, 16))
    with pytest.raises(ValueError, match="got temporal of 1 entries; expected 2"):
        VAEConfig(mults=(1, 2, 4), temporal=(True,))
    with pytest.raises(ValueError, match="level 2 averages 1 x 2 units of width to 4"):
        VAEConfig(mults=(1, 2, 4), temporal=(True, True), residual=True)
