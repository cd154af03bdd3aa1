"""Scenes to pixels.

Each clip is rendered by itself, so that its pixels do not depend on what else is in the batch: the scenery is moved by the
camera, traces are pressed into it, the actors are pasted on it, and the weather falls behind and before them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitascope.storybook.actors import COLOURS, Lights, actor, rope, shadow, sprites
from vitascope.storybook.mood import grade
from vitascope.storybook.motion import times
from vitascope.storybook.scenes import Scene
from vitascope.storybook.stage import stage
from vitascope.storybook.traces import Frames, press, rings
from vitascope.storybook.views import camera, cast, view
from vitascope.storybook.weather import fall

__all__ = ["COLOURS", "render"]


def render(
    scenes: Sequence[Scene],
    *,
    frames: int = 17,
    height: int = 64,
    width: int = 128,
    device: torch.device | str = "cpu",
) -> Tensor:
    """The clips of `scenes`, uint8 [b t h w c]; each lasts two seconds, frame k at 2 k / (frames - 1) seconds.

    Raises ValueError when there is no frame or when a side is under 8 pixels.
    """
    if min(height, width) < 8:
        raise ValueError(f"a frame is at least 8 x 8 pixels, got {width} x {height}")
    clips = torch.empty(len(scenes), frames, height, width, 3, dtype=torch.uint8, device=device)
    with torch.inference_mode():
        for clip, scene in zip(clips, scenes, strict=True):
            clip.copy_(_clip(scene, frames, height, width, torch.device(device)))
    return clips


def _clip(scene: Scene, frames: int, height: int, width: int, device: torch.device) -> Tensor:
    seen = view(height, width)
    moments = times(frames)
    cameras = [camera(scene, t) for t in moments]
    set_up = stage(scene, moments, cameras, seen, height, width, device)
    pixels, lights = set_up.back, set_up.lights
    ground = Frames(scene, pixels, set_up.x, set_up.y, 1 / seen.scale, moments, cameras)
    people = sorted(cast(scene), key=lambda each: -each.floor)  # who stands farther off is painted first
    drawn = [sprite for each in people for sprite in sprites(each, moments)]
    for each in people:
        press(ground, each)
        if each.action == "splashes":
            rings(ground, each)
    for sprite in drawn:
        shadow(pixels, sprite, lights, cameras, seen)
    _falls(pixels, lights, moments, seen.scale, behind=True)
    for sprite in drawn:
        if sprite.scene.action == "swings":
            rope(ground, sprite)
        actor(pixels, sprite, lights, moments, cameras, seen)
    if set_up.front is not None:
        pixels.mul_(1 - set_up.front[:, 3:]).add_(set_up.front[:, :3])
    _falls(pixels, lights, moments, seen.scale, behind=False)
    grade(pixels, scene.mood)
    return pixels.clamp_(0, 1).mul_(255).add_(0.5).to(torch.uint8).permute(0, 2, 3, 1)


def _falls(pixels: Tensor, lights: Lights, moments: Sequence[float], scale: float, *, behind: bool) -> None:
    """What falls: of one weather, or of the one before a turn less and less and of the one after it more and more."""
    if lights.before.weather == lights.after.weather:
        fall(pixels, lights.before, moments, scale, behind=behind)
        return
    fall(pixels, lights.before, moments, scale, behind=behind, strength=[1 - share for share in lights.shares])
    fall(pixels, lights.after, moments, scale, behind=behind, strength=lights.shares)
