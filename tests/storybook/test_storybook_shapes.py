"""Subjects: within their circle at every moment, feet and wheels that do not slip, parts that move, a glass that breaks."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from vitascope.storybook import scene
from vitascope.storybook.actors import materials
from vitascope.storybook.limbs import steps
from vitascope.storybook.shapes import MATERIALS, REST, SUBJECTS, Limbs, Part, extent, silhouette
from vitascope.storybook.things import droplet, fragment, shards
from vitascope.storybook.worlds import FIRST, KINDS, PEOPLE, WALKERS

OLD = FIRST.values["subject"]
LAW = torch.float64


def plane(count: int = 81, reach: float = 1.13) -> tuple[Tensor, Tensor]:
    """x [1 1 n] and y [1 n 1] of a square grid about the origin, y upwards from the last row."""
    line = torch.linspace(-reach, reach, count, dtype=LAW)
    return line[None, None, :], line.flip(0)[None, :, None]


def gait(cycles: Tensor, effort: float = 1.0, lean: float = 0.0, dress: str = "coat") -> Limbs:
    column = cycles.to(LAW)[:, None, None]
    return Limbs(column, torch.full_like(column, effort), torch.full_like(column, lean), 0.37 * column, dress)


def turns(count: int) -> Tensor:
    return torch.arange(count, dtype=LAW) * (2 * math.pi / count)


def painted(parts: list[Part], x: Tensor, y: Tensor, t: int = 1) -> Tensor:
    """The number of the material that is seen at each point, [t n m]; 0 outside the solid parts."""
    seen = torch.zeros(torch.broadcast_shapes((t, 1, 1), x.shape, y.shape), dtype=torch.uint8)
    for part in parts:
        seen = torch.where(part.distance <= 0, MATERIALS.index(part.material) + 1, seen)
    return torch.where(silhouette(parts) <= 0, seen, 0).to(torch.uint8)


def look(name: str, limbs: Limbs = REST, t: int = 1) -> Tensor:
    x, y = plane()
    return painted(SUBJECTS[name].draw(x, y, limbs), x, y, t)


BEFORE = {
    "ball": ("1bfa757b98cf557d", 1.135957636),
    "box": ("eb9044091ce5da72", 1.208221143),
    "star": ("7a5679a544c112bd", 1.576271026),
    "heart": ("3c731507286e6593", 0.849509259),
    "balloon": ("d5683e01bf3bd4c3", 1.892336201),
    "car": ("6d7a637f09b57375", 5.819913580),
    "fish": ("034390f8567eb170", 2.939148449),
    "boat": ("575162c00159af00", 2.622074684),
    "tree": ("4589f7203a3886e7", 3.149655251),
}
"""sha256 of what was drawn, and the mean distance, before there were limbs: a model was trained on these pictures."""


def test_there_is_a_drawing_for_every_word_and_a_word_for_every_drawing():
    assert set(SUBJECTS) == set(KINDS)


@pytest.mark.parametrize("name", OLD)
def test_at_rest_the_first_subjects_are_drawn_as_before(name):
    x, y = plane(67, 1.0871)
    parts = SUBJECTS[name].draw(x, y, REST)
    digest = hashlib.sha256(painted(parts, x, y).numpy().tobytes()).hexdigest()[:16]
    mean = sum(float(part.distance.mean()) for part in parts)
    assert (digest, pytest.approx(mean, rel=1e-6)) == BEFORE[name]


@pytest.mark.parametrize("name", OLD)
def test_limbs_without_effort_leave_the_first_subjects_as_they_are(name):
    moving = look(name, gait(torch.zeros(1), effort=0.0))
    if name == "car":  # but for its spokes
        still = (MATERIALS.index("dark") + 1, MATERIALS.index("metal") + 1)
        assert set(moving[moving != look(name)].tolist()) <= set(still)
    else:
        assert torch.equal(moving, look(name))


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_subject_stays_within_the_unit_circle_whatever_its_limbs_do(name):
    x, y = plane(57)
    outside = (x.square() + y.square()).sqrt() > 1.03
    for effort, lean in ((0.0, 0.3), (1.0, 0.0), (1.0, 0.3), (2.0, -0.3), (1.6, 0.3)):
        for dress in ("coat", "scarf") if name in PEOPLE else ("",):
            solid = silhouette(SUBJECTS[name].draw(x, y, gait(turns(12) + 0.1, effort, lean, dress))) <= 0
            assert not bool((solid & outside).any()), (effort, lean)
            assert solid.flatten(1).any(1).all()


@pytest.mark.parametrize("name", SUBJECTS)
def test_a_subject_shows_its_colour_and_has_contrast_inside(name):
    for limbs in (REST, Limbs(dress="scarf")):
        seen = look(name, limbs)
        own = torch.isin(seen, torch.tensor([MATERIALS.index(m) + 1 for m in ("body", "mark", "deep")]))
        assert own.sum() > 0.1 * (seen > 0).sum()
        assert len(seen.unique()) >= 3


@pytest.mark.parametrize("effort", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("name", WALKERS)
def test_a_foot_on_the_ground_keeps_its_place(name, effort):
    """Its place in the world, while the body goes one stride a cycle; and some foot is always on the ground."""
    subject = SUBJECTS[name]
    cycles = torch.linspace(0, 6 * math.pi, 1501, dtype=LAW)
    way = subject.stride * cycles / (2 * math.pi)
    motion = gait(cycles, effort).on(cycles)
    standing = []
    for leg in subject.legs:
        joints = steps(leg, motion, subject.stride)
        stands = (joints.lift < 1e-9).flatten()
        place = joints.ankle[0].flatten() + way
        kept = (place.diff().abs() / subject.stride)[stands[1:] & stands[:-1]]
        ends = (~stands).nonzero().flatten().tolist()
        for start, end in pairwise(ends):
            if end - start > 2:
                stance = place[start + 1 : end]
                assert stance.max() - stance.min() < 0.02 * subject.stride
        assert 0.45 < stands.double().mean() < 0.65
        assert kept.max() < 0.01
        standing.append(stands)
    assert torch.stack(standing).any(0).all()


@pytest.mark.parametrize("name", WALKERS)
def test_what_is_drawn_on_the_ground_keeps_its_place(name):
    """The same, of the picture: while a runner's near foot or hind feet stand, what touches the ground goes back with it."""
    subject = SUBJECTS[name]
    cycles = 2 * math.pi * torch.linspace(0.14, 0.42, 8, dtype=LAW)
    x = torch.linspace(-1, 1, 401, dtype=LAW)[None, None, :]
    y = torch.full((1, 1, 1), 0.02 - extent(name)[0], dtype=LAW)
    touched = (silhouette(subject.draw(x, y, gait(cycles, 2.0))) <= 0)[:, 0].double()
    assert touched.sum(1).min() > 10
    place = (touched * x[0]).sum(1) / touched.sum(1) + subject.stride * cycles / (2 * math.pi)
    assert place.max() - place.min() < 0.02 * subject.stride


@pytest.mark.parametrize("name", WALKERS)
def test_segments_keep_their_length_and_joints_do_not_jump(name):
    subject = SUBJECTS[name]
    cycles = torch.linspace(0, 4 * math.pi, 1201, dtype=LAW)
    for effort in (0.5, 1.0, 2.0):
        for leg in subject.legs:
            joints = steps(leg, gait(cycles, effort).on(cycles), subject.stride)
            points = [torch.stack([p.flatten() for p in point]) for point in joints[:3]]
            for start, end, length in ((0, 1, leg.thigh), (1, 2, leg.shank)):
                torch.testing.assert_close(
                    (points[start] - points[end]).norm(dim=0), torch.full((1201,), length, dtype=LAW)
                )
            assert max(float(point.diff(dim=1).norm(dim=0).max()) for point in points) < 0.05


@pytest.mark.parametrize("name", WALKERS)
def test_the_lowest_point_stays_on_the_ground_line(name):
    ground = -extent(name)[0]
    x = torch.linspace(-1, 1, 161, dtype=LAW)[None, None, :]
    y = torch.linspace(ground - 0.08, ground + 0.08, 65, dtype=LAW)[None, :, None]
    for effort in (0.0, 0.5, 1.0, 1.5, 2.0):
        touched = (silhouette(SUBJECTS[name].draw(x, y, gait(turns(16), effort))) <= 0).any(2)
        lowest = torch.where(touched, y[:, :, 0], 1.0).amin(1)
        assert (lowest - ground).abs().max() <= 0.04, (effort, lowest - ground)


@pytest.mark.parametrize("name", WALKERS)
def test_who_stands_does_not_move_and_who_runs_moves_more_than_who_walks(name):
    standing = look(name, gait(turns(4), 0.0)._replace(seconds=torch.zeros(4, 1, 1, dtype=LAW)), 4)
    assert torch.equal(standing, look(name, Limbs(dress="coat")).expand(4, -1, -1))
    walk, run = (look(name, gait(turns(8), effort), 8) for effort in (1.0, 2.0))
    for steps_seen in (walk, run):
        change = (steps_seen != steps_seen.roll(1, 0)).double().sum((1, 2)) / (steps_seen > 0).sum((1, 2))
        assert change.min() > 0.05  # every eighth of a step is seen
    assert (run != walk).any()


@pytest.mark.parametrize(("name", "hub"), [("car", (0.5, -0.4)), ("bicycle", (0.5, -0.36))])
def test_a_wheel_turns_by_the_way_it_goes(name, hub):
    """A turn of the cycle by an angle turns the spokes clockwise by it; its stride is the wheel's circumference."""
    draw, stride = SUBJECTS[name].draw, SUBJECTS[name].stride
    wheel = stride / (2 * math.pi)
    assert hub[1] - wheel == pytest.approx(-extent(name)[0], abs=0.02)
    angle = torch.linspace(0, 2 * math.pi, 721, dtype=LAW)[:-1]
    ring = 0.6 * wheel

    def rim(cycle: float) -> Tensor:
        x, y = (hub[0] + ring * angle.cos())[None, None], (hub[1] + ring * angle.sin())[None, None]
        return painted(draw(x, y, gait(torch.tensor([cycle]))), x, y)[0, 0]

    at_rest, low = rim(0.0), slice(360, 640)  # the lower half of the ring: no frame is before it
    assert len(at_rest[low].unique()) >= 2
    for degrees in (10, 24, 35):
        turned = rim(math.radians(degrees))[low]
        assert (turned != at_rest[low]).any()
        assert (turned != at_rest.roll(-2 * degrees)[low]).double().mean() < 0.02


def test_what_flies_or_swims_moves_its_wings_and_tail():
    spread = look("butterfly", gait(turns(2)), 2) > 0
    assert spread[1].sum() < 0.75 * spread[0].sum()  # closed, half a cycle later
    beat = look("bird", gait(turns(4)), 4) > 0
    tops = torch.where(beat.any(2), torch.arange(81), 99).amin(1)
    assert tops[3] - tops[1] > 12  # rows between the wing raised and the wing lowered
    for name in ("fish", "bird", "butterfly"):
        assert (look(name, gait(turns(4)), 4).diff(dim=0) != 0).flatten(1).any(1).all()


def test_a_rocket_that_works_has_a_flickering_flame():
    rest, cold = look("rocket"), look("rocket", gait(turns(1), 0.0))
    hot = look("rocket", gait(turns(6), 1.0), 6)
    flame = MATERIALS.index("flame") + 1
    assert torch.equal(rest, cold)
    assert not (rest == flame).any()
    sizes = (hot == flame).sum((1, 2))
    assert sizes.min() > 20
    assert len(sizes.unique()) > 2


def test_a_car_leans_back_when_it_speeds_up():
    x, y = plane()
    back, fore = (SUBJECTS["car"].draw(x, y, gait(torch.zeros(1), 1.0, lean))[3].distance for lean in (0.2, -0.2))
    lamps = [float(y.flatten()[int(lamp[0].min(1).values.argmin())]) for lamp in (back, fore)]
    assert lamps[0] > lamps[1] + 0.1


@pytest.mark.parametrize("name", PEOPLE)
def test_a_coat_shows_more_of_its_colour_than_a_scarf(name):
    own = torch.tensor([MATERIALS.index(material) + 1 for material in ("body", "mark", "deep")])
    coat, scarf = (torch.isin(look(name, Limbs(dress=dress)), own).sum() for dress in ("coat", "scarf"))
    assert coat > 1.3 * scarf > 0


def test_silhouettes_are_told_apart():
    shapes = {name: look(name)[0] > 0 for name in SUBJECTS}
    for name, shape in shapes.items():
        for other, second in shapes.items():
            if name < other:
                assert (shape & second).sum() < 0.88 * (shape | second).sum(), (name, other)


def test_every_material_has_a_colour_and_what_shines_is_not_dimmed():
    base = dataclasses.replace(scene(1, 2), place="forest", weather="clear")
    day, night = (materials(base, dataclasses.replace(base, light=light)) for light in ("day", "night"))
    assert set(day) == set(MATERIALS)
    for name in MATERIALS:
        assert (day[name] == night[name]) == (name in ("flame", "light"))
    tones = {materials(dataclasses.replace(base, shade=(0.0, 0.0, k / 10)), base)["skin"] for k in range(-10, 11)}
    assert len(tones) >= 3
    x, y = plane(9)
    for name, subject in SUBJECTS.items():
        for dress in ("coat", "scarf"):
            assert {part.material for part in subject.draw(x, y, gait(turns(2), dress=dress))} <= set(MATERIALS), name


@pytest.mark.parametrize("count", [1, 4, 9, 20])
def test_the_shards_are_the_glass(count):
    """Convex, counter-clockwise, as large together as the glass, and painted as it is."""
    pieces = shards(count)
    assert len(pieces) == count
    area = 0.0
    for piece in pieces:
        assert len(piece) >= 3
        for (ax, ay), (bx, by), (cx, cy) in zip(piece, piece[1:] + piece[:1], piece[2:] + piece[:2], strict=True):
            assert (bx - ax) * (cy - by) - (by - ay) * (cx - bx) > -1e-9
            assert math.hypot(bx - ax, by - ay) > 1e-6
            area += (ax * by - bx * ay) / 2
    x, y = plane()
    whole = look("glass")
    assert area == pytest.approx((0.8 + 1.08) / 2 * 1.64)
    together = torch.zeros_like(whole)
    for piece in pieces:
        seen = painted(fragment(piece)(x, y, REST), x, y)
        together = torch.where(seen > 0, seen, together)
    assert torch.equal(together, whole)


def test_a_glass_breaks_into_pieces_and_water_into_drops():
    with pytest.raises(ValueError, match="at least one piece"):
        shards(0)
    x, y = plane()
    assert (silhouette(droplet(x, y, REST)) <= 0).double().mean() > 0.4
