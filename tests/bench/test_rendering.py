"""The table of rendering: a row for each way, rates that are clips by seconds, and refusals in a sentence."""

from __future__ import annotations

import pytest
import torch

from vitascope.bench import rendering as bench
from vitascope.data import rendering

TINY = ["--clips", "6", "--frames", "3", "--height", "16", "--width", "24", "--processes", "2"]


def rows(told: str) -> list[list[str]]:
    """The cells of the table, without its head."""
    return [
        [cell.strip() for cell in line.strip("\u2502").split("\u2502")]
        for line in told.splitlines()
        if line[:1] == "\u2502"
    ]


def test_the_clips_are_those_that_were_asked_for() -> None:
    parts = bench.jobs(20, "first", (3, 16, 24))
    assert [index for _, indices, *_ in parts for index in indices] == list(range(20))
    assert {(split, world, shape) for _, _, split, world, shape in parts} == {("train", "first", (3, 16, 24))}


@pytest.mark.parametrize("world", ["first", "whole"])
def test_few_clips_are_drawn_by_one_process_and_that_is_told(world: str, capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*TINY, "--world", world])
    told = capsys.readouterr().out
    (row,) = rows(told)
    assert row[0] == f"one process, {torch.get_num_threads()} thread" + "s" * (torch.get_num_threads() > 1)
    assert float(row[3]) > 0
    assert f"6 clips of the {world} world, 24x16x3" in told
    assert f"Fewer than {rendering.WORTHWHILE} clips" in told
    assert "15 clips a second" in told


def test_several_processes_have_a_row_of_their_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rendering, "WORTHWHILE", 4)
    monkeypatch.setattr(bench, "CHUNK", 2)
    bench.main(TINY)
    told = capsys.readouterr().out
    one, both = rows(told)
    assert one[0].startswith("one process")
    assert both[0] == "2 processes"
    assert float(both[2]) <= float(both[1])
    assert "Fewer than" not in told


def test_a_rate_is_clips_by_seconds() -> None:
    took = bench.drawn(bench.jobs(9, "first", (2, 16, 16)), "cpu", 1)
    assert took.clips == 9
    assert 0 < took.began <= took.seconds
    assert took.busy > 0


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--clips", "0"], "--clips 0: there is nothing to draw"),
        (["--height", "7"], "ask for at least 8"),
        (["--processes", "-1"], "ask for at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_sentence(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main([*TINY, *flags])
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert (told.out, len(told.err.splitlines())) == ("", 1)
    assert said in told.err


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_there_is_no_figure_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        bench.main([*TINY, "--device", "cuda"])
    assert stopped.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == ("vitascope: --device cuda: this machine has no GPU that torch can use; leave --device out.\n")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_a_row_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    bench.main([*TINY, "--device", "cuda"])
    assert [row[0] for row in rows(capsys.readouterr().out)][1:] == [torch.cuda.get_device_name()]
