"""What is put on a network adds up, can be changed, and comes off again to the last bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vitascope.checkpoints.attaching import attach
from vitascope.checkpoints.deltas import Added
from vitascope.checkpoints.lora import Lora
from vitascope.errors import BadModel, BadShot

from .dialect_files import FILES, WIDTH, comfy, distilled, error, film, fingerprint, summed, twin


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_several_add_up_in_any_order_and_their_strengths_can_be_changed(merge: bool) -> None:
    model = twin()
    before, files = fingerprint(model), [FILES[d]() for d in ("b", "d", "h", "g", "f")]
    loras = [Lora.read(tensors, origin=str(i)) for i, (tensors, _) in enumerate(files)]
    first, then = [0.5, 0.4, 0.8, -0.3, 0.25], [0.0, 1.0, 0.0, 0.6, 1.5]
    attached = attach(model, list(zip(loras, first)), merge=merge)
    assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, first))))) < 1e-11
    attached.change(then)
    assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, then))))) < 1e-11
    attached.change([0.0] * 5)
    assert torch.equal(film(model), film(twin()))
    attached.remove()
    assert fingerprint(model) == before
    with attach(model, list(zip(loras[::-1], first[::-1])), merge=merge):
        assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, first))))) < 1e-11
    with pytest.raises(ValueError, match="removed"):
        attached.change(first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merge_is_rounded_once_and_both_forms_agree(dtype: torch.dtype) -> None:
    tensors, dense = distilled()
    tensors = {name: value.to(dtype) for name, value in tensors.items()}
    model, lora = twin(dtype=dtype), Lora.read(tensors, origin="d")
    before = fingerprint(model)
    with attach(model, [(lora, 1.0)], merge=False):
        unmerged = film(model)
    base = model.get_parameter("blocks.0.ffn.2.weight").detach().clone()
    with attach(model, [(lora, 1.0)]):
        a, b = (tensors[f"diffusion_model.blocks.0.ffn.2.lora_{side}.weight"].float() for side in ("down", "up"))
        assert torch.equal(model.get_parameter("blocks.0.ffn.2.weight"), (base.float() + b @ a).to(dtype))
        assert error(unmerged, film(model)) < (3e-2 if dtype == torch.bfloat16 else 1e-5)
    assert fingerprint(model) == before
    if dtype == torch.float32:
        assert error(unmerged, film(summed(twin(dtype=dtype), (dense, 1.0)))) < 1e-5


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_a_failure_half_way_leaves_the_network_bare(merge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = twin(dtype=torch.float32)
    before, whole, calls = fingerprint(model), Added.of, 0
    lora = Lora.read(distilled()[0], origin="d")

    def failing(self: Added, base: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise MemoryError("half way")
        return whole(self, base)

    monkeypatch.setattr(Added, "of", failing)
    if merge:
        with pytest.raises(MemoryError):
            attach(model, [(lora, 1.0)])
    else:
        with attach(model, [(lora, 1.0)], merge=False), pytest.raises(MemoryError):
            film(model)
    assert calls == 6
    assert fingerprint(model) == before


def test_a_strength_too_high_leaves_the_network_bare() -> None:
    model = twin(dtype=torch.float32)
    before = fingerprint(model)
    mild = Lora.read(comfy()[0], origin="mild")
    wild = Lora.read({"blocks.1.norm3.diff": torch.full((WIDTH,), 1e38)}, origin="wild")
    attached = attach(model, [(mild, 1.0), (wild, 0.0)])
    with pytest.raises(
        BadModel, match=r"blocks.1.norm3.weight: .* exceeds what torch.float32 can hold; lower the strengths"
    ):
        attached.change([1.0, 9.0])
    assert fingerprint(model) == before
    for strength in (float("nan"), float("inf"), -1e39):
        with pytest.raises(BadShot, match=r"strength: .* was asked for, and beyond 100 .*; give one from -2 to 2"):
            attach(model, [(mild, strength)])
    assert fingerprint(model) == before


def test_an_unmerged_network_that_fails_has_its_own_weights_back() -> None:
    model = twin()
    before = fingerprint(model)
    seen: list[bool] = []
    with attach(model, [(Lora.read(distilled()[0], origin="d"), 1.0)], merge=False):

        def fail(*_: object) -> None:
            seen.append(fingerprint(model) != before)
            raise RuntimeError("out of memory")

        handle = model.get_submodule("blocks.1.ffn.0").register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            film(model)
        handle.remove()
        assert seen == [True]
        assert fingerprint(model) == before


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_weights_of_a_read_only_map_are_never_written(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    model = twin(dtype=torch.float32)
    state = model.state_dict()
    path.write_bytes(b"".join(value.numpy().tobytes() for value in state.values()))
    table, start = np.memmap(path, dtype=np.float32, mode="r"), 0
    mapped: dict[str, Tensor] = {}
    for name, value in state.items():
        mapped[name] = torch.from_numpy(table[start : start + value.numel()]).reshape(value.shape)
        start += value.numel()
    model.load_state_dict(mapped, assign=True)
    before = fingerprint(model)
    tensors, dense = distilled()
    with attach(model, [(Lora.read(tensors, origin="d"), 1.0)]):  # a write would end the process
        assert error(film(model), film(summed(twin(dtype=torch.float32), (dense, 1.0)))) < 1e-5
    assert fingerprint(model) == before
    assert model.patch_embedding.weight.data_ptr() == mapped["patch_embedding.weight"].data_ptr()


def test_a_network_carries_one_attachment_at_a_time_and_frees_itself() -> None:
    model, lora = twin(), Lora.read(comfy()[0], origin="c")
    with attach(model, [(lora, 1.0)]), pytest.raises(ValueError, match="remove them first"):
        attach(model, [(lora, 1.0)])
    attach(model, [(lora, 1.0)], merge=False).remove()


def test_a_merge_needs_numbers_in_memory_and_an_unmerged_lora_does_not() -> None:
    model, lora = twin().to("meta"), Lora.read(comfy()[0], origin="c")
    with pytest.raises(ValueError, match="attach unmerged"):
        attach(model, [(lora, 1.0)])
    attach(model, [(lora, 1.0)], merge=False).remove()


def test_autocast_changes_the_merged_and_the_unmerged_film_alike() -> None:
    model, lora = twin(dtype=torch.float32), Lora.read(comfy()[0], origin="c")
    with torch.autocast("cpu", torch.bfloat16):
        with attach(model, [(lora, 1.0)]):
            merged = film(model)
        with attach(model, [(lora, 1.0)], merge=False):
            assert error(film(model), merged) < 3e-2


def test_a_t2v_lora_goes_on_an_i2v_network_and_the_other_way_round() -> None:
    tensors, _ = comfy()
    lora = Lora.read(tensors, origin="i2v")
    with attach(twin(image=False), [(lora, 1.0)]) as attached:
        [report] = attached.reports
        assert set(report.ignored) == {name for name in tensors if "_img" in name}
        assert set(report.ignored.values()) == {"this model takes no image"}
        assert accounted(report.applied, report.ignored, report.mismatched) == sorted(tensors)


def accounted(*tables: Mapping[str, str]) -> list[str]:
    return sorted(key for table in tables for key in table)
