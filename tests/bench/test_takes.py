"""The bench of takes: who chooses does not judge, and what cannot be is told in a sentence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vitascope.bench import takes
from vitascope.bench.takes import ensure_another, referee_in
from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.evaluation.probe import Probe, ProbeConfig
from vitascope.evaluation.scenes import scenes
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


def test_where_there_is_no_other_probe_one_is_trained_and_kept(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LESSONS", 1), ("EXAMINED", 2)):
        monkeypatch.setattr(takes, name, value)
    engine = Engine.load()
    made = referee_in(tmp_path / "referee", engine)
    kept = referee_in(tmp_path / "referee", engine)
    assert made.schooling is not None
    assert (made.schooling.seed, made.schooling.steps, made.schooling.held_out) == (77, 1, 2)
    assert all(torch.equal(value, made.state_dict()[name]) for name, value in kept.state_dict().items())
    ensure_another(Probe.load(own), kept)
    (tmp_path / "other").mkdir()
    with pytest.raises(BadModel):
        referee_in(tmp_path / "other", engine)


def test_the_table_and_the_sheet_are_of_the_first_take_and_the_chosen_one(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    films: list[torch.Tensor] = []
    labels = scenes(1, world="whole")[0].shows()

    def likes_the_last(self: Probe, made: torch.Tensor) -> dict[str, torch.Tensor]:
        films.extend(made)
        told = {name: torch.zeros(len(made), len(values)) for name, values in self.config.attributes.items()}
        for name, value in labels.items():
            told[name][:, list(self.config.attributes[name]).index(value)] = float(len(films))
        return told

    def knows_the_last(self: Probe, made: torch.Tensor) -> list[dict[str, str]]:
        wrong = {name: next(v for v in self.config.attributes[name] if v != value) for name, value in labels.items()}
        return [labels if torch.equal(film, films[-1]) else wrong for film in made]

    monkeypatch.setattr(Probe, "told", likes_the_last)
    monkeypatch.setattr(Probe, "read", knows_the_last)
    referee, picture = stranger(tmp_path / "referee", Probe.load(own)), tmp_path / "sheet.png"
    flags = ["takes", "--probe", str(referee), "--films", "1", "--takes", "2", "--steps", "1", "--sheet", str(picture)]
    monkeypatch.setattr(sys, "argv", flags)
    takes.main()
    told = capsys.readouterr().out
    rows = {line.split()[1]: line.split()[3:6:2] for line in told.splitlines() if line.startswith("\u2502")}
    assert "the mean gains 100.0%, with a standard error of 0.0%" in " ".join(told.split())
    assert rows == {name: ["0.0%", "100.0%"] for name in (*labels, "mean")}
    shown = read(picture)
    assert shown.shape[1] > 2 * takes.STRIP * 160
    assert len(films) == 2
    assert not torch.equal(shown[:, : shown.shape[1] // 2], shown[:, shown.shape[1] // 2 :])
