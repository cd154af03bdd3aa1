"""Laws of motion in films: whether what falls falls as the world's gravity says, and what moves evenly moves
evenly, and what rolls does not slip.

Which films are asked to obey which law follows from the true tracks of their scenes, not from any word: a track with
stretches of free flight is one of gravity, a straight and even one is of uniform motion. Only scenes whose camera does
not move count, so that places in the picture are places in the world.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vitascope.evaluation.films import Shown
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.rolling import turns
from vitascope.evaluation.scenes import Split, scenes
from vitascope.evaluation.share import Share
from vitascope.evaluation.tracking import Path, appearance, missed, tracked
from vitascope.recipe import ClipShape
from vitascope.storybook import GRAVITY, Scene, Track, track
from vitascope.storybook.motion import times
from vitascope.storybook.views import camera, view
from vitascope.storybook.worlds import DEFAULT

SURE = 0.25
"""How sure a path is at least (`tracking.Path`), for its film to count as tracked."""
CLOSE = 0.03
"""Frame heights: the root mean square distance from a law's own path below which a film is called lawful."""
PART = 0.08  # of how far a path goes: it is as near as that, too
FAR = 0.3  # frame heights that a uniform motion covers at least, to be one
WAY = 0.1  # frame heights: less than this is no motion
MOST = 40  # films of a law that are tracked
LOOKED = 150  # scenes among which one of each law is looked for


@dataclass(frozen=True)
class Lawful:
    """One law in some films. What is not lawful or not tracked has no figure; the shares tell how many those are."""

    films: int
    tracked: Share
    """Those in which the subject was found."""
    lawful: Share
    """Those of the tracked ones whose path has the form that the law gives, whatever its constants."""
    figures: dict[str, float]
    """Medians over the lawful films ("right way": the share); "gravity error" is each film's own, relative, and "gravity
    spread" half the distance between the quartiles, in units of the world's gravity."""


@dataclass(frozen=True)
class Law:
    """One law in generated films, and in true ones after the codec and as they are: the floor of what can be measured."""

    law: str
    made: Lawful
    codec: Lawful
    real: Lawful


@dataclass(frozen=True)
class Laws:
    """All laws, and how far the tracker is from the truth on the true films that it judged, in pixels."""

    laws: tuple[Law, ...]
    tracker_median: float | None
    tracker_worst_tenth: float | None


def still(shown: Scene, video: ClipShape) -> bool:
    """Whether the camera is where it was in every frame."""
    return len({camera(shown, moment) for moment in times(video.frames)}) == 1


def kind(shown: Scene, video: ClipShape) -> str | None:
    """The law that the scene's true track obeys: "falls" (one flight), "bounces" (several), "rolls", "uniform", or None."""
    if not still(shown, video) or video.frames < 5:
        return None
    truth, moments = track(shown, video.frames), times(video.frames)
    step = moments[1] - moments[0]
    flying = ((truth.y.diff(n=2) / step**2 + GRAVITY).abs() < 0.02 * GRAVITY).tolist()
    flights = [len(run) for run in "".join("x" if f else " " for f in flying).split() if len(run) >= 2]
    if flights:
        return "bounces" if len(flights) > 1 else "falls"
    if rolling(truth) is not None:
        return "rolls"
    even = truth.x.diff(n=2).abs().max() < 1e-6 and truth.y.diff().abs().max() < 1e-6
    return "uniform" if even and abs(float(truth.x[-1] - truth.x[0])) >= FAR else None


def lawful_scenes(count: int, split: Split, video: ClipShape, start: int = 0, world: str = DEFAULT) -> list[Scene]:
    """The first scenes of the evaluation from number `start` on that obey a law, `count` of each; fewer where they are rare."""
    found: dict[str, list[Scene]] = {}
    for shown in scenes(LOOKED * count, split, start, world):
        law = kind(shown, video)
        if law is not None and len(found.setdefault(law, [])) < count:
            found[law].append(shown)
    return [shown for law in sorted(found) for shown in found[law]]


def rolling(truth: Track) -> float | None:
    """r of x = -r angle, in radii of the subject, where a true track is one of rolling without slipping."""
    x, angle = truth.x.diff(), truth.angle.diff()
    if float(angle.abs().min()) < 1e-3 or abs(float(truth.x[-1] - truth.x[0])) < FAR:
        return None
    ratio = -x / angle
    return (
        float(ratio[0] / truth.size[0]) if ratio[0] > 0 and float((ratio / ratio[0] - 1).abs().max()) < 1e-3 else None
    )


class Fit(NamedTuple):
    """How far a path is from the law's (root mean square, frame heights); the constants that were found; how far it goes."""

    off: float
    figures: dict[str, float]
    span: float = math.inf

    @property
    def lawful(self) -> bool:
        """Whether the path has the law's form: a small motion has to be nearer to it than a large one."""
        return self.off <= min(CLOSE, PART * self.span)


def fall(y: Tensor, step: float) -> Fit:
    """Heights [t], `step` seconds apart, as h - min(g (t - t0)^2 / 2, d): at rest, falling, at rest on the ground."""
    t = torch.arange(len(y), dtype=torch.float64) * step
    span = float(y.max() - y.min())

    def paths(g: Tensor, start: Tensor, depth: Tensor) -> Tensor:
        fallen = g[..., None] * (t - start[..., None]).clamp(min=0).square() / 2
        return -torch.minimum(fallen, depth[..., None])

    off, (g, _, depth) = _best(
        paths,
        y,
        ((math.log(0.1 * GRAVITY), math.log(10 * GRAVITY)), (-0.5, float(t[-1]) - 2 * step), (0.6 * span, 1.2 * span)),
        (32, 28, 13),
    )
    return Fit(off, {"gravity": g, "height": depth})


def bounce(y: Tensor, step: float) -> Fit:
    """Heights [t] as parabolas of one gravity between impacts, each of which leaves a share of the speed."""
    t = torch.arange(len(y), dtype=torch.float64) * step
    span = max(1e-3, float(y.max() - y.min()))

    def paths(g: Tensor, first: Tensor, height: Tensor, left: Tensor) -> Tensor:
        g, first, left = (each[..., None] for each in (g, first, left))
        speed = (2 * g * height[..., None]).sqrt()
        since = t - first
        found = -speed * since - g * since.square() / 2  # before the first impact, seen backwards from it
        for _ in range(6):
            speed = speed * left
            flight = 2 * speed / g
            arc = (speed * since - g * since.square() / 2).clamp(min=0)
            found = torch.where((since >= 0) & (since < flight), arc, found)
            found = torch.where(since >= flight, torch.zeros_like(found), found)
            since = since - flight
        return found.clamp(min=0)

    off, (g, _, height, left) = _best(
        paths,
        y,
        ((math.log(0.2 * GRAVITY), math.log(5 * GRAVITY)), (0, float(t[-1])), (0.7 * span, 1.3 * span), (0.4, 1.0)),
        (16, 40, 9, 9),
    )
    return Fit(off, {"gravity": g, "restitution": left, "height": height})


def _best(
    paths: Callable[..., Tensor], y: Tensor, ranges: Sequence[tuple[float, float]], counts: Sequence[int]
) -> tuple[float, list[float]]:
    """The constants whose path is nearest to y [t] at its best height, by three grids, each finer than the one before. The
    first constant is given as its logarithm."""
    bounds, best = list(ranges), [0.0] * len(ranges)
    off = math.inf
    for _ in range(3):
        axes = [torch.linspace(low, high, n, dtype=torch.float64) for (low, high), n in zip(bounds, counts)]
        grid = torch.cartesian_prod(*axes)
        told = paths(grid[:, 0].exp(), *grid[:, 1:].unbind(1))
        told = told - told.mean(1, keepdim=True)
        errors = (told - (y - y.mean())).square().mean(1)
        at = int(errors.argmin())
        if float(errors[at]) < off:
            off, best = float(errors[at]), grid[at].tolist()
        widths = [2 * (high - low) / (n - 1) for (low, high), n in zip(bounds, counts)]
        bounds = [(max(low, b - w), min(high, b + w)) for b, w, (low, high) in zip(best, widths, ranges)]
    return math.sqrt(off), [math.exp(best[0]), *best[1:]]


def line(x: Tensor, y: Tensor, way: int) -> Fit:
    """A path [t] as a straight one at one speed; `way` is +1 to the right, -1 to the left."""
    t = torch.linspace(-1, 1, len(x), dtype=torch.float64)
    basis = torch.stack((torch.ones_like(t), t), 1)
    speed, across = (torch.linalg.lstsq(basis, each[:, None]).solution[1, 0] for each in (x, y))
    off_x, off_y = (
        float((each - basis @ torch.linalg.lstsq(basis, each[:, None]).solution[:, 0]).square().mean().sqrt())
        for each in (x, y)
    )
    distance = 2 * float(speed)
    figures = {
        "unevenness": off_x / max(WAY, abs(distance)),
        "crookedness": math.hypot(off_y, float(across)) / max(WAY, abs(distance)),
        "right way": float(distance * way > WAY),
    }
    return Fit(math.hypot(off_x, off_y) if abs(distance) > WAY else math.inf, figures)


def rolled(x: Tensor, turned: Tensor, radius: float, way: int) -> Fit:
    """A path [t] and the turns on it [t - 1] as rolling at one speed on a wheel of this radius, in frame heights."""
    even = line(x, torch.zeros_like(x), way)
    distance = float(x[-1] - x[0])
    slip = abs(1 + radius * float(turned.sum()) / distance) if abs(distance) > WAY else math.inf
    backwards = float(turned.sum()) * way > 0
    figures = {"slip": slip, "unevenness": even.figures["unevenness"]}
    return Fit(even.off, figures | {"right way": float(even.figures["right way"] and not backwards)})


def fitted(film: Tensor, path: Path, shown: Scene, video: ClipShape) -> Fit:
    """A path that was tracked in a film uint8 [t h w c], held against the law of its scene."""
    scale, step = view(video.height, video.width).scale, times(video.frames)[1]
    x, y = path.x / scale, -path.y / scale
    law, truth = kind(shown, video), track(shown, video.frames)
    way = 1 if float(truth.x[-1] - truth.x[0]) > 0 else -1
    if law == "uniform":
        return line(x, y, way)
    if law == "rolls":
        turned = turns(film, torch.stack((path.x, path.y), 1), path.radius)
        return rolled(x, turned, (rolling(truth) or 0.0) * path.radius / scale, way)
    fit = fall(y, step) if law == "falls" else bounce(y, step)
    error = abs(fit.figures["gravity"] / GRAVITY - 1)
    span = float(y.max() - y.min())  # what stays where it is would fit any gravity
    return Fit(fit.off if span > WAY else math.inf, fit.figures | {"gravity error": error}, span)


def laws(shown: Shown, video: ClipShape, watch: Watch | None = None) -> Laws:
    """All laws that the scenes obey; at most `MOST` films of each."""
    groups: dict[str, list[int]] = {}
    for index, scene in enumerate(shown.scenes):
        law = kind(scene, video)
        if law is not None and len(groups.setdefault(law, [])) < MOST:
            groups[law].append(index)
    total, done = sum(map(len, groups.values())), 0
    fits: dict[tuple[str, str], list[Fit | None]] = {}
    off: list[Tensor] = []
    for law, indices in sorted(groups.items()):
        for index in indices:
            scene = shown.scenes[index]
            known = appearance(scene, video)
            for name, films in shown.versions.items():
                path = tracked(films[index], known)
                fit = fitted(films[index], path, scene, video) if path.sure >= SURE else None
                fits.setdefault((law, name), []).append(fit)
                if name == "real":
                    off.append(missed(path, scene, video))
            done += 1
            if watch:
                watch("tracking subjects", done, total)
    rows = tuple(Law(law, **{name: summed(fits[law, name]) for name in shown.versions}) for law in sorted(groups))
    far = torch.cat(off) if off else None
    return Laws(rows, *(None if far is None else float(far.quantile(q)) for q in (0.5, 0.9)))


def summed(fits: Sequence[Fit | None]) -> Lawful:
    """The figures of one law, from the fits of its films; None where the subject was not found."""
    found = [fit for fit in fits if fit is not None]
    lawful = [fit for fit in found if fit.lawful]
    figures: dict[str, float] = {}
    for name in lawful[0].figures if lawful else ():
        values = torch.tensor([fit.figures[name] for fit in lawful], dtype=torch.float64)
        figures[name] = float(values.mean() if name == "right way" else values.quantile(0.5))
    if "gravity" in figures:
        values = torch.tensor([fit.figures["gravity"] for fit in lawful], dtype=torch.float64) / GRAVITY
        figures["gravity spread"] = float(values.quantile(0.75) - values.quantile(0.25)) / 2
    return Lawful(len(fits), Share(len(found), len(fits)), Share(len(lawful), len(found)), figures)
