"""Fidelity: how much of a clip is left after the codec, which is the most that any film of the model can have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitascope.data.clips import to_pixels
from vitascope.engine import Engine, to_bytes
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split, real, scenes

SAME = 100.0
"""The dB that stand for a clip without any difference."""


@dataclass(frozen=True)
class Fidelity:
    """The codec's peak signal-to-noise ratio in dB: the mean over clips that were kept from all training, and the mean over
    those of each weather."""

    clips: int
    psnr: float
    lowest: float
    weather: dict[str, float]


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


def fidelity(engine: Engine, clips: int = 64, split: Split = "withheld", watch: Watch | None = None) -> Fidelity:
    """The codec on renders of scenes that it never saw."""
    shown = scenes(clips, split, world=engine.recipe.world)
    found: list[float] = []
    for start in range(0, clips, 8):
        films = real(engine.recipe.video, shown[start : start + 8])
        found += psnr(films, reconstructed(engine, films)).clamp(max=SAME).tolist()
        if watch:
            watch("measuring the codec", len(found), clips)
    apart: dict[str, list[float]] = {}
    for one, value in zip(shown, found):
        apart.setdefault(one.weather, []).append(value)
    weather = {name: sum(values) / len(values) for name, values in sorted(apart.items())}
    return Fidelity(clips, sum(found) / clips, min(found), weather)
