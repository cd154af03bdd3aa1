"""Weights in fewer bits: unpacked as their own library says, one at a time, and their marks are not seen any more."""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from vitascope.checkpoints.blocks import Blocks
from vitascope.checkpoints.quantised import dequantised
from vitascope.checkpoints.weights import Weights, held, joined, opened, renamed
from vitascope.errors import BadModel

E4, E5 = torch.float8_e4m3fn, torch.float8_e5m2


def saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Weights:
    save_file({name: value.clone() for name, value in tensors.items()}, path, metadata=metadata)
    return opened(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.safetensors"


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def refusal(weights: Weights) -> str:
    with pytest.raises(BadModel) as told:
        dequantised(weights)
    assert str(told.value).startswith(weights.origin)
    assert str(told.value).isprintable()
    return str(told.value)


def test_a_plain_file_is_as_it_was(path: Path) -> None:
    weights = saved(
        path, {"a.weight": random(2, 3), "b": random(2).bfloat16(), "pieces": torch.ones(3, dtype=torch.uint8)}
    )
    assert dequantised(weights) is weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", [E4, E5])
def test_plain_fp8_is_cast(path: Path, kind: torch.dtype, dtype: torch.dtype) -> None:
    packed, norm = random(4, 3).to(kind), random(4)
    weights = dequantised(saved(path, {"a.weight": packed, "norm": norm, "modulation": packed[:1]}), dtype)
    assert weights.dtype("a.weight") == weights["a.weight"].dtype == dtype
    assert torch.equal(weights["a.weight"], packed.float().to(dtype))
    assert torch.equal(weights["modulation"], packed[:1].float().to(dtype))
    assert torch.equal(weights["norm"], norm)
    assert weights.dtype("norm") == torch.float32


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
@pytest.mark.parametrize("shape", [(), (1,)])
def test_comfys_old_marks(path: Path, prefix: str, shape: tuple[int, ...]) -> None:
    packed, scale, bias = random(4, 3).to(E4), torch.full(shape, 0.3), random(4)
    tensors = {
        f"{prefix}{name}": value for name, value in (("l.weight", packed), ("l.bias", bias), ("l.scale_weight", scale))
    }
    tensors |= {f"{prefix}scaled_fp8": torch.zeros(0).to(E4), f"{prefix}l.scale_input": torch.ones(())}
    weights = dequantised(saved(path, tensors))
    assert set(weights) == {f"{prefix}l.weight", f"{prefix}l.bias"}
    assert torch.equal(weights[f"{prefix}l.weight"], packed.float() * scale)
    assert torch.equal(weights[f"{prefix}l.bias"], bias)
    half = dequantised(opened(path), torch.bfloat16)
    assert torch.equal(half[f"{prefix}l.weight"], (packed.float() * scale).bfloat16())


@pytest.mark.parametrize("where", ["notes", "tensor"])
def test_comfys_new_marks(path: Path, where: str) -> None:
    packed, scale = random(4, 3).to(E5), torch.tensor(0.3)
    form = json.dumps({"format": "float8_e5m2", "full_precision_matrix_mult": True})
    tensors = {"l.weight": packed, "l.weight_scale": scale, "l.input_scale": torch.tensor(2.0)}
    notes = {}
    if where == "notes":
        notes["_quantization_metadata"] = json.dumps({"format_version": "1.0", "layers": {"l": json.loads(form)}})
    else:
        tensors["l.comfy_quant"] = torch.tensor(list(form.encode()), dtype=torch.uint8)
    weights = dequantised(saved(path, tensors, notes))
    assert set(weights) == {"l.weight"}
    assert torch.equal(weights["l.weight"], packed.float() * scale)


@pytest.mark.parametrize(
    ("note", "why"),
    [
        ('{"layers": {"l": {"format": "nvfp4"}}}', "the layer l is packed as 'nvfp4'"),
        ('{"layers": {"l": {}}}', "does not say how the layer l is packed"),
        ('{"layers": {"l": 3}}', "does not say how the layer l is packed"),
        ('{"layers": [1]}', "cannot be read"),
        ("[]", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_packing_that_is_not_known_is_named(path: Path, note: str, why: str) -> None:
    assert why in refusal(saved(path, {"l.weight": random(2, 2).to(E4)}, {"_quantization_metadata": note}))


@pytest.mark.parametrize("kind", [E4, torch.int8])
@pytest.mark.parametrize("shape", [(4, 1), (4,)])
def test_a_scale_for_each_row(path: Path, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    packed, scale = (20 * random(4, 3)).to(kind), random(4).abs().reshape(shape)
    weights = dequantised(saved(path, {"l.weight": packed, "l.weight_scale": scale}))
    assert torch.equal(weights["l.weight"], packed.float() * scale.reshape(4, 1))


@pytest.mark.parametrize(
    ("weight", "scale"),
    [
        (random(4, 3).to(E4), random(3)),
        (random(4, 3).to(E4), random(2, 2)),
        (random(4, 3).to(E4), random(1, 4)),
        (random(4, 3), torch.tensor(1.0)),
        (random(4, 3).to(E4), torch.tensor(1)),
    ],
)
def test_a_scale_that_does_not_fit_is_refused(path: Path, weight: Tensor, scale: Tensor) -> None:
    assert "the scale of l.weight" in refusal(saved(path, {"l.weight": weight, "l.weight_scale": scale}))


def test_two_scales_are_refused_and_one_of_nothing_stays_seen(path: Path) -> None:
    one = torch.tensor(1.0)
    weights = saved(path, {"l.weight": random(2, 2).to(E4), "l.weight_scale": one, "l.scale_weight": one})
    assert "two scales" in refusal(weights)
    lost = held({"gone.scale_weight": one, "gone.input_scale": one}, origin="x")
    assert set(dequantised(lost)) == set(lost)


def test_unpacking_waits_until_it_is_touched(path: Path) -> None:
    weights = dequantised(saved(path, {"l.weight": random(4, 3).to(E4), "l.weight_scale": torch.tensor(0.5)}))
    packed = opened(path)
    with path.open("r+b") as file:
        file.seek(-12, 2)
        file.write(torch.full((12,), 2.0).to(E4).view(torch.uint8).numpy().tobytes())
    assert weights.shape("l.weight") == (4, 3)
    assert torch.equal(weights["l.weight"], torch.ones(4, 3))  # what is in the file when it is read
    assert torch.equal(packed["l.weight"].float(), torch.full((4, 3), 2.0))


KINDS = ["Q8_0", "Q6_K", "Q5_K", "Q4_K", "Q3_K", "Q2_K", "Q5_0", "Q5_1", "Q4_0", "Q4_1", "BF16"]


def blocks(kind: str, rows: int, width: int) -> np.ndarray:
    """Bytes as the kind packs them: the library's own where it can pack, else random ones with tame scales."""
    block, size = gguf.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    with contextlib.suppress(NotImplementedError):
        return gguf.quants.quantize(random(rows, width).numpy(), GGMLQuantizationType[kind])
    data = np.random.default_rng(0).integers(0, 256, (rows * width // block, size), np.uint8)
    halves = {"Q6_K": [208], "Q5_K": [0, 2], "Q4_K": [0, 2], "Q3_K": [108], "Q2_K": [80, 82]}[kind]
    for place in halves:
        data[:, place : place + 2] = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    return data.reshape(rows, width // block * size)


def written(path: Path, *, kind: str = "Q8_0", rows: int = 4, width: int = 512) -> Path:
    """A transformer's file in small: packed matrices, plain norms, a convolution flattened to what GGUF can hold."""
    writer = GGUFWriter(path, "wan")
    writer.add_string("general.name", "twin")
    writer.add_array("comfy.gguf.orig_shape.patch_embedding.weight", [2, 4, 1, 2, 2])
    packed = blocks(kind, rows, width)
    writer.add_tensor("blocks.0.ffn.0.weight", packed, raw_dtype=GGMLQuantizationType[kind])
    writer.add_tensor("blocks.0.norm3.weight", random(width).numpy())
    writer.add_tensor("head.modulation", random(1, 2, 8).numpy())
    writer.add_tensor("half", random(3, 2).half().numpy())
    writer.add_tensor("patch_embedding.weight", random(2, 4, 1, 2, 2).half().numpy().reshape(8, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_gguf_is_what_the_library_says(tmp_path: Path, kind: str) -> None:
    raw = opened(written(tmp_path / "x.gguf", kind=kind))
    name = "blocks.0.ffn.0.weight"
    truth = gguf.quants.dequantize(blocks(kind, 4, 512), GGMLQuantizationType[kind])
    weights = dequantised(raw)
    assert weights.shape(name) == (4, 512)
    assert np.isfinite(truth).all()
    assert truth.any()
    assert np.array_equal(weights[name].float().numpy(), truth)
    assert weights[name].dtype == weights.dtype(name)
    if kind != "BF16":
        assert isinstance(raw.slots[name], Blocks)
        assert raw[name].shape == raw.shape(name)
        assert raw.dtype(name) == torch.uint8
        assert dequantised(raw, torch.float16).dtype(name) == torch.float16
    assert torch.equal(weights["blocks.0.norm3.weight"], random(512))
    assert torch.equal(weights["head.modulation"], random(1, 2, 8))
    assert torch.equal(weights["half"], random(3, 2).half())
    assert torch.equal(weights["patch_embedding.weight"], random(2, 4, 1, 2, 2).half())
    assert weights.metadata["general.name"] == "twin"


def test_blocks_survive_joining_and_renaming(tmp_path: Path) -> None:
    raw = opened(written(tmp_path / "x.gguf"))
    other = renamed(joined([raw, held({"b": torch.ones(1)}, origin="y")]), {"w": "blocks.0.ffn.0.weight", "b": "b"})
    assert torch.equal(dequantised(other)["w"], dequantised(raw)["blocks.0.ffn.0.weight"])


def lying(path: Path, *fields: bytes, tensors: int = 0, keys: int = 0) -> Path:
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + b"".join(fields))
    return path


def word(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def line(name: bytes, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return word(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


ARRAY, U8 = int(GGUFValueType.ARRAY), int(GGUFValueType.UINT8)


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ([], {"tensors": 2**60}),
        ([], {"keys": 2**63}),
        ([word(b"k") + struct.pack("<IIQ", ARRAY, U8, 2**60)], {"keys": 1}),
        ([word(b"k") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 2**60) * 5000], {"keys": 1}),
        ([struct.pack("<Q", 2**63) + b"k"], {"keys": 1}),
        ([word(b"k") + struct.pack("<I", 99)], {"keys": 1}),
        ([word(b"\xff") + struct.pack("<IB", U8, 1)], {"keys": 1}),
        ([(word(b"k") + struct.pack("<IB", U8, 1)) * 2], {"keys": 2}),
        ([line(b"a", (2**33, 2**33), 0, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (2**32, 2**32), 0, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (4,), 0, 2**64 - 8), bytes(99)], {"tensors": 1}),
        ([line(b"a", (4,), 0, 2**63), bytes(99)], {"tensors": 1}),
        ([line(b"a", (4,), 8, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (4,), 77, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (), 0, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (0,), 0, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a\n", (4,), 0, 0), bytes(99)], {"tensors": 1}),
        ([line(b"a", (4,), 0, 0), line(b"a", (4,), 0, 0), bytes(99)], {"tensors": 2}),
        ([line(b"a", (64,), 0, 0), bytes(99)], {"tensors": 1}),
    ],
)
def test_a_lying_gguf_is_refused(tmp_path: Path, fields: list[bytes], counts: dict[str, Any]) -> None:
    path = lying(tmp_path / "x.gguf", *fields, **counts)
    with pytest.raises(BadModel, match="begins as a GGUF file and is none"):
        opened(path)


@settings(max_examples=80, deadline=None)
@given(
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=3), cut=st.floats(0, 2)
)
def test_a_damaged_gguf_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int]], cut: float
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    whole = bytearray(written(path).read_bytes())
    for place, value in edits:
        whole[place % 700] = value  # header and lines
    path.unlink()
    path.write_bytes(whole[: int(len(whole) * cut)])
    with contextlib.suppress(BadModel):
        weights = dequantised(opened(path))
        assert all(weights[name].shape == weights.shape(name) for name in weights)


def test_without_the_library_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "x.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(BadModel, match=r'pip install "vitascope\[wan\]"'):
        opened(tmp_path / "x.gguf")
