"""The tracker against the world's own tracks, and the fits of laws on paths that obey them and on paths that do not."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from torch import Tensor

from vitascope.evaluation.films import Shown, joined
from vitascope.evaluation.fits import CLOSE, Fit, bounce, fall, line, rolled
from vitascope.evaluation.laws import fitted, kind, lawful_scenes, laws, rolling, summed
from vitascope.evaluation.rolling import turns
from vitascope.evaluation.scenes import real, scenes
from vitascope.evaluation.tracking import Path, appearance, missed, places, tracked
from vitascope.physics.noise import normal
from vitascope.recipe import ClipShape
from vitascope.shot import Shot
from vitascope.storybook import GRAVITY, Scene, track
from vitascope.storybook.motion import radius, rolling_radius

VIDEO = ClipShape(frames=17, height=64, width=128, fps=8)
STEP = 0.125


@cache
def moving(law: str, count: int) -> tuple[Scene, ...]:
    return tuple([s for s in scenes(200) if kind(s, VIDEO) == law][:count])


def shown(found: tuple[Scene, ...], made: Tensor | None = None) -> Shown:
    true = real(VIDEO, found)
    return Shown(found, tuple(Shot(prompt="a") for _ in found), true if made is None else made, true, true)


def seconds(count: int = 17) -> Tensor:
    return torch.arange(count, dtype=torch.float64) * STEP


def dropped(gravity: float, start: float, height: float) -> Tensor:
    return height - (gravity * (seconds() - start).clamp(min=0).square() / 2).clamp(max=height)


def test_the_tracker_finds_what_the_world_knows() -> None:
    found = moving("uniform", 6) + moving("falls", 6) + moving("bounces", 4)
    off = []
    for scene, film in zip(found, real(VIDEO, found)):
        path = tracked(film, appearance(scene, VIDEO))
        assert path.sure > 0.5, scene
        off.append(missed(path, scene, VIDEO))
    far = torch.cat(off)
    assert float(far.median()) < 0.4, "pixels"
    assert float(far.quantile(0.9)) < 1.5


def test_a_film_without_the_subject_is_told() -> None:
    scene = moving("uniform", 1)[0]
    known = appearance(scene, VIDEO)
    film = real(VIDEO, [scene])[0]
    empty = film.float().median(0).values.to(torch.uint8).expand_as(film)
    assert tracked(film, known).sure > 0.5
    assert tracked(empty, known).sure < 0.25
    grain = (128 + 60 * normal(1, "grain", 0, tuple(film.shape))).clamp(0, 255).to(torch.uint8)
    assert tracked(grain, known).sure < 0.25


def test_which_law_follows_from_the_track() -> None:
    for scene in scenes(200):
        law = kind(scene, VIDEO)
        if scene.camera != "still":
            assert law is None
        elif scene.action in ("falls", "bounces"):
            assert law == scene.action
        else:
            assert law == (
                "uniform" if scene.action.startswith("moves") else "rolls" if scene.action == "rolls" else None
            )


def test_true_tracks_of_the_whole_world_fit_the_laws_that_they_are_of() -> None:
    video = ClipShape(frames=17, height=96, width=160, fps=8)
    of = {law: [s for s in scenes(300, world="whole") if kind(s, video) == law] for law in ("falls", "bounces")}
    blank = torch.zeros(17, 96, 160, 3, dtype=torch.uint8)
    for law, found in of.items():
        assert len(found) >= 4
        for scene in found:
            at = places(scene, video)
            fit = fitted(blank, Path(at[:, 0], at[:, 1], 1.0), scene, video)
            assert fit.lawful, (law, scene)
            assert fit.figures["gravity error"] < 0.1
    assert {s.action for s in of["bounces"]} == {"bounces"}
    sunk = [s for s in scenes(300, world="whole") if s.action == "splashes" and kind(s, video) is None]
    assert sunk, "a stone that goes on under water does not fall as the law has it"


def test_scenes_that_obey_a_law_are_found_and_not_asked_for_twice() -> None:
    found = lawful_scenes(3, "seen", VIDEO, start=100)
    assert [kind(scene, VIDEO) for scene in found] == ["bounces"] * 3 + ["falls"] * 3 + ["rolls"] * 3 + ["uniform"] * 3
    assert min(scene.index for scene in found) >= 100
    assert found[:2] == lawful_scenes(2, "seen", VIDEO, start=100)[:2]
    assert lawful_scenes(3, "seen", ClipShape(frames=1, height=64, width=128, fps=8)) == []


def test_films_one_after_the_other() -> None:
    a, b = shown(moving("falls", 2)), shown(moving("rolls", 1))
    both = joined(a, b)
    assert len(both) == 3
    assert both.scenes == (*a.scenes, *b.scenes)
    for name in both.versions:
        assert torch.equal(both.versions[name], torch.cat((a.versions[name], b.versions[name])))


@pytest.mark.parametrize("gravity", [0.8, 1.6, 3.0])
def test_the_gravity_of_an_exact_fall(gravity: float) -> None:
    for start in (0.1, 0.35, 0.6):
        fit = fall(dropped(gravity, start, 0.5) - 0.2, STEP)
        assert fit.figures["gravity"] == pytest.approx(gravity, rel=0.03)
        assert fit.off < 0.003


def bounced(gravity: float, left: float, height: float) -> Tensor:
    """Thrown to `height` again and again, first from the ground at 0.3 s, each time with `left` of the speed; before, falling."""
    found = []
    for t in seconds().tolist():
        speed, since = (2 * gravity * height) ** 0.5, t - 0.3
        if since < 0:
            found.append(-speed * since - gravity * since**2 / 2)
            continue
        speed *= left
        while since > 2 * speed / gravity:
            since -= 2 * speed / gravity
            speed *= left
        found.append(speed * since - gravity * since**2 / 2)
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("gravity", [1.0, 1.6, 2.4])
def test_the_gravity_and_restitution_of_exact_bounces(gravity: float) -> None:
    fit = bounce(bounced(gravity, 0.85, 0.4) - 0.3, STEP)
    assert fit.figures["gravity"] == pytest.approx(gravity, rel=0.06)
    assert fit.figures["restitution"] == pytest.approx(0.85, abs=0.1)
    assert fit.off < 0.01


def test_the_bounces_of_the_world() -> None:
    for scene in moving("bounces", 4):
        assert bounce(track(scene, 17).y, STEP).figures["gravity"] == pytest.approx(GRAVITY, rel=0.1)


def test_what_does_not_fall_is_not_lawful() -> None:
    scene = moving("falls", 1)[0]
    t = seconds()
    x = torch.full((17,), 64.0, dtype=torch.float64)
    film = real(VIDEO, [scene])[0]
    still_ = fitted(film, Path(x, x, 1.0), scene, VIDEO)
    rising = fitted(film, Path(x, 60 - 25 * t, 1.0), scene, VIDEO)
    shaking = fitted(film, Path(x, 30 + 20 * normal(2, "y", 0, (17,), dtype=torch.float64), 1.0), scene, VIDEO)
    assert min(fit.off for fit in (still_, rising, shaking)) > CLOSE
    nodding = Path(x, 30 + 5 * normal(2, "y", 0, (17,), dtype=torch.float64).clamp(-1.5, 1.5), 1.0)
    assert not any(fit.lawful for fit in (still_, rising, shaking, fitted(film, nodding, scene, VIDEO)))
    true = places(scene, VIDEO)
    right = fitted(film, Path(true[:, 0], true[:, 1], 1.0), scene, VIDEO)
    assert right.lawful
    assert right.off < 0.003


def test_even_motion_and_what_is_not() -> None:
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    even = line(0.8 * t, 0 * t, 1)
    assert max(even.off, even.figures["unevenness"], even.figures["crookedness"]) < 1e-9
    assert even.figures["right way"] == 1
    assert line(-0.8 * t, 0 * t, 1).figures["right way"] == 0
    assert line(0.8 * t.square(), 0 * t, 1).figures["unevenness"] > 0.05
    crooked = line(0.8 * t, 0.1 * (9 * t).sin(), 1)
    assert crooked.figures["crookedness"] > 0.05
    assert not crooked.lawful
    assert math.isinf(line(0 * t, 0 * t, 1).off), "what stays where it is does not move evenly"


def test_turns_of_a_picture_that_is_turned() -> None:
    """Five blots around the middle, turned by a tenth of a radian a frame, one way and the other."""
    y, x = torch.meshgrid(31.5 - torch.arange(64.0), torch.arange(64.0) - 31.5, indexing="ij")
    for way in (0.1, -0.23):
        frames = []
        for k in range(6):
            blots = [(0.3, 18.0), (1.1, 11.0), (2.9, 20.0), (4.0, 14.0), (5.5, 17.0)]
            light = sum(
                torch.exp(-((x - r * math.cos(a + way * k)) ** 2 + (y - r * math.sin(a + way * k)) ** 2) / 18)
                for a, r in blots
            )
            frames.append((200 * torch.as_tensor(light)).clamp(0, 255).to(torch.uint8))
        film = torch.stack(frames)[..., None].expand(6, 64, 64, 3)
        found = turns(film, torch.full((6, 2), 32.0, dtype=torch.float64), 24.0)
        assert found.tolist() == pytest.approx([way] * 5, abs=0.01)
    assert turns(film[:1].repeat(3, 1, 1, 1), torch.full((3, 2), 32.0, dtype=torch.float64), 24.0).abs().max() < 1e-6


def test_rolling_and_sliding() -> None:
    t = torch.linspace(0, 1, 17, dtype=torch.float64)
    turned = torch.full((16,), -0.8 / 0.2 / 16, dtype=torch.float64)
    fit = rolled(0.8 * t, turned, 0.2, 1)
    assert (fit.figures["slip"], fit.figures["right way"]) == (pytest.approx(0), 1)
    assert rolled(0.8 * t, 0.5 * turned, 0.2, 1).figures["slip"] == pytest.approx(0.5)
    assert rolled(0.8 * t, 0 * turned, 0.2, 1).figures["slip"] == pytest.approx(1), "it slides"
    assert rolled(0.8 * t, -turned, 0.2, 1).figures["right way"] == 0, "it turns against its way"
    assert rolled(-0.8 * t, -turned, 0.2, 1).figures["right way"] == 0


def test_the_radius_of_rolling_is_that_of_the_world() -> None:
    for scene in moving("rolls", 6):
        assert rolling(track(scene, 17)) == pytest.approx(rolling_radius(scene) / radius(scene))
    assert rolling(track(moving("uniform", 1)[0], 17)) is None


def test_true_films_roll_and_films_of_sliding_do_not() -> None:
    found = moving("rolls", 5)
    true = real(VIDEO, found)
    slid = true.clone()  # every frame is the first one, moved as the subject is: it keeps its angle
    for film, scene in zip(slid, found):
        at = places(scene, VIDEO)
        for k in range(1, 17):
            film[k] = film[0].roll(round(float(at[k, 0] - at[0, 0])), 1)
    told = laws(shown(found, slid), VIDEO).laws[0]
    assert told.law == "rolls"
    assert told.real.figures["slip"] < 0.15
    assert told.real.figures["right way"] == 1
    assert told.made.figures["slip"] > 0.7
    assert told.made.figures["right way"] < 0.7


def test_shares_and_spread_of_many_fits() -> None:
    fits = [Fit(0.01, {"gravity": GRAVITY * k, "gravity error": abs(k - 1)}) for k in (0.8, 1.0, 1.0, 1.2)]
    told = summed([*fits, Fit(1.0, {}), None])
    assert (told.films, told.tracked.hits, told.lawful.hits, told.lawful.of) == (6, 5, 4, 5)
    assert told.figures["gravity"] == pytest.approx(GRAVITY)
    assert told.figures["gravity error"] == pytest.approx(0.1)
    assert told.figures["gravity spread"] == pytest.approx(0.05)
    assert summed([None]).figures == {}


def test_films_of_another_gravity_are_told_from_the_world() -> None:
    """A film at three quarters of its speed, over the same two seconds, falls with 9/16 of the world's gravity."""
    found = moving("falls", 6)
    slow = (torch.arange(17) * 0.75).round().long()
    told = laws(shown(found, real(VIDEO, found)[:, slow]), VIDEO)
    (law,) = told.laws
    assert law.real.figures["gravity"] == pytest.approx(GRAVITY, rel=0.08)
    assert law.real.lawful.value == 1.0
    assert law.made.figures["gravity"] == pytest.approx(GRAVITY * 9 / 16, rel=0.15)
    assert law.made.figures["gravity error"] > 0.3 > law.real.figures["gravity error"]
    assert told.tracker_median is not None
    assert told.tracker_median < 0.5


def test_walking_backwards_is_told() -> None:
    found = moving("uniform", 3)
    told = laws(shown(found, real(VIDEO, found).flip(1)), VIDEO)
    assert told.laws[0].made.figures["right way"] == 0
    assert told.laws[0].real.figures["right way"] == 1


def test_no_law_is_no_figure() -> None:
    told = laws(shown(tuple(s for s in scenes(40) if kind(s, VIDEO) is None)[:2]), VIDEO)
    assert (told.laws, told.tracker_median) == ((), None)
