"""Continuity: what should not change in a film does not, and its subject stays the same.

Flicker is told from change by coming back: the distance of a pixel from the median over five frames around it is 0 for
whatever goes one way, as an edge that passes or a light that fades, and is the flicker itself where a value leaves and
returns. It is measured where little but the subject changes, in films of scenes of one subject alone whose true films are at
rest in most pixels; a disc around the tracked subject is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vitascope.evaluation.films import Shown
from vitascope.evaluation.laws import still
from vitascope.evaluation.probe import Probe
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.share import Share
from vitascope.evaluation.tracking import Colours, appearance, distances, tracked
from vitascope.recipe import ClipShape
from vitascope.storybook import Scene
from vitascope.storybook.phrases import EVENTS

WINDOW = 5  # frames of the median
AROUND = 1.7  # radii of the subject that are left out: it may have grown
AT_REST = 0.5
"""The share of pixels of a true film that never change, from which on its background is one that should not."""
SUBJECT = ("subject", "colour")
"""The attributes of the subject itself, which it keeps."""
MOST = 48  # films that are looked at: each is tracked


@dataclass(frozen=True)
class Steadiness:
    """Of one kind of films."""

    flicker: float | None
    """The mean distance from the median over five frames, in levels of 255, outside the subject."""
    drift: float | None
    """How far the last quarter of the film is from the first, in levels of 255: the median over what is outside the subject."""
    identity: Share
    """Films whose first and second half, each at half speed, show the same subject to the probe, of those whose subject does not
    go to pieces or under water. That of true films is what the probe can tell."""


@dataclass(frozen=True)
class Continuity:
    """Generated films beside true ones, after the codec and as they are."""

    films: int
    """Films whose background should not change, of which flicker and drift are the means."""
    sure: bool
    """Whether the probe reads what a subject keeps well enough (`probe.ENOUGH`) for `identity` to count."""
    made: Steadiness
    codec: Steadiness
    real: Steadiness


def continuity(shown: Shown, probe: Probe, video: ClipShape, watch: Watch | None = None) -> Continuity:
    """All three; flicker and drift are None where no scene has a background at rest."""
    chosen = [i for i in range(len(shown)) if calm(shown.scenes[i], shown.real[i], video)][:MOST]
    lasting = [i for i in range(len(shown)) if shown.scenes[i].action not in EVENTS]
    sums = {name: torch.zeros(2, dtype=torch.float64) for name in shown.versions}
    for done, index in enumerate(chosen, 1):
        known = appearance(shown.scenes[index], video)
        for name, films in shown.versions.items():
            sums[name] += torch.tensor(unrest(films[index], known), dtype=torch.float64)
        if watch:
            watch("looking for flicker", done, len(chosen))
    found = {}
    for name, films in shown.versions.items():
        flicker, drift = (sums[name] / len(chosen)).tolist() if chosen else (None, None)
        found[name] = Steadiness(flicker, drift, identity(films[lasting], probe) if lasting else Share(0, 0))
    return Continuity(len(chosen), all(probe.measures(name) for name in SUBJECT), **found)


def calm(scene: Scene, film: Tensor, video: ClipShape) -> bool:
    """Whether most of the scene's true film, uint8 [t h w c], rests, and what moves is one subject, which a disc can hide: others
    are out of its reach, and so are fragments and rings on the water."""
    alone = scene.count == "one" and scene.relation == "none" and scene.action not in EVENTS
    return alone and still(scene, video) and at_rest(film)


def at_rest(film: Tensor) -> bool:
    """Whether most pixels of a true film, uint8 [t h w c], never change."""
    change = (film.amax(0) - film.amin(0)).amax(-1)
    return float((change <= 2).float().mean()) >= AT_REST


def unrest(film: Tensor, known: Colours) -> tuple[float, float]:
    """Flicker and drift of what is around the subject of a film uint8 [t h w c]."""
    path = tracked(film, known)
    around = distances(torch.stack((path.x, path.y), 1), *film.shape[1:3]) > AROUND * known.radius
    pixels = film.float().mean(-1)
    away = departures(pixels)
    cut = (len(pixels) - len(away)) // 2
    outside = away[around[cut : len(pixels) - cut]]
    quarter = max(1, len(film) // 4)
    first, last = pixels[:quarter].mean(0), pixels[-quarter:].mean(0)
    ends = (last - first).abs()[around[:quarter].all(0) & around[-quarter:].all(0)]
    return float(outside.mean()) if len(outside) else 0.0, float(ends.median()) if len(ends) else 0.0


def departures(pixels: Tensor) -> Tensor:
    """How far each value [t h w] is from the median of the frames around it; for the frames that have a whole window around
    them, [t - 4 h w], or fewer where the film is shorter than that."""
    window = min(WINDOW, len(pixels) - (len(pixels) + 1) % 2)
    middle = pixels.unfold(0, window, 1).median(-1).values
    half = window // 2
    return (pixels[half : len(pixels) - half] - middle).abs()


def identity(films: Tensor, probe: Probe, names: Sequence[str] = SUBJECT) -> Share:
    """The share of films uint8 [n t h w c] whose subject is read the same in the first half and in the second."""
    first, last = (probe.read(half(films, which)) for which in (0, 1))
    kept = [name for name in names if name in probe.config.attributes]
    return Share(sum(all(a[n] == b[n] for n in kept) for a, b in zip(first, last)), len(films))


def half(films: Tensor, which: int) -> Tensor:
    """The first (0) or second (1) half of films [n t h w c] at half their speed, so that they are as long as before: the probe
    reads a film that goes on better than one that stands still."""
    frames = films.shape[1]
    middle = (frames - 1) // 2
    return films[:, [which * middle + k * middle // max(1, frames - 1) for k in range(frames)]]
