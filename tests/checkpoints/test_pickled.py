"""Files of torch.save are read as data: to the numbers that torch.load gives, or not at all; nothing in them is ever run."""

from __future__ import annotations

import ast
import contextlib
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.serialization import set_crc32_options

from vitascope.checkpoints import opcodes, pickled
from vitascope.checkpoints.conversion import convert
from vitascope.checkpoints.known import digest
from vitascope.checkpoints.opcodes import BadPickle
from vitascope.checkpoints.weights import Weights, opened
from vitascope.errors import BadModel


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the files that hypothesis thinks of."""
    return tmp_path_factory.mktemp("scratch")


def example() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shared = torch.randn(4, 6)
    numbers = torch.arange(24)
    return {
        "matrix": torch.randn(3, 5),
        "shared": shared,
        "turned": shared.t(),
        "corner": shared[1:3, 2:5],
        "every_other": numbers[3::2],
        "expanded": torch.randn(1, 3).expand(4, 3),
        "parameter": nn.Parameter(torch.randn(2, 2)),
        "frozen": nn.Parameter(torch.randn(2), requires_grad=False),
        "half": torch.randn(4).half(),
        "brain": torch.randn(2, 2, 2).bfloat16(),
        "eight": torch.randn(7).to(torch.float8_e4m3fn),
        "double": torch.randn(2).double(),
        "long": numbers,
        "int": torch.tensor([1, -2], dtype=torch.int32),
        "short": torch.tensor([1, -2], dtype=torch.int16),
        "char": torch.tensor([1, -2], dtype=torch.int8),
        "byte": torch.tensor([1, 254], dtype=torch.uint8),
        "unsigned": torch.tensor([1, 65535], dtype=torch.uint16),
        "truth": torch.tensor([True, False]),
        "waves": torch.randn(3, dtype=torch.complex64),
        "single": torch.tensor(3.5),
        "none": torch.zeros(0, 4),
    }


def agrees(weights: Weights, truth: dict[str, Tensor]) -> None:
    assert set(weights) == set(truth)
    for name, value in truth.items():
        found = weights[name]
        assert (found.dtype, found.shape) == (value.dtype, value.shape), name
        assert (weights.dtype(name), weights.shape(name)) == (value.dtype, tuple(value.shape)), name
        one, other = (t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (found, value))
        assert one.equal(other), name


def refusal(path: Path) -> str:
    """What is said of a file, at the latest when its tensors are touched; always one line."""
    with pytest.raises(BadModel) as told:
        touched(path)
    said = str(told.value)
    assert said.startswith(str(path))
    assert said.isprintable()
    assert said.endswith(".")
    return said


def touched(path: Path) -> dict[str, Tensor]:
    weights = opened(path)
    return {name: weights[name].clone() for name in weights}


def archive(
    path: Path, program: bytes, storages: dict[str, bytes] | None = None, more: dict[str, bytes] | None = None
) -> Path:
    """A file as torch.save makes it, with any description."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", program)
        file.writestr("archive/byteorder", b"little")
        for key, raw in (storages or {"0": bytes(16)}).items():
            file.writestr(f"archive/data/{key}", raw)
        for name, raw in (more or {}).items():
            file.writestr(f"archive/{name}", raw)
    return path


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


# --- programs that lie


def program(
    *,
    key: str = "0",
    kind: bytes = b"ctorch\nFloatStorage\n",
    numel: int = 4,
    offset: int = 0,
    shape: tuple[int, ...] = (2, 2),
    stride: tuple[int, ...] = (2, 1),
) -> bytes:
    """A description of one tensor "a"."""
    counts = [dumped(value) for value in (offset, shape, stride)]
    mark = b"(" + text("storage") + kind + text(key) + text("cpu") + dumped(numel) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + mark + b"".join(counts) + b"\x89" + hooks + b"tR"
    return b"\x80\x02}" + text("a") + tensor + b"s."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def dumped(value: object) -> bytes:
    """A value's opcodes, without beginning, end and memory."""
    if isinstance(value, tuple):
        return b"(" + b"".join(dumped(item) for item in value) + b"t"
    assert isinstance(value, int)
    raw = value.to_bytes(12, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def test_the_program_of_these_tests_is_a_true_one(tmp_path: Path) -> None:
    path = archive(tmp_path / "x.pth", program(), {"0": struct.pack("<4f", 1, 2, 3, 4)}, {"version": b"3\n"})
    assert opened(path)["a"].tolist() == [[1, 2], [3, 4]] == torch.load(path, weights_only=True)["a"].tolist()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key": "1"}, "lacks the storage 1"),
        ({"key": "../data.pkl"}, "lacks the storage"),
        ({"key": "\n"}, "lacks the storage"),
        ({"numel": 5}, "says otherwise"),
        ({"numel": 2**62}, "says otherwise"),
        ({"numel": -4}, "says otherwise"),
        ({"kind": b"ctorch\nDoubleStorage\n"}, "says otherwise"),
        ({"kind": b"ctorch\nfloat32\n"}, "no storage of numbers"),
        ({"kind": b"ctorch.storage\nUntypedStorage\n", "numel": 16}, "no whole numbers"),
        ({"offset": 1}, "reaches beyond"),
        ({"offset": -1}, "no whole numbers"),
        ({"offset": 2**80}, "no whole numbers"),
        ({"shape": (2, 3)}, "reaches beyond"),
        ({"shape": (2**62, 2**62), "stride": (1, 1)}, "reaches beyond"),
        ({"shape": (0, 2**62, 2**62), "stride": (1, 1, 1)}, "reaches beyond"),
        ({"shape": (0,), "stride": (1,), "offset": 5}, "reaches beyond"),
        ({"shape": (2**40,), "stride": (0,)}, "unfold to more than the whole file"),
        ({"shape": (2, 2), "stride": (2**62, 1)}, "reaches beyond"),
        ({"shape": (2, 2), "stride": (-1, 1)}, "no whole numbers"),
        ({"shape": (2, 2), "stride": (1,)}, "no whole numbers"),
        ({"shape": (1,) * 17, "stride": (1,) * 17}, "no whole numbers"),
    ],
)
def test_a_tensor_outside_its_numbers_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    assert why in refusal(archive(tmp_path / "x.pth", program(**changes)))


class Call:
    """Unpickled, it calls a function."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


class Stateful:
    """Unpickled, its state is set by a method."""

    def __getstate__(self) -> dict[str, str]:
        return {"a": "b"}


def payloads(canary: str) -> dict[str, tuple[bytes, str]]:
    """Programs that would write a canary, and what is named when they are refused."""
    write = f"__import__('pathlib').Path({canary!r}).write_text('sang')"
    shell = f"echo sang > {canary}"
    argument = text(shell) + b"\x85R"
    return {
        "system": (pickle.dumps(Call(os.system, shell), 2), "system"),
        "eval": (pickle.dumps(Call(eval, write), 2), "eval"),
        "exec": (pickle.dumps({"a": Call(exec, write)}, 4), "builtins.exec"),
        "method": (pickle.dumps(Call(Path.write_text, Path(canary), "sang"), 4), "asks for"),
        "torch.load": (b"\x80\x02ctorch\nload\n" + argument + b".", "torch.load"),
        "nested": (b"\x80\x02ctorch.serialization\nload\n" + argument + b".", "torch.serialization.load"),
        "posix": (b"\x80\x02cposix\nsystem\n" + argument + b".", "posix.system"),
        "named on the stack": (b"\x80\x04" + text("os") + text("system") + b"\x93" + argument + b".", "os.system"),
        "attribute of torch": (b"\x80\x04" + text("torch") + text("os.system") + b"\x93" + argument + b".", "torch.os"),
        "instance": (b"(" + text(shell) + b"ios\nsystem\n.", "INST"),
        "object": (b"\x80\x02(cos\nsystem\n" + text(shell) + b"o.", "os.system"),
        "object of a known one": (b"\x80\x02(ctorch\nFloatStorage\n" + text(shell) + b"o.", "OBJ"),
        "new object": (b"\x80\x02ctorch\nFloatStorage\n" + text(shell) + b"\x85\x81.", "NEWOBJ"),
        "new object with names": (b"\x80\x04ctorch\nSize\n)}\x92.", "NEWOBJ_EX"),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "extension 2": (b"\x80\x02\x83\x01\x00.", "EXT2"),
        "extension 4": (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
        "build on a class": (
            b"\x80\x02ctorch\nFloatStorage\n}" + text("a") + text("b") + b"sb.",
            "BUILD on the global",
        ),
        "build on a table": (b"\x80\x02}}b.", "BUILD on a table"),
        "build by pairs": (b"\x80\x02ccollections\nOrderedDict\n)R}}\x86b.", "BUILD"),
        "state": (pickle.dumps(Stateful(), 2), "asks for"),
        "called text": (b"\x80\x02" + text("os.system") + argument + b".", "calls a text"),
        "called with a list": (b"\x80\x02ccollections\nOrderedDict\n]R.", "with a list"),
        "called storage": (b"\x80\x02ctorch\nFloatStorage\n" + argument + b".", "calls torch.FloatStorage"),
        "default factory": (b"\x80\x02ccollections\nOrderedDict\n" + argument + b".", "with other arguments"),
        "persistent id": (b"\x80\x02(" + text("storage") + b"cbuiltins\neval\n" + argument + b"tQ.", "builtins.eval"),
        "persistent text": (b"\x80\x02" + text(shell) + b"Q.", "no storage of numbers"),
        "persistent line": (b"P" + shell.encode() + b"\n.", "PERSID"),
        "persistent kind": (
            b"\x80\x02(" + text("module") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x01tQ.",
            "no storage of numbers",
        ),
        "buffer": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "old number": (b"I01\n.", "INT"),
        "protocol": (b"\x80\x09N.", "protocol 9"),
        "unknown": (b"\x80\x02\xff.", "0xff"),
    }


@pytest.mark.parametrize("form", sorted(payloads("x")))
def test_no_payload_runs(tmp_path: Path, form: str) -> None:
    canary, path = tmp_path / "canary", tmp_path / "x.pth"
    code, named = payloads(str(canary))[form]
    said = refusal(archive(path, code))
    assert named in said
    assert "never unpickled" in said
    path.write_bytes(code)  # bare, it is refused as well, whatever it begins with
    assert refusal(path)
    assert not canary.exists()


@pytest.mark.parametrize(
    "form",
    ["system", "eval", "exec", "method", "posix", "named on the stack", "attribute of torch", "instance", "object"],
)
def test_the_payloads_are_true_ones(tmp_path: Path, form: str) -> None:
    canary = tmp_path / "canary"
    code, _ = payloads(str(canary))[form]
    pickle.loads(code)
    assert canary.exists()


def test_the_reader_imports_nothing_that_unpickles() -> None:
    folder = Path(pickled.__file__).parent
    for file in (*folder.glob("*.py"), folder.parent / "tensors.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "_pickle", "dill", "joblib"}, file
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"pickle", "_pickle"}, file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) != ("torch", "load"), file


# --- damage


def test_forty_damaged_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    truth = example()
    torch.save(truth, path)
    whole = path.read_bytes()
    step = len(whole) // 60
    mutants = [whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :] for at in range(3, len(whole), step)]
    mutants += [whole[: len(whole) * part // 10] for part in range(10)]
    mutants += [
        whole + b"\0",
        b"\0" + whole,
        whole[::-1],
        whole[:300] + whole[400:],
        whole[:300] + bytes(9) + whole[300:],
    ]
    refused = 0
    assert len(mutants) > 70
    for mutant in mutants:
        path.unlink()
        path.write_bytes(mutant)
        refused += 1
        with contextlib.suppress(BadModel):
            agrees(opened(path), truth)
            refused -= 1
    assert refused > 30  # where padding is hit, or a date, the numbers stand


def real_program() -> bytes:
    import io

    buffer = io.BytesIO()
    torch.save({name: example()[name] for name in ("matrix", "turned", "eight", "parameter", "single")}, buffer)
    with zipfile.ZipFile(buffer) as file:
        return next(file.read(name) for name in file.namelist() if name.endswith("data.pkl"))


REAL = real_program()
OPCODES = st.sampled_from(sorted(opcodes._ACTIONS)) | st.binary(min_size=1, max_size=1)  # pyright: ignore[reportPrivateUsage]
OPERANDS = (
    st.binary(max_size=4)
    | st.sampled_from([text("a"), text("storage"), b"ctorch\nFloatStorage\n", b"ccollections\nOrderedDict\n)R"])
    | st.sampled_from(
        [b"K\x01", b"\x8a\x08" + b"\xff" * 8, b"ctorch._utils\n_rebuild_tensor_v2\n", b"\x8d" + b"\xff" * 8]
    )
)
PROGRAMS = (
    st.binary(max_size=60)
    | st.lists(st.tuples(OPCODES, OPERANDS), max_size=30).map(lambda items: b"".join(a + b for a, b in items) + b".")
    | st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.binary(max_size=3)), min_size=1, max_size=4).map(
        lambda edits: edited(REAL, edits)
    )
)


def edited(whole: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    for at, put in edits:
        whole = whole[:at] + put + whole[at + 1 :]
    return whole


@settings(max_examples=400, deadline=None)
@given(code=PROGRAMS)
def test_only_a_refusal_escapes_the_machine(code: bytes) -> None:
    with contextlib.suppress(BadPickle):
        opcodes.data(code, names={"collections.OrderedDict"}, call=lambda name, _: name, outside=lambda mark: None)


@settings(max_examples=120, deadline=None)
@given(code=PROGRAMS)
def test_any_program_is_read_or_refused(scratch: Path, code: bytes) -> None:
    path = archive(scratch / "x.pth", code, {str(key): bytes(96) for key in range(5)})
    with contextlib.suppress(BadModel):
        assert all(value.nbytes <= path.stat().st_size for value in touched(path).values())
    path.unlink()


@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=200), at=st.integers(0, 10**6))
def test_any_bytes_are_read_or_refused(scratch: Path, raw: bytes, at: int) -> None:
    path = scratch / "y.pth"
    whole = archive(path, REAL, {str(key): bytes(96) for key in range(5)}).read_bytes()
    at %= len(whole)
    path.unlink()
    path.write_bytes(whole[:at] + raw + whole[at + len(raw) :])
    with contextlib.suppress(BadModel):
        touched(path)
    path.unlink()


@pytest.mark.parametrize(
    "code",
    [
        b"(" * 2_000_000,
        b"\x80\x02" + b")\x85" * 200_000 + b".",
        b"\x80\x02N" + b"\x85" * 300_000 + b".",
        b"\x80\x02]" + b"q\x00h\x00a" * 200_000 + b".",
        b"\x80\x02" + b"N" * 2_000_000 + b".",
        b"\x80\x02X\xff\xff\xff\xffabc",
        b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x80\x02c" + b"a" * 2_000_000,
        b"\x80\x02r\xff\xff\xff\xff.",
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"",
    ],
    ids=range(11),
)
def test_a_program_without_end_is_refused_soon(tmp_path: Path, code: bytes) -> None:
    assert refusal(archive(tmp_path / "x.pth", code))


def test_a_description_beyond_all_measure_is_not_read(tmp_path: Path) -> None:
    assert "description is longer" in refusal(archive(tmp_path / "x.pth", bytes(pickled.LONGEST_DESCRIPTION + 1)))


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
