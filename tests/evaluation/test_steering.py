"""What steering curves ask for: one thing is turned at a time, and prompts differ in it alone; of either world's scenes."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import pytest

from vitascope.emphasis import weighed
from vitascope.evaluation.scenes import scenes
from vitascope.evaluation.steering import (
    CURVES,
    OPEN,
    SCENES,
    STRESSED,
    UNWANTED,
    Asked,
    Point,
    growing,
    in_clauses,
    levels,
    negated,
    phrase_of,
    shots,
    stressed,
    telling_only,
)
from vitascope.storybook import WORLDS, plain, vocabulary
from vitascope.storybook.asking import asked as asked_for
from vitascope.storybook.worlds import ENDLESS_NIGHT, SHELTERED, TURNS

MANY = 1200
"""Films of a point, which are four of each prompt: 300 scenes."""


def points(curve: str, line: str, films: int, world: str) -> list[Point]:
    return [point for point in CURVES[curve].points(films, world) if point.line == line]


def spoken(prompt: str) -> Counter[str]:
    """Its words, without points and commas; "an" is "a"."""
    return Counter("a" if word == "an" else word for word in re.findall(r"[\w-]+", prompt))


@pytest.mark.parametrize("world", list(WORLDS))
@pytest.mark.parametrize("name", STRESSED)
def test_the_phrase_that_is_weighed_says_the_attribute_and_nothing_else(name: str, world: str) -> None:
    told = points("emphasis", name, MANY // 4, world)
    assert [point.x for point in told] == sorted(point.x for point in told)
    assert {0.0, 1.0} < {point.x for point in told}
    by_weight = {point.x: [weighed(asked.prompt) for asked in point.asked] for point in told}
    for point in told:
        assert [one.says for one in point.asked] == [one.says for one in told[0].asked]
        if point.x:
            assert [one.text for one in by_weight[point.x]] == [one.text for one in by_weight[1.0]]
        weights = {phrase.weight for one in by_weight[point.x] for phrase in one.phrases}
        assert weights == ({point.x} - {0.0, 1.0})
    usual = WORLDS[world].values[name][0]
    for asked, one, without in zip(told[0].asked, by_weight[2.0], by_weight[0.0], strict=True):
        assert name == "colour" or asked.says[name] != usual
        (phrase,) = one.phrases
        assert phrase.without == without.text
        read, rest = asked_for(one.text, world), asked_for(phrase.without, world)
        assert read[name] == asked.says[name]
        assert rest == {key: value for key, value in read.items() if key != name}, "no more and no less is said"
    assert len({one.text for one in by_weight[1.0]}) > 0.9 * len(by_weight[1.0])


def test_what_is_usual_or_not_said_alone_is_not_weighed() -> None:
    told = [scene for scene in scenes(200, world="whole") if scene.camera == "still" or scene.weather == "clear"]
    assert len(told) > 100
    assert all(phrase_of(one, "camera") is None for one in told if one.camera == "still")
    assert all(phrase_of(one, "weather") is None for one in told if one.weather == "clear")
    one = next(scene for scene in scenes(200, world="whole") if scene.camera == "pans left")
    assert stressed(one, "camera", 1.5).count("(the camera pans left:1.5)") == 1


@pytest.mark.parametrize("world", list(WORLDS))
def test_details_are_moved_whole_and_nothing_else_is(world: str) -> None:
    last, first = points("order", "details that can move", MANY, world)
    assert len(last.asked) == len(first.asked) == MANY // 4
    for a, b in zip(last.asked, first.asked):
        assert a.prompt != b.prompt
        assert spoken(a.prompt) == spoken(b.prompt)
        assert (a.says, a.negative) == (b.says, b.negative)
        core, *details = a.prompt.split(", ")
        assert details, "there is something to move"
        assert b.prompt == ", ".join([*details, core])
        assert a.says.get("change", "none") == "none"
        for detail in details:
            assert re.match(r"(it|rain|snow|clouds|fog|the (sky|camera|mood)) ", detail), "a sentence of its own"
            assert "then" not in detail.split()
            subject = a.says["subject"]
            assert not re.search(rf"\bthe {subject}", detail), "nobody has seen it yet"
    assert len({a.prompt for a in last.asked}) > 0.9 * len(last.asked)


def test_scenes_whose_clauses_belong_together_are_left_out() -> None:
    """The world is full of what the curve does not ask for, so that the law above says something."""
    shown = scenes(MANY // 4, world="whole")
    assert any(", then " in plain(scene) for scene in shown)
    assert any(not in_clauses(scene)[1] for scene in shown)
    assert any(scene.turn in TURNS for scene in shown)
    asked = {one.prompt for one in points("order", "details that can move", MANY, "whole")[0].asked}
    left_out = [scene for scene in shown if plain(scene) not in asked]
    assert {scene.camera for scene in left_out if scene.change == "none" and in_clauses(scene)[1]} == {
        "tracks",
        "circles",
    }


@pytest.mark.parametrize("world", list(WORLDS))
def test_each_level_says_all_that_the_one_before_says_and_one_thing_more(world: str) -> None:
    told = points("length", "growing captions", 64, world)
    names = levels(world)
    assert [point.x for point in told] == [1, 2, 3, 4, 5, 6, 7]
    assert len(told) == len(names)
    for less, more in pairwise(told):
        for a, b in zip(less.asked, more.asked):
            assert set(b.says) - set(a.says) == {names[int(less.x)]}
            assert all(b.says[name] == value for name, value in a.says.items())
            assert spoken(a.prompt) < spoken(b.prompt), "every word stays"
    for point in told:
        assert point.narrowing
        assert set(names[: int(point.x)]) <= set(point.asked[0].says) <= {*names[: int(point.x)], "count"}


@pytest.mark.parametrize("world", list(WORLDS))
def test_levels_have_the_same_seeds_and_as_many_as_were_asked_for_of_each_scene(world: str) -> None:
    for point in points("length", "growing captions", 64, world):
        made = shots(point, {})
        assert len(made) == 64 * SCENES
        for start, asked in zip(range(0, len(made), 64), point.asked):
            group = made[start : start + 64]
            assert [shot.seed for shot in group] == list(range(64))
            assert {shot.prompt for shot in group} == {asked.prompt}


@pytest.mark.parametrize("world", list(WORLDS))
def test_the_scenes_that_grow_are_unlike_and_leave_every_level_open(world: str) -> None:
    shown, laws = growing(world), WORLDS[world]
    assert len(shown) == SCENES >= 4
    for name in ("subject", "colour", "action", "place", "light", levels(world)[-1]):
        assert len({getattr(scene, name) for scene in shown}) == SCENES, name
    for scene in shown:
        assert scene.place not in (*ENDLESS_NIGHT, *SHELTERED)
        assert len(laws.places(scene.subject, scene.action)) > 1
        assert scene in scenes(scene.index + 1, world=world)[-1:], "it is of the evaluation"
    assert growing.__wrapped__(world) == shown, "the same every time"


@pytest.mark.parametrize("world", list(WORLDS))
def test_saying_everything_is_the_canonical_caption(world: str) -> None:
    names, usual = levels(world), ("weather", levels(world)[-1])
    found = 0
    for scene in scenes(1500, world=world):
        bare = (scene.count, scene.size, scene.relation, scene.change) == ("one", "usual", "none", "none")
        bare = bare and scene.action != "splashes"  # its words name the place
        said = all(getattr(scene, name) != WORLDS[world].values[name][0] for name in usual)
        if bare and said and scene.place not in ENDLESS_NIGHT and (world == "first" or scene.camera == "still"):
            side = () if scene.heading == "none" else ("heading",)
            assert telling_only(scene, (*names, *side)).prompt == plain(scene)
            found += 1
    assert found > 20


def test_one_says_what_one_must_and_no_more() -> None:
    scene = next(one for one in scenes(200, world="whole") if one.dress != "nothing" and one.count == "one")
    assert telling_only(scene, ("subject",)) == Asked(f"a {scene.subject}", {"subject": scene.subject, "count": "one"})
    dressed = telling_only(scene, ("subject", "colour")).prompt
    assert dressed.startswith(f"a {scene.subject} ")
    assert {scene.colour, scene.dress} <= set(dressed.split())
    orange = next(one for one in scenes(200) if one.colour == "orange")
    assert telling_only(orange, ("subject", "colour")).prompt == f"an orange {orange.subject}"


@pytest.mark.parametrize("world", list(WORLDS))
def test_a_word_is_negated_that_prompts_leave_open(world: str) -> None:
    told = points("negative", "open prompts", MANY, world)
    assert [point.x for point in told] == [OPEN, *map(negated, UNWANTED)]
    for word, point in zip(("", *UNWANTED), told):
        assert point.counted == tuple(UNWANTED)
        assert [asked.prompt for asked in point.asked] == [asked.prompt for asked in told[0].asked]
        assert {asked.negative for asked in point.asked} == {word}
        assert not set(point.asked[0].says) & {"place", "light", "weather"}
    for asked in told[0].asked:
        assert not spoken(asked.prompt) & Counter(["night", "clear", "sky", "snow"])
    for word, signs in UNWANTED.items():
        assert set(word.split()) <= set(vocabulary(world)), "the model knows the word"
        assert all(set(values) & set(WORLDS[world].values[name]) for name, values in signs.items())


def test_a_sunny_night_is_one_phrase_beside_those_it_is_made_of() -> None:
    assert not points("contradiction", "in one phrase", 16, "first"), "a word of it is unknown there"
    night, both, day = points("contradiction", "in one phrase", MANY, "whole")
    assert [point.x for point in (night, both, day)] == ["a clear night", "a bright sunny night", "a bright sunny day"]
    known = set(vocabulary("whole"))
    for a, b, c in zip(night.asked, both.asked, day.asked):
        assert a.prompt.count(" on a clear night") == 1
        assert b.prompt == a.prompt.replace("clear night", "bright sunny night")
        assert c.prompt == a.prompt.replace("clear night", "bright sunny day")
        assert set(re.findall("[a-z]+", b.prompt)) <= known
        assert (a.says["light"], a.against) == (b.says["light"], b.against) == ("night", "day")
        assert (c.says["light"], c.against) == ("day", "night")
        assert {a.says["weather"], a.says["change"]} == {"clear", "none"}
        assert a.says["place"] not in (*ENDLESS_NIGHT, *SHELTERED)
        assert a.says == b.says == {**c.says, "light": "night"}


@pytest.mark.parametrize("world", list(WORLDS))
def test_points_have_names_of_their_own(world: str) -> None:
    names = [point.name for curve in CURVES.values() for point in curve.points(16, world)]
    assert len(names) == len(set(names))
