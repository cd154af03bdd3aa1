from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitascope.physics.noise import Noise, key, normal, uniform

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def test_the_numbers_are_pinned() -> None:
    """A film is made again from its seed: these may never change."""
    assert key(0, "start", 0) == 2093838928744942924
    few, many = normal(0, "start", 0, (3,)), normal(0, "start", 0, (32,))[[0, 17, 31]]  # torch draws these two ways
    torch.testing.assert_close(few, torch.tensor([0.10899551, -0.34955022, -0.05931625]))
    torch.testing.assert_close(many, torch.tensor([0.79498756, 0.30024723, -1.52719200]))
    assert uniform(0, "start", 0, (2,)).tolist() == [0.7981064950394231, 0.06483536418000502]


@given(st.integers(0, 2**63), st.text(max_size=8), st.integers(0, 10**6))
def test_a_key_fits_a_generator_and_is_a_function(seed: int, purpose: str, index: int) -> None:
    assert 0 <= key(seed, purpose, index) < 2**63
    assert torch.equal(normal(seed, purpose, index, (4,)), normal(seed, purpose, index, (4,)))


def test_seed_purpose_and_index_each_matter() -> None:
    base = normal(1, "solver", 2, (1000,))
    for other in (normal(2, "solver", 2, (1000,)), normal(1, "start", 2, (1000,)), normal(1, "solver", 3, (1000,))):
        assert torch.corrcoef(torch.stack([base, other]))[0, 1].abs() < 0.12
    # Neighbours that a plain concatenation would confuse.
    assert len({key(1, "a", 11), key(11, "a", 1), key(1, "a1", 1), key(1, "a|1", 1), key(1, "a", 1)}) == 5


def test_no_generator_is_touched() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    drawn = [draw(0, "x", 0, (4,)) for draw in (normal, uniform)]
    assert len(drawn) == 2
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(normal(0, "x", 0, (4,)), normal(0, "x", 0, (4,)))


@pytest.mark.parametrize("shape", [(3,), (15,), (16,), (4, 5, 6)])
def test_a_batch_equals_its_members(shape: tuple[int, ...]) -> None:
    batch = Noise((7, 8, 9))
    for draw in ("normal", "uniform"):
        together = getattr(batch, draw)("start", 0, shape)
        assert together.shape == (3, *shape)
        for row, seed in enumerate(batch.seeds):
            assert torch.equal(together[row : row + 1], getattr(Noise((seed,)), draw)("start", 0, shape))


@pytest.mark.parametrize("rows", [1, 3, 4, 11])
def test_more_rows_or_fewer_begin_alike_and_all_differ(rows: int) -> None:
    few = Noise((5, 6, 7))
    more = few.of(rows)
    assert len(more.seeds) == len(set(more.seeds)) == rows
    assert more.seeds[:3] == few.seeds[:rows]
    assert more == Noise((5, 6, 7)).of(rows)


def test_noise_like_x_has_its_shape_and_dtype() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        x = torch.zeros(2, 3, 4, dtype=dtype)
        like = Noise((1, 2)).like("solver", 4, x)
        assert (like.shape, like.dtype) == (x.shape, dtype)
        assert torch.equal(like[1], normal(2, "solver", 4, (3, 4), dtype=dtype))
    for count in (9, 33):  # torch itself draws 33 numbers of bfloat16 otherwise than of float32
        assert torch.equal(normal(1, "x", 0, (count,), dtype=torch.bfloat16), normal(1, "x", 0, (count,)).bfloat16())
    with pytest.raises(ValueError, match="noise for 2 rows was asked for a tensor of 3 rows"):
        Noise((1, 2)).like("solver", 0, torch.zeros(3, 4))


@pytest.mark.parametrize("device", DEVICES)
def test_every_device_has_the_same_numbers(device: str) -> None:
    for draw in (normal, uniform):
        there = draw(3, "start", 1, (33,), device=device)
        assert there.device.type == device
        assert torch.equal(there.cpu(), draw(3, "start", 1, (33,)))
    there = Noise((3, 4)).normal("start", 1, (33,), device=device)
    assert torch.equal(there.cpu(), Noise((3, 4)).normal("start", 1, (33,)))


def test_the_distributions() -> None:
    x, u = normal(0, "test", 0, (50_000,)), uniform(0, "test", 0, (50_000,))
    assert (abs(float(x.mean())), float(x.std())) == pytest.approx((0, 1), abs=0.02)
    assert float(u.mean()) == pytest.approx(0.5, abs=0.01)
    assert u.dtype == torch.float64
    assert 0 <= float(u.min()) < 0.001 < 0.999 < float(u.max()) < 1


def test_a_batch_so_large_that_threads_draw_it_equals_its_members() -> None:
    shape = (110_000,)
    drawn = Noise(tuple(range(12))).normal("start", 3, shape)
    assert drawn.numel() > 1_000_000
    for row in range(12):
        assert torch.equal(drawn[row], normal(row, "start", 3, shape))
