"""The same steps as diffusers' own classes, and the golden values of Wan's two samplers.

Each walk is compared twice: step by step, where the other library is fed our x at each step, and from end to end, where it walks
alone. The network in both is one smooth function that stands for any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from vitascope.physics import DiscreteVP, Linear, Noise, Prediction, Schedule, leaf
from vitascope.physics.exact import Gaussian
from vitascope.physics.solvers import Step, ddim, ddpm, dpmpp_2m, dpmpp_2m_sde, euler, unipc

# diffusers hands torch tensors to numpy in a way that numpy 2 will not take for long.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NOISE = Noise((3, 4))
TABLES: dict[str, tuple[DiscreteVP, dict[str, Any]]] = {
    "linear": (DiscreteVP.linear(), {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}),
    "scaled_linear": (
        DiscreteVP.scaled_linear(),
        {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    ),
    "squaredcos_cap_v2": (DiscreteVP.cosine(), {"beta_schedule": "squaredcos_cap_v2"}),
}
PREDICTIONS: dict[Prediction, Any] = {"eps": "epsilon", "v": "v_prediction", "velocity": "flow_prediction"}


def network(x: Tensor, t: float) -> Tensor:
    return torch.tanh(1.3 * x.roll(1, -1) - 0.5 * x + t) + 0.1 * x.roll(1, 1)


def off(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm())


def assert_same(
    solver: Callable[..., Iterator[Step]],
    schedule: Schedule,
    kind: Prediction,
    times: Tensor,
    fresh: Callable[[], Callable[[Tensor, int, Tensor, Tensor], Tensor]],
) -> None:
    """`fresh()` is another library's walk at its start: (network's answer, index, x, noise) -> the next x."""
    x = NOISE.normal("start", 0, (3, 4, 5))
    steps = list(solver(leaf(schedule, network, kind), x, times, noise=NOISE))
    assert len(steps) == len(times) - 1
    fed, alone = fresh(), fresh()
    ours, theirs = x, x
    for step, t in zip(steps, times.tolist(), strict=False):
        noise = NOISE.like("solver", step.index, x)
        each = off(step.x, fed(network(ours, t), step.index, ours, noise))
        assert each <= 1e-5, f"step {step.index}: {each:.1e}"
        ours, theirs = step.x, alone(network(theirs, t), step.index, theirs, noise)
    assert off(ours, theirs) <= 1e-4


def index_times(scheduler: Any) -> Tensor:
    """Where a table's indices stand, and the clean end."""
    return torch.cat([(scheduler.timesteps.double() + 1) / 1000, torch.zeros(1, dtype=torch.float64)])


@pytest.mark.parametrize("count", [10, 50])
@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("table", TABLES)
def test_ddpm(table: str, kind: Prediction, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule, betas = TABLES[table]
    scheduler = DDPMScheduler(
        **betas, prediction_type=PREDICTIONS[kind], clip_sample=False, variance_type="fixed_small"
    )
    scheduler.set_timesteps(count)
    handed: list[Tensor] = []
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *shape, **keywords: handed[-1])

    def step(y: Tensor, index: int, x: Tensor, noise: Tensor) -> Tensor:
        handed.append(noise)
        return scheduler.step(y, int(scheduler.timesteps[index]), x, return_dict=False)[0]

    assert_same(ddpm, schedule, kind, index_times(scheduler), lambda: step)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("table", TABLES)
def test_ddim(table: str, kind: Prediction, eta: float) -> None:
    schedule, betas = TABLES[table]
    scheduler = DDIMScheduler(**betas, prediction_type=PREDICTIONS[kind], clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(10)

    def step(y: Tensor, index: int, x: Tensor, noise: Tensor) -> Tensor:
        timestep = int(scheduler.timesteps[index])
        return scheduler.step(y, timestep, x, eta=eta, variance_noise=noise, return_dict=False)[0]

    assert_same(partial(ddim, eta=eta), schedule, kind, index_times(scheduler), lambda: step)


def multistep(make: Callable[..., Any], count: int, noisy: bool) -> Callable[[], Callable[..., Tensor]]:
    """Schedulers that remember: each walk has its own."""

    def fresh() -> Callable[..., Tensor]:
        scheduler = make()
        scheduler.set_timesteps(count)

        def step(y: Tensor, index: int, x: Tensor, noise: Tensor) -> Tensor:
            keywords = {"variance_noise": noise} if noisy else {}
            return scheduler.step(y, scheduler.timesteps[index], x, **keywords, return_dict=False)[0]

        return step

    return fresh


@pytest.mark.parametrize("count", [10, 20])
@pytest.mark.parametrize("kind", ["eps", "v"])
@pytest.mark.parametrize("table", ["linear", "scaled_linear"])
@pytest.mark.parametrize("name", ["dpmsolver++", "sde-dpmsolver++", "unipc"])
def test_multistep_on_a_table(name: str, table: str, kind: Prediction, count: int) -> None:
    schedule, betas = TABLES[table]
    make: Callable[..., Any] = partial(
        UniPCMultistepScheduler if name == "unipc" else DPMSolverMultistepScheduler,
        **betas,
        prediction_type=PREDICTIONS[kind],
        **({} if name == "unipc" else {"algorithm_type": name}),
        final_sigmas_type="zero",
    )
    scheduler = make()
    scheduler.set_timesteps(count)
    solver = {"dpmsolver++": dpmpp_2m, "sde-dpmsolver++": dpmpp_2m_sde, "unipc": unipc}[name]
    assert_same(solver, schedule, kind, index_times(scheduler), multistep(make, count, name.startswith("sde")))


FLOW: Mapping[str, tuple[Callable[..., Iterator[Step]], Callable[..., Any]]] = {
    "dpmpp_2m": (dpmpp_2m, partial(DPMSolverMultistepScheduler, algorithm_type="dpmsolver++")),
    "dpmpp_2m_sde": (dpmpp_2m_sde, partial(DPMSolverMultistepScheduler, algorithm_type="sde-dpmsolver++")),
    "unipc": (unipc, UniPCMultistepScheduler),
}


@pytest.mark.parametrize("count", [2, 10, 20])
@pytest.mark.parametrize("shift", [1.0, 5.0])
@pytest.mark.parametrize("name", FLOW)
def test_multistep_with_flow_sigmas(name: str, shift: float, count: int) -> None:
    solver, kind = FLOW[name]
    make = partial(
        kind,
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=shift,
        final_sigmas_type="zero",
    )
    scheduler = make()
    scheduler.set_timesteps(count)
    times = scheduler.sigmas.double()
    assert_same(solver, Linear(), "velocity", times, multistep(make, count, name == "dpmpp_2m_sde"))


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_euler_flow_matching(shift: float) -> None:
    make = partial(FlowMatchEulerDiscreteScheduler, shift=shift)
    scheduler: Any = make()
    scheduler.set_timesteps(10)
    assert scheduler.sigmas[0] == 1
    assert_same(euler, Linear(), "velocity", scheduler.sigmas.double(), multistep(make, 10, False))


GOLDEN: list[tuple[Callable[..., Iterator[Step]], int, float, float, list[float]]] = [
    (unipc, 4, 5, 0.999, [0.96872733, 0.91723647, 0.81740480, 0.53701911]),
    (dpmpp_2m, 4, 5, 1.0, [0.96875, 0.91712949, 0.81700484, 0.53693916]),
    (euler, 4, 5, 1.0, [0.96875, 0.91712949, 0.81596606, 0.53687820]),
    (
        unipc,
        8,
        3,
        0.999,
        [0.97725920, 0.95022075, 0.91757331, 0.87738731, 0.82717232, 0.76415295, 0.69099296, 0.62380127],
    ),
    (
        dpmpp_2m,
        8,
        3,
        1.0,
        [0.97727272, 0.95017003, 0.91744007, 0.87718485, 0.82685625, 0.76359460, 0.68984198, 0.62325874],
    ),
]


@pytest.mark.parametrize(("solver", "count", "shift", "first", "golden"), GOLDEN)
def test_golden_values(
    solver: Callable[..., Iterator[Step]], count: int, shift: float, first: float, golden: list[float]
) -> None:
    """Data N(0.5, 0.25^2), the exact velocity, x = 1 at the start, sigmas rounded to float32, as Wan's programs have them."""
    equal = torch.linspace(float(torch.tensor(first)), 0, count + 1, dtype=torch.float64)
    times = (shift * equal / (1 + (shift - 1) * equal)).float().double()
    steps = solver(Gaussian([0.5], 0.25).field(Linear()), torch.ones(1, 1, dtype=torch.float64), times)
    assert [float(step.x) for step in steps] == pytest.approx(golden, abs=6e-9, rel=0)
