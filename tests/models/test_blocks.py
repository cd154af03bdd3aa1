"""Blocks by their principal components: what a linear codec can keep, and not more."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vitascope.codec import VideoCodec
from vitascope.models.blocks import Blocks
from vitascope.models.seams import without_seams
from vitascope.models.vae import VAE, VAEConfig

STRIDE = (4, 8, 8)
SMALL = VAEConfig(z=12, base=8, mults=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True, linear=True)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def smooth(frames: int = 17, height: int = 32, width: int = 48, seed: int = 0) -> Tensor:
    """Films whose neighbours are alike, as pictures are, [2 3 t h w]."""
    coarse = drawn((2, 3, 1 + frames // 4, height // 8, width // 8), seed)
    fine = 0.1 * drawn((2, 3, frames, height, width), seed + 1)
    return torch.nn.functional.interpolate(coarse, (frames, height, width), mode="trilinear") + fine


def fitted(z: int, *films: Tensor) -> Blocks:
    blocks = Blocks(z, STRIDE).double()
    blocks.fit(films)
    return blocks


def test_components_are_orthonormal_and_fall_in_variance() -> None:
    blocks = fitted(24, smooth(seed=2), smooth(seed=4))
    torch.testing.assert_close(blocks.directions @ blocks.directions.T, torch.eye(24, dtype=torch.float64))
    assert (blocks.scale.diff() <= 0).all()
    assert (blocks.directions.gather(1, blocks.directions.abs().argmax(1, keepdim=True)) > 0).all()


def test_components_have_the_mean_and_the_deviation_that_are_told() -> None:
    film = smooth()
    blocks = fitted(16, film)
    z = blocks.encode(film).movedim(1, -1).flatten(0, -2)
    torch.testing.assert_close(z.mean(0), torch.zeros(16, dtype=torch.float64), atol=1e-9, rtol=0)
    covariance = z.T @ z / len(z)
    torch.testing.assert_close(covariance, blocks.scale.square().diag(), atol=1e-9, rtol=1e-6)


def test_no_other_directions_lose_less() -> None:
    film = smooth()
    blocks = fitted(16, film)

    def lost() -> float:
        return float((blocks.decode(blocks.encode(film)) - film).square().mean())

    least = lost()
    best = blocks.directions.clone()
    for seed in range(5):
        turned = torch.linalg.qr((best + 0.03 * drawn(tuple(best.shape), seed)).T)[0].T
        blocks.directions.copy_(turned)
        assert lost() > least


def test_all_components_lose_nothing_but_that_frame_0_does_not_move() -> None:
    film = smooth(frames=5, height=8, width=16)
    blocks = fitted(3 * math.prod(STRIDE), film, smooth(frames=17, seed=8))
    torch.testing.assert_close(blocks.decode(blocks.encode(film)), film)


def test_what_is_shown_of_components_is_told_by_them_again() -> None:
    """Later frames; of frame 0 only what does not move is shown."""
    blocks = fitted(16, smooth())
    z = drawn((1, 16, 3, 2, 2))
    told = blocks.encode(blocks.decode(z))
    torch.testing.assert_close(told[:, :, 1:], z[:, :, 1:])
    torch.testing.assert_close(blocks.decode(told)[:, :, 1:], blocks.decode(z)[:, :, 1:])


def test_frame_0_is_the_mean_of_a_block_in_which_nothing_moves() -> None:
    """No single one of its four frames is nearer to it."""
    film = smooth()
    blocks = fitted(16, film)
    z = blocks.encode(film)[:, :, :1]
    moving = blocks.decode(z, first=False)
    assert moving.shape[2] == 4
    shown = blocks.decode(z)
    torch.testing.assert_close(shown, moving.mean(2, keepdim=True))
    off = (shown - film[:, :, :1]).square().mean()
    assert all(off <= (moving[:, :, i : i + 1] - film[:, :, :1]).square().mean() for i in range(4))


def test_a_block_depends_on_its_own_pixels_alone() -> None:
    film = smooth()
    blocks = fitted(16, film)
    changed = film.clone()
    changed[:, :, 6, 9, 17] += 1  # the second group of frames, second row, third column
    moved = (blocks.encode(changed) - blocks.encode(film)).abs().amax((0, 1)) > 1e-9
    assert moved.nonzero().tolist() == [[2, 1, 2]]


def test_a_component_that_no_clip_has_is_no_number_beyond_bounds() -> None:
    blocks = Blocks(4, STRIDE)
    blocks.fit([torch.zeros(1, 3, 5, 8, 8)])
    assert (blocks.scale > 0).all()
    assert blocks.scale.isfinite().all()
    z = blocks.encode(torch.zeros(1, 3, 5, 8, 8))
    assert torch.equal(z, torch.zeros(1, 4, 2, 1, 1))


def test_latents_of_clips_that_are_all_one_colour_are_numbers() -> None:
    codec, grey = VideoCodec(SMALL), torch.zeros(1, 3, 5, 16, 16)
    codec.vae.blocks.fit([grey])
    codec.whiten(codec.vae.encode(grey))
    assert codec.encode(grey).isfinite().all()
    assert codec.encode(grey + 0.1).isfinite().all()


def test_without_clips_there_are_no_components() -> None:
    with pytest.raises(ValueError, match="no clips"):
        Blocks(4, STRIDE).fit([])


def test_a_block_has_no_more_components_than_values() -> None:
    with pytest.raises(ValueError, match="769"):
        Blocks(769, STRIDE)
    with pytest.raises(ValueError, match="z 193"):
        VAEConfig(z=193, base=8, mults=(1, 2), blocks=1, temporal=(True,), patch=2, linear=True, pixels=6)


def linear(dtype: torch.dtype = torch.float64) -> VAE:
    vae = VAE(SMALL).to(dtype)
    vae.blocks.fit([smooth(seed=2).to(dtype)])
    return vae.requires_grad_(False)


def test_before_it_learned_anything_a_linear_codec_shows_its_blocks_without_seams() -> None:
    vae, film = linear(), smooth()
    vae.zero_residuals()
    shown, z = vae.reconstruct(film)
    assert torch.equal(z, vae.blocks.encode(film))
    assert torch.equal(shown, without_seams(vae.blocks.decode(z), STRIDE)[0])


def test_what_the_decoder_learned_is_added() -> None:
    vae, film = linear(), smooth()
    shown, z = vae.reconstruct(film)
    added = shown - without_seams(vae.blocks.decode(z), STRIDE)[0]
    assert added.abs().max() > 1e-3
    torch.testing.assert_close(added, vae._convolved(z / vae.blocks.scale.view(1, -1, 1, 1, 1), None))  # all of a size


@pytest.mark.parametrize("latents", [1, 2, 3])
def test_a_clip_in_chunks_is_the_clip_whole(latents: int) -> None:
    vae, film = linear(), smooth()
    mu, logvar = vae.moments(film)
    chunks = vae.moments(film, chunked=True)
    torch.testing.assert_close(chunks[0], mu)
    assert torch.equal(chunks[1], logvar)
    torch.testing.assert_close(torch.cat(list(vae.encode_chunks([film[:, :, :1], *film[:, :, 1:].split(4, 2)])), 2), mu)
    torch.testing.assert_close(torch.cat(list(vae.decode_chunks(mu, latents)), 2), vae.decode(mu))


def test_training_moves_the_decoder_and_no_component() -> None:
    vae = VAE(SMALL)
    vae.blocks.fit([smooth(seed=2).float()])
    shown, _ = vae.reconstruct(smooth().float())
    shown.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in vae.parameters())
    assert not any(name.startswith("blocks.") for name, _ in vae.named_parameters())
