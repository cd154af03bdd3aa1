"""A walk that was stopped, saved and continued is the walk that was never stopped, bit for bit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.physics import VP, Linear, Noise, Schedule, leaf
from vitascope.physics.solvers import SOLVERS, Step, remaining

NOISE = Noise((5, 6))
TIMES = torch.linspace(1, 0, 11, dtype=torch.float64) ** 1.5


def network(x: Tensor, t: float) -> Tensor:
    return torch.tanh(1.3 * x.roll(1, -1) - 0.5 * x + t)


def walk(name: str, schedule: Schedule, x: Tensor, after: Step | None = None) -> list[Step]:
    return list(SOLVERS[name](leaf(schedule, network, "velocity"), x, TIMES, noise=NOISE, after=after))


def save(step: Step, path: Path) -> None:
    """Nothing but tensors: floats as float64 ones. safetensors would refuse two names for one memory."""
    numbers = {"index": step.index, "t": step.t, **{f"memory.{i}": value for i, value in enumerate(step.memory)}}
    tensors = {
        name: value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
        for name, value in numbers.items()
    }
    save_file({"x": step.x, "x0": step.x0, **tensors}, path)


def load(path: Path) -> Step:
    file = load_file(path)
    memory = tuple(file[f"memory.{i}"] for i in range(sum(name.startswith("memory.") for name in file)))
    return Step(int(file["index"]), float(file["t"]), file["x"], file["x0"], memory)


def assert_identical(a: Step, b: Step) -> None:
    assert (a.index, a.t, a.error, len(a.memory)) == (b.index, b.t, b.error, len(b.memory))
    for one, other in zip((a.x, a.x0, *a.memory), (b.x, b.x0, *b.memory), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


@pytest.mark.parametrize("schedule", [Linear(), VP()], ids=repr)
@pytest.mark.parametrize("name", SOLVERS)
def test_resume_at_every_step_through_a_file(name: str, schedule: Schedule, tmp_path: Path) -> None:
    x = NOISE.normal("start", 0, (3, 4))
    whole = walk(name, schedule, x)
    assert [step.index for step in whole] == list(range(10))
    for step in whole:
        save(step, tmp_path / "step.safetensors")
        # What was x at the start plays no part any more.
        rest = walk(name, schedule, torch.full_like(x, torch.nan), load(tmp_path / "step.safetensors"))
        assert len(rest) == 9 - step.index
        for resumed, unbroken in zip(rest, whole[step.index + 1 :], strict=True):
            assert_identical(resumed, unbroken)


@pytest.mark.parametrize("name", SOLVERS)
def test_resume_through_a_pickle_of_weights_only(name: str, tmp_path: Path) -> None:
    x = NOISE.normal("start", 0, (3, 4))
    whole = walk(name, Linear(), x)
    torch.save(tuple(whole[4]), tmp_path / "step.pt")
    loaded = Step(*torch.load(tmp_path / "step.pt", weights_only=True))
    for resumed, unbroken in zip(walk(name, Linear(), x, loaded), whole[5:], strict=True):
        assert_identical(resumed, unbroken)


def test_the_walk_depends_on_where_it_resumes_from() -> None:
    """The comparison above can fail: a step that is a little off leads elsewhere."""
    for name in SOLVERS:
        whole = walk(name, Linear(), NOISE.normal("start", 0, (3, 4)))
        other = walk(name, Linear(), whole[0].x, whole[4]._replace(x=whole[4].x + 1e-3, x0=whole[4].x0 + 1e-3))
        assert not torch.equal(other[-1].x, whole[-1].x), name


def test_a_step_of_another_grid_is_refused() -> None:
    step = walk("euler", Linear(), NOISE.normal("start", 0, (3, 4)))[3]
    with pytest.raises(ValueError, match="expected one of this grid"):
        next(remaining(torch.linspace(1, 0, 11, dtype=torch.float64), step))
    with pytest.raises(ValueError, match="expected one of this grid"):
        next(remaining(TIMES[:4], step))


def test_the_intervals_left() -> None:
    times = torch.tensor([1.0, 0.5, 0.25, 0.0], dtype=torch.float64)
    x = torch.zeros(1)
    assert list(remaining(times)) == [(0, 1.0, 0.5), (1, 0.5, 0.25), (2, 0.25, 0.0)]
    assert list(remaining(times, Step(0, 0.5, x, x))) == [(1, 0.5, 0.25), (2, 0.25, 0.0)]
    assert list(remaining(times, Step(2, 0.0, x, x))) == []
    assert all(a[2] == b[1] for a, b in pairwise(remaining(TIMES)))


@pytest.mark.parametrize(
    "times", [[1.0], [0.5, 0.5], [0.2, 0.5], [1.2, 0.5], [0.5, -0.1], [1.0, float("nan"), 0.0], [[1.0, 0.0]]]
)
def test_a_grid_that_does_not_fall_is_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="fall strictly"):
        next(remaining(torch.tensor(times, dtype=torch.float64)))
