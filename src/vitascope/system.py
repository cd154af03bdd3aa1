"""A system: all parts of a text-to-video model, whoever made it. What an engine asks of one."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from vitascope.codec import VideoCodec
from vitascope.diffusion import Diffusion
from vitascope.errors import BadShot
from vitascope.planning import Sizes
from vitascope.shot import Given, Shot
from vitascope.text import TextEncoder

Work = Literal["text", "image", "network", "codec"]
"""The parts of a system that take turns."""


class Guides(NamedTuple):
    """What a film is given, as a network takes it."""

    condition: Mapping[str, Tensor] = {}
    """More of the network's keyword arguments, the same ones beside every prompt."""
    first: Tensor | None = None
    """A clean first latent frame [1 c 1 h w] that the film begins with (`Diffusion.beginning`)."""
    ahead: int = 0
    """Latent frames that stand before the film's own and are not decoded."""


_TRAINED: Mapping[str, str] = {
    "image": "begin with a picture",
    "last": "end with a picture",
    "video": "follow a film",
    "mask": "be told where a film is made anew",
    "references": "be given pictures of what is in a film",
}


def ensure_taken(model: str, takes: Collection[str], given: Collection[str]) -> None:
    """Raise BadShot where a film is given what its model does not take; both by the names of `Given`."""
    for name in given:
        if name not in takes:
            raise BadShot(
                f"{name}: {model} was not trained to {_TRAINED[name]}; leave it out, or take a model that was."
            )


class System(Protocol):
    """A model with all that it needs to make films."""

    @property
    def name(self) -> str:
        """What messages and records call it."""
        ...

    @property
    def kind(self) -> str:
        """What its films begin from: "t2v", a prompt alone; "i2v", "flf2v", "vace": see `takes`."""
        ...

    def defaults_for(self, given: Given) -> dict[str, Any]:
        """What a Shot gets where it says nothing, beside what it is given; the frame rate is the one that the model makes."""
        ...

    @property
    def sizes(self) -> Sizes:
        """What it is made of, in numbers, for whoever plans."""
        ...

    @property
    def dtype(self) -> str:
        """What its network computes in: float32, bfloat16 or float16."""
        ...

    @property
    def takes(self) -> frozenset[str]:
        """What a film can be given beside words: names of `Given`."""
        ...

    @property
    def codec(self) -> VideoCodec: ...
    @property
    def text(self) -> TextEncoder: ...
    @property
    def diffusion(self) -> Diffusion: ...

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        ...

    def working(self, part: Work) -> AbstractContextManager[None]:
        """Within it a part is where it computes; where it waits otherwise is the system's own affair."""
        ...

    def fitted(self, shot: Shot, given: Given) -> Given:
        """What a prepared shot is given, at the size in which its hashes name it."""
        ...

    def guides(self, shot: Shot, given: Given) -> Guides:
        """What a prepared shot is given, for its network. Raises BadShot where this model cannot be given that."""
        ...


def hashed(pixels: Tensor) -> str:
    """The name of a picture or a film, uint8, in a Shot: the SHA-256 of its size and its pixels."""
    digest = hashlib.sha256(repr(tuple(pixels.shape)).encode())
    digest.update(pixels.cpu().contiguous().numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def hashes(given: Given) -> dict[str, Any]:
    """What a Shot says of what it is given, by the names of its fields."""
    one = {
        name: None if value is None else hashed(value)
        for name, value in given._asdict().items()
        if name != "references"
    }
    return {**one, "references": tuple(map(hashed, given.references))}


def ensure_pixels(given: Given) -> None:
    """Raise ValueError unless pictures are uint8 [h w 3], films uint8 [t h w 3] and masks uint8 [t h w]."""
    for name, value in given._asdict().items():
        for part in value if isinstance(value, tuple) else () if value is None else (value,):
            rank = 4 if name == "video" else 3
            if part.dtype != torch.uint8 or part.ndim != rank:
                raise ValueError(f"{name}: expected uint8 of {rank} dimensions, got {part.dtype} {list(part.shape)}")
