"""Files of torch.save are read as data: to the numbers that torch.load gives, or not at all; nothing in them is ever run."""

from __future__ import annotations

import os
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.checkpoints.pickled_files import agrees, archive, example, program, refusal
from torch import nn
from torch.serialization import set_crc32_options

from vitascope.checkpoints.conversion import convert
from vitascope.checkpoints.known import digest
from vitascope.checkpoints.weights import opened
from vitascope.errors import BadModel


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_file_is_what_torch_says(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "x.pth"
    torch.save(example(), path, pickle_protocol=protocol)
    agrees(opened(path), example())
    agrees(opened(path), torch.load(path, weights_only=False))


def test_views_share_what_they_share(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(example(), path)
    before = path.read_bytes()
    weights = opened(path)
    weights["shared"].zero_()
    assert not weights["turned"].any()
    assert path.read_bytes() == before


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_a_modules_state_is_read_with_its_hidden_notes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Net().state_dict()
    assert isinstance(state, OrderedDict)
    assert state._metadata  # pyright: ignore[reportAttributeAccessIssue]
    torch.save(state, tmp_path / "x.pth")
    agrees(opened(tmp_path / "x.pth"), dict(state))


@pytest.mark.parametrize("nest", ["state_dict", "model", "module", "model_state_dict"])
def test_weights_within_a_checkpoint_are_found(tmp_path: Path, nest: str) -> None:
    path = tmp_path / "x.ckpt"
    torch.save(
        {nest: example(), "epoch": 3, "note": "hello", "optimizer": {"state": {0: {"step": torch.tensor(1)}}}}, path
    )
    weights = opened(path)
    agrees(weights, example())
    assert weights.metadata == {"epoch": "3", "note": "hello"}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({}, "no tensors under names"),
        ([torch.ones(1)], "no table of tensors"),
        (torch.ones(1), "no table of tensors"),
        ({"other": {"a": torch.ones(1)}}, "no tensors under names, but other"),
        ({"model": {"a": torch.ones(1)}, "module": {"a": torch.ones(1)}}, "several tables of tensors, model, module"),
        ({"a": torch.ones(1), "ema": {"b": torch.ones(1)}}, "more tensors under ema"),
        ({"a": torch.ones(1), "b\nc": torch.ones(1)}, "no name"),
        ({"a": torch.ones(2, dtype=torch.complex64).conj()}, "with other arguments than"),
        ({"a": torch.ones(2).to_sparse()}, "asks for torch"),
        ({"a": torch.ones(2, device="meta")}, "asks for torch"),
        ({"a": torch.device("cpu")}, "asks for torch.device"),
        ({1.5: 1}, "a number as a key"),
        (nn.Linear(1, 1), "asks for torch.nn.modules.linear.Linear"),
    ],
)
def test_what_is_no_table_of_plain_tensors_is_refused(tmp_path: Path, found: Any, why: str) -> None:
    torch.save(found, tmp_path / "x.pth")
    assert why in refusal(tmp_path / "x.pth")


def test_numbers_of_the_other_byte_order_are_turned(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pth", program(numel=2, shape=(2,), stride=(1,)), {"0": struct.pack(">2f", 1.5, -3.0)})
    assert opened(path)["a"].tolist() != [1.5, -3.0]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program(numel=2, shape=(2,), stride=(1,)))
        file.writestr("archive/byteorder", b"big")
        file.writestr("archive/data/0", struct.pack(">2f", 1.5, -3.0))
    assert opened(path)["a"].tolist() == [1.5, -3.0]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program())
        file.writestr("archive/byteorder", b"middle")
    assert "byte order is middle" in refusal(path)


def test_a_file_without_checksums_is_read(tmp_path: Path) -> None:
    set_crc32_options(False)
    try:
        torch.save(example(), tmp_path / "x.pth")
    finally:
        set_crc32_options(True)
    agrees(opened(tmp_path / "x.pth"), example())


def test_old_files_and_programs_are_refused_with_what_would_do(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save(example(), path, _use_new_zipfile_serialization=False)
    assert "before 1.6" in refusal(path)
    archive(path, program(), None, {"constants.pkl": b"x", "code/__torch__.py": b"x"})
    assert "TorchScript program" in refusal(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", program())
        file.writestr("b/data.pkl", program())
    assert "one data.pkl and this 2" in refusal(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", b"x")
    assert "not one of torch.save" in refusal(path)


# --- archives that lie


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(10**7))
    assert "is compressed" in refusal(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program())
        file.writestr("archive/data/0", bytes(16))
        file.writestr("archive/data/0", bytes(16))
    assert "names a part twice" in refusal(path)
    whole = bytearray(archive(path, program()).read_bytes())
    line = whole.rfind(b"PK\x01\x02")
    path.write_bytes(whole[: line + 8] + b"\x01" + whole[line + 9 :])
    assert "is encrypted" in refusal(path)
    path.write_bytes(whole[: line + 42] + struct.pack("<I", 0) + whole[line + 46 :])
    assert "something else does" in refusal(path)
    path.write_bytes(whole[: line + 20] + struct.pack("<II", 10**9, 10**9) + whole[line + 28 :])
    assert "reaches beyond the file's end" in refusal(path)
    path.write_bytes(whole[: line + 20] + struct.pack("<II", 100, 100) + whole[line + 28 :])
    assert "has 100 bytes, and its program says otherwise" in refusal(path)
    first = whole.find(b"PK\x01\x02")
    path.write_bytes(whole[: first + 20] + struct.pack("<II", 400, 400) + whole[first + 28 :])
    assert "lie over each other" in refusal(path)
    path.write_bytes(whole[:-30])
    assert "cut off" in refusal(path)


# --- the copy


def test_a_copy_in_safetensors_holds_the_same(tmp_path: Path) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "x.safetensors"
    torch.save({"state_dict": example(), "epoch": 3}, path)
    seen: list[tuple[int, int]] = []
    convert(path, out, watch=lambda done, total: seen.append((done, total)))
    agrees(opened(out), example())
    assert all(torch.equal(value, example()[name]) for name, value in load_file(out).items())
    with safe_open(out, "pt") as file:
        assert file.metadata() == {"epoch": "3", "source": "x.pth", "source_sha256": digest(path)}
    assert seen[-1][0] == seen[-1][1]
    assert sorted(file.name for file in tmp_path.glob("[!c]*")) == ["x.pth", "x.safetensors"]
    with pytest.raises(BadModel, match="another name"):
        convert(out, out)


def test_a_copy_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = tmp_path / "x.pth", tmp_path / "x.safetensors"
    torch.save(example(), path)
    out.write_text("before")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadModel, match=r"could not be written .*No space left"):
        convert(path, out)
    assert out.read_text() == "before"
    whole = bytearray(path.read_bytes())
    at = whole.find(example()["matrix"].numpy().tobytes())
    whole[at] ^= 1
    path.write_bytes(whole)
    with pytest.raises(BadModel, match="checksum differs"):
        convert(path, out)
    torch.save({"a": torch.ones(1, dtype=torch.complex128)}, path)
    with pytest.raises(BadModel, match=r"holds torch\.complex128, which safetensors does not know"):
        convert(path, out)
    torch.save({"__metadata__": torch.ones(1), "a": torch.ones(1)}, path)
    with pytest.raises(BadModel, match="called __metadata__"):
        convert(path, out)
    assert sorted(file.name for file in tmp_path.glob("*x*")) == ["x.pth", "x.safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_copy_takes_the_memory_of_one_tensor(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({f"{i}": torch.zeros(2**21) for i in range(16)}, path)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = resident()
    highest = 0

    def watch(done: int, total: int) -> None:
        nonlocal highest
        highest = max(highest, resident())

    convert(path, tmp_path / "x.safetensors", watch=watch)
    assert highest - before < 2**25 < path.stat().st_size / 3
