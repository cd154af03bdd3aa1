"""Several takes: the best is the one that the probe reads most in, and it is the film of its seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope import bundle
from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.probe import ABOUT, Probe, ProbeConfig, Schooling
from vitascope.evaluation.takes import Take, judge, read, seeds, takes, wanted
from vitascope.recipe import Recipe
from vitascope.shot import LARGEST_SEED, Given, Shot
from vitascope.training.beginning import complete, fresh


class Bright(Probe):
    """A probe to which a film is by night the likelier the brighter it is, and of which it cannot tell anything else."""

    def told(self, films: Tensor) -> dict[str, Tensor]:
        found = {name: torch.zeros(len(films), len(values)) for name, values in self.config.attributes.items()}
        night = list(self.config.attributes["light"]).index("night")
        found["light"][:, night] = brightness(films)
        return found


def brightness(films: Tensor) -> Tensor:
    return films.flatten(1).double().mean(1).float() / 50


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of a bundle of the sizes of `tiny`, untrained."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    recipe = complete(Recipe.read("tiny"))
    stages = recipe.stages.model_copy(update={"diffusion": recipe.stages.diffusion.model_copy(update={"first": 0.5})})
    bundle.save(folder, fresh(recipe.model_copy(update={"stages": stages})))
    return Engine.load(folder)


@pytest.fixture(scope="module")
def probe(engine: Engine) -> Probe:
    return Bright(ProbeConfig.of(engine.recipe.video, engine.recipe.world))


def likely(take: Take) -> float:
    return take.likely


@pytest.mark.parametrize("solver", ["unipc", "ddpm"])
def test_the_best_take_is_the_one_in_which_most_is_read(engine: Engine, probe: Probe, solver: str) -> None:
    shot = engine.prepare(Shot.model_validate({"prompt": "a ball at night", "seed": 4, "solver": solver, "steps": 3}))
    found = list(takes(engine, shot, 5, probe))
    assert [take.shot for take in found] == [shot.model_copy(update={"seed": seed}) for seed in range(4, 9)]
    for take in found:  # what was read is the film that the seed gives
        assert torch.equal(take.frames, engine.generate(take.shot).frames)
        assert take.asked == {"subject": "ball", "light": "night", "count": "one"}
    order = sorted(found, key=lambda take: -float(brightness(take.frames[None])))
    assert max(found, key=likely) is order[0]
    assert [take.shot.seed for take in sorted(found, key=likely, reverse=True)] == [take.shot.seed for take in order]
    assert len({take.likely for take in found}) > 1


def test_of_equals_the_earlier_is_kept_and_all_steps_are_heard_of(engine: Engine, probe: Probe) -> None:
    blind = Bright(replace(probe.config, attributes={"subject": ("ball", "box")}))
    blind.told = lambda films: {"subject": torch.zeros(len(films), 2)}
    heard: list[tuple[str, int, int]] = []
    shot = engine.prepare(Shot(prompt="a ball at night", seed=9, steps=2))
    best = max(takes(engine, shot, 3, blind, watch=lambda *told: heard.append(told)), key=likely)
    assert best.shot.seed == 9
    assert heard == [("trying takes", step, 6) for step in (0, 1, 2, 2, 3, 4, 4, 5, 6)]


def test_frames_between_frames_come_after_the_reading(engine: Engine, probe: Probe) -> None:
    shot = engine.prepare(Shot(prompt="a ball at night", seed=4, steps=2, fps=2 * engine.fps))
    best = max(takes(engine, shot, 2, probe), key=likely)
    assert len(best.frames) == engine.recipe.video.frames
    whole, made = engine.generate(best.shot), engine.filmed(best.shot, [best.frames])
    assert torch.equal(torch.cat(list(made.chunks)), whole.frames)
    assert (made.fps, made.record) == (whole.fps, whole.record)
    assert len(whole.frames) == 2 * engine.recipe.video.frames


def test_takes_begin_with_the_picture_that_is_given(engine: Engine, probe: Probe) -> None:
    dark = torch.zeros(engine.recipe.video.height, engine.recipe.video.width, 3, dtype=torch.uint8)
    begins = {}
    for level in (0, 255):
        plain = engine.prepare(Shot(prompt="a ball at night", seed=1, steps=3))
        shot, given = engine.begun(plain, Given(image=dark + level))
        one, two = (take.frames[0] for take in takes(engine, shot, 2, probe, given))
        assert torch.equal(one, two)  # whatever the seed
        begins[level] = one
    assert not torch.equal(begins[0], begins[255])


def test_a_take_says_what_was_read_and_what_was_not() -> None:
    asked, read = {"subject": "fox", "action": "walks"}, {"subject": "dog", "action": "walks"}
    take = Take(Shot(prompt="a fox walks", seed=7), torch.zeros(1, 8, 8, 3), asked, read, -0.7)
    assert str(take) == "seed 7: the probe reads action walks, but subject dog instead of fox"
    assert str(replace(take, read=take.asked)) == "seed 7: the probe reads subject fox, action walks"
    assert (
        str(replace(take, asked={"subject": "fox"}))
        == "seed 7: the probe reads nothing as asked, but subject dog instead of fox"
    )


def test_what_a_probe_often_misreads_counts_for_less(engine: Engine, probe: Probe) -> None:
    class Torn(Bright):
        """Sees the ball in a bright film, and the night in a dark one."""

        def told(self, films: Tensor) -> dict[str, Tensor]:
            found = {name: torch.zeros(len(films), len(values)) for name, values in self.config.attributes.items()}
            bright = 30.0 if float(films.float().mean()) > 100 else -30.0
            for name, value, sure in (("subject", "ball", bright), ("light", "night", -bright)):
                found[name][:, list(self.config.attributes[name]).index(value)] = sure
            return found

    wants = {"subject": "ball", "light": "night"}
    films = {
        "bright": torch.full((5, 32, 64, 3), 200, dtype=torch.uint8),
        "dark": torch.zeros(5, 32, 64, 3, dtype=torch.uint8),
    }
    for surer, best in (("subject", "bright"), ("light", "dark")):
        torn = Torn(probe.config)
        accuracy = {name: 0.98 if name == surer else 0.6 for name in probe.config.attributes}
        torn.schooling = Schooling(seed=1, steps=1, batch=1, held_out=1, accuracy=accuracy, degraded=accuracy)
        told = {name: read(Shot(prompt="a ball"), frames, wants, torn).likely for name, frames in films.items()}
        assert max(told, key=lambda name: told[name]) == best
        assert all(-10 < value < 0 for value in told.values())  # no single attribute outweighs all others


def test_a_picture_that_the_shot_names_must_be_there(engine: Engine, probe: Probe) -> None:
    picture = torch.zeros(engine.recipe.video.height, engine.recipe.video.width, 3, dtype=torch.uint8)
    shot, _ = engine.begun(engine.prepare(Shot(prompt="a ball at night", seed=1, steps=2)), Given(image=picture))
    with pytest.raises(BadShot, match="which its record knows only by its hash"):
        next(takes(engine, shot, 2, probe))
    with pytest.raises(ValueError, match=r"expected the result of Engine\.prepare"):
        next(takes(engine, shot.model_copy(update={"seed": None}), 2, probe))


def test_seeds_go_on_from_zero_after_the_largest() -> None:
    assert seeds(LARGEST_SEED - 1, 4) == [LARGEST_SEED - 1, LARGEST_SEED, 0, 1]
    assert all(Shot(prompt="a ball", seed=seed).seed == seed for seed in seeds(LARGEST_SEED, 2))


@pytest.mark.parametrize(
    ("asked", "count", "said"),
    [
        ({"prompt": "a lonely lighthouse"}, 4, "takes: the one is kept that shows most of what the prompt asks for, and nothing"),
        ({"unconditional": True}, 4, "takes: the one is kept that shows most of what the prompt asks for, and a film without"),
        ({"prompt": "a ball", "frames": 9}, 4, "takes: the probe that chooses among them reads 5 frames of 64x32, and this film has "
         "frames 9;"),
        ({"prompt": "a ball"}, 1, "takes 1: it is a whole number from 2 to 64; 4 would do."),
        ({"prompt": "a ball"}, 65, "takes 65: it is"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_is_told_before_any_take(
    engine: Engine, probe: Probe, asked: dict[str, object], count: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = engine.prepare(Shot.model_validate({"seed": 1, "steps": 2, **asked}))
    monkeypatch.setattr(Engine, "sample", lambda *_, **__: pytest.fail("a take was begun"))
    with pytest.raises(BadShot) as told:
        next(takes(engine, shot, count, probe))
    assert str(told.value).startswith(said)


def test_what_weighs_nothing_or_less_is_not_asked_for(probe: Probe) -> None:
    for weight in ("0", "-2"):
        assert "light" not in wanted(Shot(prompt=f"a red ball (at night:{weight})"), probe)
    assert wanted(Shot(prompt="a red ball (at night:0.5)"), probe)["light"] == "night"


def test_takes_at_twice_the_probes_rate_are_read(engine: Engine, probe: Probe) -> None:
    few = Bright(replace(probe.config, frames=3))
    asked = Shot(prompt="a ball at night", seed=1, steps=2)
    assert len(list(takes(engine, engine.prepare(asked), 2, few))) == 2
    assert wanted(asked.model_copy(update={"frames": 5}), few) == wanted(asked, few)
    with pytest.raises(BadShot, match=r"reads 5 frames of .* has frames 9;"):
        next(takes(engine, engine.prepare(asked.model_copy(update={"frames": 9})), 2, few))
    with pytest.raises(BadShot, match=r"reads 3 frames of .* has frames 4;"):
        wanted(asked.model_copy(update={"frames": 4}), few)


def test_a_probe_is_asked_of_what_it_knows_alone(probe: Probe) -> None:
    narrow = Bright(replace(probe.config, attributes={"light": ("day", "dusk")}))
    assert wanted(Shot(prompt="a ball at dusk"), narrow) == {"light": "dusk"}
    with pytest.raises(BadShot):
        wanted(Shot(prompt="a ball at night"), narrow)


def test_the_judge_is_the_probe_in_the_bundle(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadModel, match="bundle has none beside it; make one film"):
        judge(engine.folder or tmp_path, "bundle")
    made = Probe(ProbeConfig.of(engine.recipe.video, engine.recipe.world)).slim()
    made.save(tmp_path / "probe")
    found = judge(tmp_path, "bundle").state_dict()
    assert all(torch.equal(found[name], value) for name, value in made.state_dict().items())
    about = tmp_path / "probe" / ABOUT
    about.write_text(about.read_text().replace('"world": "', '"world": "other '))
    with pytest.raises(
        BadModel, match="the probe of bundle, which chooses among them, cannot be read; copy the whole bundle"
    ):
        judge(tmp_path, "bundle")


@pytest.mark.parametrize("share", [-3, 7, float("nan"), "x", None])
def test_a_probe_whose_accuracy_is_none_is_refused(engine: Engine, tmp_path: Path, share: object) -> None:
    made = Probe(ProbeConfig.of(engine.recipe.video, engine.recipe.world))
    accuracy: dict[str, Any] = {"subject": share}
    made.schooling = Schooling(seed=1, steps=1, batch=1, held_out=1, accuracy=accuracy, degraded={})
    made.save(tmp_path / "probe")
    with pytest.raises(BadModel, match="an accuracy is no share from 0 to 1"):
        Probe.load(tmp_path / "probe")
