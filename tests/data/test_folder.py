"""A folder of films: what is there, and a sentence for each file and line that is wrong."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vitascope.data import folder as module
from vitascope.data.folder import Listing, listing
from vitascope.errors import BadData


def put(root: Path, **files: Any) -> Path:
    """Files by name (`__` for a dot, `___` for a slash), text or bytes; a film's content is of no matter here."""
    for name, content in files.items():
        path = root / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def captions(found: Listing) -> dict[str, str]:
    return {film.name: film.caption for film in found.films}


def faults(found: Listing) -> dict[str, str]:
    for fault in found.faults:
        assert fault.why.endswith(".")
        assert "\n" not in str(fault)
    assert len(found.faults) == len({fault.name for fault in found.faults})
    return {fault.name: fault.why for fault in found.faults}


def test_a_caption_lies_beside_its_film(tmp_path: Path) -> None:
    put(
        tmp_path,
        b__mp4=b"",
        b__txt="\ufeff a red\n  cup \n",
        a__MOV=b"",
        a__txt="a cup",
        in___it__webm=b"",
        in___it__txt="it",
    )
    put(tmp_path, notes__md="no film", other__txt="of nothing")
    found = listing(tmp_path)
    assert list(captions(found).items()) == [("a.MOV", "a cup"), ("b.mp4", "a red cup"), ("in/it.webm", "it")]
    assert found.faults == ()


@pytest.mark.parametrize("film", ["file_name", "video_path"])
@pytest.mark.parametrize("said", ["text", "caption", "prompt"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_table_tells_captions(tmp_path: Path, kind: str, film: str, said: str) -> None:
    put(tmp_path, a__mp4=b"", a__txt="beside", b__mp4=b"", in___c__mp4=b"")
    rows = [{film: "a.mp4", said: 'a "red", cup'}, {film: "./b.mp4", said: "café"}, {film: "in/c.mp4", said: "c"}]
    if kind == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    else:
        text = f"number,{said},{film}\r\n" + "".join(
            f'{n},"{row[said].replace(chr(34), chr(34) * 2)}",{row[film]}\r\n' for n, row in enumerate(rows)
        )
    (tmp_path / f"metadata.{kind}").write_bytes(b"\xef\xbb\xbf" + text.encode())
    found = listing(tmp_path)
    assert captions(found) == {"a.mp4": 'a "red", cup', "b.mp4": "café", "in/c.mp4": "c"}
    assert found.faults == ()


def test_a_table_within_names_what_is_beside_it_and_an_absolute_name_will_do(tmp_path: Path) -> None:
    put(tmp_path, in___a__mp4=b"", b__mp4=b"")
    put(tmp_path, in___metadata__jsonl=json.dumps({"file_name": "a.mp4", "text": "a"}))
    put(tmp_path, metadata__jsonl=json.dumps({"file_name": str(tmp_path / "b.mp4"), "text": "b"}))
    assert captions(listing(tmp_path)) == {"b.mp4": "b", "in/a.mp4": "a"}


def test_a_broken_line_is_named_and_the_others_stand(tmp_path: Path) -> None:
    lines = [json.dumps({"file_name": f"{n}.mp4", "text": f"film {n}"}) for n in range(1, 21)]
    lines[16] = '{"file_name": "17.mp4", "text": '
    for n in range(1, 21):
        put(tmp_path, **{f"{n}__mp4": b""})
    put(tmp_path, metadata__jsonl="\n".join(lines))
    found = listing(tmp_path)
    assert len(found.films) == 19
    told = faults(found)
    assert told.keys() == {"metadata.jsonl:17", "17.mp4"}
    assert "this line is no JSON" in told["metadata.jsonl:17"]
    assert str(found.faults[0]).startswith("metadata.jsonl:17: ")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"[1]", "no JSON object"),
        (b"[" * 100_000, "no JSON"),
        (b'{"text": "a"}', "it has no file_name"),
        (b'{"file_name": 3, "text": "a"}', "it has no file_name"),
        (b'{"file_name": "a.mp4"}', "it has none of text, caption, prompt"),
        (b'{"file_name": "a.mp4", "text": 3}', "its caption is no text"),
        (b'{"file_name": "a.mp4", "text": " "}', "its caption is empty"),
        (b'{"file_name": "a.mp4", "text": "a\\u0000b"}', "U+0000"),
        (b'{"file_name": "a.mp4", "text": "\\ud800"}', "prompt"),
        (b'{"file_name": "a.mp4", "text": "\xff"}', "byte 32 of this line is not UTF-8"),
        (b'{"file_name": "b.mp4", "text": "a"}', "b.mp4 is not there"),
        (b'{"file_name": "../a.mp4", "text": "a"}', "outside of the folder"),
        (b'{"file_name": "/etc/passwd", "text": "a"}', "outside of the folder"),
        (b'{"file_name": "http://a.b/c.mp4", "text": "a"}', "download it first"),
        (b'{"file_name": "a\\u0000.mp4", "text": "a"}', "NUL"),
        (b'{"file_name": "\\ud800.mp4", "text": "a"}', "half a character"),
        (b'{"file_name": "a.txt", "text": "a"}', "films are read whose names end in .mp4"),
        (b'{"file_name": "' + b"x" * 5000 + b'", "text": "a"}', "255 bytes"),
        (b'{"file_name": "a.mp4", "text": "%s"}' % (b"x" * 10_001), "10,000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_line_may_not_say(tmp_path: Path, line: bytes, why: str) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", metadata__jsonl=line)
    found = listing(tmp_path)
    assert captions(found) == {"a.mp4": "a cup"}
    assert why in faults(found)["metadata.jsonl:1"]
    assert len(str(found.faults[0])) < 700


def test_the_same_film_twice_in_a_table(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", metadata__csv="file_name,text\na.mp4,one\n./a.mp4,two\n")
    found = listing(tmp_path)
    assert captions(found) == {"a.mp4": "one"}
    assert "a.mp4 has a caption already" in faults(found)["metadata.csv:3"]


def test_a_table_that_is_none(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", metadata__csv='file_name,text\na.mp4,"one" two"\n')
    assert "this line is no CSV" in faults(listing(tmp_path))["metadata.csv:2"]
    put(tmp_path, metadata__csv=b"file_name,text\na.mp4,\xff\n")
    assert "byte 21 is not UTF-8" in faults(listing(tmp_path))["metadata.csv"]


def test_a_table_without_a_first_line(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", metadata__csv="a.mp4,a red cup\n")
    assert "its first line names no column file_name" in faults(listing(tmp_path))["metadata.csv:1"]


def test_a_table_that_is_wrong_in_every_line_is_told_of_in_a_hundred(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", metadata__jsonl="x\n" * 5000)
    told = faults(listing(tmp_path))
    assert len(told) == 101
    assert told["metadata.jsonl"] == "4,900 more of its lines are wrong; mend those that are told first."


def test_films_of_kinds_that_are_not_read_are_told_of(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", b__flv=b"", b__txt="b", c__WMV=b"", d__json=b"")
    found = listing(tmp_path)
    assert captions(found) == {"a.mp4": "a cup"}
    assert faults(found).keys() == {"b.flv", "c.WMV"}
    assert "films are read whose names end in .mp4" in faults(found)["b.flv"]


def test_accents_are_the_same_however_they_are_written(tmp_path: Path) -> None:
    whole, apart = "\u00e9.mp4", "e\u0301.mp4"
    (tmp_path / apart).write_bytes(b"")
    put(tmp_path, metadata__jsonl=json.dumps({"file_name": whole, "text": "a cup"}))
    assert captions(listing(tmp_path)) == {apart: "a cup"}
    (tmp_path / "metadata.jsonl").unlink()
    (tmp_path / whole.replace("mp4", "txt")).write_text("another")
    assert captions(listing(tmp_path)) == {apart: "another"}


def test_folders_as_deep_as_a_path_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup")
    monkeypatch.chdir(tmp_path)
    for _ in range(1_100):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(tmp_path)
    assert captions(listing(Path("."))) == {"a.mp4": "a cup"}
    subprocess.run(["rm", "-rf", "d"], check=True, cwd=tmp_path)  # too deep for who clears up after a test


def test_a_folder_within_that_cannot_be_read_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, a__mp4=b"", a__txt="a cup", locked___b__mp4=b"")
    scan = os.scandir

    def refused(place: Any) -> Any:
        if Path(place).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(place)

    monkeypatch.setattr(module.os, "scandir", refused)  # root may read everything
    found = listing(tmp_path)
    assert captions(found) == {"a.mp4": "a cup"}
    assert faults(found) == {"locked": "it cannot be read (permission denied); remove or mend it."}


def test_a_caption_that_is_not_utf8(tmp_path: Path) -> None:
    put(tmp_path, a__mp4=b"", a__txt="café".encode("latin-1"), b__mp4=b"", b__txt="\n")
    found = listing(tmp_path)
    assert found.films == ()
    told = faults(found)
    assert told["a.txt"] == "byte 3 is not UTF-8; save it as UTF-8 text."
    assert told["b.txt"].startswith("its caption is empty")


def test_a_text_beyond_measure_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_TEXT", 10)
    put(tmp_path, a__mp4=b"", a__txt="a cup of tea", metadata__jsonl="{}" * 9)
    assert {why[:14] for why in faults(listing(tmp_path)).values()} == {"it has over 10"}


def test_links_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    put(tmp_path, films___a__mp4=b"", films___a__txt="a cup", far___b__mp4=b"", far___b__txt="b")
    home = tmp_path / "films"
    (home / "self").symlink_to(home)
    (home / "deep").mkdir()
    (home / "deep" / "up").symlink_to(home)
    (home / "round.mp4").symlink_to(home / "round.mp4")
    (home / "gone.mp4").symlink_to(home / "nowhere.mp4")
    (home / "far").symlink_to(tmp_path / "far")
    (home / "again").symlink_to(tmp_path / "far")
    found = listing(home)
    assert set(captions(found)) == {"a.mp4", "again/b.mp4"}
    told = faults(found)
    assert told.keys() == {"self", "deep/up", "round.mp4", "gone.mp4", "far"}
    assert "leads back to itself" in told["round.mp4"]
    assert all("read already" in told[name] for name in ("self", "deep/up", "far"))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")  # to open it would wait for ever
    (tmp_path / "folder.mp4").mkdir()
    put(tmp_path, __hidden__mp4=b"", pipe__txt="a pipe")
    found = listing(tmp_path)
    assert found.films == ()
    assert "no plain file" in faults(found)["pipe.mp4"]


def test_folders_that_hold_nothing_say_so(tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        with pytest.raises(BadData) as error:
            listing(folder).ensure_films()
        assert str(error.value).startswith(f"{folder}: ")
        return str(error.value)

    assert "there is no film in it; give a folder with .mp4" in refused(tmp_path)
    assert "there is no such folder" in refused(tmp_path / "nowhere")
    put(tmp_path, a__mp4=b"", b__mp4=b"")
    assert "there are films (2) and none has a caption that can be read; write one to clip.txt" in refused(tmp_path)
    assert "not a directory" in refused(tmp_path / "a.mp4")
