"""Whether a film is whole: all that read films say the same of a file, and a film that is only unusual is not refused."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vitascope.errors import BadMedia
from vitascope.media import Video, is_complete, picture
from vitascope.media.fitting import Measure, cut

FRAMES, RATE = 48, 24
Pixels = NDArray[np.uint8]


def noise(frames: int = FRAMES) -> Pixels:
    return np.random.default_rng(0).integers(0, 255, (frames, 32, 64, 3), dtype=np.uint8)


def silence(codec: str, samples: int) -> av.AudioFrame:
    frame = av.AudioFrame(format="fltp" if codec == "aac" else "s16", layout="stereo", samples=samples)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.sample_rate = 48000
    return frame


def made(
    path: Path,
    codec: str,
    sound: str | None = None,
    times: list[int] | None = None,
    options: dict[str, str] | None = None,
    **encoding: str,
) -> Path:
    """Noise at `times`, in frames of 1 / RATE s, beside as much silence."""
    times = list(range(FRAMES)) if times is None else times
    form = "apng" if codec == "apng" else None
    muxing = {"movflags": "+faststart"} if path.suffix == ".mp4" and options is None else options or {}
    with av.open(str(path), "w", format=form, options=muxing) as container:
        film: Any = container.add_stream(codec, rate=RATE, options=encoding)
        film.width, film.height = 64, 32
        film.pix_fmt = {"gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
        film.codec_context.time_base = Fraction(1, RATE)
        heard: Any = container.add_stream(sound, rate=48000) if sound else None
        for pixels, at in zip(noise(len(times)), times):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, RATE)
            container.mux(film.encode(frame))
            if heard:
                container.mux(heard.encode(silence(heard.codec.name, 48000 // RATE)))
        container.mux(film.encode(None))
        if heard:
            container.mux(heard.encode(None))
    return path


def copied(source: Path, target: Path, frames: float, **options: str) -> Path:
    """The film of another file, not made anew, that many frames later."""
    with av.open(str(source)) as given, av.open(str(target), "w", options=options) as container:
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            later = round(Fraction(frames) / RATE / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
            container.mux(packet)
    return target


FILMS: dict[str, tuple[str, str, str | None]] = {
    "mp4": (".mp4", "libx264", None),
    "mp4 with sound": (".mp4", "libx264", "aac"),
    "mkv": (".mkv", "libx264", None),
    "mkv with sound": (".mkv", "libx264", "aac"),
    "webm": (".webm", "libvpx-vp9", None),
    "webm with sound": (".webm", "libvpx-vp9", "libopus"),
    "avi": (".avi", "mpeg4", None),
    "avi with sound": (".avi", "mpeg4", "mp2"),
    "ts": (".ts", "libx264", None),
    "ts with sound": (".ts", "libx264", "mp2"),
    "gif": (".gif", "gif", None),
    "apng": (".png", "apng", None),
}
"""How each is made: the end of its name, its codec, that of its sound."""

CALLERS: dict[str, Callable[[Path], object]] = {
    "load": lambda path: len(Video.load(path).frames),
    "cut": lambda path: cut(path, Measure(5, 32, 64, RATE), lambda window: None).frames,
    "picture": lambda path: picture(path).shape,
    "is_complete": is_complete,
}
READERS = [name for name in CALLERS if name != "is_complete"]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("films")
    return {
        name: made(folder / f"film{suffix}", codec, sound).read_bytes()
        for name, (suffix, codec, sound) in FILMS.items()
    }


def cut_off(folder: Path, name: str, data: bytes, share: float) -> Path:
    path = folder / f"film{FILMS[name][0]}"
    path.write_bytes(data[: round(len(data) * share)])
    return path


def said(caller: str, path: Path) -> object:
    """What a caller gives, or the sentence it refuses with."""
    try:
        return CALLERS[caller](path)
    except BadMedia as error:
        return str(error)


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("share", [1, 0.7, 0.5])
@pytest.mark.parametrize("name", [name for name in FILMS if not name.startswith("ts")])
def test_all_callers_agree_on_a_film_that_says_how_long_it_is(
    tmp_path: Path, films: dict[str, bytes], name: str, share: float, caller: str
) -> None:
    path = cut_off(tmp_path, name, films[name], share)
    found = said(caller, path)
    if share == 1:
        assert found == {"picture": (32, 64, 3), "is_complete": True}.get(caller, FRAMES)
    elif caller == "is_complete":
        assert found is False
    else:
        assert str(found).startswith(f"{path}: it ")
        assert str(found).endswith("; fetch or make the file again.")


@pytest.mark.parametrize("share", [1, 0.9, 0.7, 0.5])
@pytest.mark.parametrize("name", ["ts", "ts with sound"])
def test_a_transport_stream_is_refused_for_damage_alone(
    tmp_path: Path, films: dict[str, bytes], name: str, share: float
) -> None:
    path = cut_off(tmp_path, name, films[name], share)
    found = [said(caller, path) for caller in READERS]
    assert is_complete(path) is None, "it says nothing of its length"
    if isinstance(found[0], str):  # its last picture is in pieces
        assert share < 1
        assert all(str(one).endswith("; fetch or make the file again.") for one in found)
    else:
        assert found == [found[0], found[0], (32, 64, 3)]


@pytest.mark.parametrize("name", ["ts", "ts with sound"])
def test_a_transport_stream_that_ends_between_two_pictures_is_read(
    tmp_path: Path, films: dict[str, bytes], name: str
) -> None:
    path = cut_off(tmp_path, name, films[name], 1)
    with av.open(str(path)) as container:
        starts = [packet.pos for packet in container.demux(video=0) if packet.size]
    path.write_bytes(films[name][: starts[FRAMES // 2]])
    assert [said(caller, path) for caller in CALLERS] == [FRAMES // 2, FRAMES // 2, (32, 64, 3), None]


@pytest.mark.parametrize("caller", CALLERS)
def test_one_lost_picture_is_missed_where_the_file_counts_them(
    tmp_path: Path, films: dict[str, bytes], caller: str
) -> None:
    path = cut_off(tmp_path, "mp4", films["mp4"], 1)
    with av.open(str(path)) as container:
        last = max(packet.pos or 0 for packet in container.demux(video=0) if packet.size)
    path.write_bytes(films["mp4"][:last])
    found = said(caller, path)
    assert found is False or f"it ends too early, after frame {FRAMES - 1}" in str(found)


def unusual(folder: Path) -> dict[str, tuple[Path, int, bool | None]]:
    """Whole films that an eager rule would refuse; how many frames each shows, and whether it can be told that it is whole."""
    gaps = [*range(20), 40, 41, 42]
    plain = made(folder / "plain.mp4", "libx264")
    straight = made(folder / "straight.mp4", "libx264", bf="0", g="6")
    trim: dict[str, str] = {"avoid_negative_ts": "disabled", "movflags": "+faststart"}
    tail = folder / "tail.mp4"
    data = bytearray(plain.read_bytes())
    length = data.index(b"elst") + 12
    data[length : length + 4] = (1500).to_bytes(4, "big")  # of 2000 ms
    tail.write_bytes(data)
    bare = made(folder / "bare.mkv", "libx264", "aac")
    bare.write_bytes(bare.read_bytes().replace(b"DURATION", b"DURATIOX"))
    held = {kind: folder / f"held.{kind}" for kind in ("mp4", "mkv")}
    for kind, path in held.items():
        with (
            av.open(str(plain)) as given,
            av.open(str(path), "w", format="matroska" if kind == "mkv" else kind) as film,
        ):
            stream = film.add_stream_from_template(given.streams.video[0])
            packets = [packet for packet in given.demux(video=0) if packet.dts is not None]
            last = max(packets, key=lambda packet: packet.pts or 0)
            last.duration = 2 * RATE * (last.duration or 0)
            for packet in packets:
                packet.stream = stream
                film.mux(packet)
    return {
        "trimmed at the start": (copied(plain, folder / "start.mp4", -12, **trim), 36, True),
        "trimmed within a picture": (copied(straight, folder / "within.mp4", -12.5, **trim), 35, True),
        "trimmed at the end": (tail, 36, True),
        "a start that is late": (copied(plain, folder / "late.mkv", 24, avoid_negative_ts="disabled"), FRAMES, True),
        "gaps in an avi": (made(folder / "gaps.avi", "mpeg4", times=gaps), len(gaps), True),
        "gaps in an mkv": (made(folder / "gaps.mkv", "libx264", times=gaps), len(gaps), True),
        "gaps in an mp4": (made(folder / "gaps.mp4", "libx264", times=gaps), len(gaps), True),
        "a last picture that is held, in an mp4": (held["mp4"], FRAMES, True),
        "a last picture that is held, in an mkv": (held["mkv"], FRAMES, True),
        "fragments": (made(folder / "a.mp4", "libx264", options={"movflags": "+frag_keyframe"}, g="8"), FRAMES, None),
        "fragments under a common index": (
            made(folder / "b.mp4", "libx264", options={"movflags": "+dash+global_sidx", "frag_duration": "300000"}),
            FRAMES,
            None,
        ),
        "a live mkv": (made(folder / "live.mkv", "libx264", options={"live": "1"}), FRAMES, None),
        "the sound's length alone": (bare, FRAMES, None),
    }


def test_a_film_that_is_only_unusual_is_read(tmp_path: Path) -> None:
    for name, (path, frames, whole) in unusual(tmp_path).items():
        found = [said(caller, path) for caller in CALLERS]
        assert found == [frames, frames, (32, 64, 3), whole], name


@pytest.mark.parametrize("share", [0.9, 0.8])
def test_a_trimmed_film_that_was_cut_off_is_noticed(tmp_path: Path, share: float) -> None:
    path, *_ = unusual(tmp_path)["trimmed at the start"]
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])
    for caller in READERS:
        assert str(said(caller, path)).endswith("; fetch or make the file again."), caller
    assert is_complete(path) is False


@pytest.mark.parametrize("share", [0.02, 0.1, 0.2, 0.35, 0.5, 0.8, 0.95])
def test_of_a_film_in_fragments_that_was_cut_off_it_is_never_told_that_it_is_whole(
    tmp_path: Path, share: float
) -> None:
    path, *_ = unusual(tmp_path)["fragments"]
    data = path.read_bytes()
    path.write_bytes(data[: max(round(len(data) * share), data.index(b"moof") - 4)])
    assert is_complete(path) is not True


def test_a_film_in_fragments_that_ends_before_the_first_is_read_and_not_called_whole(tmp_path: Path) -> None:
    path, *_ = unusual(tmp_path)["fragments"]
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moof") - 4])
    assert is_complete(path) is None
    frames, _, last = [said(caller, path) for caller in READERS]
    assert last == (32, 64, 3)
    assert isinstance(frames, int)
    assert frames < FRAMES, "those that the head counts"


@pytest.mark.parametrize("behind", [b"\0", b"\n", b" \r\n\0\0", b""])
@pytest.mark.parametrize("name", ["gif", "apng"])
def test_what_some_writers_leave_behind_a_pictures_mark_is_nobodys(
    tmp_path: Path, films: dict[str, bytes], name: str, behind: bytes
) -> None:
    path = cut_off(tmp_path, name, films[name] + behind, 1)
    assert [said(caller, path) for caller in CALLERS] == [FRAMES, FRAMES, (32, 64, 3), True]
    path.write_bytes(films[name][:-20] + behind)
    assert is_complete(path) is False


def test_a_damaged_picture_is_not_gone_on_from(tmp_path: Path, films: dict[str, bytes]) -> None:
    """What a decoder paints over a hole is no frame to begin with."""
    path = cut_off(tmp_path, "avi", films["avi"], 0.7)
    with pytest.raises(
        BadMedia, match=r"it (is damaged|ends too early,) after frame \d+; fetch or make the file again"
    ):
        picture(path)
