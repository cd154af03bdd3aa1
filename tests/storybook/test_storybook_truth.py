"""What is told of a clip is what is painted: who is seen and when, where the pieces fly, where in the picture they are."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.storybook import (
    DURATION,
    GRAVITY,
    WORLDS,
    Scene,
    camera,
    cast,
    pieces,
    pixels,
    render,
    scene,
    track,
    tracks,
    truth,
    view,
)
from vitascope.storybook.actors import PIECES
from vitascope.storybook.motion import impact, times
from vitascope.storybook.shapes import extent

SIZES = [(48, 80), (64, 128), (60, 40)]


def quiet(**labels: Any) -> Scene:
    """A scene of the whole world with these labels and nothing else going on."""
    usual = {"beat": "none", "turn": "none", "count": "one", "relation": "none", "other": "none", "camera": "still"}
    usual |= {"mood": "neutral", "size": "usual", "weather": "clear", "light": "day", "place": "meadow"}
    return dataclasses.replace(scene(5, 3, "any", "whole"), **{**usual, **labels})


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Things alone: nothing that they throw or leave on the ground, or hang on."""
    for name in ("shadow", "press", "rope", "rings"):
        monkeypatch.setattr(pixels, name, lambda *_: None)
    return monkeypatch


def change(made: Scene, number: int, size: tuple[int, int], bare: pytest.MonkeyPatch) -> Tensor:
    """What leaving out one of the sprites of a scene of one actor changes, [t h w]."""
    whole = pixels.sprites

    def fewer(*told: Any) -> Any:
        drawn = whole(*told)
        return [*drawn[:number], *drawn[number + 1 :]]

    films = []
    for law in (whole, fewer):
        with bare.context() as patch:
            patch.setattr(pixels, "sprites", law)
            films.append(render([made], frames=17, height=size[0], width=size[1])[0].int())
    return (films[0] - films[1]).abs().amax(-1)


MADE = [
    *(quiet(subject="ball", action="stays still", x=x) for x in (-1.25, -1.1, -0.9, 0.75, 1.0, 1.2)),
    quiet(subject="balloon", action="rises", floor=0.2),
    quiet(subject="car", action="moves right", x=2.4),
    quiet(subject="star", action="orbits", x=1.6),
    quiet(subject="ball", action="rolls", camera="tracks", x=2.0),
    *(quiet(subject="heart", action="stays still", x=0.85, camera=way) for way in WORLDS["whole"].values["camera"]),
    *(quiet(subject="stone", action="splashes", place="sea", phase=phase) for phase in (0.0, 0.2, 0.5)),
    quiet(subject="stone", action="splashes", place="sea", phase=0.1, camera="zooms in"),
    quiet(subject="glass", action="shatters", place="room", phase=0.3),
]


def test_what_is_not_visible_is_not_drawn(bare: pytest.MonkeyPatch) -> None:
    hidden = 0
    for made in MADE:
        for size in SIZES:
            seen = view(*size)
            path = track(made, 17, seen)
            drawn = change(made, 0, size, bare).flatten(1).amax(1) > 0
            assert not bool((drawn & ~path.visible).any()), (made.subject, made.action, made.x, size)
            hidden += int((~path.visible).sum())
            middle = told(made, size)["objects"][0]["picture"]
            inside = [0 < x < size[1] and 0 < y < size[0] for x, y in zip(middle["x"], middle["y"])]
            if made.action != "splashes":  # a stone's middle sinks before its top
                shown = path.visible & torch.tensor(inside)
                assert torch.equal(drawn & torch.tensor(inside), shown), (made.subject, made.action, made.x, size)
    assert hidden > 100


def told(made: Scene, size: tuple[int, int]) -> dict[str, Any]:
    return truth(made, 17, *size)


def test_a_stone_is_visible_until_all_of_it_has_sunk(bare: pytest.MonkeyPatch) -> None:
    ends = 0
    for made in (quiet(subject="stone", action="splashes", place="sea", phase=phase) for phase in (0.0, 0.2, 0.4)):
        path = track(made, 17, view(96, 160))
        drawn = change(made, 0, (96, 160), bare).flatten(1).amax(1) > 0
        assert int((path.visible & ~drawn).sum()) <= 1  # the last pixel of its outline
        above = path.y + path.size * extent("stone")[1] > made.floor
        assert bool(path.visible[above].all())
        ends += int(not path.visible[-1])
        assert bool(path.central.all())
    assert ends > 0


def test_a_broken_glass_is_not_visible_and_its_fragments_are(bare: pytest.MonkeyPatch) -> None:
    made = quiet(subject="glass", action="shatters", place="room", phase=0.2)
    path, flying = track(made, 17, view(60, 100)), pieces(made, 17, view(60, 100))
    late = torch.tensor(times(17)) > impact(made)
    assert len(flying) == PIECES
    assert torch.equal(path.visible, ~late)
    assert bool(path.y.isfinite().all())
    for number, piece in enumerate(flying, 1):
        assert torch.equal(piece.visible, late)
        assert torch.equal(piece.x.isfinite(), late)
        drawn = change(made, number, (60, 100), bare).flatten(1).amax(1) > 0
        assert not bool((drawn & ~piece.visible).any())
        assert int((piece.visible & ~drawn).sum()) < 4  # where others lie on it


def test_fragments_come_out_of_the_glass_and_obey_gravity() -> None:
    made = quiet(subject="glass", action="shatters", place="room", phase=0.0)
    frames = 401
    moments, whole = torch.tensor(times(frames), dtype=torch.float64), track(made, frames)
    step, hit = DURATION / (frames - 1), impact(made)
    first = int((moments > hit).nonzero()[0])
    for piece in pieces(made, frames):
        start = torch.hypot(piece.x[first] - whole.x[0], piece.y[first] - whole.y[-1])
        assert float(start) < 0.9 * float(whole.size[0])
        air = piece.y[first:][piece.y[first:] > piece.y[-1] + 0.02][:-2]
        assert len(air) > 20
        fall = air.diff(n=2) / step**2
        torch.testing.assert_close(fall, torch.full_like(fall, -GRAVITY), atol=1e-6, rtol=0)
        across = piece.x[first : first + len(air)].diff()
        torch.testing.assert_close(across, torch.full_like(across, float(across[0])))
        spin = piece.angle[first : first + len(air)].diff()
        torch.testing.assert_close(spin, torch.full_like(spin, float(spin[0])))
        assert bool(piece.size[first:].eq(piece.size[first]).all())


def test_drops_are_told_while_they_fly() -> None:
    made = quiet(subject="stone", action="splashes", place="sea", phase=0.0)
    drops = pieces(made, 101, view(96, 160))
    assert len(drops) > 5
    for drop in drops:
        assert 5 < int(drop.x.isfinite().sum()) < 90
        assert torch.equal(drop.visible, drop.y.isfinite())
        assert float(drop.y.nan_to_num(9).min()) >= made.floor
    assert pieces(quiet(subject="ball", action="rolls"), 5) == ()


@pytest.mark.parametrize("way", WORLDS["whole"].values["camera"])
def test_the_circle_in_the_picture_is_around_what_is_drawn(way: str, bare: pytest.MonkeyPatch) -> None:
    made = quiet(subject="ball", action="rolls", camera=way, x=0.0, place="desert")
    size = 96, 160
    found = truth(made, 17, *size)["objects"][0]["picture"]
    differs = change(made, 0, size, bare) > 12
    checked = 0
    for k, (x, y, radius) in enumerate(zip(found["x"], found["y"], found["radius"], strict=True)):
        if not (radius + 3 < x < size[1] - radius - 3 and y + radius + 3 < size[0]):
            continue
        rows, columns = differs[k].nonzero().double().T + 0.5
        checked += 1
        assert float((columns.min() + columns.max()) / 2) == pytest.approx(x, abs=1)
        assert float((rows.min() + rows.max()) / 2) == pytest.approx(y, abs=1)
        outline = 0.021 * 96 * camera(made, times(17)[k]).zoom  # a ball fills 0.88 of its circle
        assert float(columns.max() - columns.min()) / 2 == pytest.approx(0.88 * radius + outline, abs=1.5)
    assert checked > 8


def test_the_truth_of_a_clip_is_json_and_holds_everybody() -> None:
    for index in range(120):
        made = scene(7, index, "train", "whole")
        found = truth(made, 5, 96, 160)
        assert json.loads(json.dumps(found, allow_nan=False)) == found
        actors = [each for each in found["objects"] if each["object"] not in ("fragment", "drop")]
        assert [each["object"] for each in actors] == [each.subject for each in cast(made)]
        assert len(found["objects"]) == len(tracks(made, 5)) + len(pieces(made, 5))
        assert made.shows().items() <= found["labels"].items()
        assert (found["world"], found["seed"], found["index"]) == ("whole", 7, index)
        assert all(len(column) == 5 for column in (found["seconds"], *found["camera"].values()))
        first, path = actors[0], track(made, 5, view(96, 160))
        assert first["x"] == pytest.approx(path.x.tolist(), abs=1e-6)
        assert first["visible"] == path.visible.tolist()
        by = [camera(made, t) for t in times(5)]
        assert found["camera"]["zoom"] == pytest.approx([each.zoom for each in by], abs=1e-6)
        assert set(found["camera"]) == {"x", "zoom", "y", "held", "aside"}
