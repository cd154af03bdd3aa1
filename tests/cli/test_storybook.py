"""vitascope storybook: clips and every label of a world, drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitascope.cli import storybook as command
from vitascope.media import facts, record_of
from vitascope.storybook import WORLDS, tour, vocabulary

Run = Callable[..., Any]


def test_clips_as_they_come(vitascope: Run) -> None:
    told = vitascope("storybook", "--clips", "5", "--columns", "2", "--strip", "2", "--output", "a.png")
    assert (told.code, told.out) == (0, "a.png\n")
    film = facts("a.png")
    strip = 1 + 2 * (command.WIDTH + 1), 2 + command.HEIGHT
    assert (film.width, film.height) == (4 + 2 * (strip[0] + 4), 4 + 3 * (strip[1] + 4))
    records = record_of("a.png")["sheet"]
    assert len(records) == 5
    assert all(each["caption"] and each["labels"]["world"] == "whole" for each in records)
    assert vitascope("storybook", "--clips", "5", "--seed", "2", "--output", "b.png").code == 0
    assert [each["caption"] for each in record_of("b.png")["sheet"]] != [each["caption"] for each in records]


@pytest.mark.parametrize("world", list(WORLDS))
def test_every_value_of_every_attribute_can_be_shown(world: str) -> None:
    assert tuple(WORLDS) == command.WORLDS
    for name, values in WORLDS[world].values.items():
        shown = dict(tour(world, name))
        assert tuple(shown) == values
        for value, made in shown.items():
            assert getattr(made, name) == value
            others = {"mood": "neutral", "count": "one", "relation": "none", "camera": "still", "change": "none"}
            assert all(getattr(made, other) == usual for other, usual in others.items() if other != name)


def test_one_attribute(vitascope: Run) -> None:
    told = vitascope("storybook", "--world", "first", "--attribute", "weather", "--output", "a.png")
    assert told.code == 0
    assert [each["labels"]["weather"] for each in record_of("a.png")["sheet"]] == ["clear", "rain", "snow"]


def test_the_page_holds_every_value_and_every_word(vitascope: Run) -> None:
    told = vitascope("storybook", "--world", "first", "--page", "here", "--strip", "1")
    assert (told.code, told.out) == (0, "here/vocabulary.md\n")
    page = Path("here/vocabulary.md").read_text(encoding="utf-8")
    for name, values in WORLDS["first"].values.items():
        assert f"![Every {name}]({name}.png)" in page
        assert (Path("here") / f"{name}.png").is_file()
        assert all(f"| {value} " in page for value in values)
    assert ", ".join(vocabulary("first")) in page
    assert "`vitascope storybook --page here --world first --strip 1`" in page
    again = vitascope("storybook", "--world", "first", "--page", "here")
    assert (again.code, again.out) == (2, "")
    assert "vocabulary.md already" in again.err[-1]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--world", "hole"], "did you mean whole"),
        (["--attribute", "plaice"], "did you mean place"),
        (["--clips", "0"], "a whole number from 1 to 400"),
        (["--output", "a.mp4"], "end the name in .png"),
        (["--seed", "-3"], "a whole number from 0"),
        (["--world", ""], "there is no such thing"),
        (["--page", "here", "--attribute", "place"], "leave --attribute out"),
        (["--attribute", "place", "--clips", "3"], "leave --clips out"),
        (["--page", "/proc/nope"], "no such folder can be made"),
    ],
)
def test_what_cannot_be_shown_is_refused(vitascope: Run, flags: list[str], why: str) -> None:
    told = vitascope("storybook", *flags)
    assert (told.code, told.out, told.files) == (2, "", [])
    assert why in told.err[-1]
