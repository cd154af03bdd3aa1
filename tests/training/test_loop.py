"""The loop and its parts: what a step does, what is remembered of it, and what stops it."""

from __future__ import annotations

import hashlib
import math
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitascope.data.clips import Source, story_clips
from vitascope.diffusion import Diffusion
from vitascope.errors import BadRun
from vitascope.physics.noise import Noise
from vitascope.physics.schedule import Linear
from vitascope.physics.times import LogitNormal
from vitascope.recipe import StageSettings
from vitascope.storybook import caption, plain
from vitascope.training import checkpoint
from vitascope.training.loop import Report, State, _batches, train
from vitascope.training.muon import Muon
from vitascope.training.optim import Average, Optimizer, clip_gradients, learning_rate
from vitascope.training.tasks import DiffusionTask, Order


def settings(**changes: Any) -> StageSettings:
    return StageSettings.model_validate(
        {"steps": 12, "batch": 3, "clips": 8, "lr": 1e-2, "warmup": 3, "autocast": False, **changes}
    )


class Net(nn.Module):
    """Hidden matrices and kernels, which Muon moves, between layers that AdamW moves."""

    def __init__(self) -> None:
        super().__init__()
        self.begin = nn.Linear(4, 6)
        self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Conv1d(6, 6, 1)])
        self.end = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.blocks[0](self.begin(x)))
        return self.end(torch.tanh(self.blocks[1](x.unsqueeze(-1)).squeeze(-1)))


class Toy:
    """Learn a fixed map from noise; a batch says by how much the loss is multiplied."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = Net()
        self.seen: list[Tensor] = []

    def loss(self, batch: float, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        x = noise.normal("x", 0, (4,))
        self.seen.append(x)
        return batch * (self.model(x) - x[:, :2].sin()).square().mean(), {"step": float(step)}


def walk(task: Toy, chosen: StageSettings, state: State, upto: int | None = None) -> list[Report]:
    found = []
    for report in train(task, lambda step: 1.0, chosen, state, seed=5):
        found.append(report)
        if report.step == upto:
            break
    return found


def hashed(tensors: dict[str, Tensor]) -> str:
    whole = hashlib.sha256()
    for name in sorted(tensors):
        whole.update(name.encode() + tensors[name].numpy().tobytes())
    return whole.hexdigest()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("at", [1, 5, 11])
def test_a_walk_that_goes_on_from_a_file_ends_as_one_that_never_stopped(
    tmp_path: Path, optimizer: str, at: int
) -> None:
    chosen, whole = settings(optimizer=optimizer), Toy()
    unbroken = State.fresh(whole.model, chosen)
    reports = walk(whole, chosen, unbroken)

    first = Toy()
    state = State.fresh(first.model, chosen)
    head = walk(first, chosen, state, upto=at)
    checkpoint.save(tmp_path / "state", state.tensors(), {})

    second = Toy()
    nn.init.zeros_(second.model.end.weight)  # whatever was there is replaced
    resumed = State.fresh(second.model, chosen)
    resumed.restore(checkpoint.load(tmp_path / "state"))
    assert head + walk(second, chosen, resumed) == reports
    assert hashed(resumed.tensors()) == hashed(unbroken.tensors())


def test_it_learns() -> None:
    task, chosen = Toy(), settings(steps=200, batch=16, optimizer="muon", muon_lr=2e-2)
    losses = [report.loss for report in walk(task, chosen, State.fresh(task.model, chosen))]
    assert sum(losses[-20:]) < 0.3 * sum(losses[:20])


def test_every_step_and_every_row_has_noise_of_its_own() -> None:
    task, chosen = Toy(), settings()
    walk(task, chosen, State.fresh(task.model, chosen))
    rows = torch.cat(task.seen)
    assert len(rows.unique(dim=0)) == chosen.steps * chosen.batch


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), 1e38])
def test_a_loss_that_is_not_finite_stops_before_it_touches_the_weights(factor: float) -> None:
    task, chosen = Toy(), settings()
    state = State.fresh(task.model, chosen)
    reports = train(task, lambda step: factor if step == 4 else 1.0, chosen, state, seed=5)
    assert [next(reports).step for _ in range(4)] == [1, 2, 3, 4]
    before = hashed(state.tensors())
    with pytest.raises(BadRun, match=r"^step 5: the loss is .* resume from the last checkpoint with a lower"):
        next(reports)
    assert state.step == 4
    assert hashed(state.tensors()) == before


def test_the_global_generator_is_left_alone() -> None:
    task, chosen = Toy(), settings()
    state = State.fresh(task.model, chosen)
    torch.manual_seed(1)
    wanted = torch.rand(2)
    torch.manual_seed(1)
    walk(task, chosen, state)
    assert torch.equal(torch.rand(2), wanted)


@pytest.mark.parametrize("ahead", [False, True])
def test_batches_come_in_order_and_once(ahead: bool) -> None:
    made, threads = [], set()

    def batch_at(step: int) -> int:
        made.append(step)
        threads.add(threading.get_ident())
        return step * step

    assert list(_batches(batch_at, range(3, 9), ahead=ahead)) == [step**2 for step in range(3, 9)]
    assert made == list(range(3, 9))
    assert (threading.get_ident() in threads) != ahead
    assert list(_batches(batch_at, range(5, 5), ahead=ahead)) == []


def test_a_batch_that_fails_ahead_fails_the_step() -> None:
    def batch_at(step: int) -> int:
        return 1 // (3 - step)

    with pytest.raises(ZeroDivisionError):
        list(_batches(batch_at, range(9), ahead=True))


# The optimisers


def test_muon_moves_hidden_weights_and_adamw_the_rest() -> None:
    model = Net()
    optimizer = Optimizer(model, settings(optimizer="muon"))
    adamw, muon = optimizer.parts
    assert isinstance(muon, Muon)
    moved = {optimizer.names[id(p)] for group in muon.param_groups for p in group["params"]}
    assert moved == {"blocks.0.weight", "blocks.1.weight"}
    rest = {optimizer.names[id(p)] for group in adamw.param_groups for p in group["params"]}
    assert rest == {name for name, _ in model.named_parameters()} - moved
    decayed = {optimizer.names[id(p)] for p in adamw.param_groups[0]["params"]}
    assert decayed == {"begin.weight", "end.weight"}
    assert adamw.param_groups[1]["weight_decay"] == 0.0


def test_every_part_steps_at_its_own_rate_times_the_curve() -> None:
    model, chosen = Net(), settings(optimizer="muon", lr=1e-2, muon_lr=3e-2)
    optimizer = Optimizer(model, chosen)
    for step in (0, 2, 7):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        factor = optimizer.step(step)
        assert factor == learning_rate(step, chosen)
        assert [group["lr"] for part in optimizer.parts for group in part.param_groups] == pytest.approx(
            [1e-2 * factor, 1e-2 * factor, 3e-2 * factor]
        )
        assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("before", "after"), [("muon", "adamw"), ("adamw", "muon")])
def test_the_memory_of_another_optimiser_is_refused(before: str, after: str) -> None:
    task, chosen = Toy(), settings(optimizer=before)
    state = State.fresh(task.model, chosen)
    walk(task, chosen, state, upto=2)
    other = State.fresh(Toy().model, settings(optimizer=after))
    with pytest.raises(BadRun, match=r"memory of blocks\.0\.weight is that of another optimiser"):
        other.restore(state.tensors())


def test_the_learning_rate_warms_up_and_falls() -> None:
    cosine = settings(steps=103, warmup=3, decay="cosine", final=0.1)
    assert [learning_rate(step, cosine) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert learning_rate(53, cosine) == pytest.approx(0.55)
    assert learning_rate(103, cosine) == pytest.approx(0.1)
    linear = settings(steps=103, warmup=3, decay="linear", cooldown=0.4, final=0.0)
    assert learning_rate(62, linear) == 1.0
    assert learning_rate(83, linear) == pytest.approx(0.5)
    assert learning_rate(103, linear) == pytest.approx(0.0)
    for chosen in (cosine, linear):
        curve = [learning_rate(step, chosen) for step in range(3, 103)]
        assert curve == sorted(curve, reverse=True)
        assert all(0 <= rate <= 1 for rate in curve)
    assert learning_rate(0, settings(steps=1, warmup=0)) == 1.0


def test_gradients_are_scaled_down_together_and_never_up() -> None:
    parameters = [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2, 2))]
    for size in (10.0, 0.01):
        for parameter in parameters:
            parameter.grad = torch.full_like(parameter, size)
        before = size * math.sqrt(6)
        assert clip_gradients(parameters, 1.0) == pytest.approx(before)
        after = math.sqrt(sum(float(p.grad.square().sum()) for p in parameters if p.grad is not None))
        assert after == pytest.approx(min(1.0, before), rel=1e-4)


def test_the_average_forgets_faster_at_first() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average, wanted = Average(model, 0.9), 0.0
    for step in range(1, 60):
        nn.init.constant_(model.weight, float(step))
        average.update(model, step)
        decay = min(0.9, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * step
    assert float(average.weights["weight"]) == pytest.approx(wanted, rel=1e-5)
    average.copy_to(model)
    assert float(model.weight.detach()) == pytest.approx(wanted, rel=1e-5)
    assert wanted < 59


# The state on disk


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(4.0), "step": torch.tensor(3), "turned": torch.arange(6.0).view(2, 3).T}
    checkpoint.save(tmp_path / "deep" / "state", tensors, {"stage": "codec"})
    found = checkpoint.load(tmp_path / "deep" / "state")
    assert {name: value.tolist() for name, value in found.items()} == {k: v.tolist() for k, v in tensors.items()}


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state"
    checkpoint.save(path, {"a": torch.ones(2)}, {})
    before = path.read_bytes()

    def full(tensors: object, partial: Path, metadata: object) -> None:
        partial.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(BadRun, match=r"No space left on device.*the one before still stands; free some space"):
        checkpoint.save(path, {"a": torch.zeros(2)}, {})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state"]


def test_a_checkpoint_that_is_not_whole_is_told(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "state", {"a": torch.ones(20)}, {})
    (tmp_path / "state").write_bytes((tmp_path / "state").read_bytes()[:-7])
    with pytest.raises(BadRun, match="delete it to start its stage anew"):
        checkpoint.load(tmp_path / "state")


# What is learned from


@pytest.mark.parametrize(("count", "batch"), [(12, 4), (10, 4), (3, 8), (7, 7)])
def test_every_clip_comes_once_in_each_epoch(count: int, batch: int) -> None:
    order = Order(1, count, batch)
    seen: dict[int, list[int]] = {}
    for step in range(4 * count):
        clips, epochs = order.at(step)
        assert len(clips) == batch
        for clip, epoch in zip(clips, epochs):
            seen.setdefault(epoch, []).append(clip)
    whole = [clips for epoch, clips in seen.items() if epoch < 4]
    assert all(sorted(clips) == list(range(count)) for clips in whole)
    assert len({tuple(clips) for clips in whole}) > 1


def test_steps_of_several_sizes_come_in_turn_and_share_an_epoch() -> None:
    order = Order(1, 10, (5, 2, 1))
    sizes = [len(order.at(step)[0]) for step in range(6)]
    assert sizes == [5, 2, 1, 5, 2, 1]
    told = [pair for step in range(30) for pair in zip(*order.at(step))]
    for epoch in range(8):
        assert sorted(clip for clip, at in told if at == epoch) == list(range(10))


def test_a_step_has_the_same_clips_whoever_asks() -> None:
    assert Order(1, 50, 4).at(7) == Order(1, 50, 4).at(7)
    assert Order(1, 50, 4).at(7) != Order(2, 50, 4).at(7)


class Fixed:
    """Latents and prompts that are not looked at."""

    def batch(self, indices: list[int]) -> Tensor:
        return torch.zeros(len(indices), 1)


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_that_share_of_captions_is_dropped_and_the_rest_are_true(tmp_path: Path, share: float) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=16, frames=1, height=16, width=16))
    chosen = settings(batch=16, clips=16, dropout=share)
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    task = DiffusionTask(diffusion, Fixed(), clips, Fixed(), chosen, seed=2)  # type: ignore[arg-type]
    told = [prompt for step in range(100) for prompt in task.batch(step)[1]]
    assert told.count("") / len(told) == pytest.approx(share, abs=0.03)
    for step in range(20):
        indices, epochs = task.order.at(step)
        for prompt, index, epoch in zip(task.batch(step)[1], indices, epochs):
            assert prompt in ("", caption(clips.scene(index), epoch))
    assert task.batch(3)[1] == task.batch(3)[1]


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_that_share_of_captions_is_plain(tmp_path: Path, share: float) -> None:
    clips = story_clips(tmp_path / "clips.u8", Source(seed=1, count=16, frames=1, height=16, width=16))
    chosen = settings(batch=16, clips=16, dropout=0.0, plain=share)
    diffusion = Diffusion(nn.Identity(), Linear(), "velocity", LogitNormal())
    task = DiffusionTask(diffusion, Fixed(), clips, Fixed(), chosen, seed=2)  # type: ignore[arg-type]
    found = 0
    for step in range(60):
        indices, epochs = task.order.at(step)
        for prompt, index, epoch in zip(task.batch(step)[1], indices, epochs):
            found += prompt == plain(clips.scene(index))
            assert prompt in (plain(clips.scene(index)), caption(clips.scene(index), epoch))
    assert found / (60 * 16) == pytest.approx(share, abs=0.05)
