"""A bundle is loaded whole or not at all, and saved whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope import bundle
from vitascope.bundle import CODEC, FILES, HASHES, NETWORK, RECIPE, TEXT, System
from vitascope.engine import Engine
from vitascope.errors import BadModel
from vitascope.recipe import Recipe
from vitascope.shot import Shot
from vitascope.text import TOKENIZER
from vitascope.training.beginning import complete, fresh


@pytest.fixture(scope="module")
def system() -> System:
    """The tiny recipe's system; moved off its silent start, as any training would."""
    made = fresh(complete(Recipe.read("tiny")))
    torch.manual_seed(0)
    with torch.no_grad():
        for module in made.parts().values():
            for parameter in module.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
    return made


@pytest.fixture(scope="module")
def original(system: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "bundle"
    bundle.save(folder, system)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "bundle"))


def refusal(folder: Path) -> str:
    with pytest.raises(BadModel) as told:
        bundle.load(folder)
    said = str(told.value)
    assert str(folder) in said
    assert "\n" not in said
    return said


def forget(folder: Path, name: str) -> None:
    """Delete a file's line from the hashes, as one does who changed it on purpose."""
    table = json.loads((folder / HASHES).read_text())
    table.pop(name, None)
    (folder / HASHES).write_text(json.dumps(table))


def changed(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = {key: value.clone() for key, value in load_file(folder / name).items()}
    change(tensors)
    save_file(tensors, folder / name)
    forget(folder, name)


def edited(folder: Path, **entries: object) -> None:
    """Change entries of recipe.json; `a__b` is entry b of table a."""
    table = json.loads((folder / RECIPE).read_text())
    for path, value in entries.items():
        *parts, last = path.split("__")
        part = table
        for step in parts:
            part = part[step]
        part[last] = value
    (folder / RECIPE).write_text(json.dumps(table))
    forget(folder, RECIPE)


def test_what_is_saved_is_loaded(system: System, original: Path) -> None:
    again = bundle.load(original)
    assert again.recipe == system.recipe
    assert again.text.words.json() == system.text.words.json()
    for mine, theirs in zip(system.parts().values(), again.parts().values(), strict=True):
        for (name, value), other in zip(mine.state_dict().items(), theirs.state_dict().values(), strict=True):
            assert other.dtype == torch.float32
            small = value.ndim < 2 or max(value.shape) == value.numel()
            assert torch.equal(other, value if small else value.bfloat16().float()), name


def test_saving_what_was_loaded_gives_the_same_bytes(original: Path, tmp_path: Path) -> None:
    bundle.save(tmp_path / "again", bundle.load(original))
    assert bundle.digests(tmp_path / "again") == bundle.digests(original)


def test_loading_draws_nothing_from_the_callers_generator(original: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    bundle.load(original)
    assert torch.equal(torch.rand(3), wanted)


def test_the_outline_is_the_system_without_its_numbers(system: System) -> None:
    shapes = bundle.outline(system.recipe, system.text.words)
    assert shapes == {
        file: {name: value.shape for name, value in part.state_dict().items()} for file, part in system.parts().items()
    }


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert name in refusal(folder)


@pytest.mark.parametrize("name", FILES)
def test_a_file_other_than_the_one_saved_is_named(folder: Path, name: str) -> None:
    path = folder / name
    text = bytearray(path.read_bytes())
    if name.endswith(".json"):
        text += b"\n"
    else:
        text[-2] ^= 1
    path.write_bytes(text)
    assert f"{name}: its SHA-256 is not the one in hashes.json" in refusal(folder)
    forget(folder, name)
    bundle.load(folder)


def test_a_bundle_without_hashes_is_taken_as_it_is(folder: Path) -> None:
    (folder / HASHES).unlink()
    bundle.load(folder)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "it is no JSON"),
        ("[]", "it holds no table of names"),
        ("[" * 100_000, "it is no JSON"),
        ("\xff", "it cannot be read"),
        ('{"../../secret": "0"}', "names '../../secret', which is no file of a bundle, so it is not followed"),
        ('{"codec.safetensors": 3}', "codec.safetensors: its SHA-256 is not"),
    ],
)
def test_broken_hashes_are_told(folder: Path, text: str, why: str) -> None:
    (folder / HASHES).write_bytes(text.encode("latin-1"))
    assert why in refusal(folder)


def test_names_never_lead_out_of_the_bundle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = folder.parent / "secret"
    outside.write_text("secret")
    (folder / HASHES).write_text(json.dumps({"../secret": "0" * 64}))
    opened = []
    real = bundle.digest
    monkeypatch.setattr(bundle, "digest", lambda path: opened.append(path) or real(path))
    refusal(folder)
    assert not opened


@pytest.mark.parametrize("name", [CODEC, TEXT, NETWORK])
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"PK\x03\x04\x00\x00\x08\x08" + bytes(50), "never unpickled"),
    ],
)
def test_weights_of_another_kind(folder: Path, name: str, text: bytes, why: str) -> None:
    (folder / name).write_bytes(text)
    said = refusal(folder)
    assert name in said
    assert why in said


def test_truncated_weights(folder: Path) -> None:
    text = (folder / NETWORK).read_bytes()
    (folder / NETWORK).write_bytes(text[: len(text) // 2])
    assert "was cut off" in refusal(folder)


def test_weights_of_another_model(folder: Path) -> None:
    shutil.copy(folder / CODEC, folder / NETWORK)
    said = refusal(folder)
    assert "it lacks patch_embedding.weight" in said
    assert "looks like a vitascope codec" in said


def test_a_nan_or_a_hole_is_named(folder: Path) -> None:
    changed(folder, NETWORK, lambda t: t["blocks.0.ffn.0.weight"].view(-1)[7].fill_(float("nan")))
    assert "the tensor blocks.0.ffn.0.weight holds numbers that are not finite" in refusal(folder)
    changed(folder, NETWORK, lambda t: t["blocks.0.ffn.0.weight"].zero_())
    assert "the tensor blocks.0.ffn.0.weight holds nothing but zeros" in refusal(folder)
    changed(folder, CODEC, lambda t: t["std"].zero_())
    assert "the tensor std holds nothing but zeros" in refusal(folder)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ({"auto_map": {"AutoModel": "evil.Model"}}, "'auto_map' cannot be used: there is no such entry"),
        ({"network__layers": 10**6}, "layers is a whole number from 1 to 256"),
        ({"network__width": 10**9}, "width is a whole number from 1 to 65,536"),
        ({"network__width": 10**4000}, "width is a whole number"),
        ({"network__width": 65_536}, "in another shape"),
        ({"network__layers": 200}, "it lacks blocks.2."),
        ({"network__ffn": 60_000, "network__layers": 250}, "it lacks blocks.2."),
        ({"codec__base": 60_000}, "in another shape"),
        ({"text__vocab": 1_000_000}, "has 223 words and the text tower 1000000"),
        ({"text__vocab": 3}, "has 223 words and the text tower 3"),
    ],
)
def test_a_hostile_recipe_is_refused_before_memory_is_taken(
    folder: Path, entries: dict[str, object], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited(folder, **entries)
    built = []

    def watched(recipe: Recipe, words: object) -> System:
        assert torch.empty(0).device.type == "meta"  # built in outline alone
        built.append(recipe)
        return real(recipe, words)  # type: ignore[arg-type]

    real = bundle.build
    monkeypatch.setattr(bundle, "build", watched)
    said = refusal(folder)
    assert why.replace("223", str(len(json.loads((folder / TOKENIZER).read_text())["model"]["vocab"]))) in said
    assert len(said) < 2000


@pytest.mark.parametrize("text", ["", "{", "[1]", '"recipe"', "{" * 100_000, '{"seed": ' + "9" * 5000 + "}"])
def test_a_broken_recipe(folder: Path, text: str) -> None:
    (folder / RECIPE).write_text(text)
    assert RECIPE in refusal(folder)


@pytest.mark.parametrize("text", ["", "{", "<html>", '{"model": {"type": "WordLevel", "vocab": {}}}'])
def test_a_broken_tokenizer(folder: Path, text: str) -> None:
    (folder / TOKENIZER).write_text(text)
    assert TOKENIZER in refusal(folder)


def test_weights_larger_than_the_machine_are_refused_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 1000}[name])
    assert "take a smaller model" in refusal(folder)


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    assert "it is no vitascope bundle" in refusal(tmp_path)


# Saving


def listed(folder: Path) -> dict[str, str]:
    return {path.name: bundle.digest(path) for path in folder.rglob("*") if path.is_file()}


def test_saving_keeps_what_else_is_there(folder: Path, system: System) -> None:
    (folder / "probe").mkdir()
    (folder / "probe" / "probe.safetensors").write_text("probe")
    (folder / "README.md").write_text("notes")
    (folder / "link").symlink_to("README.md")
    before = listed(folder)
    bundle.save(folder, system)
    assert listed(folder) == before
    assert (folder / "link").is_symlink()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


class Failed(RuntimeError):
    """Something that nobody foresaw."""


@pytest.mark.parametrize("fault", [OSError(28, "No space left on device"), Failed(), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["first file", "last file", "first move", "second move"])
def test_a_save_that_fails_leaves_the_old_bundle(
    folder: Path, system: System, moment: str, fault: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "probe").mkdir()
    (folder / "probe" / "x").write_text("x")
    before = listed(folder)
    real, moves = Path.rename, []

    def fail(*_: object) -> None:
        raise fault

    def move(self: Path, target: Path) -> Path:
        moves.append(self)
        if moment == {1: "first move", 2: "second move"}.get(len(moves)):
            raise fault
        return real(self, target)

    if moment == "first file":
        monkeypatch.setattr(bundle, "write", fail)
    elif moment == "last file":
        monkeypatch.setattr(bundle, "digests", fail)
    else:
        monkeypatch.setattr(Path, "rename", move)
    wanted = BadModel if isinstance(fault, OSError) else type(fault)
    with pytest.raises(wanted, match="still stands" if wanted is BadModel else None):
        bundle.save(folder, system)
    assert listed(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    bundle.load(folder)


def test_a_save_that_was_killed_between_its_moves_is_mended_by_the_next(folder: Path, system: System) -> None:
    (folder / "README.md").write_text("notes")
    before = listed(folder)
    folder.rename(folder.with_name(f".{folder.name}.old"))
    shutil.copytree(folder.with_name(f".{folder.name}.old"), folder.with_name(f".{folder.name}.partial"))
    bundle.save(folder, system)
    assert listed(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path, system: System) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(BadModel, match=r"holds thesis\.tex and no bundle"):
        bundle.save(tmp_path / "home", system)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadModel, match="in the way"):
        bundle.save(tmp_path / "file", system)
    assert {path.name for path in tmp_path.rglob("*")} == {"home", "thesis.tex", "file"}


def test_a_recipe_of_somebody_elses_is_no_bundle(tmp_path: Path, system: System) -> None:
    (tmp_path / "recipe.json").write_text('{"flour": "500 g"}')
    (tmp_path / "network.safetensors").write_bytes(b"mine")
    with pytest.raises(BadModel, match=r"its recipe\.json is of no bundle; give a new folder"):
        bundle.save(tmp_path, system)
    assert (tmp_path / "network.safetensors").read_bytes() == b"mine"


def test_weights_that_are_not_finite_are_not_saved(folder: Path) -> None:
    before = listed(folder)
    spoiled = bundle.load(folder)
    with torch.no_grad():
        spoiled.diffusion.net.get_parameter("head.head.bias").fill_(float("inf"))
    with pytest.raises(BadModel, match=r"network.safetensors: the tensor head.head.bias .* nothing was written"):
        bundle.save(folder, spoiled)
    assert listed(folder) == before


def test_a_link_to_a_bundle_stays_a_link(folder: Path, system: System) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder.name)
    bundle.save(link, system)
    assert link.is_symlink()
    bundle.load(link)


def test_the_engine_loads_it(original: Path) -> None:
    engine = Engine.load(original, "cpu")
    assert engine.weights == bundle.digests(original) == json.loads((original / HASHES).read_text())


def test_what_is_far_from_what_was_learned_is_told(system: System) -> None:
    learned = system.recipe.video
    near = Shot(prompt="a red ball", frames=learned.frames, height=learned.height, width=learned.width)

    def told(**changes: int | str | None) -> str:
        return " | ".join(system.doubts(near.model_copy(update=changes)))

    assert told() == ""
    assert told(frames=None, height=None, width=None) == "", "what the model itself would take"
    assert told(height=2 * learned.height) == told(frames=2 * learned.frames) == ""
    for changes in ({"frames": 4 * learned.frames + 1}, {"height": 3 * learned.height}, {"width": learned.width // 3}):
        assert f"learned films of {learned.frames} frames of {learned.width}x{learned.height}" in told(**changes)
    assert "take one out of a film" in told(frames=1)
    assert told(frames=1, image="0" * 64) == "", "it is the picture that was given, and that is told elsewhere"
    assert "is of anything" in told(prompt="zzz")


def test_frames_of_several_films_at_once_are_refused(system: System) -> None:
    """They would be those of the first, in silence."""
    engine = Engine(system)
    latents = torch.zeros(2, system.codec.config.z, 1, 4, 4)
    with pytest.raises(ValueError, match="the latent of one film, got 2"):
        list(engine.frames(latents))
    assert len(torch.cat(list(engine.frames(latents[:1])))) == 1
