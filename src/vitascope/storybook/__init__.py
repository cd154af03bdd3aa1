"""The storybook: a small world of captioned clips, drawn procedurally, deterministic from (seed, index)."""

from __future__ import annotations

from vitascope.storybook.captions import caption, plain, said, vocabulary
from vitascope.storybook.motion import DURATION, GRAVITY, RESTITUTION
from vitascope.storybook.pixels import render
from vitascope.storybook.scenes import Scene, scene
from vitascope.storybook.tour import tour
from vitascope.storybook.truth import Track, pieces, track, tracks, truth
from vitascope.storybook.views import camera, cast, presence, view
from vitascope.storybook.worlds import ATTRIBUTES, WORLDS, withheld

__all__ = [
    "ATTRIBUTES",
    "DURATION",
    "GRAVITY",
    "RESTITUTION",
    "WORLDS",
    "Scene",
    "Track",
    "camera",
    "caption",
    "cast",
    "pieces",
    "plain",
    "presence",
    "render",
    "said",
    "scene",
    "tour",
    "track",
    "tracks",
    "truth",
    "view",
    "vocabulary",
    "withheld",
]
