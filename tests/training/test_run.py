"""A run: stages in one folder, which may be stopped, killed or cut short anywhere and ends in the same weights."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from vitascope import bundle
from vitascope.engine import Engine
from vitascope.errors import BadRecipe, BadRun
from vitascope.recipe import RECIPES, STAGES
from vitascope.shot import Shot
from vitascope.storybook import vocabulary
from vitascope.text import Words
from vitascope.training import checkpoint
from vitascope.training.folder import locked
from vitascope.training.run import Stopped, train_recipe

SAVE_EVERY = 2
STEPS = 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are rounded by how they are split among threads; so all runs here have one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def table(name: str) -> dict[str, Any]:
    return tomllib.loads((RECIPES / f"{name}.toml").read_text(encoding="utf-8"))


def written(path: Path, recipe: dict[str, Any]) -> str:
    """A recipe as a TOML file; returns its name for `train_recipe`."""
    lines: list[str] = []

    def put(part: dict[str, Any], name: str = "") -> None:
        if name:
            lines.append(f"[{name}]")
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in part.items() if not isinstance(value, dict))
        for key, value in part.items():
            if isinstance(value, dict):
                put(value, f"{name}.{key}" if name else key)

    put(recipe)
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def brief(**changes: Any) -> dict[str, Any]:
    """The tiny recipe, briefer, with a stage for the decoder: 12 steps a stage, saved every 2."""
    recipe = table("tiny")
    recipe["stages"]["decoder"] = dict(recipe["stages"]["codec"])
    for stage in recipe["stages"].values():
        stage |= {"steps": STEPS, "batch": 2, "clips": 8, "log_every": 1, "save_every": SAVE_EVERY, "warmup": 2}
        stage |= {"preview_every": 1000, **changes}
    for name in ("codec", "decoder"):
        recipe["stages"][name] |= {"crop": 16, "frames": [1, 5]}
    return recipe


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("recipe") / "brief.toml", brief())


def hashes(folder: Path) -> dict[str, str]:
    """The bundle's files, and all tensors of the state that every stage ended in."""
    found = bundle.digests(folder / "bundle")
    for stage in STAGES:
        whole = hashlib.sha256()
        for name, value in sorted(checkpoint.load(folder / f"{stage}.safetensors").items()):
            whole.update(name.encode() + value.numpy().tobytes())
        found[stage] = whole.hexdigest()
    return found


@pytest.fixture(scope="module")
def unbroken(recipe: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was never stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train_recipe(recipe, folder)
    torch.set_num_threads(before)
    return folder


def test_a_recipe_becomes_a_bundle_that_makes_films(unbroken: Path) -> None:
    engine = Engine.load(unbroken / "bundle", "cpu")
    film = engine.generate(Shot(prompt="a red ball bounces on a meadow", seed=1))
    assert film.frames.shape == (5, 32, 64, 3)


def test_every_step_is_logged_and_pictures_are_written(unbroken: Path) -> None:
    lines = [json.loads(line) for line in (unbroken / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [(s, i) for s in STAGES for i in range(1, STEPS + 1)]
    assert {"loss", "rate", "gradient", "clips/s"} <= set(lines[0])
    assert {"psnr", "top1"} <= set(lines[0]) | set(lines[STEPS])
    assert {path.name for path in (unbroken / "previews").iterdir()} == {
        f"{stage}-000012.png" for stage in ("codec", "diffusion", "decoder")
    }


def test_the_bundle_holds_the_averaged_weights(unbroken: Path) -> None:
    shipped = bundle.load(unbroken / "bundle").diffusion.net.state_dict()
    state = checkpoint.load(unbroken / "diffusion.safetensors")
    for name, value in shipped.items():
        averaged, raw = state[f"average/{name}"], state[f"model/{name}"]
        torch.testing.assert_close(value, averaged, atol=1e-6, rtol=2**-8)
        assert not torch.equal(averaged, raw)


def test_a_folder_with_a_run_is_not_taken_without_resume(recipe: str, unbroken: Path) -> None:
    before = hashes(unbroken)
    with pytest.raises(BadRun, match="a run is there already; add --resume"):
        train_recipe(recipe, unbroken)
    assert hashes(unbroken) == before


def test_a_finished_run_resumes_into_itself(recipe: str, unbroken: Path) -> None:
    before = hashes(unbroken)
    train_recipe(recipe, unbroken, resume=True, watch=lambda *told: pytest.fail(f"worked again: {told}"))
    assert hashes(unbroken) == before


def test_another_recipe_is_refused_and_another_rate_is_not(unbroken: Path, tmp_path: Path) -> None:
    other = brief() | {"seed": 2}
    before, run = hashes(unbroken), tmp_path / "run"
    shutil.copytree(unbroken, run)
    with pytest.raises(BadRun, match="started from another recipe"):
        train_recipe(written(tmp_path / "other.toml", other), run, resume=True)
    assert hashes(run) == before
    train_recipe(written(tmp_path / "brief.toml", brief(lr=2e-3)), run, resume=True)
    assert hashes(run) | {"recipe.json": ""} == before | {"recipe.json": ""}
    assert hashes(run) != before


# What belongs together


def longer(path: Path, *stages: str) -> str:
    """The brief recipe with four steps more in some stages."""
    recipe = brief()
    for stage in stages:
        recipe["stages"][stage]["steps"] = STEPS + 4
    return written(path, recipe)


def copied(run: Path, folder: Path) -> Path:
    return Path(shutil.copytree(run, folder / "run"))


def ensure_one(run: Path) -> None:
    """The bundle's codec is its stage's, and what was learned on it was learned on just this."""
    shipped = bundle.load(run / "bundle")
    codec, decoder = (checkpoint.load(run / f"{stage}.safetensors") for stage in ("codec", "decoder"))
    for name, value in shipped.codec.vae.state_dict().items():
        encodes = name.startswith(("encoder.", "conv1."))
        state = codec if encodes else decoder
        torch.testing.assert_close(value, state[f"average/{name}"], atol=1e-6, rtol=2**-8)
        if encodes:
            assert torch.equal(decoder[f"model/{name}"], codec[f"average/{name}"])
    notes = [checkpoint.noted(run / f"{stage}.safetensors").about for stage in ("diffusion", "decoder")]
    assert notes[0]["learned on codec"] == notes[1]["learned on codec"]
    assert "learned on clip" in notes[0].keys() - notes[1].keys()


def test_a_run_whose_stages_all_get_longer_goes_on(unbroken: Path, tmp_path: Path) -> None:
    ensure_one(unbroken)
    run, heard = copied(unbroken, tmp_path), list[str]()
    made = train_recipe(longer(tmp_path / "r.toml", *STAGES), run, resume=True, warn=heard.append)
    assert [int(checkpoint.load(run / f"{stage}.safetensors")["step"]) for stage in STAGES] == [STEPS + 4] * 4
    ensure_one(run)
    assert bundle.digests(made) != bundle.digests(unbroken / "bundle")
    assert len(heard) == 2
    assert "until step 12 it learned on latents of another codec and words of another text tower than" in heard[0]
    assert "decoder.safetensors: until step 12 it learned on latents of another codec than there is now" in heard[1]
    heard.clear()
    train_recipe(longer(tmp_path / "r.toml", *STAGES), run, resume=True, warn=heard.append)
    assert heard == []


@pytest.mark.parametrize(
    ("stage", "left"),
    [
        ("codec", r"diffusion and decoder, .* delete diffusion\.safetensors and decoder\.safetensors"),
        ("clip", r"diffusion, .* delete diffusion\.safetensors to"),
    ],
)
def test_a_stage_does_not_move_on_beneath_those_that_are_done(
    unbroken: Path, tmp_path: Path, stage: str, left: str
) -> None:
    run, before = copied(unbroken, tmp_path), hashes(unbroken)
    recipe = longer(tmp_path / "r.toml", stage)
    for stages in (None, [stage]):
        with pytest.raises(
            BadRun, match=f"stage {stage} is to go on from step 12, and {left}.*or leave its steps at 12"
        ):
            train_recipe(recipe, run, resume=True, stages=stages, watch=lambda *_: pytest.fail("it worked"))
    assert hashes(run) == before
    for name in ("diffusion", "decoder"):
        (run / f"{name}.safetensors").unlink()
    train_recipe(recipe, run, resume=True)
    ensure_one(run)
    # The network may: nothing builds on it.
    train_recipe(longer(tmp_path / "r.toml", stage, "diffusion"), run, resume=True)
    ensure_one(run)


def test_of_stages_that_get_longer_one_by_one_it_is_told_what_is_still_to_come(unbroken: Path, tmp_path: Path) -> None:
    run, heard = copied(unbroken, tmp_path), list[str]()
    recipe = longer(tmp_path / "r.toml", *STAGES)
    train_recipe(recipe, run, resume=True, stages=["codec"], warn=heard.append)
    assert [line.rpartition("; ")[2] for line in heard] == [
        f"go on with --resume --stage {stage}" for stage in ("diffusion", "decoder")
    ]
    assert heard[0].startswith(f"{run / 'bundle'}: its diffusion learned on latents of another codec than there is now")
    for stage in ("clip", "decoder", "diffusion"):
        heard.clear()
        train_recipe(recipe, run, resume=True, stages=[stage], warn=heard.append)
    ensure_one(run)
    assert len(heard) == 1
    assert "until step 12" in heard[0]


def test_a_codec_that_is_trained_anew_has_to_come_out_as_it_was(recipe: str, unbroken: Path, tmp_path: Path) -> None:
    run, before = copied(unbroken, tmp_path), hashes(unbroken)
    (run / "codec.safetensors").unlink()
    heard: list[str] = []
    watch = lambda *_: heard.append("a step")  # noqa: E731
    train_recipe(recipe, run, resume=True, watch=watch, warn=heard.append)
    assert hashes(run) == before
    assert heard[0] == (
        f"{run}: stage codec begins anew, and diffusion and decoder, which learned on what it was, are done; should it not come "
        "out as it was, they have to be trained anew too"
    )
    assert set(heard[1:]) == {"a step"}
    (run / "codec.safetensors").unlink()
    with pytest.raises(
        BadRun, match=r"diffusion\.safetensors: stage diffusion is done, and learned on latents of another"
    ):
        train_recipe(written(tmp_path / "other.toml", brief(muon_lr=1e-2)), run, resume=True)
    (run / "diffusion.safetensors").unlink()
    with pytest.raises(
        BadRun, match=r"decoder\.safetensors: stage decoder is done, .* delete it, to have it trained anew"
    ):
        train_recipe(written(tmp_path / "other.toml", brief(muon_lr=1e-2)), run, resume=True)
    (run / "decoder.safetensors").unlink()
    train_recipe(written(tmp_path / "other.toml", brief(muon_lr=1e-2)), run, resume=True)
    ensure_one(run)


def test_a_run_of_a_version_that_noted_nothing_of_it_goes_on(recipe: str, unbroken: Path, tmp_path: Path) -> None:
    run, before = copied(unbroken, tmp_path), hashes(unbroken)
    for stage in STAGES:
        path = run / f"{stage}.safetensors"
        checkpoint.save(path, checkpoint.load(path), {"stage": stage, "recipe": "tiny"})
    train_recipe(recipe, run, resume=True, warn=pytest.fail)
    assert hashes(run) == before
    train_recipe(longer(tmp_path / "r.toml", "diffusion", "decoder"), run, resume=True, warn=pytest.fail)
    ensure_one(run)


def test_words_that_came_since_a_run_was_trained_are_not_left_out_in_silence(
    recipe: str, unbroken: Path, tmp_path: Path
) -> None:
    run = copied(unbroken, tmp_path)
    lost = Words.of([word for word in vocabulary("whole") if word not in ("ball", "red")])
    table = json.loads((run / "recipe.json").read_text())
    assert table["world"] == "whole"
    assert table["text"]["vocab"] == len(lost) + 2
    table["text"]["vocab"] = len(lost)
    (run / "recipe.json").write_text(json.dumps(table))
    (run / "tokenizer.json").write_text(lost.json())
    with pytest.raises(
        BadRun,
        match=r"run: what is trained there does not know 'ball' and 'red', to be .*; give another --out folder\.$",
    ):
        train_recipe(recipe, run, resume=True)
    # Where nothing was trained for those words, others take their place.
    for stage in STAGES:
        (run / f"{stage}.safetensors").unlink()
    train_recipe(recipe, run, resume=True)
    assert hashes(run) == hashes(unbroken)


def test_a_run_of_a_version_that_kept_no_words_goes_on(recipe: str, unbroken: Path, tmp_path: Path) -> None:
    run = copied(unbroken, tmp_path)
    (run / "tokenizer.json").unlink()
    shutil.rmtree(run / "bundle")
    train_recipe(recipe, run, resume=True)
    assert hashes(run) == hashes(unbroken)


def test_a_recipe_that_cannot_be_read_is_told(unbroken: Path, recipe: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("")
    with pytest.raises(BadRun, match="what is trained there is not known"):
        train_recipe(recipe, tmp_path, resume=True)


def test_the_lock_names_its_owner(recipe: str, tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(BadRun, match=f"process {os.getpid()} is training in this folder"):
        train_recipe(recipe, tmp_path)
    assert not (tmp_path / "recipe.json").exists()


def test_wrong_stages_minutes_and_folders(recipe: str, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="did you mean 'diffusion'"):
        train_recipe(recipe, tmp_path / "a", stages=["difusion"])
    for minutes in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(BadRun, match="minutes"):
            train_recipe(recipe, tmp_path / "a", minutes=minutes)
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(BadRun, match="nothing can be written there"):
        train_recipe(recipe, tmp_path / "file" / "run")
    with pytest.raises(
        BadRun, match="stage codec learns, which was never trained here; train it first, with --stage codec"
    ):
        train_recipe(recipe, tmp_path / "a", stages=["diffusion"])
    with pytest.raises(
        BadRecipe, match="stage 'decoder': recipe tiny has no such stage; it has codec, clip, diffusion"
    ):
        train_recipe("tiny", tmp_path / "b", stages=["decoder"])


def test_stages_one_by_one_are_the_stages_together(recipe: str, unbroken: Path, tmp_path: Path) -> None:
    for stage in ("clip", "codec", "decoder", "diffusion"):
        train_recipe(recipe, tmp_path, resume=True, stages=[stage])
    assert hashes(tmp_path) == hashes(unbroken)


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where these tests run behind nohup or in a script's background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Clock:
    """A clock that jumps ahead when told."""

    def __init__(self) -> None:
        self.ahead = 0.0
        self.real = time.monotonic

    def __call__(self) -> float:
        return self.real() + self.ahead


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "minutes"])
@pytest.mark.usefixtures("heard")
def test_a_run_that_is_stopped_saves_and_goes_on_to_the_same_weights(
    recipe: str, unbroken: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = [("rendering clips", 4), ("training codec", 5), ("training clip", 3), ("training diffusion", 7)]
    moments.append(("training decoder", 9))
    clock = Clock()
    monkeypatch.setattr("vitascope.training.run.time.monotonic", clock)
    monkeypatch.setattr("vitascope.data.clips.CHUNK", 4)
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    for doing, step in moments:

        def stop(
            heard: str, done: int, of: int, figures: dict[str, float], doing: str = doing, step: int = step
        ) -> None:
            if (heard, done) == (doing, step):
                if how == "minutes":
                    clock.ahead += 3600
                else:
                    os.kill(os.getpid(), getattr(signal, how))

        said = {"minutes": "stopped after 30 minutes", "SIGTERM": "stopped", "SIGINT": "interrupted"}[how]
        with pytest.raises(Stopped, match=rf"^{said} (at step \d+ of|while).*--resume goes on from there"):
            train_recipe(recipe, tmp_path, resume=True, watch=stop, minutes=30 if how == "minutes" else None)
        if doing.startswith("training"):
            stage = doing.removeprefix("training ")
            kept = int(checkpoint.load(tmp_path / f"{stage}.safetensors")["step"])
            assert kept in (step, step + 1)  # what was done is saved, though no save was due
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    train_recipe(recipe, tmp_path, resume=True)
    assert hashes(tmp_path) == hashes(unbroken)


def test_what_was_never_trained_and_never_begun_is_told(recipe: str, tmp_path: Path) -> None:
    heard: list[str] = []
    train_recipe(recipe, tmp_path / "run", stages=["codec"], resume=True, warn=heard.append)
    assert len(heard) == 2
    assert heard[0].endswith("there was no run to go on with, so one begins")
    assert "clip, diffusion never trained here, so its films are noise" in heard[1]
    heard.clear()
    train_recipe(recipe, tmp_path / "run", resume=True, warn=heard.append)
    assert heard == []


def test_a_bundle_is_no_folder_for_a_run(unbroken: Path, recipe: str, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(unbroken / "bundle", tmp_path / "bundle"))
    for resume in (False, True):
        with pytest.raises(BadRun, match="this is a bundle and no run; give another --out folder"):
            train_recipe(recipe, mine, resume=resume)
    bundle.load(mine)


@pytest.mark.usefixtures("heard")
def test_a_second_interrupt_does_not_wait_for_the_step(recipe: str, tmp_path: Path) -> None:
    def twice(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_recipe(recipe, tmp_path / "run", watch=twice)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_full_disk_stops_the_run_and_loses_nothing_saved(
    recipe: str, unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, saved = checkpoint.save_file, []

    def full(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str]) -> None:
        real(tensors, path, metadata=metadata)
        saved.append(path)
        if len(saved) == 4:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(BadRun, match="the one before still stands"):
        train_recipe(recipe, tmp_path)
    assert int(checkpoint.load(tmp_path / "codec.safetensors")["step"]) == 3 * SAVE_EVERY
    assert not list(tmp_path.glob(".*partial"))
    monkeypatch.setattr(checkpoint, "save_file", real)
    train_recipe(recipe, tmp_path, resume=True)
    assert hashes(tmp_path) == hashes(unbroken)


FORKS = """
import json, os, sys
import torch._dynamo, vitascope.training.run
from vitascope.cli import main
from vitascope.data.rendering import look

look("whole")
print("ready", flush=True)
for line in sys.stdin:
    told, *words = json.loads(line)
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(told, os.O_WRONLY), 2)
        print(os.getpid(), file=sys.stderr, flush=True)
        os._exit(main(words))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
"""Runs commands that it is given on its standard input, each in a process of its own whose standard error is the file that is
named first: starting Python and torch five times takes longer than all that is trained before five kills. What each of them
would import, or draw to know how clips look, is there when it begins; and it has one thread, so none holds a lock meanwhile."""


def killed(forks: subprocess.Popen[str], told: Path, recipe: str, folder: Path, draw: random.Random) -> int:
    """Train in another process and kill it (SIGKILL) at random after at least two checkpoints; its exit code."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    steps = SAVE_EVERY * 2 + draw.randrange(2 * SAVE_EVERY)
    words = ["train", recipe, "--out", str(folder), "--resume", "--device", "cpu"]
    print(json.dumps([str(told), *words]), file=forks.stdin, flush=True)
    with told.open(encoding="utf-8") as lines:
        child, heard = int(next(lines)), 0
        for line in lines:
            heard += '"doing": "training' in line
            if heard > steps:
                time.sleep(draw.random() * 0.03)
                os.kill(child, signal.SIGKILL)
                break
            assert line.startswith("{"), line
        return int(forks.stdout.readline())


def test_a_run_that_is_killed_five_times_ends_in_the_same_weights(recipe: str, unbroken: Path, tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    draw = random.Random(seed)
    told, run = tmp_path / "told", tmp_path / "run"
    os.mkfifo(told)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as forks:
        assert forks.stdout is not None
        assert forks.stdout.readline() == "ready\n"
        for attempt in range(5):
            before = {stage: (run / f"{stage}.safetensors").exists() for stage in STAGES}
            found = killed(forks, told, recipe, run, draw)
            assert found == -signal.SIGKILL, f"seed {seed}, attempt {attempt}, {before}"
    train_recipe(recipe, run, resume=True)
    assert hashes(run) == hashes(unbroken), f"seed {seed}"


def test_the_recipe_for_a_gpu_runs_at_a_tiny_size(tmp_path: Path) -> None:
    """On a GPU where there is one: data, states and previews must find the device; and a resumed state as well."""
    gpu, tiny = table("storybook"), brief()
    shrunk = gpu | {name: gpu[name] | tiny[name] for name in ("video", "codec", "text", "network", "defaults")}
    for name, stage in gpu["stages"].items():
        small = {key: tiny["stages"][name][key] for key in ("batch", "clips", "save_every", "log_every", "warmup")}
        shrunk["stages"][name] = stage | small | {"steps": 3, "preview_every": 2}
    shrunk["stages"]["codec"] |= {"crop": 16, "frames": [1, 5]}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = written(tmp_path / "shrunk.toml", shrunk)
    for steps in (3, 5):
        for stage in shrunk["stages"].values():
            stage["steps"] = steps
        made = train_recipe(written(tmp_path / "shrunk.toml", shrunk), tmp_path / "run", steps > 3, device=device)
    assert name.endswith("shrunk.toml")
    Engine.load(made, device).generate(Shot(prompt="a red ball", seed=1, steps=2))
    assert {path.name for path in (tmp_path / "run" / "previews").iterdir()} >= {
        "codec-000002.png",
        "diffusion-000005.png",
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # the compiler's own
@pytest.mark.slow  # it compiles for a minute or two
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="there is no compiler")
def test_a_compiled_network_learns_what_the_plain_one_does(unbroken: Path, tmp_path: Path) -> None:
    shape = brief(first=0.5)
    losses = []
    for compiled in (False, True):
        counters.clear()
        shape["stages"]["diffusion"] |= {"compile": compiled, "steps": 3, "preview_every": 3}
        folder = tmp_path / str(compiled)
        train_recipe(
            written(tmp_path / "recipe.toml", shape), folder, stages=["diffusion"], start=str(unbroken / "bundle")
        )
        lines = map(json.loads, (folder / "log.jsonl").read_text(encoding="utf-8").splitlines())
        losses.append([line["loss"] for line in lines])
        assert (folder / "previews" / "diffusion-000003.png").is_file()
        assert (counters["stats"]["unique_graphs"] > 0) is compiled
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)


def test_a_recipe_that_wants_a_compiler_is_refused_without_one(
    unbroken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("PATH", str(tmp_path))
    recipe = written(tmp_path / "recipe.toml", brief(compile=True))
    with pytest.raises(BadRun, match=r"stages\.diffusion says compile = true, and there is no C\+\+ compiler here"):
        train_recipe(recipe, tmp_path / "run", stages=["diffusion"], start=str(unbroken / "bundle"))
    assert not (tmp_path / "run" / "data").exists()
