"""Retrieval: whether the text tower knows which caption belongs to which clip (Radford et al. 2021, arXiv:2103.00020)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from vitascope.engine import Engine
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split, real, scenes
from vitascope.pixels import to_pixels
from vitascope.storybook import plain
from vitascope.text import ClipText


@dataclass(frozen=True)
class Found:
    """The share of queries whose own counterpart comes first, or among the first five."""

    top1: float
    top5: float


@dataclass(frozen=True)
class Retrieval:
    """Finding the clip of a full caption, and the caption of a clip, among `clips` that were kept from all training."""

    clips: int
    video: Found
    """Of the videos, found by their texts."""
    text: Found
    """Of the texts, found by their videos."""
    chance: Found
    """What guessing finds."""


def found(queries: Tensor, answers: Tensor) -> Found:
    """Unit vectors [n d] and [n d], pair by pair: how often a query's own answer is the nearest.

    An answer that is as near as the right one counts as before it, so that vectors which say nothing find nothing.
    """
    likeness = queries.double() @ answers.double().T
    own = likeness.diagonal()[:, None]
    others = ~torch.eye(len(likeness), dtype=torch.bool, device=likeness.device)
    before = ((likeness >= own) & others).sum(1)
    return Found(float((before < 1).double().mean()), float((before < 5).double().mean()))


@torch.no_grad()
def retrieval(engine: Engine, clips: int = 100, split: Split = "withheld", watch: Watch | None = None) -> Retrieval:
    """Both directions among `clips` renders with their full captions, the clips seen at as many moments as in training."""
    shown = scenes(clips, split, world=engine.recipe.world)
    text = cast(ClipText, engine.text)  # as every system with a recipe has
    frames = engine.recipe.video.frames
    moments = min(max(engine.recipe.stages.clip.frames or (frames,)), frames)
    chosen = torch.linspace(0, frames - 1, moments).round().long()
    videos, texts = [], []
    for start in range(0, clips, 20):
        part = shown[start : start + 20]
        films = real(engine.recipe.video, part)[:, chosen]
        videos.append(text.clip.encode_video(to_pixels(films).to(engine.device)).float())
        texts.append(text.embed([plain(one) for one in part]).float())
        if watch:
            watch("measuring the text tower", start + len(part), clips)
    seen, told = torch.cat(videos), torch.cat(texts)
    return Retrieval(clips, found(told, seen), found(seen, told), Found(1 / clips, min(1.0, 5 / clips)))
