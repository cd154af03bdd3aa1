"""Whether a memoriser is caught and an honest one is not, by films whose origin is known."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope.data.clips import Source
from vitascope.data.own import OwnClips
from vitascope.evaluation.lessons import degraded
from vitascope.evaluation.memory import Cut, Drawn, Together, memory, nearest, small
from vitascope.evaluation.scenes import real, scenes
from vitascope.media.fitting import Measure
from vitascope.physics import Linear, Noise
from vitascope.physics.exact import FiniteData
from vitascope.physics.noise import normal
from vitascope.physics.solvers import SOLVERS
from vitascope.physics.times import shifted
from vitascope.pixels import to_bytes
from vitascope.recipe import ClipShape

VIDEO = ClipShape(frames=9, height=32, width=64, fps=8)


def learned(count: int, seed: int = 5) -> Drawn:
    """Of a file of another shape: they are compared in that of the films."""
    return Drawn(Source(seed, count, 17, 64, 96), VIDEO)


@cache
def withheld(start: int = 0) -> Tensor:
    return real(VIDEO, scenes(8, start=start))


def worn(films: Tensor) -> Tensor:
    """As a codec and a model leave them: blurred, stained, grained."""
    return to_bytes(degraded(films, 1, 1))


def test_a_copy_is_found_among_many() -> None:
    indices = [0, 17, 80, 99]
    exact = nearest(learned(100).clips(indices), learned(100), 100)
    assert [pair.clip for pair in exact] == indices
    assert all(pair.distance == 0 == pair.ratio for pair in exact)
    noise = 12 * normal(0, "grain", 0, (4, 9, 32, 64, 3))
    rough = (learned(100).clips(indices) + noise).clamp(0, 255).to(torch.uint8)
    assert [pair.clip for pair in nearest(rough, learned(100), 100)] == indices


def test_the_search_is_that_of_every_clip() -> None:
    films = withheld()[:4]
    true = learned(40).clips(range(40))
    off = [(small(true, 8, 16) - small(film[None], 8, 16)).square().flatten(1).mean(1).sqrt() for film in films]
    for pair, each in zip(nearest(films, learned(40), 40), off):
        assert pair.distance <= 1.05 * float(each.min()), "the small renders lead to the nearest, or to one as near"


@pytest.mark.parametrize("count", [10, 130])
def test_a_memoriser_is_caught_and_others_are_not(count: int) -> None:
    copied = worn(learned(count).clips(range(8)))
    caught = memory(copied, withheld(), learned(count))
    assert caught.copies.value > 0.9
    assert caught.ratio < 0.5
    assert caught.pairs[0].ratio <= caught.pairs[-1].ratio
    cleared = memory(torch.cat((withheld(8)[:4], worn(withheld(16)[:4]))), withheld(), learned(count))
    assert cleared.copies.hits == 0
    assert cleared.withheld_copies.hits == 0


def test_the_model_that_knows_ten_clips_and_nothing_else() -> None:
    """The field of a finite data set is what a network learns that has all its clips by heart: its films are its clips."""
    clips = learned(10).clips(range(10))
    data = FiniteData(small(clips, 32, 64).double() / 127.5 - 1)
    noise = Noise(tuple(range(8)))
    x = noise.normal("start", 0, data.means.shape[1:])
    for step in SOLVERS["unipc"](data.field(Linear()), x, shifted(12, 3.0)):
        x = step.x
    films = to_bytes(x.permute(0, 2, 1, 3, 4))
    told = memory(films, withheld(), learned(10))
    assert told.copies.value == 1.0
    assert len({pair.clip for pair in told.pairs}) > 2


def test_what_is_searched_is_told() -> None:
    heard: list[tuple[str, int, int]] = []
    films = withheld()[:2]
    told = memory(films, films, learned(90), 70, lambda *what: heard.append(what))
    assert (told.clips, told.of) == (70, 90)
    assert [(done, of) for _, done, of in heard] == [(64, 70), (70, 70)]
    assert told.distance == told.withheld_distance
    assert memory(films, films, learned(20), 70).clips == 20


def test_several_files_of_clips_are_searched_as_one() -> None:
    both = Together((learned(30, seed=5), learned(20, seed=8)))
    assert len(both) == 50
    films = torch.cat((learned(30, seed=5).clips([3]), learned(20, seed=8).clips([0, 19])))
    assert torch.equal(both.clips([3, 30, 49]), films)
    assert [pair.clip for pair in nearest(films, both, 50)] == [3, 30, 49]
    assert [pair.clip for pair in nearest(films[:1], both, 30)] == [3]


def test_clips_of_own_films_are_searched_likewise(tmp_path: Path) -> None:
    films = learned(12).clips(range(12))
    films.numpy().tofile(tmp_path / "own.u8")
    rows = [(place, f"take {place}", str(place)) for place in range(2, 12)]
    own = Cut(OwnClips(tmp_path / "own.u8", Measure(9, 32, 64, 8), 12, rows))
    assert len(own) == 10
    assert torch.equal(own.clips([9, 0]), films[[11, 2]])
    assert [pair.clip for pair in nearest(films[5:8], own, 10)] == [3, 4, 5]
    caught = memory(worn(films[2:10]), withheld(), own, recited=True)
    assert caught.copies.value > 0.9
    assert (caught.of, caught.recited) == (10, True)


def test_pieces_of_one_film_do_not_hide_that_it_was_copied(tmp_path: Path) -> None:
    """They are as near to a copy of one of them as that one is."""
    films = learned(8).clips(range(8)).repeat_interleave(10, dim=0)
    films.numpy().tofile(tmp_path / "own.u8")
    rows = [(place, f"take {place // 10}", str(place)) for place in range(80)]
    own = Cut(OwnClips(tmp_path / "own.u8", Measure(9, 32, 64, 8), 80, rows))
    caught = memory(worn(films[::10]), withheld(), own, recited=True)
    assert caught.copies.value > 0.9
    assert {pair.clip // 10 for pair in caught.pairs} == set(range(8))
