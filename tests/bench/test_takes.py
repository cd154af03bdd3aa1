"""The bench of takes: who chooses does not judge, and what cannot be is told in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vitascope.bench import takes
from vitascope.bench.takes import ensure_another, shares
from vitascope.errors import BadModel
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.finding import find
from vitascope.media.pictures import picture as read


def stranger(folder: Path, probe: Probe) -> Path:
    """A probe of the same kind with weights of its own, which learned nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        Probe(probe.config).save(folder)
    return folder


@pytest.fixture(scope="module")
def own() -> Path:
    return find(None) / "probe"


def test_shares_are_of_each_attribute_and_their_mean() -> None:
    asked = [{"subject": "fox", "light": "day"}, {"subject": "dog", "light": "day"}]
    assert shares([{"subject": "dog", "light": "day"}] * 2, asked) == {"subject": 0.5, "light": 1.0, "mean": 0.75}


def test_a_probe_does_not_judge_its_own_choice(own: Path) -> None:
    probe = Probe(ProbeConfig(frames=5, height=32, width=48))
    with pytest.raises(BadModel, match="it would judge its own choice"):
        ensure_another(Probe.load(own), Probe.load(own))
    ensure_another(probe, Probe(probe.config))
    ensure_another(probe, Probe.load(own))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--films", "0"], "--films 0 --takes 4: there is at least 1 film"),
        (["--takes", "65"], "--films 80 --takes 65: there is"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
        (["--probe", "nowhere"], "nowhere"),
        ([], "--probe: this is the probe that chooses the takes"),
        (["--sheet", "sheet.mp4"], "--sheet sheet.mp4: a contact sheet is a picture"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    flags: list[str], said: str, own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["takes", "--probe", str(own), *flags])
    with pytest.raises(SystemExit) as stopped:
        takes.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_table_and_the_sheet_are_of_the_first_take_and_the_chosen_one(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vitascope.takes.DRAFT", 1)
    referee, picture = stranger(tmp_path / "referee", Probe.load(own)), tmp_path / "sheet.png"
    monkeypatch.setattr(
        sys, "argv", ["takes", "--probe", str(referee), "--films", "1", "--takes", "2", "--sheet", str(picture)]
    )
    takes.main()
    told = capsys.readouterr().out
    assert "of 1 withheld prompts" in told
    rows = {line.split()[1]: line.split()[3:6:2] for line in told.splitlines() if line.startswith("\u2502")}
    assert {share for pair in rows.values() for share in pair} >= {"0.0%"}
    assert list(rows)[-1] == "mean"
    assert read(picture).shape[1] > 2 * takes.STRIP * 160
