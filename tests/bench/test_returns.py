"""Walking back from a time: from 0 nothing happens, from 1 it is the film of the seed, and in between the grid goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vitascope import bundle
from vitascope.bench import returns
from vitascope.bench.returns import grid, returned, shares
from vitascope.engine import Engine
from vitascope.media.pictures import picture as read
from vitascope.physics.noise import normal
from vitascope.physics.times import shifted
from vitascope.recipe import Recipe
from vitascope.shot import Shot
from vitascope.training.beginning import complete, fresh


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of a bundle of the sizes of `tiny`, untrained."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    bundle.save(folder, fresh(complete(Recipe.read("tiny"))))
    return Engine.load(folder)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_the_grid_goes_on_from_its_first_time(shift: float) -> None:
    torch.testing.assert_close(grid(1.0, 12, shift), shifted(12, shift))
    whole = shifted(12, shift)
    for place in (3, 7, 11):
        torch.testing.assert_close(grid(float(whole[place]), 12, shift), whole[place:])


def test_from_the_data_nothing_happens_and_from_noise_it_is_the_film_of_the_seed(engine: Engine) -> None:
    shots = [engine.prepare(Shot(prompt=p, seed=s, steps=4)) for p, s in (("a red ball", 3), ("a boat", 9))]
    latents = normal(1, "latents", 0, (2, *engine.latent_shape(shots[0])))
    assert torch.equal(returned(engine, shots, latents, 0.0), latents)
    film = [step.x for step in engine.sample(*shots)][-1]
    torch.testing.assert_close(returned(engine, shots, latents, 1.0), film)
    near = returned(engine, shots, latents, 0.05)
    assert 0 < (near - latents).square().mean() < (returned(engine, shots, latents, 0.8) - latents).square().mean()


def test_shares_count_what_is_read_as_asked() -> None:
    asked = [{"subject": "fox", "light": "day"}, {"subject": "dog", "light": "day"}]
    assert shares([{"subject": "dog", "light": "day"}] * 2, asked) == {"subject": 1, "light": 2}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--times", "0.5,2"], "--times 0.5,2: times are numbers from 0"),
        (["--times", "soon"], "--times soon: times are"),
        (["--films", "0"], "--films 0: without films"),
        (["--model", "nowhere/at/all"], "nowhere/at/all"),
        (["--sheet", "sheet.mp4"], "--sheet sheet.mp4: a contact sheet is a picture"),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    flags: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["returns", *flags])
    with pytest.raises(SystemExit) as stopped:
        returns.main()
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err


def test_the_shipped_model_from_a_small_time_is_nearly_what_the_codec_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "sheet.png"
    monkeypatch.setattr(sys, "argv", ["returns", "--films", "2", "--times", "0.1", "--sheet", str(picture)])
    returns.main()
    told = capsys.readouterr().out
    rows = {line.split()[1]: line.split()[3::2] for line in told.splitlines() if line.startswith("\u2502")}
    assert rows["place"] == rows["light"] == ["2", "2"]
    assert str(picture) in told
    shown = read(picture).float()
    assert shown.shape == (4 + 2 * (96 + 4), 4 + 3 * (160 + 4), 3)
    true, codec, back = (shown[:, 4 + n * 164 :][:, :160] for n in range(3))
    assert 0 < (codec - back).square().mean() < 0.5 * (codec - true).square().mean()
