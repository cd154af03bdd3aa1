"""Steering curves: which films are asked for, what is counted of them, and that a measurement goes on where it stood."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.evaluation.curves import (
    Curves,
    entropy,
    freedom,
    given,
    judged,
    left,
    measure_curves,
    negations,
    saturation,
    share_of,
    usual_entropy,
)
from vitascope.evaluation.probe import Probe, ProbeConfig, Schooling
from vitascope.evaluation.scenes import real, scenes, siblings
from vitascope.evaluation.share import Share
from vitascope.evaluation.steering import (
    CONTRADICTED,
    CURVES,
    FRAMES,
    GUIDANCE,
    OPEN,
    SCENES,
    SOLVERS,
    STEPS,
    UNWANTED,
    Asked,
    Point,
    growing,
    negated,
    shots,
    telling_only,
)
from vitascope.physics.solvers import SOLVERS as KNOWN
from vitascope.physics.solvers import Step
from vitascope.pixels import to_pixels
from vitascope.recipe import ClipShape
from vitascope.shot import Shot
from vitascope.storybook import ATTRIBUTES, WORLDS, Scene, plain, scene
from vitascope.system import Guides

VIDEO = ClipShape(frames=5, height=16, width=32, fps=8)
NAMES = list(ATTRIBUTES)


class Steady(Probe):
    """A probe that reads what it is told to, film by film; the camera it reads badly."""

    def __init__(self, told: list[dict[str, str]] | None = None) -> None:
        torch.manual_seed(0)
        super().__init__(ProbeConfig(5, 16, 32, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4))
        accuracy = dict.fromkeys(ATTRIBUTES, 0.99) | {"camera": 0.7}
        self.schooling = Schooling(0, 1, 1, 1000, accuracy, accuracy)
        self.readings = iter(told or [])

    def read(self, films: Tensor, rows: int = 16) -> list[dict[str, str]]:
        first = {name: values[0] for name, values in ATTRIBUTES.items()}
        return [next(self.readings, first) for _ in films]


class Maker:
    """The part of an engine that makes films: the film of a seed is a true one, its pixels scaled by the guidance."""

    def __init__(self, broken: float = math.inf) -> None:
        self.films = to_pixels(real(VIDEO, scenes(20)))
        self.recipe = SimpleNamespace(video=VIDEO, name="maker", world="first")
        self.defaults = {"steps": 4, "solver": "euler", "guidance": 1.0, "shift": 1.0}
        self.device = torch.device("cpu")
        self.weights = {"network": "0" * 64}
        self.codec = SimpleNamespace(decode=lambda latent: iter([latent]))
        self.made, self.broken = 0, broken

    def prepare(self, shot: Shot) -> Shot:
        return shot.filled(VIDEO.model_dump() | self.defaults)

    def sample(self, *shots: Shot, guides: Guides | None = None) -> Iterator[Step]:
        assert guides is None
        self.made += len(shots)
        assert len({(shot.guidance, shot.steps, shot.solver) for shot in shots}) == 1
        x = self.films[[shot.seed for shot in shots if shot.seed is not None]]
        strong = float(shots[0].guidance or 1)
        yield Step(3, 0.0, x if strong < self.broken else x * math.nan, x)


def measure(maker: Maker, *names: str, **more: Any) -> Curves:
    return measure_curves(cast(Engine, maker), Steady(), names, 8, **more)


def test_curves_turn_one_thing_and_hold_the_rest() -> None:
    assert [p.x for p in CURVES["guidance"].points(8, "first")] == list(GUIDANCE)
    assert {(p.line, p.x) for p in CURVES["steps"].points(8, "first")} == {
        (s, float(n)) for s in SOLVERS for n in STEPS
    }
    assert set(SOLVERS) <= set(KNOWN)
    for name in ("guidance", "steps"):
        points = list(CURVES[name].points(8, "first"))
        assert all(point.asked == points[0].asked for point in points)
        assert len(points) == len({point.name for point in points})
    assert (min(GUIDANCE), max(GUIDANCE), min(STEPS), max(STEPS)) == (1, 15, 4, 100)


def test_a_point_has_as_many_films_as_were_asked_for() -> None:
    for name, curve in CURVES.items():
        for point in curve.points(16, "first"):
            made = shots(point, {})
            assert len(made) == (16 * SCENES if name == "length" else 16), name
            assert [shot.seed for shot in made[: point.seeds]] == list(range(point.seeds))


def test_a_contradiction_is_one_sentence_beside_its_control() -> None:
    alike, contrary = CURVES["contradiction"].points(16, "first")
    for a, b in zip(alike.asked, contrary.asked):
        assert a.prompt.endswith(a.says[CONTRADICTED])
        assert b.prompt.endswith(cast(str, b.against))
        assert a.against == b.against != a.says[CONTRADICTED]
        assert a.prompt.rsplit(" ", 1)[0] == b.prompt.rsplit(" ", 1)[0]


def test_a_negative_prompt_says_nothing_that_the_prompt_says() -> None:
    without, with_, *_ = CURVES["negative"].points(16, "first")
    assert {asked.negative for asked in without.asked} == {""}
    assert [asked.prompt for asked in without.asked] == [asked.prompt for asked in with_.asked]
    for shot in shots(with_, {"steps": 3}):
        assert shot.steps == 3
        assert shot.negative
        subject, colour = shot.prompt.split()[2], shot.prompt.split()[1]
        assert subject not in shot.negative.split()
        assert colour not in shot.negative.split()


def test_short_and_long_films_are_asked_for_the_same() -> None:
    for world in ("first", "whole"):
        points = list(CURVES["complexity"].points(8, world))
        short, long = ([p for p in points if p.line == f"{frames} frames"] for frames in FRAMES)
        assert FRAMES == (17, 33)
        assert [p.x for p in short] == [p.x for p in long] == sorted({p.x for p in short})
        assert len(short) == 3, "simple, between, complex"
        for a, b in zip(short, long):
            assert a.asked == b.asked
            assert all(len(asked.says) == a.x for asked in a.asked)
            assert {shot.frames for shot in shots(a, {"frames": 5})} == {17}
            assert {shot.frames for shot in shots(b, {})} == {33}


def test_films_of_any_length_are_judged() -> None:
    long = real(ClipShape(frames=9, height=16, width=32, fps=8), scenes(4))
    point = Point("complexity", "9 frames", 2.0, (Asked("a", {"subject": "ball"}),))
    assert judged(Steady(), point, long).films == 4


def test_only_what_is_said_and_measured_is_counted() -> None:
    scene = scenes(1)[0]
    right = scene.shows()
    wrong = right | {"colour": "none", "camera": "none", "light": "none"}
    asked = Asked("a", scene.shows(("subject", "colour", "camera")))
    point = Point("length", "", 3.0, (asked,), seeds=2)
    told = judged(Steady([right, wrong]), point, real(VIDEO, scenes(2)))
    assert told.adherence == Share(3, 4), "two attributes of two films, the camera is read too badly"
    assert told.attributes == {"subject": Share(2, 2), "colour": Share(1, 2), "camera": Share(1, 2)}
    assert told.everything == Share(4, 6), "the camera, too"
    assert (told.first, told.last) == (None, None)
    other = Asked("a", right, against="night" if right[CONTRADICTED] != "night" else "day")
    shown = right | {CONTRADICTED: cast(str, other.against)}
    told = judged(Steady([right, shown]), Point("contradiction", "", "c", (other,), seeds=2), real(VIDEO, scenes(2)))
    assert (told.first, told.last) == (Share(1, 2), Share(1, 2))
    assert told.adherence == Share(10, 10), "what is contradicted is told apart"
    assert CONTRADICTED not in told.attributes


def test_saturation_of_known_colours() -> None:
    grey, red = torch.full((1, 2, 4, 4, 3), 90).to(torch.uint8), torch.zeros(1, 2, 4, 4, 3, dtype=torch.uint8)
    red[..., 0] = 255
    assert saturation(grey) == 0
    assert saturation(red) == 1
    assert saturation(torch.cat((grey, red))) == pytest.approx(0.5)


def test_freedom_is_that_of_the_world_or_less() -> None:
    assert entropy(["a"] * 8) == 0
    assert entropy(["a", "b", "c", "d"]) == pytest.approx(2)
    shown = scenes(16)
    free = [scene.shows() for scene in shown]
    nothing = (Asked("a", {}),)
    assert freedom(nothing, [free], NAMES) == pytest.approx(1, abs=0.15)
    assert freedom(nothing, [[free[0]] * 16], NAMES) == 0
    assert freedom((Asked("a", free[0]),), [free], NAMES) is None
    assert usual_entropy("place", 4) < usual_entropy("place", 64) < math.log2(len(ATTRIBUTES["place"]))


def test_points_are_kept_one_by_one_and_not_measured_again() -> None:
    kept: list[Curves] = []
    maker = Maker()
    whole = measure(maker, "negative", "guidance", keep=kept.append)
    assert [len(curves.points) for curves in kept] == list(range(1, 15))
    assert maker.made == 112
    stopped = Curves.parse(kept[8].json())
    again = Maker()
    assert measure(again, "negative", "guidance", before=stopped) == whole
    assert again.made == 40
    assert Curves.parse(whole.json()) == whole


def test_points_that_were_kept_before_attributes_were_are_read() -> None:
    whole = measure(Maker(), "negative")
    entries = json.loads(whole.json())
    later: dict[str, Any] = {"attributes": {}, "left": {}, "shown": {}}
    for point in entries["points"]:
        for name in later:
            del point[name]
    kept = Curves.parse(json.dumps(entries))
    assert kept == replace(whole, points=tuple(replace(point, **later) for point in whole.points))
    assert kept.points[0].everything == Share(0, 0)


def test_points_of_a_curve_that_has_grown_are_gone_on_with() -> None:
    """An earlier version had two kinds of negative prompts, and asked for them in the same words."""
    whole = measure(Maker(), "negative")
    again = Maker()
    assert measure(again, "negative", before=replace(whole, points=whole.points[:2])) == whole
    assert again.made == 32


@pytest.mark.parametrize(("curve", "x"), [("length", 3.0), ("order", "details last"), ("shape", 1.0)])
def test_points_that_were_asked_for_otherwise_are_not_mixed_with_new_ones(curve: str, x: float | str) -> None:
    whole = measure(Maker(), "negative")
    old = replace(whole.points[0], name=f"{curve} /  / {x}", curve=curve, x=x)
    maker = Maker()
    with pytest.raises(BadModel, match=rf"'{curve} /  / {x}' was asked for by an earlier version in other prompts"):
        measure(maker, "negative", before=replace(whole, points=(*whole.points, old)))
    assert maker.made == 0


def test_curves_of_something_else_are_not_gone_on_with() -> None:
    before = measure(Maker(), "negative")
    other = Maker()
    other.weights = {"network": "1" * 64}
    with pytest.raises(BadModel, match="another folder"):
        measure(other, "negative", before=before)
    with pytest.raises(BadModel, match="another folder"):
        measure(Maker(), "negative", before=before, held={"steps": 9})
    with pytest.raises(BadModel, match="the entry"):
        Curves.parse("{}")


def test_films_that_leave_the_numbers_are_a_point_too() -> None:
    told = measure(Maker(broken=7), "guidance")
    assert [point.finite for point in told.points] == [scale < 7 for scale in GUIDANCE]
    assert told.points[-1].adherence.of == 0
    assert told.points[-1].diversity is None


def test_what_true_films_reach_stands_beside() -> None:
    told = measure(Maker(), "negative")
    assert told.world.films == 8
    assert told.world.diversity is not None
    assert told.world.saturation is not None
    assert 0 < told.world.saturation < 1
    assert told.world.freedom == 1
    assert [plain(scene) for scene in scenes(2)] == [
        a.prompt for a in next(CURVES["guidance"].points(8, "first")).asked
    ]


@pytest.mark.parametrize("curve", list(CURVES))
def test_every_curve_can_be_asked_of_the_whole_world(curve: str) -> None:
    for point in CURVES[curve].points(16, "whole"):
        assert point.asked
        for asked in point.asked:
            assert set(asked.says) <= set(WORLDS["whole"].values)
            for name, value in asked.says.items():
                assert value in WORLDS["whole"].values[name]


def test_siblings_share_the_labels_of_the_whole_world_and_nothing_else() -> None:
    for shown in scenes(60, world="whole"):
        for other in siblings(shown, 3):
            assert all(getattr(other, name) == getattr(shown, name) for name in WORLDS["whole"].values)
            assert other.detail != shown.detail
            assert plain(other) == plain(shown)


def alike(some: list[Scene], others: list[Scene], name: str) -> float:
    """Half the sum of the differences between the shares of each value."""
    a, b = (Counter(getattr(one, name) for one in group) for group in (some, others))
    return 1 - 0.5 * sum(abs(a[value] / len(some) - b[value] / len(others)) for value in a | b)


@pytest.mark.parametrize(
    ("world", "said", "draws"),
    [
        ("first", {"subject": "ball"}, 10_000),
        ("first", {"subject": "box", "colour": "red"}, 40_000),
        ("whole", {}, 3_000),
        ("whole", {"subject": "child", "count": "one"}, 25_000),
        ("whole", {"subject": "stone", "count": "one"}, 25_000),
        ("whole", {"mood": "warm"}, 15_000),
    ],
)
def test_scenes_that_show_what_is_said_are_those_among_the_worlds(world: str, said: dict[str, str], draws: int) -> None:
    """Drawn by what is said, or drawn freely and sorted out: the shares of all other attributes are alike."""
    mine = [one for one in (given(said, index, world) for index in range(2500)) if one]
    free = (scene(5, index, "any", world) for index in range(draws))
    theirs = [one for one in free if all(getattr(one, name) == value for name, value in said.items())]
    assert min(len(mine), len(theirs)) > 500
    for name in WORLDS[world].values:
        assert alike(mine, theirs, name) > 0.92, name
    for one in mine:
        assert all(getattr(one, name) == value for name, value in said.items())


def test_scenes_are_those_that_can_be() -> None:
    said = telling_only(growing("whole")[0], ("subject", "colour", "action", "place", "light", "weather")).says
    laws = WORLDS["whole"]
    for one in (given(said, index, "whole") for index in range(300)):
        if one is not None:
            assert one.shows(tuple(said)) == dict(said)
            assert one.turn == "none" or one.turn not in ("dusk falls", "night falls", "day breaks")
            assert one.camera in laws.cameras(one.action)
    sunk = {"subject": "fish", "colour": "brown"}
    assert {one.weather for one in (given(sunk, index, "whole") for index in range(100)) if one} == {"clear"}


@pytest.mark.parametrize("count", [4, 16, 64])
def test_the_worlds_own_scenes_are_as_free_as_the_world(count: int) -> None:
    """At any number of films, though few of them show less than there is."""
    asked = telling_only(growing("whole")[0], ("subject", "colour"))
    groups = [
        [one for one in (given(asked.says, 9000 + k, "whole") for k in range(start, start + 2 * count)) if one]
        for start in range(0, 20 * count, 2 * count)
    ]
    read = [[one.shows() for one in group[:count]] for group in groups]
    found = left([asked] * len(read), read, "whole")
    assert set(found) == set(WORLDS["whole"].values) - {"subject", "colour", "count"}
    for name in ("place", "light", "weather", "mood", "camera"):
        assert found[name].made / found[name].world == pytest.approx(1, abs=0.2), name
    assert share_of(found, ("place", "light", "weather", "mood")) == pytest.approx(1, abs=0.08)


def test_films_that_are_all_alike_leave_nothing_open() -> None:
    shown = growing("whole")
    asked = [telling_only(one, ("subject", "colour", "action")) for one in shown]
    same = left(asked, [[one.shows()] * 8 for one in shown], "whole")
    assert {each.made for each in same.values()} == {0}
    assert "action" not in same, "it is said"
    assert share_of(same, ("place", "light")) == 0
    assert share_of(same, ("subject",)) is None
    half = left(asked[:1], [[shown[0].shows() | {"light": light} for light in ("day", "night")] * 4], "whole")
    assert half["light"].made == 1
    assert half["light"].world > 1


def test_each_level_tells_what_it_leaves_open() -> None:
    told = measure_curves(cast(Engine, Maker()), Steady(), ("length",), 2)
    assert [point.x for point in told.points] == [1, 2, 3, 4, 5, 6, 7]
    assert [point.films for point in told.points] == [2 * SCENES] * 7
    for point in told.points:
        assert not set(point.left) & set(point.attributes), "what is said is not open"
        assert set(point.left) | set(point.attributes) <= set(ATTRIBUTES)
        assert point.freedom in (0, None), "this probe reads one thing always"
    assert set(told.points[0].left) == set(ATTRIBUTES) - {"subject"}
    assert told.points[-1].left == {}
    assert Curves.parse(told.json()) == told


def test_films_that_show_what_is_negated_are_counted() -> None:
    first = {name: values[0] for name, values in ATTRIBUTES.items()}
    shown = [first | {"light": "night"}, first | {"place": "snowfield", "weather": "rain"}, first | {"weather": "snow"}]
    told = [*shown, first, *shown[1:], first, first]
    points = []
    for x in (OPEN, negated("night")):
        point = Point("negative", "open prompts", x, (Asked("a", {"subject": "ball"}),), counted=tuple(UNWANTED))
        points.append(judged(Steady(told[:4] if x == OPEN else told[4:]), point, real(VIDEO, scenes(4))))
    assert points[0].shown == {"night": Share(1, 4), "clear sky": Share(2, 4), "snow": Share(2, 4)}
    (found,) = negations(points)
    assert (found.word, found.without, found.within) == ("night", Share(1, 4), Share(0, 4))
    assert negations(points[:1]) == []
    assert [each.word for each in negations(measure(Maker(), "negative").points)] == list(UNWANTED)
