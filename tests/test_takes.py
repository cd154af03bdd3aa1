"""Several takes: the best is the one that the probe reads most in, and nothing but its seed goes into the film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vitascope import bundle
from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.evaluation.probe import ABOUT, Probe, ProbeConfig, Schooling
from vitascope.pixels import to_bytes
from vitascope.recipe import Recipe
from vitascope.shot import LARGEST_SEED, Given, Shot
from vitascope.takes import DRAFT, RESTLESS, Take, judge, seeds, takes, wanted
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


def drafted(engine: Engine, shot: Shot) -> Tensor:
    latent = [step.x for step in engine.sample(shot)][-1]
    with torch.no_grad():
        return to_bytes(torch.cat(list(engine.codec.decode(latent)), dim=2))[0]


@pytest.mark.parametrize(("solver", "steps"), [("unipc", 12), ("euler", 3), ("ddpm", 12)])
def test_the_best_take_is_the_one_in_which_most_is_read(engine: Engine, probe: Probe, solver: str, steps: int) -> None:
    shot = engine.prepare(
        Shot.model_validate({"prompt": "a ball at night", "seed": 4, "solver": solver, "steps": steps})
    )
    kept: dict[int, Tensor] = {}
    found = takes(engine, shot, 10, probe, draft=lambda one, film: kept.update({one.seed or 0: film}))
    assert sorted(take.seed for take in found) == sorted(kept) == list(range(4, 14))
    asked = steps if solver in RESTLESS else min(steps, DRAFT)
    alone = drafted(engine, shot.model_copy(update={"steps": asked, "seed": 11}))
    assert (alone.int() - kept[11].int()).abs().max() <= 1  # a film does not depend on its neighbours but for rounding
    order = sorted(kept, key=lambda seed: -float(brightness(kept[seed][None])))
    assert [take.seed for take in found] == order
    assert len({take.likely for take in found}) > 1
    assert all(take.asked == {"subject": "ball", "light": "night", "count": "one"} for take in found)


def test_takes_begin_with_the_picture_that_is_given(engine: Engine, probe: Probe) -> None:
    dark = torch.zeros(engine.recipe.video.height, engine.recipe.video.width, 3, dtype=torch.uint8)
    found: dict[int, list[Tensor]] = {0: [], 255: []}
    for level, films in found.items():
        plain = engine.prepare(Shot(prompt="a ball at night", seed=1, steps=3))
        shot, given = engine.begun(plain, Given(image=dark + level))
        takes(engine, shot, 2, probe, given, draft=lambda _, film, films=films: films.append(film))
    assert [len(films) for films in found.values()] == [2, 2]
    assert not torch.equal(found[0][0][0], found[255][0][0])
    assert (found[0][0][0].int() - found[0][1][0].int()).abs().max() <= 1  # whatever the seed


def test_a_take_says_what_was_read_and_what_was_not() -> None:
    take = Take(7, {"subject": "fox", "action": "walks"}, {"subject": "dog", "action": "walks"}, -0.7)
    assert str(take) == "seed 7: the probe reads action walks, but subject dog instead of fox"
    assert str(replace(take, read=take.asked)) == "seed 7: the probe reads subject fox, action walks"
    assert (
        str(replace(take, asked={"subject": "fox"}))
        == "seed 7: the probe reads nothing as asked, but subject dog instead of fox"
    )


def test_what_a_probe_often_misreads_counts_for_less(engine: Engine, probe: Probe) -> None:
    class Torn(Bright):
        """Sees the subject in one film, and the light in the other."""

        def told(self, films: Tensor) -> dict[str, Tensor]:
            found = {name: torch.zeros(len(films), len(values)) for name, values in self.config.attributes.items()}
            for name, value in (("subject", "ball"), ("light", "night")):
                at = list(self.config.attributes[name]).index(value)
                found[name][:, at] = torch.tensor([30.0, -30.0] if name == "subject" else [-30.0, 30.0])
            return found

    shot = engine.prepare(Shot(prompt="a ball at night", seed=4, steps=2))
    best = {}
    for surer in ("subject", "light"):
        torn = Torn(probe.config)
        accuracy = {name: 0.98 if name == surer else 0.6 for name in probe.config.attributes}
        torn.schooling = Schooling(seed=1, steps=1, batch=1, held_out=1, accuracy=accuracy, degraded=accuracy)
        best[surer] = takes(engine, shot, 2, torn)
        assert all(-10 < take.likely < 0 for take in best[surer])  # no single attribute outweighs all others
    assert {surer: found[0].seed for surer, found in best.items()} == {"subject": 4, "light": 5}


def test_a_picture_that_the_shot_names_must_be_there(engine: Engine, probe: Probe) -> None:
    picture = torch.zeros(engine.recipe.video.height, engine.recipe.video.width, 3, dtype=torch.uint8)
    shot, _ = engine.begun(engine.prepare(Shot(prompt="a ball at night", seed=1, steps=2)), Given(image=picture))
    with pytest.raises(BadShot, match="which its record knows only by its hash"):
        takes(engine, shot, 2, probe)
    with pytest.raises(ValueError, match=r"expected the result of Engine\.prepare and Engine\.begun"):
        takes(engine, shot.model_copy(update={"image": None}), 2, probe, Given(image=picture))


def test_memory_that_ends_is_told(engine: Engine, probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Engine, "sample", full)
    with pytest.raises(MemoryError, match="ask for fewer takes"):
        takes(engine, engine.prepare(Shot(prompt="a ball", seed=1)), 4, probe)


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
def test_what_cannot_be_chosen_is_told_before_any_draft(
    engine: Engine, probe: Probe, asked: dict[str, object], count: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shot = engine.prepare(Shot.model_validate({"seed": 1, "steps": 2, **asked}))
    monkeypatch.setattr(Engine, "sample", lambda *_, **__: pytest.fail("a draft was begun"))
    with pytest.raises(BadShot) as told:
        takes(engine, shot, count, probe)
    assert str(told.value).startswith(said)


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
    with pytest.raises(BadModel, match="tells of no probe"):
        judge(tmp_path, "bundle")
