"""What a stage's weights are learned on: the network on latents and on what the text tower makes of words, the decoder on latents.

Weights that do not belong together make noise, and nothing else tells. So what they were learned on is noted beside them, and
looked at again wherever they are put together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vitascope.bundle import System
from vitascope.data.latents import DECODING, identity

NEEDS = {"diffusion": ("codec", "clip"), "decoder": ("codec",)}
"""The stages whose weights a stage builds on: latents under captions, latents."""

_GIVES = {"codec": "latents of another codec", "clip": "words of another text tower"}


def basis(stage: str, system: System) -> dict[str, str]:
    """What a stage learns on, as it is now: by the stage that it is from, SHA-256 of the encoder and of what reads words.

    The latents' whitening is a function of the encoder and the clips, and so is not looked at: measured anew on another machine
    it may differ in its last bits, which changes nothing of what was learned.
    """
    known = {
        "codec": lambda: identity(system.codec, without=(*DECODING, "mean", "std")),
        "clip": lambda: identity(system.text.clip, without=("visual.",)),
    }
    return {needed: known[needed]().hex() for needed in NEEDS.get(stage, ())}


def to_note(stage: str, system: System) -> dict[str, str]:
    """The same, as it is noted beside the weights."""
    return {_noted_as(needed): value for needed, value in basis(stage, system).items()}


def strange(stage: str, system: System, about: Mapping[str, str]) -> list[str]:
    """The stages that have become another since the weights of `stage`, of which `about` was noted, were learned on them.

    None where nothing was noted, as by older versions.
    """
    return [needed for needed, now in basis(stage, system).items() if about.get(_noted_as(needed), now) != now]


def other(needed: Sequence[str]) -> str:
    """How messages call what stages gave that have become another."""
    return " and ".join(_GIVES[stage] for stage in needed)


def _noted_as(needed: str) -> str:
    return f"learned on {needed}"
