"""The story of the field, as tests: what noise is for, what guidance does, on data whose truth is known."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from vitascope.physics.exact import Gaussian, GaussianMixture
from vitascope.physics.field import Field
from vitascope.physics.guidance import guide, interval
from vitascope.physics.noise import Noise, normal, uniform
from vitascope.physics.schedule import DiscreteVP, Linear
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import discrete
from vitascope.physics.times import uniform as uniform_times

COUNT = 1000


class Shared(Noise):
    """All samples' noise from one draw a step: as good, and much faster than a generator for each of a thousand."""

    def like(self, purpose: str, index: int, x: Tensor) -> Tensor:
        return normal(self.seeds[0], purpose, index, x.shape, dtype=x.dtype)


class Silent(Noise):
    """The noise left out."""

    def like(self, purpose: str, index: int, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


def walk(solver: str, field: Field, times: Tensor, noise: Noise | None = None, seed: int = 0) -> Tensor:
    """Where COUNT samples of pure noise in two dimensions end, [COUNT, 2]."""
    x = normal(seed, "start", 0, (COUNT, 2), dtype=torch.float64)
    for step in SOLVERS[solver](field, x, times, noise=noise):
        x = step.x
    return x


def share(data: GaussianMixture, x: Tensor, mode: int) -> float:
    return float((data.nearest(x) == mode).double().mean())


# Noise is not decoration: each step of DDPM moves to the mean of where x could have come from, and the spread around
# that mean has to be put back. The setting is Ho et al. 2020's own: a thousand betas, a network that predicts eps.
TABLE, STEPS = DiscreteVP.linear(), discrete(1000)


def test_ddpm_without_its_noise_collapses() -> None:
    data = Gaussian([1.0, -0.5], [0.5, 1.0])
    field, spread = data.field(TABLE, "eps"), data.stds[0]
    assert (walk("ddpm", field, STEPS, Silent((0,))).std(0) < 0.05 * spread).all()
    noisy = walk("ddpm", field, STEPS, Shared((1,)))
    torch.testing.assert_close(noisy.std(0), spread, rtol=0.08, atol=0)
    torch.testing.assert_close(noisy.mean(0), data.means[0], rtol=0, atol=0.12)


def test_ddpm_without_its_noise_collapses_within_each_mode() -> None:
    # What little spread is left lies along the line between the modes: walks that began near the watershed are late.
    data = GaussianMixture([[-1.0, 0.8], [1.0, -0.8]], [[0.10, 0.08], [0.08, 0.10]])
    field = data.field(TABLE, "eps")
    silent, noisy = (walk("ddpm", field, STEPS, noise) for noise in (Silent((0,)), Shared((1,))))
    for mode in range(2):
        assert 0.4 < share(data, silent, mode) < 0.6
        assert (silent[data.nearest(silent) == mode].std(0) < 0.2 * data.stds[mode]).all()
        inside = noisy[data.nearest(noisy) == mode]
        torch.testing.assert_close(inside.std(0), data.stds[mode], rtol=0.12, atol=0)
        torch.testing.assert_close(inside.mean(0), data.means[mode], rtol=0, atol=0.02)


class Energy:
    """The energy distance of two sets of COUNT points (Szekely & Rizzo 2013), and what it is between equal sets: its
    distribution when the labels of all the points are dealt out anew."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.distances = torch.cdist(torch.cat([x, y]), torch.cat([x, y]))
        labels = torch.cat([torch.ones(COUNT), -torch.ones(COUNT)]).double()
        deals = uniform(0, "deal", 0, (200, 2 * COUNT)).argsort(1)
        self.value = float(self._of(labels.unsqueeze(0)))
        self.by_chance = float(self._of(labels[deals]).quantile(0.99))

    def _of(self, labels: Tensor) -> Tensor:
        return -((labels @ self.distances) * labels).sum(1) / COUNT**2


def test_ddim_and_the_reverse_sde_end_in_the_same_distribution() -> None:
    data = GaussianMixture([[-1.0, 0.5], [1.0, 0.2], [0.3, -1.0]], [0.3, 0.5, 0.2], [1.0, 2.0, 1.5])
    field, times = data.field(Linear(), "velocity"), uniform_times(150)
    calm = walk("ddim", field, times)
    for name, seed in (("ddpm", 1), ("euler_maruyama", 2), ("dpmpp_2m_sde", 3)):
        random = walk(name, field, times, Shared((seed,)), seed=seed)
        energy = Energy(calm, random)
        assert energy.value < energy.by_chance, name
        assert (random - calm).abs().mean() > 0.3, name  # the same distribution, but not the same walk
    energy = Energy(calm, data.sample(4, COUNT))
    assert energy.value < energy.by_chance  # and it is the data's
    energy = Energy(calm, walk("ddpm", field, times, Silent((0,)), seed=5))
    assert energy.value > 5 * energy.by_chance  # this measure does see the collapse
    energy = Energy(calm, data.sample(4, COUNT) + torch.tensor([0.15, 0.0]))
    assert energy.value > energy.by_chance  # and a shift by a fifth of the spread


OVERLAPPING = GaussianMixture([[-0.6, 0.0], [0.6, 0.0]], 0.8)
CALM = uniform_times(40)


def test_guidance_sharpens() -> None:
    wanted, everything = OVERLAPPING[[1]].field(Linear()), OVERLAPPING.field(Linear())
    results = [walk("dpmpp_2m", guide(wanted, everything, scale), CALM) for scale in (1.0, 2.0, 4.0, 8.0)]
    shares = [share(OVERLAPPING, x, 1) for x in results]
    assert all(weak <= strong for weak, strong in pairwise(shares)), shares
    assert shares[0] < 0.85  # the modes do overlap
    assert shares[2] > shares[0] + 0.05
    spreads = [float(x.std(0).mean()) for x in results]
    assert spreads[3] < spreads[0]  # what guidance costs: variety


def test_guidance_in_an_interval_lies_between_none_and_all() -> None:
    wanted, everything = OVERLAPPING[[1]].field(Linear()), OVERLAPPING.field(Linear())
    scales = (1.0, interval(4.0, 0.3, 0.7), 4.0)
    plain, some, full = (share(OVERLAPPING, walk("dpmpp_2m", guide(wanted, everything, s), CALM), 1) for s in scales)
    assert plain < some < full


def test_a_negative_lowers_the_share_of_its_mode() -> None:
    data = GaussianMixture([[-1.0, 0.0], [1.0, 0.0], [0.0, 1.5]], 0.6)
    everything, unwanted = data.field(Linear()), data[[1]].field(Linear())
    shares = [share(data, walk("dpmpp_2m", guide(everything, unwanted, s), CALM), 1) for s in (1.0, 1.5, 2.0, 3.0)]
    assert 0.25 < shares[0] < 0.4
    assert all(weak >= strong for weak, strong in pairwise(shares)), shares
    assert shares[1] < shares[0] - 0.05
