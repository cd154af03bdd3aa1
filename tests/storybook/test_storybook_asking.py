"""What a prompt asks for is what its caption says: read backwards, the grammar gives the labels that went into it."""

from __future__ import annotations

import time

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
        ("somebody runs, it gets dark", "change night falls"),
        ("a lonely lighthouse", ""),
        ("", ""),
    ],
)  # fmt: skip
def test_prompts_of_people_are_read_as_far_as_they_are_understood(prompt: str, found: str) -> None:
    assert ", ".join(f"{name} {value}" for name, value in asked(prompt).items()) == found


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a girl holding a red balloon", ""),
        ("a boy and his dog run", ""),
        ("a horse gallops past a red house", ""),
        ("a puppy chases a red ball", ""),
        ("a rabbit chases a fox", ""),
        ("Under the stars, a fox walks", "subject fox, action walks, count one"),
        ("Among the trees, a fox walks", "subject fox, action walks, count one"),
        ("In front of a house, a dog runs left", "subject dog, action runs, heading left, count one"),
        ("Under a tree sits a dog", ""),
        ("a dark blue ball", "subject ball, colour blue, count one"),
        ("a man in a dark coat", "subject man, count one"),
        ("a woman with dark hair", "subject woman, count one"),
        ("a dark forest", "place forest"),
        ("a midnight blue car", "subject car, colour blue, count one"),
        ("a glass of water", "subject glass, count one"),
        ("a cat drinks water", "subject cat, count one"),
        ("a fish swims in the water", "subject fish, count one"),
        ("a fox under a full moon", "subject fox, count one"),
        ("the moon rises over a house", ""),
        ("a car in a parking space", "subject car, count one"),
        ("a snow-white cat", "subject cat, count one"),
        ("a snow-covered house", "subject house, count one"),
        ("a house with snow falling", "subject house, count one"),
        ("the camera follows a fox", "subject fox, camera tracks, count one"),
        (
            "the camera follows a red car driving left",
            "subject car, colour red, action moves left, heading left, camera tracks, count one",
        ),
        ("camera slowly moves up, a house", "subject house, count one"),
        ("the camera rotates around a ball", ""),
        ("no dogs, just a cat", ""),
        ("not a cat but a dog runs", ""),
        ("an empty street without cars", "place city street"),
        ("it is not windy, a kite", "subject kite, count one"),
        ("it isn't foggy, a boat", "subject boat, count one"),
        ("the sky is not clear, a boat", "subject boat, count one"),
        ("not at night, a cat walks", "subject cat, action walks, count one"),
        ("a dog runs, without snow", "subject dog, action runs, count one"),
        ("a fox walks without stopping", "subject fox, action walks, count one"),
        ("a fox walks and does not stop", "subject fox, action walks, count one"),
        ("a balloon rises, it never falls", "subject balloon, action rises, count one"),
        ("a dog, the camera does not pan left", "subject dog, count one"),
        ("snow falling, a fox walks", "subject fox, action walks, count one"),
        ("rain falling on a car", ""),
        ("smoke rising from a house", ""),
        ("the rising sun over the sea, a boat", "subject boat, place sea, count one"),
        ("a tree with green leaves", "subject tree, count one"),
        ("a forest in fall", "place forest"),
        ("a fox runs while a leaf falls", "subject fox, action runs, count one"),
        ("a woman in running shoes stands still", "subject woman, count one"),
        ("a child on a swing", "subject child, count one"),
        ("a car follows the road", "subject car, count one"),
        ("a woman following a path", "subject woman, count one"),
        ("a man walks after the rain", "subject man, action walks, count one"),
        ("a fox walks, followed by the camera", "subject fox, action walks, count one"),
        ("a man in a green meadow", "subject man, place meadow, count one"),
        ("a woman in a white room", "subject woman, place room, count one"),
        ("a man in a red car", "subject man, count one"),
        ("a woman with red hair", "subject woman, count one"),
        ("a man with a black umbrella", "subject man, count one"),
        ("a green-eyed cat", "subject cat, count one"),
        ("the red-haired woman", "subject woman, count one"),
        ("a red haired woman", "subject woman, count one"),
        ("a stone house", ""),
        ("a glass ball rolls", ""),
        ("a star-shaped balloon", "subject balloon, count one"),
        ("the man's dog runs left", ""),
        ("a bird's-eye view of a boat", "subject boat, count one"),
        ("Fußball im Park", ""),
        ("a man raising his right hand walks", "subject man, count one"),
        ("a dog walks right behind a man", "subject dog, action walks, count one, relation behind"),
        ("a car drives to the left of the road", "subject car, count one"),
        ("what is left of a house", ""),
        ("the sun sets behind a tree", "change dusk falls"),
        ("a clear glass", "subject glass, count one"),
        ("a snowy owl", ""),
        ("a red ball and a blue ball", "subject ball"),
        ("a red and blue kite", "subject kite, count one"),
        ("walking woman", "subject woman, count one"),
        ("a lonely old house stands in a meadow", "subject house, action stays still, place meadow, count one"),
        ("two dogs run left", "subject dog, action runs, heading left, count two"),
        ("a photo of a red car", "subject car, colour red, count one"),
        ("cinematic shot of a fox walking, golden hour", "subject fox, action walks, count one"),
        (
            "a woman dressed in red runs to the right",
            "subject woman, colour red, action runs, heading right, count one",
        ),
        ("a woman in red", "subject woman, colour red, count one"),
        ("a man in red shoes walks", "subject man, count one"),
        ("a stone drops into water with a splash", "subject stone, action splashes, place sea, count one"),
        ("a stone falls", "subject stone, action falls, count one"),
        ("a dog falls asleep", "subject dog, count one"),
        ("the cat", "subject cat, count one"),
        ("Cats", "subject cat"),
        ("a boat on the sea, the waves are high", "subject boat, place sea, count one"),
        ("a ball bounces and then it stops", "subject ball, action bounces, count one, change stops"),
        (
            "a blue ball is rolling left in the desert; it is dusk and the camera zooms in",
            "subject ball, colour blue, action rolls, heading left, place desert, light dusk, camera zooms in, count one",
        ),
        (
            "a cat is sitting in a room at night while it rains",
            "subject cat, place room, light night, weather rain, count one",
        ),
        ("a person walks", "action walks, count one"),
        ("A man walks. A dog runs.", "subject man, action walks, count one"),
        ("in the forest a bear walks", "place forest"),
        ("an orange cat runs from a dog", "subject cat, colour orange, action runs, count one"),
        ("a white dog and a black cat walk", "subject dog, colour white, count one"),
        ("a balloon floats up into the sky", "subject balloon, action rises, count one"),
        ("a green field, a kite flies right", "subject kite, action moves right, heading right, count one"),
        ("a dog walks left to right", "subject dog, action walks, heading right, count one"),
        ("a car drives right to left", "subject car, action moves left, heading left, count one"),
        ("A dog walking, pan to the left", "subject dog, action walks, count one"),
        ("a dog walking, camera moving to the right", "subject dog, action walks, camera pans right, count one"),
        ("a dog runs, looking to the left", "subject dog, action runs, count one"),
        ("a glass falls and breaks", "subject glass, action shatters, count one"),
        ("a glass falls to the floor and shatters into pieces", "subject glass, action shatters, count one"),
        ("a glass breaks", "subject glass, action shatters, count one"),
        ("a dog moves left", "subject dog, count one"),
        ("a red fox", "subject fox, count one"),
        ("an orange fish swims in the ocean", "subject fish, colour orange, count one"),
        ("dusk, beach, a boat", "subject boat, light dusk, count one"),
        ("a man looking at the sea", "subject man, count one"),
        ("a ball falls into the water", "subject ball, place sea, count one"),
        ("a tree with leaves falling", "subject tree, count one"),
        ("a house falls apart", "subject house, count one"),
        ("a dog running towards the camera", "subject dog, action approaches, count one"),
        ("a dog runs away from the camera", "subject dog, action leaves, count one"),
        ("a balloon floating away", "subject balloon, action leaves, count one"),
        ("a ball goes up and down", "subject ball, count one"),
        ("a ball grows smaller", "subject ball, action shrinks, count one"),
        ("a dog stands up", "subject dog, count one"),
        ("a cat walks right up to the camera", "subject cat, action walks, count one"),
        ("day turns into night over a house", ""),
        ("night turns into day, a cat", "subject cat, count one"),
        ("before sunrise, a cat walks", "subject cat, action walks, count one"),
        ("avoid dogs, a cat", "subject cat, count one"),
        ("a woman in red and white", "subject woman, count one"),
        ("tracking shot of a fox running", "subject fox, action runs, camera tracks, count one"),
        ("slow zoom in on a red house", "subject house, colour red, camera zooms in, count one"),
        ("static shot of a house at dawn", "subject house, light morning, camera still, count one"),
        (
            "the camera follows a woman walking in the snow",
            "subject woman, action walks, place snowfield, camera tracks, count one",
        ),
        (
            "the camera zooms in on a dog running left",
            "subject dog, action runs, heading left, camera zooms in, count one",
        ),
        ("a smiling woman walks", "subject woman, action walks, count one"),
        ("a glowing red lantern swings", "subject lantern, colour red, action swings, count one"),
        ("an enormous red balloon rises", "subject balloon, colour red, action rises, count one"),
        ("a mysterious house", "subject house, count one"),
        ("a curious cat walks", "subject cat, action walks, count one"),
        ("a sports car drives left", "subject car, action moves left, heading left, count one"),
        ("it's raining, a fox runs", "subject fox, action runs, weather rain, count one"),
        ("There's a cat in the room", "subject cat, place room, count one"),
        ("a house, the camera slowly pans to the right", "subject house, camera pans right, count one"),
        ("a house, camera slowly zooms out", "subject house, camera zooms out, count one"),
        ("the camera is following a fox", "subject fox, camera tracks, count one"),
        ("a house, zoom in", "subject house, camera zooms in, count one"),
        ("a house, the camera moves left", "subject house, camera pans left, count one"),
        ("the ball rises, then it falls", "subject ball, action rises, count one, change falls"),
        ("a man walks and then he stops", "subject man, action walks, count one, change stops"),
        ("a ball rises, then falls", "subject ball, action rises, count one, change falls"),
        ("a small, red ball", "subject ball, colour red, size small, count one"),
        ("2 dogs run left", "subject dog, action runs, heading left, count two"),
        ("a couple of dogs", "subject dog, count two"),
        ("a group of children", "subject child"),
        ("a woman in a long red coat", "subject woman, colour red, count one"),
        ("the man in the red coat", "subject man, colour red, count one"),
        ("a stone splashes into the sea", "subject stone, action splashes, place sea, count one"),
        ("a kite in the night sky", "subject kite, count one"),
        ("a boat on a sunny day", "subject boat, light day, weather clear, count one"),
        ("a cat walks while the camera pans left", "subject cat, action walks, camera pans left, count one"),
        ("a dog follows a cat to the left", "subject dog, action walks, heading left, count one, relation follows"),
    ],
)
def test_nothing_is_read_that_is_not_asked_for(prompt: str, found: str) -> None:
    assert ", ".join(f"{name} {value}" for name, value in asked(prompt).items()) == found


@pytest.mark.parametrize("text", ["a ", "with a blue ", "red ", "the camera follows the ", "a girl and ", "left of a "])
def test_long_prompts_are_read_in_no_time(text: str) -> None:
    begun = time.process_time()
    asked(text * (10_000 // len(text)))
    assert time.process_time() - begun < 5  # a tenth of a second, where nothing is read again and again


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
