"""vitascope storybook: clips and every label of a world, drawn."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitascope import bundle
from vitascope.cli import storybook as command
from vitascope.cli.stopping import Stopped
from vitascope.data import listing, rendering
from vitascope.data.survey import survey
from vitascope.finding import find
from vitascope.media import Video, facts, record_of
from vitascope.storybook import WORLDS, plain, render, scene, tour, truth, vocabulary, withheld
from vitascope.training.stages import measure_of

Run = Callable[..., Any]
SMALL = ("--frames", "5", "--height", "32", "--width", "48")


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_clips_as_they_come(vitascope: Run) -> None:
    told = vitascope("storybook", "--clips", "5", "--columns", "2", "--strip", "2", "--output", "a.png")
    assert (told.code, told.out) == (0, "a.png\n")
    film = facts("a.png")
    strip = 1 + 2 * (command.WIDTH + 1), 2 + command.HEIGHT
    assert (film.width, film.height) == (4 + 2 * (strip[0] + 4), 4 + 3 * (strip[1] + 4))
    records = record_of("a.png")["sheet"]
    assert len(records) == 5
    assert all(each["caption"] and each["labels"]["world"] == "whole" for each in records)
    assert vitascope("storybook", "--clips", "5", "--seed", "2", "--output", "b.png").code == 0
    assert [each["caption"] for each in record_of("b.png")["sheet"]] != [each["caption"] for each in records]


@pytest.mark.parametrize("world", list(WORLDS))
def test_every_value_of_every_attribute_can_be_shown(world: str) -> None:
    assert tuple(WORLDS) == command.WORLDS
    for name, values in WORLDS[world].values.items():
        shown = dict(tour(world, name))
        assert tuple(shown) == values
        for value, made in shown.items():
            assert getattr(made, name) == value
            others = {"mood": "neutral", "count": "one", "relation": "none", "camera": "still", "change": "none"}
            assert all(getattr(made, other) == usual for other, usual in others.items() if other != name)


def test_one_attribute(vitascope: Run) -> None:
    told = vitascope("storybook", "--world", "first", "--attribute", "weather", "--output", "a.png")
    assert told.code == 0
    assert [each["labels"]["weather"] for each in record_of("a.png")["sheet"]] == ["clear", "rain", "snow"]


def test_the_page_holds_every_value_and_every_word(vitascope: Run) -> None:
    told = vitascope("storybook", "--world", "first", "--page", "here", "--strip", "1")
    assert (told.code, told.out) == (0, "here/vocabulary.md\n")
    page = Path("here/vocabulary.md").read_text(encoding="utf-8")
    for name, values in WORLDS["first"].values.items():
        assert f"![Every {name}]({name}.png)" in page
        assert (Path("here") / f"{name}.png").is_file()
        assert all(f"| {value} " in page for value in values)
    assert ", ".join(vocabulary("first")) in page
    assert "`vitascope storybook --page here --world first --strip 1`" in page
    again = vitascope("storybook", "--world", "first", "--page", "here")
    assert (again.code, again.out) == (2, "")
    assert "vocabulary.md already" in again.err[-1]


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--world", "hole"], "the nearest is whole."),
        (["--attribute", "plaice"], "the nearest is place."),
        (["--clips", "0"], "a whole number from 1 to 400"),
        (["--output", "a.mp4"], "end the name in .png"),
        (["--seed", "-3"], "a whole number from 0"),
        (["--world", ""], "there is no such thing"),
        (["--page", "here", "--attribute", "place"], "leave --attribute out"),
        (["--attribute", "place", "--clips", "3"], "leave --clips out"),
        (["--page", "/proc/nope"], "no such folder can be made"),
        (["--output", "clips"], "end the name in .png, or in / for a folder"),
        (["--frames", "9"], "--frames: it is of clips in a folder, as --output my-clips/; leave it out"),
        (["--page", "here", "--width", "64"], "--width: it is of clips in a folder"),
        (["--output", "here/", "--columns", "3"], "--columns: it is of a picture"),
        (["--output", "here/", "--attribute", "place"], "--attribute: it is of a picture"),
        (["--output", "here/", "--page", "there"], "leave --output out"),
        (["--output", "here/", "--height", "33"], "--height 33: an mp4 has even sides; 32 would do"),
        (["--output", "here/", "--frames", "1"], "a whole number from 2 to 241"),
        (["--output", "here/", "--clips", "20001"], "a whole number from 1 to 20000"),
        (["--output", "/proc/nope/"], "no such folder can be made"),
        (["--output", "https://example.org/clips/"], "only files of this machine"),
    ],
)
def test_what_cannot_be_shown_is_refused(vitascope: Run, flags: list[str], why: str) -> None:
    told = vitascope("storybook", *flags)
    assert (told.code, told.out, told.files) == (2, "", [])
    assert why in told.err[-1]


def test_clips_in_a_folder_have_their_captions_and_their_truth(vitascope: Run) -> None:
    told = vitascope("storybook", "--clips", "10", "--seed", "3", *SMALL, "--output", "clips/")
    assert (told.code, told.out, told.files) == (0, "clips\n", ["clips"])
    assert [(each["step"], each["of"]) for each in told.json] == [(0, 10), (8, 10), (10, 10)]
    names = [f"whole-3-{index:05d}" for index in range(10)]
    assert sorted(held(Path("clips"))) == sorted(
        name + suffix for name in names for suffix in (".mp4", ".txt", ".json")
    )
    for index, name in enumerate(names):
        path, made = Path("clips") / f"{name}.mp4", scene(3, index, "train", "whole")
        assert not withheld(made.subject, made.colour, made.action, made.place)
        film = Video.load(path)
        assert (tuple(film.frames.shape), film.fps) == ((5, 32, 48, 3), 2.0)
        drawn = render([made], frames=5, height=32, width=48)[0]
        assert float((film.frames.float() - drawn.float()).abs().mean()) < 6
        assert path.with_suffix(".txt").read_text(encoding="utf-8") == plain(made) + "\n"
        known = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert known == truth(made, 5, 32, 48)
        assert known["captions"][0] == plain(made) == record_of(path)["caption"]
        assert record_of(path)["labels"] == known["labels"]


def test_clips_in_a_folder_can_be_trained_on(vitascope: Run) -> None:
    recipe, words = bundle.described(find("storybook"))
    video = recipe.video
    shape = ("--frames", str(video.frames), "--height", str(video.height), "--width", str(video.width))
    assert vitascope("storybook", "--clips", "4", *shape, "--output", "clips/").code == 0
    found = listing(Path("clips"))
    assert (len(found.films), found.faults) == (4, ())
    seen = survey(found, measure_of(recipe), words)
    assert (len(seen.used), seen.windows(False) + seen.windows(True), seen.faults, seen.unknown) == (4, 4, (), {})


def test_the_same_clips_are_the_same_files_and_others_are_others(vitascope: Run) -> None:
    asked = ("storybook", "--clips", "3", "--world", "first", *SMALL, "--output")
    assert vitascope(*asked, "one/").code == vitascope(*asked, "two/").code == 0
    assert held(Path("one")) == held(Path("two"))
    assert vitascope(*asked, "one/", "--seed", "1").code == 0  # beside them
    assert len(held(Path("one"))) == 18


def test_nothing_is_written_over_but_by_force(vitascope: Run) -> None:
    asked = ("storybook", "--clips", "3", *SMALL, "--output", "clips")
    Path("clips").mkdir()
    Path("clips/whole-0-00002.json").write_text("mine", encoding="utf-8")
    told = vitascope(*asked)  # a folder that is there needs no stroke at its end
    assert (told.code, told.out) == (2, "")
    assert told.err == [
        "--output clips: there is a whole-0-00002.json already; name another folder or --seed, or use --force."
    ]
    assert held(Path("clips")) == {"whole-0-00002.json": b"mine"}
    assert vitascope(*asked, "--force").code == 0
    assert len(held(Path("clips"))) == 9
    assert json.loads(Path("clips/whole-0-00002.json").read_text(encoding="utf-8"))["index"] == 2


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device"), Stopped("stopped")])
@pytest.mark.parametrize("there", [False, True])
def test_what_is_cut_off_leaves_nothing(
    vitascope: Run, monkeypatch: pytest.MonkeyPatch, fault: BaseException, there: bool
) -> None:
    if there:
        Path("deep/clips").mkdir(parents=True)
    drawn, moved = rendering.drawn, []

    def cut(job: rendering.Job, device: str = "cpu") -> bytes:
        if job[1].start:
            raise fault
        return drawn(job, device)

    def move(source: Path, target: Path) -> None:
        if len(moved) == 5:
            raise fault
        moved.append(target)
        replace(source, target)

    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(rendering, "drawn", cut)
        told = vitascope("storybook", "--clips", "9", *SMALL, "--output", "deep/clips/")
    assert told.code == {KeyboardInterrupt: 130, OSError: 1, Stopped: 143}[type(fault)]
    assert told.files == ["deep"] * there
    with monkeypatch.context() as patch:  # the last moment, when some are at their places
        patch.setattr(command.os, "replace", move)
        told = vitascope("storybook", "--clips", "2", "--world", "first", *SMALL, "--output", "deep/clips/")
    assert told.code
    assert told.files == ["deep"] * there
    assert not there or not list(Path("deep/clips").iterdir())
