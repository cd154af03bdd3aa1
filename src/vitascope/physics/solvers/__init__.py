"""Solvers: generators that walk a field from noise to data.

To add one, write the generator, give it a line in SOLVERS and one in ORDER; the tests hold it to the order it states.
"""

from __future__ import annotations

from vitascope.physics.solvers.exponential import ddim, dpmpp_2m, unipc
from vitascope.physics.solvers.ode import adaptive, euler, heun, midpoint, rk4
from vitascope.physics.solvers.sde import ddpm, dpmpp_2m_sde, euler_maruyama
from vitascope.physics.solvers.step import Solver, Step, remaining

__all__ = [
    "ORDER", "SOLVERS", "WEAK", "Solver", "Step", "adaptive", "ddim", "ddpm", "dpmpp_2m", "dpmpp_2m_sde", "euler",
    "euler_maruyama", "heun", "midpoint", "remaining", "rk4", "unipc",
]  # fmt: skip

SOLVERS: dict[str, Solver] = {
    "ddpm": ddpm,
    "ddim": ddim,
    "euler": euler,
    "heun": heun,
    "midpoint": midpoint,
    "rk4": rk4,
    "dpmpp_2m": dpmpp_2m,
    "dpmpp_2m_sde": dpmpp_2m_sde,
    "unipc": unipc,
    "euler_maruyama": euler_maruyama,
    "adaptive": adaptive,
}

# The error of a walk of n steps falls as n^-order: the error of x itself, or for the names in WEAK that of the mean and
# the variance of x. Only the interval that ends at t = 0 is of first order, whatever the solver.
ORDER: dict[str, int] = {
    "ddpm": 1,
    "ddim": 1,
    "euler": 1,
    "heun": 2,
    "midpoint": 2,
    "rk4": 4,
    "dpmpp_2m": 2,
    "dpmpp_2m_sde": 2,
    "unipc": 3,
    "euler_maruyama": 1,
    "adaptive": 2,
}
WEAK = frozenset({"ddpm", "dpmpp_2m_sde", "euler_maruyama"})
