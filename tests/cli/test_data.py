"""vitascope data and vitascope train --data: a folder is told of before it is learned from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope.cli import data as module
from vitascope.media import Video

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten good films of one clip, and one each of what is wrong."""
    folder = tmp_path_factory.mktemp("films")
    for index in range(10):
        Video(torch.full((5, 32, 48, 3), 20 * index, dtype=torch.uint8), 8.0).save(folder / f"{index}.mp4")
    lines = [json.dumps({"file_name": f"{index}.mp4", "text": "a red cup on the sea"}) for index in range(10)]
    (folder / "metadata.jsonl").write_text("\n".join([*lines, "{"]))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "empty.txt").write_text("nothing")
    (folder / "silent.mp4").write_bytes(b"")
    (folder / "odd\n\x1b[31m.mp4").write_bytes(b"text")
    (folder / "odd\n\x1b[31m.txt").write_text("odd")
    return folder


def test_a_report_says_what_is_there_what_is_wrong_and_what_would_be_trained(
    vitascope: Run, toy: Path, films: Path
) -> None:
    told = vitascope("data", films, "--from", toy)
    lines = told.out.splitlines()
    assert (told.code, told.files) == (0, [])
    assert sum(line.startswith("film: ") for line in lines) == 10
    assert "film: 3.mp4, 48x32, 5 frames, 0.62 s, 1 clip, " in told.out
    wrong = [line for line in lines if line.startswith("wrong: ")]
    assert len(wrong) == 4
    assert any(line.startswith("wrong: metadata.jsonl:11: this line is no JSON") for line in wrong)
    assert "wrong: empty.mp4: the file is empty; make or fetch it again." in wrong
    assert any(line.startswith("wrong: silent.mp4: it has no caption; write one to silent.txt") for line in wrong)
    assert any(line.startswith("wrong: odd\\n\\x1b[31m.mp4: it cannot be read as a film") for line in wrong)
    assert lines[-4:] == [
        "would be trained: 9 clips of 48x32, 5 frames, 8 a second, 6 s in all, of 9 films",
        "held out, to measure on: 1 clip of 1 film",
        "set aside: 4, each named above",
        "words that the model does not know yet, and will learn: cup (9)",
    ]
    assert [line["step"] for line in told.json] == list(range(1, 13))


def test_json_says_the_same(vitascope: Run, toy: Path, films: Path) -> None:
    told = vitascope("data", films, "--from", toy, "--json")
    assert told.code == 0
    found = json.loads(told.out)
    assert found["measure"] == {"frames": 5, "height": 32, "width": 48, "fps": 8.0}
    assert found["clips"] == {"training": 9, "held_out": 1}
    assert [film["name"] for film in found["films"]] == [f"{n}.mp4" for n in range(10)]
    assert {fault["name"] for fault in found["faults"]} == {
        "metadata.jsonl:11", "empty.mp4", "silent.mp4", "odd\n\x1b[31m.mp4",
    }  # fmt: skip
    assert found["unknown"] == {"cup": 9}


def test_a_terminal_gets_tables(toy: Path, films: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from vitascope.data import listing
    from vitascope.data.survey import survey
    from vitascope.media.fitting import Measure

    module._show(survey(listing(films), Measure(5, 32, 48, 8)))
    out = capsys.readouterr().out
    assert "held out" in out
    assert "would be trained: 9 clips" in out
    assert "\x1b[31m.mp4" not in out


def test_a_folder_that_nothing_can_be_learned_from_is_told_of_and_refused(vitascope: Run, toy: Path) -> None:
    Path("films").mkdir()
    told = vitascope("data", "films", "--from", toy)
    assert (told.code, told.err) == (
        2,
        ["films: there is no film in it; give a folder with .mp4, .m4v, .mov, .mkv, .webm files."],
    )
    Path("films/a.mp4").write_bytes(b"")
    told = vitascope("data", "films", "--from", toy)
    assert told.code == 2
    assert told.out.splitlines()[0].startswith("wrong: a.mp4: it has no caption")
    assert "there are films (1) and none has a caption" in told.err[-1]
    Path("films/a.txt").write_text("a cup")
    told = vitascope("data", "films", "--from", toy)
    assert told.code == 2
    assert told.out.splitlines() == [
        "wrong: a.mp4: the file is empty; make or fetch it again.",
        "would be trained: nothing",
    ]
    assert told.err[-1] == (
        "films: none of its 1 captioned films can be used, a.mp4 for instance because the file is empty; make or fetch it "
        "again; see what vitascope data says of each."
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("nowhere",), "there is no such folder"),
        (("films", "--recipe", "tinny"), "did you mean 'tiny'"),
        (("films", "--from", "storybok"), "did you mean 'storybook'"),
        (("films", "--recipe", "finetune"), "add --from"),
        (("http://localhost/films",), "download it first"),
        (("",), "it names no folder"),
    ],
)
def test_a_wrong_word_is_one_sentence(vitascope: Run, words: tuple[str, ...], why: str) -> None:
    told = vitascope("data", *words)
    assert (told.code, told.out, len(told.err)) == (2, "", 1)
    assert why in told.err[0]


def test_training_tells_what_it_sets_aside(vitascope: Run, toy: Path, films: Path) -> None:
    Path("mine.toml").write_text(
        'name = "mine"\n[stages.diffusion]\nsteps = 2\nbatch = 2\nclips = 1\nlr = 1e-3\nlog_every = 1\n[defaults]\nsteps = 1\n'
    )
    told = vitascope("train", "mine.toml", "--data", films, "--from", toy, "--device", "cpu")
    assert (told.code, told.out) == (0, "runs/mine/bundle\n")
    warned = [line["warning"] for line in told.json if "warning" in line]
    assert len(warned) == 4
    assert "metadata.jsonl:11 was set aside: this line is no JSON" in warned[0]
    assert told.json[-1]["doing"] == "training diffusion"
    assert "held out" in told.json[-1]
    again = vitascope("train", "mine.toml", "--resume", "--device", "cpu")
    assert (again.code, again.out) == (0, "runs/mine/bundle\n")


def test_a_folder_that_is_wrong_leaves_no_run(vitascope: Run, toy: Path) -> None:
    told = vitascope("train", "finetune", "--data", "nowhere", "--from", toy)
    assert (told.code, told.files) == (2, [])
    assert told.err == ["nowhere: it cannot be read (there is no such folder); give a folder of films."]


def test_films_that_are_wrong_leave_no_run(vitascope: Run, toy: Path) -> None:
    Path("films").mkdir()
    Path("films/a.mp4").write_bytes(b"")
    Path("films/a.txt").write_text("a cup")
    Path("taken").mkdir()
    Path("taken/mine").write_text("somebody's")
    for words in (("tiny", "--out", "new"), ("finetune", "--from", toy, "--out", "new"), ("tiny", "--out", "taken")):
        told = vitascope("train", *words, "--data", "films")
        assert (told.code, told.out) == (2, "")
        assert "none of its 1 captioned films can be used" in told.err[-1]
        assert not Path("new").exists()
        assert [path.name for path in Path("taken").iterdir()] == ["mine"]
    told = vitascope("train", "tiny", "--data", "")
    assert (told.code, told.err) == (2, ["--data '': there is no name in it; give one, or leave --data out."])


def test_names_that_steer_a_terminal_or_that_it_has_no_letters_for(vitascope: Run, toy: Path, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    Video(torch.zeros((5, 32, 48, 3), dtype=torch.uint8), 8.0).save(folder / "film.mp4")
    (folder / "film.mp4").rename(folder / "\u96ea\n\x1b[31m.mp4")
    (folder / "\u96ea\n\x1b[31m.txt").write_text("snow")
    command = [sys.executable, "-m", "vitascope", "data", str(folder), "--from", str(toy)]
    told = subprocess.run(command, capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"}, check=False)
    assert told.returncode == 0, told.stderr
    assert told.stdout.splitlines()[0].startswith(rb"film: \u96ea\n\x1b[31m.mp4, 48x32")
    (folder / "\u96ea\n\x1b[31m.mp4").write_bytes(b"")
    refused = vitascope("data", folder, "--from", toy)
    assert refused.code == 2
    assert r"\x1b[31m.mp4 for instance" in refused.err[-1]
    assert "\x1b" not in "".join(refused.err)
