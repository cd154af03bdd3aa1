"""A codec takes video into the space where the field lives, and back: an autoencoder, and the whitening of its latents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from vitascope.errors import BadShot
from vitascope.models.vae import VAE, VAEConfig
from vitascope.precision import bf16
from vitascope.tiling import joined, packed, unpacked


class VideoCodec(nn.Module):
    """The causal video autoencoder with its latents whitened per channel: mean 0, standard deviation 1.

    Principal components fall in size, the first of them are a block's colour and the last its finest edges, and whitened they
    would all drown in noise at once. So a linear codec's are whitened half-way: each keeps the root of its standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.vae = VAE(config)
        self.config = config
        self.autocast = False
        self._tile: int | None = None
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

    @property
    def tile(self) -> int | None:
        """Pixels of a side of the tiles in which larger pictures are decoded, and encoded in chunks; None: always whole.

        A quarter of a tile overlaps the next. Tiles need a fraction of the memory and about 1.7 times the work. Setting it
        raises BadShot for a size that does not come out even.
        """
        return self._tile

    @tile.setter
    def tile(self, pixels: int | None) -> None:
        self._tile = None if pixels is None else check_tile(self.config, pixels)

    def encode(self, video: Tensor) -> Tensor:
        """[b 3 t h w] in [-1, 1] to whitened latents [b c t' h' w'], the mean of the posterior (no draw)."""
        with self._cast(video):
            mu = self.vae.encode(video)
        return self._whitened(mu.float())

    @torch.no_grad()
    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """As `encode`, of a video that comes in chunks [b 3 n h w], 1 frame and then stride[0] at a time: memory stays flat.

        In tiles (`tile`) the chunks are held until the last tile is through.
        """
        if self.tile is None:
            yield from map(self._whitened, self._encoded(chunks))
            return
        held = list(chunks)
        if not held:
            return
        high, wide = self.stride[1:]
        grid = (held[0].shape[3] // high, held[0].shape[4] // wide)
        size = tile_side(self.config, self.tile, *grid)
        if size is None:
            yield from map(self._whitened, self._encoded(held))
            return

        def made(rows: slice, columns: slice) -> Iterator[Tensor]:
            y, x = _pixels(rows, high), _pixels(columns, wide)
            return self._encoded(chunk[..., y, x] for chunk in held)

        yield from map(self._whitened, joined(grid, size, 1, made))

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Iterator[Tensor]:
        """Whitened latents to chunks of frames [b 3 n h w] in [-1, 1], one latent frame at a time: memory stays flat.

        In tiles (`tile`) each is decoded over all of its time, and the film is held until the last is through: 2 bytes a number
        in the computer's memory, half a GiB for 81 frames of 1280x720, and the tiles' edges, a quarter of that again. It is
        handed over in the same chunks, rounded to 3e-5.
        """
        z = latent * _column(self.std) + _column(self.mean)
        size = tile_side(self.config, self.tile, z.shape[3], z.shape[4])
        if size is None:
            yield from self._decoded(z)
            return

        def made(rows: slice, columns: slice) -> Iterator[Tensor]:
            # What leaves [-1, 1] is cut off after the blend, as in diffusers.
            return (chunk.cpu() for chunk in self._decoded(z[..., rows, columns], clamped=False))

        film = joined((z.shape[3], z.shape[4]), size, self.stride[1], made, packed)
        while film:
            yield unpacked(film.pop(0)).to(z.device)

    def _encoded(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        latents = self.vae.encode_chunks(chunks)
        while True:
            # autocast is a mode of the thread: entered around each chunk, so that it never leaks to whoever takes them.
            with self._cast(self.mean):
                mu = next(latents, None)
            if mu is None:
                return
            yield mu.float()

    def _decoded(self, z: Tensor, clamped: bool = True) -> Iterator[Tensor]:
        chunks = self.vae.decode_chunks(z, clamped=clamped)
        while True:
            with self._cast(z):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk.float()

    def _whitened(self, mu: Tensor) -> Tensor:
        return (mu - _column(self.mean)) / _column(self.std)

    @torch.no_grad()
    def whiten(self, latents: Tensor) -> None:
        """Set the whitening from unwhitened latents [n c t h w]."""
        std = latents.double().std(dim=(0, 2, 3, 4))
        if self.config.linear:  # a component that these clips do not have is not enlarged without end
            std = std.clamp_min(1e-3 * float(std.max().clamp_min(1e-6))).sqrt()
        self.mean.copy_(latents.double().mean(dim=(0, 2, 3, 4)))
        self.std.copy_(std)

    @property
    def left(self) -> Tensor:
        """The standard deviation [c] that the latents still have."""
        return self.std if self.config.linear else torch.ones_like(self.std)

    def latent_shape(
        self, frames: int, height: int, width: int, patch: tuple[int, int, int] = (1, 1, 1)
    ) -> tuple[int, ...]:
        """The shape [c t' h' w'] of a video's latent.

        Raises BadShot where the codec, or a network that joins latents in patches, cannot make this size.
        """
        return latent_shape(self.config, frames, height, width, patch)

    def _cast(self, x: Tensor) -> torch.autocast:
        return bf16(x.device.type, self.autocast)


def latent_shape(
    config: VAEConfig, frames: int, height: int, width: int, patch: tuple[int, int, int] = (1, 1, 1)
) -> tuple[int, ...]:
    """The shape [c t' h' w'] of a video's latent, from the codec's sizes alone. Raises BadShot as the codec does."""
    step, down, right = config.stride
    if frames < 1 or (frames - 1) % step:
        below = max(1, frames - (frames - 1) % step)
        raise BadShot(
            f"{frames} frames: this codec takes 1 + {step}k frames; the nearest are {below} and {below + step}."
        )
    for asked, name, stride, join in ((height, "height", down, patch[1]), (width, "width", right, patch[2])):
        whole = stride * join
        if asked < whole or asked % whole:
            below = max(whole, asked - asked % whole)
            raise BadShot(
                f"{name} {asked}: this model makes multiples of {whole} pixels; the nearest are {below} and {below + whole}."
            )
    return (config.z, 1 + (frames - 1) // step, height // down, width // right)


def check_tile(config: VAEConfig, pixels: int) -> int:
    """The size of a tile. Raises BadShot unless it is a multiple of 4 latents: a quarter of it overlaps the next."""
    whole = 4 * config.stride[1]
    if pixels < whole or pixels % whole:
        below = max(whole, pixels - pixels % whole)
        raise BadShot(
            f"tile {pixels}: tiles of this codec are multiples of {whole} pixels; the nearest are {below} and {below + whole}."
        )
    return pixels


def tile_side(config: VAEConfig, tile: int | None, rows: int, columns: int) -> int | None:
    """The side, in latents, of tiles of `tile` pixels; None where one covers the whole frame of `rows` x `columns` latents,
    and so there are none."""
    size = None if tile is None else tile // config.stride[1]
    return None if size is None or max(rows, columns) <= size else size


def _pixels(latents: slice, stride: int) -> slice:
    return slice(latents.start * stride, latents.stop * stride)


def _column(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1, 1)
