"""Where matrix products are narrowed to bf16: where it is asked for, and the machine has instructions for it.

A processor without them computes bf16 by widening every number for itself. On an AVX2 machine that was sixty times slower
than float32, and so a choice that saves time elsewhere is made by what the machine can do, never by the recipe alone.
"""

from __future__ import annotations

import functools
import platform

import torch


@functools.cache
def has_bf16(kind: str) -> bool:
    """Whether devices of this kind ("cpu", "cuda") multiply matrices in bf16 faster than in float32.

    A property of the machine and not a measurement, so that one machine always answers the same and makes the same film.
    """
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def bf16(kind: str, asked: bool = True) -> torch.autocast:
    """Within it, matrix products on devices of this kind run in bf16 if `asked` and if that is fast here (`has_bf16`)."""
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=asked and has_bf16(kind))
