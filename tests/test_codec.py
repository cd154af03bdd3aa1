"""The codec: shapes said in sentences, whitening, and a stream of frames that is the whole film."""

from __future__ import annotations

import pytest
import torch

from vitascope import precision
from vitascope.codec import VideoCodec
from vitascope.errors import BadShot
from vitascope.models.vae import VAEConfig

CONFIG = VAEConfig(z=4, base=8, mults=(1, 2, 2), blocks=1, temporal=(True, True), patch=2, residual=True)


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    torch.manual_seed(0)
    return VideoCodec(CONFIG).eval().requires_grad_(False)


def video(frames: int = 9, batch: int = 2) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(batch, 3, frames, 16, 32) * 2 - 1


@pytest.mark.parametrize("frames", [1, 5, 9, 17])
def test_latent_shape_is_the_shape_of_the_latent(codec: VideoCodec, frames: int) -> None:
    latent = codec.encode(video(frames, 1))
    assert latent.shape[1:] == codec.latent_shape(frames, 16, 32)
    assert codec.latent_shape(frames, 16, 32)[0] == codec.channels


@pytest.mark.parametrize(
    ("size", "sentence"),
    [
        ((80, 16, 32), "80 frames: this codec takes 1 + 4k frames; the nearest are 77 and 81."),
        ((2, 16, 32), "2 frames: this codec takes 1 + 4k frames; the nearest are 1 and 5."),
        ((0, 16, 32), "0 frames: this codec takes 1 + 4k frames; the nearest are 1 and 5."),
        ((-3, 16, 32), "-3 frames: this codec takes 1 + 4k frames; the nearest are 1 and 5."),
        ((5, 63, 32), "height 63: this model makes multiples of 8 pixels; the nearest are 56 and 64."),
        ((5, 16, 65), "width 65: this model makes multiples of 8 pixels; the nearest are 64 and 72."),
        ((5, 1, 32), "height 1: this model makes multiples of 8 pixels; the nearest are 8 and 16."),
    ],
)
def test_a_size_that_cannot_be_is_answered_with_the_nearest(
    codec: VideoCodec, size: tuple[int, int, int], sentence: str
) -> None:
    with pytest.raises(BadShot) as told:
        codec.latent_shape(*size)
    assert str(told.value) == sentence


def test_a_network_that_joins_latents_makes_the_steps_wider(codec: VideoCodec) -> None:
    with pytest.raises(BadShot, match="height 24: this model makes multiples of 16 pixels; the nearest are 16 and 32"):
        codec.latent_shape(5, 24, 32, (1, 2, 2))


def test_whitened_latents_have_mean_0_and_deviation_1(codec: VideoCodec) -> None:
    clips = torch.cat([video(9, 4) * scale for scale in (0.2, 1.0)])
    before = codec.encode(clips) * codec.std.view(1, -1, 1, 1, 1) + codec.mean.view(1, -1, 1, 1, 1)
    codec.whiten(before)
    after = codec.encode(clips)
    torch.testing.assert_close(after.mean(dim=(0, 2, 3, 4)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(after.std(dim=(0, 2, 3, 4)), torch.ones(4), atol=1e-5, rtol=0)
    assert before.std(dim=(0, 2, 3, 4)).sub(1).abs().max() > 0.1  # it had something to do


def test_whitening_is_undone_by_decoding(codec: VideoCodec) -> None:
    codec.whiten(torch.randn(8, 4, 2, 2, 2) * 3 + 1)
    clip = video()
    decoded = torch.cat(list(codec.decode(codec.encode(clip))), dim=2)
    torch.testing.assert_close(decoded, codec.vae.decode(codec.vae.encode(clip)), atol=1e-4, rtol=0)


def test_chunks_joined_are_the_whole(codec: VideoCodec) -> None:
    latent = codec.encode(video(17))
    chunks = list(codec.decode(latent))
    assert [chunk.shape[2] for chunk in chunks] == [1, 4, 4, 4, 4]
    whole = codec.vae.decode(latent * codec.std.view(1, -1, 1, 1, 1) + codec.mean.view(1, -1, 1, 1, 1))
    torch.testing.assert_close(torch.cat(chunks, dim=2), whole, atol=1e-5, rtol=0)
    assert whole.abs().max() <= 1


def test_frames_come_before_the_film_is_done(codec: VideoCodec) -> None:
    latent = codec.encode(video(17))
    stream = codec.decode(latent)
    latent_of_the_start = codec.encode(video(17)[:, :, :5])
    first, second = next(stream), next(stream)
    start = torch.cat(list(codec.decode(latent_of_the_start)), dim=2)
    torch.testing.assert_close(torch.cat([first, second], dim=2), start, atol=1e-5, rtol=0)


def test_autocast_stays_within_the_codec(codec: VideoCodec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda kind: True)
    codec.autocast = True
    try:
        stream = codec.decode(codec.encode(video()))
        assert next(stream).dtype == torch.float32
        assert not torch.is_autocast_enabled("cpu")
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
        assert codec.encode(video()).dtype == torch.float32
    finally:
        codec.autocast = False
