"""Files as torch.save makes them, and as somebody might who means harm: their tensors, archives, and programs opcode by opcode."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vitascope.checkpoints.weights import Weights, opened
from vitascope.errors import BadModel


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
