"""Films as files: what is written is what is read, whole or not at all, and its record comes with it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.container
import pytest
import torch
from torch import Tensor

from vitascope.errors import BadMedia
from vitascope.media import (
    Video,
    check_output,
    facts,
    filmstrip,
    interpolate,
    interpolated,
    is_complete,
    record_of,
    sheet,
    write,
)

RECORD: dict[str, Any] = {
    "vitascope": "0",
    "shot": {
        "prompt": "caf\xe9 \u6f22 'x' = ; # \\ \n <b>",
        "seed": 2**63 - 1,
        "guidance": 0.1,
        "negative": "n" * 3000,
    },
}


def moving(frames: int = 17, height: int = 64, width: int = 128, speed: int = 4) -> Tensor:
    """A red square that moves right over a gradient: uint8 [t h w c]."""
    film = torch.zeros(frames, height, width, 3, dtype=torch.uint8)
    film[..., 0] = torch.arange(height)[:, None] * 255 // height
    film[..., 1] = torch.arange(width) * 255 // width
    film[..., 2] = 120
    side = 2 * (min(height, width) // 6)  # even, as 4:2:0 colour is exact in squares of two by two alone
    for index in range(frames):
        left = (side // 2 + speed * index) % (width - side)
        film[index, side : 2 * side, left : left + side] = torch.tensor([230, 20, 20], dtype=torch.uint8)
    return film


def psnr(a: Tensor, b: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.double() - b.double()).square().mean()))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("suffix", "codec", "least"), [(".mp4", "h264", 40), (".webm", "vp9", 38), (".gif", "gif", 30)]
)
def test_a_film_comes_back(tmp_path: Path, suffix: str, codec: str, least: float) -> None:
    film = Video(moving(), 8.0, RECORD)
    path = film.save(tmp_path / f"a film{suffix}")
    again = Video.load(path)
    assert again.frames.shape == film.frames.shape
    assert again.frames.dtype == torch.uint8
    assert again.fps == 8.0
    assert again.seconds == 17 / 8
    assert psnr(again.frames, film.frames) > least
    # A wrong matrix or range between RGB and YUV hides in an average, and shows in one saturated colour.
    assert (again.frames[0, 30, 30].int() - film.frames[0, 30, 30].int()).abs().max() < 12
    assert again.record == record_of(path) == RECORD
    assert tuple(facts(path)) == (suffix[1:], codec, 17, 128, 64, 8.0)
    assert os.listdir(tmp_path) == [path.name]


def test_a_picture_comes_back_exactly(tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (1, 33, 47, 3), dtype=torch.uint8)
    path = Video(picture, 8.0, RECORD).save(tmp_path / "a.png")
    again = Video.load(path)
    assert torch.equal(again.frames, picture)
    assert record_of(path) == RECORD
    assert facts(path)[:5] == ("png", "png", 1, 47, 33)
    assert is_complete(path) is None


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png"])
def test_the_same_film_gives_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    frames = moving(1 if suffix == ".png" else 6)
    whole = Video(frames, 8.0, RECORD).save(tmp_path / f"a{suffix}")
    parts = write(tmp_path / f"b{suffix}", iter(frames.split(2)), 8.0, dict(reversed(RECORD.items())))
    assert digest(whole) == digest(parts)
    bare = Video(frames, 8.0).save(tmp_path / f"c{suffix}")
    assert digest(bare) != digest(whole)
    assert Video.load(bare).record is None


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_bytes_do_not_depend_on_what_memory_held(tmp_path: Path, suffix: str) -> None:
    chance = random.Random(0)
    film, litter, digests = Video(moving(5, 32, 48), 8.0), [], set()
    for _ in range(40):
        litter = litter[-20:] + [bytearray(chance.randbytes(chance.randrange(1, 60_000))) for _ in range(10)]
        digests.add(digest(film.save(tmp_path / f"a{suffix}")))
    assert len(digests) == 1


def test_an_mp4_is_what_browsers_play(tmp_path: Path) -> None:
    path = Video(moving(), 8.0).save(tmp_path / "a.mp4")
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "it starts to play before it is all there"
    assert b" threads=1 " in data, "the bytes do not depend on how many cores there are"
    with av.open(str(path)) as container:
        codec = container.streams.video[0].codec_context
        assert codec.pix_fmt == "yuv420p"
        assert (codec.colorspace, codec.color_range, codec.color_primaries, codec.color_trc) == (1, 1, 1, 1)
        assert sum(packet.is_keyframe for packet in container.demux(video=0)) == 2, "a key frame each two seconds"


def test_the_record_survives_a_change_of_container(tmp_path: Path) -> None:
    path = Video(moving(5), 8.0, RECORD).save(tmp_path / "a.mp4")
    for name in ("b.mkv", "c.mp4"):
        with av.open(str(path)) as source, av.open(str(tmp_path / name), "w") as target:
            target.metadata.update(source.metadata)
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        assert record_of(tmp_path / name) == RECORD


@pytest.mark.parametrize("comment", ["made by hand", "[1]", "{", "[" * 50_000])
def test_a_comment_that_is_no_record_is_none(tmp_path: Path, comment: str) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        container.metadata["comment"] = comment
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    assert Video.load(path).record is None
    with pytest.raises(BadMedia, match="carries no record"):
        record_of(path)


# ------------------------------------------------------------------------------------------- whole or not at all


class Fault(BaseException):
    """Anything that can break into a film: an error, Ctrl-C, a signal."""


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif", ".png"])
@pytest.mark.parametrize("before", [None, b"an older film"])
def test_a_film_that_breaks_off_leaves_nothing(tmp_path: Path, suffix: str, before: bytes | None) -> None:
    path = tmp_path / f"a{suffix}"
    if before is not None:
        path.write_bytes(before)

    def chunks() -> Iterator[Tensor]:
        yield moving(80, 32, 32) if suffix in (".mp4", ".webm") else moving(1)  # more than the encoder looks ahead
        raise Fault

    with pytest.raises(Fault):
        write(path, chunks(), 8.0)
    assert (path.read_bytes() if path.exists() else None) == before
    assert len(os.listdir(tmp_path)) == (before is not None)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    code = f"""
import os, resource, signal, torch
from vitascope.media import SUFFIXES, Video
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
torch.manual_seed(0)
frames = torch.randint(0, 256, (6, 128, 128, 3), dtype=torch.uint8)
for suffix in SUFFIXES:
    try:
        Video(frames[:1] if suffix == ".png" else frames, 8.0).save(r"{tmp_path}/a" + suffix)
    except OSError as error:
        assert error.errno == 27, error
    else:
        raise AssertionError(suffix)
    assert os.listdir(r"{tmp_path}") == []
"""
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_an_older_film_stays_unless_it_may_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(BadMedia, match="--force"):
        Video(moving(2), 8.0).save(path, replace=False)

    def chunks() -> Iterator[Tensor]:
        (tmp_path / "b.mp4").write_bytes(b"somebody else's")  # comes up while the film is being made
        yield moving(2)

    with pytest.raises(BadMedia, match="in the meantime"):
        write(tmp_path / "b.mp4", chunks(), 8.0, replace=False)
    assert path.read_bytes() == b"old"
    assert (tmp_path / "b.mp4").read_bytes() == b"somebody else's"
    assert len(os.listdir(tmp_path)) == 2
    Video(moving(2), 8.0).save(path)
    assert facts(path).frames == 2


def test_a_new_film_has_the_rights_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    path = Video(moving(1), 8.0).save(tmp_path / "a.mp4", replace=False)
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert path.stat().st_nlink == 1


def test_a_programmers_mistake_is_a_value_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for wrong in ([], [torch.zeros(1, 16, 16, 3)], [moving(1)[0]], [moving(1), moving(1, 32, 32)]):
        with pytest.raises(ValueError, match=r"expected|at least one"):
            write(path, wrong, 8.0)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------- what cannot be written


@pytest.mark.parametrize(
    ("name", "shape", "says"),
    [
        ("a.mp5", {}, "nearest is .mp4"),
        ("a.web", {}, "nearest is .webm"),
        ("a", {}, "one of .mp4"),
        ("nowhere/a.mp4", {}, "make it first"),
        ("folder.mp4", {}, "that is a folder"),
        ("http://localhost/a.mp4", {}, "only files of this machine"),
        ("a\0.mp4", {}, "NUL"),
        ("a.png", {"frames": 17}, "one frame"),
        ("a.gif", {"fps": 60}, "at most 50"),
        ("a.mp4", {"height": 63, "width": 65}, "64x62 would do"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, shape: dict[str, Any], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(BadMedia) as caught:
        check_output(name, **shape)
    assert says in str(caught.value)
    assert str(caught.value).endswith(".")
    assert os.listdir(tmp_path) == ["folder.mp4"]


def test_shapes_are_checked_again_where_they_are_known(tmp_path: Path) -> None:
    for name, frames, fps in (("a.mp4", moving(2, 33, 47), 8.0), ("a.png", moving(2), 8.0), ("a.gif", moving(2), 60.0)):
        with pytest.raises(BadMedia):
            Video(frames, fps).save(tmp_path / name)
    assert os.listdir(tmp_path) == []
    odd = Video(moving(3, 33, 47), 12.5).save(tmp_path / "a.webm")
    assert tuple(Video.load(odd).frames.shape) == (3, 33, 47, 3)


# ------------------------------------------------------------------------------------------- what cannot be read


def broken(folder: Path) -> dict[str, tuple[Path, str]]:
    """Files that are not whole films, and what must be said of each."""
    film = Video(moving(), 8.0, RECORD)
    mp4, webm, gif = (film.save(folder / f"good{suffix}") for suffix in (".mp4", ".webm", ".gif"))
    png = Video(moving(1), 8.0).save(folder / "good.png")
    data = bytearray(mp4.read_bytes())
    data[-1500:-800] = bytes(byte ^ 0x5A for byte in data[-1500:-800])
    (folder / "folder.mp4").mkdir()
    parts = {
        "empty.mp4": (b"", "empty"),
        "page.mp4": (b"\n<!DOCTYPE html><html></html>", "web page"),
        "pointer.mp4": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        "text.mp4": (b"hello world " * 100, "cannot be read"),
        "cut.mp4": (mp4.read_bytes()[:-1500], "cannot be read"),
        "head.mp4": (mp4.read_bytes()[:300], "no picture"),
        "cut.webm": (webm.read_bytes()[:-1500], "ends too early"),
        "cut.gif": (gif.read_bytes()[:-1500], "ends too early"),
        "cut.png": (png.read_bytes()[:-50], "cannot be read"),
        "flipped.mp4": (bytes(data), "or make the file again"),
        "playlist.mp4": (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\ngood.mp4\n#EXT-X-ENDLIST\n",
            "cannot be read",
        ),
        "concat.mp4": (b"ffconcat version 1.0\nfile good.mp4\n", "cannot be read"),
    }
    for name, (content, _) in parts.items():
        (folder / name).write_bytes(content)
    told = {name: (folder / name, says) for name, (_, says) in parts.items()}
    return told | {
        "folder": (folder / "folder.mp4", "cannot be opened"),
        "missing": (folder / "missing.mp4", "no such file"),
    }


def test_a_file_that_is_no_whole_film_is_named_for_what_it_is(tmp_path: Path) -> None:
    for name, (path, says) in broken(tmp_path).items():
        with pytest.raises(BadMedia) as caught:
            Video.load(path)
        assert says in str(caught.value), name
        assert str(path) in str(caught.value)
        assert str(caught.value).endswith(".")


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.mp4", "file:/etc/hostname", "tcp://127.0.0.1:9", "s3://a/b.mp4"]
)
def test_an_address_is_never_opened(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(av, "open", lambda *_, **__: pytest.fail("opened"))
    for look in (Video.load, facts, record_of):
        with pytest.raises(BadMedia, match="only files of this machine"):
            look(address)


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame(format="s16", layout="mono", samples=1024)
        frame.sample_rate, frame.pts = 8000, 0
        container.mux(stream.encode(frame))
    with pytest.raises(BadMedia, match="no picture"):
        Video.load(path)


def test_a_film_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Video(moving(), 8.0).save(tmp_path / "a.mp4")
    monkeypatch.setattr("vitascope.media.video.MOST_BYTES", 5 * 64 * 128 * 3)
    with pytest.raises(BadMedia, match="unpacked"):
        Video.load(path)


def test_odd_names_are_only_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scene:1.mp4", "100%d.mp4", "caf\xe9 \u6f22.mp4", "-.mp4", "a'b\".mp4", os.fsdecode(b"\xff.mp4")):
        Video(moving(2), 8.0, RECORD).save(name)
        assert record_of(name) == RECORD
        os.unlink(name)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------- between frames


@pytest.mark.parametrize(
    ("frames", "fps", "to"),
    [(17, 8, 60), (17, 16, 60), (1, 8, 60), (2, 8, 9), (5, 8, 8), (9, 24, 60), (3, 23.976, 60), (33, 8, 30)],
)
def test_interpolation_keeps_the_length_in_seconds(frames: int, fps: float, to: float) -> None:
    film = interpolated(Video(moving(frames, 32, 64, 1), fps, RECORD), to)
    assert len(film.frames) == int(frames * Fraction(to) / Fraction(fps).limit_denominator(1001) + Fraction(1, 2))
    assert abs(film.seconds - frames / fps) <= 0.5 / to + 1e-9
    assert film.fps == to
    assert film.record is not None
    assert film.record["interpolated"] == {"from": fps, "to": to, "by": "minterpolate"}
    assert film.record["shot"] == RECORD["shot"]


def test_interpolation_moves_between_the_frames_that_were_there() -> None:
    film = Video(moving(9, 64, 128, 6), 10.0)
    finer = interpolated(film, 20.0)
    assert psnr(finer.frames[::2], film.frames) > 40, "the frames that were there stay, at their times"
    red = (finer.frames[..., 2] < 70).float()
    left = (red.sum(dim=1) * torch.arange(128)).sum(dim=1) / red.sum(dim=(1, 2))
    steps = left.diff()[:-1]  # the last frame has none after it to move towards
    assert (steps - 3).abs().max() < 1.5


@pytest.mark.parametrize("side", [8, 16, 17, 33])
def test_interpolation_works_at_any_size(side: int) -> None:
    assert len(interpolated(Video(moving(3, side, side, 1), 8.0), 16.0).frames) == 6


def test_interpolation_streams() -> None:
    taken = 0

    def chunks() -> Iterator[Tensor]:
        nonlocal taken
        for frame in moving(17).split(1):
            taken += 1
            yield frame

    frames = interpolate(chunks(), 8.0, 60.0)
    next(frames)
    assert taken < 6, "frames come out while others have still to come in"
    assert list(interpolate([], 8.0, 60.0)) == []
    with pytest.raises(ValueError, match="expected 0 < fps <= to"):
        next(interpolate([moving(2)], 60.0, 8.0))


# ------------------------------------------------------------------------------------------- many on one picture


def test_a_sheet_puts_every_picture_in_its_place() -> None:
    pictures = [torch.full((4, 6, 3), value, dtype=torch.uint8) for value in range(5)]
    page = sheet(pictures, 3, gap=2, paper=200)
    assert page.shape == (2 + 2 * 6, 2 + 3 * 8, 3)
    for index, picture in enumerate(pictures):
        top, left = 2 + index // 3 * 6, 2 + index % 3 * 8
        assert torch.equal(page[top : top + 4, left : left + 6], picture)
    rest = page.clone()
    assert (rest[8:12, 18:24] == 200).all(), "the sixth place is empty"
    assert sheet(pictures[:2], 3, gap=2).shape == (8, 18, 3)
    with pytest.raises(ValueError, match="one size"):
        sheet([pictures[0], pictures[0][:2]], 2)


def test_a_filmstrip_goes_from_the_first_frame_to_the_last() -> None:
    film = torch.arange(17, dtype=torch.uint8)[:, None, None, None].expand(17, 2, 2, 3)
    strip = filmstrip(film, 5, gap=0)
    assert strip[0, ::2, 0].tolist() == [0, 4, 8, 12, 16]
    assert filmstrip(film[:1], 2, gap=0).shape == (2, 4, 3)


def test_nothing_heavy_is_imported_to_check_a_name() -> None:
    code = "import sys, vitascope.media as m; m.check_output('a.mp4'); sys.exit('torch' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_record_is_json_that_others_can_read(tmp_path: Path) -> None:
    path = Video(moving(2), 8.0, RECORD).save(tmp_path / "a.mp4")
    with av.open(str(path)) as container:
        assert json.loads(container.metadata["comment"]) == RECORD
    if shutil.which("ffprobe"):
        command = ["ffprobe", "-v", "error", "-show_entries", "format_tags=comment", "-of", "json", str(path)]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        assert json.loads(told["format"]["tags"]["comment"]) == RECORD
