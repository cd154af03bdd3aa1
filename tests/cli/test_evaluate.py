"""vitascope evaluate: what it prints, keeps and refuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from vitascope.cli.measures import CURVES, FEWEST, SETS, SPLITS, chosen_curves
from vitascope.errors import BadModel
from vitascope.evaluation import (
    Curves,
    Probe,
    ProbeConfig,
    Result,
    Schooling,
    probe_for,
    report,
    steering,
)
from vitascope.evaluation.distribution import NEIGHBOURS
from vitascope.evaluation.progress import Watch
from vitascope.evaluation.scenes import Split
from vitascope.media import Video, record_of
from vitascope.storybook import ATTRIBUTES, render, scene

from .conftest import make_bundle

CURVE_QUESTION = steering.CURVES["negative"].question
Run = Callable[..., Any]
QUICK = ("--prompts", "4", "--seeds", "2", "--moving", "1", "--steps", "1", "--device", "cpu")


def make_probe(folder: Path, frames: int = 5, accuracy: float = 0.97) -> Path:
    """A probe that was never trained and says that it was, the colours apart."""
    probe = Probe(ProbeConfig(frames, 32, 48, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4))
    probe.schooling = Schooling(0, 1, 1, 500, dict.fromkeys(ATTRIBUTES, accuracy) | {"colour": 0.9}, {})
    probe.save(folder)
    return folder


@pytest.fixture(scope="module")
def model(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a probe in it."""
    folder = tmp_path_factory.mktemp("evaluate") / "model"
    shutil.copytree(toy, folder)
    make_probe(folder / "probe")
    return folder


@pytest.fixture(autouse=True)
def few_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codec and text tower are measured on 8 clips: what they are on 64 and 100 is no matter of the command line."""
    usual = report.evaluate.__kwdefaults__ or {}
    assert (usual["clips"], usual["pool"]) == (64, 100)
    for name in ("clips", "pool"):
        monkeypatch.setitem(usual, name, 8)


def test_a_table_for_a_person_and_files_for_later(vitascope: Run, model: Path) -> None:
    told = vitascope("evaluate", "--model", model, "--guidance", "3", "--out", "figures/first", *QUICK)
    assert told.code == 0
    for name in ATTRIBUTES:
        assert f" {name} " in told.out
    (row,) = (line for line in told.out.splitlines() if line.startswith(" colour "))
    assert "unmeasured" in row
    assert "90.0 %" in row
    assert told.out.count("unmeasured") == 2, "one attribute, and whether the subject stays the same"
    assert "4 films of withheld combinations, 1 steps of unipc, guidance 3.0" in told.out
    assert told.json[-1]["doing"] == "measuring the text tower"
    result = Result.parse(Path("figures/first/results.json").read_text())
    assert len(result.adherence.films) == 4
    sheet = record_of("figures/first/films.png")
    assert [one["shot"]["prompt"] for one in sheet["sheet"]] == [film.prompt for film in result.adherence.films]
    assert sorted(path.name for path in Path("figures/first").iterdir()) == [
        "closest.png",
        "films.png",
        "page.html",
        "results.json",
    ]


def test_films_that_begin_with_the_pictures_of_true_ones(vitascope: Run, model: Path) -> None:
    command = ("evaluate", "--model", model, "--first", *(each for each in QUICK if each not in ("--seeds", "2")))
    told = vitascope(*command, "--out", "figures")
    assert told.code == 0
    assert "4 films of withheld combinations, each begun with the first picture of its true film, 1 steps" in told.out
    assert " first picture " in told.out
    assert "each begun with the first picture" in Path("figures/page.html").read_text()
    result = Result.parse(Path("figures/results.json").read_text())
    assert result.first is not None
    assert result.first.films == 4
    assert result.diversity is None
    assert len({one["shot"]["image"] for one in record_of("figures/films.png")["sheet"]}) == 4


def test_a_model_that_cannot_begin_with_a_picture_is_refused(vitascope: Run, model: Path) -> None:
    recipe = json.loads((model / "recipe.json").read_text())
    recipe["stages"]["diffusion"]["first"] = 0.0
    shutil.copytree(model, "words", ignore=shutil.ignore_patterns("hashes.json"))
    (Path("words") / "recipe.json").write_text(json.dumps(recipe))
    told = vitascope("evaluate", "--model", "words", "--first", "--prompts", "4", "--steps", "1", "--device", "cpu")
    assert (told.code, told.out) == (2, "")
    assert "--first: " in told.err[-1]
    assert "was not trained to begin with a picture" in told.err[-1]


def test_json_is_the_same_result_every_time(vitascope: Run, model: Path) -> None:
    command = ("evaluate", "--model", model, "--split", "seen", "--json", *QUICK)
    told, again = vitascope(*command), vitascope(*command)
    assert (told.code, told.files) == (0, [])
    assert told.out == again.out
    result = Result.parse(told.out)
    assert result.adherence.split == "seen"
    assert json.loads(told.out)["adherence"]["whole"]["of"] == 4


def test_nothing_is_replaced_unasked(vitascope: Run, model: Path) -> None:
    Path("figures").mkdir()
    Path("figures/results.json").write_text("mine")
    told = vitascope("evaluate", "--model", model, "--out", "figures", *QUICK)
    assert (told.code, len(told.err)) == (2, 1)
    assert "results.json already; " in told.err[0]
    assert Path("figures/results.json").read_text() == "mine"
    assert vitascope("evaluate", "--model", model, "--out", "figures", "--force", *QUICK).code == 0
    assert Result.parse(Path("figures/results.json").read_text())


def test_a_picture_of_someone_else_is_not_replaced(vitascope: Run, model: Path) -> None:
    Path("figures").mkdir()
    Path("figures/curves.svg").write_text("mine")
    told = vitascope("evaluate", "--model", model, "--out", "figures", "--curves", "order")
    assert (told.code, len(told.err)) == (2, 1)
    assert "curves.svg already; " in told.err[0]
    assert Path("figures/curves.svg").read_text() == "mine"


@pytest.mark.parametrize("more", [QUICK, ("--curves", "order")])
def test_a_page_of_someone_else_is_not_replaced(vitascope: Run, model: Path, more: tuple[str, ...]) -> None:
    Path("figures").mkdir()
    Path("figures/page.html").write_text("mine")
    told = vitascope("evaluate", "--model", model, "--out", "figures", *more)
    assert (told.code, len(told.err)) == (2, 1)
    assert "page.html already; " in told.err[0]
    assert Path("figures/page.html").read_text() == "mine"


def test_curves_that_cannot_be_read_are_told(vitascope: Run, model: Path) -> None:
    Path("figures").mkdir()
    Path("figures/curves.json").write_bytes(b"\xff\x00 mine")
    told = vitascope("evaluate", "--model", model, "--out", "figures", "--curves", "order")
    assert (told.code, len(told.err)) == (2, 1)
    assert "is not what vitascope evaluate writes" in told.err[0]
    assert Path("figures/curves.json").read_bytes() == b"\xff\x00 mine"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (("--prompts", "0"), "a whole number from 4 to 10000"),
        (("--prompts", "1e3"), "a whole number from 4 to 10000"),
        (("--prompts", "3"), "films are compared with their 3 nearest others; 200 would do."),
        (("--probe-steps", "-1"), "a whole number"),
        (("--split", "witheld"), "the nearest is withheld."),
        (("--seeds", "0"), "a whole number from 1"),
        (("--moving", "0"), "a whole number from 1"),
        (("--training", "no"), "a whole number from 1"),
        (("--films", "8"), "give --prompts, or --curves all"),
        (("--curves", "guidence"), "the nearest is guidance"),
        (("--curves", "xyzzy"), "there are guidance, steps"),
        (("--curves", " , "), "there is no name in it; there are guidance, steps"),
        (
            ("--curves", "guidance", "--guidance", "4"),
            "each point of this curve has its own guidance; leave --guidance out.",
        ),
        (("--curves", "steps", "--steps", "4"), "each point of this curve has its own steps; leave --steps out."),
        (
            ("--curves", "steps", "--solver", "euler"),
            "each point of this curve has its own solver; leave --solver out.",
        ),
        (("--probe", "storybok"), "the nearest is storybook, or ./storybok for a new probe."),
        (("--probe-steps", "5"), "so none is trained; leave this flag out, or name a new folder"),
        (
            ("--probe", "storybook", "--probe-steps", "5"),
            "so none is trained; leave this flag out, or name a new folder",
        ),
        (("--curves", "all", "--films", "0"), "a whole number from 1"),
        (("--curves", "all", "--prompts", "8"), "leave one of the two out"),
        (("--first", "--seeds", "3"), "of films of words alone; leave one of the two out"),
        (("--first", "--data", "mine"), "captions alone ask for; leave one of the two out"),
        (("--first", "--curves", "all"), "curves are of films of words alone; leave one of the two out"),
        (("--curves", "all", "--against", "other"), "leave one of the two out"),
        (("--against", "nothing"), "no model has this name"),
        (("--steps", "0"), "steps"),
        (("--solver", "unicp"), "unipc"),
        (("--guidance", "nan"), "guidance"),
        (("--shift", "-1"), "shift"),
        (("--device", "tpu"), "choose auto, cpu"),
        (("--out", "taken"), "is a file; name a folder"),
        (("--out", "taken/further"), "is a file; name a folder"),
        (("--probe", "taken"), "no probe"),
        (("--probe", "narrow"), "trained on 9 frames of 48x32 and this model makes 5"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(vitascope: Run, model: Path, wrong: tuple[str, ...], why: str) -> None:
    Path("taken").write_text("mine")
    make_probe(Path("narrow"), frames=9)
    told = vitascope("evaluate", "--model", model, *wrong)
    assert (told.code, told.out, len(told.err)) == (2, "", 1)
    assert why in told.err[0]
    assert (told.files, Path("taken").read_text()) == (["narrow", "taken"], "mine")


def test_a_probe_that_is_missing_is_trained_once_and_kept(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vitascope.engine import Engine

    trained: list[tuple[ProbeConfig, int]] = []

    def train_probe(config: ProbeConfig, *, steps: int, watch: Watch | None, device: object) -> Probe:
        trained.append((config, steps))
        return Probe(ProbeConfig(5, 32, 48, look=(4, 4, 8), motion=(4, 4, 8), maps=2, hidden=4))

    monkeypatch.setattr(report, "train_probe", train_probe)
    shutil.copytree(toy, tmp_path / "model")
    engine = Engine.load(tmp_path / "model", "cpu")
    first, again = probe_for(engine, steps=7), probe_for(engine, steps=7)
    assert trained == [(ProbeConfig.of(engine.recipe.video, engine.recipe.world), 7)]
    assert first.config == again.config
    assert (tmp_path / "model" / "probe" / "probe.safetensors").is_file()
    probe_for(engine, tmp_path / "other" / "probe")
    assert len(trained) == 2
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(BadModel, match="something there and it is no probe"):
        probe_for(engine, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_the_command_knows_the_splits_without_torch() -> None:
    assert get_args(Split) == SPLITS


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        ({"look": "0123456789abcdef"}, 0, "draws otherwise than when toy learned from it"),
        ({"world": "flat"}, 2, "does not tell what a model was learned from"),
        ({"seed": "x"}, 2, "does not tell what a model was learned from"),
    ],
)
def test_what_a_model_learned_from_is_looked_at(
    vitascope: Run, model: Path, change: dict[str, Any], code: int, says: str
) -> None:
    shutil.copytree(model, "mine")
    source = {"seed": 0, "count": 2, "frames": 5, "height": 32, "width": 48, "world": "first"}
    Path("mine/learned.json").write_text(json.dumps([source | change]))
    told = vitascope("evaluate", "--model", "mine", *QUICK)
    assert told.code == code
    assert says in "".join(told.err)


def test_two_models_of_different_shapes_are_told_before_any_probe(
    vitascope: Run, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "train_probe", lambda *_, **__: pytest.fail("a probe was trained"))
    shutil.copytree(toy, "mine")
    shutil.copytree(toy, "other", ignore=shutil.ignore_patterns("hashes.json"))
    recipe = json.loads(Path("other/recipe.json").read_text())
    recipe["video"]["frames"] = 9
    Path("other/recipe.json").write_text(json.dumps(recipe))
    told = vitascope("evaluate", "--model", "mine", "--against", "other", *QUICK)
    assert (told.code, told.out, len(told.err)) == (2, "", 1)
    assert "toy makes 5 frames of 48x32 of the world 'first', toy 9 frames" in told.err[0]
    assert told.err[0].endswith("one probe cannot see both; measure the two apart.")
    assert not Path("mine/probe").exists()


def test_a_probe_that_will_be_trained_is_told_of_first(
    vitascope: Run, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train_probe(*_: object, **__: object) -> Probe:
        raise BadModel("this far; and no further.")

    monkeypatch.setattr(report, "train_probe", train_probe)
    told = vitascope("evaluate", "--model", toy, "--probe", "mine/probe", *QUICK)
    assert json.loads(told.err[-2])["note"] == (
        "there is no probe yet: one is trained first, which takes some ten minutes, and kept in mine/probe"
    )
    assert told.err[-1] == "this far; and no further."


def test_which_curves_are_asked_for() -> None:
    assert chosen_curves(None) == ()
    assert chosen_curves("all") == chosen_curves("all,guidance") == CURVES
    assert chosen_curves("negative, guidance,") == ("guidance", "negative")


def test_what_a_curve_sets_is_what_is_refused_beside_it() -> None:
    for name, curve in steering.CURVES.items():
        set_there = {field for point in curve.points(4, "whole") for field in point.like}
        assert set(SETS.get(name, ())) == set_there & {"guidance", "steps", "solver", "shift"}
    assert FEWEST == NEIGHBOURS + 1


def test_the_probe_of_a_model_that_ships_is_had_by_its_name(vitascope: Run, model: Path) -> None:
    told = vitascope("evaluate", "--model", model, "--probe", "storybook", *QUICK)
    assert (told.code, told.files) == (2, [])  # it is there, and looks at films of another shape
    assert "160x96" in told.err[-1] or "17 frames" in told.err[-1]


def test_two_models_side_by_side(vitascope: Run, model: Path, tmp_path: Path) -> None:
    other = make_bundle(tmp_path / "earlier", seed=1)
    command = ("evaluate", "--model", model, "--against", other, *QUICK)
    told = vitascope(*command, "--out", "both")
    assert told.code == 0
    assert "\nbeside toy " in told.out
    assert "the other" in told.out
    first, second = (Result.parse(Path("both", name).read_text()) for name in ("results.json", "against.json"))
    assert first.weights != second.weights
    assert [f.asked for f in first.adherence.films] == [f.asked for f in second.adherence.films]
    assert "films of the other" in Path("both/page.html").read_text()
    same = vitascope("evaluate", "--model", model, "--against", model, "--json", *QUICK)
    one, again = json.loads(same.out)
    assert one == again
    assert one["weights"] == first.weights


def test_curves_go_on_where_they_were_stopped(vitascope: Run, model: Path) -> None:
    command = ("evaluate", "--model", model, "--films", "4", "--steps", "1", "--device", "cpu", "--out", "figures")
    told = vitascope(*command, "--curves", "negative")
    assert told.code == 0
    curves = Curves.parse(Path("figures/curves.json").read_text())
    open_points = [steering.OPEN, *map(steering.negated, steering.UNWANTED)]
    assert [(p.x, p.films) for p in curves.points] == [(x, 4) for x in ("without", "with", *open_points)]
    assert sorted(path.name for path in Path("figures").iterdir()) == ["curves.json", "curves.svg", "page.html"]
    for word in steering.UNWANTED:
        assert f"negative prompt '{word}': " in told.out
        assert f"<td>{word}</td>" in Path("figures/page.html").read_text()
    assert CURVE_QUESTION in Path("figures/curves.svg").read_text()
    more = vitascope(*command, "--curves", "order,negative")
    after = Curves.parse(Path("figures/curves.json").read_text())
    assert after.points[:6] == curves.points
    assert [p.curve for p in after.points] == [*["negative"] * 6, "order", "order"]
    counts = [line["of"] for line in more.json if line["doing"] == "measuring curves"]
    assert counts == [2, 2], "what was there was not measured again"
    assert "CURVES[" not in Path("figures/page.html").read_text()
    assert CURVE_QUESTION in Path("figures/page.html").read_text()
    other = vitascope(
        "evaluate", "--model", model, "--films", "8", "--steps", "1", "--out", "figures", "--curves", "all"
    )
    assert (other.code, len(other.err)) == (2, 1)
    assert "another folder" in other.err[0]
    assert Curves.parse(Path("figures/curves.json").read_text()) == after


def test_curves_of_an_earlier_version_are_told_and_not_mixed(vitascope: Run, model: Path) -> None:
    command = ("evaluate", "--model", model, "--films", "4", "--steps", "1", "--device", "cpu", "--out", "figures")
    assert vitascope(*command, "--curves", "order").code == 0
    kept = Path("figures/curves.json")
    kept.write_text(kept.read_text().replace("order / details that can move /", "order /  /"))
    before = kept.read_bytes()
    told = vitascope(*command, "--curves", "order,negative")
    assert (told.code, kept.read_bytes()) == (2, before)
    assert "by an earlier version in other prompts" in told.err[-1]
    assert "with --force" in told.err[-1]
    assert vitascope(*command, "--curves", "order", "--force").code == 0
    assert kept.read_bytes() != before


def test_what_each_word_leaves_open_is_printed(vitascope: Run, model: Path) -> None:
    told = vitascope(
        "evaluate", "--model", model, "--films", "2", "--steps", "1", "--device", "cpu", "--curves", "length"
    )
    assert told.code == 0
    lines = [line for line in told.out.splitlines() if "bits left open of those in the world" in line]
    assert [line[: len("length, 1 said")] for line in lines] == [f"length, {n} said" for n in range(1, 7)]
    assert "colour 0.00 of " in lines[0]
    assert "colour" not in lines[1]


def test_the_page_goes_on_showing_what_is_in_the_folder(vitascope: Run, model: Path, tmp_path: Path) -> None:
    films = ("--films", "4", "--curves", "negative", "--steps", "1", "--device", "cpu", "--out", "figures")
    assert vitascope("evaluate", "--model", model, *films).code == 0
    assert vitascope("evaluate", "--model", model, *QUICK, "--out", "figures").code == 0
    page = Path("figures/page.html").read_text()
    assert CURVE_QUESTION in page
    assert "All figures" in page
    other = make_bundle(tmp_path / "earlier", seed=1)
    make_probe(other / "probe")
    told = vitascope("evaluate", "--model", other, *QUICK, "--out", "figures", "--force")
    assert (told.code, Path("figures/page.html").read_text()) == (2, page)
    assert "of other weights" in told.err[-1]


def test_the_command_knows_the_curves_without_torch() -> None:
    assert tuple(steering.CURVES) == CURVES


def test_copies_of_own_films_are_looked_for_among_them(vitascope: Run, model: Path) -> None:
    Path("films").mkdir()
    for index in range(3):
        Video(render([scene(4, index)], frames=5, height=32, width=48)[0], 8.0).save(f"films/{index}.mp4")
        Path(f"films/{index}.txt").write_text(f"a zebra, take {index}")
    Path("mine.toml").write_text(
        'name = "mine"\n[stages.diffusion]\nsteps = 1\nbatch = 2\nclips = 1\nlr = 1e-3\n[defaults]\nsteps = 1\n'
    )
    trained = ("train", "mine.toml", "--from", model, "--data", "films", "--out", "run", "--device", "cpu")
    assert vitascope(*trained).code == 0
    shutil.copytree(model / "probe", "run/bundle/probe")
    command = ("evaluate", "--model", "run/bundle", "--json", *QUICK)

    blind = vitascope(*command)
    assert [line["warning"] for line in blind.json if "warning" in line] == [
        "mine learned from 3 clips of somebody's own films, and copies of those are not looked for; give their folder with --data"
    ]
    memory = Result.parse(blind.out).memory
    assert memory is not None
    assert not memory.recited

    seen = vitascope(*command, "--data", "films")
    assert not [line for line in seen.json if "warning" in line]
    memory = Result.parse(seen.out).memory
    assert memory is not None
    assert (memory.recited, memory.of, memory.copies.of) == (True, 3, 4)

    Path("films/2.txt").unlink()
    other = vitascope(*command, "--data", "films")
    assert other.code == 2
    assert "not the films that mine learned from, of which there are 3 clips" in other.err[-1]
    both = vitascope("evaluate", "--model", "run/bundle", "--against", model, "--data", "films", *QUICK)
    assert both.err == [
        "--data and --against: copies of one's films are looked for in one model; measure the two apart."
    ]
    lost = vitascope("evaluate", "--model", "run/bundle", "--data", "nowhere", *QUICK)
    assert (lost.code, len(lost.err)) == (2, 1)
    mistaken = vitascope("evaluate", "--model", model, "--data", "films", *QUICK)
    assert mistaken.code == 2
    assert "from nobody's films; leave --data out" in mistaken.err[-1]
