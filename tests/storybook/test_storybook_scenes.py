"""Scenes: sampling, labels, and what is withheld."""

from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import product

import pytest

from vitascope.storybook import ATTRIBUTES, WORLDS, said, scene, withheld

COMBINED = ("subject", "colour", "action", "place")


def test_a_scene_is_a_function_of_seed_and_index():
    assert scene(3, 5) == scene(3, 5)
    assert scene(3, 5) != scene(3, 6)
    assert scene(3, 5) != scene(4, 5)


def test_the_sampling_is_frozen():
    """Models are trained on these clips: the same seed must mean the same scene in every version."""
    labels = [tuple(getattr(scene(0, i), name) for name in ATTRIBUTES) for i in range(3)]
    assert labels == FROZEN


@pytest.mark.parametrize("world", WORLDS)
def test_a_scene_shows_the_attributes_of_its_world_and_no_others(world):
    """A caption may say more than a probe can be asked for: what a person wears."""
    told = set()
    for index in range(200):
        one = scene(0, index, "any", world)
        whole, names = one.shows(), said(one, index)
        told |= names - set(whole)
        assert one.shows(names) == {name: whole[name] for name in whole if name in names}
        assert all(value in WORLDS[world].values[name] for name, value in whole.items())
        assert set(whole) == set(WORLDS[world].values)
    assert told == ({"dress"} if world == "whole" else set())


@pytest.mark.parametrize("split", ["train", "withheld"])
def test_a_split_holds_its_law(split):
    for index in range(2000):
        drawn = scene(1, index, split)
        assert withheld(*(getattr(drawn, name) for name in COMBINED)) == (split == "withheld")


def test_a_tenth_of_the_combinations_is_withheld():
    every = list(product(*(ATTRIBUTES[name] for name in COMBINED)))
    assert 0.08 < sum(withheld(*words) for words in every) / len(every) < 0.12
    for name, place in zip(COMBINED, range(4)):  # no value of an attribute is lost to training
        assert {words[place] for words in every if not withheld(*words)} == set(ATTRIBUTES[name])


def test_the_split_any_is_the_union():
    share = sum(withheld(*(getattr(s, name) for name in COMBINED)) for s in (scene(2, i, "any") for i in range(3000)))
    assert 0.07 < share / 3000 < 0.13


def test_every_value_occurs_and_none_beside_them():
    drawn = [scene(5, index) for index in range(3000)]
    for name, values in ATTRIBUTES.items():
        counts = Counter(getattr(s, name) for s in drawn)
        assert set(counts) == set(values)
        assert min(counts.values()) > 150


def test_in_the_night_sky_it_is_night():
    drawn = [scene(6, index) for index in range(500)]
    assert {s.light for s in drawn if s.place == "night sky"} == {"night"}
    assert {s.light for s in drawn if s.place != "night sky"} == set(ATTRIBUTES["light"])


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="split"):
        scene(0, 0, "test")  # type: ignore[arg-type]


def test_a_scene_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene(0, 0).colour = "red"  # type: ignore[misc]


FROZEN = [
    ("heart", "blue", "grows", "forest", "night", "clear", "still"),
    ("tree", "red", "spins", "forest", "morning", "clear", "pans right"),
    ("box", "blue", "bounces", "night sky", "night", "clear", "zooms in"),
]
