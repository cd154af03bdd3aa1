"""What was left lies in the world: under every camera, and when the camera comes back."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from vitascope.storybook import DURATION, WORLDS, Scene, camera, cast, pixels, places, render, scene, traces, worlds
from vitascope.storybook.lexicon import settings
from vitascope.storybook.motion import facing, pose, radius, times
from vitascope.storybook.phrases import Phrases
from vitascope.storybook.scenes import Trace
from vitascope.storybook.traces import Print, prints
from vitascope.storybook.views import Camera, parallax, view

CAMERAS = WORLDS["whole"].values["camera"]
HEIGHT, WIDTH = 120, 200
SCALE = view(HEIGHT, WIDTH).scale

Law = Callable[[Scene, float], Camera]


def quiet(**labels: Any) -> Scene:
    """A scene of the whole world with these labels and nothing else going on."""
    usual = {"beat": "none", "turn": "none", "count": "one", "relation": "none", "other": "none", "camera": "still"}
    usual |= {"mood": "neutral", "size": "small", "weather": "clear", "light": "day", "place": "snowfield"}
    return replace(scene(11, 2, "any", "whole"), **{**usual, **labels})


WALKERS = [
    {"subject": "fox", "action": "walks", "place": "snowfield"},
    {"subject": "woman", "action": "runs", "place": "beach", "beat": "stops"},
    {"subject": "dog", "action": "walks", "place": "desert", "beat": "speeds up", "direction": -1},
]
ROLLERS = [
    {"subject": "car", "action": "moves left", "place": "desert"},
    {"subject": "ball", "action": "rolls", "place": "snowfield", "beat": "stops"},
    {"subject": "bicycle", "action": "moves right", "place": "beach"},
]


@pytest.fixture
def filmed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The film of a scene, what its traces change of it, and where its maker with its shadow is; [t h w c], [t h w], [t h w].

    Nothing stands before the subject. `law` gives the camera in place of the scene's own.
    """
    monkeypatch.setattr(places, "FRONTS", {})

    def drawn(made: Scene, frames: int, law: Law = camera) -> tuple[Tensor, Tensor, Tensor]:
        films = []
        for left_out in (None, "press", "sprites"):
            with monkeypatch.context() as patch:
                patch.setattr(pixels, "camera", law)
                if left_out:
                    patch.setattr(pixels, left_out, lambda *_: ())
                films.append(render([made], frames=frames, height=HEIGHT, width=WIDTH)[0])
        whole, untrodden, alone = films
        trace, maker = ((whole.int() - other.int()).abs().amax(-1) for other in (untrodden, alone))
        return whole, trace, maker > 0

    return drawn


def test_what_is_told_of_traces_is_what_is_pressed() -> None:
    """The tables of captions and pictures have the same places and the same traces, and both ask the scene."""
    assert set(worlds.SOFT) == set(traces.PRESSED) == set(settings.INTO_SOFT)
    assert set(get_args(Trace)) == set(settings.TRACES)
    found: dict[Trace | None, int] = {}
    for index in range(1500):
        made = replace(scene(5, index, "any", "whole"), beat="none", relation="none", turn="none", camera="still")
        found[made.trace] = found.get(made.trace, 0) + 1
        told = {Phrases(made, random.Random(k), set()).trace([]).removeprefix(", ") for k in range(12)} - {""}
        ends = [f" {settings.INTO_SOFT[made.place]}", ""] if made.place in settings.INTO_SOFT else [""]
        words = settings.RINGS if made.action == "splashes" else settings.TRACES[made.trace] if made.trace else ()
        assert told <= {text + end for text in words for end in ends}, made
        assert told or not made.trace, made
    assert set(found) == {None, *get_args(Trace)}
    assert min(found.values()) > 5, found


@pytest.mark.parametrize(
    ("trace", "labels"),
    [
        ("footprints", {"subject": "fox", "action": "walks"}),
        ("wheels", {"subject": "bicycle", "action": "moves left"}),
        ("groove", {"subject": "box", "action": "rolls", "place": "desert"}),
        ("wake", {"subject": "boat", "action": "moves left", "place": "sea"}),
        (None, {"subject": "fox", "action": "walks", "place": "meadow"}),
        (None, {"subject": "fox", "action": "bounces"}),
        (None, {"subject": "kite", "action": "moves left", "place": "beach"}),
    ],
)
def test_a_trace_changes_the_picture_where_there_is_one(
    trace: Trace | None, labels: dict[str, Any], filmed: Callable[..., tuple[Tensor, Tensor, Tensor]]
) -> None:
    made = quiet(**labels)
    assert made.trace == trace
    assert bool((filmed(made, 3)[1] > 5).any()) == (trace is not None)


def spot(mark: Print, made: Scene, by: Camera) -> tuple[float, float, float, float]:
    """Where a camera sees a print: column and row of its middle, half-sizes, in pixels."""
    x, y = by.sees(mark.x, mark.y, parallax(made, made.floor))
    wide, high = mark.wide * by.zoom * SCALE, mark.high * by.zoom * SCALE
    return WIDTH / 2 + x * SCALE, HEIGHT / 2 - y * SCALE, wide, high


@pytest.mark.parametrize("way", CAMERAS)
@pytest.mark.parametrize("labels", WALKERS, ids=lambda labels: labels["subject"])
def test_a_print_has_its_place_in_the_world_for_good(labels: dict[str, Any], way: str) -> None:
    walking = quiet(**labels, camera=way)
    assert walking.trace is not None
    moments = times(33)
    marks = prints(walking, moments)
    assert len({mark.x for mark in marks}) == len(marks) > 6
    for count in range(1, 34):
        so_far = prints(walking, moments[:count])
        assert so_far == [mark for mark in marks if mark.since <= moments[count - 1]]


@pytest.mark.parametrize("way", CAMERAS)
@pytest.mark.parametrize("labels", WALKERS, ids=lambda labels: labels["subject"])
def test_prints_are_seen_where_the_camera_sees_their_places(
    labels: dict[str, Any], way: str, filmed: Callable[..., tuple[Tensor, Tensor, Tensor]]
) -> None:
    """Every print that was pressed changes the pixels at its place, in every later frame; and nothing else is changed."""
    walking, frames = quiet(**labels, camera=way), 9
    moments = times(frames)
    _, trace, maker = filmed(walking, frames)
    columns, rows = torch.arange(WIDTH) + 0.5, (torch.arange(HEIGHT) + 0.5)[:, None]
    seen = 0
    for k, t in enumerate(moments):
        allowed = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        for mark in prints(walking, moments):
            if mark.since > t:
                continue
            x, y, wide, high = spot(mark, walking, camera(walking, t))
            edge = 1 + 0.6 / high  # softened by half a pixel of its height, and as much of its width
            allowed |= ((columns - x) / wide).square() + ((rows - y) / high).square() <= edge**2
            row, column = math.floor(y), math.floor(x)
            if 0 <= column < WIDTH and 0 <= row < HEIGHT and not maker[k, row, column]:
                assert int(trace[k, row, column]) > 5, (k, mark)
                seen += 1
        assert not bool((trace[k] > 0)[~allowed].any()), k
    assert seen > 3 * frames


def test_prints_hardly_shift_against_the_ground_around_them() -> None:
    """A print has the depth of its maker's line; the ground right there is a little nearer or farther. Only a camera that moves
    tells them apart."""
    moments, worst = times(33), dict.fromkeys(CAMERAS, 0.0)
    for index in range(2500):
        made = scene(3, index, "any", "whole")
        for maker in (each for each in cast(made) if each.trace is not None):
            if maker.subject not in worlds.WALKERS:
                continue
            views = [camera(made, t) for t in moments]
            for mark in prints(maker, moments):
                apart = [
                    by.sees(mark.x, mark.y, parallax(made, maker.floor))[0] - by.sees(mark.x, 0.0, near)[0]
                    for by, t in zip(views, moments)
                    for near in [parallax(made, mark.y)]
                    if t >= mark.since and abs(by.sees(mark.x, mark.y, parallax(made, maker.floor))[0]) < 0.84
                ]
                if apart:
                    worst[made.camera] = max(worst[made.camera], max(apart) - min(apart))
    moving = {name: worst.pop(name) for name in ("tracks", "circles")}
    assert max(worst.values()) < 1e-9
    assert 0.002 < max(moving.values()) < 2.5 / 96


@pytest.mark.parametrize("way", CAMERAS)
@pytest.mark.parametrize("labels", ROLLERS, ids=lambda labels: labels["subject"])
def test_tracks_reach_from_where_their_maker_came_from_to_where_it_is(
    labels: dict[str, Any], way: str, filmed: Callable[..., tuple[Tensor, Tensor, Tensor]]
) -> None:
    rolling, frames = quiet(**labels, camera=way), 9
    moments = times(frames)
    _, trace, maker = filmed(rolling, frames)
    pace, heading = parallax(rolling, rolling.floor), facing(rolling)
    columns = torch.arange(WIDTH) + 0.5
    seen = 0
    for k, t in enumerate(moments):
        by = camera(rolling, t)
        ends = pose(rolling, 0.0).x - 1.3 * heading, pose(rolling, t).x
        tail, tip = (WIDTH / 2 + by.sees(x, 0.0, pace)[0] * SCALE for x in ends)
        inside = ((columns - tail) * heading > 1) & ((tip - columns) * heading > 1)
        outside = ((columns - tail) * heading < -1) | ((tip - columns) * heading < -1)
        assert not bool((trace[k] > 0)[:, outside].any()), k
        bare = inside & ~maker[k].any(0)
        middle = HEIGHT / 2 - by.sees(0.0, rolling.floor - 0.006)[1] * SCALE
        if middle > HEIGHT - 4:  # the camera is turned up from it
            continue
        near = trace[k, round(middle) - 4 : round(middle) + 4].amax(0)
        assert bool((near[bare] > 5).all()), k
        seen += int(bare.sum())
    assert seen > 20 * frames


@pytest.mark.parametrize("way", CAMERAS)
def test_a_wake_is_behind_its_boat_on_the_water(way: str, filmed: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> None:
    """It thins out with the time since the boat was there, and so is not the same to the pixel; its place is."""
    sailing, frames = quiet(subject="boat", action="moves right", place="sea", camera=way), 9
    _, trace, maker = filmed(sailing, frames)
    columns, pace, seen = torch.arange(WIDTH) + 0.5, parallax(sailing, sailing.floor), 0
    for k, t in enumerate(times(frames)):
        by = camera(sailing, t)
        stern, water = by.sees(pose(sailing, t).x - 0.6 * radius(sailing), sailing.floor + 0.01, pace)
        end, line = WIDTH / 2 + stern * SCALE, HEIGHT / 2 - water * SCALE
        assert not bool((trace[k] > 0)[:, columns > end + 1].any()), k
        behind = (columns > end - 0.5 * by.zoom * SCALE) & (columns < end - 1) & ~maker[k].any(0)
        if line < HEIGHT - 8:
            near = trace[k, round(line) - 8 : round(line) + 8].amax(0)
            assert bool((near[behind] > 5).all()), k
            seen += int(behind.sum())
    assert seen > 10 * frames


def away(frames: int, leave: int, back: int, stop: Camera) -> tuple[Law, Sequence[Camera]]:
    """A camera that stays until frame `leave`, is farthest at `stop`, and from frame `back` on is where it was."""

    def path(scene: Scene, t: float) -> Camera:
        k = t / DURATION * (frames - 1)
        share = 0.0 if not leave < k < back else math.sin(math.pi * (k - leave) / (back - leave))
        rest = Camera(0.0, 1.0, held=stop.held)
        return Camera(*(a + share * (b - a) for a, b in zip(rest, stop, strict=True)))

    return path, [path(quiet(), t) for t in times(frames)]


RETURNS = {
    "turned aside": Camera(0.0, 1.0, aside=2.2),
    "turned up": Camera(0.0, 1.0, y=0.9),
    "moved": Camera(-2.4, 1.0),
    "moved around": Camera(1.8, 1.0, held=1.0),
    "close": Camera(0.0, 3.0, y=0.4),
    "far": Camera(0.0, 0.5),
    "all at once": Camera(0.0, 1.4, y=-0.3, aside=-1.6),
}


@pytest.mark.parametrize("stop", RETURNS.values(), ids=RETURNS)
@pytest.mark.parametrize("labels", [*WALKERS, *ROLLERS], ids=lambda labels: labels["subject"])
def test_what_was_left_is_there_when_the_camera_returns(
    labels: dict[str, Any], stop: Camera, filmed: Callable[..., tuple[Tensor, Tensor, Tensor]]
) -> None:
    """To the pixel, in every frame whose view is that of an earlier one: wherever its maker is in neither."""
    made, frames, leave, back = quiet(**labels), 13, 4, 9
    law, views = away(frames, leave, back, stop)
    film, trace, maker = filmed(made, frames, law)
    assert views[leave] == views[back] == views[-1] != views[6]
    assert not torch.equal(film[leave], film[6])
    for later in range(back, frames):
        left = (trace[leave] > 0) & ~maker[leave] & ~maker[later]
        assert int(left.sum()) > 60
        assert torch.equal(film[later][left], film[leave][left]), later
        assert torch.equal(trace[later][left], trace[leave][left]), later


def test_what_is_out_of_sight_meanwhile_is_there_afterwards(
    filmed: Callable[..., tuple[Tensor, Tensor, Tensor]],
) -> None:
    """The camera sees none of it for a while, and the walker presses more of it unseen."""
    made = quiet(**WALKERS[0])
    law, views = away(17, 5, 13, Camera(0.0, 1.0, aside=4.0))
    _, trace, _ = filmed(made, 17, law)
    assert int((trace[9] > 0).sum()) == 0
    assert views[9].aside > 3
    ahead = prints(made, times(17))
    unseen = [mark for mark in ahead if times(17)[6] < mark.since < times(17)[12]]
    assert len(unseen) >= 2
    reach = radius(made)
    for mark in unseen:
        x, y, *_ = spot(mark, made, views[16])
        if abs(pose(made, DURATION).x - mark.x) > reach:
            assert int(trace[16, math.floor(y), math.floor(x)]) > 5
