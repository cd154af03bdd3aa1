"""How a probe is taught: real renders, drawn as they are needed, and blurred, smeared and stained as films of a model are.

A batch is a function of the step, so that the same seed gives the same probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.evaluation.probe import Probe, ProbeConfig, Schooling
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.streams import Seen
from vitascope.physics.noise import Noise, key, normal, uniform
from vitascope.pixels import from_bytes, to_bytes
from vitascope.recipe import StageSettings
from vitascope.storybook import Scene, render, scene
from vitascope.storybook.motion import pose, times
from vitascope.storybook.views import camera, cast, on_screen, view
from vitascope.storybook.worlds import MIRRORED
from vitascope.training.loop import State, train

STEPS = 2000
LOOKING = 0.2  # the weight of where the subject is beside what is asked for
HELD_OUT = 2000
FURTHER = 16
"""In so many steps of training there is one lesson more at its end, from which the heads are fitted to the last."""
PULLS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
"""How strongly a fitted head is drawn to the trained one: of these, what reads best a fifth that it was not fitted on."""


class Lesson(NamedTuple):
    """Pixels [b 3 t h w] in [-1, 1], the labels' numbers [b] of each attribute, and where the subject is [b t 2]."""

    video: Tensor
    targets: dict[str, Tensor]
    places: Tensor


class Lessons:
    """Batches of renders with their labels. Each render is shown `shown` times, degraded anew each time."""

    def __init__(self, config: ProbeConfig, seed: int, batch: int, *, shown: int = 2, block: int = 24) -> None:
        self.config, self.seed, self.size = config, seed, batch
        self.shown, self.block = shown, block
        self._kept: dict[int, tuple[Tensor, list[Scene]]] = {}

    def batch(self, step: int) -> Lesson:
        """The lesson of a step."""
        blocks, place = divmod(step, self.block * self.shown)
        part = blocks * self.block + place % self.block
        if place == 0:
            self._kept.clear()
        if part not in self._kept:
            scenes = [scene(self.seed, part * self.size + row, "any", self.config.world) for row in range(self.size)]
            self._kept[part] = (rendered(self.config, scenes), scenes)
        films, scenes = self._kept[part]
        mirror = uniform(self.seed, "mirror", step, (self.size,)) < 0.5
        films = torch.where(mirror[:, None, None, None, None], films.flip(3), films)
        side = torch.where(mirror, -1.0, 1.0)[:, None]
        places = torch.stack([whereabouts(self.config, one) for one in scenes])
        places[..., 0] *= side
        scenes = [mirrored(s) if turned else s for s, turned in zip(scenes, mirror.tolist())]
        return Lesson(degraded(films, self.seed, step), self.config.targets(scenes), places)


def rendered(config: ProbeConfig, scenes: Sequence[Scene]) -> Tensor:
    """The scenes' films in the probe's shape, uint8 [b t h w c]."""
    return render(scenes, frames=config.frames, height=config.height, width=config.width)


def whereabouts(config: ProbeConfig, shown: Scene) -> Tensor:
    """x (to the right) and y (down) of the subject's centre in each frame, [t 2]; the picture's edges are at -1 and 1."""
    seen, subject = view(config.height, config.width), cast(shown)[0]
    found = []
    for moment in times(config.frames):
        x, y = on_screen(subject, pose(subject, moment), camera(shown, moment))
        found.append((x / seen.half_width, -y / seen.half_height))
    return torch.tensor(found)


def mirrored(shown: Scene) -> Scene:
    """The labels of a scene's film when left and right are exchanged."""
    return replace(
        shown,
        action=MIRRORED.get(shown.action, shown.action),
        camera=MIRRORED.get(shown.camera, shown.camera),
        relation=MIRRORED.get(shown.relation, shown.relation),
        direction=-shown.direction,
        facing=-shown.facing,
    )


@torch.no_grad()
def degraded(films: Tensor, seed: int, step: int) -> Tensor:
    """Films, uint8 [b t h w c], as pixels [b 3 t h w] in [-1, 1] such as a codec and a model might leave them: softer in
    space and time, stained, grained, their brightness, contrast and tint a little off. A quarter of them stay sharp."""
    grain = normal(seed, "grain", step, films.shape[1:])  # one for all rows, as strong as each row likes
    pixels = torch.empty(films.shape)
    for row, film in enumerate(films):
        out = pixels[row].copy_(from_bytes(film))
        draw = uniform(seed, f"degrade {row}", step, (5,)).tolist()
        tint = uniform(seed, f"tint {row}", step, (2, 3), dtype=torch.float32)
        if draw[0] > 0.25:
            out.copy_(_softened(out, factor=1 + 2 * draw[1], smear=0.25 * draw[2]))
        out.mul_(0.89 + 0.16 * draw[3] + 0.06 * tint[0]).add_(0.12 * (draw[4] - 0.5) + 0.04 * (tint[1] - 0.5))
        strength = uniform(seed, f"stain {row}", step, (2,)).tolist()
        out.add_(_stains(seed, row, step, out.shape), alpha=0.1 * strength[0]).add_(grain, alpha=0.06 * strength[1])
    return pixels.clamp_(-1, 1).permute(0, 4, 1, 2, 3)


def _softened(film: Tensor, *, factor: float, smear: float) -> Tensor:
    """A film [t h w c], each picture shrunk by `factor` and enlarged again, and mixed with its neighbours, `smear` of each."""
    flat = film.permute(0, 3, 1, 2)
    height, width = flat.shape[-2:]
    if factor > 1:
        small = F.interpolate(flat, (max(4, round(height / factor)), max(4, round(width / factor))), mode="area")
        flat = F.interpolate(small, (height, width), mode="bilinear")
    film = flat.permute(0, 2, 3, 1)
    mixed = film * (1 - 2 * smear)
    mixed[1:].add_(film[:-1], alpha=smear)
    mixed[:-1].add_(film[1:], alpha=smear)
    mixed[0].add_(film[0], alpha=smear)
    mixed[-1].add_(film[-1], alpha=smear)
    return mixed


def _stains(seed: int, row: int, step: int, shape: Sequence[int]) -> Tensor:
    """Soft blots [t h w c] that turn from one pattern into another: what a codec loses is smooth and drifts."""
    frames, height, width, channels = shape
    coarse = normal(seed, f"stains {row}", step, (2, channels, max(2, height // 8), max(2, width // 8)))
    first, last = F.interpolate(coarse, (height, width), mode="bilinear").permute(0, 2, 3, 1)
    return torch.lerp(first, last, torch.linspace(0, 1, frames)[:, None, None, None])


class ProbeTask:
    """The mean of the attributes' cross entropies; and that of where the streams look for the subject, for a start."""

    def __init__(self, probe: Probe) -> None:
        self.model: nn.Module = probe
        self.probe = probe

    def loss(self, batch: Lesson, *, noise: Noise, step: int) -> tuple[Tensor, dict[str, float]]:
        device = next(self.probe.parameters()).device
        targets = {name: target.to(device) for name, target in batch.targets.items()}
        logits, seen = self.probe.shown(batch.video.to(device))
        losses = [F.cross_entropy(logits[name], target) for name, target in targets.items()]
        missed = [missing(stream, batch.places.to(device)) for stream in seen]
        figures = {name: float((logits[name].argmax(1) == target).float().mean()) for name, target in targets.items()}
        figures |= {"missed": float(missed[0].detach())}
        return torch.stack(losses).mean() + LOOKING * torch.stack(missed).mean(), figures


def missing(seen: Seen, places: Tensor) -> Tensor:
    """The cross entropy of where a stream found the subject against where it is [b t 2]; frames without it do not count."""
    height, width = seen.found.shape[-2:]
    x, y = places[:, seen.moments].unbind(-1)
    inside = (x.abs() < 1) & (y.abs() < 1)
    column = ((x + 1) / 2 * width).long().clamp(0, width - 1)
    row = ((y + 1) / 2 * height).long().clamp(0, height - 1)
    surprise = -seen.found.flatten(2).gather(2, (row * width + column)[..., None])[..., 0]
    return (surprise * inside).sum() / inside.sum().clamp(min=1)


def train_probe(
    config: ProbeConfig,
    seed: int = 0,
    steps: int = STEPS,
    watch: Watch | None = None,
    *,
    batch: int = 16,
    lr: float = 2e-3,
    held_out: int = HELD_OUT,
    device: torch.device | str = "cpu",
    start: Probe | None = None,
    log: Callable[[int, float, dict[str, float]], None] | None = None,
) -> Probe:
    """A probe of this kind, trained and examined; the same seed gives the same probe on the same machine.

    It begins with fresh weights, or where they fit with those of `start`, which read other films: what edges and motions look
    like is then known. `log` hears each step's number, loss and share of right readings in the batch.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "probe weights"))
        probe = Probe(config).to(device)
    if start is not None:
        own = probe.state_dict()
        fits = {k: v for k, v in start.state_dict().items() if k in own and v.shape == own[k].shape}
        probe.load_state_dict(own | fits)
    settings = StageSettings(
        steps=steps,
        batch=batch,
        clips=steps * batch,
        lr=lr,
        warmup=min(50, steps),
        weight_decay=0.02,
        ema=0.0,
    )
    lessons = Lessons(config, key(seed, "probe lessons"), batch)
    for report in train(
        ProbeTask(probe), lessons.batch, settings, State.fresh(probe, settings), seed=seed, device=device
    ):
        if watch:
            watch("training the probe", report.step, steps)
        if log:
            log(report.step, report.loss, report.figures)
    further = Lessons(
        config, key(seed, "probe heads"), batch, shown=1
    )  # or what heads are tried on would be seen before
    fit_heads(probe, map(further.batch, range(steps // FURTHER)))
    probe.slim().eval()
    accuracy, worse = examine(probe, key(seed, "probe examination"), held_out, watch)
    probe.schooling = Schooling(seed, steps, batch, held_out, accuracy, worse)
    return probe


def fit_heads(probe: Probe, further: Iterable[Lesson]) -> None:
    """Fit each head once more, to the end, on what the probe knows of further lessons; where that reads better, it is kept.

    A step moves heads and all that is before them at once, and so a head is never where it would be best for what it gets:
    least of all for what is measured and not learned, which tells of cameras.
    """
    device = next(probe.parameters()).device
    probe.eval()
    seen: list[Tensor] = []
    targets: list[dict[str, Tensor]] = []
    for lesson in further:  # one at a time: the films of all would take gigabytes
        with torch.no_grad():
            seen.append(probe.known(lesson.video.to(device))[0])
        targets.append(lesson.targets)
    if not seen:
        return
    known = torch.cat(seen)
    for name, head in probe.heads.items():
        assert isinstance(head, nn.Linear)
        right = torch.cat([each[name] for each in targets]).to(device)
        cut = len(known) * 4 // 5
        fits = {pull: _fitted(head, known[:cut], right[:cut], pull) for pull in PULLS}
        hits = {pull: _hits(*fit, known[cut:], right[cut:]) for pull, fit in fits.items()}
        best = max(hits, key=lambda pull: hits[pull])
        if hits[best] > _hits(head.weight, head.bias, known[cut:], right[cut:]):
            weight, bias = _fitted(head, known, right, best)
            with torch.no_grad():
                head.weight.copy_(weight)
                head.bias.copy_(bias)


def _hits(weight: Tensor, bias: Tensor, known: Tensor, right: Tensor) -> int:
    return int((F.linear(known, weight, bias).argmax(1) == right).sum())


def _fitted(head: nn.Linear, known: Tensor, right: Tensor, pull: float) -> tuple[Tensor, Tensor]:
    """Weight and bias at the least cross entropy plus `pull` times the square distance from the head's own weight."""
    own = head.weight.detach()
    weight, bias = (p.detach().clone().requires_grad_() for p in (head.weight, head.bias))
    descent = torch.optim.LBFGS([weight, bias], max_iter=400, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        descent.zero_grad()
        found = F.cross_entropy(F.linear(known, weight, bias), right) + pull * (weight - own).square().sum()
        found.backward()
        return found

    descent.step(loss)
    return weight.detach(), bias.detach()


def examine(
    probe: Probe, seed: int, count: int, watch: Watch | None = None, rows: int = 32
) -> tuple[dict[str, float], dict[str, float]]:
    """The share of `count` renders that the probe reads rightly, as they are and degraded, for each attribute."""
    sharp, worse = (dict.fromkeys(probe.config.attributes, 0) for _ in range(2))
    for start in range(0, count, rows):
        scenes = [scene(seed, index, "any", probe.config.world) for index in range(start, min(start + rows, count))]
        films = rendered(probe.config, scenes)
        for hits, seen in ((sharp, films), (worse, to_bytes(degraded(films, seed, start)))):
            for told, true in zip(probe.read(seen), scenes):
                for name in hits:
                    hits[name] += told[name] == getattr(true, name)
        if watch:
            watch("examining the probe", start + len(scenes), count)
    return {k: v / count for k, v in sharp.items()}, {k: v / count for k, v in worse.items()}
