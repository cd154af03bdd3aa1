"""The bench of weights: both ways begin at the same film, and differ where something is weighed."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
import torch

from vitascope.bench import emphasis
from vitascope.bench.emphasis import by_embedding, by_field, moved, panning
from vitascope.emphasis import weighed
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.evaluation.steering import stressed
from vitascope.media.pictures import picture as read
from vitascope.shot import Shot
from vitascope.text import ClipText


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def test_without_a_weight_both_ways_make_the_film_of_the_prompt(engine: Engine) -> None:
    def shot(prompt: str) -> Shot:
        return engine.prepare(Shot(prompt=prompt, steps=2, seed=3))

    *_, last = engine.sample(shot("a ball, the camera pans left"))
    torch.testing.assert_close(by_embedding(engine, shot("a ball, (the camera pans left:1)")), last.x)
    assert torch.equal(by_field(engine, shot("a ball, (the camera pans left:1)")), last.x)
    weighed_ = shot("a ball, (the camera pans left:2)")
    assert (by_field(engine, weighed_) - by_embedding(engine, weighed_)).abs().max() > 0.1


def test_the_tokens_of_the_phrase_are_moved_and_no_others(engine: Engine) -> None:
    text = engine.text
    assert isinstance(text, ClipText)
    plain, told = text(["a ball, the camera pans left"])["context"], moved(text, "a ball, (the camera pans left:2)")
    empty = text([""])["context"][0, 0]
    assert torch.equal(told["context"][0, [0, 1, 6]], plain[0, [0, 1, 6]])
    torch.testing.assert_close(told["context"][0, 2:6] - empty, 2 * (plain[0, 2:6] - empty))
    with pytest.raises(BadShot, match="'ball' comes 2 times"):
        moved(text, "a (ball:2) and a ball")


def test_scenes_pan_and_say_so(engine: Engine) -> None:
    found = list(itertools.islice(panning(engine.recipe.world), 20))
    assert {one.camera for one in found} == {"pans left", "pans right"}
    for one in found:
        (phrase,) = weighed(stressed(one, "camera", 2.0)).phrases
        assert "pans" in phrase.text


def test_the_table_has_a_row_for_each_way_and_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["emphasis", "--films", "1", "--steps", "1", "--sheet", str(tmp_path / "a.png")])
    monkeypatch.setattr(emphasis, "WEIGHTS", (1.0, 2.0))
    emphasis.main()
    told = capsys.readouterr().out
    rows = [line.split("│")[1:3] for line in told.splitlines() if line.count("│") > 2]
    assert [(way.strip(), weight.strip()) for way, weight in rows] == [
        ("no", "1"), ("the field", "2"), ("embeddings", "2"),
    ]  # fmt: skip
    assert read(tmp_path / "a.png").shape[2] == 3


def test_what_cannot_be_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["emphasis", "--films", "0"])
    with pytest.raises(SystemExit) as stopped:
        emphasis.main()
    assert stopped.value.code == 2
    assert "--films 0: there is at least 1" in capsys.readouterr().err
