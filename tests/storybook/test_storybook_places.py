"""Scenery: the first world's as it was; the whole world's in every light and weather, always in the same places."""

from __future__ import annotations

import colorsys
import dataclasses
import hashlib

import pytest
import torch
from torch import Tensor

from vitascope.storybook.canvas import OWN, WEATHERS, Canvas, air, lamplight
from vitascope.storybook.mood import GRADES, grade
from vitascope.storybook.places import PLACES, lamps, paint
from vitascope.storybook.scenes import Scene, scene
from vitascope.storybook.weather import LAYERS, fall
from vitascope.storybook.worlds import FIRST, WHOLE

LIGHTS = WHOLE.values["light"]
SCALE = 48.0


def axis(count: int, scale: float = SCALE) -> Tensor:
    return (torch.arange(count, dtype=torch.float32) - (count - 1) / 2) * (1 / scale)


def drawn(index: int = 0, **labels: str) -> Scene:
    return dataclasses.replace(scene(1, index, "any", "whole"), **labels)


def painted(told: Scene, width: int = 80, height: int = 48) -> Canvas:
    canvas = Canvas(axis(width), -axis(height), 1 / SCALE, told)
    paint(canvas)
    return canvas


def flat(canvas: Canvas) -> Tensor:
    picture = canvas.sky * (1 - canvas.land[3:]) + canvas.land[:3]
    return picture if canvas.front is None else picture * (1 - canvas.front[3:]) + canvas.front[:3]


FIRST_PIXELS = {
    "meadow": "eb8fa47a8358fd60",
    "snowfield": "a2215b635b61b2e2",
    "desert": "b8d9e8b570a6cdda",
    "sea": "5d802086253cd753",
    "forest": "2f4a8829a6d52d59",
    "night sky": "97d9d01f51739aad",
}
"""Digests of the sky and the land of each place of the first world, from before there was another world."""


@pytest.mark.parametrize("place", FIRST.values["place"])
def test_the_first_world_is_painted_as_it_was_when_a_model_was_trained_on_it(place):
    digest = hashlib.sha256()
    for index, light in enumerate(FIRST.values["light"]):
        for weather in FIRST.values["weather"]:
            told = dataclasses.replace(scene(5, index, "any"), place=place, light=light, weather=weather)
            canvas = Canvas(axis(120, 64.0), -axis(64, 64.0), 1 / 64, told)
            paint(canvas)
            assert canvas.front is None
            for layer in (canvas.sky, canvas.land):
                digest.update((layer * 255 + 0.5).to(torch.uint8).numpy().tobytes())
    assert digest.hexdigest()[:16] == FIRST_PIXELS[place]


def test_the_tables_name_what_the_worlds_name():
    assert set(PLACES) == set(WHOLE.values["place"])
    assert set(OWN) < set(PLACES)
    for world, values in (("first", FIRST.values), ("whole", WHOLE.values)):
        assert set(WEATHERS[world]) == set(values["weather"]) <= set(LAYERS)
    assert ("neutral", *GRADES) == WHOLE.values["mood"]


@pytest.mark.parametrize("place", WHOLE.values["place"])
def test_every_place_is_painted_in_every_light_and_weather(place):
    for index, light in enumerate(LIGHTS):
        for weather in WHOLE.values["weather"]:
            canvas = painted(drawn(index, place=place, light=light, weather=weather))
            layers = [canvas.sky, canvas.land, *([] if canvas.front is None else [canvas.front])]
            for layer in layers:
                assert bool(torch.isfinite(layer).all())
                assert -1e-5 <= float(layer.min()) <= float(layer.max()) <= 1 + 1e-5
            assert flat(canvas).mean(0).std() > 0.005
            assert all(0 <= value <= 1.1 for colour in air(canvas.scene)[:4] for value in colour)


def test_places_and_lights_differ_from_each_other():
    by_day = {place: flat(painted(drawn(2, place=place, light="day", weather="clear"))) for place in PLACES}
    names = list(by_day)
    for k, one in enumerate(names):
        for other in names[:k]:
            assert (by_day[one] - by_day[other]).abs().mean() > 0.06, (one, other)
    for place in set(PLACES) - {"night sky", "outer space"}:
        lights = [flat(painted(drawn(2, place=place, light=light, weather="clear"))) for light in LIGHTS]
        for k in range(1, 4):
            assert (lights[k] - lights[k - 1]).abs().mean() > 0.04, (place, LIGHTS[k])


def unlit(told: Scene) -> Tensor:
    """The land in one and the same light, whatever the scene's: only its layout is left."""
    canvas = Canvas(axis(80), -axis(48), 1 / SCALE, told)
    same = dataclasses.replace(told, light="day", weather="clear")
    canvas.air, canvas.weather = air(same), WEATHERS["whole"][told.weather]._replace(fog=0.0)
    paint(canvas)
    return torch.cat([canvas.land, torch.zeros_like(canvas.land) if canvas.front is None else canvas.front])


@pytest.mark.parametrize("place", sorted(PLACES))
def test_the_layout_is_the_same_in_every_light_and_weather(place):
    day = unlit(drawn(3, place=place, light="day", weather="clear"))
    night = unlit(drawn(3, place=place, light="night", weather="clear"))
    for weather in ("clear", "cloudy", "rain", "snow"):  # the wind bends the grass, and fog widens the lamps' light
        assert torch.equal(unlit(drawn(3, place=place, light="morning", weather=weather)), day) or place == "night sky"
        assert torch.equal(unlit(drawn(3, place=place, light="dusk", weather=weather))[3], night[3])
    assert torch.equal(day[3], night[3])
    assert torch.equal(day[7], night[7])
    assert not torch.equal(unlit(drawn(4, place=place, light="day", weather="clear")), day)


@pytest.mark.parametrize("place", sorted(PLACES))
def test_a_wider_canvas_shows_the_same_and_more_beside_it(place):
    for index, light in enumerate(LIGHTS):
        told = drawn(index, place=place, light=light, weather="clear")
        narrow, wide = painted(told, 64), painted(told, 128)
        for part, all_of_it in ((narrow.sky, wide.sky), (narrow.land, wide.land), (narrow.front, wide.front)):
            assert (part is None) == (all_of_it is None)
            if part is not None and all_of_it is not None:
                torch.testing.assert_close(part, all_of_it[:, :, 32:96], atol=2e-4, rtol=0)


@pytest.mark.parametrize("place", ["snowy park", "city street", "room"])
@pytest.mark.parametrize("light", ["dusk", "night"])
def test_lamps_light_what_is_around_them(place, light, monkeypatch):
    told = drawn(5, place=place, light=light, weather="clear")
    canvas = painted(told)
    assert canvas.lamps
    assert not painted(dataclasses.replace(told, light="day")).lamps
    lamp = canvas.lamps[0]
    assert lamplight(canvas.lamps, lamp.x) == 1
    assert lamplight(canvas.lamps[:1], lamp.x + lamp.reach) == 0
    monkeypatch.setattr(lamps, "LIT", ())
    more = canvas.land[:3] - painted(told).land[:3]
    assert more.max() > 0.3
    assert more.min() > -0.05  # light takes nothing away; a lit pane may be less blue than a dark one
    assert more[0].mean() > more[2].mean() > 0  # warm
    assert ((more > 0.02).any(0).float().mean()) < 0.9  # somewhere it stays dark


@pytest.mark.parametrize("place", sorted(PLACES))
def test_what_is_before_the_subject_leaves_the_middle_free(place):
    for index in range(4):
        canvas = painted(drawn(index, place=place, light="dusk", weather="wind"))
        if canvas.front is None:
            assert place in ("sea", "room", "night sky")
            continue
        assert 0.002 < canvas.front[3].mean() < 0.12
        middle = (canvas.xs.abs() < 0.5) & (canvas.ys > -0.39)
        assert float((canvas.front * middle).abs().max()) == 0


def test_fog_takes_the_distance_and_leaves_what_is_near():
    for light in LIGHTS:
        contrast = {}
        for weather in ("clear", "fog"):
            canvas = painted(drawn(6, place="forest", light=light, weather=weather))
            grey, y = flat(canvas).mean(0), canvas.ys[:, 0] - canvas.scene.horizon
            contrast[weather] = [grey[rows].std(1).mean() for rows in (y.abs() < 0.12, y < -0.25)]
        far, near = (float(b / a) for a, b in zip(contrast["clear"], contrast["fog"], strict=True))
        assert far < 0.5, light
        assert far < near


@pytest.mark.parametrize("place", ["night sky", "meadow"])
def test_a_closed_sky_hides_the_moon_and_the_stars(place):
    edge = {}
    for weather in WHOLE.values["weather"]:
        sky = painted(drawn(6, place=place, light="night", weather=weather)).sky
        edge[weather] = float(sky.diff(dim=2).abs().max())  # of a disc; clouds have none
    for weather, has in WEATHERS["whole"].items():
        assert edge[weather] > 0.3 if has.seen else edge[weather] < 0.1, (weather, edge)


def test_a_smaller_window_paints_the_same():
    told = drawn(7, place="meadow", light="day", weather="clear")
    whole, part = (Canvas(axis(80), -axis(48), 1 / SCALE, told) for _ in range(2))
    whole.over_land(whole.disc(0.21, -0.13, 0.1), (0.9, 0.2, 0.1))
    at = part.near(0.1, 0.32, -0.24, -0.02)
    at.over_land(at.disc(0.21, -0.13, 0.1), (0.9, 0.2, 0.1))
    assert torch.equal(whole.land, part.land)
    assert part.near(5.0, 6.0, 0.0, 0.1).land.numel() == 0


MOMENTS = [0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize("weather", WHOLE.values["weather"])
def test_weather_comes_as_strongly_as_it_is_told(weather):
    told = drawn(8, place="meadow", light="day", weather=weather)

    def laid(strength: list[float] | None) -> Tensor:
        pixels = torch.full((4, 3, 48, 80), 0.2)
        for behind in (True, False):
            fall(pixels, told, MOMENTS, SCALE, behind=behind, strength=strength)
        return (pixels - 0.2).abs().mean((1, 2, 3))

    assert torch.equal(laid([0.0] * 4), torch.zeros(4))
    assert torch.equal(laid([1.0] * 4), laid(None))
    some = laid([0.0, 0.3, 0.6, 1.0])
    assert some[0] == 0
    if LAYERS[weather] or weather == "fog":
        assert 0 < some[1] < laid(None)[1]
        assert some[3] == laid(None)[3] > 0.005


@pytest.mark.parametrize("direction", [-1, 1])
def test_the_wind_blows_to_its_side(direction):
    told = dataclasses.replace(drawn(9, place="forest", light="day", weather="wind"), direction=direction)
    pixels = torch.zeros(2, 3, 48, 160)
    fall(pixels, told, [0.0, 6 / SCALE / 1.5], SCALE, behind=True)  # six pixels later
    first, later = pixels[:, 0]

    def alike(way: int) -> float:
        return float((first.roll(6 * way, dims=1) * later)[:, 8:-8].sum())

    assert alike(direction) > 3 * alike(-direction)


@pytest.mark.parametrize("light", LIGHTS)
def test_moods_are_told_apart_in_every_light(light):
    for place in ("meadow", "snowy park", "city street", "underwater"):
        finished = flat(painted(drawn(10, place=place, light=light, weather="clear"))).clamp(0, 1)[None]
        graded = {mood: finished.clone() for mood in WHOLE.values["mood"]}
        for mood, pixels in graded.items():
            grade(pixels, mood)
            assert bool(torch.isfinite(pixels).all())
        assert torch.equal(graded["neutral"], finished)
        names = list(graded)
        for k, one in enumerate(names):
            for other in names[:k]:
                assert (graded[one] - graded[other]).abs().mean() > 0.02, (place, one, other)
        red, blue = ({m: float(p[:, c].mean()) for m, p in graded.items()} for c in (0, 2))
        assert red["warm"] - blue["warm"] > red["neutral"] - blue["neutral"] > red["cold"] - blue["cold"]
        assert graded["dreamy"].min() > finished.min()


@pytest.mark.parametrize("mood", sorted(GRADES))
@pytest.mark.parametrize(
    "colour", [(0.88, 0.09, 0.11), (0.08, 0.66, 0.22), (0.08, 0.30, 0.94), (1.0, 0.87, 0.08), (1.0, 0.50, 0.03)]
)
def test_a_colour_keeps_its_name_in_every_mood(mood, colour):
    pixels = torch.full((1, 3, 48, 80), 0.45)
    pixels[:, :, 16:40, 28:52] = torch.tensor(colour)[:, None, None]
    grade(pixels, mood)
    after = pixels[0, :, 20:36, 32:48].mean((1, 2)).clamp(0, 1).tolist()
    turn = (colorsys.rgb_to_hsv(*after)[0] - colorsys.rgb_to_hsv(*colour)[0] + 0.5) % 1 - 0.5
    assert abs(turn) * 360 < 22
    assert max(after) - min(after) > 0.25


def test_a_mood_is_told_or_refused():
    with pytest.raises(KeyError):
        grade(torch.zeros(1, 3, 8, 8), "merry")
