"""Laws of the whole world: a pendulum's time, footprints that stay, and who walks looks where it goes. Each fit is held
against films that obey and against films that break the law by a known amount."""

from __future__ import annotations

import math
from functools import cache
from itertools import islice

import pytest
import torch
from torch import Tensor

from vitascope.evaluation.facing import FRONTED, front, looks
from vitascope.evaluation.films import Shown
from vitascope.evaluation.fits import pendulum_period, swing
from vitascope.evaluation.footprints import later, trodden
from vitascope.evaluation.laws import kind, kinds, lawful_scenes, laws, treads
from vitascope.evaluation.scenes import real, scenes
from vitascope.evaluation.tracking import Path, appearance, examples, places, tracked
from vitascope.recipe import ClipShape
from vitascope.shot import Shot
from vitascope.storybook import GRAVITY, Scene, track
from vitascope.storybook.motion import pendulum, rope

VIDEO = ClipShape(frames=17, height=64, width=128, fps=8)
STEP = 0.125
SCALE = 64.0  # pixels a frame height


@cache
def obeying(law: str, count: int) -> tuple[Scene, ...]:
    return tuple(islice((s for s in scenes(900, "seen", world="whole") if law in kinds(s, VIDEO)), count))


def shown(found: tuple[Scene, ...], made: Tensor, true: Tensor) -> Shown:
    return Shown(found, tuple(Shot(prompt="a") for _ in found), made, true, true)


def swung(length: float, widest: float, start: float, speed: float = 1.0) -> tuple[Tensor, Tensor]:
    """The path of the world's own pendulum, at another speed."""
    angles = torch.tensor(
        [pendulum(length, widest, speed * (start + STEP * k)) for k in range(17)], dtype=torch.float64
    )
    return length * angles.sin() + 0.1, 0.4 - length * angles.cos()


@pytest.mark.parametrize("speed", [0.7, 1.0, 1.4])
def test_the_period_of_an_exact_pendulum(speed: float) -> None:
    for length, widest, start in ((0.3, 0.5, 0.0), (0.42, 0.85, 0.7), (0.35, -0.7, 0.3)):
        fit = swing(*swung(length, widest, start, speed), STEP)
        assert fit.lawful
        assert fit.off < 1e-3
        assert fit.figures["period"] == pytest.approx(1 / speed, rel=0.01)
        assert fit.figures["period error"] == pytest.approx(abs(1 / speed - 1), abs=0.01)


def test_the_period_of_large_swings_is_that_of_the_equation() -> None:
    """Against the world's own integration: the second time at which the pendulum is where it was let go."""
    for widest in (0.2, 0.6, 0.85):
        period = pendulum_period(0.4, widest)
        assert pendulum(0.4, widest, period) == pytest.approx(widest, abs=1e-3)
        assert pendulum(0.4, widest, period / 4) == pytest.approx(0, abs=3e-3)
    assert pendulum_period(0.4, 1e-6) == pytest.approx(2 * math.pi * math.sqrt(0.4 / GRAVITY))


def test_what_does_not_swing_is_no_pendulum() -> None:
    t = torch.linspace(0, 2, 17, dtype=torch.float64)
    assert not swing(0 * t, 0 * t, STEP).lawful, "what stays where it is has no period"
    assert not swing(0.2 * (9 * t).sin(), 0.2 * (7 * t).cos(), STEP).lawful
    ellipse = swing(0.3 * (3 * t).sin(), 0.3 * (3 * t).cos(), STEP)
    assert not ellipse.lawful, "it goes around"


def test_a_slow_pendulum_is_told_from_the_worlds() -> None:
    found = obeying("swings", 2)
    true = real(VIDEO, found)
    slow = true[:, (torch.arange(17) * 0.6).round().long()]  # three fifths of the speed: periods of five thirds
    (law,) = laws(shown(found, slow, true), VIDEO).laws
    assert law.law == "swings"
    assert law.real.lawful.value == 1
    assert law.real.figures["period error"] < 0.08
    assert law.made.figures["period error"] > 0.3
    for scene in found:
        truth = track(scene, 17)
        assert swing(truth.x, truth.y, STEP).figures["period error"] < 0.01
        assert rope(scene) < 0.6


def walk(stay: int | None, way: int = 1, marks: bool = True) -> tuple[Tensor, Path]:
    """A dark disc that walks over light ground at 4 pixels a frame and leaves a print every 8 pixels, which vanishes after
    so many frames; None keeps it. The ground has pebbles of its own."""
    y, x = torch.meshgrid(torch.arange(64.0) + 0.5, torch.arange(128.0) + 0.5, indexing="ij")
    ground = torch.full((64, 128), 210.0)
    for pebble in range(20, 128, 31):
        ground[(x - pebble).abs() + (y - 44).abs() < 2] = 120.0
    frames, centres = [], []
    for k in range(33):
        centre = 0.0 + 4 * k
        light = ground.clone()
        for number in range(-12, 40):
            at = 8.0 * number
            since = (centre - at) / 4
            if marks and since >= 0 and (stay is None or since < stay):
                light[((x - at) / 3).square() + (y - 44).square() < 1.0] *= 0.75
        light[(x - centre).square() + (y - 38).square() < 49] = 40.0
        frames.append(light if way > 0 else light.flip(1))
        centres.append(centre if way > 0 else 128 - centre)
    film = torch.stack(frames)[..., None].expand(-1, -1, -1, 3).to(torch.uint8)
    return film, Path(torch.tensor(centres, dtype=torch.float64), torch.full((33,), 38.0).double(), 1.0, 7.0)


@pytest.mark.parametrize("way", [1, -1])
def test_prints_that_stay_and_prints_that_vanish(way: int) -> None:
    kept = trodden(*walk(None, way), way, SCALE)
    assert kept.lawful
    assert kept.figures == {"still there": 1, "at the end": 1}
    fading = trodden(*walk(7, way), way, SCALE)
    assert fading.lawful, "there were some"
    assert max(fading.figures.values()) < 0.15
    slower = trodden(*walk(15, way), way, SCALE)
    assert 0.2 < slower.figures["still there"] < 0.8
    assert not trodden(*walk(None, way, marks=False), way, SCALE).lawful, "pebbles are no prints"


def test_prints_are_looked_for_ten_frames_later_where_a_film_is_that_long() -> None:
    assert [later(frames) for frames in (1, 5, 17, 21, 33, 81)] == [1, 2, 8, 10, 10, 10]


def test_walkers_of_the_world_leave_prints_and_look_where_they_go() -> None:
    found = obeying("prints", 2)
    true = real(VIDEO, found)
    bare = true.clone()  # the ground below, as it is where nobody has been yet: of no film with prints
    for film, scene in zip(bare, found):
        assert treads(scene, VIDEO)
        where = places(scene, VIDEO)
        low = int(where[0, 1] + 0.3 * where[0, 2])
        film[:, low:] = film[:, low:].float().mean((0, 2), keepdim=True).to(torch.uint8)
    told = {law.law: law for law in laws(shown(found, bare, true), VIDEO).laws}
    assert set(told) == {"prints", "uniform"}
    assert told["prints"].real.lawful.hits >= 1, "a storm at night may hide them"
    assert told["prints"].real.figures["still there"] > 0.9
    assert told["prints"].made.lawful.hits == 0
    assert told["uniform"].real.figures["forwards"] == 1


def test_who_walks_backwards_is_told() -> None:
    """The true film from its end to its beginning: it goes left, and looks right."""
    found = tuple(s for s in scenes(120) if kind(s, VIDEO) == "uniform" and s.subject in FRONTED)[:2]
    assert len(found) == 2
    true = real(VIDEO, found)
    (law,) = laws(shown(found, true.flip(1), true), VIDEO).laws
    assert law.real.figures["forwards"] == 1
    assert law.made.figures["forwards"] == 0
    ball = tuple(s for s in scenes(120) if kind(s, VIDEO) == "uniform" and s.subject == "ball")[:1]
    film = real(VIDEO, ball)
    assert "forwards" not in laws(shown(ball, film, film), VIDEO).laws[0].made.figures, "a ball has no front"


def test_the_side_to_which_a_subject_looks() -> None:
    for scene in tuple(s for s in scenes(120) if kind(s, VIDEO) == "uniform" and s.subject in FRONTED)[:1]:
        others, films = examples(scene, VIDEO)
        known = appearance(scene, VIDEO)
        face = front(films, others, VIDEO, known)
        film = real(VIDEO, [scene])[0]
        path = tracked(film, known)
        way = 1 if scene.action == "moves right" else -1
        assert looks(film, path, face) == way
        assert looks(film.flip(2), path._replace(x=VIDEO.width - path.x), face) == -way


def test_the_laws_of_the_whole_world_are_asked_for_once_a_film() -> None:
    found = lawful_scenes(2, "seen", VIDEO, world="whole")
    assert len({scene.index for scene in found}) == len(found)
    asked = [law for scene in found for law in kinds(scene, VIDEO)]
    assert set(asked) == {"bounces", "falls", "prints", "rolls", "swings", "uniform"}
    assert min(asked.count(law) for law in set(asked) - {"rolls"}) >= 2, "what rolls under a camera at rest is rare"
