"""Tiles: the whole where one covers it, diffusers' own where there are more, and a fraction of the memory."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints import twins
from tests.models.test_vae import oracle
from tests.test_planning import most_alive
from torch import Tensor

import vitascope.engine
from vitascope.checkpoints import wan_system
from vitascope.codec import VideoCodec
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.models.vae import VAEConfig
from vitascope.pixels import to_bytes
from vitascope.planning import TILE, Ask, Machine, peak
from vitascope.planning.choice import MARGIN
from vitascope.planning.tiles import decoder
from vitascope.shot import Shot
from vitascope.tiling import joined, packed, spans, step_of, unpacked

SMALL = VAEConfig(z=4, base=8, mults=(1, 2, 2), blocks=1, temporal=(True, True))
"""Stride 4, so that tiles of 32 pixels are 8 latents, of which 2 overlap."""


@pytest.fixture(scope="module")
def codec() -> VideoCodec:
    torch.manual_seed(0)
    made = VideoCodec(SMALL).eval().requires_grad_(False)
    made.whiten(torch.randn(8, 4, 2, 2, 2) * 1.5 + 0.3)
    return made


def latent(rows: int, columns: int, frames: int = 3) -> Tensor:
    return torch.randn(1, 4, frames, rows, columns, generator=torch.Generator().manual_seed(1))


def decoded(codec: VideoCodec, z: Tensor, tile: int | None) -> Tensor:
    codec.tile = tile
    try:
        return torch.cat(list(codec.decode(z)), dim=2)
    finally:
        codec.tile = None


def tiling_oracle(codec: VideoCodec, tile: int) -> AutoencoderKLWan:
    other = oracle(codec.vae)
    other.spatial_compression_ratio = SMALL.stride[1]  # it takes 8 for granted
    other.enable_tiling(tile, tile, tile * 3 // 4, tile * 3 // 4)
    return other


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("tile", [32, 48])
def test_one_tile_that_covers_all_is_the_whole_bit_for_bit(codec: VideoCodec, tile: int) -> None:
    z = latent(8, 7)
    assert torch.equal(decoded(codec, z, tile), decoded(codec, z, None))
    film = torch.rand(1, 3, 9, 32, 28) * 2 - 1
    codec.tile = tile
    chunks = list(codec.encode_chunks(film.split([1, 4, 4], dim=2)))
    codec.tile = None
    assert all(map(torch.equal, chunks, codec.encode_chunks(film.split([1, 4, 4], dim=2))))


@pytest.mark.parametrize(("rows", "columns"), [(8, 14), (7, 13), (13, 6), (12, 14)])
def test_tiles_are_blended_as_diffusers_blends_them(codec: VideoCodec, rows: int, columns: int) -> None:
    z = latent(rows, columns)
    theirs = tiling_oracle(codec, 32).decode(z * codec.std.view(1, -1, 1, 1, 1) + codec.mean.view(1, -1, 1, 1, 1)).sample  # type: ignore[union-attr]  # fmt: skip
    ours = decoded(codec, z, 32)
    assert error(ours, theirs) <= 1e-4
    assert error(decoded(codec, z, None), theirs) > 1e-3, "tiles are seen"


def test_tiles_are_encoded_as_diffusers_encodes_them(codec: VideoCodec) -> None:
    film = torch.rand(1, 3, 9, 52, 72, generator=torch.Generator().manual_seed(2)) * 2 - 1
    theirs = tiling_oracle(codec, 32).encode(film).latent_dist.mean  # type: ignore[union-attr]
    codec.tile = 32
    ours = list(codec.encode_chunks(iter(film.split([1, 4, 4], dim=2))))
    codec.tile = None
    assert [chunk.shape[2] for chunk in ours] == [1, 1, 1]
    whitened = (theirs - codec.mean.view(1, -1, 1, 1, 1)) / codec.std.view(1, -1, 1, 1, 1)
    assert error(torch.cat(ours, dim=2), whitened) <= 1e-4
    assert error(codec.encode(film), whitened) > 1e-4, "tiles are seen"
    assert list(codec.encode_chunks(iter(()))) == []


def test_a_tile_is_the_whole_where_its_edges_are_far(codec: VideoCodec) -> None:
    """Each convolution carries an edge one place inwards; the attention of the middle sees the whole tile."""
    z = latent(20, 20, frames=2)
    whole, tiles = decoded(codec, z, None), decoded(codec, z, 64)  # the first tile ends at 64, and its last 16 overlap
    far, near = (error(tiles[..., part, part], whole[..., part, part]) for part in (slice(0, 24), slice(48, 64)))
    assert far < 0.05
    assert far < near / 3


def test_the_film_comes_in_the_same_chunks_as_the_whole(codec: VideoCodec) -> None:
    z = latent(8, 20, frames=4)
    codec.tile = 32
    shapes = [chunk.shape for chunk in codec.decode(z)]
    codec.tile = None
    assert shapes == [chunk.shape for chunk in codec.decode(z)]
    assert [shape[2] for shape in shapes] == [1, 4, 4, 4]


def test_a_film_of_rows_is_each_row_in_tiles(codec: VideoCodec) -> None:
    z = torch.cat((latent(8, 12), -latent(8, 12)))
    both = decoded(codec, z, 32)
    for row in (0, 1):
        torch.testing.assert_close(both[row : row + 1], decoded(codec, z[row : row + 1], 32), atol=1e-4, rtol=0)


@given(length=st.integers(1, 200), size=st.sampled_from([4, 8, 16, 32]))
def test_tiles_cover_all_and_overlap_by_a_quarter(length: int, size: int) -> None:
    found = spans(length, size)
    assert found[0].start == 0
    assert found[-1].stop == length
    for one, other in pairwise(found):
        assert other.start - one.start == step_of(size)
        assert one.stop - other.start == min(size // 4, length - other.start)


@settings(max_examples=30, deadline=None)
@given(rows=st.integers(1, 20), columns=st.integers(1, 20), scale=st.sampled_from([1, 2]))
def test_tiles_that_agree_are_joined_without_a_trace(rows: int, columns: int, scale: int) -> None:
    picture = torch.rand(1, 2, 3, rows * scale, columns * scale, dtype=torch.float64)

    def made(y: slice, x: slice) -> tuple[Tensor, ...]:
        tile = picture[..., y.start * scale : y.stop * scale, x.start * scale : x.stop * scale]
        return tile[:, :, :1], tile[:, :, 1:]

    film = torch.cat(joined((rows, columns), 8, scale, made), dim=2)
    torch.testing.assert_close(film, picture)


def test_sixteen_bits_lose_nothing_that_a_film_keeps() -> None:
    levels = torch.arange(256).view(1, 1, 1, 16, 16) / 127.5 - 1
    kept = unpacked(packed(levels))
    assert torch.equal(to_bytes(kept), to_bytes(levels))
    assert (kept - levels).abs().max() <= 0.5 / 32767 + 1e-7
    assert unpacked(packed(torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0]))).tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(("tile", "nearest"), [(100, "96 and 112"), (8, "16 and 32"), (-5, "16 and 32")])
def test_a_tile_that_does_not_come_out_even_is_refused(codec: VideoCodec, tile: int, nearest: str) -> None:
    with pytest.raises(BadShot, match=f"tile {tile}: .* multiples of 16 pixels; the nearest are {nearest}"):
        codec.tile = tile
    assert codec.tile is None


def test_memory_of_tiles_is_that_of_one_and_of_the_film(codec: VideoCodec) -> None:
    z = latent(20, 24, frames=2)
    found = {}
    for tile in (None, 32):
        codec.tile = tile
        found[tile] = most_alive(lambda: [None for _ in codec.decode(z)])
    codec.tile = None
    assert found[32] < found[None] / 3
    told = decoder(SMALL, (5, 20, 24), 32)
    assert 0.95 <= (told.memory + told.held) / found[32] <= 1.25


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return twins.official(twins.twin("t2v", head=128, heads=1), tmp_path_factory.mktemp("wan") / "model").root


def test_a_film_in_tiles_says_so(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shot = Shot(prompt="a fox", frames=5, height=32, width=64, steps=1, seed=1)
    engine = Engine.load(wan, "cpu", tile=32)
    film = engine.generate(shot)
    assert film.record is not None
    assert film.record["tile"] == 32
    engine.codec.tile = 64  # covers all
    whole = engine.generate(shot)
    assert whole.record is not None
    assert "tile" not in whole.record
    assert film.frames.shape == whole.frames.shape
    assert not torch.equal(film.frames, whole.frames)
    with pytest.raises(BadShot, match=r"tile 50: .* multiples of 32 pixels; the nearest are 32 and 64"):
        Engine.load(wan, "cpu", tile=50)


def test_an_engine_takes_the_tiles_of_its_plan(wan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shot, cpu = Shot(prompt="a fox", frames=1, height=512, width=1024, steps=1, seed=1), torch.device("cpu")
    monkeypatch.setattr(wan_system, "here", lambda device: Machine(device, None, None))
    ample = wan_system.planned(wan, cpu, None, "bfloat16", shot)
    assert (ample.offload, ample.tile) == ("none", None)
    monkeypatch.setattr(wan_system, "here", lambda device: Machine(device, ample.together, ample.together))
    engine = Engine.load(wan, "cpu", dtype="bfloat16", offload="auto", shot=shot)
    assert engine.codec.tile == TILE
    assert Engine.load(wan, "cpu", dtype="bfloat16", offload="auto", shot=shot, tile=128).codec.tile == 128
    needs = [peak(engine.system.sizes, Ask(1, 512, 1024), rows=2, tile=tile) for tile in (None, TILE)]
    assert needs[1] < needs[0]
    monkeypatch.setattr(vitascope.engine, "free_memory", lambda device: math.ceil(needs[1] * MARGIN))
    assert engine.prepare(shot).width == 1024
    engine.codec.tile = None
    with pytest.raises(BadShot, match=r"or decode in tiles \(--tile 256\)\."):
        engine.prepare(shot)
