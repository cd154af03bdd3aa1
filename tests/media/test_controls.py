"""What steers a film, out of files: the right frames at the right size, or one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope.errors import BadMedia
from vitascope.media import write
from vitascope.media.controls import control, control_length, control_mask


def shades(count: int, height: int = 32, width: int = 48) -> Tensor:
    """Each frame of one grey, 10 brighter than the one before; the left half black."""
    frames = (20 + 10 * torch.arange(count)).view(-1, 1, 1, 1).expand(count, height, width, 3).to(torch.uint8).clone()
    frames[:, :, : width // 2] = 0
    return frames


def saved(path: Path, frames: Tensor, fps: float = 8) -> Path:
    if path.suffix == ".png":
        from PIL import Image

        Image.fromarray(frames[0].numpy()).save(path)
    else:
        write(path, [frames], fps)
    return path


def right(film: Tensor) -> list[float]:
    """The mean of each frame's right half."""
    return film[:, :, film.shape[2] // 2 + 4 :].float().flatten(1).mean(1).tolist()


def test_a_film_is_taken_frame_by_frame(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mp4", shades(12))
    film = control(path, 9, 32, 48)
    assert film.shape == (9, 32, 48, 3)
    assert film.dtype == torch.uint8
    assert right(film) == pytest.approx([20 + 10 * i for i in range(9)], abs=4)
    assert [control_length(path, fps) for fps in (None, 8, 4, 16, 0.1)] == [12, 12, 6, 24, 1]
    slow = control(path, 5, 16, 24, fps=4)
    assert right(slow) == pytest.approx([20 + 10 * i for i in (0, 2, 4, 6, 8)], abs=12), "every second picture"
    with pytest.raises(BadMedia, match="it gives 12 frames, at 8 a second, and 13 are wanted; give a longer film"):
        control(path, 13, 32, 48)
    with pytest.raises(BadMedia, match="it gives 6 frames, at 4 a second, and 9 are wanted"):
        control(path, 9, 32, 48, fps=4)


def test_it_covers_the_frame_and_is_cut_around_its_middle(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mp4", shades(5, 32, 96))
    film, mask = control(path, 5, 32, 32), control_mask(path, 5, 32, 32)
    assert film[:, :, :12].float().mean() < 6
    assert right(film) == pytest.approx([20 + 10 * i for i in range(5)], abs=4)
    assert torch.equal(mask, film[..., 0])


def test_a_folder_of_pictures_is_read_by_its_numbers(tmp_path: Path) -> None:
    frames = shades(11)
    for i, frame in enumerate(frames):
        saved(tmp_path / f"f{i}.png", frame[None])
    (tmp_path / "notes.txt").write_text("not a picture")
    film = control(tmp_path, 11, 32, 48)
    assert torch.equal(film, frames)
    assert control_length(tmp_path) == control_length(tmp_path, 16) == 11
    assert control_mask(tmp_path, 5, 32, 48).shape == (5, 32, 48)
    with pytest.raises(BadMedia, match="it holds 11 pictures and 13 frames are wanted; add pictures"):
        control(tmp_path, 13, 32, 48)


def test_one_picture_is_a_mask_for_all_frames(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", shades(1) * 10)
    mask = control_mask(path, 9, 16, 24)
    assert mask.shape == (9, 16, 24)
    assert mask[:, :, :10].eq(0).all()
    assert mask[:, :, 14:].eq(200).all()
    assert control(path, 1, 16, 24).shape == (1, 16, 24, 3)
    with pytest.raises(BadMedia, match="it is one picture and 5 frames are wanted; give a film"):
        control(path, 5, 16, 24)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadMedia, match="there is no picture in this folder"):
        control(tmp_path, 5, 16, 24)
    with pytest.raises(BadMedia, match="there is no such file"):
        control(tmp_path / "none.mp4", 5, 16, 24)
    (tmp_path / "bad.mp4").write_bytes(b"not a film at all" * 50)
    with pytest.raises(BadMedia, match=r"bad\.mp4: it cannot be read as a film"):
        control(tmp_path / "bad.mp4", 5, 16, 24)
    (tmp_path / "bad.png").write_bytes(b"not a picture at all" * 50)
    with pytest.raises(BadMedia, match=r"bad\.png: it cannot be read as a picture or a film"):
        control_mask(tmp_path / "bad.png", 5, 16, 24)
    with pytest.raises(BadMedia, match="that is an address"):
        control_mask("https://example.org/a.mp4", 5, 16, 24)
