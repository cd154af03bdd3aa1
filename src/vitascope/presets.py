"""Presets: the choices of another program in which Wan's films are made, so that one seed gives its film here.

A model's weights do not say on which times a walk stands, how those are rounded, where the noise is from, what an empty
negative prompt means, or which part of a picture its encoder sees. Programs differ in each, and visibly: with 50 steps and
shift 5 the last sigma of diffusers is 4.6 % above that of the official code. Facts: the programs themselves, named at each
preset.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from vitascope.errors import BadShot
from vitascope.physics.noise import Noise
from vitascope.physics.times import Grid, wan_comfy, wan_diffusers, wan_official_dpmpp, wan_official_unipc
from vitascope.shot import Shot

Crop = Literal["stretched", "middle"]
"""What the image encoder sees of a picture that is not square: all of it, its sides stretched, or the middle."""

NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，"
    "多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，"
    "背景人很多，倒着走"
)
"""The negative prompt of Wan 2.1's own code (wan/configs/shared_config.py)."""


@dataclass(frozen=True)
class Preset:
    """One program's choices."""

    name: str
    grids: Mapping[str, Callable[[int, float], Grid]]
    """By the solver's name, the grid of n steps under a shift; a solver that is not here has no grid in that program."""
    crop: Crop
    negatives: Mapping[str, str]
    """By what a film begins from ("t2v", "i2v", "flf2v", "vace"), what an empty negative prompt stands for."""
    shift: float | None = None
    """The shift that it takes where none is asked for; None: the model's own."""
    on_device: bool = False
    """Whether noise is drawn where the model computes, so that one seed differs between kinds of devices."""

    def prefers(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """A model's defaults with its own shift, and with its own solver where it does not know the model's."""
        solver = defaults.get("solver")
        own = {"solver": solver if solver in self.grids else next(iter(self.grids))}
        return {**defaults, **own, **({} if self.shift is None else {"shift": self.shift})}

    def grid(self, shot: Shot) -> Grid:
        """The grid of a prepared shot. Raises BadShot for a solver that this program walks in another way."""
        grid = self.grids.get(shot.solver or "")
        if grid is None:
            raise BadShot(
                f"solver {shot.solver} --as {self.name}: its grid there is not known; take {' or '.join(self.grids)}, or leave "
                "--as out."
            )
        return grid(shot.steps or 1, shot.shift or 1.0)

    def negative(self, shot: Shot, kind: str) -> str:
        """The negative prompt of a shot for a model of this kind."""
        return shot.negative or self.negatives.get(kind, "")

    def noise(self, seed: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """The noise [1 c t h w] at which the walk starts, as a torch generator of that program draws it."""
        where = device if self.on_device else torch.device("cpu")
        generator = torch.Generator(where).manual_seed(seed)
        return torch.randn(1, *shape, generator=generator, device=where).to(device)


# Wan-Video/Wan2.1: wan/text2video.py, image2video.py, first_last_frame2video.py, vace.py, utils/fm_solvers*.py.
OFFICIAL = Preset(
    "official",
    {"unipc": wan_official_unipc, "dpmpp_2m": wan_official_dpmpp},
    "stretched",
    {"t2v": NEGATIVE, "i2v": f"镜头晃动，{NEGATIVE}", "flf2v": f"镜头切换，镜头晃动，{NEGATIVE}", "vace": NEGATIVE},
    on_device=True,
)
# huggingface/diffusers: pipelines/wan/*.py, schedulers/scheduling_unipc_multistep.py; noise of a CPU generator.
DIFFUSERS = Preset("diffusers", {"unipc": wan_diffusers}, "middle", {})
# ComfyUI: comfy/model_sampling.py, comfy/samplers.py (simple_scheduler), comfy/sample.py, comfy/clip_vision.py. Its uni_pc is
# another variant than ours and its dpmpp_2m treats a flow as if it were variance exploding, so Euler alone is its own.
COMFY = Preset("comfy", {"euler": wan_comfy}, "middle", {}, shift=8.0)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (OFFICIAL, DIFFUSERS, COMFY)}


def start(
    preset: Preset | None, shots: Sequence[Shot], noise: Noise, shape: tuple[int, ...], device: torch.device
) -> Tensor:
    """Where the walk of prepared shots starts, [n c t h w]: our own noise of their seeds, or a program's."""
    if preset is None:
        return noise.normal("start", 0, shape, device=device)
    return torch.cat([preset.noise(shot.seed or 0, shape, device) for shot in shots])
