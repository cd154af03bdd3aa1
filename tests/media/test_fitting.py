"""Films cut to measure: the same moments and the same picture, whatever the file's rate, size, turn and range are."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

from vitascope.errors import BadMedia
from vitascope.media import Video, fitting, is_complete
from vitascope.media.fitting import Measure, Seen, cut
from vitascope.media.tones import HLG, PQ, nits, to_sdr
from vitascope.storybook import render, scene

CLIP = Measure(5, 32, 64, 8)


def counted(frames: int, height: int = 32, width: int = 64) -> torch.Tensor:
    """Grey frames, each 6 brighter than the one before, so that a picture tells which it is."""
    return (20 + 6 * torch.arange(frames))[:, None, None, None].expand(-1, height, width, 3).to(torch.uint8)


def taken(path: Path, measure: Measure = CLIP) -> tuple[Seen, list[np.ndarray]]:
    found: list[np.ndarray] = []
    return cut(path, measure, found.append), found


def told(windows: list[np.ndarray]) -> list[list[int]]:
    """Which of `counted`'s frames each picture of each window is."""
    return [[round((float(picture.mean()) - 20) / 6) for picture in window] for window in windows]


def timed(path: Path, times: list[Fraction], **options: Any) -> Path:
    """A film of `counted` frames shown at these seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for name, value in options.items():
            setattr(stream.codec_context, name, value)
        stream.codec_context.time_base = Fraction(1, 9000)
        for pixels, at in zip(counted(len(times)).numpy(), times):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            frame.pts, frame.time_base = round(at * 9000), Fraction(1, 9000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def changed(path: Path, mark: bytes, at: int, value: bytes) -> Path:
    """The file with bytes put `at` after the first `mark`."""
    data = bytearray(path.read_bytes())
    start = data.index(mark) + len(mark) + at
    data[start : start + len(value)] = value
    path.write_bytes(data)
    return path


PACES: list[tuple[int, int, list[list[int]]]] = [
    (8, 5, [[0, 1, 2, 3, 4]]),
    (8, 14, [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]),
    (16, 9, [[0, 2, 4, 6, 8]]),
    (24, 13, [[0, 3, 6, 9, 12]]),
    (4, 5, [[0, 0, 1, 1, 2], [2, 3, 3, 4, 4]]),
]
"""A film's rate and frames, and which of them the windows show."""


@pytest.mark.parametrize(
    ("suffix", "rate", "frames", "windows"),
    [
        (suffix, *pace)
        for suffix in (".mp4", ".webm", ".gif")
        for pace in PACES
        if suffix != ".gif" or pace[0] <= 8  # a GIF counts in hundredths of a second
    ],
)
def test_each_moment_shows_the_picture_that_is_nearest(
    tmp_path: Path, suffix: str, rate: int, frames: int, windows: list[list[int]]
) -> None:
    path = Video(counted(frames), rate).save(tmp_path / f"film{suffix}")
    shown = told(taken(path)[1])
    if rate == 4:  # half-way between two pictures either will do
        assert all(abs(a - b) <= 1 for pair in zip(shown, windows, strict=True) for a, b in zip(*pair))
        assert shown[0][::2] == [0, 1, 2]
    else:
        assert shown == windows


def test_a_film_of_variable_rate_keeps_its_pace(tmp_path: Path) -> None:
    # Three quick pictures, a long hold, two more: the hold fills the moments that it lasts.
    times = [Fraction(n, 8) for n in (0, 1, 2, 7, 8)]
    seen, found = taken(timed(tmp_path / "film.mp4", times), Measure(9, 32, 64, 8))
    assert told(found) == [[0, 1, 2, 2, 2, 3, 3, 3, 4]]
    assert seen.frames == 5
    jitter = [Fraction(n, 8) + Fraction((-1) ** n, 90) for n in range(9)]
    _, found = taken(timed(tmp_path / "jitter.mp4", jitter), Measure(9, 32, 64, 8))
    assert told(found) == [list(range(9))]


def test_a_film_of_the_right_measure_is_taken_as_it_is(tmp_path: Path) -> None:
    torch.manual_seed(0)
    frames = torch.nn.functional.interpolate(torch.rand(5, 3, 4, 8), (32, 64), mode="bicubic").clamp(0, 1) * 255
    path = Video(frames.to(torch.uint8).permute(0, 2, 3, 1).contiguous(), 8.0).save(tmp_path / "film.mp4")
    _, (window,) = taken(path)
    assert np.array_equal(window, Video.load(path).frames.numpy())


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 128), (128, 256), (16, 32), (50, 70)])
def test_a_picture_is_scaled_to_cover_the_window_and_cut_around_its_centre(
    tmp_path: Path, height: int, width: int
) -> None:
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    scale = max(32 / height, 64 / width)
    dot = ((x - (width - 1) / 2) ** 2 + (y - (height - 1) / 2) ** 2 < (8 / scale) ** 2).to(torch.uint8) * 235
    path = Video(dot[None, :, :, None].expand(5, -1, -1, 3).contiguous(), 8.0).save(tmp_path / "film.mp4")
    seen, (window,) = taken(path)
    assert (seen.width, seen.height) == (width, height)
    rows, columns = np.nonzero(window[2, ..., 1] > 118)
    assert abs(rows.mean() - 15.5) < 0.7  # a dot in the middle, and round
    assert abs(columns.mean() - 31.5) < 0.7
    assert np.ptp(rows) == pytest.approx(15, abs=1.5)
    assert np.ptp(columns) == pytest.approx(15, abs=1.5)


ONE = 1 << 16
TURNS = {
    "upright": ((1, 0, 0, 1), lambda p: p),
    "clockwise": ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),
    "upside down": ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    "anticlockwise": ((0, -1, 1, 0), lambda p: np.rot90(p, 1)),
    "mirrored": ((-1, 0, 0, 1), lambda p: p[:, ::-1]),
    "transposed": ((0, 1, 1, 0), lambda p: p.transpose(1, 0, 2)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_a_film_that_was_held_sideways_is_turned_upright(tmp_path: Path, turn: str) -> None:
    (a, b, c, d), wanted = TURNS[turn]
    corner = torch.zeros(5, 32, 64, 3, dtype=torch.uint8)
    corner[:, :10, :30] = 230
    path = Video(corner, 8.0).save(tmp_path / "film.mp4")
    matrix = struct.pack(">9i", a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, 0, 0, 1 << 30)
    changed(path, b"tkhd", 40, matrix)
    shown = wanted(corner[0].numpy())
    seen, (window,) = taken(path, Measure(5, shown.shape[0], shown.shape[1], 8))
    assert (seen.height, seen.width) == shown.shape[:2]
    assert np.abs(window[0].astype(int) - shown).mean() < 4


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    path = timed(tmp_path / "film.mp4", [Fraction(n, 8) for n in range(5)], sample_aspect_ratio=Fraction(2))
    seen, _ = taken(path)
    assert (seen.width, seen.height) == (128, 32)


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_a_high_dynamic_range_is_brought_down(tmp_path: Path, transfer: int) -> None:
    options = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9}
    path = timed(tmp_path / "film.mp4", [Fraction(n, 8) for n in range(37)], **options)
    seen, (window,) = taken(path, Measure(37, 32, 64, 8))
    assert seen.hdr
    code = counted(37).numpy().astype(np.float32)[:, 0, 0] / 255
    wanted = to_sdr((code * 65535).astype(np.uint16)[:, None], transfer)[:, 0]
    assert np.abs(window[:, 16, 32].astype(int) - wanted).max() <= 9
    assert np.abs(window[:, 16, 32].astype(int) - counted(37).numpy()[:, 0, 0]).max() > 8  # else nothing was done


def test_light_is_what_the_standards_say() -> None:
    # BT.2408, table 1: diffuse white of 203 nits is at 58 % of PQ and at 75 % of HLG; the ends are 0 and the peak.
    def grey(code: float) -> np.ndarray:
        return np.full((1, 1, 3), code, dtype=np.float32)

    assert nits(grey(0.5806), PQ)[0, 0] == pytest.approx([203] * 3, rel=0.01)
    assert nits(grey(0.75), HLG)[0, 0] == pytest.approx([203] * 3, rel=0.01)
    assert nits(grey(1.0), PQ)[0, 0] == pytest.approx([10_000] * 3, rel=1e-4)
    assert nits(grey(1.0), HLG)[0, 0] == pytest.approx([1000] * 3, rel=1e-3)
    for transfer in (PQ, HLG):
        ramp = np.linspace(0, 65535, 200).astype(np.uint16)[:, None, None].repeat(3, 2)
        shown = to_sdr(ramp, transfer)[:, 0, 0].astype(int)
        assert shown[0] == 0
        assert shown[-1] >= 250
        assert (np.diff(shown) >= 0).all()
    with pytest.raises(ValueError, match="expected the transfer"):
        nits(grey(0.5), 1)


# What is no film


def no_film(path: Path, measure: Measure = CLIP) -> str:
    with pytest.raises(BadMedia) as error:
        cut(path, measure, lambda window: None)
    said = str(error.value)
    assert said.startswith(f"{path}: ")
    assert said.endswith(".")
    assert "\n" not in said
    return said


def test_nothing_and_text_and_pages_are_no_films(tmp_path: Path) -> None:
    for content, why in (
        (b"", "the file is empty"),
        (b"this is a text\n" * 50, "cannot be read as a film"),
        (b"<!DOCTYPE html><html></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-LFS pointer"),
    ):
        (tmp_path / "film.mp4").write_bytes(content)
        assert why in no_film(tmp_path / "film.mp4")


def test_a_picture_is_no_film_whatever_its_name(tmp_path: Path) -> None:
    path = Video(counted(1), 1.0).save(tmp_path / "picture.png")
    path.rename(tmp_path / "film.mp4")
    assert "it is a PNG picture" in no_film(tmp_path / "film.mp4")


def test_a_single_frame_is_no_clip(tmp_path: Path) -> None:
    assert "a single picture" in no_film(Video(counted(1), 8.0).save(tmp_path / "film.mp4"))


def test_a_short_film_is_told_how_long_a_clip_is(tmp_path: Path) -> None:
    path = Video(counted(4), 8.0).save(tmp_path / "film.mp4")
    assert "it lasts 0.50 s and a clip 0.62 (5 frames, 8 a second)" in no_film(path)


def sound(path: Path, cover: bool = False) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("aac", rate=48000)
        picture: Any = container.add_stream("png", rate=1) if cover else None
        if picture:
            picture.width, picture.height, picture.pix_fmt = 64, 32, "rgb24"
            picture.disposition = Disposition.attached_pic
            container.mux(picture.encode(av.VideoFrame(64, 32, "rgb24")))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48000
        container.mux(stream.encode(silence))
        container.mux(stream.encode(None))
    return path


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    assert "there is no picture in it" in no_film(sound(tmp_path / "song.mp4"))
    assert "a cover, but no film" in no_film(sound(tmp_path / "covered.mp4", cover=True))


def with_sound(path: Path, frames: int, seconds: float) -> Path:
    """A film of random frames, 8 a second, beside so many seconds of silence."""
    draw = np.random.default_rng(0)
    kinds = ("libx264", "aac") if path.suffix == ".mp4" else ("libvpx-vp9", "libopus")
    options = {"movflags": "+faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        film: Any = container.add_stream(kinds[0], rate=8)
        film.width, film.height, film.pix_fmt = 64, 32, "yuv420p"
        sound: Any = container.add_stream(kinds[1], rate=48000)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(draw.integers(0, 255, (32, 64, 3), dtype=np.uint8), format="rgb24")
            frame.pts = index
            container.mux(film.encode(frame))
        for _ in range(round(seconds * 48000 / 960)):
            form = "fltp" if kinds[1] == "aac" else "s16"
            silence = av.AudioFrame(format=form, layout="stereo", samples=960)
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            silence.sample_rate = 48000
            container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        container.mux(film.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv"])
@pytest.mark.parametrize("seconds", [2.0, 8.0])
def test_a_film_may_have_sound_that_goes_on_and_is_still_seen_to_be_cut_off(
    tmp_path: Path, suffix: str, seconds: float
) -> None:
    path = with_sound(tmp_path / f"film{suffix}", 40, seconds)
    assert len(taken(path)[1]) == 8
    assert is_complete(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * 0.6)])
    assert "make the file again" in no_film(path)
    assert is_complete(path) is False


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
@pytest.mark.parametrize("share", [0.4, 0.7, 0.9])
def test_a_film_that_was_cut_off_is_noticed(tmp_path: Path, suffix: str, share: float) -> None:
    torch.manual_seed(0)
    noise = torch.randint(0, 255, (40, 32, 64, 3), dtype=torch.uint8)
    path = Video(noise, 8.0).save(tmp_path / f"film{suffix}")
    assert is_complete(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert "make the file again" in no_film(path)
    assert is_complete(path) is False


@pytest.mark.parametrize("suffix", [".mkv", ".avi"])
def test_packets_tell_whether_a_film_is_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film{suffix}"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for pixels in counted(40).numpy():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert is_complete(path)
    whole = path.read_bytes()
    for end in (len(whole) * 9 // 10, len(whole) * 7 // 10):
        path.write_bytes(whole[:end])
        assert is_complete(path) is False


def test_a_film_whose_last_picture_is_held_is_whole(tmp_path: Path) -> None:
    path = timed(tmp_path / "film.mp4", [*(Fraction(n, 25) for n in range(100)), Fraction(9)])
    assert is_complete(path)


def test_a_png_that_moves_is_a_film_and_its_end_is_missed(tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    with av.open(str(path), "w", format="apng") as container:
        stream = container.add_stream("apng", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "rgb24"
        for pixels in counted(10).numpy():
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert told(taken(path)[1]) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    whole = path.read_bytes()
    path.write_bytes(whole + b"\n")  # what comes behind the end is nobody's
    assert len(taken(path)[1]) == 2
    last = whole.rindex(b"fcTL") - 4  # where the last picture's part begins: all before it are whole
    for end in (len(whole) - 12, last, last - 40):
        path.write_bytes(whole[:end])
        assert "make the file again" in no_film(path)


def test_bytes_flipped_in_the_middle_are_noticed(tmp_path: Path) -> None:
    path = Video(render([scene(1, 1)], frames=33, height=64, width=128)[0], 16.0).save(tmp_path / "film.mp4")
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 500)
    data[middle] = bytes(byte ^ 0xFF for byte in data[middle])
    path.write_bytes(data)
    assert "make the file again" in no_film(path)


def test_a_film_that_says_it_lasts_for_years_is_refused(tmp_path: Path) -> None:
    path = timed(tmp_path / "film.mp4", [Fraction(n) for n in (0, 1, 2, 100_000)])
    assert "by its own clock it lasts over 60 minutes" in no_film(path)


def test_a_film_that_stands_still_is_refused_before_it_is_cut(tmp_path: Path) -> None:
    """Two pictures an hour apart would be a gigabyte of one clip."""
    windows: list[Any] = []
    for times in ([0, 3599], [0, 5, 11]):
        path = timed(tmp_path / "film.mp4", [Fraction(n) for n in times])
        with pytest.raises(
            BadMedia, match=rf"it shows {len(times)} pictures in \d+ s, so that clips of it would stand still"
        ):
            cut(path, Measure(5, 32, 64, 8), windows.append)
    assert windows == []
    assert taken(timed(tmp_path / "film.mp4", [Fraction(n) for n in (0, 2, 5)]))[0].frames == 3, "a short rest is none"


def test_damage_that_the_films_own_checksum_tells_is_noticed(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx265", rate=8, options={"x265-params": "hash=1:log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for _ in range(8):
            pixels = draw.integers(0, 255, (32, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    assert taken(path)[0].frames == 8
    data = bytearray(path.read_bytes())
    middle = slice(len(data) // 2, len(data) // 2 + 200)
    data[middle] = bytes(byte ^ 0xFF for byte in data[middle])
    path.write_bytes(data)
    assert "make the file again" in no_film(path)


def test_a_picture_without_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Video(counted(5), 8.0).save(tmp_path / "film.mp4")
    monkeypatch.setattr(fitting, "MOST_PIXELS", 64 * 32 - 1)
    assert "its pictures are 64x32" in no_film(path)


def test_a_few_bytes_that_promise_an_endless_picture_are_refused(tmp_path: Path) -> None:
    # A GIF of 16000x16000: most of a gigabyte as soon as it is unpacked.
    head = b"GIF89a" + struct.pack("<HHBBB", 16000, 16000, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 16000, 16000, 0) + b"\x02\x02\x44\x01\0"
    (tmp_path / "bomb.gif").write_bytes(head + 5 * (b"\x21\xf9\x04\0\x0c\0\0\0" + picture) + b";")
    assert (tmp_path / "bomb.gif").stat().st_size < 200
    assert "its pictures are 16000x16000" in no_film(tmp_path / "bomb.gif")


def test_a_sliver_is_refused(tmp_path: Path) -> None:
    path = Video(counted(5, height=2, width=1024), 8.0).save(tmp_path / "film.mp4")
    assert "would be a sliver" in no_film(path)
