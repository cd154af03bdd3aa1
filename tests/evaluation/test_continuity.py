"""Flicker: 0 for what rests or goes one way, and as large as what was put in."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import islice
from typing import cast

import pytest
import torch
from torch import Tensor

from vitascope.evaluation.continuity import at_rest, calm, continuity, departures, half, identity, unrest
from vitascope.evaluation.films import Shown
from vitascope.evaluation.laws import still
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.evaluation.scenes import real, scenes
from vitascope.evaluation.tracking import appearance
from vitascope.physics.noise import normal
from vitascope.recipe import ClipShape
from vitascope.shot import Shot
from vitascope.storybook import ATTRIBUTES, Scene
from vitascope.storybook.phrases import EVENTS

VIDEO = ClipShape(frames=17, height=32, width=64, fps=8)


@cache
def resting() -> tuple[list[Scene], Tensor]:
    found = list(islice((s for s in scenes(60) if still(s, VIDEO) and calm(s, real(VIDEO, [s])[0], VIDEO)), 6))
    return found, real(VIDEO, found)


class Eyes(Probe):
    """A probe that reads a film's first frame: light ones show the last value of everything, dark ones the first."""

    def __init__(self) -> None:
        super().__init__(ProbeConfig(17, 32, 64, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4))

    def read(self, films: Tensor, rows: int = 16) -> list[dict[str, str]]:
        light = (films[:, 0].float().mean((1, 2, 3)) > 128).tolist()
        return [{name: values[-1 if one else 0] for name, values in ATTRIBUTES.items()} for one in light]


def measured(made: Tensor, shown: list[Scene] | None = None):
    scenes_, true = resting()
    shots = tuple(Shot(prompt="a") for _ in made)
    return continuity(Shown(tuple(shown or scenes_), shots, made, true, true), Eyes(), VIDEO)


def test_what_rests_or_goes_one_way_does_not_flicker() -> None:
    rest = torch.full((9, 4, 4), 80.0)
    assert departures(rest).abs().max() == 0
    fade = torch.arange(9.0)[:, None, None].square().expand(9, 4, 4)
    assert departures(fade).abs().max() == 0
    edge = (torch.arange(9)[:, None, None] > torch.arange(12)[None, None]).float().expand(9, 5, 12) * 255
    assert departures(edge).abs().max() == 0, "an edge that passes"


def test_what_leaves_and_comes_back_is_flicker_of_its_size() -> None:
    film = torch.full((9, 2, 2), 100.0)
    film[4, 0, 0] += 30
    film[5, 0, 1] -= 12
    film[6, 0, 1] -= 12
    away = departures(film)
    assert away.shape == (5, 2, 2)
    assert away[:, 0, 0].tolist() == [0, 0, 30, 0, 0]
    assert away[:, 0, 1].tolist() == [0, 0, 0, 12, 12], "also for two frames"
    assert away[:, 1].abs().max() == 0


def test_scenes_at_rest_are_those_whose_true_films_rest() -> None:
    chosen, films = resting()
    assert all(s.camera == "still" for s in chosen)
    assert len(films) == 6
    moved = films[0].clone()
    moved[8:] += 9
    assert not at_rest(moved)
    assert not still(next(s for s in scenes(60) if s.camera != "still"), VIDEO)


def test_where_others_move_flicker_is_not_looked_for() -> None:
    """Nor where fragments fly: true films of all that is chosen, of the whole world, are at rest around their subject."""
    video = ClipShape(frames=17, height=48, width=80, fps=8)
    asked = [one for one in scenes(100, start=135, world="whole") if still(one, video)]  # no other is ever chosen
    true = real(video, asked)
    chosen = [i for i, one in enumerate(asked) if calm(one, true[i], video)]
    assert {asked[i].count for i in chosen} == {"one"}
    assert {asked[i].relation for i in chosen} == {"none"}
    left_out = [i for i in range(len(asked)) if i not in chosen and at_rest(true[i])]
    assert {asked[i].count for i in left_out} > {"one"}
    assert {asked[i].relation for i in left_out} > {"none"}
    assert any(asked[i].action in EVENTS for i in left_out)
    told = []
    for some in (chosen, left_out):
        path = [appearance(asked[i], video) for i in some]
        told.append(sum(unrest(true[i], known)[0] for i, known in zip(some, path)) / len(some))
    assert told[0] < 0.1 < told[1]


def test_true_films_do_not_flicker_and_flicker_that_is_put_in_is_measured() -> None:
    _, true = resting()
    quiet = measured(true)
    assert quiet.films == len(true)
    assert quiet.made.flicker == quiet.real.flicker
    assert quiet.real.flicker is not None
    assert quiet.real.flicker < 0.4
    assert quiet.real.drift == 0
    before = quiet.real.flicker
    for size in (4.0, 8.0, 16.0):
        blinks = size * (normal(3, "blinks", 0, (len(true), 17, 1, 1, 1)) > 0.6).float()
        told = measured((true + blinks).clamp(0, 255).to(torch.uint8)).made.flicker
        assert told is not None
        assert before + 0.08 * size < told < before + 0.5 * size
        before = told


def test_a_background_that_wanders_drifts_and_does_not_flicker() -> None:
    _, true = resting()
    ramp = torch.linspace(0, 24, 17)[None, :, None, None, None]
    told = measured((true + ramp).clamp(0, 255).to(torch.uint8)).made
    assert told.drift == pytest.approx(18, abs=3.5)
    assert told.flicker == pytest.approx(cast(float, measured(true).made.flicker), abs=0.25)


def test_a_subject_that_becomes_another_is_told() -> None:
    dark, light = torch.zeros(4, 17, 32, 64, 3, dtype=torch.uint8), torch.full((4, 17, 32, 64, 3), 255).to(torch.uint8)
    turned = torch.cat((dark[:, :8], light[:, 8:]), 1)
    assert identity(dark, Eyes()).value == 1
    assert identity(turned, Eyes()).value == 0
    assert identity(torch.cat((dark, turned)), Eyes()).hits == 4


def test_halves_of_a_film_are_whole_films() -> None:
    count = torch.arange(17)[None, :, None, None, None].expand(2, 17, 2, 2, 3)
    first, second = (half(count, which)[0, :, 0, 0, 0].tolist() for which in (0, 1))
    assert (first[0], first[-1], second[0], second[-1]) == (0, 8, 8, 16)
    assert len(first) == len(second) == 17
    assert [b - a for a, b in zip(first, second)] == [8] * 17


def test_no_scene_at_rest_is_no_figure() -> None:
    moving = [s for s in scenes(80) if s.camera != "still"][:6]
    told = measured(resting()[1], moving)
    assert (told.films, told.made.flicker, told.real.drift) == (0, None, None)
    assert told.made.identity.of == 6
    assert not told.sure, "these eyes were never schooled"


def test_what_goes_to_pieces_need_not_stay_the_same() -> None:
    gone = [replace(one, action="shatters") for one in resting()[0][:2]]
    assert measured(resting()[1], [*gone, *resting()[0][2:]]).made.identity.of == 4
