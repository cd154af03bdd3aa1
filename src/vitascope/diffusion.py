"""Diffusion = a network, a schedule, and what the network predicts. The only place where networks and physics meet.

It owns both the loss and the field, so that what is trained and what is walked cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from vitascope.physics.field import Field, leaf
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction, row
from vitascope.physics.schedule import Schedule, spread


class Density(Protocol):
    """Where training looks: uniform numbers in (0, 1) to times."""

    def at(self, u: Tensor) -> Tensor: ...


def thousandfold(t: float | Tensor) -> float | Tensor:
    """Wan's clock: the network is told 1000 t (wan.md 7.1), with its fraction."""
    return 1000.0 * t


class Diffusion(nn.Module):
    """A network that predicts, and the process in which it does."""

    def __init__(
        self,
        net: nn.Module,
        schedule: Schedule,
        predicts: Prediction,
        density: Density,
        clock: Callable[[float | Tensor], float | Tensor] = thousandfold,
    ) -> None:
        super().__init__()
        self.net = net
        self.schedule = schedule
        self.predicts: Prediction = predicts
        self.density = density
        self.clock = clock
        self.autocast = False

    def field(self, condition: Mapping[str, Tensor]) -> Field:
        """The vector field under a condition; rows of the condition are samples, or one row for all."""
        return leaf(self.schedule, self._predict, self.predicts, condition)

    def loss(self, x0: Tensor, condition: Mapping[str, Tensor], *, noise: Noise, index: int = 0) -> Tensor:
        """The mean square error of each sample's prediction, [b], at a time from the density.

        x0 [b c t h w] are whitened latents; eps and t of row r depend on `noise.seeds[r]` and `index` alone.
        For the velocity this is flow matching (Lipman et al. 2023, arXiv:2210.02747, eq. 9).
        """
        eps = noise.like("eps", index, x0)
        t = self.density.at(noise.uniform("t", index))
        x = self.schedule.noised(x0, eps, t)
        a, b = row(self.schedule.at(t), self.predicts)
        target = spread(a, x0) * x0 + spread(b, x0) * eps
        clock = torch.as_tensor(self.clock(t)).to(x.device)
        predicted = self.net(x, clock, **condition)
        return (predicted.to(target.dtype) - target).square().flatten(1).mean(1)

    @torch.no_grad()
    def _predict(self, x: Tensor, t: float, **condition: Tensor) -> Tensor:
        told = float(self.clock(float(t)))
        clock = torch.full((x.shape[0],), told, dtype=torch.float64, device=x.device)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            return self.net(x, clock, **condition).to(x.dtype)
