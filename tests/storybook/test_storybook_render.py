"""Pixels: determinism, independence of batch, size and number of frames; motion and colour where they are claimed."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any, ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vitascope.storybook import ATTRIBUTES, WORLDS, Scene, pixels, render, scene
from vitascope.storybook.motion import pose
from vitascope.storybook.pixels import view
from vitascope.storybook.views import camera
from vitascope.storybook.worlds import TURNS, WALKERS, WATER


def drawn(index: int, **labels: str) -> Scene:
    return dataclasses.replace(scene(21, index, "any"), **labels)


def test_a_clip_is_a_function_of_its_scene_and_not_of_its_batch():
    scenes = [scene(20, index, "any") for index in range(12)]
    together = render(scenes)
    assert together.shape == (12, 17, 64, 128, 3)
    assert together.dtype == torch.uint8
    assert torch.equal(together, render(scenes))
    assert torch.equal(together.flip(0), render(scenes[::-1]))
    for index in (0, 5, 11):
        assert torch.equal(together[index], render(scenes[index : index + 1])[0])


def test_frames_lie_at_their_own_times():
    scenes = [scene(22, index) for index in range(4)]
    few, many = render(scenes, frames=5), render(scenes, frames=17)
    assert (few.int() - many[:, ::4].int()).abs().max() <= 1
    assert render(scenes, frames=1).shape[1] == 1


def test_single_frames_of_the_first_world_are_what_they_were():
    # Of cameras that pan and zoom: a camera that moves resamples the scenery, even in a single frame.
    scenes = [scene(5, index) for index in (40, 65, 80)]
    assert all(one.camera != "still" for one in scenes)
    frames = render(scenes, frames=1)
    assert hashlib.sha256(frames.numpy().tobytes()).hexdigest()[:16] == "9dd3e52db7f59cd9"  # before the whole world


@pytest.mark.parametrize("index", range(6))
def test_a_larger_picture_shows_the_same(index):
    one = [drawn(index, weather=ATTRIBUTES["weather"][index % 3], camera=ATTRIBUTES["camera"][index % 5])]
    small = render(one, frames=3).float()
    large = render(one, frames=3, height=128, width=256)[0].float().permute(0, 3, 1, 2)
    down = F.avg_pool2d(large, 2).permute(0, 2, 3, 1)
    assert (small[0] - down).abs().mean() < 6
    assert (small[0].mean((0, 1, 2)) - down.mean((0, 1, 2))).abs().max() < 3


@pytest.mark.parametrize("size", [(64, 128), (96, 160), (64, 64), (120, 48), (30, 90), (8, 8)])
def test_any_shape_is_filled(size):
    scenes = [drawn(k, camera=name, weather="snow") for k, name in enumerate(ATTRIBUTES["camera"])]
    clips = render(scenes, frames=3, height=size[0], width=size[1])
    assert clips.shape == (5, 3, *size, 3)
    for edge in (clips[:, :, 0], clips[:, :, -1], clips[:, :, :, 0], clips[:, :, :, -1]):
        assert edge.float().mean() > 1  # nothing was left unpainted


def test_too_small_a_picture_is_refused():
    with pytest.raises(ValueError, match="at least 8"):
        render([scene(0, 0)], height=4)


@pytest.mark.parametrize("place", ATTRIBUTES["place"])
def test_pixels_move_exactly_where_motion_is_claimed(place):
    for index, action in enumerate(ATTRIBUTES["action"]):
        still = drawn(index, action=action, place=place, weather="clear", camera="still")
        clip = render([still])[0].int()
        assert torch.equal(clip[0], clip[-1]) == (action == "stays still")
        difference = (clip[1:] - clip[:-1]).abs().amax(dim=(1, 2, 3))
        assert bool((difference > 0).any()) == (action != "stays still")


@pytest.mark.parametrize("place", ATTRIBUTES["place"])
def test_a_moving_camera_and_falling_weather_are_seen_in_the_background(place):
    base = drawn(3, action="stays still", place=place, camera="still", weather="clear")
    for change in (*({"camera": name} for name in ATTRIBUTES["camera"][1:]), {"weather": "rain"}, {"weather": "snow"}):
        clip = render([dataclasses.replace(base, **change)])[0].float()
        left = clip[:, :, :20]  # beside the subject
        assert (left[0] - left[-1]).abs().mean() > 0.7, change


def test_panning_left_moves_the_scenery_right():
    """The far scenery's shift between the first and the last frame, by correlation of a strip of sky and skyline."""
    for name, way in (("pans left", 1), ("pans right", -1)):
        panned = drawn(5, place="forest", action="grows", weather="clear", camera=name, light="day")
        clip = render([panned])[0].float().mean(-1)
        first, last = clip[0, 8:28], clip[-1, 8:28]
        score = {}
        for shift in range(-24, 25):
            a, b = first[:, 24:-24], last[:, 24 + shift : last.shape[1] - 24 + shift]
            score[shift] = float((a - b).square().mean())
        best = min(score, key=lambda shift: score[shift])
        assert 4 <= best * way <= 24


@pytest.mark.parametrize("light", ATTRIBUTES["light"])
def test_the_colour_of_the_subject_is_seen_in_every_light(light):
    """The subject's pixels are nearer to their own colour, as seen by day, than to any other."""
    seen = {}
    for colour in ATTRIBUTES["colour"]:
        for when in ("day", light):
            still = drawn(9, subject="heart", colour=colour, action="stays still", camera="still", weather="clear")
            still = dataclasses.replace(still, light=when, place="meadow", shade=(0.0, 0.0, 0.0))
            at, frame = pose(still, 0.0), view(64, 128)
            x, y = round(64 + at.x * frame.scale), round(32 - at.y * frame.scale)
            seen[colour, when] = render([still], frames=1)[0, 0, y - 5 : y + 6, x - 5 : x + 6].float().mean((0, 1))
    for colour in ATTRIBUTES["colour"]:
        apart = {other: float((seen[colour, light] - seen[other, "day"]).norm()) for other in ATTRIBUTES["colour"]}
        assert min(apart, key=lambda other: apart[other]) == colour, apart


def test_black_by_night_and_white_on_snow_stand_out():
    for colour, place, light in (("black", "forest", "night"), ("white", "snowfield", "day")):
        for subject in ATTRIBUTES["subject"]:
            still = drawn(2, subject=subject, colour=colour, place=place, light=light, weather="clear", camera="still")
            still = dataclasses.replace(still, action="stays still")
            away = dataclasses.replace(still, x=9.0)
            change = (render([still], frames=1).float() - render([away], frames=1).float()).abs().amax(-1)
            assert (change > 60).sum() > 60, (subject, colour)


def test_the_subject_is_large_enough():
    for index, subject in enumerate(ATTRIBUTES["subject"]):
        still = drawn(index, subject=subject, action="stays still", place="sea", camera="still", weather="clear")
        away = dataclasses.replace(still, x=9.0)
        change = (render([still], frames=1).int() - render([away], frames=1).int()).abs().amax(-1)[0, 0] > 20
        rows = change.any(1).nonzero()
        assert 0.28 * 64 <= int(rows.max() - rows.min()) + 1 <= 0.72 * 64


def test_a_zoom_scales_about_the_centre():
    zoomed = drawn(4, camera="zooms in")
    assert camera(zoomed, 0.0).zoom < 1 < camera(zoomed, 2.0).zoom
    assert camera(zoomed, 0.0).zoom * camera(zoomed, 2.0).zoom == pytest.approx(1.0)
    assert camera(dataclasses.replace(zoomed, camera="zooms out"), 2.0).zoom < 1


def features(made: Scene) -> set[str]:
    """What of a scene is drawn by code of its own."""
    found = {
        f"{name} {value}" for name, value in made.shows().items() if name in ("camera", "weather", "mood", "place")
    }
    found |= {made.action} & {"shatters", "splashes", "swings"}
    found |= {made.turn, made.relation, made.count}
    if made.trace is not None:
        found.add("wake" if made.place in WATER else "prints" if made.subject in WALKERS else "tracks")
    return found


def varied(most: int = 3000) -> list[Scene]:
    """Few scenes of the whole world in which all of its features are drawn: each brings some that those before it lack."""
    pool = [scene(41, index, "any", "whole") for index in range(most)]
    left = set.union(*map(features, pool))
    found: list[Scene] = []
    for least in (8, 6, 4, 2, 1):
        for made in pool:
            if len(features(made) & left) >= least:
                left -= features(made)
                found.append(made)
    return found


def test_a_few_scenes_show_all_that_is_drawn():
    found = varied()
    assert len(found) < 24
    drawn = set.union(*map(features, found))
    whole = WORLDS["whole"].values
    for name in ("camera", "weather", "mood", "place"):
        assert {f"{name} {value}" for value in whole[name]} <= drawn
    assert {"shatters", "splashes", "swings", "prints", "tracks", "wake", *TURNS} <= drawn
    assert {*whole["relation"], *whole["count"]} <= drawn


def kind(given: Any) -> Any:
    """What of an argument the shape and the type of an answer depend on."""
    if isinstance(given, torch.Tensor):
        return (given.shape, given.stride(), given.dtype, given.device)
    return type(given) if isinstance(given, float) else (type(given), str(given))


class Elsewhere(TorchFunctionMode):
    """Counts calls that mix arrays of the meta device, which hold no numbers, with such of another; each question that is
    asked of their numbers is answered somehow."""

    mixed = 0
    # torch takes long to find what an answer without numbers looks like, and it looks alike every time
    known: ClassVar[dict[tuple[Any, ...], Any]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        given = tree_leaves((args, kwargs))
        arrays = [each for each in given if isinstance(each, torch.Tensor) and each.dim()]
        self.mixed += len({each.device for each in arrays}) > 1
        if name in ("__bool__", "__float__") and args[0].is_meta:
            return name == "__bool__" or 0.3
        if name.startswith(("__get", "__set")) or not any(each.is_meta for each in arrays):
            return func(*args, **kwargs)
        asked = (func, *kwargs, *map(kind, given))
        if asked not in self.known:
            self.known[asked] = func(*args, **kwargs)
        return args[0] if name.endswith("_") and not name.endswith("__") else self.known[asked]


def test_what_is_drawn_on_a_device_is_drawn_there_alone():
    """What a GPU would stumble over first, and no GPU is needed to see it: nothing on another device gets into a picture."""
    for made in [*varied(), *(scene(40, index, "any") for index in range(3))]:
        cpu = pixels._clip(made, 2, 16, 32, torch.device("cpu"))  # what is kept for later is made here
        with Elsewhere() as watch, torch.inference_mode():
            clip = pixels._clip(made, 2, 16, 32, torch.device("meta"))
        assert (clip.device.type, clip.shape, clip.dtype) == ("meta", cpu.shape, cpu.dtype)
        assert watch.mixed == 0, made


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("world", WORLDS)
def test_a_gpu_draws_the_same(world: str):
    """Every value of every pixel within one of 255: sums of another order round the other way, and no more."""
    scenes = varied() if world == "whole" else [scene(40, index, "any") for index in range(24)]
    for one in scenes:
        clip, other = (render([one], frames=33, height=96, width=160, device=on).cpu().int() for on in ("cpu", "cuda"))
        assert int((clip - other).abs().max()) <= 1, (one.index, one.subject, one.action, one.place, one.camera)
