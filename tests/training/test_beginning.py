"""Runs that begin from a bundle, and runs that learn from somebody's own films."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vitascope import bundle
from vitascope.bundle import CODEC, LEARNED, NETWORK, TEXT, TOKENIZER
from vitascope.data import listing, own_clips
from vitascope.data.own import OwnSource
from vitascope.engine import Engine
from vitascope.errors import BadData, BadModel, BadRecipe, BadRun
from vitascope.learned import learned_by, rendered_for
from vitascope.media import Video
from vitascope.media.fitting import Measure
from vitascope.recipe import RECIPES, Recipe
from vitascope.shot import Shot
from vitascope.storybook import render, scene, vocabulary
from vitascope.training import checkpoint, preview
from vitascope.training.beginning import begun, complete, fresh
from vitascope.training.kept import bundle_of
from vitascope.training.run import Stopped, train_recipe

STAGE = """
[stages.{}]
steps = {}
batch = 2
clips = 4
lr = 1e-3
muon_lr = 1e-3
warmup = 1
log_every = 1
save_every = 2
preview_every = {}
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are rounded by how they are split among threads; so all runs here have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The prompts that previews asked for; their films, which take most of the time here, are blank."""
    heard: list[list[str]] = []

    def samples(system: object, prompts: list[str]) -> list[torch.Tensor]:
        heard.append(list(prompts))
        return [torch.zeros(5, 32, 64, 3, dtype=torch.uint8)] * len(prompts)

    monkeypatch.setattr(preview, "samples", samples)
    return heard


def brief(path: Path, *stages: str, head: str = "", steps: int = 4, previews: int = 100) -> str:
    """A recipe that says little but its stages."""
    text = 'name = "brief"\nseed = 3\n' + head + "".join(STAGE.format(stage, steps, previews) for stage in stages)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the sizes of `tiny`, whose whitening and weights are its own."""
    system = fresh(complete(Recipe.read("tiny")).model_copy(update={"seed": 77}))
    system.codec.mean.copy_(torch.tensor([0.5, -0.25, 0.125, 0.0]))
    system.codec.std.copy_(torch.tensor([2.0, 1.5, 1.0, 0.5]))
    for parameter in system.diffusion.net.parameters():
        if not parameter.any():  # as after some training: maps that begin silent have spoken
            torch.nn.init.normal_(parameter, std=0.02, generator=torch.Generator().manual_seed(1))
    folder = tmp_path_factory.mktemp("base") / "bundle"
    bundle.save(folder, system)
    return folder


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven films of two clips each, and one that is none."""
    folder = tmp_path_factory.mktemp("films")
    for index in range(11):
        film = render([scene(9, index)], frames=10, height=32, width=64)[0]
        Video(film, 8.0).save(folder / f"{index:02d}.mp4")
        (folder / f"{index:02d}.txt").write_text(f"a zebra, take {index}")
    (folder / "bad.mp4").write_bytes(b"")
    (folder / "bad.txt").write_text("nothing")
    return folder


# From a bundle


def test_what_is_not_trained_keeps_the_weights_of_the_bundle(base: Path, tmp_path: Path) -> None:
    made = train_recipe(brief(tmp_path / "r.toml", "diffusion"), tmp_path / "run", start=str(base))
    for name in (CODEC, TEXT, TOKENIZER):
        assert (made / name).read_bytes() == (base / name).read_bytes()
    assert (made / NETWORK).read_bytes() != (base / NETWORK).read_bytes()
    about, before = bundle.described(made)[0], bundle.described(base)[0]
    assert about.name == "brief"
    assert about.model_dump(include={"codec", "text", "network", "video"}) == before.model_dump(
        include={"codec", "text", "network", "video"}
    )
    assert {path.name for path in (tmp_path / "run").glob("*.safetensors")} == {"diffusion.safetensors"}
    assert Engine.load(made, "cpu").generate(Shot(prompt="a red ball", seed=1)).frames.shape == (5, 32, 64, 3)


def test_a_network_may_be_told_of_places_from_then_on(base: Path, tmp_path: Path) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion", head="[network]\nplaces = true\n", steps=1)
    made = train_recipe(recipe, tmp_path / "run", start=str(base))
    network, before = bundle.load(made).diffusion.net, bundle.load(base).diffusion.net
    added = network.state_dict().keys() - before.state_dict().keys()
    assert added == {"place_embedding.weight"}
    assert network.get_parameter("place_embedding.weight").any()
    # What it is told of first is nothing, so that it goes on from what it knew.
    about = Recipe.of(json.loads((tmp_path / "run" / "recipe.json").read_text()))
    x, condition = torch.randn(1, 4, 2, 4, 8), {"context": torch.randn(1, 3, about.network.text_width)}
    grown = begun(about, base, bundle.described(base)[1]).diffusion.net
    assert about.network.places
    assert torch.equal(grown(x, torch.tensor([900.0]), **condition), before(x, torch.tensor([900.0]), **condition))
    # The other way is refused: what was learned beside places would be lost.
    without = brief(tmp_path / "w.toml", "diffusion", head="[network]\nplaces = false\n", steps=1)
    with pytest.raises(BadRecipe, match=r"network\.places is False in the recipe and True in"):
        train_recipe(without, tmp_path / "other", start=str(made))


def test_a_run_of_an_older_version_goes_on_where_its_recipe_lacks_what_came_since(base: Path, tmp_path: Path) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion", steps=2)
    train_recipe(recipe, tmp_path / "run", start=str(base))
    kept = tmp_path / "run" / "recipe.json"
    table = json.loads(kept.read_text())
    del table["network"]["places"]
    kept.write_text(json.dumps(table))
    train_recipe(brief(tmp_path / "r.toml", "diffusion", steps=3), tmp_path / "run", resume=True)
    table["network"]["layers"] += 1
    kept.write_text(json.dumps(table))
    with pytest.raises(BadRun, match="started from another recipe"):
        train_recipe(recipe, tmp_path / "run", resume=True)


def test_what_is_trained_begins_with_the_weights_of_the_bundle(base: Path, tmp_path: Path) -> None:
    still = brief(tmp_path / "r.toml", "codec", "clip", "diffusion", steps=1)
    Path(still).write_text(Path(still).read_text().replace("lr = 1e-3", "lr = 1e-30"))
    made = train_recipe(still, tmp_path / "run", start=str(base))
    before = bundle.load(base)
    for name, module in bundle.load(made).parts().items():
        for key, value in before.parts()[name].state_dict().items():
            if key not in ("mean", "std"):
                torch.testing.assert_close(module.state_dict()[key], value, atol=1e-20, rtol=0)
    # The codec was trained, if with no effect: its latents are whitened anew from the clips.
    assert not torch.equal(bundle.load(made).codec.mean, before.codec.mean)


def test_the_stages_that_the_recipe_names_are_trained_and_those_asked_for(base: Path, tmp_path: Path) -> None:
    recipe = brief(tmp_path / "r.toml", "clip", "diffusion", steps=1)
    train_recipe(recipe, tmp_path / "two", start=str(base))
    assert {path.stem for path in (tmp_path / "two").glob("*.safetensors")} == {"clip", "diffusion"}
    train_recipe(recipe, tmp_path / "one", start=str(base), stages=["diffusion"])
    assert {path.stem for path in (tmp_path / "one").glob("*.safetensors")} == {"diffusion"}


@pytest.mark.parametrize("stage", ["codec", "clip"])
def test_what_the_bundles_network_learned_on_does_not_move_without_it(base: Path, tmp_path: Path, stage: str) -> None:
    run, heard = tmp_path / "run", list[str]()
    alone = brief(tmp_path / "alone.toml", stage, steps=1)
    with pytest.raises(BadRecipe, match=rf"it trains {stage} and not diffusion.*; add \[stages\.diffusion\], or"):
        train_recipe(alone, run, start=str(base))
    assert not run.exists()
    # Asked for by name it is a beginning, and what is still to come is told.
    train_recipe(alone, run, start=str(base), stages=[stage], warn=heard.append)
    assert len(heard) == 1
    assert f"began with, and learned on another {stage} than was trained here" in heard[0]
    assert heard[0].endswith("train it with --resume --stage diffusion")
    heard.clear()
    train_recipe(alone, run, resume=True, stages=["diffusion"], warn=heard.append)
    assert heard == []
    # The other way round it would stay as it is.
    both = brief(tmp_path / "both.toml", stage, "diffusion", steps=1)
    train_recipe(both, tmp_path / "other", start=str(base), stages=["diffusion"])
    with pytest.raises(
        BadRun, match=rf"stage {stage} is to be trained, and diffusion, .*; delete diffusion\.saf.*leave it out"
    ):
        train_recipe(both, tmp_path / "other", resume=True)


def test_a_run_remembers_where_it_began(base: Path, tmp_path: Path) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion", steps=6)
    mine = Path(shutil.copytree(base, tmp_path / "mine"))
    whole = train_recipe(recipe, tmp_path / "whole", start=str(mine))

    def stop(doing: str, step: int, of: int, figures: dict[str, float]) -> None:
        if (doing, step) == ("training diffusion", 3):
            raise Stopped

    with pytest.raises(Stopped):
        train_recipe(recipe, tmp_path / "run", start=str(mine), watch=stop)
    shutil.rmtree(mine)
    made = train_recipe(recipe, tmp_path / "run", resume=True)
    assert bundle.digests(made) == bundle.digests(whole)
    assert json.loads((tmp_path / "run" / "beginning.json").read_text()) == {"bundle": str(mine), "data": None}


def test_another_beginning_is_refused(base: Path, tmp_path: Path) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion", steps=1)
    train_recipe(recipe, tmp_path / "run", start=str(base))
    train_recipe(recipe, tmp_path / "run", start=str(base), resume=True)
    other = Path(shutil.copytree(base, tmp_path / "other"))
    system = bundle.load(other)
    torch.nn.init.ones_(system.diffusion.net.patch_embedding.bias)  # pyright: ignore
    bundle.save(other, system)
    with pytest.raises(BadRun, match="the run there began from other weights"):
        train_recipe(recipe, tmp_path / "run", start=str(other), resume=True)
    with pytest.raises(Stopped):
        train_recipe("tiny", tmp_path / "fresh", watch=_stop_at_once)
    with pytest.raises(BadRun, match="the run there began with fresh weights; give another --out folder to begin from"):
        train_recipe("tiny", tmp_path / "fresh", start=str(base), resume=True)


def _stop_at_once(*_: object) -> None:
    raise Stopped


def test_what_a_killed_process_left_is_of_no_run(base: Path, films: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(base, run / "start")
    (run / "beginning.json").write_text(json.dumps({"bundle": "gone", "data": str(films)}))
    with pytest.raises(BadRecipe, match="add --from"):
        train_recipe("finetune", run, resume=True)
    with pytest.raises(Stopped):
        train_recipe("tiny", run, resume=True, watch=_stop_at_once)
    assert {path.name for path in run.iterdir()} == {"data", "recipe.json", "run.lock", "tokenizer.json"}
    assert not list((run / "data").glob("own*"))


@pytest.mark.parametrize(
    ("head", "entry"),
    [
        ("[network]\nlayers = 3\n", "network.layers is 3 in the recipe and 2 in the bundle"),
        ("[network]\nheads = 8\n", "network.heads is 8 in the recipe and 4 in the bundle"),
        ("[codec]\nbase = 16\n", "codec.base is 16 in the recipe and 8 in the bundle"),
        (
            '[text]\ncontext = "states"\n[network]\ntext_width = 32\n',
            r"text.context is 'states' in the recipe and 'words\+states' in the bundle",
        ),
        ("[text]\nimage = [64, 64]\n[video]\nheight = 64\n", r"text.image is \(64, 64\) in the recipe and \(32, 64\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(base: Path, tmp_path: Path, head: str, entry: str) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion", head=head)
    with pytest.raises(
        BadRecipe, match=rf"^recipe .*r\.toml from .*bundle: {entry}.*, so its weights do not fit; leave"
    ):
        train_recipe(recipe, tmp_path / "run", start=str(base))
    assert not (tmp_path / "run").exists()


def test_length_rate_and_size_of_clips_may_differ(base: Path, tmp_path: Path) -> None:
    head = "[video]\nframes = 9\nfps = 12\nheight = 48\nwidth = 80\n"
    about, _ = bundle.described(
        train_recipe(brief(tmp_path / "r.toml", "diffusion", head=head, steps=1), tmp_path / "run", start=str(base))
    )
    assert (about.video.frames, about.video.fps, about.video.height, about.video.width) == (9, 12, 48, 80)
    assert about.text.image == (32, 64)  # the image tower keeps the size that it learned, and scales what it sees


def test_another_world_brings_its_words_and_forgets_none(tmp_path: Path) -> None:
    small = complete(Recipe.read("tiny").model_copy(update={"world": "first"}))
    before = fresh(small)
    bundle.save(tmp_path / "first", before)
    before = bundle.load(tmp_path / "first")
    out = tmp_path / "run"
    recipe = brief(tmp_path / "r.toml", "diffusion", head='world = "whole"\n', steps=1)
    after = bundle.load(train_recipe(recipe, out, start=str(tmp_path / "first")))

    old, new = before.text.words.tokenizer.get_vocab(), after.text.words.tokenizer.get_vocab()
    assert {word: new[word] for word in old} == old
    assert set(new) == set(old) | set(vocabulary("whole"))
    assert after.recipe.text.vocab == len(new) > len(old)
    assert after.text.words.unknown_words("a fox in a red ball") == []
    assert before.text.words.unknown_words("a fox in a red ball") == ["fox"]
    for name in ("context", "mask"):  # a sentence of known words means what it did
        torch.testing.assert_close(after.text(["a red ball"])[name], before.text(["a red ball"])[name])
    fox = after.text(["a fox"])["context"]
    assert not torch.equal(fox, after.text(["a dog"])["context"])
    # Resumed, it is the same run: the words are found again from the bundle that it began from.
    assert train_recipe(recipe, out, resume=True) == out / "bundle"


def test_a_recipe_without_networks_needs_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="it describes no networks of its own but goes on from a bundle's; add --from"):
        train_recipe("finetune", tmp_path / "run")
    with pytest.raises(BadModel, match="did you mean 'storybook'"):
        train_recipe("finetune", tmp_path / "run", start="storybok")
    (tmp_path / "r.toml").write_text("seed = 1\n")
    with pytest.raises(BadRecipe, match="the entry 'name' cannot be used: it is missing"):
        train_recipe(str(tmp_path / "r.toml"), tmp_path / "run", start="storybook")
    (tmp_path / "r.toml").write_text('name = "a"\n' + STAGE.format("diffusion", 1, 1) + "stepz = 1\n")
    with pytest.raises(BadRecipe, match=r"stages\.diffusion\.stepz"):
        train_recipe(str(tmp_path / "r.toml"), tmp_path / "run", start="storybook")
    assert not (tmp_path / "run").exists()


def test_the_recipe_that_ships_goes_on_from_the_bundle_that_ships() -> None:
    base = bundle.described(bundle.SHIPPED)[0]
    recipe, stages = Recipe.upon("finetune", base)
    assert stages == ("diffusion",)
    assert (recipe.network, recipe.video) == (base.network, base.video)
    assert recipe.stages.diffusion != base.stages.diffusion


# From films


def test_own_films_are_learned_from(base: Path, films: Path, tmp_path: Path, asked: list[list[str]]) -> None:
    heard: list[str] = []
    told: list[tuple[str, int]] = []
    run = tmp_path / "run"
    recipe = brief(tmp_path / "r.toml", "diffusion", previews=2)
    watch = lambda doing, step, of, figures: told.append((doing, step))  # noqa: E731
    train_recipe(recipe, run, data=films, start=str(base), warn=heard.append, watch=watch)
    assert heard == ["bad.mp4 was set aside: the file is empty; make or fetch it again."]
    assert ("reading films", 12) in told
    assert ("encoding clips", 20) in told
    assert (run / "data" / "own.u8").stat().st_size == 22 * 5 * 32 * 64 * 3
    assert not list((run / "data").glob("clips*"))
    assert len(asked) == 2
    assert all(prompt.startswith("a zebra, take") for prompt in asked[0])
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "held out" in line] == [0, 2, 4]


def held_out_of(run: Path, films: Path) -> str:
    """The number of the one film that a run holds out."""
    found = own_clips(run / "data" / "own.u8", listing(films), Measure(5, 32, 64, 8)).held_out
    assert found is not None
    (caption,) = set(found.captions)
    return caption.removeprefix("a zebra, take ")


def test_words_of_own_captions_become_known_and_the_others_mean_what_they_did(
    base: Path, films: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(films, tmp_path / "mine", copy_function=shutil.copy2))
    recipe = brief(tmp_path / "r.toml", "diffusion", steps=2)
    made = train_recipe(recipe, tmp_path / "run", data=mine, start=str(base))
    before, after = bundle.load(base), bundle.load(made)
    old, new = (system.text.words.tokenizer.get_vocab() for system in (before, after))
    assert {word: new[word] for word in old} == old
    # Of the eleven films one was held out, and one could not be used: no step saw what their captions alone say.
    told = {"zebra", "take", *map(str, range(11)), "nothing"} - set(old)
    assert set(new) - set(old) == told - {"nothing", held_out_of(tmp_path / "run", films)}
    assert before.text.words.unknown_words("a red zebra") == ["zebra"]
    assert after.text.words.unknown_words("a red zebra") == []
    assert torch.equal(after.text(["a red ball"])["context"], before.text(["a red ball"])["context"])
    zebra, take = (after.text([f"a red {word}"])["context"] for word in ("zebra", "take"))
    assert not torch.equal(zebra, take)
    # What it learned from is noted: what the bundle did, and the films.
    before_it, films_of_it = learned_by(after.recipe, made)
    assert before_it == rendered_for(bundle.described(base)[0])
    assert isinstance(films_of_it, OwnSource)
    assert films_of_it.count == 20
    # The run keeps its words: resumed it has the same, and a bundle of it needs the films no more.
    train_recipe(brief(tmp_path / "r.toml", "diffusion", steps=3), tmp_path / "run", resume=True)
    again = bundle.load(made)
    assert again.text.words.json() == after.text.words.json()
    assert torch.equal(again.text(["a red zebra, take"])["context"], after.text(["a red zebra, take"])["context"])
    shutil.rmtree(mine)
    kept = bundle_of(tmp_path / "run", tmp_path / "half", strength=0.5)
    for name in (TOKENIZER, LEARNED):
        assert (kept / name).read_bytes() == (made / name).read_bytes()


def test_a_run_that_is_stopped_while_films_are_read_finds_the_same_words(films: Path, tmp_path: Path) -> None:
    def stop(doing: str, step: int, *_: object) -> None:
        if (doing, step) == ("reading films", 5):
            raise Stopped

    recipe = tmp_path / "r.toml"
    recipe.write_text(
        (RECIPES / "tiny.toml").read_text().replace("steps = 40", "steps = 1").replace("steps = 30", "steps = 1")
    )
    whole = train_recipe(str(recipe), tmp_path / "whole", data=films)
    with pytest.raises(Stopped):
        train_recipe(str(recipe), tmp_path / "run", data=films, watch=stop)
    with pytest.raises(BadRun, match=r"tokenizer\.json: it is not there, or .*; go on with the run"):
        bundle_of(tmp_path / "run", tmp_path / "b")
    made = train_recipe(str(recipe), tmp_path / "run", resume=True)
    assert bundle.digests(made) == bundle.digests(whole)


def test_a_run_whose_words_an_older_version_found_keeps_them(base: Path, films: Path, tmp_path: Path) -> None:
    """It took those of every caption, before a film was read."""
    run, recipe = tmp_path / "run", brief(tmp_path / "r.toml", "clip", "diffusion", steps=1)

    def stop(doing: str, step: int, *_: object) -> None:
        if doing.startswith("training"):
            raise Stopped

    with pytest.raises(Stopped):
        train_recipe(recipe, run, data=films, start=str(base), watch=stop)
    words = bundle.described(base)[1].with_new(["nothing", "take", "zebra", *map(str, range(11))])
    table = json.loads((run / "recipe.json").read_text())
    table["text"]["vocab"] = len(words)
    (run / "recipe.json").write_text(json.dumps(table))
    (run / TOKENIZER).write_text(words.json())
    made = train_recipe(recipe, run, resume=True)
    assert bundle.described(made)[1].json() == words.json()
    # Where the file is lost, the bundle has a copy.
    (run / TOKENIZER).unlink()
    assert bundle_of(run, tmp_path / "b") == tmp_path / "b"
    assert bundle.digests(train_recipe(recipe, run, resume=True)) == bundle.digests(tmp_path / "b")
    assert (run / TOKENIZER).read_text() == words.json()
    # What is trained for them is not taken for what is trained for others.
    for text, why in (
        (bundle.described(base)[1].json(), "it has .* words and the run knows"),
        ("{", "it cannot be read"),
    ):
        (run / TOKENIZER).write_text(text)
        for go_on in (lambda: train_recipe(recipe, run, resume=True), lambda: bundle_of(run, tmp_path / "b")):
            with pytest.raises(
                BadRun,
                match=rf"run.tokenizer\.json: {why}.*; put back the one that was there, of which .*run.bundle.tok.* is a copy",
            ):
                go_on()
    (run / TOKENIZER).write_text(words.json().replace('"zebra"', '"quagga"'))  # as many, and others
    with pytest.raises(BadRun, match="what is trained there does not know 'zebra'"):
        train_recipe(recipe, run, resume=True)
    (run / TOKENIZER).write_text("{")
    shutil.rmtree(run / "bundle")
    with pytest.raises(BadRun, match="; put back the one that was there, or give another --out folder"):
        train_recipe(recipe, run, resume=True)
    (run / TOKENIZER).unlink()
    for go_on in (lambda: train_recipe(recipe, run, resume=True), lambda: bundle_of(run, tmp_path / "b")):
        with pytest.raises(BadRun, match=r"tokenizer\.json: it is not there, .*; put back the one that was there"):
            go_on()


def _at_training(doing: str, *_: object) -> None:
    if doing.startswith("training"):
        raise Stopped


def test_words_of_captions_that_were_rewritten_are_learned_where_nothing_was_yet(
    base: Path, films: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(films, tmp_path / "mine", copy_function=shutil.copy2))
    run, recipe = tmp_path / "run", brief(tmp_path / "r.toml", "diffusion", steps=1)
    with pytest.raises(Stopped):
        train_recipe(recipe, run, data=mine, start=str(base), watch=_at_training)
    held = held_out_of(run, mine)
    rewritten = next(index for index in range(11) if str(index) != held)
    (mine / f"{rewritten:02d}.txt").write_text(f"a quagga, take {rewritten}")
    (run / "data" / "own.u8").unlink()
    with pytest.raises(Stopped):
        train_recipe(recipe, run, resume=True, watch=_at_training)
    assert '"quagga"' in (run / TOKENIZER).read_text()
    (run / TOKENIZER).write_text("{")  # nothing knows its words yet
    made = train_recipe(recipe, run, resume=True)
    assert bundle.described(made)[1].unknown_words(f"a zebra and a quagga, take {rewritten}") == []
    before, kept = bundle.digests(made), (run / TOKENIZER).read_text()
    # Once something is trained, a word more is one that it would never hear.
    for caption, words in (
        ("take", "'okapi'"),
        ("zonkey", "'okapi' and 'zonkey'"),
        ("b c d", "'b', 'c', 'd' and more"),
    ):
        (mine / f"{rewritten:02d}.txt").write_text(f"a quagga, an okapi, {caption} {rewritten}")
        (run / "data" / "own.u8").unlink(missing_ok=True)
        with pytest.raises(
            BadRun,
            match=rf"run: what is trained there does not know {words}, to be .*; give another --out folder, or captions without",
        ):
            train_recipe(recipe, run, resume=True)
    # A word less is none too few.
    (mine / f"{rewritten:02d}.txt").write_text(f"a zebra, take {rewritten}")
    (run / "data" / "own.u8").unlink()
    assert bundle.digests(train_recipe(recipe, run, resume=True)) == before
    assert (run / TOKENIZER).read_text() == kept


def test_the_loss_on_what_is_held_out_is_of_the_averaged_weights_and_changes_nothing(
    base: Path, films: Path, tmp_path: Path
) -> None:
    made = [
        train_recipe(
            brief(tmp_path / "r.toml", "diffusion", previews=n), tmp_path / f"{n}", data=films, start=str(base)
        )
        for n in (1, 100)
    ]
    assert (made[0] / NETWORK).read_bytes() == (made[1] / NETWORK).read_bytes()
    losses = [
        [json.loads(line).get("held out") for line in (folder.parent / "log.jsonl").read_text().splitlines()]
        for folder in made
    ]
    assert losses[0][-1] == losses[1][-1] is not None
    assert len({loss for loss in losses[0] if loss is not None}) == 5


def test_a_run_on_films_that_is_stopped_anywhere_ends_in_the_same_weights(
    base: Path, films: Path, tmp_path: Path
) -> None:
    recipe = brief(tmp_path / "r.toml", "diffusion")
    whole = train_recipe(recipe, tmp_path / "whole", data=films, start=str(base))
    moments = [("reading films", 5), ("encoding clips", 16), ("training diffusion", 3)]
    for moment in moments:

        def stop(doing: str, step: int, of: int, figures: dict[str, float], moment: object = moment) -> None:
            if (doing, step) == moment:
                raise Stopped

        first = moment == moments[0]
        beginning: dict[str, Any] = {"data": films, "start": str(base)} if first else {"resume": True}
        with pytest.raises(Stopped):
            train_recipe(recipe, tmp_path / "run", watch=stop, **beginning)
    made = train_recipe(recipe, tmp_path / "run", resume=True)
    assert bundle.digests(made) == bundle.digests(whole)
    assert checkpoint.load(tmp_path / "run" / "diffusion.safetensors")["step"] == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda folder: (folder / "02.txt").write_text("a quagga"), r"02\.mp4 has another caption since this run read"),
        (
            lambda folder: shutil.copy(folder / "03.mp4", folder / "02.mp4"),
            r"02\.mp4 is another film since this run read",
        ),
        (shutil.rmtree, "there is no such folder"),
    ],
)
def test_films_that_changed_are_noticed_before_anything_is_trained(
    films: Path, tmp_path: Path, change: Callable[[Path], object], why: str
) -> None:
    mine = Path(shutil.copytree(films, tmp_path / "mine", copy_function=shutil.copy2))

    def stop(doing: str, *_: object) -> None:
        if doing.startswith("training"):
            raise Stopped

    with pytest.raises(Stopped):
        train_recipe("tiny", tmp_path / "run", data=mine, watch=stop)
    change(mine)
    with pytest.raises((BadRun, BadData), match=why):
        train_recipe("tiny", tmp_path / "run", resume=True)


def test_from_nothing_the_words_are_those_of_the_captions(films: Path, tmp_path: Path) -> None:
    text = (RECIPES / "tiny.toml").read_text().replace("steps = 40", "steps = 2").replace("steps = 30", "steps = 2")
    (tmp_path / "r.toml").write_text(text)
    heard: list[str] = []
    made = train_recipe(str(tmp_path / "r.toml"), tmp_path / "run", data=films, warn=heard.append)
    assert len(heard) == 1  # the empty film
    words = bundle.described(made)[1]
    held = held_out_of(tmp_path / "run", films)
    for take in map(str, range(11)):
        assert words.unknown_words(f"a zebra, take {take}") == ([take] if take == held else [])
    assert words.unknown_words("a red zebra") == ["red"]
    assert {path.stem for path in (tmp_path / "run").glob("*.safetensors")} == {"codec", "clip", "diffusion"}


def test_films_and_the_storybook_are_not_mixed(films: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train_recipe("tiny", tmp_path / "run", watch=_stop_at_once)
    with pytest.raises(BadRun, match="the run there learns from the storybook; give another --out folder"):
        train_recipe("tiny", tmp_path / "run", data=films, resume=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadData, match="there is no film in it"):
        train_recipe("tiny", tmp_path / "new", data=empty)
    assert not (tmp_path / "new").exists()
