"""Files that are whole or not there. (Folders that are so: `test_bundle.py`.)"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vitascope.swapping import file_in_place_of


def test_a_file_takes_the_place_of_another_once_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.json", []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.readlink(f"/proc/self/fd/{number}")))
    for text in ("one", "two"):
        with file_in_place_of(path) as partial:
            assert partial.parent == tmp_path, "a move within one folder is one move"
            partial.write_text(text)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == text
    assert synced == [str(partial)] * 2, "the bytes are on the disk before the name is theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.json"
    path.write_text("one")

    def write(partial: Path) -> None:
        partial.write_text("tw")
        raise error

    with pytest.raises(type(error)), file_in_place_of(path) as partial:
        write(partial)
    assert path.read_text() == "one"
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_cannot_keep_the_bytes_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"), file_in_place_of(tmp_path / "a.json") as partial:
        partial.write_text("one")
    assert not list(tmp_path.iterdir())
