"""The probe: what it learns, what it keeps, and how it is taught."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import nn

from vitascope.errors import BadModel
from vitascope.evaluation.distribution import features
from vitascope.evaluation.lessons import (
    Lessons,
    degraded,
    examine,
    fit_heads,
    mirrored,
    missing,
    rendered,
    train_probe,
    whereabouts,
)
from vitascope.evaluation.probe import ENOUGH, Probe, ProbeConfig, Schooling, paced
from vitascope.evaluation.streams import LOUD, Seen, coordinates, drift, matched, moments_of, scenery
from vitascope.pixels import to_pixels
from vitascope.recipe import ClipShape
from vitascope.storybook import ATTRIBUTES, WORLDS, scene
from vitascope.storybook.worlds import MIRRORED

TINY = ProbeConfig(
    frames=5,
    height=16,
    width=32,
    attributes={name: ATTRIBUTES[name] for name in ("place", "light")},
    look=(8, 8, 16),
    motion=(8, 8, 16),
    moments=2,
    maps=2,
    hidden=16,
)


def films(count: int, seed: int = 5) -> torch.Tensor:
    return rendered(TINY, [scene(seed, index, "any") for index in range(count)])


@pytest.fixture(scope="module")
def taught() -> tuple[Probe, list[float]]:
    losses: list[float] = []
    probe = train_probe(TINY, 3, 60, batch=12, lr=5e-3, held_out=96, log=lambda _, loss, __: losses.append(loss))
    return probe, losses


def test_it_learns(taught: tuple[Probe, list[float]]) -> None:
    probe, losses = taught
    assert sum(losses[-10:]) < 0.75 * sum(losses[:10])
    assert probe.schooling is not None
    # guessing the most frequent value reads 1/6 of the places and under 2/5 of the lights (night is always in the night sky)
    assert probe.schooling.accuracy["place"] > 0.45
    assert probe.schooling.accuracy["light"] > 0.6


def test_heads_that_are_off_are_fitted_and_those_that_are_best_stay(taught: tuple[Probe, list[float]]) -> None:
    probe = copy.deepcopy(taught[0])
    lessons = Lessons(TINY, 11, 24, shown=1)
    further = [lessons.batch(step) for step in range(8)]
    examined = examine(probe, 98, 96)[0]
    with torch.no_grad():
        cast(nn.Linear, probe.heads["light"]).weight.mul_(-1)  # as wrong as can be
    off = examine(probe, 98, 96)[0]
    before = {name: value.clone() for name, value in probe.state_dict().items()}
    fit_heads(probe, further)
    after = examine(probe, 98, 96)[0]
    assert off["light"] < 0.5 < examined["light"] - 0.1 < after["light"]
    moved = {name for name, value in probe.state_dict().items() if not torch.equal(value, before[name])}
    assert {"heads.light.weight", "heads.light.bias"} <= moved
    assert all(name.startswith("heads.") for name in moved)  # neither what it looks with nor its running means
    fit_heads(probe, further)
    again = copy.deepcopy(probe.state_dict())
    fit_heads(probe, further)  # what nothing beats on the fifth that is kept back stays as it is
    assert all(torch.equal(value, again[name]) for name, value in probe.state_dict().items())


def test_without_further_lessons_no_head_is_fitted(taught: tuple[Probe, list[float]]) -> None:
    probe = copy.deepcopy(taught[0])
    fit_heads(probe, [])
    assert all(torch.equal(a, b) for a, b in zip(probe.state_dict().values(), taught[0].state_dict().values()))


def test_its_accuracy_is_of_what_it_reads(taught: tuple[Probe, list[float]]) -> None:
    probe, _ = taught
    shown = [scene(99, index, "any") for index in range(40)]
    told = probe.read(rendered(TINY, shown))
    sharp, _ = examine(probe, 99, 40)
    for name in TINY.attributes:
        assert sharp[name] == sum(one[name] == getattr(s, name) for one, s in zip(told, shown)) / 40


def test_the_same_seed_is_the_same_probe() -> None:
    a, b, c = (train_probe(TINY, seed, 2, batch=4, held_out=4) for seed in (1, 1, 2))
    assert a.schooling == b.schooling
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values()))
    assert not torch.equal(a.state_dict()["heads.place.weight"], c.state_dict()["heads.place.weight"])


def test_saved_and_loaded_it_reads_the_same(taught: tuple[Probe, list[float]], tmp_path: Path) -> None:
    probe, _ = taught
    probe.save(tmp_path / "probe")
    again = Probe.load(tmp_path / "probe")
    assert again.schooling == probe.schooling
    assert again.config == probe.config
    video = to_pixels(films(6))
    with torch.no_grad():
        for name, logits in probe(video).items():
            assert torch.equal(again(video)[name], logits), "the probe that was examined is the one in the file"


def test_the_shipped_size_fits() -> None:
    probe = Probe(ProbeConfig())
    assert sum(parameter.numel() for parameter in probe.parameters()) <= 600_000


def test_a_film_is_read_alike_in_any_batch(taught: tuple[Probe, list[float]]) -> None:
    probe, _ = taught
    shown = films(7)
    assert probe.read(shown, rows=7) == probe.read(shown, rows=2)


@pytest.mark.parametrize("spoil", ["no json", "half a json", "another config", "no weights", "half the weights"])
def test_a_spoiled_probe_is_refused_in_a_sentence(
    taught: tuple[Probe, list[float]], tmp_path: Path, spoil: str
) -> None:
    taught[0].save(tmp_path)
    about, kept = tmp_path / "probe.json", tmp_path / "probe.safetensors"
    if spoil == "no json":
        about.unlink()
    elif spoil == "half a json":
        about.write_text(about.read_text()[:50])
    elif spoil == "another config":
        table = json.loads(about.read_text())
        table["config"]["hidden"] += 1
        about.write_text(json.dumps(table))
    elif spoil == "no weights":
        kept.unlink()
    else:
        kept.write_bytes(kept.read_bytes()[:-100])
    with pytest.raises(BadModel) as refused:
        Probe.load(tmp_path)
    assert str(tmp_path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_config_that_asks_for_the_absurd_is_refused(taught: tuple[Probe, list[float]], tmp_path: Path) -> None:
    taught[0].save(tmp_path)
    table = json.loads((tmp_path / "probe.json").read_text())
    for name, value in (("frames", -1), ("maps", 0), ("hidden", 10**12), ("look", [1]), ("attributes", 3)):
        spoiled = table | {"config": table["config"] | {name: value}}
        (tmp_path / "probe.json").write_text(json.dumps(spoiled))
        with pytest.raises(BadModel):
            Probe.load(tmp_path)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[b 3 5 16 32\].*\[1, 3, 3, 16, 32\]"):
        Probe(TINY)(torch.zeros(1, 3, 3, 16, 32))


def test_films_of_any_length_are_shown_to_the_probe_whole() -> None:
    film = torch.arange(9)[None, :, None, None, None]
    assert paced(film, 9) is film
    assert paced(film, 5).flatten().tolist() == [0, 2, 4, 6, 8]
    longer = paced(film, 17).flatten()
    assert set(longer.tolist()) == set(range(9))
    assert bool((longer.diff() >= 0).all())
    assert paced(film[:, :1], 5).flatten().tolist() == [0] * 5


def test_a_film_at_twice_the_rate_is_read_as_at_its_own(taught: tuple[Probe, list[float]]) -> None:
    """The world's frame k of n is its frame 2 k of 2 n - 1, to the bit: so a probe's accuracy holds for both."""
    probe, config = taught[0], taught[0].config
    shown = [scene(5, index, "any") for index in range(6)]
    slow, fast = (rendered(replace(config, frames=n), shown) for n in (config.frames, 2 * config.frames - 1))
    assert torch.equal(fast[:, ::2], slow)
    assert all(torch.equal(a, b) for a, b in zip(probe.told(fast).values(), probe.told(slow).values(), strict=True))
    assert torch.equal(features(probe, fast), features(probe, slow))


@pytest.mark.parametrize(("own", "reads"), [(17, {17, 33, 49}), (5, {5, 9, 13, 17, 33, 49}), (1, {1})])
def test_it_reads_films_that_show_the_same_moments(own: int, reads: set[int]) -> None:
    probe = Probe(ProbeConfig(own, 16, 32, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4))
    assert {n for n in (1, 2, 4, 5, 9, 13, 16, 17, 18, 32, 33, 49) if probe.reads(n)} == reads


def test_what_is_measured() -> None:
    probe = Probe(TINY)
    assert not probe.measures("place"), "nobody knows how well it reads"
    probe.schooling = Schooling(0, 1, 1, 1, {"place": ENOUGH, "light": ENOUGH - 1e-9}, {})
    assert (probe.measures("place"), probe.measures("light"), probe.measures("colour")) == (True, False, False)


def test_a_lesson_is_a_function_of_its_step() -> None:
    walked, jumped = (Lessons(TINY, 4, 4, shown=2, block=3) for _ in range(2))
    batches = [walked.batch(step) for step in range(9)]
    for step in (8, 2, 5):  # the second part, the first, the first shown again
        lesson = jumped.batch(step)
        assert torch.equal(lesson.video, batches[step].video)
        assert torch.equal(lesson.places, batches[step].places)
        assert all(torch.equal(lesson.targets[name], batches[step].targets[name]) for name in lesson.targets)
    assert not torch.equal(batches[5].video, batches[2].video), "shown again, it is degraded anew"


def test_the_subject_is_where_the_lesson_says() -> None:
    """Two films that differ in the subject's colour alone differ around the place that is told."""
    config = replace(TINY, frames=3, height=64, width=128)
    checked = 0
    for index in range(40):
        one = replace(scene(8, index, "any"), weather="clear")
        a, b = rendered(config, [replace(one, colour="black"), replace(one, colour="yellow")]).int()
        for frame, (x, y) in zip((a - b).abs().sum(-1), whereabouts(config, one).tolist()):
            if max(abs(x), abs(y)) > 0.6:  # near the edge the subject is cut off
                continue
            weight = frame.double() / frame.sum()
            found_x = float((weight.sum(0) * (torch.arange(128) + 0.5)).sum()) / 64 - 1
            found_y = float((weight.sum(1) * (torch.arange(64) + 0.5)).sum()) / 32 - 1
            assert abs(found_x - x) < 0.12
            assert abs(found_y - y) < 0.24
            checked += 1
    assert checked > 60


def test_what_was_missed_is_the_log_share_of_the_true_place() -> None:
    shares = torch.tensor([[0.1, 0.2], [0.3, 0.4]])
    seen = Seen(torch.zeros(1, 1), [0, 2], shares.log().expand(1, 2, 2, 2))
    places = torch.tensor([[[-0.5, -0.5], [9.0, 9.0], [0.5, 0.5]]])  # frame 1 is not looked at
    assert float(missing(seen, places)) == pytest.approx(-(math.log(0.1) + math.log(0.4)) / 2)
    places[0, 2] = torch.tensor([1.5, 0.5])  # outside: nobody can be asked to look there
    assert float(missing(seen, places)) == pytest.approx(-math.log(0.1))
    places[:] = 2.0
    assert float(missing(seen, places)) == 0.0


def test_a_mirrored_lesson_is_mirrored_throughout() -> None:
    config = replace(TINY, attributes={"action": ATTRIBUTES["action"], "camera": ATTRIBUTES["camera"]})
    lessons = Lessons(config, 4, 16, shown=2, block=1)
    sides: set[int] = set()
    for step in (0, 1):
        lesson = lessons.batch(step)
        for row in range(16):
            one = scene(lessons.seed, row, "any")
            place = whereabouts(config, one)[:, 0]
            side = 1 if torch.allclose(lesson.places[row, :, 0], place) else -1
            assert torch.allclose(lesson.places[row, :, 0], side * place)
            labels = config.targets([one if side == 1 else mirrored(one)])
            assert all(int(lesson.targets[name][row]) == int(labels[name]) for name in labels)
            sides.add(side)
    assert sides == {1, -1}


@pytest.mark.parametrize("by", [-9, -2, 0, 1, 7])
def test_a_drift_is_how_far_each_half_went(by: int) -> None:
    wide = torch.randn(3, 3, 12, 60, generator=torch.Generator().manual_seed(1)).clamp(-1, 1)
    now, then = wide[..., 10:50], wide[..., 10 - by : 50 - by].clone()
    assert drift(now, then).sub(by).abs().max() < 0.15
    then[..., :6, :] = now[..., :6, :]  # the upper half stays
    upper, lower = drift(now, then).unbind(1)
    assert upper.abs().max() < 0.15
    assert lower.sub(by).abs().max() < 0.15
    then[:, :, 6:, 5:20] = 0.0  # somebody steps before the lower one
    assert drift(now, then)[:, 1].sub(by).abs().max() < 0.4
    assert torch.allclose(drift(now.flip(3), then.flip(3)), -drift(now, then), atol=1e-4)
    assert drift(torch.zeros(1, 3, 12, 40), torch.zeros(1, 3, 12, 40)).abs().max() < 1e-4  # a clear sky


@pytest.mark.parametrize("camera", ["pans left", "pans right", "circles", "still"])
def test_the_scenery_of_true_films_goes_as_the_camera_says(camera: str) -> None:
    """A pan is seen in nearly every film, in one way in both halves; a camera that circles moves them differently."""
    config = ProbeConfig.of(ClipShape(frames=17, height=96, width=160, fps=8), "whole")
    shown = [s for s in (scene(3, index, "any", "whole") for index in range(900)) if s.camera == camera][:12]
    video = to_pixels(rendered(config, shown))
    seen = scenery(video) / LOUD
    assert torch.allclose(seen[:, 2:4], seen[:, :2].abs())
    assert torch.allclose(seen[:, 4], (seen[:, 0] - seen[:, 1]).abs())
    assert torch.allclose(scenery(video.flip(4)) / LOUD, seen * torch.tensor([-1, -1, 1, 1, 1]), atol=1e-2)
    if camera == "circles":
        way = torch.tensor([-s.facing for s in shown])
        assert int(((seen[:, 0] * way) < -1).sum()) >= 8
        return
    sign = {"pans left": 1, "pans right": -1, "still": 0}[camera]
    within = (seen[:, :2] * sign > 2) & (seen[:, :2] * sign < 6) if sign else seen[:, 2:] < 1
    assert int(within.all(1).sum()) >= 8, seen


def test_a_match_tells_how_far_a_piece_went() -> None:
    torch.manual_seed(0)
    now = torch.randn(1, 64, 4, 8)
    flow = matched(now, now.roll((1, 2), (2, 3)))[0]
    right, down, sure = flow
    assert right[:3, :6].sub(2).abs().max() < 1e-2
    assert down[:3, :6].sub(1).abs().max() < 1e-2
    assert sure.min() > 0.95
    still = moments_of(matched(now, now))
    assert still[:, :2].abs().max() < 1e-2
    grid = coordinates(4, 8, now.device).unflatten(1, (4, 8))
    zoom = torch.cat((0.3 * grid, torch.ones(1, 4, 8)))[None]
    pan = torch.cat((torch.full((1, 4, 8), 0.3), torch.zeros(1, 4, 8), torch.ones(1, 4, 8)))[None]
    assert moments_of(pan)[0].tolist() == pytest.approx([0.3, 0, 1, 0, 0, 0, 0, 0, 0], abs=1e-6)
    spread = 0.3 * grid.square().mean((1, 2))
    expected = [0, 0, 1, float(spread[0]), 0, 0, float(spread[1]), 0, 0]
    assert moments_of(zoom)[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_a_mirrored_scene_exchanges_left_and_right_only() -> None:
    one = scene(1, 0)
    for name, values in ATTRIBUTES.items():
        for value in values:
            turned = getattr(mirrored(replace(one, **{name: value})), name)
            sides = {"left": "right", "right": "left"}
            expected = " ".join(sides.get(word, word) for word in value.split())
            assert turned == (expected if name in ("action", "camera") else value)
    assert {MIRRORED[MIRRORED[value]] for value in MIRRORED} == set(MIRRORED)


@torch.no_grad()
def test_a_film_and_its_mirror_image_are_read_alike_by_any_probe() -> None:
    config = replace(TINY, attributes=WORLDS["whole"].values)
    probe = Probe(config)
    for head in probe.heads.values():
        assert isinstance(head, nn.Linear)
        head.weight.mul_(50)  # so that films differ in more than the head's bias
    shown = torch.randint(0, 256, (24, config.frames, config.height, config.width, 3), dtype=torch.uint8)
    read, turned = probe.read(shown), probe.read(shown.flip(3))
    assert turned == [{name: MIRRORED.get(value, value) for name, value in film.items()} for film in read]
    assert turned != read, "no side was told in any film"


def test_degraded_films_are_the_same_films_less_sharp() -> None:
    shown = films(16)
    before, sharp = shown.clone(), to_pixels(shown)
    worse = degraded(shown, 1, 0)
    assert torch.equal(shown, before)
    assert worse.shape == sharp.shape
    assert worse.min() >= -1
    assert worse.max() <= 1
    assert torch.equal(worse, degraded(shown, 1, 0))
    assert not torch.equal(worse, degraded(shown, 1, 1))
    off = (worse - sharp).square().flatten(1).mean(1)
    assert bool((off > 0).all())
    assert float(off.mean()) < 0.05, "what is shown must stay readable: under a fifth of the range"


@pytest.mark.parametrize("frames", [1, 3, 4])
def test_by_shape_alone(frames: int) -> None:
    probe = train_probe(ProbeConfig(frames=frames, height=16, width=16), steps=1, batch=2, held_out=2)
    assert tuple(probe.config.attributes) == tuple(ATTRIBUTES)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in probe.parameters())


def test_a_probe_of_the_whole_world_knows_its_attributes_and_mirrors_its_sides() -> None:
    config = ProbeConfig.of(ClipShape(frames=5, height=16, width=32, fps=8), "whole")
    assert config.attributes == WORLDS["whole"].values
    lesson = Lessons(config, 3, 6).batch(0)
    assert set(lesson.targets) == set(WORLDS["whole"].values)
    for index in range(200):
        shown = scene(3, index, "any", "whole")
        turned_round = mirrored(shown)
        sides = {"left": "right", "right": "left", "none": "none"}
        assert turned_round.heading == sides[shown.heading]
        assert mirrored(turned_round) == shown
        if shown.relation in ("left of", "right of"):
            assert turned_round.relation != shown.relation
