"""Weight files are read with no trust: a sentence for whatever else they are, and nothing half loaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.headers import BYTES, LARGEST_HEADER, header
from vitascope.tensors import DTYPES, agree, digest, fill, looks_like, read, write


def example() -> dict[str, Tensor]:
    return {
        "matrix": torch.arange(6.0).reshape(2, 3).bfloat16(),
        "vector": torch.tensor([1.0, 2.0]),
        "count": torch.tensor(3),
        "none": torch.zeros(0, 4),
    }


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    write(path, example())
    return path


def made(path: Path, table: object, data: bytes = b"", length: int | None = None) -> Path:
    """A file with this header, truthful or not."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def refusal(path: Path) -> str:
    """What is said of a file, by `header` and `read` alike; always one line."""
    with pytest.raises(BadModel) as told:
        header(path)
    with pytest.raises(BadModel) as again:
        read(path)
    assert str(told.value) == str(again.value)
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)
    return str(told.value)


def test_what_is_written_is_read(good: Path) -> None:
    found = read(good)
    for name, value in example().items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value)
    assert {name: entry.shape for name, entry in header(good).items()} == {
        k: tuple(v.shape) for k, v in example().items()
    }


def test_the_header_agrees_with_the_safetensors_library(good: Path) -> None:
    save_file(example(), good.with_name("theirs"), metadata={"who": "them"})
    assert set(header(good.with_name("theirs"))) == set(load_file(good))


def test_a_file_obeys_the_umask(good: Path) -> None:
    plain = good.with_name("plain")
    plain.touch()
    assert good.stat().st_mode == plain.stat().st_mode


def test_a_failed_write_leaves_the_old_file_and_no_other(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest(good)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadModel, match=r"could not be written .*No space left.* still stands"):
        write(good, {"vector": torch.zeros(2)})
    assert digest(good) == before
    assert [path.name for path in good.parent.iterdir()] == [good.name]


@pytest.mark.parametrize("cut", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_a_cut_file_is_refused(good: Path, cut: float) -> None:
    whole = good.read_bytes()
    good.write_bytes(whole[: int(cut * len(whole))])
    said = refusal(good)
    assert "cut off" in said or "empty" in said or "does not begin" in said


def test_a_padded_file_is_refused(good: Path) -> None:
    good.write_bytes(good.read_bytes() + b"\0")
    assert "has something added at its end" in refusal(good)


@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_byte_changed_in_the_header_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: int
) -> None:
    path = tmp_path_factory.mktemp("flip") / "x.safetensors"
    write(path, example())
    text = bytearray(path.read_bytes())
    length = struct.unpack("<Q", text[:8])[0]
    text[place % (8 + length)] = value
    path.write_bytes(text)
    with contextlib.suppress(BadModel):
        read(path)


def test_a_lying_length_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x"
    assert "was cut off" in refusal(made(path, {}, length=10_000))
    assert f"the format ends at {LARGEST_HEADER:,}" in refusal(made(path, {}, length=LARGEST_HEADER + 1))
    assert f"the format ends at {LARGEST_HEADER:,}" in refusal(made(path, {}, length=2**64 - 1))


def test_the_words_for_kinds_are_those_of_torch() -> None:
    assert {word: kind.itemsize for word, kind in DTYPES.items()} == BYTES


FLOATS = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("table", "data", "why"),
    [
        (b"{" + b" " * 20, b"", "header is not that"),
        (b"{\xff\xfe}", b"", "header is not that"),
        (b'{"a":' * 100_000, b"", "header is not that"),
        (b'{"a": 1, "a": 2}', b"", "twice"),
        ({"a": 1}, b"", "not told as dtype"),
        ({"a": FLOATS | {"more": 1}}, b"", "not told as dtype"),
        ({"a": FLOATS | {"dtype": "PICKLE"}}, b"", "unknown kind, 'PICKLE'"),
        ({"a": FLOATS | {"shape": [-2]}}, b"", "whole numbers"),
        ({"a": FLOATS | {"shape": [True]}}, b"", "whole numbers"),
        ({"a": FLOATS | {"shape": [2.0]}}, b"", "whole numbers"),
        ({"a": FLOATS | {"shape": [2**62, 4]}}, b"", "does not take the bytes"),
        ({"a": FLOATS | {"data_offsets": [8, 0]}}, b"", "does not take the bytes"),
        ({"a": FLOATS | {"data_offsets": [8, 16]}}, bytes(16), "begins at byte 8 where 0 comes next"),
        ({"a": FLOATS, "b": FLOATS}, bytes(8), "begins at byte 0 where 8 comes next"),
        ({"a": FLOATS, "b": FLOATS | {"data_offsets": [12, 20]}}, bytes(20), "begins at byte 12 where 8 comes next"),
        ({"a": FLOATS}, bytes(4), "was cut off"),
        ({"a": FLOATS}, bytes(12), "added at its end"),
        ({"__metadata__": {"a": 1}, "a": FLOATS}, bytes(8), "notes are not text"),
    ],
)
def test_a_bad_header_is_refused(tmp_path: Path, table: Any, data: bytes, why: str) -> None:
    assert why in refusal(made(tmp_path / "x.safetensors", table, data))


def test_a_file_of_another_kind_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    for text, name, way_out in (
        (b"", "empty", "fetch it again"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "Git LFS pointer",
            "git lfs pull",
        ),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page", "download the file itself"),
        (b"\n  <HTML>", "web page", "download the file itself"),
        (b"GGUF\x03\0\0\0" + bytes(50), "GGUF", "safetensors"),
        (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5", "safetensors"),
        (b"hello, this is no weight file", "does not begin", "fetch the file again"),
    ):
        path.write_bytes(text)
        said = refusal(path)
        assert name in said
        assert way_out in said


def test_a_folder_or_nothing_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    assert "this is a folder" in refusal(tmp_path / "folder")
    assert "no such file" in refusal(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    assert "no such file" in refusal(tmp_path / "pipe")


class Payload:
    """Unpickled, it writes the canary."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.canary, "it sang")


@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_a_pickle_is_never_unpickled(tmp_path: Path, kind: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "network.safetensors"
    with path.open("wb") as file:
        if kind == "pickle":
            pickle.dump(Payload(canary), file)
        else:
            torch.save({"weights": Payload(canary)}, file)
    said = refusal(path)
    assert not canary.exists()
    assert "never unpickled" in said
    assert "safetensors" in said
    with path.open("rb") as file:  # the payload is a real one
        torch.load(file, weights_only=False) if kind == "zip" else pickle.load(file)
    assert canary.exists()


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 2))


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: value + 0.1 * torch.rand_like(value) for name, value in net().state_dict().items()}


def hashed(module: nn.Module) -> str:
    whole = hashlib.sha256()
    for value in module.state_dict().values():
        whole.update(value.numpy().tobytes())
    return whole.hexdigest()


def unfilled(tensors: dict[str, Tensor]) -> str:
    """What is said when these do not fit, with the module as it was, by hash."""
    module = net()
    before = hashed(module)
    with pytest.raises(BadModel) as told:
        fill(module, tensors, origin="some.safetensors")
    assert hashed(module) == before
    assert str(told.value).startswith("some.safetensors: ")
    return str(told.value)


def test_fill_puts_every_tensor_in_the_modules_own_precision() -> None:
    module = net()
    fill(module, {name: value.bfloat16() for name, value in state().items()}, origin="x")
    for name, value in module.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state()[name].bfloat16().float())


def test_missing_unexpected_and_misshaped_tensors_are_all_named() -> None:
    tensors = state()
    del tensors["0.weight"]
    tensors["extra"] = torch.ones(1)
    tensors["2.weight"] = torch.ones(2, 5)
    said = unfilled(tensors)
    assert "it lacks 0.weight" in said
    assert "it has beside what is wanted extra" in said
    assert "it has in another shape 2.weight (2x5 where 2x4 is wanted)" in said


def test_only_the_first_ten_are_named() -> None:
    wanted = {f"layer.{i}.weight": (1,) for i in range(25)}
    with pytest.raises(BadModel, match=r"layer\.9\.weight and 15 more; it belongs to another model"):
        agree(wanted, {}, origin="x")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_named(number: float) -> None:
    tensors = state()
    tensors["1.weight"][2] = number
    assert "the tensor 1.weight holds numbers that are not finite" in unfilled(tensors)


def test_a_number_too_large_for_the_module_is_not_finite() -> None:
    tensors = state() | {"2.bias": torch.tensor([1e300, 0.0], dtype=torch.float64)}
    assert "the tensor 2.bias holds numbers that are not finite" in unfilled(tensors)


def test_whole_numbers_where_others_are_wanted_are_refused() -> None:
    assert "torch.int64 where torch.float32" in unfilled(state() | {"2.bias": torch.tensor([1, 2])})


@pytest.mark.parametrize("name", ["0.weight", "1.weight", "0.bias"])
def test_a_hole_of_zeros_is_named(name: str) -> None:
    tensors = state()
    tensors[name].zero_()
    assert f"the tensor {name} holds nothing but zeros" in unfilled(tensors)


def test_zeros_stay_where_the_architecture_begins_with_them() -> None:
    silent = net()
    nn.init.zeros_(silent.get_parameter("2.weight"))  # as a transformer's head does
    tensors = state()
    tensors["2.weight"].zero_()
    tensors["1.bias"].zero_()
    fill(silent, tensors, origin="x")
    assert not silent.state_dict()["2.weight"].any()


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (["condition_embedder.time_embedder.linear_1.weight", "scale_shift_table"], "Wan transformer in the diffusers"),
        (["patch_embedding.weight", "time_embedding.0.weight", "blocks.0.self_attn.q.weight"], "video transformer"),
        (["vae.encoder.conv1.weight", "vae.decoder.conv1.weight", "mean"], "vitascope codec"),
        (["encoder.down_blocks.0.weight", "decoder.up_blocks.0.weight"], "autoencoder in the diffusers"),
        (["visual.proj", "token_embedding.weight", "text_projection"], "CLIP in OpenAI's"),
        (["blocks.0.q.lora_A.weight"], "LoRA"),
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"], "T5"),
        (["something.else"], None),
    ],
)
def test_what_a_file_looks_like(names: list[str], what: str | None) -> None:
    found = looks_like(dict.fromkeys(names))
    assert found is None if what is None else what in (found or "")
