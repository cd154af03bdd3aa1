from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vitascope.physics import noise
from vitascope.physics.schedule import VE, VP, Cosine, DiscreteVP, Linear
from vitascope.physics.times import (
    Grid,
    LogitNormal,
    Uniform,
    discrete,
    karras,
    shift_time,
    shifted,
    uniform,
    wan_comfy,
    wan_diffusers,
    wan_official_dpmpp,
    wan_official_unipc,
)

GRIDS = {
    "uniform": uniform,
    "shifted": lambda n: shifted(n, 5.0),
    "below": lambda n: shifted(n, 0.5, first=0.999),
    "karras-linear": lambda n: karras(n, Linear()),
    "karras-cosine": lambda n: karras(n, Cosine()),
    "karras-vp": lambda n: karras(n, VP()),
    "karras-ve": lambda n: karras(n, VE()),
    "karras-table": lambda n: karras(n, DiscreteVP.scaled_linear()),
    "leading": lambda n: discrete(n, 1000, "leading", 1),
    "linspace": lambda n: discrete(n, 1000, "linspace"),
    "trailing": lambda n: discrete(n, 1000, "trailing"),
    "wan-unipc": lambda n: wan_official_unipc(n, 5.0).times,
    "wan-dpmpp": lambda n: wan_official_dpmpp(n, 5.0).times,
    "wan-diffusers": lambda n: wan_diffusers(n, 5.0).times,
    "wan-comfy": lambda n: wan_comfy(n, 8.0).times,
}


@pytest.mark.parametrize("n", [1, 2, 7, 50])
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_grid_falls_to_exactly_0(grid, n: int) -> None:
    times = grid(n)
    assert times.shape == (n + 1,)
    assert times.dtype == torch.float64
    assert times[-1] == 0
    assert times[0] <= 1
    assert (times.diff() < 0).all()


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_no_step_is_no_walk(grid) -> None:
    with pytest.raises(ValueError, match=r"at least one step|do not fit"):
        grid(0)


def test_shift_1_is_uniform_and_shifts_multiply() -> None:
    t = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert torch.equal(shifted(10, 1.0), uniform(10))
    torch.testing.assert_close(shift_time(shift_time(t, 3.0), 2.0), shift_time(t, 6.0))
    # A shift by s is a logsnr lower by 2 log s on the linear path.
    middle = t[1:-1]
    moved = Linear().logsnr(shift_time(middle, 4.0)) - Linear().logsnr(middle)
    torch.testing.assert_close(moved, torch.full_like(moved, -2 * math.log(4)))
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match="shift"):
            shifted(10, wrong)


def test_karras_has_the_published_sigmas() -> None:
    ratio = torch.exp(-0.5 * VE(0.01, 100.0).logsnr(karras(18, VE(0.01, 100.0))[:-1]))
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    torch.testing.assert_close(ratio, torch.from_numpy(expected), rtol=1e-8, atol=0)
    table = DiscreteVP.scaled_linear()
    times = karras(10, table)
    assert (float(times[0]), float(times[-2])) == pytest.approx((1.0, 1 / 1000))
    assert float(torch.exp(-0.5 * table.logsnr(times[0]))) == pytest.approx(14.6146, rel=1e-4)
    with pytest.raises(ValueError, match="low < high"):
        karras(10, table, low=2.0, high=1.0)


def test_discrete_has_the_published_indices() -> None:
    def index(*given) -> list[int]:
        return [round(1000 * t - 1) for t in discrete(*given).tolist()[:-1]]

    # Lin et al. 2024, table 2, for 10 steps of 1000.
    assert index(10, 1000, "leading") == [900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    assert index(10, 1000, "linspace") == [999, 888, 777, 666, 555, 444, 333, 222, 111, 0]
    assert index(10, 1000, "trailing") == [999, 899, 799, 699, 599, 499, 399, 299, 199, 99]
    assert index(3, 1000, "leading", 1) == [667, 334, 1]
    assert index(1000, 1000, "trailing") == list(range(999, -1, -1))
    with pytest.raises(ValueError, match="do not fit"):
        discrete(1001)
    with pytest.raises(ValueError, match="out of the table"):
        discrete(10, 1000, "leading", 100)
    with pytest.raises(ValueError, match="'middle'"):
        discrete(10, 1000, "middle")  # pyright: ignore[reportArgumentType]


# The first five and the last three sigmas of the grids that Wan's own code and diffusers make.
GOLDEN: list[tuple[object, int, float, list[float], list[float]]] = [
    (wan_official_unipc, 50, 5.0, [0.9998, 0.995732, 0.99153, 0.987187, 0.982696], [0.24174, 0.172265, 0.092507]),
    (wan_official_dpmpp, 50, 5.0, [1, 0.995935, 0.991736, 0.987395, 0.982906], [0.241935, 0.172414, 0.092593]),
    (wan_diffusers, 50, 5.0, [0.999999, 0.995939, 0.991744, 0.987408, 0.982924], [0.244983, 0.175969, 0.096778]),
    (wan_official_unipc, 50, 3.0, [], [0.160571, 0.111008, 0.057637]),
    (wan_official_dpmpp, 50, 3.0, [], [0.057692]),
    (wan_diffusers, 50, 3.0, [], [0.060405]),
    (wan_official_unipc, 50, 8.0, [], [0.33779, 0.249805, 0.140228]),
    (wan_official_dpmpp, 50, 8.0, [], [0.140351]),
    (wan_diffusers, 50, 8.0, [], [0.146347]),
    (wan_official_unipc, 4, 5.0, [0.9998, 0.937265, 0.833055, 0.624687], []),
    (wan_official_dpmpp, 4, 5.0, [1, 0.9375, 0.833333, 0.625], []),
]


@pytest.mark.parametrize(("grid", "n", "shift", "first", "last"), GOLDEN)
def test_the_grids_of_wan(grid, n: int, shift: float, first: list[float], last: list[float]) -> None:
    times = grid(n, shift).times
    assert times.tolist()[: len(first)] == pytest.approx(first, abs=6e-7)
    assert times.tolist()[n - len(last) : n] == pytest.approx(last, abs=6e-7)
    assert torch.equal(times, times.float().double())  # those programs keep float32


@pytest.mark.parametrize("shift", [1.0, 3.0, 5.0, 8.0, 16.0])
def test_the_clocks_of_wan_are_their_programs_own(shift: float) -> None:
    for n in (4, 7, 30, 37, 50):
        for grid, start, end in (
            (wan_official_unipc, float(np.float32(0.999)), 0.0),
            (wan_official_dpmpp, 1.0, 0.0),
            (wan_diffusers, 1.0, 1 / 1000),
        ):
            sigmas = np.linspace(start, end, n + 1).copy()[:-1]
            sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
            if grid is wan_diffusers:
                sigmas[0] -= 1e-6
            made = grid(n, shift)
            assert made.clock.tolist() == (sigmas * 1000).astype(np.int64).tolist()
            assert made.times[:-1].tolist() == sigmas.astype(np.float32).tolist()


@pytest.mark.parametrize(("n", "shift"), [(4, 5.0), (50, 3.0), (30, 8.0), (9, 1.0)])
def test_the_grid_of_diffusers_is_diffusers(n: int, shift: float) -> None:
    from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift)
    scheduler.set_timesteps(n)
    grid = wan_diffusers(n, shift)
    assert grid.times.tolist() == scheduler.sigmas.double().tolist()
    assert grid.clock.tolist() == scheduler.timesteps.tolist()


def test_the_grid_of_comfy_is_read_off_a_table() -> None:
    """Every (1000 / n)-th entry of sigma(k / 1000), k = 1000 .. 1, in float32; what is told keeps its fraction."""
    made = wan_comfy(4, 8.0)
    assert made.times.tolist() == pytest.approx([1, 8 * 0.75 / 6.25, 8 * 0.5 / 4.5, 8 * 0.25 / 2.75, 0], abs=1e-7)
    assert made.clock.tolist() == pytest.approx((1000 * made.times[:-1]).tolist(), rel=1e-6)
    uneven = wan_comfy(3, 1.0).times.tolist()  # places 0, 333 and 666 of the table
    assert uneven == pytest.approx([1, 0.667, 0.334, 0], abs=1e-7)
    assert made.told(0.5004) == pytest.approx(500.4)


def test_a_grid_tells_its_own_clock_and_whole_numbers_between() -> None:
    grid = wan_official_dpmpp(4, 3.0)
    assert [grid.told(float(t)) for t in grid.times[:-1]] == [1000, 900, 750, 500]
    assert int(1000 * float(grid.times[1])) == 899  # what would be had from the float32 time
    assert grid.told(0.9004) == 900
    assert grid.told(0.3339) == 333
    assert Grid(*grid) == grid


DENSITIES = [Uniform(), Uniform(0.2, 0.7), LogitNormal(), LogitNormal(0.5, 1.4, 3.0), LogitNormal(-1.0, 0.3, 0.5)]


@pytest.mark.parametrize("density", DENSITIES, ids=repr)
@given(u=st.floats(0, 1, exclude_max=True), w=st.floats(0, 1, exclude_max=True))
def test_training_times_rise_with_u_and_lie_inside(density: Uniform | LogitNormal, u: float, w: float) -> None:
    t = density.at(torch.tensor([u, w]))
    assert t.dtype == torch.float64
    assert ((t > 0) & (t <= 1)).all()
    assert (t[0] <= t[1]) if u <= w else (t[0] >= t[1])


def test_the_logit_normal_is_one() -> None:
    u = noise.uniform(0, "test", 0, (20_000,))
    logit = torch.logit(LogitNormal(0.5, 1.4).at(u))
    assert float(logit.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(logit.std()) == pytest.approx(1.4, abs=0.05)
    torch.testing.assert_close(LogitNormal(0.5, 1.4, 3.0).at(u), shift_time(LogitNormal(0.5, 1.4).at(u), 3.0))
    assert float(LogitNormal().at(torch.tensor([0.5]))) == pytest.approx(0.5)
