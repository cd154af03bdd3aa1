"""What is seen: the camera, who is in the clip, where they stand to each other, and how they move with the ground."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator

import pytest
import torch

from vitascope.storybook import DURATION, Scene, camera, cast, pixels, presence, render, scene, track, tracks
from vitascope.storybook.motion import breadth, pose, radius, span, times
from vitascope.storybook.views import on_screen


def whole(count: int, **labels: str) -> Iterator[Scene]:
    """Scenes of the whole world that all have these labels, with nothing else going on."""
    quiet = {"beat": "none", "turn": "none", "count": "one", "relation": "none", "other": "none", "camera": "still"}
    for index in range(count):
        yield dataclasses.replace(scene(11, index, "any", "whole"), **{**quiet, **labels})


def drawn(count: int = 1500) -> list[Scene]:
    return [scene(3, index, "any", "whole") for index in range(count)]


@pytest.mark.parametrize("relation", ["left of", "right of", "follows", "chases"])
def test_who_is_where_to_whom(relation: str):
    found = [made for made in drawn(3000) if made.relation == relation]
    assert len(found) > 10
    for made in found[:40]:
        one, two = tracks(made, 17)
        assert [each.subject for each in cast(made)] == [made.subject, made.other]
        side = (two.x - one.x) * (
            made.direction if relation in ("follows", "chases") else -1 if relation == "right of" else 1
        )
        assert float(side.min()) > 0.1


def test_who_is_behind_is_seen_behind(monkeypatch: pytest.MonkeyPatch):
    found = [made for made in drawn(1600) if made.relation == "behind"]
    monkeypatch.setattr(pixels, "shadow", lambda *_: None)
    for made in [*found[:24], scene(3, 1517, "any", "whole")]:
        assert made.relation == "behind"
        made = dataclasses.replace(made, weather="clear", turn="none", light="day", mood="neutral")
        one, two = cast(made)
        assert one.floor > two.floor
        films = []
        for people in ((), (one,), (two,), (one, two)):
            monkeypatch.setattr(pixels, "cast", lambda _, people=people: people)
            films.append(render([made], frames=5, height=120, width=200)[0].int())
        empty, *alone, both = films
        first, second = ((film - empty).abs().amax(dim=-1) > 30 for film in alone)
        common = first & second
        assert int(common.sum()) > 20, made.index  # they overlap on the screen
        behind, front = ((both - film).abs().sum(dim=-1)[common] for film in alone)
        assert float((front < behind).float().mean()) > 0.75, made.index  # where one sees who is in front
        assert float((first & ~second).sum() / first.sum()) > 0.3, made.index  # and more of who is behind beside it


def test_several_are_larger_than_a_small_one_and_fit_into_the_frame():
    for made in (m for m in drawn(2000) if m.count != "one" and m.size == "usual"):
        small, large = (dataclasses.replace(made, count="one", size=size) for size in ("small", "large"))
        assert radius(small) * 1.2 < radius(cast(made)[0]) < radius(large) / 1.3
        places = [pose(each, 0.0).x for each in cast(made)]
        seen = torch.stack([path.central for path in tracks(made, 17)]).float()
        assert float(seen.mean()) > 0.75, made.index
        if made.heading == "none":
            ends = max(abs(x) for x in places) + breadth(cast(made)[0]) / 2
            assert ends < 1.0, made.index  # within a frame twice as wide as high


@pytest.mark.parametrize("way", ["pans right", "circles"])
def test_who_stands_farther_back_moves_with_the_ground_below_it(way: str, monkeypatch: pytest.MonkeyPatch):
    """A camera that moves shifts it less than what stands before it; one that is turned shifts all alike."""
    for made in whole(3, subject="ball", action="stays still", place="meadow", light="day", camera=way):
        made = dataclasses.replace(made, weather="clear", mood="neutral", x=0.0, other="box", relation="behind")
        one = cast(made)[0]
        shown = []
        for people in ((one,), ()):
            monkeypatch.setattr(pixels, "cast", lambda _, people=people: people)
            shown.append(render([made], frames=2, height=128, width=256)[0].float())
        changed = (shown[0] - shown[1]).abs().amax(dim=-1).sum(1)
        first, last = ((line * torch.arange(256)).sum() / line.sum() for line in changed)
        row = round(63.5 - 128 * pose(one, 0.0).ground)
        before, after = shown[1][:, row - 2 : row + 3]
        apart = {
            by: (before[:, 70:-70] - after[:, 70 + by : 186 + by]).abs().mean().item() for by in range(-69, 70)
        }  # how unlike the ground is when it is moved by so many pixels
        moved = min(apart, key=lambda by: apart[by])
        assert float(last - first) == pytest.approx(moved, abs=1.6)
        flat = 128 * (camera(made, 0.0).shift() - camera(made, DURATION).shift())
        assert abs(moved - flat) > 3 if way == "circles" else abs(moved - flat) < 1.6
        assert on_screen(made, pose(one, 0.0), camera(made, 0.0))[0] * 128 + 127.5 == pytest.approx(float(first), abs=3)


def test_counted_subjects_are_apart_and_all_there():
    for made in (m for m in drawn(3000) if m.count != "one"):
        paths = tracks(made, 5)
        assert len(paths) == {"two": 2, "three": 3}[made.count]
        for one, two in itertools.pairwise(paths):
            assert float((two.x - one.x).abs().min()) >= 1.05 * span(cast(made)[0])


@pytest.mark.parametrize(("way", "axis", "sign"), [("pans left", 2, 1), ("pans right", 2, -1), ("tilts up", 1, 1)])
def test_a_turned_camera_moves_the_whole_picture_as_one(way: str, axis: int, sign: int):
    """Sky, skyline and ground: the last frame is the first one shifted, as far as both show."""
    for made in whole(3, subject="house", action="stays still", place="snowy park", camera=way):
        made = dataclasses.replace(made, weather="clear", mood="neutral", turn="none", other="none", relation="none")
        first, last = render([made], frames=2, height=128, width=256)[0].float().movedim(axis, 1)  # [side other c]
        ends = [camera(made, t) for t in (0.0, DURATION)]
        shift = 128 * abs(ends[1].aside - ends[0].aside + ends[1].y - ends[0].y)
        near = round(shift)
        assert 128 * 0.2 < shift < 128 * 0.5
        before, after = (first, last) if sign > 0 else (last, first)
        apart = (before[:-near] - after[near:]).abs().mean()
        assert apart < 5, made.index
        assert (before[: -near // 2] - after[near // 2 :]).abs().mean() > 2 * apart


def test_the_camera_holds_or_follows():
    for index, walking in enumerate(whole(4, subject="dog", action="walks", camera="tracks")):
        path, views = track(walking, 33), [camera(walking, t) for t in times(33)]
        seen = [by.sees(float(x), 0.0)[0] for by, x in zip(views, path.x, strict=True)]
        assert max(seen) - min(seen) < 0.15 * float((path.x[-1] - path.x[0]).abs()), index
    for circled in whole(3, subject="house", action="stays still", camera="circles"):
        views = [camera(circled, t) for t in times(33)]
        assert {round(by.sees(0.3, 0.0)[0], 9) for by in views} == {0.3}
        assert abs(views[-1].shift(0.35) - views[0].shift(0.35)) > 0.2
        assert (views[-1].shift(0.35) - views[0].shift(0.35)) * (views[-1].shift(1.35) - views[0].shift(1.35)) < 0


def test_presence_is_where_a_subject_of_another_colour_changes_the_picture():
    """With a still camera and without, alone and several: what changes with the colour lies where somebody is said to be."""
    asked = {"subject": "ball", "action": "moves right", "place": "desert", "light": "day", "weather": "clear"}
    for number, camera_ in itertools.product(("one", "three"), ("still", "pans left", "zooms in", "tilts up")):
        made = dataclasses.replace(next(whole(1, **asked, colour="red", camera=camera_)), count=number)
        other = dataclasses.replace(made, colour="blue")
        films = render([made, other], frames=5, height=96, width=160).int()
        changed = (films[0] - films[1]).abs().amax(-1) > 24
        there = presence(made, 5, 12, 20)
        fine = there.repeat_interleave(8, 1).repeat_interleave(8, 2)
        assert changed.sum() > 300
        assert (changed & fine).sum() >= 0.97 * changed.sum(), (number, camera_)
        assert there.float().mean() < 0.3
