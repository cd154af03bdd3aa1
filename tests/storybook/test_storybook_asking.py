"""What a prompt asks for is what its caption says: read backwards, the grammar gives the labels that went into it."""

from __future__ import annotations

import pytest

from vitascope.storybook import WORLDS, caption, plain, said, scene
from vitascope.storybook.asking import asked

SCENES = [scene(62, index, "any", "whole") for index in range(1200)]
OPEN = {("fish", "count")}
"""What a word leaves open: "the fish" are one or several."""


def test_what_is_read_in_a_caption_is_true_and_what_it_says_is_read() -> None:
    for shown in SCENES:
        labels = shown.shows()
        for index in (0, 3):
            text = caption(shown, index)
            found = asked(text)
            assert found == {name: labels[name] for name in found}, text
            told = {name for name in said(shown, index) if name in labels}
            assert {(shown.subject, name) for name in told - found.keys()} <= OPEN, text


def test_a_plain_caption_asks_for_all_that_is_not_the_usual() -> None:
    for shown in SCENES:
        found, labels = asked(plain(shown)), shown.shows()
        assert found == {name: labels[name] for name in found}
        unsaid = {name for name in labels if name not in found}
        assert all(
            shown.usual(name) or (shown.place, name) in {("night sky", "light"), ("outer space", "light")}
            for name in unsaid
        )


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        (
            "A woman in a red coat, walking through a snow-covered park at dusk with warm street lights filtering through bare trees!",
            "subject woman, colour red, action walks, place snowy park, light dusk, count one",
        ),
        (
            "a fox trots across fresh snow leaving footprints, camera pans right",
            "subject fox, action walks, place snowfield, camera pans right, count one",
        ),
        ("a cat followed by two dogs", "subject dog, action walks, count two, relation follows"),
        ("street at night, a cat waits, then walks to the left", "subject cat, action walks, heading left, place city street, "
         "light night, count one, change waits"),
        ("in a green meadow a balloon drifts right", "subject balloon, action moves right, heading right, place meadow, count one"),
        ("a balloon drifts", "subject balloon, count one"),  # to which side is left open
        ("a dog on a skateboard", "subject dog, count one"),
        ("fish underwater", "subject fish, place underwater"),
        ("a red and blue kite", "subject kite, count one"),
        ("a ball at dawn and at midnight", "subject ball, count one"),
        ("somebody runs, it gets dark", "action runs, change night falls"),
        ("a lonely lighthouse", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_prompts_of_people_are_read_as_far_as_they_are_understood(prompt: str, found: str) -> None:
    assert ", ".join(f"{name} {value}" for name, value in asked(prompt).items()) == found


def test_a_world_is_asked_for_nothing_that_it_has_not() -> None:
    assert asked("a fox walks in a meadow, the mood is warm", "first") == {"place": "meadow"}
    assert asked("a ball rolls left in fog", "first") == {"subject": "ball", "action": "rolls"}
    with pytest.raises(ValueError, match="world is one of first, whole, got 'third'"):
        asked("a ball", "third")


def test_every_value_that_can_be_said_can_be_asked_for() -> None:
    found: dict[str, set[str]] = {name: set() for name in WORLDS["whole"].values}
    for shown in SCENES:
        for index in (0, 3, 5):
            for name, value in asked(caption(shown, index)).items():
                found[name].add(value)
    silent = {"heading": {"none"}, "size": {"usual"}, "relation": {"none"}, "change": {"none"}}
    assert found == {name: set(values) - silent.get(name, set()) for name, values in WORLDS["whole"].values.items()}
