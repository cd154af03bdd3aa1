"""Diffusion = a network, a schedule, and what the network predicts. The only place where networks and physics meet.

It owns both the loss and the field, so that what is trained and what is walked cannot disagree.

A network that has `deviation`, s of each channel of the data, tells of each value where it comes from, a Gaussian N(m, l^2), and
the answer is what Bayes makes of that and of the noised value (the local Wiener filter, Lee 1980, doi:10.1109/TPAMI.1980.4766994):

    x0 = m + alpha l^2 / d (x - alpha m),   eps = sigma / d (x - alpha m),   d = alpha^2 l^2 + sigma^2.

It sees x / sqrt(alpha^2 s^2 + sigma^2) and answers with m / s and log(l / s). One that says nothing gives the best linear guess.
Latents of many channels are mostly nothing (a sky has no edges), and to say so takes no more than a small l, where a network that
predicts the velocity has to hand on all of the noise that it was shown. What it does not know it draws from what it tells, each value
by itself; below a temperature of 1 (as in Kingma & Dhariwal 2018, arXiv:1807.03039, section 6.2) less of it, and more of the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from vitascope.models.dit import DEVIATION
from vitascope.physics.field import Field, leaf
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction, row
from vitascope.physics.schedule import Schedule, spread
from vitascope.precision import bf16

BOUNDS = (-3.5, 1.5)
"""Of log(l / s), so that no value is so certain that a small mistake of it weighs without end."""


class Density(Protocol):
    """Where training looks: uniform numbers in (0, 1) to times."""

    def at(self, u: Tensor) -> Tensor: ...


def thousandfold(t: float | Tensor) -> float | Tensor:
    """Wan's clock: the network is told 1000 t, with its fraction (Wan-Video/Wan2.1, wan/utils/fm_solvers_unipc.py)."""
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
        temperature: float = 1.0,
    ) -> None:
        """temperature: of a network that tells priors, what their deviations are multiplied by in its field, and not in its loss."""
        super().__init__()
        self.net = net
        self.schedule = schedule
        self.predicts: Prediction = predicts
        self.density = density
        self.clock = clock
        self.temperature = temperature
        self.autocast = False

    def clocked(self, clock: Callable[[float | Tensor], float | Tensor]) -> Diffusion:
        """The same network in the same process, told of the time by another clock."""
        other = Diffusion(self.net, self.schedule, self.predicts, self.density, clock, self.temperature)
        other.autocast = self.autocast
        return other

    def field(self, condition: Mapping[str, Tensor], first: Tensor | None = None) -> Field:
        """The vector field under a condition; rows of the condition are samples, or one row for all.

        first [b c 1 h w]: a clean first latent frame that the network sees in place of the noised one. What it then says
        of that frame itself means nothing: `beginning` puts the truth there.
        """
        condition = condition if first is None else {**condition, "first": first}
        return leaf(self.schedule, self._predict, self.predicts, condition)

    def beginning(self, field: Field, first: Tensor, frames: int) -> Field:
        """`field` where it is free, and in the first of `frames` latent frames the field of a point, which is known exactly.

        So the walk ends in `first` [b c 1 h w] there, with any solver, and guidance does not touch it.
        """
        given = torch.zeros(1, 1, frames, 1, 1, device=first.device)
        given[:, :, 0] = 1
        truth = first.expand(-1, -1, frames, -1, -1)  # what it says of the later frames has weight zero
        return (1 - given) * field + given * leaf(self.schedule, _as_given, "x0", {"x0": truth})

    def loss(
        self,
        x0: Tensor,
        condition: Mapping[str, Tensor],
        *,
        noise: Noise,
        index: int = 0,
        begun: Tensor | None = None,
        focus: Tensor | None = None,
    ) -> Tensor:
        """The mean square error of each sample's prediction, [b], at a time from the density.

        x0 [b c t h w] are whitened latents; eps and t of row r depend on `noise.seeds[r]` and `index` alone.
        For the velocity this is flow matching (Lipman et al. 2023, arXiv:2210.02747, eq. 9). begun [b] bool: rows whose
        first latent frame is given: the network sees it clean, at a clock of its own, and is asked of the others alone.
        focus [b t h w]: how much more than elsewhere errors count at a place, times 1 - t^4: where noise still hides what is
        where, the weight would draw it into places where it is not.
        """
        eps = noise.like("eps", index, x0)
        t = self.density.at(noise.uniform("t", index))
        x = self.schedule.noised(x0, eps, t)
        a, b = row(self.schedule.at(t), self.predicts)
        target = spread(a, x0) * x0 + spread(b, x0) * eps
        clock = torch.as_tensor(self.clock(t)).to(x.device)
        weight = x.new_ones(x.shape[0], *x.shape[2:])
        times = t
        if focus is not None:
            weight = weight + focus.to(weight) * (1 - t**4).to(weight).view(-1, 1, 1, 1)
        if begun is not None and bool(begun.any()):
            begun = begun.to(x.device)
            x = torch.cat((torch.where(begun.view(-1, 1, 1, 1, 1), x0[:, :, :1], x[:, :, :1]), x[:, :, 1:]), dim=2)
            clock = clock[:, None].repeat(1, x.shape[2])
            clock[:, 0] = torch.where(begun, torch.as_tensor(self.clock(0.0)).to(clock), clock[:, 0])
            times = t[:, None].repeat(1, x.shape[2])
            times[:, 0] *= ~begun.to(t.device)
            weight[:, 0] *= ~begun.view(-1, 1, 1)
        errors = (self._answer(x, times, clock, condition).to(target.dtype) - target).square().mean(1)
        total = weight.flatten(1).sum(1).clamp_min(1e-12)  # 0 for a single frame that is given
        return (weight * errors).flatten(1).sum(1) / total

    def _answer(
        self, x: Tensor, t: Tensor, clock: Tensor, condition: Mapping[str, Tensor], temperature: float = 1.0
    ) -> Tensor:
        """What the network predicts of x [b c t h w] at times [], [b] or, of each frame, [b t]."""
        s: Tensor | None = getattr(self.net, DEVIATION, None)
        if s is None:
            return self.net(x, clock, **condition)
        c = self.schedule.at(t)
        alpha, sigma, a, b = (_over_channels(value, x) for value in (c.alpha, c.sigma, *row(c, self.predicts)))
        s = s.to(x).view(1, -1, 1, 1, 1)
        mean, width = self.net(x * ((alpha * s).square() + sigma.square()).rsqrt(), clock, **condition).chunk(2, 1)
        m, variance = s * mean, (temperature * s).square() * torch.exp(2 * width.clamp(*BOUNDS))
        gain = (a * alpha * variance + b * sigma) / (alpha.square() * variance + sigma.square())
        return a * m + gain * (x - alpha * m)

    @torch.no_grad()
    def _predict(self, x: Tensor, t: float, *, first: Tensor | None = None, **condition: Tensor) -> Tensor:
        told = float(self.clock(float(t)))
        clock = torch.full((x.shape[0],), told, dtype=torch.float64, device=x.device)
        times = torch.full((x.shape[0],), float(t), dtype=torch.float64)
        if first is not None:
            x = torch.cat((first.to(x), x[:, :, 1:]), dim=2)
            clock = clock[:, None].repeat(1, x.shape[2])
            clock[:, 0] = float(self.clock(0.0))
            times = times[:, None].repeat(1, x.shape[2])
            times[:, 0] = 0.0
        with bf16(x.device.type, self.autocast):
            return self._answer(x, times, clock, condition, self.temperature).to(x.dtype)


def _over_channels(values: Tensor, x: Tensor) -> Tensor:
    """Numbers of all rows [], of each [b], or of each of its frames [b t], so that they multiply x [b c t h w]."""
    shape = {0: (1, 1, 1, 1, 1), 1: (-1, 1, 1, 1, 1), 2: (values.shape[0], 1, -1, 1, 1)}
    return values.to(x).reshape(shape[values.ndim])


def _as_given(x: Tensor, t: float, *, x0: Tensor) -> Tensor:
    """The prediction of a point: whatever x and t are, the data are this."""
    return x0.to(x)
