"""Pickles that would act, damaged ones, and whatever else a file may hold: read to equal values or refused, and never run."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.checkpoints.pickled_files import agrees, archive, example, program, refusal, text, touched

from vitascope.checkpoints import opcodes, pickled
from vitascope.checkpoints.opcodes import BadPickle
from vitascope.checkpoints.weights import opened
from vitascope.errors import BadModel


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all the files that hypothesis thinks of."""
    return tmp_path_factory.mktemp("scratch")


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
