"""Films are unpacked in another process, which a bad one may bring down, and which has bounds."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from vitascope.errors import BadMedia
from vitascope.media import Video
from vitascope.media.confined import Confined
from vitascope.media.fitting import Measure, cut

CLIP = Measure(5, 32, 64, 8)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    frames = torch.randint(0, 255, (12, 32, 64, 3), dtype=torch.uint8)
    return Video(frames, 8.0).save(tmp_path_factory.mktemp("films") / "film \N{SNOWMAN}.mp4")


def test_it_gives_what_the_same_work_gives_here(film: Path) -> None:
    here: list[bytes] = []
    seen = cut(film, CLIP, lambda window: here.append(window.tobytes()))
    with Confined(CLIP) as confined:
        for _ in range(2):  # film after film from one process
            there: list[bytes] = []
            assert confined.cut(film, there.append) == seen._asdict()
            assert there == here
    assert len(here) == 2


def test_a_bad_film_is_told_and_the_next_one_is_cut(film: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    heard: list[bytes] = []
    with Confined(CLIP) as confined:
        with pytest.raises(BadMedia, match=r"bad\.mp4: it cannot be read as a film"):
            confined.cut(tmp_path / "bad.mp4", heard.append)
        confined.cut(film, heard.append)
    assert len(heard) == 2


def test_a_film_that_takes_too_long_is_given_up(film: Path) -> None:
    with Confined(CLIP) as confined:
        confined.cut(film, len)
        assert confined._process
        os.kill(confined._process.pid, signal.SIGSTOP)  # as if it never came back
        confined.seconds = 0.3
        began = time.monotonic()
        with pytest.raises(BadMedia, match=r"took longer than 0\.3 s; cut it into shorter films"):
            confined.cut(film, len)
        assert time.monotonic() - began < 5
        confined.seconds = 60
        confined.cut(film, len)  # by a new process


def test_a_film_that_brings_its_process_down_brings_down_nothing_else(film: Path) -> None:
    with Confined(CLIP) as confined:
        confined.cut(film, len)
        assert confined._process
        os.kill(confined._process.pid, signal.SIGSEGV)
        with pytest.raises(BadMedia, match=r"the process that unpacked it ended \(SIGSEGV\)"):
            confined.cut(film, len)
        confined.cut(film, len)


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="memory is bounded where /proc tells what there is")
def test_a_film_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    # 4096x2304 of one colour: some kilobytes on disk, and tens of megabytes as soon as it is unpacked.
    path = Video(torch.zeros(1, 2304, 4096, 3, dtype=torch.uint8).expand(5, -1, -1, -1), 8.0).save(
        tmp_path / "bomb.webm"
    )
    assert path.stat().st_size < 100_000
    with (
        Confined(CLIP, memory=16 * 2**20) as confined,
        pytest.raises(BadMedia, match=r"memory|the process that unpacked"),
    ):
        confined.cut(path, len)
    with Confined(CLIP) as confined:
        assert confined.cut(path, len)["frames"] == 5


def test_the_other_process_may_write_nothing_and_is_gone_in_the_end(film: Path) -> None:
    with Confined(CLIP) as confined:
        confined.cut(film, len)
        assert confined._process
        pid = confined._process.pid
        limits = Path(f"/proc/{pid}/limits")
        if limits.is_file():
            line = next(line for line in limits.read_text().splitlines() if line.startswith("Max file size"))
            assert line.split()[3:5] == ["0", "0"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_other_process_carries_no_torch(film: Path) -> None:
    with Confined(CLIP) as confined:
        confined.cut(film, len)
        assert confined._process
        maps = Path(f"/proc/{confined._process.pid}/maps")
        if maps.is_file():
            assert "avcodec" in (loaded := maps.read_text())
            assert "libtorch" not in loaded


def test_a_module_in_the_folder_is_not_imported(film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "av.py").write_text("open('canary', 'w').close()")
    monkeypatch.chdir(tmp_path)
    with Confined(CLIP) as confined:
        confined.cut(film, len)
    assert not (tmp_path / "canary").exists()


def test_who_takes_the_windows_may_stop_in_the_middle(film: Path) -> None:
    class Enough(Exception):
        pass

    def enough(window: bytes) -> None:
        raise Enough

    with Confined(CLIP) as confined:
        with pytest.raises(Enough):
            confined.cut(film, enough)
        heard: list[bytes] = []
        confined.cut(film, heard.append)
        assert [len(window) for window in heard] == [CLIP.bytes] * 2
