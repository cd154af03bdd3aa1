"""Captions: words in the vocabulary, true of the scene, free in what they leave out."""

from __future__ import annotations

import re

import pytest

from vitascope.storybook import ATTRIBUTES, Scene, caption, plain, said, scene, vocabulary

# An independent reader of captions: what each pattern says. Camera and weather are read, and cut out, first.
CAMERA = {
    "pans left": r"pan(s|ning)?( to the)? left|camera moves to the left",
    "pans right": r"pan(s|ning)?( to the)? right|camera moves to the right",
    "zooms in": r"zoom(s|ing)? in|camera moves closer",
    "zooms out": r"zoom(s|ing)? out|camera moves away",
    "still": r"still shot|fixed camera|static camera|camera is still|camera does not move|camera stays fixed",
}
WEATHER = {
    "rain": r"\brain\w*( falls| is falling| pours down)?",
    "snow": r"snowing|snows\b|falling snow|snowfall|snow is falling|snow falls|snowy weather|snowflakes fall|snow comes down",
    "clear": r"clear sky|sky is clear|weather is clear|clear weather|it is clear",
}
COLOUR = {
    "red": r"\b(red|crimson|scarlet)\b",
    "green": r"\b(green|emerald)\b",
    "blue": r"\b(blue|azure)\b",
    "yellow": r"\b(yellow|golden)\b",
    "purple": r"\b(purple|violet)\b",
    "orange": r"\borange\b",
    "white": r"\bwhite\b",
    "black": r"\bblack\b",
}
SUBJECT = {
    "ball": r"\b(ball|sphere)\b",
    "box": r"\b(box|crate|parcel)\b",
    "star": r"\bstar\b",
    "heart": r"\bheart\b",
    "balloon": r"\bballoon\b",
    "car": r"\b(car|automobile)\b",
    "fish": r"\bfish\b",
    "boat": r"\b(boat|sailboat|ship)\b",
    "tree": r"\btree\b",
}
PLACE = {
    "meadow": r"meadow|grass",
    "snowfield": r"snowfield|the snow\b|snowy (field|plain)",
    "desert": r"desert|sand|dunes",
    "sea": r"\bsea\b|water|ocean|waves",
    "forest": r"forest|woods",
    "night sky": r"night sky|starry sky|clouds",
}
LIGHT = {
    "morning": r"morning|dawn|sunrise",
    "day": r"\bday|noon|midday",
    "dusk": r"dusk|sunset|twilight|evening|sun sets",
    "night": r"\bnight\b|moon|\bdark\b|starry|clouds",
}
ACTION = {
    "rises": r"\bris(es|ing)|ascend|(goes|going|float\w*|moves|moving) up\b|upwards",
    "falls": r"\bfall|\bdrop|(comes|coming|goes|going) down",
    "bounces": r"\bbounc|\bhop|\bjump",
    "rolls": r"\broll|tumbl",
    "spins": r"\bspin|rotat|around|whirl|twirl",
    "moves left": r"\bleft\b",
    "moves right": r"\bright\b",
    "grows": r"\bgrow|larger|bigger|expand",
    "stays still": r"still|\brest(s|ing)\b|\bwait|motionless",
}
READERS = {"colour": COLOUR, "subject": SUBJECT, "place": PLACE, "light": LIGHT, "action": ACTION}


def read(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    rest = text
    for name, patterns in (("camera", CAMERA), ("weather", WEATHER)):
        found[name] = {value for value, pattern in patterns.items() if re.search(pattern, rest)}
        for pattern in patterns.values():
            rest = re.sub(pattern, " ", rest)
    for name, patterns in READERS.items():
        found[name] = {value for value, pattern in patterns.items() if re.search(pattern, rest)}
    return found


SCENES = [scene(50, index, "any") for index in range(1500)]


def test_every_word_is_in_the_vocabulary():
    known = set(vocabulary())
    for drawn in SCENES:
        for text in (caption(drawn), caption(drawn, 7), plain(drawn)):
            assert set(re.findall(r"[a-z]+", text)) <= known
            assert re.fullmatch(r"[a-z]+([.,]? [a-z]+)*", text), text
    assert list(vocabulary()) == sorted(known)


def test_every_word_of_the_vocabulary_is_used():
    used: set[str] = set()
    for index, drawn in enumerate([scene(51, k, "any") for k in range(6000)]):
        used |= set(re.findall(r"[a-z]+", caption(drawn, index % 5)))
    assert len(set(vocabulary()) - used) <= 2  # the rarest may be missed


def check(drawn: Scene, text: str, told: frozenset[str]) -> None:
    for name, values in read(text).items():
        truth = getattr(drawn, name)
        implied = name == "light" and drawn.place == "night sky"  # the night sky says the night
        assert values <= {truth}, (text, name, values, truth)
        if name in told and not implied:
            assert values == {truth}, (text, name)
        if name not in told and not implied:
            assert not values, (text, name, values)


def test_a_caption_is_true_and_says_what_it_says_it_says():
    for drawn in SCENES:
        for index in (0, 3):
            check(drawn, caption(drawn, index), said(drawn, index))


def test_the_plain_caption_says_everything():
    for drawn in SCENES:
        check(drawn, plain(drawn), frozenset(ATTRIBUTES))


def test_the_plain_caption_is_as_promised():
    labels = ("ball", "red", "bounces", "snowfield", "dusk", "rain", "pans left")
    drawn = Scene(0, 0, *labels, 0.2, 0.0, -0.3, 0.0, 1, 1, 0.5, 0.5, 0.5, (0.0, 0.0, 0.0), 0)
    assert plain(drawn) == "a red ball bounces on a snowfield at dusk, rain falls, the camera pans left"


def test_captions_vary_in_phrasing_length_and_content():
    lengths = [len(caption(drawn).split()) for drawn in SCENES]
    assert min(lengths) <= 3
    assert max(lengths) >= 20
    assert len({caption(SCENES[0], index) for index in range(40)}) > 25
    for name, low, high in (("action", 0.9, 0.99), ("colour", 0.7, 0.95), ("light", 0.3, 0.7), ("camera", 0.2, 0.6)):
        assert low < sum(name in said(drawn) for drawn in SCENES) / len(SCENES) < high
    assert all("subject" in said(drawn) for drawn in SCENES)


def test_a_caption_is_a_function_of_scene_and_index():
    assert caption(SCENES[3], 2) == caption(scene(50, 3, "any"), 2)


@pytest.mark.parametrize(
    "typed", ["a red ball bounces across a snowfield at dusk", "the camera pans left", "in the snow"]
)
def test_what_people_type_is_in_the_vocabulary(typed):
    assert set(typed.split()) <= set(vocabulary())
