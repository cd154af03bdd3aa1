"""The newcomer is drawn like the others and is none of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vitascope import bundle
from vitascope.bench import newcomer
from vitascope.data import listing
from vitascope.data.survey import survey
from vitascope.media import Video, record_of
from vitascope.recipe import Recipe
from vitascope.storybook import WORLDS, render, vocabulary
from vitascope.storybook.shapes import SUBJECTS
from vitascope.training.beginning import complete, fresh
from vitascope.training.stages import measure_of


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the sizes of `tiny`, untrained."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    bundle.save(folder, fresh(complete(Recipe.read("tiny"))))
    return folder


def test_it_is_in_no_table_before_and_after() -> None:
    before = dict(SUBJECTS)
    with newcomer.visiting():
        assert newcomer.NAME in SUBJECTS
    assert before == SUBJECTS
    for name, world in WORLDS.items():
        assert newcomer.NAME not in world.values["subject"]
        assert newcomer.NAME not in vocabulary(name)


@pytest.mark.parametrize("world", WORLDS)
def test_every_caption_names_it_and_not_its_understudy(world: str) -> None:
    shown = newcomer.scenes(60, world)
    assert {one.subject for one in shown} == {newcomer.NAME}
    for one in shown:
        said = newcomer.caption(one)
        assert newcomer.NAME in said
        assert newcomer.UNDERSTUDY not in said


@pytest.mark.parametrize("world", WORLDS)
def test_it_is_seen(world: str) -> None:
    """What differs from a ball in its place is a patch of the picture: less than all of it, and more than nothing."""
    (shown,) = newcomer.scenes(1, world)
    with newcomer.visiting():
        film = render([shown], frames=5, height=64, width=128)[0]
    other = render([replace(shown, subject="ball")], frames=5, height=64, width=128)[0]
    differs = (film.int() - other.int()).abs().amax(dim=(0, 3)) > 40
    assert 0.002 < float(differs.float().mean()) < 0.4


def test_its_films_can_be_trained_on(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    newcomer.main(["films", str(tmp_path / "films"), "--count", "4", "--model", str(small)])
    assert capsys.readouterr().out == f"{tmp_path / 'films'}\n"
    recipe, words = bundle.described(small)
    seen = survey(listing(tmp_path / "films"), measure_of(recipe), words)
    assert (len(seen.used), seen.windows(False), seen.faults) == (4, 4, ())
    assert newcomer.NAME in seen.unknown
    assert set(seen.unknown) <= {newcomer.NAME, newcomer.NAME + "s"}
    assert all(newcomer.NAME in entry.caption for entry in seen.used)


def test_the_picture_has_a_row_for_each_prompt_and_two_columns(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "picture.png"
    newcomer.main(
        ["picture", str(small), "--before", str(small), "--output", str(path), "--steps", "1", "--device", "cpu"]
    )
    assert capsys.readouterr().out == f"{path}\n"
    image = Video.load(path).frames[0]
    assert image.shape[0] > 32 * len(newcomer.PROMPTS)
    left, right = image[4:-4, 4 : image.shape[1] // 2 - 2], image[4:-4, image.shape[1] // 2 + 2 : -4]
    assert torch.equal(left, right)  # one model beside itself: the same noise gives the same films
    assert [one["shot"]["prompt"] for one in record_of(path)["sheet"]] == [*newcomer.PROMPTS] * 2
