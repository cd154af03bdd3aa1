"""One loop for every model: a generator of Reports. The caller logs, saves, previews and stops.

Nothing here draws from a global generator: a batch is a function of the step, and so is its noise. So a run that is killed
and resumed ends in the same weights, bit for bit, as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vitascope.errors import BadRun
from vitascope.physics.noise import Noise, key
from vitascope.precision import bf16
from vitascope.recipe import StageSettings
from vitascope.training.optim import Average, Optimizer, clip_gradients, trainable


class Task(Protocol):
    """What is learned: a model and its loss on a batch."""

    @property
    def model(self) -> nn.Module:
        """What training moves."""
        ...

    def loss(self, batch: Any, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        """The mean loss of a batch, and figures worth a line in the log."""
        ...


@dataclass
class State:
    """All that a run remembers between two steps."""

    model: nn.Module
    optimizer: Optimizer
    average: Average
    step: int = 0

    @staticmethod
    def fresh(model: nn.Module, settings: StageSettings) -> State:
        """The state before the first step."""
        return State(model, Optimizer(model, settings), Average(model, settings.ema))

    def tensors(self) -> dict[str, Tensor]:
        """Everything, as named tensors."""
        found = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        found |= {f"optimizer/{k}": v for k, v in self.optimizer.state().items()}
        found |= {f"average/{k}": v for k, v in self.average.weights.items()}
        return {k: v.detach().contiguous() for k, v in found.items()} | {"step": torch.tensor(self.step)}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `tensors` gave, but for weights that training holds: those are as others left them since."""

        def under(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        held = {name: p for name, p in self.model.named_parameters() if not p.requires_grad}
        self.model.load_state_dict(under("model/") | held)
        self.optimizer.restore(under("optimizer/"))
        self.average.restore(under("average/"))
        self.step = int(tensors["step"])


@dataclass(frozen=True)
class Report:
    """What one step did. `step` counts the updates made so far, the first is 1."""

    step: int
    loss: float
    rate: float
    gradient: float
    figures: dict[str, float] = field(default_factory=dict)


def train(
    task: Task,
    batch_at: Callable[[int], Any],
    settings: StageSettings,
    state: State,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> Iterator[Report]:
    """Walk from `state.step` to `settings.steps`, one Report a step; `state` is up to date whenever a Report is out.

    `batch_at(step)` gives a step's batch. Raises BadRun at the first loss or gradient that is not finite, before it touches
    the weights.
    """
    parameters = list(trainable(task.model))
    kind = torch.device(device).type
    for batch in _batches(batch_at, range(state.step, settings.steps), ahead=kind != "cpu"):
        step = state.step
        task.model.train()
        noise = Noise(tuple(key(seed, f"row {row}", step) for row in range(settings.batch)))
        with bf16(kind, settings.autocast):
            loss, figures = task.loss(batch, noise=noise, step=step)
        loss.backward()
        gradient = clip_gradients(parameters, settings.clip)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(gradient)):
            raise BadRun(
                f"step {step + 1}: the loss is {value} and the gradient's norm {gradient}; nothing can be learned from numbers "
                "that are not finite; resume from the last checkpoint with a lower learning rate."
            )
        rate = state.optimizer.step(step)
        state.step = step + 1
        state.average.update(task.model, state.step)
        yield Report(state.step, value, rate, gradient, figures)


def _batches(batch_at: Callable[[int], Any], steps: range, *, ahead: bool) -> Iterator[Any]:
    """The batch of each step; `ahead` has a thread prepare the next one, which pays where an accelerator does the rest."""
    if not ahead:
        yield from map(batch_at, steps)
        return
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(batch_at, step) for step in steps[:1]]
        for step in steps:
            batch = waiting.pop().result()
            if step + 1 in steps:
                waiting.append(pool.submit(batch_at, step + 1))
            yield batch
