"""Wan models on the command line, as twins of random weights: every kind, and what is refused, in one sentence and with nothing written."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import twin
from tests.cli.conftest import Told

from vitascope.media import Video, record_of

Run = Callable[..., Told]
SMALL = ("--height", "32", "--width", "48", "--steps", "1", "--seed", "7", "--dtype", "float32")
DIT, VAE, T5 = "diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"


class Shelf(NamedTuple):
    """Where the models, the pictures and the LoRAs of these tests are."""

    root: Path

    def __truediv__(self, name: str) -> str:
        return str(self.root / name)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    root = tmp_path_factory.mktemp("shelf")
    for variant in ("t2v", "i2v", "flf2v", "vace"):
        twins.official(twin(variant, head=128, heads=1), root / variant)
    generator = torch.Generator().manual_seed(0)
    for name, width in (("style", 128), ("other", 256)):
        down, up = (torch.randn(shape, generator=generator) * 0.2 for shape in ((4, width), (width, 4)))
        layer = "diffusion_model.blocks.0.self_attn.q"
        save_file({f"{layer}.lora_A.weight": down, f"{layer}.lora_B.weight": up}, root / f"{name}.safetensors")
    film = torch.randint(0, 256, (9, 32, 48, 3), dtype=torch.uint8, generator=generator)
    mask = torch.zeros_like(film)
    mask[:, :, 24:] = 255
    for name, frames in (
        ("a.png", film[:1]), ("b.png", film[1:2]), ("film.mp4", film), ("mask.mp4", mask), ("short.mp4", film[:5])
    ):  # fmt: skip
        Video(frames, 16.0).save(root / name)
    return Shelf(root)


@pytest.fixture(autouse=True)
def no_cache(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(shelf.root / "cache"))


def refused(told: Told, *words: str) -> None:
    assert told.code == 2, told.err
    (sentence,) = [line for line in told.err if not line.startswith('{"doing"')]
    assert sentence.endswith((".", "?"))
    assert not told.out
    assert not told.files, "something was written"
    for word in words:
        assert word in sentence, sentence


def make(vitascope: Run, *words: object, frames: int = 5) -> Told:
    return vitascope("generate", "a red fox", *SMALL, "--frames", frames, *words)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("t2v", ()),
        ("i2v", ("--image", "a.png")),
        ("flf2v", ("--image", "a.png", "--last-image", "b.png")),
        ("vace", ("--video", "film.mp4", "--mask", "mask.mp4", "--reference", "a.png,b.png")),
    ],
)
def test_a_film_of_each_kind_and_the_same_again(
    kind: str, given: tuple[str, ...], shelf: Shelf, vitascope: Run
) -> None:
    files = [",".join(shelf / part for part in word.split(",")) if "." in word else word for word in given]
    first = make(vitascope, "--model", shelf / kind, *files, "--output", "first.mp4")
    assert (first.code, first.out, first.files) == (0, "first.mp4\n", ["first.mp4"]), first.err
    again = vitascope("generate", "--from", "first.mp4", "--model", shelf / kind, *files, "--output", "again.mp4")
    assert again.code == 0, again.err
    assert Path("first.mp4").read_bytes() == Path("again.mp4").read_bytes()
    assert record_of("first.mp4")["dtype"] == "float32"
    if given:
        without = vitascope("generate", "--from", "first.mp4", "--model", shelf / kind, "--output", "without.mp4")
        assert (without.code, len(without.err)) == (2, 1)
        assert "give it with --" in without.err[0]
        assert without.files == ["again.mp4", "first.mp4"]


def test_another_picture_makes_another_film(shelf: Shelf, vitascope: Run) -> None:
    one = make(vitascope, "--model", shelf / "i2v", "--image", shelf / "a.png", "--output", "one.mp4")
    other = vitascope(
        "generate", "--from", "one.mp4", "--model", shelf / "i2v", "--image", shelf / "b.png", "--output", "other.mp4"
    )
    assert (one.code, other.code) == (0, 0)
    films = [Video.load(name) for name in ("one.mp4", "other.mp4")]
    assert not torch.equal(films[0].frames, films[1].frames)
    assert record_of("one.mp4")["shot"]["image"] != record_of("other.mp4")["shot"]["image"]


def test_a_lora_changes_the_film_and_is_asked_for_again(shelf: Shelf, vitascope: Run) -> None:
    lora = f"{shelf / 'style.safetensors'}:0.5"
    make(vitascope, "--model", shelf / "t2v", "--output", "plain.mp4")
    styled = make(vitascope, "--model", shelf / "t2v", "--lora", lora, "--output", "styled.mp4")
    assert styled.code == 0
    assert any("2 of 2 keys change 1 weight" in line.get("note", "") for line in styled.json)
    assert not torch.equal(Video.load("plain.mp4").frames, Video.load("styled.mp4").frames)
    without = vitascope("generate", "--from", "styled.mp4", "--model", shelf / "t2v", "--output", "again.mp4")
    assert (without.code, len(without.err)) == (2, 1)
    assert "give the files with --lora" in without.err[0]
    again = vitascope(
        "generate", "--from", "styled.mp4", "--model", shelf / "t2v", "--lora", lora, "--output", "again.mp4"
    )
    assert again.code == 0
    assert Path("styled.mp4").read_bytes() == Path("again.mp4").read_bytes()


def test_one_frame_is_a_picture(shelf: Shelf, vitascope: Run) -> None:
    told = make(vitascope, "--model", shelf / "t2v", "--output", "one.png", frames=1)
    assert (told.code, told.files) == (0, ["one.png"])
    assert Video.load("one.png").frames.shape == (1, 32, 48, 3)


def test_a_preset_brings_its_own_solver(shelf: Shelf, vitascope: Run) -> None:
    told = make(vitascope, "--model", shelf / "t2v", "--as", "comfy", "--output", "one.png", frames=1)
    assert told.code == 0, told.err
    shot = record_of("one.png")["shot"]
    assert (shot["solver"], shot["shift"], shot["preset"]) == ("euler", 8.0, "comfy")


REFUSED: dict[str, tuple[str, tuple[str, ...], str]] = {
    "a picture for text alone": ("t2v", ("--image", "@a.png"), "was not trained to begin with a picture"),
    "a film for text alone": ("t2v", ("--video", "@film.mp4"), "was not trained to follow a film"),
    "a reference for text alone": ("t2v", ("--reference", "@a.png"), "leave it out"),
    "control of nothing": ("t2v", ("--control", "2"), "leave --control out"),
    "no picture": ("i2v", (), "add --image FILE"),
    "a last picture too many": ("i2v", ("--image", "@a.png", "--last-image", "@b.png"), "end with a picture"),
    "no last picture": ("flf2v", ("--image", "@a.png"), "add --last-image FILE"),
    "no first picture": ("flf2v", ("--last-image", "@a.png"), "add --image FILE"),
    "a picture for VACE": ("vace", ("--image", "@a.png"), "was not trained to begin with a picture"),
    "a mask alone": ("vace", ("--mask", "@mask.mp4"), "--video"),
    "a picture that is not there": ("vace", ("--reference", "@a.png,none.png"), "none.png"),
    "no name": ("vace", ("--reference", " ,"), "there is no name in it"),
    "control without a number": ("vace", ("--video", "@film.mp4", "--control", "nan"), "1 would do"),
    "a LoRA for another size": ("t2v", ("--lora", "@other.safetensors"), "made for another model"),
    "a LoRA that is not there": ("t2v", ("--lora", "@none.safetensors"), "no such file"),
    "a LoRA that is a model": ("t2v", ("--lora", f"@t2v/{DIT}"), "give a LoRA made for Wan"),
    "a strength of nan": ("t2v", ("--lora", "@style.safetensors:nan"), "from -2 to 2"),
    "a strength that is a word": ("t2v", ("--lora", "@style.safetensors:strong"), "a strength, a number"),
    "UniPC as ComfyUI": ("t2v", ("--as", "comfy", "--solver", "unipc"), "take euler"),
    "no such program": ("t2v", ("--as", "offical"), "the nearest is official"),
    "no such way of waiting": ("t2v", ("--offload", "blocks"), "did you mean 'block'"),
    "a VAE that is a text encoder": ("t2v", ("--vae", f"@t2v/{T5}"), "this is a UMT5 text encoder"),
    "a VAE that is not there": ("t2v", ("--vae", "@none.pth"), "no such file"),
    "an image encoder that is a VAE": ("i2v", ("--image", "@a.png", "--image-encoder", f"@t2v/{VAE}"), "a Wan VAE"),
    "a model that is a VAE": (f"t2v/{VAE}", (), "a Wan transformer was wanted and this is a Wan VAE"),
    "a model that is a picture": ("a.png", (), "this is a film or a picture and no file of weights"),
    "a space behind a comma": (
        "vace",
        ("--reference", "@a.png, none.png"),
        ": it cannot be opened (there is no such file)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_go_together_is_refused(name: str, shelf: Shelf, vitascope: Run) -> None:
    model, words, why = REFUSED[name]
    there = [shelf / word[1:] if word.startswith("@") else word for word in words]
    refused(make(vitascope, "--model", shelf / model, *there), why)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--frames", "6", "--height", "32", "--width", "48"), "the nearest are 5 and 9"),
        (("--frames", "5", "--height", "40", "--width", "48"), "multiples of 16"),
        (("--frames", "5", "--height", "32", "--width", "48", "--dtype", "int9"), "float32, bfloat16, float16"),
    ],
)
def test_sizes_and_numbers(words: tuple[str, ...], why: str, shelf: Shelf, vitascope: Run) -> None:
    refused(vitascope("generate", "a fox", "--model", shelf / "t2v", *words), why)


def test_a_film_is_followed_at_sixteen_pictures_a_second(shelf: Shelf, vitascope: Run) -> None:
    """One at twice the rate is twice as fast to its pictures and not to the eye: the new film lasts as long."""
    fast = Video(Video.load(shelf / "film.mp4").frames[[0] + [i // 2 for i in range(1, 18)]], 32.0)
    fast.save("fast.mp4")
    size = ("--height", "32", "--width", "48", "--steps", "1", "--seed", "1")
    told = vitascope(
        "generate", "a fox", "--model", shelf / "vace", "--video", "fast.mp4", *size, "--output", "made.mp4"
    )
    assert told.code == 0, told.err
    made = Video.load("made.mp4")
    assert (len(made.frames), made.fps) == (9, 16.0)


def test_films_that_are_too_short(shelf: Shelf, vitascope: Run) -> None:
    short, film = shelf / "short.mp4", shelf / "film.mp4"
    refused(make(vitascope, "--model", shelf / "vace", "--video", short, frames=9), "it gives 5 frames")
    refused(make(vitascope, "--model", shelf / "vace", "--video", film, "--mask", short, frames=9), "it gives 5 frames")


def test_one_picture_is_no_film_to_follow(shelf: Shelf, vitascope: Run) -> None:
    words = ("generate", "a fox", *SMALL, "--video", shelf / "a.png")
    refused(vitascope(*words, "--model", shelf / "vace"), "it is one picture, and no film to follow; give a film")
    refused(vitascope(*words, "--model", shelf / "t2v"), "was not trained to follow a film")
    assert make(vitascope, "--model", shelf / "vace", "--video", shelf / "a.png", frames=1).code == 0


def test_one_frame_cannot_be_first_and_last(shelf: Shelf, vitascope: Run) -> None:
    pictures = ("--image", shelf / "a.png", "--last-image", shelf / "b.png")
    refused(make(vitascope, "--model", shelf / "flf2v", *pictures, frames=1), "one frame cannot be both")


def test_a_bundle_has_no_parts_to_name(toy: Path, vitascope: Run) -> None:
    for words in (("--dtype", "float32"), ("--offload", "block"), ("--vae", "a.pth")):
        refused(vitascope("generate", "a ball", "--model", toy, *words), f"{words[0]}: toy has all its parts")


@pytest.mark.parametrize("part", [DIT, VAE, T5, "google"])
def test_what_is_missing_is_named(part: str, shelf: Shelf, vitascope: Run, tmp_path: Path) -> None:
    model = Path(shutil.copytree(shelf / "t2v", tmp_path / "model"))
    gone = model / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    words = {DIT: "a Wan transformer", VAE: "--vae FILE", T5: "--text-encoder FILE", "google": "--tokenizer FILE"}
    refused(make(vitascope, "--model", model), words[part])


def test_a_bare_transformer_with_its_parts_named(shelf: Shelf, vitascope: Run, tmp_path: Path) -> None:
    bare = Path(shutil.copy(Path(shelf / "t2v") / DIT, tmp_path / "mine.safetensors"))
    refused(make(vitascope, "--model", bare), "--vae FILE", "--text-encoder FILE", "--tokenizer FILE")
    model = shelf.root / "t2v"
    parts = ("--vae", model / VAE, "--text-encoder", model / T5, "--tokenizer", model / "google" / "umt5-xxl")
    told = make(vitascope, "--model", bare, *parts, "--output", "film.mp4")
    assert (told.code, told.files) == (0, ["film.mp4"]), told.err


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "Git LFS pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9\n",
    "web page": lambda _: b"<!DOCTYPE html><html>not found</html>",
    "cut off": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("part", [DIT, VAE, T5])
def test_damaged_files_are_called_what_they_are(
    part: str, what: str, shelf: Shelf, vitascope: Run, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(shelf / "t2v", tmp_path / "model"))
    (model / part).write_bytes(DAMAGE[what]((model / part).read_bytes()))
    refused(make(vitascope, "--model", model), part, what)


def _nan(state: dict[str, Any]) -> None:
    state["blocks.0.ffn.0.weight"].view(-1)[3] = float("nan")


def _zeros(state: dict[str, Any]) -> None:
    state["blocks.0.ffn.0.weight"].zero_()


def _less(state: dict[str, Any]) -> None:
    del state["blocks.1.ffn.0.bias"]


def _more(state: dict[str, Any]) -> None:
    state["blocks.0.evil"] = torch.ones(3)


@pytest.mark.parametrize(
    ("poison", "why"),
    [
        (_nan, "blocks.0.ffn.0.weight holds numbers that are not finite"),
        (_zeros, "blocks.0.ffn.0.weight holds nothing but zeros"),
        (_less, "it lacks blocks.1.ffn.0.bias"),
        (_more, "blocks.0.evil"),
    ],
)
def test_weights_that_cannot_be(
    poison: Callable[[dict[str, Any]], None], why: str, shelf: Shelf, vitascope: Run, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(shelf / "t2v", tmp_path / "model"))
    state = load_file(model / DIT)
    poison(state)
    save_file(state, model / DIT)
    refused(make(vitascope, "--model", model), why)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ("[" * 100_000, "no JSON that can be read"),
        ("[]", "no table of names"),
        (json.dumps({"num_heads": "many"}), 'num_heads is "many"'),
        (json.dumps({"num_heads": -1}), "num_heads is -1"),
        (json.dumps({"num_heads": 1, "dim": 128, "num_layers": 10**9}), "num_layers is 1000000000"),
    ],
)
def test_hostile_configs(config: str, why: str, shelf: Shelf, vitascope: Run, tmp_path: Path) -> None:
    model = Path(shutil.copytree(shelf / "t2v", tmp_path / "model"))
    (model / "config.json").write_text(config)
    refused(make(vitascope, "--model", model), "config.json", why)


class Canary:
    """A pickle of it makes a folder when it is unpickled."""

    def __init__(self, nest: Path) -> None:
        self.nest = nest

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.nest),)


def test_nothing_is_ever_unpickled(shelf: Shelf, vitascope: Run, tmp_path: Path) -> None:
    model = Path(shutil.copytree(shelf / "t2v", tmp_path / "model"))
    nest, zipped = tmp_path / "nest", io.BytesIO()
    torch.save({"conv1.weight": Canary(nest)}, zipped)
    for data in (zipped.getvalue(), pickle.dumps(Canary(nest))):
        (model / VAE).write_bytes(data)
        refused(make(vitascope, "--model", model), "never unpickled")
        assert not nest.exists()


def test_names_that_many_files_have_raise_no_alarm(shelf: Shelf, vitascope: Run, tmp_path: Path) -> None:
    twins.diffusers(twin("t2v", head=128, heads=1), tmp_path / "model")
    told = make(vitascope, "--model", tmp_path / "model", "--output", "one.png", frames=1)
    assert told.code == 0
    assert not [line for line in told.json if "warning" in line]
