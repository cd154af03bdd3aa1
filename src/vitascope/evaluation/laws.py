"""Laws of motion in films: whether what falls falls as the world's gravity says, what moves evenly moves evenly and looks
where it goes, what rolls does not slip, what swings keeps a pendulum's time, and who walks leaves prints that stay.

Which films are asked to obey which law follows from the true tracks of their scenes where a track tells: one with stretches
of free flight is of gravity, a straight and even one is of uniform motion. What flies otherwise than a law's own form allows, as
a stone that goes on under water or one who jumps and comes down, is of no law: not even its true film could be fitted. Only
scenes whose camera does not move count, so that places in the picture are places in the world.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from vitascope.evaluation.facing import FRONTED, Front, front, looks
from vitascope.evaluation.films import Shown
from vitascope.evaluation.fits import WAY, Fit, bounce, fall, line, rolled, swing
from vitascope.evaluation.footprints import later, trodden
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.rolling import turns
from vitascope.evaluation.scenes import Split, scenes
from vitascope.evaluation.share import Share
from vitascope.evaluation.tracking import Path, colours, examples, missed, places, tracked
from vitascope.recipe import ClipShape
from vitascope.storybook import GRAVITY, Scene, Track, track
from vitascope.storybook.motion import times
from vitascope.storybook.views import camera, view
from vitascope.storybook.worlds import DEFAULT

SURE = 0.25
"""How sure a path is at least (`tracking.Path`), for its film to count as tracked."""
FAR = 0.3  # frame heights that a uniform motion covers at least, to be one
MOST = 40  # films of a law that are tracked
LOOKED = 250  # scenes among which one of each law is looked for
EXACT = 0.1
"""How far, relative, the gravity may be off that is fitted to a true track: further, and the track is not of the law's form."""
FLIGHTS: dict[str, Callable[[Tensor, float], Fit]] = {"falls": fall, "bounces": bounce}
"""Laws of what flies freely, and the fits of their paths."""
SHARES = ("right way", "forwards")
"""Figures that are shares of films, not medians over them."""


@dataclass(frozen=True)
class Lawful:
    """One law in some films. What is not lawful or not tracked has no figure; the shares tell how many those are."""

    films: int
    tracked: Share
    """Those in which the subject was found."""
    lawful: Share
    """Those of the tracked ones whose path has the form that the law gives, whatever its constants."""
    figures: dict[str, float]
    """Medians over the lawful films (of `SHARES`: the share); "gravity error" is each film's own, relative, and "gravity
    spread" half the distance between the quartiles, in units of the world's gravity."""


@dataclass(frozen=True)
class Law:
    """One law in generated films, and in true ones after the codec and as they are: the floor of what can be measured."""

    law: str
    made: Lawful
    codec: Lawful
    real: Lawful
    later: int | None = None
    """Of prints, after how many frames they are looked for again."""


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
    """The law that the scene's true track obeys: "falls", "bounces", "rolls", "swings", "uniform", or None."""
    law = _motion(shown, video)
    return law if law not in FLIGHTS or _flies(shown, video.frames, law) else None


@lru_cache(4096)  # it is asked for again and again, and takes up to half a second
def _flies(shown: Scene, frames: int, law: str) -> bool:
    """Whether the scene's true track has the form of this one of `FLIGHTS`, with the world's gravity."""
    fit = FLIGHTS[law](track(shown, frames).y, times(frames)[1])
    return fit.lawful and _gravity_error(fit) < EXACT


def _motion(shown: Scene, video: ClipShape) -> str | None:
    """The law that a scene is of if its true track has that law's form: what flies freely for a while is of bounces where those
    were asked for, else of falls."""
    if not still(shown, video) or video.frames < 5:
        return None
    if shown.action == "swings":  # several of a kind swing each in its own time, and look alike
        return "swings" if shown.count == "one" else None
    truth, moments = track(shown, video.frames), times(video.frames)
    step = moments[1] - moments[0]
    flying = ((truth.y.diff(n=2) / step**2 + GRAVITY).abs() < 0.02 * GRAVITY).tolist()
    if "xx" in "".join("x" if one else " " for one in flying):
        return "bounces" if shown.action == "bounces" else "falls"
    if rolling(truth) is not None:
        return "rolls"
    even = truth.x.diff(n=2).abs().max() < 1e-6 and truth.y.diff().abs().max() < 1e-6
    return "uniform" if even and abs(float(truth.x[-1] - truth.x[0])) >= FAR else None


def _gravity_error(fit: Fit) -> float:
    """How far the gravity that was fitted is from the world's, relative to that."""
    return abs(fit.figures["gravity"] / GRAVITY - 1)


def treads(shown: Scene, video: ClipShape) -> bool:
    """Whether the scene is of one who walks alone over ground that keeps prints, and on without a stop."""
    alone = shown.count == "one" and shown.relation == "none"
    return alone and shown.trace == "footprints" and kind(shown, video) == "uniform"


def kinds(shown: Scene, video: ClipShape) -> tuple[str, ...]:
    """All laws that the scene's true film obeys: that of its track, and "prints" where it is of footprints too."""
    law = kind(shown, video)
    return () if law is None else (law, "prints") if treads(shown, video) else (law,)


def lawful_scenes(count: int, split: Split, video: ClipShape, start: int = 0, world: str = DEFAULT) -> list[Scene]:
    """The first scenes of the evaluation from number `start` on that obey a law, `count` of each; fewer where they are rare.
    One that is of two laws counts for both."""
    found: dict[str, list[Scene]] = {}
    for shown in scenes(LOOKED * count, split, start, world):
        law = _motion(shown, video)
        if law in FLIGHTS and len(found.get(law, ())) == count:
            continue  # there are enough, and it need not be fitted
        for law in kinds(shown, video):
            if len(found.setdefault(law, [])) < count:
                found[law].append(shown)
    unique = {shown.index: shown for law in sorted(found) for shown in found[law]}
    return list(unique.values())


def rolling(truth: Track) -> float | None:
    """r of x = -r angle, in radii of the subject, where a true track is one of rolling without slipping."""
    x, angle = truth.x.diff(), truth.angle.diff()
    if float(angle.abs().min()) < 1e-3 or abs(float(truth.x[-1] - truth.x[0])) < FAR:
        return None
    ratio = -x / angle
    return (
        float(ratio[0] / truth.size[0]) if ratio[0] > 0 and float((ratio / ratio[0] - 1).abs().max()) < 1e-3 else None
    )


def fitted(film: Tensor, path: Path, shown: Scene, video: ClipShape, known: Front | None = None) -> Fit:
    """A path that was tracked in a film uint8 [t h w c], held against the law of its scene. `known` is the subject's front,
    where it has one."""
    scale, step = view(video.height, video.width).scale, times(video.frames)[1]
    x, y = path.x / scale, -path.y / scale
    law, way = kind(shown, video), _way(shown, video)
    if law == "uniform":
        fit = line(x, y, way)
        if known is None:
            return fit
        forwards = looks(film, path, known) * float(path.x[-1] - path.x[0]) > 0
        return fit._replace(figures=fit.figures | {"forwards": float(forwards)})
    if law == "rolls":
        turned, radius = turns(film, torch.stack((path.x, path.y), 1), path.radius), rolling(track(shown, video.frames))
        return rolled(x, turned, (radius or 0.0) * path.radius / scale, way)
    if law == "swings":
        return swing(x, y, step)
    fit = FLIGHTS[law or "falls"](y, step)
    span = float(y.max() - y.min())  # what stays where it is would fit any gravity
    return Fit(fit.off if span > WAY else math.inf, fit.figures | {"gravity error": _gravity_error(fit)}, span)


def _way(shown: Scene, video: ClipShape) -> int:
    """+1 where the true track goes right, else -1."""
    x = track(shown, video.frames).x
    return 1 if float(x[-1] - x[0]) > 0 else -1


def laws(shown: Shown, video: ClipShape, watch: Watch | None = None) -> Laws:
    """All laws that the scenes obey; at most `MOST` films of each."""
    asked: dict[int, list[str]] = {}
    count: Counter[str] = Counter()
    for index, scene in enumerate(shown.scenes):
        chosen = [law for law in kinds(scene, video) if count[law] < MOST]
        count.update(chosen)
        if chosen:
            asked[index] = chosen
    fits: dict[tuple[str, str], list[Fit | None]] = {}
    off: list[Tensor] = []
    for done, (index, chosen) in enumerate(sorted(asked.items()), 1):
        films = {name: each[index] for name, each in shown.versions.items()}
        found, missing = _one(shown.scenes[index], films, chosen, video)
        off.append(missing)
        for place, fit in found.items():
            fits.setdefault(place, []).append(fit)
        if watch:
            watch("tracking subjects", done, len(asked))
    rows = tuple(
        Law(
            law,
            **{name: summed(fits[law, name]) for name in shown.versions},
            later=later(video.frames) if law == "prints" else None,
        )
        for law in sorted(count)
    )
    far = torch.cat(off) if off else None
    return Laws(rows, *(None if far is None else float(far.quantile(q)) for q in (0.5, 0.9)))


def _one(
    scene: Scene, films: Mapping[str, Tensor], chosen: Sequence[str], video: ClipShape
) -> tuple[dict[tuple[str, str], Fit | None], Tensor]:
    """One scene's films uint8 [t h w c] held against these laws: fits by law and film, None where the subject was not found;
    and how far the tracker is off in the true one, in pixels."""
    others, true = examples(scene, video)
    known = colours(true, [places(other, video) for other in others])
    face = front(true, others, video, known) if "uniform" in chosen and scene.subject in FRONTED else None
    found: dict[tuple[str, str], Fit | None] = {}
    off = torch.zeros(0, dtype=torch.float64)
    for name, film in films.items():
        path = tracked(film, known)
        for law in chosen:
            fit = None
            if path.sure >= SURE and law == "prints":
                fit = trodden(film, path, _way(scene, video), view(video.height, video.width).scale)
            elif path.sure >= SURE:
                fit = fitted(film, path, scene, video, face)
            found[law, name] = fit
        if name == "real":
            off = missed(path, scene, video)
    return found, off


def summed(fits: Sequence[Fit | None]) -> Lawful:
    """The figures of one law, from the fits of its films; None where the subject was not found."""
    found = [fit for fit in fits if fit is not None]
    lawful = [fit for fit in found if fit.lawful]
    figures: dict[str, float] = {}
    for name in dict.fromkeys(name for fit in lawful for name in fit.figures):
        told = [fit.figures[name] for fit in lawful if name in fit.figures]
        values = torch.tensor(told, dtype=torch.float64)
        figures[name] = float(values.mean() if name in SHARES else values.quantile(0.5))
    if "gravity" in figures:
        values = torch.tensor([fit.figures["gravity"] for fit in lawful], dtype=torch.float64) / GRAVITY
        figures["gravity spread"] = float(values.quantile(0.75) - values.quantile(0.25)) / 2
    return Lawful(len(fits), Share(len(found), len(fits)), Share(len(lawful), len(found)), figures)
