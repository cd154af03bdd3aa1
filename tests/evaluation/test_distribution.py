"""Distances between sets: what is known in closed form, what must not change, and sets whose truth is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vitascope.evaluation.distribution import (
    distribution,
    diversity,
    features,
    frechet,
    kernel,
    precision_recall,
    spread,
)
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.evaluation.streams import scenery
from vitascope.physics.noise import normal
from vitascope.pixels import to_pixels
from vitascope.storybook import render, scene


def points(seed: int, count: int, width: int = 6) -> Tensor:
    return normal(seed, "points", 0, (count, width), dtype=torch.float64)


def exact(count: int, stds: Tensor, mean: Tensor) -> Tensor:
    """Points whose own mean and covariance are exactly these."""
    raw = points(3, count, len(stds))
    raw = raw - raw.mean(0)
    root = torch.linalg.cholesky(raw.T @ raw / (count - 1))
    return torch.linalg.solve_triangular(root, raw.T, upper=False).T * stds + mean


def test_the_frechet_distance_of_known_gaussians() -> None:
    a, b = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64), torch.tensor([3.0, 0.1, 0.5], dtype=torch.float64)
    shift = torch.tensor([1.0, -2.0, 2.0], dtype=torch.float64)
    here, there = exact(50, a, 0 * shift), exact(70, b, shift)
    assert frechet(here, there) == pytest.approx(9 + float((a - b).square().sum()), rel=1e-9)


def test_the_frechet_distance_is_a_distance() -> None:
    a, b = points(1, 40), 2 * points(2, 60) + 1
    turn = torch.linalg.qr(points(4, 6)).Q
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-9)
    assert frechet(a @ turn + 5, b @ turn + 5) == pytest.approx(frechet(a, b), rel=1e-9)
    assert frechet(3 * a, 3 * b) == pytest.approx(9 * frechet(a, b), rel=1e-9)
    few, others = points(5, 4), points(6, 5)
    assert math.isfinite(frechet(few, others)), "fewer films than features: the covariance is singular"


def test_a_distribution_is_told_in_units_of_the_reference() -> None:
    reference, films = points(1, 60), {name: points(k, 60) for k, name in enumerate(("made", "codec", "real"), 2)}
    told = distribution(films, reference)
    assert told.made.frechet == pytest.approx(frechet(films["made"], reference) / float(reference.var(0).sum()))
    wide = distribution({name: 7 * each for name, each in films.items()}, 7 * reference)
    assert wide.made.frechet == pytest.approx(told.made.frechet)
    assert (wide.made.precision, wide.codec.recall) == (told.made.precision, told.codec.recall)
    assert told.films == 60


def test_the_kernel_distance_is_0_on_average_for_few_films_of_one_kind() -> None:
    same = [kernel(points(2 * k, 20), points(2 * k + 1, 20)) for k in range(60)]
    other = [kernel(points(2 * k, 20) + 0.5, points(2 * k + 1, 20)) for k in range(60)]
    assert abs(sum(same) / 60) < 0.1
    assert min(same) < 0 < max(same)
    assert sum(other) / 60 > 1
    a, b = points(1, 30), 2 * points(2, 40)
    assert kernel(5 * a + 3, 5 * b + 3) == pytest.approx(kernel(a, b))
    assert kernel(a[:1], b) == 0


def test_precision_and_recall_tell_apart_what_is_wrong() -> None:
    reference = points(1, 300, 2)
    assert precision_recall(reference, reference) == (1.0, 1.0)
    assert precision_recall(reference + 100, reference) == (0.0, 0.0)
    narrow = reference[:6].repeat(50, 1) + 1e-3 * points(2, 300, 2)  # plausible, and only a few kinds
    precision, recall = precision_recall(narrow, reference)
    assert precision > 0.99
    assert recall < 0.05
    wide = 8 * points(3, 300, 2)  # everything, and much that never happens
    precision, recall = precision_recall(wide, reference)
    assert precision < 0.3
    assert recall > 0.9
    same = precision_recall(points(4, 300, 2), reference)
    assert min(same) > 0.9


def test_precision_of_films_is_recall_of_the_reference() -> None:
    a, b = points(1, 50), 1.5 * points(2, 80)
    assert precision_recall(a, b) == precision_recall(b, a)[::-1]


def test_manifolds_on_a_line_by_hand() -> None:
    reference = torch.tensor([[0.0], [1.0], [3.0], [9.5], [9.6]], dtype=torch.float64)  # k = 1: radii 1, 1, 2, 0.1, 0.1
    films = torch.tensor([[-1.0], [2.1], [5.5], [-1.1]], dtype=torch.float64)  # 0.1, 3.1, 3.4, 0.1
    assert precision_recall(films, reference, k=1) == (0.5, 0.6)


def test_diversity_is_that_of_the_distances() -> None:
    assert spread(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(2)
    made, world = [points(1, 8), points(2, 8)], [2 * points(1, 8), 2 * points(2, 8)]
    told = diversity(made, world)
    assert told.share == pytest.approx(0.5)
    assert (told.prompts, told.seeds) == (2, 8)
    assert diversity([torch.ones(4, 3)], [points(1, 4)]).share == 0, "one film again and again"
    with pytest.raises(ValueError, match="two films"):
        diversity([points(1, 1)], [points(1, 4)])


def test_features_are_what_the_heads_read() -> None:
    torch.manual_seed(0)
    probe = Probe(ProbeConfig(5, 16, 32, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=6)).eval()
    films = render([scene(3, i) for i in range(5)], frames=5, height=16, width=32)
    found = features(probe, films, rows=2)
    assert found.shape == (5, 6)
    video = to_pixels(films)
    known = torch.cat((found.float(), scenery(video)), 1)
    logits = probe(video)
    for name, head in probe.heads.items():
        torch.testing.assert_close(head(known), logits[name], rtol=1e-4, atol=1e-5)
