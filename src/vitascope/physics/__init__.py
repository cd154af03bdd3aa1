"""The physics: a path from data to noise, a field along it, and walks through the field. Knows no networks.

Conventions, stated here once:

* t is in [0, 1]: **t = 0 is data, t = 1 is noise**. Sampling walks from 1 to 0.
* x_t = alpha(t) x0 + sigma(t) eps; the velocity is dx/dt = alpha' x0 + sigma' eps (on the linear path: eps - x0).
* Video tensors are [b c t h w]. Nothing here depends on it: the first axis is the batch, the others are the state.
* Time is float64 on the CPU, and so are coefficients; they are applied in the dtype of x.
* logsnr = log(alpha^2 / sigma^2). A table of T betas puts its index i at t = (i + 1) / T; t = 0 is clean.
* No field is evaluated at t = 0. A walk ends there with `Schedule.transport`.
* Randomness is a pure function of (seed, purpose, index); nothing here holds a generator.
* What a network is *told* of the time is not decided here, but where networks and fields meet.
"""

from vitascope.physics.field import Condition, Field, evaluate, leaf
from vitascope.physics.noise import Noise
from vitascope.physics.prediction import Prediction, convert, split
from vitascope.physics.schedule import VE, VP, Coefficients, Cosine, DiscreteVP, Linear, Schedule

__all__ = [
    "VE",
    "VP",
    "Coefficients",
    "Condition",
    "Cosine",
    "DiscreteVP",
    "Field",
    "Linear",
    "Noise",
    "Prediction",
    "Schedule",
    "convert",
    "evaluate",
    "leaf",
    "split",
]
