"""Fields known in closed form, so that everything which walks a field can be checked against the truth.

If the data are a mixture of Gaussians, so is x_t, and E[x0 | x_t], the score and the density are a few lines of
algebra. A finite data set is the mixture whose components have no width. All of it is computed in float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vitascope.physics import noise
from vitascope.physics.field import Field, leaf
from vitascope.physics.prediction import Prediction, convert
from vitascope.physics.schedule import Schedule, Time, spread


class GaussianMixture:
    """k Gaussians with diagonal covariance.

    means: [k, *shape]. stds: broadcasts to means, in the data's units; a plain sequence [k] is one number a component.
    weights: [k], positive; scaled to sum to 1 (None: equal). Raises ValueError for shapes that do not fit.
    """

    def __init__(
        self,
        means: Tensor | Sequence[float] | Sequence[Sequence[float]],
        stds: Tensor | Sequence[float] | Sequence[Sequence[float]] | float,
        weights: Tensor | Sequence[float] | None = None,
    ) -> None:
        self.means = torch.as_tensor(means, dtype=torch.float64)
        count = self.means.shape[0]
        std = torch.as_tensor(stds, dtype=torch.float64)
        if std.ndim == 1 and std.shape[0] == count:
            std = std.reshape(-1, *[1] * (self.means.ndim - 1))
        self.stds = std.expand(self.means.shape)
        given = torch.ones(count) if weights is None else torch.as_tensor(weights)
        if given.shape != (count,) or not bool((given > 0).all()) or not bool((self.stds >= 0).all()):
            raise ValueError(f"expected {count} positive weights and stds of at least 0; got weights {given.tolist()}")
        self.weights = given.to(torch.float64) / given.to(torch.float64).sum()

    def __getitem__(self, components: Sequence[int]) -> GaussianMixture:
        """The mixture of these components alone: what a class condition knows."""
        chosen = list(components)
        return GaussianMixture(self.means[chosen], self.stds[chosen], self.weights[chosen])

    def sample(self, seed: int, count: int) -> Tensor:
        """`count` draws of the data, [count, *shape], float64."""
        which = self.component(noise.uniform(seed, "component", 0, (count,)))
        eps = noise.normal(seed, "data", 0, (count, *self.means.shape[1:]), dtype=torch.float64)
        return self.means[which] + self.stds[which] * eps

    def component(self, u: Tensor) -> Tensor:
        """The component that numbers u uniform in [0, 1) choose."""
        return torch.searchsorted(self.weights.cumsum(0), u, right=True).clamp(max=len(self.weights) - 1)

    def nearest(self, x: Tensor) -> Tensor:
        """The component whose mean is nearest to each row of x [b, *shape]: [b]."""
        return torch.cdist(x.to(torch.float64).flatten(1), self.means.to(x.device).flatten(1)).argmin(1)

    def _joint(self, x: Tensor, t: Time, schedule: Schedule) -> tuple[Tensor, Tensor, Tensor]:
        """(log of weight times density of each component [b, k], E[x0 | x, k] [b, k, *shape], x in float64)."""
        x, c = x.to(torch.float64), schedule.at(t)
        means, stds, weights = (each.to(x.device) for each in (self.means, self.stds, self.weights))
        x_k = x.unsqueeze(1)
        alpha, sigma = spread(c.alpha, x_k), spread(c.sigma, x_k)
        variance = alpha**2 * stds**2 + sigma**2
        off = x_k - alpha * means
        log_density = -0.5 * (off**2 / variance + (2 * math.pi * variance).log()).flatten(2).sum(2)
        return log_density + weights.log(), means + alpha * stds**2 / variance * off, x

    def log_density(self, x: Tensor, t: Time, schedule: Schedule) -> Tensor:
        """log p_t at each row of x [b, *shape], in nats: [b]."""
        return self._joint(x, t, schedule)[0].logsumexp(1)

    def denoised(self, x: Tensor, t: Time, schedule: Schedule) -> Tensor:
        """E[x0 | x_t = x], [b, *shape], in float64."""
        log_joint, x0, _ = self._joint(x, t, schedule)
        return torch.einsum("bk,bk...->b...", log_joint.softmax(1), x0.expand(-1, *self.means.shape))

    def score(self, x: Tensor, t: Time, schedule: Schedule) -> Tensor:
        """The gradient of log p_t, by Tweedie's formula (Efron 2011): (alpha E[x0 | x] - x) / sigma^2."""
        return self._said(x, t, schedule, "score")

    def velocity(self, x: Tensor, t: Time, schedule: Schedule) -> Tensor:
        """dx/dt of the probability flow, [b, *shape], in float64."""
        return self._said(x, t, schedule, "velocity")

    def _said(self, x: Tensor, t: Time, schedule: Schedule, kind: Prediction) -> Tensor:
        return convert(self.denoised(x, t, schedule), x.to(torch.float64), schedule.at(t), "x0", kind)

    def field(self, schedule: Schedule, kind: Prediction = "x0") -> Field:
        """The field of this distribution; `kind` is what its stand-in for a network predicts, and changes nothing."""

        def predict(x: Tensor, t: float) -> Tensor:
            return self.denoised(x, t, schedule) if kind == "x0" else self._said(x, t, schedule, kind)

        return leaf(schedule, predict, kind)


class Gaussian(GaussianMixture):
    """One Gaussian with diagonal covariance; mean [*shape], std broadcasts to it. Its flow is known, too."""

    def __init__(self, mean: Tensor | Sequence[float], std: Tensor | Sequence[float] | float) -> None:
        mean = torch.as_tensor(mean, dtype=torch.float64)
        super().__init__(mean.unsqueeze(0), torch.as_tensor(std, dtype=torch.float64).expand(mean.shape).unsqueeze(0))

    def flow(self, x: Tensor, t: Time, s: Time, schedule: Schedule) -> Tensor:
        """Where the probability flow takes x [b, *shape] from t to s: as many stds from the mean as before."""
        x, c, d = x.to(torch.float64), schedule.at(t), schedule.at(s)
        mean, std = self.means[0].to(x.device), self.stds[0].to(x.device)
        before = ((spread(c.alpha, x) * std) ** 2 + spread(c.sigma, x) ** 2).sqrt()
        after = ((spread(d.alpha, x) * std) ** 2 + spread(d.sigma, x) ** 2).sqrt()
        return spread(d.alpha, x) * mean + after / before * (x - spread(c.alpha, x) * mean)


class FiniteData(GaussianMixture):
    """A finite data set, points [n, *shape]: what a network learns that remembers its clips and nothing else.

    Its field leads to the points themselves. There is no density at t = 0.
    """

    def __init__(
        self, points: Tensor | Sequence[Sequence[float]], weights: Tensor | Sequence[float] | None = None
    ) -> None:
        super().__init__(points, 0.0, weights)
