"""Components beside a codec: the more of them, the more is left, and wrong flags are told."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from vitascope import bundle
from vitascope.bench import components
from vitascope.bench.components import linear, quickened
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.evaluation.fidelity import fidelity
from vitascope.evaluation.scenes import real, scenes
from vitascope.media.pictures import picture as read
from vitascope.pixels import to_pixels
from vitascope.recipe import Recipe
from vitascope.training.beginning import complete, fresh


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the sizes of `tiny`, untrained."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    bundle.save(folder, fresh(complete(Recipe.read("tiny"))))
    return folder


def test_more_components_leave_more(folder: Path) -> None:
    engine = Engine.load(folder)
    left = []
    for count in (1, 8, 64):
        left.append(fidelity(linear(engine, count, 6), 4))
    assert left[0].psnr < left[1].psnr - 1 < left[2].psnr - 3
    assert left[0].thin < left[1].thin < left[2].thin <= 1


def test_clips_of_twice_the_rate_are_cut_into_blocks_of_twice_the_length(folder: Path) -> None:
    slow = Engine.load(folder)
    fast = quickened(slow, 2)
    video, faster = slow.recipe.video, fast.recipe.video
    assert (faster.frames - 1, faster.fps) == (2 * (video.frames - 1), 2 * video.fps)
    assert (faster.frames - 1) / faster.fps == (video.frames - 1) / video.fps
    assert quickened(slow, 1).recipe == slow.recipe
    films = real(faster, scenes(2, world=slow.recipe.world))
    (time, *sides), (long, *same) = slow.recipe.codec.stride, linear(fast, 8, 2, 2).codec.stride
    assert (long, same) == (2 * time, sides)
    few, many = (linear(fast, 8, 6, rate) for rate in (2, 1))
    assert few.codec.encode(to_pixels(films)).shape[2] == 1 + (faster.frames - 1) // long
    assert fidelity(few, 4).psnr < fidelity(many, 4).psnr, "8 numbers for twice the frames leave less of each"


def test_the_table_has_a_row_for_each_codec_and_the_sheet_a_row_for_each_clip(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = [
        "--model",
        str(folder),
        "--clips",
        "2",
        "--fitted",
        "3",
        "--components",
        "4, 16",
        "--rate",
        "2",
        "--sheet",
        str(tmp_path / "a.png"),
    ]
    monkeypatch.setattr(components, "probe_for", lambda engine: _Reader())
    monkeypatch.setattr(sys, "argv", ["components", *flags])
    components.main()
    told = capsys.readouterr().out
    rows = [line.split("\u2502")[1].strip() for line in told.splitlines() if line.startswith("\u2502")]
    assert rows == ["none", "its own", "z = 4", "z = 16"]
    assert "100.0%" in told
    height, width, _ = read(tmp_path / "a.png").shape
    assert width / 64 == pytest.approx(4, abs=0.5)
    assert height / 32 == pytest.approx(2, abs=0.5)


class _Reader:
    """In place of a probe: it reads one thing in everything."""

    config = SimpleNamespace(attributes={"light": ("day", "night")})

    @staticmethod
    def read(films: object) -> list[dict[str, str]]:
        return [{"light": "day"}] * len(films)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--components", "many"], "--components many: these are whole numbers"),
        (["--components", "16,\u00b2"], "--components 16,\u00b2: these are"),
        (["--components", "4,900", "--fitted", "1"], "--components 900: "),
        (["--components", "0"], "--components 0: these are"),
        (["--clips", "0"], "--clips 0: without clips"),
        (["--fitted", "-1"], "--fitted -1: without clips"),
        (["--rate", "0"], "--rate 0: it says"),
        (["--rate", "3"], "--rate 3: blocks of 12x8x8 pixels are not to be had"),
        (["--rate", "4"], "--rate 4: blocks of 16x8x8 pixels are not to be had"),
        (["--sheet", "a.jpg"], "--sheet a.jpg: a contact sheet is a picture"),
    ],
)
def test_wrong_flags_are_told(
    flags: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components, "probe_for", lambda engine: _Reader())
    monkeypatch.setattr(sys, "argv", ["components", "--model", str(folder), *flags])
    with pytest.raises(SystemExit) as stopped:
        components.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_a_block_has_no_more_components_than_values(folder: Path) -> None:
    with pytest.raises(BadShot, match=r"--components 769: .*ask for fewer"):
        linear(Engine.load(folder), 769, 2)
