"""What a film will take before it is begun: tokens, operations, memory at each stage, time; and how to make it fit.

`sizes` says what a system is made of, `work` counts what is computed and held, `machine` measures a machine, `choice` puts
them together. No weights are needed: it answers before any are loaded.
"""

from __future__ import annotations

from vitascope.planning.choice import OFFLOADS, TILE, Ask, Offload, Plan, Stage, gib, has_room, peak, plan
from vitascope.planning.machine import Machine, Pace, best_dtype, free_memory, here, measured
from vitascope.planning.sizes import SHAPE_NAMES, Sizes, Tower, of_clip, shape

__all__ = [
    "OFFLOADS", "SHAPE_NAMES", "TILE", "Ask", "Machine", "Offload", "Pace", "Plan", "Sizes", "Stage", "Tower", "best_dtype",
    "free_memory", "gib", "has_room", "here", "measured", "of_clip", "peak", "plan", "shape",
]  # fmt: skip
