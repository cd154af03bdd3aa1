"""The whole world goes through every measure: all that can be said of it is read, and all its laws are looked for."""

from __future__ import annotations

import pytest
import torch

from vitascope.engine import Engine
from vitascope.evaluation.figures import figures
from vitascope.evaluation.page import page
from vitascope.evaluation.probe import Probe, ProbeConfig, Schooling
from vitascope.evaluation.report import Result, evaluate
from vitascope.evaluation.scenes import scenes
from vitascope.recipe import Recipe
from vitascope.storybook import WORLDS
from vitascope.training.beginning import complete, fresh

SAID = [
    "subject",
    "colour",
    "action",
    "heading",
    "place",
    "light",
    "weather",
    "mood",
    "camera",
    "size",
    "count",
    "relation",
    "change",
]


@pytest.fixture(scope="module")
def result() -> Result:
    """Of weights that nobody trained, by a probe that claims to read everything."""
    recipe = Recipe.read("tiny")
    engine = Engine(fresh(complete(recipe)).settle(autocast=False))
    torch.manual_seed(0)
    config = ProbeConfig.of(recipe.video, recipe.world)
    small = {"look": (4, 4, 8), "motion": (4, 4, 8), "maps": 2, "hidden": 4}
    probe = Probe(ProbeConfig(config.frames, config.height, config.width, config.attributes, config.world, **small))
    accuracy = dict.fromkeys(config.attributes, 0.99)
    probe.schooling = Schooling(0, 1, 1, 1000, accuracy, accuracy)
    asked = {"prompts": 6, "seeds": 2, "moving": 1, "clips": 2, "pool": 3, "searched": 8}
    return evaluate(engine, probe, like={"steps": 1}, **asked)  # type: ignore[arg-type]


def test_everything_that_can_be_said_is_read(result: Result) -> None:
    rows = {row.attribute: row for row in result.adherence.attributes}
    assert set(rows) == set(WORLDS["whole"].values)
    assert list(rows) == SAID
    for name, row in rows.items():
        assert row.measured
        assert row.generated.of == row.real.of == row.codec.of == 6
        assert set(row.values) <= set(WORLDS["whole"].values[name])
    told = {row.name for row in figures(result) if row.measure == "adherence"}
    assert set(rows) <= told


def test_every_value_of_every_attribute_is_asked_for() -> None:
    """Among as many prompts as a release is measured with."""
    shown = scenes(500, "withheld", world="whole")
    for name, values in WORLDS["whole"].values.items():
        assert {getattr(scene, name) for scene in shown} == set(values), name


def test_all_laws_are_looked_for_and_told(result: Result) -> None:
    laws = {law.law: law for law in result.laws.laws}
    assert set(laws) >= {"prints", "uniform"}, "five frames are too few to tell a fall"
    assert laws["prints"].later == 2
    told = page(result)
    for question in ("do these stay?", "look where it goes"):
        assert question in told
    assert "looked for again 2 frames later, for these films are too short for 10" in told
    assert Result.parse(result.json()) == result
