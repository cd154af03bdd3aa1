"""Muon: the momentum's update, orthogonalised (Jordan et al. 2024; scaled as in Liu et al. 2025, arXiv:2502.16982, eq. 4).

torch.optim.Muon takes matrices only. Most of an autoencoder's weights are convolution kernels, which are matrices too, from
all that one output sees to that output; so this one flattens them.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from vitascope.precision import has_bf16

# The quintic of Jordan et al., tuned so that five rounds bring singular values of 0.001..1 into about 0.7..1.2.
A, B, C = 3.4445, -4.7750, 2.0315
ROUNDS = 5


def orthogonalised(matrix: Tensor) -> Tensor:
    """[m n] with its singular values moved close to 1, by Newton and Schulz's iteration, in bf16 where that is fast."""
    wide = matrix.shape[0] <= matrix.shape[1]
    x = matrix if wide else matrix.T
    x = x.bfloat16() if has_bf16(x.device.type) else x.float()
    x = x / (x.norm() + 1e-7)
    for _ in range(ROUNDS):
        gram = x @ x.T
        x = A * x + torch.addmm(gram, gram, gram, beta=B, alpha=C) @ x
    return (x if wide else x.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised, for weights of two and more dimensions (the first is the output's).

    The update's root mean square is 0.2, as AdamW's usually is, so that both take learning rates of one size.
    """

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0, momentum: float = 0.95
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["momentum"] = torch.zeros_like(p)
                momentum = state["momentum"]
                momentum.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonalised(p.grad.lerp(momentum, group["momentum"]).flatten(1))
                scale = 0.2 * max(update.shape) ** 0.5
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)
