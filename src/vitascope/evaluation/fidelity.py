"""Fidelity: how much of a clip is left after the codec, which is the most that any film of the model can have.

A signal-to-noise ratio hardly hears of what is thin, as there is little of it. So the fine detail of a picture, what a blur over
`BLUR` pixels would take from it, is told apart: legs, lamp posts, rain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.engine import Engine
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split, real, scenes
from vitascope.pixels import to_bytes, to_pixels
from vitascope.storybook import presence

SAME = 100.0
"""The dB that stand for a clip without any difference."""


BLUR = 5  # pixels


@dataclass(frozen=True)
class Fidelity:
    """The codec's peak signal-to-noise ratio in dB: the mean over clips that were kept from all training, and the mean over
    those of each weather."""

    clips: int
    psnr: float
    lowest: float
    weather: dict[str, float]
    subjects: float | None
    """The same where subjects are, of all clips together; None where there are none, or where nothing differs."""
    thin: float
    """The share of fine detail that is still there (`detail`), of all clips together."""
    thin_subjects: float
    thin_weather: dict[str, float]


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """The peak signal-to-noise ratio of films uint8 [b t h w c], in dB, float64 [b]: 10 log10(255^2 / mean square error);
    infinite where nothing differs. Raises ValueError for other dtypes or unequal shapes."""
    if a.dtype != torch.uint8 or b.dtype != torch.uint8 or a.shape != b.shape:
        raise ValueError(f"psnr: expected uint8 of one shape, got {a.dtype} {list(a.shape)}, {b.dtype} {list(b.shape)}")
    error = (a.double() - b.double()).square().flatten(1).mean(1)
    return 10 * torch.log10(255.0**2 / error)


@torch.no_grad()
def reconstructed(engine: Engine, films: Tensor, rows: int = 8) -> Tensor:
    """Films uint8 [b t h w c] after the codec has encoded and decoded them."""
    found = []
    for chunk in films.split(rows):
        latent = engine.codec.encode(to_pixels(chunk).to(engine.device))
        found.append(to_bytes(torch.cat(list(engine.codec.decode(latent)), dim=2)))
    return torch.cat(found)


def detail(films: Tensor) -> Tensor:
    """What a blur over `BLUR` pixels takes from the pictures of films uint8 [b t h w c]: grey, float64 [b t h w]."""
    grey = films.double().mean(-1)
    blurred = F.avg_pool2d(F.pad(grey, [BLUR // 2] * 4, mode="replicate"), BLUR, stride=1)
    return grey - blurred


def fidelity(engine: Engine, clips: int = 64, split: Split = "withheld", watch: Watch | None = None) -> Fidelity:
    """The codec on renders of scenes that it never saw."""
    video, shown = engine.recipe.video, scenes(clips, split, world=engine.recipe.world)
    found: list[float] = []
    sums: list[Tensor] = []
    for start in range(0, clips, 8):
        some = shown[start : start + 8]
        films = real(video, some)
        after = reconstructed(engine, films)
        there = torch.stack([presence(one, video.frames, video.height, video.width) for one in some])
        found += psnr(films, after).clamp(max=SAME).tolist()
        sums.append(_sums(films, after, there))
        if watch:
            watch("measuring the codec", len(found), clips)
    each = torch.cat(sums)
    names = sorted({one.weather for one in shown})
    rows = {name: torch.tensor([one.weather == name for one in shown]) for name in names}
    values = torch.tensor(found, dtype=torch.float64)
    total = each.sum(0).tolist()
    return Fidelity(
        clips=clips,
        psnr=sum(found) / clips,
        lowest=min(found),
        weather={name: float(values[where].mean()) for name, where in rows.items()},
        subjects=10 * math.log10(255.0**2 * total[5] / total[4]) if total[4] else None,
        thin=_share(each[:, :2]),
        thin_subjects=_share(each[:, 2:4]),
        thin_weather={name: _share(each[where, :2]) for name, where in rows.items()},
    )


def _sums(films: Tensor, after: Tensor, there: Tensor) -> Tensor:
    """Of each clip of films uint8 [b t h w c], what its shares are made of, float64 [b 6]: true detail along what is left of it,
    and along itself; both where subjects are, bool [b t h w]; there the square error, and the pixels."""
    true, left = detail(films), detail(after)
    off = (films.double() - after.double()).square().mean(-1)
    rows = (true * left, true.square(), there * true * left, there * true.square(), there * off, there.double())
    return torch.stack([row.flatten(1).sum(1) for row in rows], 1)


def _share(sums: Tensor) -> float:
    """Of clips together, sums [n 2] of detail that is left and that was there; 1 where there was none to lose."""
    left, there = sums.sum(0).tolist()
    return left / there if there else 1.0
