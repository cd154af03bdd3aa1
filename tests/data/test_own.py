"""Own films on disk: cut once, the same bytes however often the work was cut off, no content on both sides."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vitascope.data import own
from vitascope.data.folder import listing
from vitascope.data.own import HELD_OUT, Own, held_out, own_clips
from vitascope.data.survey import survey, unknown_words
from vitascope.errors import BadData, BadRun
from vitascope.media import Video
from vitascope.media.confined import Confined
from vitascope.media.fitting import Measure
from vitascope.storybook import render, scene
from vitascope.text import Words

CLIP = Measure(5, 16, 32, 8)


class Cut(Exception):
    """The work was cut off."""


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve films of two clips each, but one of one, and two that are none."""
    folder = tmp_path_factory.mktemp("films")
    for index in range(12):
        film = render([scene(9, index)], frames=6 if index == 3 else 11, height=16, width=32)[0]
        Video(film, 8.0).save(folder / f"{index:02d}.mp4")
        (folder / f"{index:02d}.txt").write_text(f"film number {index}")
    (folder / "05b.mp4").write_bytes((folder / "05.mp4").read_bytes()[:-3000])
    (folder / "05b.txt").write_text("cut off")
    (folder / "07b.mp4").write_bytes(b"")
    (folder / "07b.txt").write_text("empty")
    return folder


@pytest.fixture
def films(originals: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(originals, tmp_path / "films", copy_function=shutil.copy2))


@pytest.fixture(scope="module")
def whole(originals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "own.u8"
    own_clips(path, listing(originals), CLIP)
    return path


@pytest.fixture
def kept(whole: Path, tmp_path: Path) -> Path:
    """A copy of the clips that `originals` became, which a test may spoil; `films` are the same ones to it."""
    for end in (".u8", ".json"):
        shutil.copy(whole.with_suffix(end), tmp_path / f"own{end}")
    return tmp_path / "own.u8"


def clips(films: Path, path: Path, watch: Callable[[int, int], None] | None = None) -> Own:
    return own_clips(path, listing(films), CLIP, watch)


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_stored_is_what_the_films_show(films: Path, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    found = clips(films, tmp_path / "own.u8", lambda done, of: heard.append((done, of)))
    assert heard == [(n, 14) for n in range(1, 15)]
    assert found.held_out is not None
    assert (len(found.training), len(found.held_out)) in ((21, 2), (22, 1))
    shown = {
        (set_.caption(i), set_.pixels(i).numpy().tobytes())
        for set_ in (found.training, found.held_out)
        for i in range(len(set_))
    }
    wanted = set()
    for index in range(12):
        frames = Video.load(films / f"{index:02d}.mp4").frames.numpy()
        for start in range(0, len(frames) - 4, 5):
            wanted.add((f"film number {index}", frames[start : start + 5].tobytes()))
    assert shown == wanted
    assert isinstance(found.training.view(3), np.memmap)
    assert np.array_equal(found.training.view(3), found.training.pixels(3).numpy())
    told = {fault.name: fault.why for fault in found.faults}
    assert told.keys() == {"05b.mp4", "07b.mp4"}
    assert told["07b.mp4"] == "the file is empty; make or fetch it again."


def test_films_are_cut_once(films: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clips(films, tmp_path / "own.u8")
    assert sha(tmp_path / "own.u8") == sha(whole)
    monkeypatch.setattr(Confined, "cut", lambda *_: pytest.fail("cut again"))
    again = clips(films, tmp_path / "own.u8")
    assert again.training.source == first.training.source
    assert again.faults == first.faults
    assert {path.name for path in tmp_path.glob("own*")} == {"own.u8", "own.json"}


def test_work_that_was_cut_off_goes_on_and_gives_the_same_bytes(
    films: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "own.u8", []
    real = Confined.cut

    def cut(self: Confined, film: Path, sink: Callable[[bytes], object]) -> object:
        seen.append(film.name)
        return real(self, film, sink)

    monkeypatch.setattr(Confined, "cut", cut)
    for upto in (3, 8):

        def stop(done: int, of: int, upto: int = upto) -> None:
            if done == upto:
                raise Cut

        with pytest.raises(Cut):
            clips(films, path, stop)
        assert not path.exists()
        with path.with_suffix(".partial").open("ab") as file:
            file.write(b"half a clip")
    clips(films, path)
    assert seen == sorted(seen)
    assert len(seen) == len(set(seen)) == 14
    assert sha(path) == sha(whole)


def test_a_stop_in_the_middle_of_a_film_is_heeded_at_its_next_window(films: Path, whole: Path, tmp_path: Path) -> None:
    path, heard = tmp_path / "own.u8", []

    def heed() -> None:
        heard.append(path.with_suffix(".journal").read_text().count("\n"))
        if len(heard) == 5:
            raise Cut

    with pytest.raises(Cut):
        own_clips(path, listing(films), CLIP, heed=heed)
    assert heard == [1, 1, 2, 2, 3]  # lines: one for the measure, one for each film that is done
    clips(films, path)
    assert sha(path) == sha(whole)


def test_a_stop_is_heeded_while_a_large_film_is_hashed(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = listing(films)
    monkeypatch.setattr(own, "_PIECE", found.films[0].size // 3)
    heard: list[int] = []

    def heed() -> None:
        heard.append(len(heard))
        if len(heard) == 2:
            raise Cut

    taken: list[bytes] = []
    with pytest.raises(Cut):
        list(own.entries(found.films, CLIP, taken.append, heed))
    assert heard == [0, 1]
    assert not taken


def test_what_was_begun_for_other_films_is_not_gone_on_with(films: Path, whole: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.u8"

    def stop(done: int, of: int) -> None:
        if done == 6:
            raise Cut

    with pytest.raises(Cut):
        clips(films, path, stop)
    (films / "02.txt").write_text("another caption")
    found = clips(films, path)
    assert found.held_out is not None
    assert "another caption" in found.training.captions + found.held_out.captions
    assert sha(path) == sha(whole)


# The folder changes


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: shutil.copy(f / "01.mp4", f / "02.mp4"), "02.mp4 is another film"),
        (lambda f: (f / "02.txt").write_text("other words"), "02.mp4 has another caption"),
        (lambda f: (f / "02.txt").unlink(), "02.mp4 is gone"),
        (lambda f: (f / "02.mp4").unlink(), "02.mp4 is gone"),
        (lambda f: (shutil.copy(f / "02.mp4", f / "20.mp4"), (f / "20.txt").write_text("new")), "20.mp4 is new"),
        (lambda f: (f / "07b.mp4").write_bytes((f / "01.mp4").read_bytes()), "07b.mp4 is another film"),
    ],
)
def test_a_film_that_changed_since_it_was_read_is_noticed(
    films: Path, kept: Path, change: Callable[[Path], object], why: str
) -> None:
    clips(films, kept)
    change(films)
    with pytest.raises(BadRun, match=rf"{why}.* since this run read its films; give another --out folder, or delete"):
        clips(films, kept)


def test_one_byte_is_enough_and_a_touch_is_nothing(films: Path, kept: Path) -> None:
    os.utime(films / "02.mp4", (1, 1))
    clips(films, kept)
    data = bytearray((films / "02.mp4").read_bytes())
    data[-1] ^= 1
    (films / "02.mp4").write_bytes(data)
    with pytest.raises(BadRun, match=r"02\.mp4 is another film"):
        clips(films, kept)


def test_a_film_that_changes_between_the_look_and_the_use_is_set_aside(
    films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = listing(films)
    os.utime(films / "02.mp4", (1, 1))
    (films / "04.mp4").unlink()
    real = Confined.cut

    def cut(self: Confined, film: Path, sink: Callable[[bytes], object]) -> object:
        seen = real(self, film, sink)
        if film.name == "06.mp4":  # while it is read
            with film.open("ab") as file:
                file.write(b"more")
        return seen

    monkeypatch.setattr(Confined, "cut", cut)
    told = {fault.name: fault.why for fault in own_clips(tmp_path / "own.u8", found, CLIP).faults}
    assert told.keys() == {"02.mp4", "04.mp4", "05b.mp4", "06.mp4", "07b.mp4"}
    assert "changed after the folder was listed" in told["02.mp4"]
    assert "it is gone since" in told["04.mp4"]
    assert "changed after the folder was listed" in told["06.mp4"]
    table = json.loads((tmp_path / "own.json").read_text())
    windows = sum(len(entry["windows"]) for entry in table["films"])
    assert (tmp_path / "own.u8").stat().st_size == windows * CLIP.bytes  # what 06.mp4 had given was taken back


def test_clips_for_another_recipe_and_clips_that_are_not_whole(films: Path, kept: Path) -> None:
    path = kept
    with pytest.raises(BadRun, match="cut for another recipe"):
        own_clips(path, listing(films), CLIP._replace(fps=4))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadRun, match="delete it, to have the films read again"):
        clips(films, path)
    path.with_suffix(".json").write_text("{}")
    with pytest.raises(BadRun, match="it cannot be read"):
        clips(films, path)


def test_a_folder_of_nothing_but_bad_films_leaves_nothing(tmp_path: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for name in "ab":
        (films / f"{name}.mp4").write_bytes(b"no film")
        (films / f"{name}.txt").write_text("a cup")
    with pytest.raises(
        BadData, match=r"none of its 2 captioned films can be used, b\.mp4 for instance because it cannot"
    ):
        clips(films, tmp_path / "run" / "own.u8")
    assert not list((tmp_path / "run").iterdir())


# The split


@pytest.mark.parametrize("seed", range(20))
def test_the_same_content_is_never_on_both_sides(seed: int) -> None:
    draw = random.Random(seed)
    films = [[f"{draw.randrange(60):064x}" for _ in range(draw.randrange(1, 4))] for _ in range(50)]
    apart = held_out(films)
    sides = [{digest for film, held in zip(films, apart) if held == side for digest in film} for side in (False, True)]
    assert not sides[0] & sides[1]
    # ... and so whatever the order and the names are
    order = draw.sample(range(50), 50)
    assert held_out([films[i] for i in order]) == [apart[i] for i in order]


def test_one_film_in_ten_is_held_out() -> None:
    digests = [[hashlib.sha256(bytes([n, k])).hexdigest() for k in range(n % 3 + 1)] for n in range(100)]
    assert sum(held_out(digests)) == 100 // HELD_OUT
    assert sum(held_out(digests[:9])) == 0  # a few films are all wanted
    assert held_out([digests[1]] * 40) == [False] * 40  # one film under forty names cannot be split


def test_copies_of_a_film_stay_together(films: Path, tmp_path: Path) -> None:
    for index in range(12):
        shutil.copy(films / f"{index:02d}.mp4", films / f"copy-{index:02d}.mp4")
        (films / f"copy-{index:02d}.txt").write_text(f"film number {index} again")
    found = clips(films, tmp_path / "own.u8")
    assert found.held_out is not None
    sides = [{bytes(part.pixels(i).numpy()) for i in range(len(part))} for part in (found.training, found.held_out)]
    assert not sides[0] & sides[1]
    notes = survey(listing(films), CLIP).notes
    assert sum("it shows what" in note.why for note in notes) == 12


# The survey


def test_a_survey_finds_what_training_does(films: Path, kept: Path) -> None:
    found = clips(films, kept)
    words = Words.of(("film", "number", "0", "1", "2"))
    seen = survey(listing(films), CLIP, words)
    assert found.held_out is not None
    assert (seen.windows(False), seen.windows(True)) == (len(found.training), len(found.held_out))
    assert seen.faults == found.faults
    learned = {word for caption in found.training.captions for word in caption.split()}
    assert {str(n) for n in range(12)} - learned, "one is held out, and training will not learn its word"
    assert seen.unknown == {str(n): 1 for n in range(3, 12) if str(n) in learned}
    # So it is where a word is in the captions of both: those that are trained on are counted.
    assert (
        survey(listing(films), CLIP, Words.of(("number",))).unknown["film"] == len(set(found.training.captions)) == 11
    )
    assert json.loads(json.dumps(seen.json()))["clips"] == {
        "training": seen.windows(False),
        "held_out": seen.windows(True),
    }


def test_small_pictures_are_worth_a_note(films: Path) -> None:
    notes = survey(listing(films), Measure(5, 32, 64, 8)).notes
    assert notes[0].why == "its pictures are 32x16 and are enlarged to 64x32."


def test_unknown_words_are_counted() -> None:
    words = Words.of(("a", "red"))
    assert unknown_words(words, ["a red cup", "A CUP!", "red saucer"]) == {"cup": 2, "saucer": 1}


def test_words_can_be_those_of_captions() -> None:
    words = Words.found_in(["A red cup, steaming!", "the cup's red"])
    assert words.unknown_words("a red CUP steaming: the cup's") == []
    assert words.unknown_words("a blue cup") == ["blue"]
    assert Words.found_in(["b a", "a c"]).json() == Words.of(("a", "b", "c")).json()


def test_a_disk_that_is_full_is_told_and_what_was_read_is_kept(
    films: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, count = tmp_path / "own.u8", []
    real = Confined.cut

    def cut(self: Confined, film: Path, sink: Callable[[bytes], object]) -> object:
        count.append(film)
        if len(count) == 5:
            raise OSError(28, "No space left on device")
        return real(self, film, sink)

    monkeypatch.setattr(Confined, "cut", cut)
    with pytest.raises(BadRun, match=r"could not be written .*No space left.*free some space and resume"):
        clips(films, path)
    clips(films, path)
    assert len(count) == 15
    assert sha(path) == sha(whole)
