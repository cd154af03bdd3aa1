"""Known files are recognised by their bytes; an unknown one is told of and never refused."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from vitascope.checkpoints import known
from vitascope.checkpoints.known import KNOWN, Known, cache_folder, digest, hash_state, notice, recognised
from vitascope.errors import BadModel


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vitascope" / "hashes.json"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file that is in the table."""
    path = tmp_path / "Wan2.1_VAE.pth"
    path.write_bytes(b"weights" * 1000)
    line = Known("small VAE", path.name, 7000, hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(known, "KNOWN", (*KNOWN, line))
    return path


def test_the_table_is_in_order() -> None:
    assert len({line.sha256 for line in KNOWN}) == len(KNOWN) == 17
    assert len({line.name for line in KNOWN}) == len(KNOWN)
    for line in KNOWN:
        assert len(bytes.fromhex(line.sha256)) == 32
        assert line.size > 0


def test_a_known_file_is_recognised(weights: Path) -> None:
    assert hash_state(weights) == "known: small VAE"
    assert notice(weights) is None
    found = recognised(weights)
    assert found is not None
    assert found.file == weights.name


def test_other_bytes_of_the_right_size_are_told(weights: Path) -> None:
    weights.write_bytes(b"WEIGHTS" * 1000)
    assert hash_state(weights) == "unknown"
    said = notice(weights)
    assert said is not None
    assert "looks like Wan2.1 VAE (507,609,880 bytes, 38071ab59bd9...)" in said
    assert "has its size and other bytes" in said


def test_a_file_of_another_size_is_told_and_not_read(weights: Path) -> None:
    weights.write_bytes(b"x")
    seen: list[int] = []
    assert hash_state(weights, watch=lambda done, total: seen.append(done)) == "unknown"
    assert "has 1 bytes" in (notice(weights) or "")
    assert not seen
    weights.rename(weights.with_name("mine.pth"))
    assert "nothing is known of where it is from" in (notice(weights.with_name("mine.pth")) or "")


def test_hashing_is_watched_and_happens_once(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(known, "_CHUNK", 300)
    seen: list[tuple[int, int]] = []
    truth = hashlib.sha256(bytes(1000)).hexdigest()
    assert digest(path, watch=lambda *told: seen.append(told)) == truth
    assert seen == [(300, 1000), (600, 1000), (900, 1000), (1000, 1000)]
    assert digest(path, watch=lambda *told: seen.append(told)) == truth
    assert len(seen) == 4
    assert [file.name for file in cache.parent.iterdir()] == ["hashes.json"]
    path.write_bytes(b"\1" * 1000)
    os.utime(path, ns=(1, 1))  # a change within one tick of the clock is a change all the same
    assert digest(path) == hashlib.sha256(b"\1" * 1000).hexdigest()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"[" * 100_000, b'{"a": 3}', b"\xff"])
def test_a_broken_cache_is_no_cache(weights: Path, cache: Path, text: bytes) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_bytes(text)
    assert hash_state(weights) == "known: small VAE"
    assert cache.read_bytes() != text


def test_the_cache_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_MOST", 3)
    for number in range(5):
        path = tmp_path / f"{number}"
        path.write_bytes(bytes([number]))
        digest(path)
    assert len(known._remembered()) == 3  # pyright: ignore[reportPrivateUsage]


def test_no_home_is_no_error(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert cache_folder() == Path.home() / ".cache" / "vitascope"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    assert cache_folder() is None
    assert hash_state(weights) == "known: small VAE"


def test_a_cache_that_cannot_be_written_is_no_error(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    assert hash_state(weights) == "known: small VAE"


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    for ask in (hash_state, digest, notice):
        with pytest.raises(BadModel, match="cannot be read"):
            ask(tmp_path / "missing")
