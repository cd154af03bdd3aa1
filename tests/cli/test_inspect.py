"""vitascope inspect, models, sheet and train."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from vitascope.bundle import FILES as BUNDLED
from vitascope.bundle import SHIPPED, digests, fingerprint
from vitascope.cli.bundles import FILES, here, look, weights
from vitascope.cli.sheet import prompts_in
from vitascope.errors import BadModel
from vitascope.media import Video, record_of

Run = Callable[..., Any]


def test_a_film_is_told_with_its_record(vitascope: Run, toy: Path) -> None:
    vitascope("generate", "a red ball", "--model", toy, "--seed", "7", "--output", "a.mp4")
    plain, machine = vitascope("inspect", "a.mp4"), vitascope("inspect", "a.mp4", "--json")
    assert (plain.code, machine.code, plain.err, machine.err) == (0, 0, [], [])
    about = json.loads(machine.out)
    assert about["record"] == record_of("a.mp4")
    assert {k: about[k] for k in ("kind", "format", "frames", "width", "height", "fps", "seconds")} == {
        "kind": "film",
        "format": "mp4",
        "frames": 5,
        "width": 48,
        "height": 32,
        "fps": 8.0,
        "seconds": 0.625,
    }
    assert "    prompt: a red ball\n" in plain.out
    assert "    seed: 7\n" in plain.out


def test_a_film_without_a_record(vitascope: Run) -> None:
    Video(torch.zeros(2, 16, 16, 3, dtype=torch.uint8), 8.0).save("a.webm")
    assert json.loads(vitascope("inspect", "a.webm", "--json").out)["record"] is None
    assert "record: none\n" in vitascope("inspect", "a.webm").out


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_a_film_that_was_cut_off_is_told_to_be(vitascope: Run, suffix: str) -> None:
    torch.manual_seed(0)
    path = Video(torch.randint(0, 255, (17, 32, 64, 3), dtype=torch.uint8), 8.0).save(f"a{suffix}")
    assert json.loads(vitascope("inspect", path, "--json").out)["whole"] is True
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    told = vitascope("inspect", path)
    assert told.code == 0
    assert "whole: false\n" in told.out


def test_nothing_in_a_record_reaches_the_terminal_as_a_command(vitascope: Run) -> None:
    evil = {"shot": {"prompt": "\x1b[2J\x9b31m\u202e\r\nseed: 0"}, "\x1b]0;title\x07": [1, {"a": "\x1b"}]}
    Video(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), 8.0, evil).save("a.png")
    for line in vitascope("inspect", "a.png").out.splitlines():
        assert line.isprintable()
    assert json.loads(vitascope("inspect", "a.png", "--json").out)["record"] == evil


def test_a_bundle_is_told_from_its_headers(vitascope: Run, toy: Path) -> None:
    about = json.loads(vitascope("inspect", toy, "--json").out)
    held = {path.name: load_file(path) for path in toy.glob("*.safetensors")}
    assert about["kind"] == "bundle"
    assert about["parameters"] == sum(tensor.numel() for tensors in held.values() for tensor in tensors.values())
    assert about["bytes"] == sum(path.stat().st_size for path in toy.glob("*.safetensors"))
    assert {name: entry["tensors"] for name, entry in about["files"].items()} == {k: len(v) for k, v in held.items()}
    assert about["recipe"]["name"] == "toy"
    assert "parameters: " in vitascope("inspect", toy).out
    one = json.loads(vitascope("inspect", toy / "network.safetensors", "--json").out)
    assert one["kind"] == "weights"
    assert one["parameters"] == about["files"]["network.safetensors"]["parameters"]


def test_a_model_that_ships_is_found_by_its_name(vitascope: Run) -> None:
    told = vitascope("inspect", "storybook", "--json")
    assert told.code == 0
    about = json.loads(told.out)
    assert about["recipe"]["name"] == "storybook"
    listed = json.loads(vitascope("models", "--json").out)
    assert about == next(model for model in listed if model["name"] == "storybook")
    assert (about["origin"], about["fingerprint"]) == ("shipped", fingerprint(digests(SHIPPED)))
    Path("storybook").write_bytes(b"")  # as with --model, a name that ships comes before what happens to lie here
    assert vitascope("inspect", "storybook", "--json").out == told.out
    assert "the file is empty" in vitascope("inspect", "./storybook").err[-1]


def test_broken_weights_are_named(toy: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "a.safetensors", (toy / "network.safetensors").read_bytes()
    faults = {
        "it was cut off": data[:-1],
        "something added at its end": data + b"\0",
        "this file is empty": b"",
        "a web page": b"<!DOCTYPE html><html></html>",
        "the format ends at": struct.pack("<Q", 2**63) + b"{}",
        "does not begin as a safetensors file": struct.pack("<Q", 2) + b"[]",
        "is not told as": struct.pack("<Q", 9) + b'{"a": {}}',
    }
    for says, content in faults.items():
        path.write_bytes(content)
        with pytest.raises(BadModel, match=says):
            pytest.fail(f"{says}: {weights(path)}")


@pytest.mark.parametrize(
    ("entries", "size"),
    [
        ({"a": {"dtype": "F32", "shape": [1000, 1000], "data_offsets": [0, 8]}}, 8),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}}, 16),
        ({"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}}, 8),
        ({"a": {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]}}, 8),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "__metadata__": {"a": 1}}, 8),
    ],
)
def test_what_generate_refuses_of_a_header_inspect_refuses_in_the_same_words(
    vitascope: Run, toy: Path, entries: dict[str, Any], size: int
) -> None:
    shutil.copytree(toy, "mine")
    text = json.dumps(entries).encode()
    Path("mine/network.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    made = vitascope("generate", "a ball", "--model", "mine", "--output", "a.mp4")
    assert (made.code, len(made.err)) == (2, 1)
    for what in ("mine", "mine/network.safetensors"):
        told = vitascope("inspect", what)
        assert (told.code, told.out, told.err) == (2, "", made.err)


def test_the_weights_have_the_name_that_films_record(vitascope: Run, toy: Path) -> None:
    shutil.copytree(toy, "mine")
    vitascope("generate", "a ball", "--model", "mine", "--output", "a.mp4")
    made = json.loads(vitascope("inspect", "a.mp4", "--json").out)["record"]["weights"]
    for change in ("as saved", "without hashes.json"):
        assert json.loads(vitascope("inspect", "mine", "--json").out)["fingerprint"] == made, change
        Path("mine/hashes.json").unlink(missing_ok=True)
    Path("mine/tokenizer.json").unlink()
    assert json.loads(vitascope("inspect", "mine", "--json").out)["fingerprint"] is None
    assert set(FILES) == set(BUNDLED)


def test_the_folder_of_a_run_is_no_bundle_and_its_bundle_is_listed(vitascope: Run, toy: Path) -> None:
    shutil.copytree(toy, "full", ignore=shutil.ignore_patterns("hashes.json"))
    Path("full/run.lock").touch()
    shutil.copytree(toy, "full/bundle")
    told = [vitascope("inspect", "full"), vitascope("generate", "a", "--model", "full")]
    assert [(each.code, each.out) for each in told] == [(2, "")] * 2
    assert told[0].err == told[1].err == ["full: this is the folder of a training run; its bundle is full/bundle."]
    names = [model["name"] for model in json.loads(vitascope("models", "--json").out) if model["origin"] == "found"]
    assert names == ["full/bundle"]
    assert [model["name"] for model in json.loads(vitascope("models", "full", "--json").out)] == ["full/bundle"]


def test_a_folder_without_models_is_told_to_be_one(vitascope: Run) -> None:
    Path("empty").mkdir()
    told = vitascope("models", "empty")
    assert (told.code, told.out) == (0, "")
    assert [line["note"] for line in told.json] == [
        "empty: no model was found in it, neither a bundle nor one of Wan 2.1"
    ]


def test_what_is_no_bundle_is_refused(vitascope: Run, tmp_path: Path) -> None:
    for name, content in (("none", None), ("text", "hello"), ("list", "[]"), ("bare", "{}")):
        folder = tmp_path / name
        folder.mkdir()
        if content is not None:
            (folder / "recipe.json").write_text(content)
        told = vitascope("inspect", folder)
        assert (told.code, told.out, len(told.err)) == (2, "", 1)
        with pytest.raises(BadModel):
            look(folder)


def test_models_are_those_that_ship_and_those_in_this_folder(vitascope: Run, toy: Path) -> None:
    before = [bundle.name for bundle in here()]
    shutil.copytree(toy, "mine")
    shutil.copytree(toy, "runs/toy/bundle")
    Path("broken").mkdir()
    Path("broken/recipe.json").write_text("{")
    listed = json.loads(vitascope("models", "--json").out)
    assert [model["name"] for model in listed] == [*before, "mine", "runs/toy/bundle"]
    assert {model["origin"] for model in listed[len(before) :]} == {"found"}
    lines = vitascope("models").out.splitlines()
    assert len(lines) == len(listed)
    assert lines[-1].endswith("48x32, 5 frames, 8 fps  3 steps, unipc, guidance 5, shift 3")
    assert vitascope("generate", "a ball", "--model", "mine", "--output", "a.mp4").code == 0


def test_a_sheet_shows_a_film_a_line_with_seeds_from_zero(vitascope: Run, toy: Path) -> None:
    Path("prompts.txt").write_text("# what to show\na red ball\n\n  the sea  \na white boat\n", encoding="utf-8")
    told = vitascope("sheet", "prompts.txt", "--model", toy, "--columns", "2", "--strip", "3", "--steps", "2")
    assert (told.code, told.out, told.files) == (0, "prompts.png\n", ["prompts.png", "prompts.txt"])
    shots = [record["shot"] for record in record_of("prompts.png")["sheet"]]
    expected = [("a red ball", 0, 2), ("the sea", 1, 2), ("a white boat", 2, 2)]
    assert [(shot["prompt"], shot["seed"], shot["steps"]) for shot in shots] == expected
    page = Video.load("prompts.png").frames[0]
    strip = (1 + 33, 1 + 3 * 49)  # three frames of 48x32 and the gaps around them
    assert page.shape == (4 + 2 * (strip[0] + 4), 4 + 2 * (strip[1] + 4), 3)
    vitascope(
        "generate", "the sea", "--seed", "1", "--steps", "2", "--model", toy, "--output", "a.png", "--frames", "1"
    )
    assert vitascope("sheet", "prompts.txt", "--model", toy).code == 2, "an older sheet stays"


def test_a_byte_order_mark_is_no_part_of_the_first_prompt(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(b"\xef\xbb\xbfa red ball\n# a note\nthe sea\n")
    assert prompts_in(tmp_path / "p.txt") == ["a red ball", "the sea"]


def test_a_sheet_shows_each_prompt_with_as_many_seeds_as_are_asked_for(vitascope: Run, toy: Path) -> None:
    Path("p.txt").write_text("a red ball\nthe sea\n", encoding="utf-8")
    told = vitascope("sheet", "p.txt", "--model", toy, "--seeds", "3", "--steps", "1", "--strip", "1")
    assert told.code == 0
    shots = [record["shot"] for record in record_of("p.png")["sheet"]]
    assert [(shot["prompt"], shot["seed"]) for shot in shots] == [
        (prompt, seed) for prompt in ("a red ball", "the sea") for seed in range(3)
    ]


def test_films_of_a_sheet_share_what_its_flags_say(vitascope: Run, toy: Path) -> None:
    Path("p.txt").write_text("a red ball\nthe sea\n", encoding="utf-8")
    said = {"negative": "a boat", "frames": 9, "height": 16, "width": 64, "steps": 1, "shift": 2.0}
    flags = [word for name, value in said.items() for word in (f"--{name}", str(value))]
    assert vitascope("sheet", "p.txt", "--model", toy, *flags, "--strip", "1").code == 0
    for record in record_of("p.png")["sheet"]:
        assert {name: record["shot"][name] for name in said} == said


@pytest.mark.parametrize(
    ("content", "flags", "says"),
    [
        (b"", [], "0 prompts"),
        (b"# nothing\n\n", [], "0 prompts"),
        (b"a ball\n\xff\n", [], "byte 7 is not UTF-8"),
        (b"a ball\n" * 1001, [], "1001 prompts"),
        (b"\xef\xbb\xbfa ball\nb\x07\n", [], "p.txt, prompt 2: prompt with U+0007 at position 1"),
        (b"a ball\n", ["--output", "a.mp4"], "end the name in .png"),
        (b"a ball\n", ["--columns", "0"], "1 to 100"),
        (b"a ball\n", ["--seeds", "0"], "--seeds '0': it is a whole number from 1 to 1000"),
        (b"a ball\n" * 300, ["--seeds", "4"], "300 prompts with 4 seeds each are 1,200 films"),
        (b"a ball\n", ["--steps", "0"], "steps 0"),
        (b"a ball\n", ["--frames", "8"], "8 frames: this codec takes 1 + 4k frames"),
        (b"a ball\n" + b"x" * 20_000, [], "20,000 characters"),
    ],
)
def test_a_sheet_that_cannot_be_made(vitascope: Run, toy: Path, content: bytes, flags: list[str], says: str) -> None:
    Path("p.txt").write_bytes(content)
    told = vitascope("sheet", "p.txt", "--model", toy, *flags)
    assert (told.code, told.out, told.files, len(told.err)) == (2, "", ["p.txt"], 1)
    assert says in told.err[0]


def test_train_tells_of_its_steps_and_prints_the_bundle(vitascope: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitascope.training import run as training

    calls: list[tuple[Any, ...]] = []

    def train_recipe(
        recipe: str, out: Path | None, resume: bool, stages: Any, *, device: str, watch: Any, **_: Any
    ) -> Path:
        calls.append((recipe, out, resume, stages, device))
        watch("training codec", 20, 100, {"loss": 0.5})
        if resume:
            raise training.Stopped("stopped at step 20; --resume goes on from there")
        return Path("runs/x/bundle")

    monkeypatch.setattr(training, "train_recipe", train_recipe)
    told = vitascope("train", "tiny", "--stage", "codec, clip", "--device", "cpu")
    assert (told.code, told.out) == (0, str(Path("runs/x/bundle")) + "\n")
    assert told.json == [{"doing": "training codec", "step": 20, "of": 100, "loss": 0.5}]
    told = vitascope("train", "my.toml", "--out", "there", "--resume", "--device", "cpu")
    assert (told.code, told.out) == (143, "")
    assert told.err[-1] == "stopped at step 20; --resume goes on from there"
    assert calls == [
        ("tiny", None, False, ["codec", "clip"], "cpu"),
        ("my.toml", Path("there"), True, None, "cpu"),
    ]
