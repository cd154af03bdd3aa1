"""What Wan 2.1's makers run it with. Needs no torch.

Source: generate.py, wan/configs and the README of Wan-Video/Wan2.1.
"""

from __future__ import annotations

from typing import Any

FPS = 16.0
"""Frames a second of the films that it was trained on, and so of those that it makes."""

FRAMES = 81
"""Frames of a film where nothing is said, and the most of one that follows another."""

STEP = 4
"""Frames to a latent frame of its codec: films have 1 + 4k."""

SMALL, LARGE = (480, 832), (720, 1280)
"""Height and width of a frame: 480p and 720p."""


def run_with(variant: str, small: bool) -> dict[str, Any]:
    """The fields of a Shot with which a model of this kind (t2v, i2v, flf2v or vace) is run, one for 480p where `small`."""
    height, width = SMALL if small else LARGE
    shift = {"flf2v": 16.0, "vace": 16.0, "i2v": 3.0 if small else 5.0}.get(variant, 5.0)
    return {
        "frames": FRAMES,
        "height": height,
        "width": width,
        "fps": FPS,
        "steps": 40 if variant == "i2v" else 50,
        "solver": "unipc",
        "guidance": 5.0,
        "shift": shift,
    }


def following(length: int) -> int:
    """How many frames a film has that follows one of `length` frames."""
    most = min(length, FRAMES)
    return most - (most - 1) % STEP
