from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitascope.physics.exact import GaussianMixture
from vitascope.physics.field import leaf
from vitascope.physics.guidance import apg, blend, compose, emphasise, falling, guide, interval, rescale, threshold
from vitascope.physics.schedule import Linear

MIXTURE = GaussianMixture(torch.linspace(-2, 2, 36).reshape(3, 2, 6).sin(), [0.4, 0.6, 0.5])
A, B, C = (MIXTURE[[i]].field(Linear()) for i in range(3))
X = torch.randn(4, 2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fixed(x0: torch.Tensor):
    """A field whose estimate of x0 is always this."""
    return leaf(Linear(), lambda x, t: x0, "x0")


def test_guidance_1_is_the_positive_and_0_the_negative() -> None:
    assert torch.equal(guide(A, B, 1.0)(X, 0.5), A(X, 0.5))
    assert torch.equal(guide(A, B, 0.0)(X, 0.5), B(X, 0.5))


@given(t=st.floats(0, 1))
def test_an_interval_is_its_scale_within_and_1_outside(t: float) -> None:
    assert interval(6.0, 0.2, 0.8)(t) == (6.0 if 0.2 <= t <= 0.8 else 1.0)


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.5), (0.8, 0.2), (0.5, 1.1), (float("nan"), 1.0)])
def test_an_interval_outside_the_walk_is_refused(low: float, high: float) -> None:
    with pytest.raises(ValueError, match="0 <= low <= high <= 1"):
        interval(6.0, low, high)


def test_a_falling_scale_begins_at_t_1() -> None:
    scale = falling(7.0, 2.0)
    assert [scale(t) for t in (1.0, 0.5, 0.0)] == [7.0, 4.5, 2.0]
    torch.testing.assert_close(guide(A, B, scale)(X, 0.5), guide(A, B, 4.5)(X, 0.5))


def test_one_prompt_composed_is_guidance() -> None:
    torch.testing.assert_close(compose({A: 5.0}, B)(X, 0.5), guide(A, B, 5.0)(X, 0.5))


def test_composition_adds_directions() -> None:
    a, b, c = (each(X, 0.4) for each in (A, B, C))
    torch.testing.assert_close(compose({A: 3.0, B: -2.0}, C)(X, 0.4), c + 3 * (a - c) - 2 * (b - c))
    torch.testing.assert_close(compose({A: falling(1.0, 0.0)}, C)(X, 0.4), c + 0.4 * (a - c))


def test_a_phrase_of_weight_1_is_the_whole_and_of_0_the_rest() -> None:
    assert torch.equal(emphasise(A, {})(X, 0.5), A(X, 0.5))
    assert torch.equal(emphasise(A, {B: 1.0})(X, 0.5), A(X, 0.5))
    torch.testing.assert_close(emphasise(A, {B: 0.0})(X, 0.5), B(X, 0.5))
    torch.testing.assert_close(emphasise(A, {B: 3.0})(X, 0.5), guide(A, B, 3.0)(X, 0.5))


def test_phrases_count_beside_each_other_and_beside_guidance() -> None:
    a, b, c = (each(X, 0.4) for each in (A, B, C))
    torch.testing.assert_close(emphasise(A, {B: 3.0, C: 0.5})(X, 0.4), a + 2 * (a - b) - 0.5 * (a - c))
    torch.testing.assert_close(emphasise(A, {B: falling(3.0, 1.0)})(X, 0.4), a + 0.8 * (a - b))
    stressed = emphasise(A, {B: 2.5})
    torch.testing.assert_close(guide(stressed, C, 4.0)(X, 0.4), guide(A, C, 4.0)(X, 0.4) + 4 * 1.5 * (a - b))
    each = torch.tensor([1.0, 0.0, 2.0, 1.0], dtype=X.dtype).view(-1, 1, 1)
    torch.testing.assert_close(emphasise(A, {B: each})(X, 0.4), a + (each - 1) * (a - b))


def test_a_blend_is_the_weighted_mean() -> None:
    torch.testing.assert_close(blend({A: 3.0, B: 1.0})(X, 0.4), 0.75 * A(X, 0.4) + 0.25 * B(X, 0.4))
    for weights in ({}, {A: 1.0, B: 0.0}, {A: 2.0, B: -1.0}):
        with pytest.raises(ValueError, match="weights above 0"):
            blend(weights)


def spread(x: torch.Tensor) -> torch.Tensor:
    return x.flatten(1).std(1)


def test_rescale_by_nothing_is_nothing() -> None:
    guided = guide(A, B, 7.0)
    torch.testing.assert_close(rescale(guided, A, 0.0)(X, 0.5), guided(X, 0.5))


def test_rescale_in_full_has_the_spread_of_the_positive() -> None:
    guided = guide(A, B, 7.0)
    plain, strong = A.denoised(X, 0.5), guided.denoised(X, 0.5)
    assert (spread(strong) > 1.5 * spread(plain)).all()
    full, most = (rescale(guided, A, phi).denoised(X, 0.5) for phi in (1.0, 0.7))
    torch.testing.assert_close(spread(full), spread(plain))
    torch.testing.assert_close(most, 0.7 * full + 0.3 * strong)  # Lin et al., eq. 16
    for phi in (-0.1, 1.1):
        with pytest.raises(ValueError, match="phi"):
            rescale(guided, A, phi)


def test_apg_with_the_whole_parallel_part_is_guidance() -> None:
    torch.testing.assert_close(apg(A, B, 6.0, parallel=1.0)(X, 0.5), guide(A, B, 6.0)(X, 0.5))
    torch.testing.assert_close(apg(A, B, falling(6.0, 1.0), parallel=1.0)(X, 0.5), guide(A, B, 3.5)(X, 0.5))


def test_apg_moves_across_the_positive_and_no_further_than_the_radius() -> None:
    plain = A.denoised(X, 0.5)
    moved = apg(A, B, 6.0).denoised(X, 0.5) - plain
    assert (moved * plain).flatten(1).sum(1).abs().max() < 1e-10
    assert moved.abs().max() > 0.1
    short = apg(A, B, 6.0, parallel=1.0, radius=0.01).denoised(X, 0.5) - plain
    torch.testing.assert_close(
        short.flatten(1).square().mean(1).sqrt(), torch.full((4,), 5 * 0.01, dtype=torch.float64)
    )


def test_threshold_clips_to_the_quantile_of_each_sample() -> None:
    x0 = torch.stack([torch.linspace(-0.5, 0.5, 200), torch.linspace(-4, 4, 200)]).double()
    got = threshold(fixed(x0), 0.9).denoised(x0, 0.5)
    torch.testing.assert_close(got[0], x0[0])  # within [-1, 1] already
    limit = x0[1].abs().sort().values[179]
    torch.testing.assert_close(got[1], x0[1].clamp(-limit, limit) / limit)
    with pytest.raises(ValueError, match="quantile"):
        threshold(A, 0.0)
