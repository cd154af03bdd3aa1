"""The laws of the whole world: gaits, pendulums, what comes nearer, changes half-way, traces, events."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from vitascope.storybook import DURATION, GRAVITY, WORLDS, Scene, camera, cast, render, scene, track, withheld
from vitascope.storybook.actors import PIECES, Lights, shadow, sprites
from vitascope.storybook.limbs import Limbs, steps
from vitascope.storybook.motion import facing, impact, pace, pendulum, pivot, pose, radius, rest, rope, times
from vitascope.storybook.shapes import SUBJECTS, depth, extent
from vitascope.storybook.stage import turning
from vitascope.storybook.things import shards
from vitascope.storybook.traces import prints
from vitascope.storybook.views import view
from vitascope.storybook.worlds import BEATS, KINDS, TURNS, WALKERS

FRAMES = 201


def whole(count: int, **labels: str) -> Iterator[Scene]:
    """Scenes of the whole world that all have these labels, with nothing else going on."""
    quiet = {"beat": "none", "turn": "none", "count": "one", "relation": "none", "other": "none", "camera": "still"}
    for index in range(count):
        yield dataclasses.replace(scene(11, index, "any", "whole"), **{**quiet, **labels})


def drawn(count: int = 1500) -> list[Scene]:
    return [scene(3, index, "any", "whole") for index in range(count)]


def test_every_scene_is_possible_and_every_value_comes_up():
    found: dict[str, set[str]] = {name: set() for name in WORLDS["whole"].values}
    for made in drawn(4000):
        kind = KINDS[made.subject]
        assert made.action in kind.actions
        assert made.place in kind.places
        assert made.colour in kind.colours
        assert (made.relation == "none") == (made.other == "none")
        assert made.beat == "none" or made.beat in BEATS[made.action]
        assert made.camera != "tracks" or made.heading != "none"
        if made.turn != "none":
            name, before, _ = TURNS[made.turn]
            assert getattr(made, name) == before
            assert made.beat == "none"
        for name, values in found.items():
            values.add(getattr(made, name))
    for name, values in WORLDS["whole"].values.items():
        assert found[name] == set(values), name


def test_nobody_in_a_training_clip_does_what_is_withheld():
    joined = 0
    for index in range(4000):
        for actor in cast(scene(1, index, "train", "whole")):
            assert not withheld(actor.subject, actor.colour, actor.action, actor.place)
            joined += 1
    assert joined > 4800  # so that second subjects were among them


def test_the_legs_turn_with_the_way():
    for action in ("walks", "runs", "moves left"):
        for subject in ("woman", "fox") if action != "moves left" else ("car", "bicycle"):
            for going in whole(3, subject=subject, action=action):
                first, last = pose(going, 0.3), pose(going, 1.7)
                way = (last.x - first.x) * facing(going)
                cycles = (last.cycle - first.cycle) / (2 * math.pi)
                assert way > 0.2
                assert cycles * SUBJECTS[subject].stride * radius(going) == pytest.approx(way)


def test_who_goes_to_a_side_looks_there():
    for action, subjects in (("orbits", ("bird", "butterfly", "fish")), ("bounces", WALKERS)):
        for subject in subjects:
            for going in whole(6, subject=subject, action=action):
                path = [pose(going, t) for t in times(65)]
                ways = [(later.x - now.x) * at.side for now, at, later in zip(path, path[1:], path[2:])]
                turning_back = 0.02 * max(map(abs, ways))  # between two frames
                assert min(ways) > -turning_back, (action, subject)
                films = render([going, dataclasses.replace(going, facing=-going.facing)], frames=5, height=32, width=48)
                assert torch.equal(*films), (action, subject)  # whatever it likes


def test_a_runner_is_faster_than_a_walker():
    for walking in whole(6, subject="dog", action="walks"):
        running = dataclasses.replace(walking, action="runs")
        assert abs(track(running, 2).x.diff()) > 1.4 * abs(track(walking, 2).x.diff())


def test_a_pendulum_conserves_its_energy_and_has_its_period():
    for swinging in whole(6, subject="lantern", action="swings"):
        length, path = rope(swinging), track(swinging, FRAMES)
        speed = (path.angle[2:] - path.angle[:-2]) / (2 * DURATION / (FRAMES - 1))
        energy = (length * speed).square() / 2 - GRAVITY * length * path.angle[1:-1].cos()
        assert float(energy.max() - energy.min()) < 0.01 * GRAVITY * length
    small = [pendulum(0.4, 0.02, k / 1000) for k in range(4900)]
    crossings = [k / 1000 for k in range(1, 4900) if (small[k] > 0) != (small[k - 1] > 0)]
    assert 2 * (crossings[1] - crossings[0]) == pytest.approx(2 * math.pi * math.sqrt(0.4 / GRAVITY), rel=0.005)
    wide = [pendulum(0.4, 1.5, k / 1000) for k in range(4900)]
    later = [k / 1000 for k in range(1, 4900) if (wide[k] > 0) != (wide[k - 1] > 0)]
    assert later[1] - later[0] > 1.1 * (crossings[1] - crossings[0])  # not the law for small angles


def test_what_comes_nearer_does_so_at_a_constant_speed_on_the_ground():
    for coming in whole(8, subject="car", action="approaches"):
        path = track(coming, FRAMES)
        distance = 1 / path.size
        torch.testing.assert_close(distance.diff(), torch.full_like(distance.diff(), float(distance.diff().mean())))
        assert float(path.size[-1] / path.size[0]) > 3
        ground = torch.tensor([pose(coming, t).ground for t in times(FRAMES)], dtype=torch.float64)
        share = (coming.horizon - ground) / (coming.horizon - coming.floor)  # vanishes at the horizon
        torch.testing.assert_close(share / path.size, torch.full_like(share, float(share[0] / path.size[0])))
        back = track(dataclasses.replace(coming, action="leaves"), FRAMES)
        torch.testing.assert_close(back.size.flip(0), path.size)


@pytest.mark.parametrize(("action", "beat"), [(a, b) for a, beats in BEATS.items() for b in beats])
def test_a_change_half_way_leaves_no_jump(action: str, beat: str):
    subject = next(name for name, kind in KINDS.items() if action in kind.actions)
    for changing in whole(4, subject=subject, action=action, beat=beat):
        path = track(changing, 2001)
        for line in (path.x, path.y, path.size, path.angle):
            assert float(line.diff().abs().max()) < 0.02
        half, late = path.x[1000:].diff().abs(), path.x[1500:].diff().abs()
        first = path.x[:600].diff().abs()
        still = {"x": path.x, "y": path.y, "size": path.size, "angle": path.angle}
        if beat == "stops":
            assert all(float(line[1400:].diff().abs().max()) < 1e-9 for line in still.values())
            assert any(float(line[:900].diff().abs().min()) > 0 for line in still.values())
        if beat == "waits":
            assert all(float(line[:600].diff().abs().max()) < 1e-9 for line in still.values())
            assert any(float(line[1400:].diff().abs().max()) > 1e-5 for line in still.values())
        if beat == "speeds up":
            assert float(late.mean()) > 2 * float(first.mean())
            assert float(half.mean()) > 0
        if beat == "shrinks":
            assert float(path.size[1000]) > 2 * float(path.size[-1])
        if beat == "falls":
            air = path.y[path.y > path.y[0] + 0.02]
            second = (air[2:] - 2 * air[1:-1] + air[:-2]) / (DURATION / 2000) ** 2
            torch.testing.assert_close(second, torch.full_like(second, -GRAVITY), atol=1e-4, rtol=0)


@pytest.mark.parametrize("beat", ["none", "stops", "waits", "speeds up", "shrinks"])
def test_the_speed_of_a_beat_is_the_slope_of_its_time(beat: str):
    going = next(whole(1, subject="fox", action="walks", beat=beat))
    for k in range(1, 200):
        t = DURATION * k / 200 + 0.0007
        slope = (pace(going, t + 1e-5)[0] - pace(going, t - 1e-5)[0]) / 2e-5
        assert abs(slope) == pytest.approx(pace(going, t)[1], abs=1e-3)


@pytest.mark.parametrize("subject", WALKERS)
@pytest.mark.parametrize("action", ["walks", "runs"])
def test_footprints_stay_where_they_are_one_for_each_half_cycle_of_the_gait(action: str, subject: str):
    for walking in whole(3, subject=subject, action=action, place="snowfield"):
        moments, way = times(65), facing(walking)
        marks = prints(walking, moments)
        assert len([m for m in marks if m.since > 0]) >= 3
        early = prints(walking, moments[:33])
        assert marks[: len(early)] == early  # what was left by the middle is there at the end
        start, stride = pose(walking, 0.0), SUBJECTS[subject].stride * radius(walking)
        for mark in marks:
            halves = start.cycle / math.pi + 2 * (mark.x - start.x) * way / stride
            assert halves == pytest.approx(round(halves), abs=1e-9)
            if mark.since > 0:  # in the first frame in which the walker's middle has passed it
                here, before = pose(walking, mark.since), pose(walking, mark.since - moments[1])
                assert (here.x - mark.x) * way >= 0 > (before.x - mark.x) * way
        gaps = torch.tensor([m.x for m in marks], dtype=torch.float64).diff()
        torch.testing.assert_close(gaps, torch.full_like(gaps, float(gaps[0])))


def test_the_feet_that_are_drawn_stand_off_their_prints_by_no_more_than_is_told():
    """docs/storybook.md, Limits: up to a tenth of the picture's height, for women and men a twentieth in the mean."""
    apart: dict[str, list[float]] = {subject: [] for subject in WALKERS}
    for walking in (made for index in range(600) for made in cast(scene(9, index, "any", "whole"))):
        if walking.trace != "footprints" or walking.beat != "none":
            continue
        at, kind, moments = pose(walking, DURATION / 2), SUBJECTS[walking.subject], times(9)
        step, line = kind.stride * at.size / 2, prints(walking, moments)[0].x
        limbs = Limbs(at.cycle, at.effort).on(torch.zeros(1, dtype=torch.float64))
        for leg in kind.legs:
            foot = steps(leg, limbs, kind.stride)
            if float(foot.lift) < 1e-9:
                beyond = (at.x + at.side * at.size * float(foot.ankle[0]) - line) % step
                apart[walking.subject].append(min(beyond, step - beyond))
    means = {subject: sum(found) / len(found) for subject, found in apart.items()}
    assert max(map(max, apart.values())) < 0.11
    assert 0.04 < min(means["woman"], means["man"]) < max(means["woman"], means["man"]) < 0.06, means
    assert max(means["fox"], means["dog"], means["cat"]) < 0.03, means


def test_the_ground_keeps_what_was_pressed_into_it():
    tried: Counter[str] = Counter()
    for subject, action, place in (
        ("woman", "walks", "snowfield"),
        ("car", "moves left", "desert"),
        ("boat", "moves right", "sea"),
    ):
        for maker in whole(
            2, subject=subject, action=action, place=place, weather="clear", mood="neutral", size="small"
        ):
            none = dataclasses.replace(maker, action="stays still", x=9.0)  # the same ground, nobody on it
            made, empty = render([maker, none], frames=33, height=96, width=160).float()
            height = pose(maker, 0.0).ground
            row = round(96 / 2 - height * 96)
            strip = (made - empty).abs().amax(dim=3)[:, row - 3 : row + 4].amax(dim=1)
            path = track(maker, 33)
            for k in (8, 16, 24):
                behind = path.x[k] - 0.33 * facing(maker) - facing(maker) * radius(maker)
                column = int(80 + float(behind) * 96)
                if 12 < column < 148:
                    tried[subject] += 1
                    seen = strip[k:, max(0, column - 12) : column + 12].amax(dim=1)
                    assert float(seen.min()) > 5, (subject, k)
    assert len(tried) == 3
    assert min(tried.values()) >= 2, tried


def foam(sailing: Scene, frames: int) -> torch.Tensor:
    """How much the sea at the water line differs from the same sea without the boat, [t 16 w], 100 pixels a world unit."""
    away = dataclasses.replace(sailing, x=40.0, beat="none")
    made, empty = render([sailing, away], frames=frames, height=100, width=200).float()
    row = round(50 - sailing.floor * 100)
    return (made - empty).abs().amax(dim=3)[:, row - 8 : row + 8]


def boats(beat: str, count: int = 3) -> Iterator[Scene]:
    return whole(
        count,
        subject="boat",
        action="moves right",
        place="sea",
        beat=beat,
        weather="clear",
        mood="neutral",
        light="day",
    )


def test_the_wake_of_a_boat_that_has_stopped_fades():
    for stopping in boats("stops"):
        path, seen = track(stopping, 33), foam(stopping, 33)
        stern = float(path.x[-1]) - 0.6 * radius(stopping)
        column = round(100 + (stern - 0.2) * 100)
        strip = seen[:, :, column - 4 : column + 5].mean(dim=(1, 2))
        assert float(strip[20]) > 10
        assert float(strip[24]) > float(strip[28]) > float(strip[32])
        assert float(strip[32]) < 0.8 * float(strip[22])


def test_a_boat_that_waits_has_no_wake_before_it_goes():
    for waiting in boats("waits"):
        path, seen = track(waiting, 33), foam(waiting, 33)
        tail = round(100 + (float(path.x[0]) - 1.05 * radius(waiting)) * 100)
        assert tail > 5
        assert float(seen[:, :, :tail].max()) < 2  # it never was there
        assert float(seen[-1, :, tail + 10 :].max()) > 40


@pytest.mark.parametrize("beat", ["none", "stops", "waits"])
def test_a_single_frame_shows_the_wake_that_a_longer_clip_has_then(beat: str):
    for sailing in boats(beat):
        alone, middle = render([sailing], frames=1)[0, 0], render([sailing], frames=9)[0, 4]
        assert int((alone.int() - middle.int()).abs().max()) <= 1


def test_only_what_can_leaves_a_trace():
    assert all(scene(1, index, "any").trace is None for index in range(200))
    for made in drawn(400):
        if made.place in ("room", "city street", "underwater", "outer space"):
            assert made.trace is None


def test_a_glass_breaks_where_it_lands_and_its_pieces_fly_on_parabolas():
    for breaking in whole(5, subject="glass", action="shatters", place="room"):
        moments = [k / 500 for k in range(1001)]
        hit = impact(breaking)
        whole_one, *pieces = sprites(breaking, moments)
        assert 0.4 < hit < DURATION
        assert pose(breaking, hit).y == pytest.approx(rest(breaking), abs=1e-6)
        for t, at in zip(moments, whole_one.poses, strict=True):
            assert (at is None) == (t > hit)
        assert len(pieces) > 6
        for piece in pieces:
            after = [at for at in piece.poses if at is not None]
            assert len(after) == sum(t > hit for t in moments)
            assert abs(after[0].x - breaking.x) < 0.02
            assert abs(after[0].y - rest(breaking)) < 0.02
        spread = [piece.poses[-1].x for piece in pieces if piece.poses[-1]]
        assert max(spread) - min(spread) > 0.3


def test_the_shadow_of_a_piece_lies_below_the_piece():
    for breaking in whole(3, subject="glass", action="shatters", place="room"):
        seen, moments = view(120, 200), [impact(breaking) + 0.3]
        for piece, corners in zip(sprites(breaking, moments)[1:], shards(PIECES), strict=True):
            at = piece.poses[0]
            assert at is not None
            way, cos, sin = facing(breaking), math.cos(at.angle), math.sin(at.angle)
            middle = at.x + at.size * sum(cos * way * x - sin * y for x, y in corners) / len(corners)
            white = torch.ones(1, 3, 120, 200)
            shadow(white, piece, Lights(breaking, breaking, [0.0]), [camera(breaking, moments[0])], seen)
            dark = (1 - white[0, 0]).sum(0)
            x = (torch.arange(200) - 99.5) / seen.scale
            assert float((dark * x).sum() / dark.sum()) == pytest.approx(middle, abs=0.004)


def test_a_stone_sinks_and_throws_up_drops_that_come_back():
    for sinking in whole(4, subject="stone", action="splashes", place="sea"):
        moments = times(33)
        stone, *drops = sprites(sinking, moments)
        assert stone.water == sinking.floor
        assert pose(sinking, DURATION).y < rest(sinking)
        for drop in drops:
            up = [at for at in drop.poses if at is not None]
            assert len(up) > 3
            assert all(at.y >= sinking.floor for at in up)
            assert max(at.y for at in up) > sinking.floor + 0.03


def test_a_rope_is_longer_than_what_hangs_on_it():
    for swinging in (m for m in drawn(6000) if m.action == "swings"):
        for each in cast(swinging):
            hook, low = pivot(each), each.floor
            assert 0.3 < hook[1] < 0.47
            for t in times(9):
                at = pose(each, t)
                far = math.hypot(hook[0] - at.x, hook[1] - at.y)
                assert far == pytest.approx(rope(each))
                assert far >= at.size * extent(each.subject)[1] + 0.06
                assert at.y - at.size * depth(each.subject, at.angle) > low - 0.03


def test_what_turns_goes_from_the_one_picture_to_the_other():
    for turn, (name, before, after) in TURNS.items():
        made = next(whole(1, subject="ball", action="stays still", place="meadow", weather="clear", mood="neutral"))
        made = dataclasses.replace(made, **{name: before})
        last = dataclasses.replace(made, **{name: after})
        changing = dataclasses.replace(made, turn=turn)
        film, start, end = render([changing, made, last], frames=17, height=48, width=80).float()
        torch.testing.assert_close(film[0], start[0], atol=1.01, rtol=0)
        torch.testing.assert_close(film[-1], end[-1], atol=1.01, rtol=0)
        assert float((film[8] - start[8]).abs().mean()) > 1
        assert float((film[8] - end[8]).abs().mean()) > 1
        shares = [turning(t) for t in times(17)]
        assert shares == sorted(shares)
        assert shares[0] == 0
        assert shares[-1] == 1


def test_the_bar_is_met():
    red = dataclasses.replace(
        next(whole(1, subject="woman", action="walks")), colour="red", dress="coat", place="snowy park", light="dusk"
    )
    fox = dataclasses.replace(
        next(whole(1, subject="fox", action="walks")), colour="orange", place="snowfield", camera="pans right"
    )
    assert red.action in KINDS["woman"].actions
    assert red.place in KINDS["woman"].places
    films = render([red, fox], frames=9, height=96, width=160).float()
    reds = (films[0, ..., 0] > 1.7 * films[0, ..., 1]) & (films[0, ..., 0] > 1.7 * films[0, ..., 2])
    assert int(reds[4].sum()) > 60
    assert fox.trace is not None
    assert float(films.std(dim=1).mean()) > 1
