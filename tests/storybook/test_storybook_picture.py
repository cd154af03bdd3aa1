"""What a picture of the whole world is made of: each layer is there, where it belongs, and does what its name says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.storybook import Scene, actors, pixels, places, render, scene, track
from vitascope.storybook.shapes import REST

HEIGHT, WIDTH, FRAMES = 72, 120, 9


def quiet(**labels: Any) -> Scene:
    """A scene of the whole world with these labels and nothing else going on."""
    usual = {"beat": "none", "turn": "none", "count": "one", "relation": "none", "other": "none", "camera": "still"}
    usual |= {"mood": "neutral", "size": "usual", "weather": "clear", "light": "day"}
    return dataclasses.replace(scene(5, 3, "any", "whole"), **{**usual, **labels})


def film(made: Scene) -> Tensor:
    return render([made], frames=FRAMES, height=HEIGHT, width=WIDTH)[0].float()


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Tensor]:
    """The film of a scene with one part of the program replaced."""

    def drawn(made: Scene, module: Any, name: str, other: Any) -> Tensor:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, other)
            return film(made)

    return drawn


def nothing(*_: Any) -> None:
    """In place of what draws something."""


def changed(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of the pixels that differ, over all frames."""
    rows, columns = torch.where((a - b).abs().amax(dim=(0, 3)) > 8)
    return rows, columns


@pytest.mark.parametrize("mood", ["warm", "cold", "dreamy", "stark"])
def test_a_mood_grades_the_film(mood: str) -> None:
    made = quiet(subject="ball", action="stays still", place="meadow")
    plain, graded = film(made), film(dataclasses.replace(made, mood=mood))
    assert float((plain - graded).abs().mean()) > 3
    warmth = [float(each[..., 0].mean() - each[..., 2].mean()) for each in (plain, graded)]
    if mood in ("warm", "cold"):
        assert (warmth[1] > warmth[0]) == (mood == "warm")


def test_what_swings_hangs_on_a_rope(without: Callable[..., Tensor]) -> None:
    made = quiet(subject="lantern", action="swings", place="meadow")
    rows, _ = changed(film(made), without(made, pixels, "rope", nothing))
    assert len(rows) > 20
    lowest = (0.5 - float(track(made, FRAMES).y.min())) * HEIGHT
    assert float(rows.max()) < lowest  # above what hangs on it


def test_rings_widen_on_the_water(without: Callable[..., Tensor]) -> None:
    made = quiet(subject="stone", action="splashes", place="sea", colour="grey", phase=0.1)
    with_rings, bare = film(made), without(made, pixels, "rings", nothing)
    wide = [int(((a - b).abs().amax(dim=(0, 2)) > 8).sum()) for a, b in zip(with_rings, bare)]
    seen = [columns for columns in wide if columns]
    assert wide[0] == 0  # before anything has fallen in
    assert max(seen) > seen[0] + 10


def test_water_hides_what_has_sunk(without: Callable[..., Tensor]) -> None:
    made = quiet(subject="stone", action="splashes", place="sea", colour="red", phase=0.1)
    whole = pixels.sprites

    def floating(*told: Any) -> list[actors.Sprite]:
        return [each._replace(water=None) for each in whole(*told)]

    hidden, shown = film(made), without(made, pixels, "sprites", floating)
    red = [int(((each[-1, ..., 0] - each[-1, ..., 1]) > 60).sum()) for each in (hidden, shown)]
    assert red[0] < red[1] / 2


def test_something_stands_before_the_subject(without: Callable[..., Tensor]) -> None:
    made = quiet(subject="ball", action="stays still", place="meadow")
    rows, _ = changed(film(made), without(made, places, "FRONTS", {}))
    assert len(rows) > 10
    assert float(rows.double().quantile(0.2)) > HEIGHT / 2  # low in the picture


def test_a_lamp_lights_who_stands_in_its_pool(without: Callable[..., Tensor]) -> None:
    lit = 0
    for step in range(-6, 7):
        made = quiet(
            subject="ball", action="stays still", place="snowy park", light="night", x=step / 10, colour="grey"
        )
        gain = film(made) - without(made, actors, "_LAMPLIGHT", (0.0, 0.0, 0.0))
        assert float(gain.min()) > -2  # light takes nothing away
        lit += float(gain.max()) > 8
    assert lit > 0
    day = quiet(subject="ball", action="stays still", place="snowy park", light="day")
    assert torch.equal(film(day), without(day, actors, "_LAMPLIGHT", (0.0, 0.0, 0.0)))


@pytest.mark.parametrize(
    ("subject", "action"), [("woman", "walks"), ("fox", "runs"), ("bicycle", "moves left"), ("bird", "floats")]
)
def test_limbs_move(without: Callable[..., Tensor], subject: str, action: str) -> None:
    made = quiet(subject=subject, action=action, place="meadow")
    rows, _ = changed(film(made), without(made, actors, "limbs", lambda *_: REST))
    assert len(rows) > 20
