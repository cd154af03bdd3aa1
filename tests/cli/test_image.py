"""Films that begin with a picture: from a file or from another film's end, told by the record, refused in a sentence."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope.engine import hashed
from vitascope.errors import BadMedia
from vitascope.media import Video, fitted, is_complete, picture, record_of

Run = Callable[..., Any]
PROMPT = "a red ball bounces on the sea"


def draw(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def saved(path: str, frames: int = 1, height: int = 32, width: int = 48, seed: int = 0) -> torch.Tensor:
    pixels = torch.stack([draw(height, width, seed + k) for k in range(frames)])
    Video(pixels, 8.0).save(path)
    return pixels


def test_a_film_begins_with_a_picture_and_its_record_names_it(vitascope: Run, toy: Path) -> None:
    saved("start.png")
    saved("other.png", seed=9)
    for name, start in (("a.mp4", "start.png"), ("b.mp4", "start.png"), ("c.mp4", "other.png")):
        told = vitascope("generate", PROMPT, "--model", toy, "--seed", "1", "--image", start, "--output", name)
        assert (told.code, told.out) == (0, f"{name}\n")
    assert vitascope("generate", PROMPT, "--model", toy, "--seed", "1", "--output", "d.mp4").code == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    frames = {name: picture(name) for name in ("a.mp4", "c.mp4", "d.mp4")}
    assert not torch.equal(frames["a.mp4"], frames["c.mp4"])
    assert not torch.equal(frames["a.mp4"], frames["d.mp4"])
    assert record_of("a.mp4")["shot"]["image"].startswith("sha256:")
    assert "image" not in record_of("d.mp4")["shot"]


def test_a_film_goes_on_from_another_ones_last_frame(vitascope: Run, toy: Path) -> None:
    one = vitascope("generate", PROMPT, "--model", toy, "--seed", "1", "--output", "one.mp4")
    two = vitascope("generate", PROMPT, "--model", toy, "--seed", "2", "--image", "one.mp4", "--output", "two.mp4")
    assert (one.code, two.code) == (0, 0)
    last = Video.load("one.mp4").frames[-1]
    assert torch.equal(picture("one.mp4"), last)
    assert record_of("two.mp4")["shot"]["image"] == hashed(fitted(last, 32, 48))


def test_it_is_made_again_with_the_picture_and_only_with_it(vitascope: Run, toy: Path) -> None:
    saved("start.png", height=50, width=50)
    saved("other.png", seed=9)
    first = ("generate", PROMPT, "--model", toy, "--seed", "1", "--image", "start.png", "--output", "a.mp4")
    assert vitascope(*first).code == 0
    again = vitascope("generate", "--from", "a.mp4", "--model", toy, "--image", "start.png", "--output", "b.mp4")
    assert again.code == 0
    assert Path("a.mp4").read_bytes() == Path("b.mp4").read_bytes()
    told = vitascope("generate", "--from", "a.mp4", "--model", toy, "--output", "c.mp4")
    assert (told.code, told.out) == (2, "")
    assert "give it with --image" in told.err[-1]
    assert (
        vitascope("generate", "--from", "a.mp4", "--model", toy, "--image", "other.png", "--output", "d.mp4").code == 0
    )
    assert not Path("c.mp4").exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "there is no such file"),
        (b"", "the file is empty"),
        (b"a text", "cannot be read"),
        (b"<html>", "a web page"),
    ],
)
def test_what_is_no_picture_is_refused(vitascope: Run, toy: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        Path("start.png").write_bytes(content)
    told = vitascope("generate", PROMPT, "--model", toy, "--image", "start.png", "--output", "a.mp4")
    assert (told.code, told.out) == (2, "")
    assert why in told.err[-1]
    assert not Path("a.mp4").exists()


def test_a_picture_stands_upright_and_on_white(tmp_path: Path) -> None:
    import av
    import numpy as np

    with av.open(str(tmp_path / "clear.png"), "w") as out:  # transparent on the left, red on the right
        stream = out.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "rgba"
        pixels = np.zeros((16, 32, 4), np.uint8)
        pixels[:, 16:] = (255, 0, 0, 255)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgba")))
        out.mux(stream.encode())
    seen = picture(tmp_path / "clear.png")
    assert seen[0, 0].tolist() == [255, 255, 255]
    assert seen[0, 31].tolist() == [255, 0, 0]
    turned = tmp_path / "phone.jpg"
    turned.write_bytes(with_orientation(jpeg(tmp_path), 6))
    upright, lying = picture(turned), picture(tmp_path / "plain.jpg")
    assert lying.shape == (16, 32, 3)
    # Orientation 6: the first row of the file is the right side of the picture.
    assert upright.shape == (32, 16, 3)
    torch.testing.assert_close(upright.float(), lying.rot90(-1, (0, 1)).float(), atol=2, rtol=0)


@pytest.mark.parametrize("name", ["photo.jpg", "photo.JPEG", "photo"])
def test_a_photograph_of_any_size_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    data = jpeg(tmp_path, 320, 240)
    assert len(data) > 3000  # a small one is recognised by its whole content
    (tmp_path / name).write_bytes(data)
    seen = picture(tmp_path / name)
    assert seen.shape == (240, 320, 3)
    assert float(seen[:, :150].float().mean()) < 80 < 180 < float(seen[:, 170:].float().mean())


@pytest.mark.parametrize("thumbnail", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_photograph_that_is_cut_off_is_refused(tmp_path: Path, share: float, thumbnail: bool) -> None:
    data = jpeg(tmp_path, 320, 240)
    if thumbnail:  # it ends with the mark that the picture ends with
        small = jpeg(tmp_path)
        data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + data[2:]
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(data + b"\0\0")  # some writers leave a little behind the end
    assert picture(photo).shape == (240, 320, 3)
    assert is_complete(photo)
    photo.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(BadMedia, match="it ends too early"):
        picture(photo)
    assert is_complete(photo) is False


@pytest.mark.parametrize(("codec", "kind"), [("bmp", "bgr24"), ("tiff", "rgb24"), ("png", "rgb24"), ("apng", "rgb24")])
def test_pictures_of_other_programs_are_read_to_the_pixel(tmp_path: Path, codec: str, kind: str) -> None:
    import av
    import numpy as np

    moments = np.random.default_rng(1).integers(0, 256, (3 if codec == "apng" else 1, 48, 64, 3)).astype(np.uint8)
    path = tmp_path / f"a.{codec}"
    with av.open(str(path), "w", format="apng" if codec == "apng" else "image2") as out:
        stream: Any = out.add_stream(codec, rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, kind
        for pixels in moments:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=kind)))
        out.mux(stream.encode())
    assert picture(path).tolist() == moments[-1].tolist()  # of a film its last picture is taken


def jpeg(folder: Path, width: int = 32, height: int = 16) -> bytes:
    """A picture whose left half is dark, with some grain."""
    import av
    import numpy as np

    path = folder / "plain.jpg"
    with av.open(str(path), "w", format="image2") as out:
        stream = out.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj444p"
        grain = np.random.default_rng(0).integers(-2, 3, (height, width, 3))
        pixels = np.full((height, width, 3), 220) + grain
        pixels[:, : width // 2] -= 190
        pixels = pixels.astype(np.uint8)
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuvj444p")))
        out.mux(stream.encode())
    return path.read_bytes()


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A JPEG that says in its Exif part how it is to be turned."""
    tag = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    body = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + tag + struct.pack(">I", 0)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def test_a_film_of_one_frame_is_told_to_be_the_picture(vitascope: Run, toy: Path) -> None:
    saved("start.png")
    told = vitascope("generate", PROMPT, "--model", toy, "--frames", "1", "--image", "start.png", "--output", "a.png")
    assert told.code == 0
    assert any("is that picture" in line for line in told.err)


def test_a_model_that_never_learned_to_begin_is_refused(vitascope: Run, textual: Path) -> None:
    saved("start.png")
    told = vitascope("generate", PROMPT, "--model", textual, "--image", "start.png", "--output", "a.mp4")
    assert (told.code, told.out) == (2, "")
    assert "was not trained to begin with a picture" in told.err[-1]
    assert not Path("a.mp4").exists()


def test_a_picture_is_scaled_to_cover_and_cut_around_its_middle() -> None:
    whole = draw(32, 48)
    assert torch.equal(fitted(whole, 32, 48), whole)
    ramp = torch.arange(100, dtype=torch.uint8)[None, :, None].expand(40, 100, 3)
    cut = fitted(ramp, 40, 20)
    assert cut.shape == (40, 20, 3)
    assert cut[0, :, 0].tolist() == list(range(40, 60))
    thin = torch.zeros(1, 60_000, 3, dtype=torch.uint8)
    thin[0, 30_000] = 255  # enlarged as a whole it would take gigabytes
    assert fitted(thin, 32, 48).shape == (32, 48, 3)
    assert int(fitted(thin, 32, 48).max()) > 200
    small = fitted(ramp, 20, 50)
    torch.testing.assert_close(small[10, 5:45, 0].float(), torch.arange(5, 45) * 2.0 + 0.5, atol=1.0, rtol=0)
    assert fitted(draw(7, 9), 64, 96).shape == (64, 96, 3)
