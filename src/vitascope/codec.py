"""A Codec takes video into the space where the field lives, and back: an autoencoder, and the whitening of its latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from vitascope.errors import BadShot
from vitascope.models.vae import VAE, VAEConfig


class Codec(Protocol):
    """Between pixels [b 3 t h w] in [-1, 1] and whitened latents [b c t' h' w']."""

    @property
    def stride(self) -> tuple[int, int, int]: ...
    @property
    def channels(self) -> int: ...
    def encode(self, video: Tensor) -> Tensor: ...
    def decode(self, latent: Tensor) -> Iterator[Tensor]: ...
    def latent_shape(
        self, frames: int, height: int, width: int, patch: tuple[int, int, int] = ...
    ) -> tuple[int, ...]: ...


class VideoCodec(nn.Module):
    """The causal video autoencoder with its latents whitened per channel: mean 0, standard deviation 1."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.vae = VAE(config)
        self.config = config
        self.autocast = False
        self.register_buffer("mean", torch.zeros(config.z))
        self.register_buffer("std", torch.ones(config.z))

    @property
    def stride(self) -> tuple[int, int, int]:
        """Frames, rows and columns of pixels to one latent: 1 + 4k frames become 1 + k at stride 4."""
        return self.config.stride

    @property
    def channels(self) -> int:
        """Channels of a latent."""
        return self.config.z

    def encode(self, video: Tensor) -> Tensor:
        """[b 3 t h w] in [-1, 1] to whitened latents [b c t' h' w'], the mean of the posterior (no draw)."""
        with self._cast(video):
            mu = self.vae.encode(video)
        return (mu.float() - _column(self.mean)) / _column(self.std)

    @torch.no_grad()
    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """As `encode`, of a video that comes in chunks [b 3 n h w], 1 frame and then stride[0] at a time: memory stays flat."""
        latents = self.vae.encode_chunks(chunks)
        while True:
            with self._cast(self.mean):
                mu = next(latents, None)
            if mu is None:
                return
            yield (mu.float() - _column(self.mean)) / _column(self.std)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Iterator[Tensor]:
        """Whitened latents to chunks of frames [b 3 n h w] in [-1, 1], one latent frame at a time: memory stays flat."""
        z = latent * _column(self.std) + _column(self.mean)
        chunks = self.vae.decode_chunks(z)
        while True:
            # autocast is a mode of the thread: entered around each chunk, so that it never leaks to whoever takes them.
            with self._cast(z):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk.float()

    @torch.no_grad()
    def whiten(self, latents: Tensor) -> None:
        """Set the whitening from unwhitened latents [n c t h w]."""
        self.mean.copy_(latents.double().mean(dim=(0, 2, 3, 4)))
        self.std.copy_(latents.double().std(dim=(0, 2, 3, 4)))

    def latent_shape(
        self, frames: int, height: int, width: int, patch: tuple[int, int, int] = (1, 1, 1)
    ) -> tuple[int, ...]:
        """The shape [c t' h' w'] of a video's latent.

        Raises BadShot where the codec, or a network that joins latents in patches, cannot make this size.
        """
        step, *_ = self.stride
        if frames < 1 or (frames - 1) % step:
            below = max(1, frames - (frames - 1) % step)
            raise BadShot(
                f"{frames} frames: this codec takes 1 + {step}k frames; the nearest are {below} and {below + step}."
            )
        for asked, name, stride, join in (
            (height, "height", self.stride[1], patch[1]),
            (width, "width", self.stride[2], patch[2]),
        ):
            whole = stride * join
            if asked < whole or asked % whole:
                below = max(whole, asked - asked % whole)
                raise BadShot(
                    f"{name} {asked}: this model makes multiples of {whole} pixels; the nearest are {below} and {below + whole}."
                )
        return (self.channels, 1 + (frames - 1) // step, height // self.stride[1], width // self.stride[2])

    def _cast(self, x: Tensor) -> torch.autocast:
        return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.autocast)


def _column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
