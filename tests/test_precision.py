"""bf16 where the machine multiplies in it, and float32 where it would have to make believe."""

from __future__ import annotations

import platform
from collections.abc import Iterator

import pytest
import torch

from vitascope import precision
from vitascope.planning import best_dtype
from vitascope.training.muon import orthogonalised


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    precision.has_bf16.cache_clear()
    yield
    precision.has_bf16.cache_clear()


def machine(monkeypatch: pytest.MonkeyPatch, name: str, *, avx512: bool = False, amx: bool = False) -> None:
    monkeypatch.setattr(platform, "machine", lambda: name)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)


@pytest.mark.parametrize(
    ("name", "instructions", "has"),
    [
        ("x86_64", {}, False),
        ("AMD64", {}, False),
        ("x86_64", {"avx512": True}, True),
        ("AMD64", {"amx": True}, True),
    ],
)
def test_a_processor_is_asked_for_its_instructions(
    monkeypatch: pytest.MonkeyPatch, name: str, instructions: dict[str, bool], has: bool
) -> None:
    machine(monkeypatch, name, **instructions)
    assert precision.has_bf16("cpu") is has
    dtype = torch.bfloat16 if has else torch.float32
    assert best_dtype(torch.device("cpu")) == dtype
    a = torch.ones(4, 4)
    with precision.bf16("cpu"):
        assert (a @ a).dtype == dtype
    with precision.bf16("cpu", asked=False):
        assert (a @ a).dtype == torch.float32


@pytest.mark.parametrize("has", [False, True])
def test_other_machines_are_asked_in_their_own_way(monkeypatch: pytest.MonkeyPatch, has: bool) -> None:
    machine(monkeypatch, "aarch64", avx512=not has)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: has)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: has or including_emulation)
    assert precision.has_bf16("cpu") is has
    assert precision.has_bf16("cuda") is has
    assert best_dtype(torch.device("cuda")) == (torch.bfloat16 if has else torch.float16)
    assert precision.has_bf16("mps")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    precision.has_bf16.cache_clear()
    assert not precision.has_bf16("cpu")


@pytest.mark.parametrize("instructions", [{}, {"avx512": True}])
def test_muon_moves_alike_in_either(monkeypatch: pytest.MonkeyPatch, instructions: dict[str, bool]) -> None:
    machine(monkeypatch, "x86_64", **instructions)
    matrix = torch.randn(24, 40, generator=torch.Generator().manual_seed(0))
    moved = orthogonalised(matrix)
    assert moved.dtype == torch.float32
    values = torch.linalg.svdvals(moved)
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
