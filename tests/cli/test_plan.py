"""vitascope plan."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope import precision
from vitascope.planning import Machine

Run = Callable[..., Any]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with four GiB free."""
    monkeypatch.setattr("vitascope.planning.here", lambda device: Machine(torch.device("cpu"), 4 << 30, 4 << 30))


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitascope.planning.here", lambda device: Machine(torch.device("cpu"), 24 << 30, 24 << 30))


def test_a_published_shape_without_weights(vitascope: Run, large: None) -> None:
    told = vitascope("plan", "--shape", "wan-14b", "--no-measure", "--device", "cpu", "--dtype", "bfloat16")
    assert (told.code, told.err, told.files) == (0, [], [])
    assert "81 frames of 832x480, 32,760 tokens" in told.out
    assert "100 forwards of 1.68 PFLOP each" in told.out
    assert "offload disk: each block's weights come from the file" in told.out
    for word in ("text", "walk", "decode", "not measured", "24.0 GiB free on cpu"):
        assert word in told.out


def test_for_a_program(vitascope: Run, large: None) -> None:
    flags = (
        "--shape",
        "wan-1.3b",
        "--no-measure",
        "--device",
        "cpu",
        "--guidance",
        "1",
        "--frames",
        "17",
        "--steps",
        "9",
    )
    told = json.loads(vitascope("plan", *flags, "--height", "256", "--width", "256", "--json").out)
    assert {k: told[k] for k in ("tokens", "calls", "film", "seconds")} == {
        "tokens": 1280,
        "calls": 9,
        "film": "17 frames of 256x256",
        "seconds": None,
    }
    assert told["memory"] == max(stage["weights"] + stage["activations"] for stage in told["stages"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (
            ("--offload", "disk"),
            "offload disk: each block's weights come from the file just before it runs, as was asked",
        ),
        (("--offload", "component"), "come for its stage and go after it, as was asked"),
        (("--offload", "none"), "offload none: all weights stay on the device, since they fit"),
        ((), "offload none: all weights stay on the device, since they fit"),
    ],
)
def test_the_reason_for_a_way_is_true(vitascope: Run, large: None, flags: tuple[str, ...], says: str) -> None:
    small = (
        "--frames",
        "5",
        "--height",
        "64",
        "--width",
        "64",
        "--dtype",
        "bfloat16",
        "--no-measure",
        "--device",
        "cpu",
    )
    told = vitascope("plan", "--shape", "wan-1.3b", *small, *flags)
    assert told.code == 0
    assert says in told.out
    assert "bfloat16: matrix products in 16 bits" in told.out


@pytest.mark.parametrize(("fast", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_bundle_is_planned_as_it_is_run_and_timed(
    vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch, fast: bool, dtype: str
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda kind: fast)
    told = json.loads(vitascope("plan", "--model", toy, "--device", "cpu", "--json").out)
    assert (told["film"], told["calls"], told["offload"], told["dtype"]) == ("5 frames of 48x32", 6, "none", dtype)
    assert all(stage["seconds"] > 0 for stage in told["stages"])
    assert told["memory"] < 64 << 20


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--shape", "wan-14b", "--height", "720", "--width", "1280", "--dtype", "bfloat16"), "would fit."),
        (("--shape", "wan-1.3b", "--frames", "80"), "the nearest are 77 and 81"),
        (("--shape", "wan-13b"), "the nearest is wan-1.3b"),
        (("--shape", "wan-1.3b", "--offload", "blocks"), "the nearest is block"),
        (("--shape", "wan-1.3b", "--dtype", "float8"), "the nearest is float32"),
        (("--shape", "wan-1.3b", "--model", "storybook"), "one of the two"),
        (("--shape", "wan-1.3b", "--solver", "unicp"), "the nearest is unipc"),
        (("--shape", "wan-1.3b", "--offload", "block"), "choose none, component or disk"),
        (
            ("--shape", "wan-1.3b", "--vae", "nope"),
            "--vae and --shape: a published shape has no files; leave one of the two out.",
        ),
        (("--offload", "disk"), "--offload: storybook has all its parts in its own folder"),
        (("--dtype", "float32"), "--dtype: storybook has all its parts in its own folder"),
        (("--vae", "nope"), "--vae: storybook has all its parts in its own folder"),
    ],
)
def test_what_cannot_be_is_one_sentence(vitascope: Run, small: None, flags: tuple[str, ...], sentence: str) -> None:
    told = vitascope("plan", *flags, "--no-measure", "--device", "cpu")
    assert (told.code, told.out, len(told.err)) == (2, "", 1)
    assert sentence in told.err[0]
