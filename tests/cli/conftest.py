"""A bundle with random weights: every part of the real thing, and a film in a fraction of a second."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope import bundle
from vitascope.cli import main
from vitascope.recipe import Recipe
from vitascope.text import Words

STAGE = {"steps": 1, "batch": 1, "clips": 1, "lr": 1e-3}
TABLE: dict[str, Any] = {
    "name": "toy",
    "video": {"frames": 5, "height": 32, "width": 48, "fps": 8},
    "codec": {
        "z": 4,
        "base": 8,
        "mults": [1, 1, 1],
        "blocks": 1,
        "temporal": [True, True],
        "patch": 2,
        "residual": True,
    },
    "text": {
        "vocab": 0,
        "text_length": 8,
        "text_width": 16,
        "text_layers": 1,
        "text_heads": 2,
        "image": [32, 48],
        "patch": 16,
        "vision_width": 16,
        "vision_layers": 1,
        "vision_heads": 2,
        "embed": 16,
        "causal": False,
    },
    "network": {
        "width": 24,
        "heads": 1,
        "layers": 1,
        "ffn": 32,
        "text_width": 16,
        "freq_width": 16,
        "in_channels": 4,
        "out_channels": 4,
    },
    "defaults": {"steps": 3},
    "stages": {"codec": STAGE, "clip": STAGE, "diffusion": STAGE},
}
WORDS = ("a", "red", "ball", "bounces", "on", "the", "sea", "white", "boat")


def make_bundle(folder: Path, seed: int = 0, first: float = 0.3) -> Path:
    """A bundle of random weights in `folder`; `first`: the share of its training that began with a given frame."""
    torch.manual_seed(seed)
    words = Words.of(WORDS)
    stages = TABLE["stages"] | {"diffusion": STAGE | {"first": first}}
    table = TABLE | {"text": TABLE["text"] | {"vocab": len(words)}, "stages": stages}
    bundle.save(folder, bundle.build(Recipe.of(table), words))
    return folder


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("models") / "toy")


@pytest.fixture(scope="session")
def textual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy that never learned to begin with a picture."""
    return make_bundle(tmp_path_factory.mktemp("models") / "textual", first=0.0)


@dataclass(frozen=True)
class Told:
    """What a command left behind: its exit code, its result, its lines on standard error, the files in the folder."""

    code: int
    out: str
    err: list[str]
    files: list[str]

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.err]


@pytest.fixture
def vitascope(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Told]:
    """Runs the command line in an empty folder of its own."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))  # no models of whoever runs this

    def run(*argv: str | Path) -> Told:
        out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            code = main([str(word) for word in argv])
        out.seek(0)
        return Told(code, out.read(), err.getvalue().splitlines(), sorted(path.name for path in folder.iterdir()))

    return run
