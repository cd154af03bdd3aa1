"""The laws of motion: gravity, rolling without slipping, bouncing, growing."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import pytest
import torch

from vitascope.storybook import ATTRIBUTES, DURATION, GRAVITY, RESTITUTION, Scene, scene, track
from vitascope.storybook.motion import rolling_radius
from vitascope.storybook.shapes import REST, SUBJECTS, depth, extent, silhouette

FRAMES = 201
STEP = DURATION / (FRAMES - 1)


def acting(action: str, count: int = 12, **labels: str) -> Iterator[Scene]:
    for index in range(count):
        yield dataclasses.replace(scene(11, index, "any"), action=action, **labels)


def test_what_falls_accelerates_with_the_one_gravity():
    for falling in acting("falls"):
        y = track(falling, FRAMES).y
        moving = (y < y[0]) & (y > y[-1])
        second = (y[2:] - 2 * y[1:-1] + y[:-2])[moving[2:] & moving[1:-1] & moving[:-2]]
        assert len(second) > 20
        torch.testing.assert_close(second / STEP**2, torch.full_like(second, -GRAVITY), atol=1e-6, rtol=0)
        assert bool((y.diff() <= 1e-12).all())
        assert y[0] - y[-1] > 0.25


def test_what_bounces_keeps_gravity_in_the_air_and_loses_speed_at_the_ground():
    for bouncing in acting("bounces"):
        y = track(bouncing, 2001).y
        step = DURATION / 2000
        velocity = y.diff() / step
        hits = [k for k in range(1, len(velocity)) if velocity[k] - velocity[k - 1] > 0.2]
        hits = [k for k in hits if k - 1 not in hits]
        assert 1 <= len(hits) <= 4
        for k in hits:
            before, after = velocity[k - 2] + 0, velocity[k + 2]
            # up to four steps of gravity lie between the two readings
            assert float(-after / before) == pytest.approx(RESTITUTION, abs=4 * GRAVITY * step / float(-before) + 1e-3)
        air = torch.ones(len(y) - 2, dtype=torch.bool)
        for k in hits:
            air[max(0, k - 3) : k + 3] = False
        second = (y[2:] - 2 * y[1:-1] + y[:-2])[air] / step**2
        torch.testing.assert_close(second, torch.full_like(second, -GRAVITY), atol=1e-5, rtol=0)


def test_what_rolls_does_not_slip_in_the_mean_of_a_turn_and_touches_the_ground():
    for rolling in acting("rolls", 27):
        path = track(rolling, 65)
        torch.testing.assert_close(path.x.diff(), -rolling_radius(rolling) * path.angle.diff())
        assert bool((path.x.diff() * rolling.direction > 0).all())
        line = torch.linspace(-1, 1, 121, dtype=torch.float64)
        y, x = torch.meshgrid(line, line, indexing="ij")
        inside = silhouette(SUBJECTS[rolling.subject].draw(x * rolling.direction, y, REST)) <= 0
        for k in (0, 20, 47):  # the lowest point of the turned shape is on the ground
            sin, cos = math.sin(path.angle[k]), math.cos(path.angle[k])
            lowest = float((x * sin + y * cos)[inside].min()) * float(path.size[k]) + float(path.y[k])
            assert lowest == pytest.approx(rolling.floor, abs=0.008)


def test_only_a_ball_slips_at_no_moment():
    """What is not round turns evenly, while its middle is now nearer to the ground and now farther: docs/storybook.md, Limits."""
    slips = {}
    for subject in [*ATTRIBUTES["subject"], "stone"]:
        heights = [depth(subject, math.pi * k / 180) for k in range(360)]
        mean = sum(depth(subject, math.pi * k / 8) for k in range(16)) / 16
        slips[subject] = max(abs(1 - height / mean) for height in heights)
    assert slips["ball"] < 0.01
    assert 0.13 < slips["star"] < slips["box"] < slips["stone"] < slips["heart"] < 0.3  # what rolls in the whole world
    assert max(slips.values()) < 0.4


def test_each_action_does_what_its_name_says_and_nothing_else():
    for action in ATTRIBUTES["action"]:
        for acted in acting(action):
            path = track(acted, 17)
            dx, dy = path.x[-1] - path.x[0], path.y[-1] - path.y[0]
            turns, growth = (path.angle[-1] - path.angle[0]).abs() / (2 * math.pi), path.size[-1] / path.size[0]
            assert (abs(dx) > 0.6) == (action in ("rolls", "moves left", "moves right"))
            assert (turns > 0.4) == (action in ("rolls", "spins"))
            assert (growth > 2) == (action == "grows")
            assert growth == 1 or action == "grows"
            assert (dy > 0.22) == (action == "rises")
            assert (dy < -0.25) == (action == "falls") or action == "bounces"
            if action.startswith("moves"):
                assert (dx > 0) == (action == "moves right")
            if action == "stays still":
                assert all(bool((column == column[0]).all()) for column in path)


def test_a_clip_lasts_two_seconds_whatever_its_frames():
    moving = next(acting("moves left"))
    few, many = track(moving, 17), track(moving, 33)
    torch.testing.assert_close(few.x, many.x[::2])
    assert track(moving, 1).x[0] == pytest.approx(float(few.x[8]))
    with pytest.raises(ValueError, match="at least one"):
        track(moving, 0)


def test_subjects_are_seen_in_nearly_every_frame():
    seen = torch.stack([track(scene(12, index, "any"), 17).central for index in range(400)])
    assert seen.float().mean() > 0.98
    assert seen.float().mean(dim=1).min() > 0.6


def test_subjects_stay_within_their_circle():
    for name in ATTRIBUTES["subject"]:
        assert max(depth(name, 2 * math.pi * k / 90) for k in range(90)) <= 1.03
        assert sum(extent(name)) > 1.0
