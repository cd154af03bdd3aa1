"""Weights are read when they are touched, are what the file's own library says, and nothing else in a file is believed."""

from __future__ import annotations

import contextlib
import json
import os
import struct
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from vitascope.checkpoints.weights import Rule, Weights, derived, held, joined, opened, renamed
from vitascope.errors import BadModel
from vitascope.tensors import DTYPES


def example() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "matrix": torch.randn(3, 5),
        "half": torch.randn(4).half(),
        "brain": torch.randn(2, 2, 2).bfloat16(),
        "eight": torch.randn(7).to(torch.float8_e4m3fn),
        "eight_wide": torch.randn(7).to(torch.float8_e5m2),
        "double": torch.randn(2).double(),
        "count": torch.tensor(3),
        "short": torch.tensor([-1, 2], dtype=torch.int16),
        "large": torch.tensor([2**63 + 1], dtype=torch.uint64),
        "truth": torch.tensor([True, False, True]),
        "none": torch.zeros(0, 4),
        "waves": torch.randn(3, dtype=torch.complex64),
    }


def same(one: Tensor, other: Tensor) -> bool:
    """Equal in kind, shape and every bit."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    return one.contiguous().reshape(-1).view(torch.uint8).equal(other.contiguous().reshape(-1).view(torch.uint8))


def agrees(weights: Weights, truth: dict[str, Tensor]) -> None:
    assert set(weights) == set(truth)
    assert len(weights) == len(truth)
    for name, value in truth.items():
        assert weights.shape(name) == tuple(value.shape)
        assert weights.dtype(name) == value.dtype
        assert weights.nbytes(name) == value.nbytes
        assert same(weights[name], value), name


def refusal(path: Path, **also: Any) -> str:
    with pytest.raises(BadModel) as told:
        opened(path, **also)
    said = str(told.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def made(path: Path, table: object, data: bytes = b"") -> Path:
    """A safetensors file with this header, not padded, so that nothing is aligned."""
    text = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the files that hypothesis thinks of."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "x.safetensors"
    save_file(example(), path, metadata={"who": "them"})
    return path


def test_a_file_is_what_the_library_says(good: Path) -> None:
    weights = opened(good)
    agrees(weights, example())
    agrees(weights, load_file(good))
    assert weights.metadata == {"who": "them"}
    assert weights.files == (good,)
    assert str(good) in weights.origin


def test_the_kinds_are_those_of_the_library() -> None:
    from safetensors.torch import _TYPES  # pyright: ignore[reportPrivateUsage]

    assert {word: DTYPES.get(word) for word in _TYPES} == _TYPES


def test_writing_into_a_view_changes_no_file(good: Path) -> None:
    before = good.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view = opened(good)["matrix"]
        view.zero_()
    assert not view.any()
    assert good.read_bytes() == before
    assert opened(good)["matrix"].any()


def test_a_file_that_goes_away_stays_mapped(good: Path) -> None:
    weights = opened(good)
    good.unlink()
    agrees(weights, example())


@pytest.mark.parametrize("shift", range(8))
def test_numbers_at_odd_places_are_read(tmp_path: Path, shift: int) -> None:
    values = torch.randn(3, dtype=torch.float64)
    table = {
        "pad": {"dtype": "U8", "shape": [shift], "data_offsets": [0, shift]},
        "value": {"dtype": "F64", "shape": [3], "data_offsets": [shift, shift + 24]},
    }
    path = made(tmp_path / "x.safetensors", table, bytes(shift) + values.numpy().tobytes())
    assert torch.equal(opened(path)["value"], values)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def sparse(path: Path, rows: int, width: int) -> Path:
    """A file with a tensor for each row, all zeros, of which the disk holds nothing."""
    table = {
        f"row.{i}": {"dtype": "F32", "shape": [width], "data_offsets": [4 * width * i, 4 * width * (i + 1)]}
        for i in range(rows)
    }
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 4 * width * rows)
    return path


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_nothing_is_read_until_it_is_touched(tmp_path: Path) -> None:
    path = sparse(tmp_path / "x.safetensors", 16, 2**24)
    assert path.stat().st_size > 2**30
    before = resident()
    weights = opened(path)
    views = {name: weights[name] for name in weights}
    assert resident() - before < 2**25  # of 2**30; other tests' garbage comes and goes meanwhile
    assert not views["row.3"].any()
    assert 2**25 < resident() - before < 2**27
    weights.forget()
    assert resident() - before < 2**25
    assert not views["row.3"].any()  # and is read again


def test_a_file_larger_than_the_machine_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    try:
        sparse(path, 4, 2**37)  # 2 TiB
    except OSError:
        pytest.skip("the disk takes no such file, not even empty")
    assert opened(path)["row.2"][2**36] == 0


def parts() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    whole = example()
    names = sorted(whole)
    return {name: whole[name] for name in names[:5]}, {name: whole[name] for name in names[5:]}


@pytest.fixture
def index(tmp_path: Path) -> Path:
    """Two shards and the index of both."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    places = {}
    for number, part in enumerate(parts()):
        save_file(part, folder / f"model-{number}.safetensors")
        places |= dict.fromkeys(part, f"model-{number}.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return path


def places(index: Path) -> dict[str, str]:
    return json.loads(index.read_text())["weight_map"]


def changed(index: Path, name: str, file: object) -> None:
    index.write_text(json.dumps({"weight_map": places(index) | {name: file}}))


def test_shards_are_one(index: Path) -> None:
    agrees(opened(index), example())
    agrees(opened(index.parent), example())
    assert opened(index).files == (index, *sorted(index.parent.glob("*.safetensors")))


def test_a_missing_shard_is_named(index: Path) -> None:
    (index.parent / "model-1.safetensors").unlink()
    assert "model-1.safetensors is not beside it" in refusal(index)


def test_a_shard_without_its_tensor_is_told(index: Path) -> None:
    changed(index, "matrix", "model-0.safetensors")
    assert "says that model-0.safetensors holds matrix" in refusal(index)
    changed(index, "matrix", "model-1.safetensors")
    changed(index, "ghost", "model-1.safetensors")
    assert "says that model-1.safetensors holds ghost" in refusal(index)


def test_a_shard_with_more_than_the_index_says_is_told(index: Path) -> None:
    index.write_text(json.dumps({"weight_map": {k: v for k, v in places(index).items() if k != "matrix"}}))
    assert "model-1.safetensors holds matrix, of which the index does not speak" in refusal(index)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        ("../secret.safetensors", "leads out of its folder"),
        ("a/../../secret.safetensors", "leads out of its folder"),
        ("..\\secret.safetensors", "leads out of its folder"),
        ("/etc/passwd", "an absolute path"),
        ("C:\\secret", "an absolute path"),
        ("C:secret", "an absolute path"),
        ("\\\\host\\share\\x", "an absolute path"),
        ("", "leads out of its folder"),
        ("link.safetensors", "a link that leads out"),
        ("folder/x.safetensors", "a link that leads out"),
        ("loop.safetensors", "is not beside it"),
        ("a\0b", "names no file"),
        (3, "names no file"),
        (None, "names no file"),
    ],
)
def test_an_index_reaches_nowhere_else(index: Path, file: object, why: str) -> None:
    secret = index.parent.parent / "secret.safetensors"
    save_file({"matrix": torch.ones(1)}, secret)
    (index.parent / "link.safetensors").symlink_to(secret)
    (index.parent / "folder").symlink_to("..")
    (index.parent / "loop.safetensors").symlink_to("loop.safetensors")
    changed(index, "matrix", file)
    said = refusal(index)
    assert why in said or (file == "loop.safetensors" and "leads nowhere" in said)


def test_the_links_of_the_hubs_cache_are_followed(tmp_path: Path, index: Path) -> None:
    repository = tmp_path / "models--Some--One"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "abc" / "transformer"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(index.parent.iterdir())):
        file.rename(blobs / f"{number}")
        (snapshot / file.name).symlink_to(f"../../../blobs/{number}")
    agrees(opened(snapshot / index.name), example())
    agrees(opened(snapshot), example())
    (snapshot / "model-0.safetensors").unlink()
    (snapshot / "model-0.safetensors").symlink_to(tmp_path / "elsewhere")
    assert "a link that leads out" in refusal(snapshot)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"weight_map": []}',
        b'{"weight_map": {}}',
        b"\xff",
        b"[" * 100_000,
        b'{"weight_map": 1}',
    ],
)
def test_what_is_no_index_is_refused(index: Path, text: bytes) -> None:
    index.write_bytes(text)
    assert "index" in refusal(index)


@settings(max_examples=50, deadline=None)
@given(
    table=st.dictionaries(st.text(max_size=8), st.text(max_size=12) | st.integers() | st.none(), max_size=4)
    | st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))
)
def test_any_index_is_refused_in_a_sentence(scratch: Path, table: object) -> None:
    path = scratch / "x.index.json"
    path.write_text(json.dumps({"weight_map": table}))
    assert str(path.parent) in refusal(path)


@settings(max_examples=150, deadline=None)
@given(
    table=st.dictionaries(
        st.text(max_size=6) | st.just("__metadata__"),
        st.fixed_dictionaries(
            {
                "dtype": st.sampled_from(sorted(DTYPES)) | st.text(max_size=4),
                "shape": st.lists(st.integers(-1, 2**64) | st.integers(0, 3), max_size=4),
                "data_offsets": st.lists(st.integers(0, 40), min_size=1, max_size=3),
            }
        )
        | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
        max_size=4,
    ),
    data=st.binary(max_size=48),
)
def test_any_header_is_read_or_refused(scratch: Path, table: dict[str, Any], data: bytes) -> None:
    path = made(scratch / "x.safetensors", table, data)
    with contextlib.suppress(BadModel):
        weights = opened(path)
        for name in weights:
            assert weights[name].nbytes == weights.nbytes(name) <= len(data)


@settings(max_examples=100, deadline=None)
@given(
    flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4), cut=st.floats(0, 1)
)
def test_a_damaged_file_is_read_or_refused(scratch: Path, flips: list[tuple[int, int]], cut: float) -> None:
    path = scratch / "x.safetensors"
    save_file(example(), path)
    text = bytearray(path.read_bytes())
    header = 8 + struct.unpack("<Q", text[:8])[0]
    for place, value in flips:
        text[place % header] = value
    path.write_bytes(text[: int(len(text) * cut)] if cut < 0.3 else text)
    with contextlib.suppress(BadModel):
        weights = opened(path)
        assert sum(weights[name].nbytes for name in weights) <= len(text)


def test_what_is_no_weight_file_is_called_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for text, name in (
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "web page"),
        (b"hello, this is no weight file", "does not begin"),
        (b"PK\x03\x04" + bytes(200), "zip archive"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "bare pickle"),
        (b"GGUF" + bytes(100), "GGUF"),
    ):
        path.write_bytes(text)
        assert name in refusal(path)
    assert "no such file" in refusal(tmp_path / "missing")
    assert "no such file" in refusal(Path("a\0b"))
    os.mkfifo(tmp_path / "pipe")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe")


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480])
def test_a_header_as_long_as_a_pickles_mark_is_a_header(tmp_path: Path, length: int) -> None:
    path = made(tmp_path / "x", {"__metadata__": {"pad": "x" * (length - len('{"__metadata__": {"pad": ""}}'))}})
    assert path.read_bytes()[0] == 0x80
    assert len(opened(path)) == 0


def test_a_folder_holds_exactly_one(tmp_path: Path, good: Path) -> None:
    assert len(opened(tmp_path)) == len(example())
    (tmp_path / "README.md").write_text("x")
    (tmp_path / ".hidden.safetensors").write_text("x")
    assert len(opened(tmp_path)) == len(example())
    (tmp_path / "y.pth").write_bytes(b"")
    assert "holds x.safetensors, y.pth; say which" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "holds no weights" in refusal(tmp_path / "empty")


def test_joined_weights_are_disjoint() -> None:
    one, other = (held(part, origin=origin) for part, origin in zip(parts(), ("one", "other")))
    agrees(joined([one, other]), example())
    with pytest.raises(BadModel, match=r"one: it holds brain, .* as one, other does"):
        joined([joined([one, other]), one])


def test_renamed_is_ours_to_theirs(good: Path) -> None:
    weights = renamed(opened(good), {"a": "matrix", "b": "matrix", "c": "missing"})
    assert set(weights) == {"a", "b"}
    assert torch.equal(weights["a"], example()["matrix"])


def test_derived_tensors_are_made_when_they_are_touched(good: Path) -> None:
    made = []

    def row(i: int, matrix: Tensor) -> Tensor:
        made.append(i)
        return matrix[i]

    rules = {f"row.{i}": Rule(("matrix",), (5,), torch.float32, partial(row, i)) for i in range(3)}
    weights = derived(opened(good), rules)
    assert set(weights) == set(example()) - {"matrix"} | set(rules)
    assert weights.shape("row.1") == (5,)
    assert made == []
    assert torch.equal(weights["row.1"], example()["matrix"][1])
    assert made == [1]
    with pytest.raises(BadModel, match="lacks nothing_such"):
        derived(opened(good), {"x": Rule(("nothing_such",), (), torch.float32, row)})
