"""Distribution: whether films as a whole are like true ones, and whether they differ from each other as much.

All distances are in the space of the last layer before the probe's heads, as the field takes those of a classifier. The reference is a set
of true films of other scenes, and beside the generated films stand true films of the very scenes that were asked for: the
same number of films, so that what the number of films does to a measure is in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitascope.evaluation.probe import Probe, paced
from vitascope.pixels import to_pixels

NEIGHBOURS = 3
"""k of the manifolds, as in the paper."""


@dataclass(frozen=True)
class Likeness:
    """One set of films beside the reference."""

    frechet: float
    """The Frechet distance of Gaussians with the sets' means and covariances (Heusel et al. 2017, arXiv:1706.08500), beside the
    reference's variance: 2 is that of two sets which share nothing but their middle and are as wide."""
    kernel: float
    """The kernel distance (Binkowski et al. 2018, arXiv:1801.01401): 0 on average for films of the reference's own kind,
    however few they are, which a Frechet distance is not."""
    precision: float
    """The share of the films that are within the reference's manifold (Kynkaanniemi et al. 2019, arXiv:1904.06991)."""
    recall: float
    """The share of the reference that is within the films' manifold."""


@dataclass(frozen=True)
class Distribution:
    """Generated films and true ones, after the codec and as they are, beside as many other true films."""

    films: int
    made: Likeness
    codec: Likeness
    real: Likeness


@dataclass(frozen=True)
class Diversity:
    """How far films of one prompt are from each other."""

    prompts: int
    seeds: int
    made: float
    """The mean distance between two films of one prompt, in the probe's features."""
    world: float
    """The same between as many true films of the prompt's labels, in which all else is free."""

    @property
    def share(self) -> float:
        """The diversity beside the world's own; 1 is as diverse."""
        return self.made / self.world if self.world else float("nan")


@torch.no_grad()
def features(probe: Probe, films: Tensor, rows: int = 16) -> Tensor:
    """What the probe has learned to see in films uint8 [n t h w c]: float64 [n hidden], on the CPU."""
    probe.eval()
    device = next(probe.parameters()).device
    found = []
    for chunk in films.split(rows):
        found.append(probe.learned(to_pixels(paced(chunk, probe.config.frames).to(device)))[0].double().cpu())
    return torch.cat(found)


def distribution(films: dict[str, Tensor], reference: Tensor) -> Distribution:
    """From features [n d] of the films "made", "codec" and "real", and of the reference [n d]."""
    wide = max(1e-12, float(reference.var(0).sum()))
    rows = {
        name: Likeness(frechet(each, reference) / wide, kernel(each, reference), *precision_recall(each, reference))
        for name, each in films.items()
    }
    return Distribution(len(reference), **rows)


def frechet(a: Tensor, b: Tensor) -> float:
    """The squared Frechet distance |m - n|^2 + tr(A + B - 2 (A B)^1/2) of sets [n d] and [m d] (Dowson & Landau 1982)."""
    (m, first), (n, second) = (_gaussian(each) for each in (a, b))
    # The eigenvalues of A B are those of the symmetric A^1/2 B A^1/2, whose root is safe to take.
    values, vectors = torch.linalg.eigh(first)
    root = (vectors * values.clamp(min=0).sqrt()) @ vectors.T
    joint = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float((m - n).square().sum() + first.trace() + second.trace() - 2 * joint))


def _gaussian(points: Tensor) -> tuple[Tensor, Tensor]:
    middle = points.mean(0)
    off = points - middle
    return middle, off.T @ off / max(1, len(points) - 1)


def kernel(films: Tensor, reference: Tensor) -> float:
    """The unbiased squared maximum mean discrepancy of sets [n d] and [m d] under the kernel (x y / d + 1)^3, of features that
    are centred at the reference's mean and have its mean variance. 0 for sets of one point, which say nothing."""
    middle, width = reference.mean(0), reference.shape[1]
    unit = reference.var(0).mean().sqrt().clamp(min=1e-12)
    a, b = (films - middle) / unit, (reference - middle) / unit
    if min(len(a), len(b)) < 2:
        return 0.0
    likeness = [(x @ y.T / width + 1) ** 3 for x, y in ((a, a), (b, b), (a, b))]
    own = [(k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1)) for k in likeness[:2]]
    return float(own[0] + own[1] - 2 * likeness[2].mean())


def precision_recall(films: Tensor, reference: Tensor, k: int = NEIGHBOURS) -> tuple[float, float]:
    """The share of films [n d] in the reference's manifold, and of the reference [m d] in that of the films. A manifold is the
    union of balls around its points, each as wide as the distance to the k-th nearest other one."""
    return within(films, reference, k), within(reference, films, k)


def within(points: Tensor, of: Tensor, k: int) -> float:
    """The share of points [n d] in the manifold of others [m d]."""
    own = torch.cdist(of, of).fill_diagonal_(torch.inf)
    radii = own.topk(min(k, len(of) - 1), 1, largest=False).values[:, -1] if len(of) > 1 else own.new_zeros(1)
    return float((torch.cdist(points, of) <= radii * (1 + 1e-9)).any(1).double().mean())


def diversity(made: Sequence[Tensor], world: Sequence[Tensor]) -> Diversity:
    """From features [n d] of the films of each prompt, and of true films of its labels. Raises ValueError for one film."""
    if not made or min(map(len, (*made, *world))) < 2:
        raise ValueError("diversity: expected two films of each prompt at least, got one")
    means = [float(torch.tensor([spread(each) for each in sets]).mean()) for sets in (made, world)]
    return Diversity(len(made), len(made[0]), *means)


def spread(points: Tensor) -> float:
    """The mean distance between two of [n d]."""
    return float(torch.pdist(points).mean())
