"""Seams of blocks go, and edges of the picture stay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vitascope.models.seams import STEP, without_seams

BLOCK = (4, 8, 8)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def mended(x: Tensor, block: tuple[int, int, int] = BLOCK) -> Tensor:
    return without_seams(x, block)[0]


def flat(frames: int = 9, rows: int = 3, columns: int = 4, size: float = 0.05) -> Tensor:
    """A film of blocks that are each of one colour, nearly the same, [1 3 t h w]; frame 0 is alone."""
    each = size * drawn((1, 3, 1 + (frames - 1) // 4, rows, columns))
    x = each.repeat_interleave(8, 3).repeat_interleave(8, 4)
    return torch.cat((x[:, :, :1], x[:, :, 1:].repeat_interleave(4, 2)), 2)


@pytest.mark.parametrize(("axis", "reach"), [(2, 2), (3, 4), (4, 4)])
def test_of_small_steps_between_calm_blocks_ramps_are_left(axis: int, reach: int) -> None:
    film = flat(size=0.002)
    before, after = film.diff(dim=axis).abs().max(), mended(film).diff(dim=axis).abs().max()
    assert after < 1.25 * before / (2 * reach if axis > 2 else reach)


def test_what_changes_evenly_is_left_as_it_is() -> None:
    t, h, w = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (9, 24, 32)), indexing="ij")
    film = torch.stack((0.01 * w, 0.02 * h - 0.2, 0.01 * h + 0.01 * w))[None] + 0.01 * t
    torch.testing.assert_close(mended(film), film, atol=1e-12, rtol=0)


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_an_edge_is_no_seam(axis: int) -> None:
    film = torch.zeros(1, 3, 9, 24, 32, dtype=torch.float64)
    film.narrow(axis, 5 if axis == 2 else 8, 4).fill_(STEP)
    assert torch.equal(mended(film), film)


def test_an_edge_in_one_colour_is_an_edge_in_all() -> None:
    film = torch.zeros(1, 3, 1, 8, 16, dtype=torch.float64)
    film[:, 0, ..., 8:], film[:, 1, ..., 8:] = STEP, 0.05
    assert torch.equal(mended(film), film)


def test_where_the_picture_is_lively_a_step_is_left() -> None:
    film = torch.zeros(1, 3, 1, 8, 16, dtype=torch.float64)
    film[..., 1:8:2], film[..., 8::2] = 0.2, 0.2  # lines, alike on both sides, so that the step is small
    film[..., 8:] += 0.05
    assert torch.equal(mended(film), film)


def test_steps_within_a_block_are_left() -> None:
    film = torch.zeros(1, 3, 1, 8, 16, dtype=torch.float64)
    film[..., 4:12] += 0.05
    torch.testing.assert_close(mended(film), film, atol=1e-12, rtol=0)


def test_nothing_before_a_moment_depends_on_what_is_after_it() -> None:
    film = flat()
    later = film.clone()
    later[:, :, 5:] += 0.03
    assert torch.equal(mended(film)[:, :, :5], mended(later)[:, :, :5])


@pytest.mark.parametrize("time", [1, 2, 4, 8])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_film_in_chunks_is_the_film_whole(time: int, groups: int) -> None:
    film = 0.05 * drawn((2, 3, 1 + 4 * time, 16, 24))
    block, parts, before = (time, 8, 8), [], None
    for chunk in (film[:, :, :1], *film[:, :, 1:].split(groups * time, 2)):
        part, before = without_seams(chunk, block, before)
        parts.append(part)
    whole = mended(film, block)
    assert torch.equal(torch.cat(parts, 2), whole)
    assert not torch.equal(whole, film)


def test_gradients_are_those_of_the_function() -> None:
    film = (0.05 * drawn((1, 2, 5, 4, 8))).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: mended(x, (4, 4, 4)), film)
