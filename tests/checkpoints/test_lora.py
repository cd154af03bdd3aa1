"""LoRA files of every dialect against the dense sum, in float64."""

from __future__ import annotations

import pytest
import torch

from vitascope.checkpoints.attaching import attach
from vitascope.checkpoints.lora import Lora
from vitascope.errors import BadModel
from vitascope.models.dit import DiT

from .dialect_files import FILES, convolutions, error, film, fingerprint, summed, twin


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("dialect", FILES)
def test_a_file_of_each_dialect_is_the_dense_sum(dialect: str, merge: bool) -> None:
    tensors, dense = FILES[dialect]()
    model = twin()
    before, bare = fingerprint(model), film(model)
    expected = film(summed(model, (dense, 0.7)))
    assert error(bare, expected) > 1e-3
    lora = Lora.read(tensors, origin=f"{dialect}.safetensors")
    with attach(model, [(lora, 0.7)], merge=merge) as attached:
        assert error(film(model), expected) < 1e-11
        [report] = attached.reports
        assert set(report.applied) == set(tensors)
        assert set(report.applied.values()) == set(dense)
        assert not report.ignored
        assert not report.mismatched
        if merge:
            reference = summed(model_of(before, twin()), (dense, 0.7)).state_dict()
            assert max(error(value, reference[name]) for name, value in model.state_dict().items()) < 1e-14
        else:
            assert fingerprint(model) == before
    assert fingerprint(model) == before
    assert torch.equal(film(model), bare)


def model_of(wanted: str, model: DiT) -> DiT:
    assert fingerprint(model) == wanted
    return model


@pytest.mark.parametrize("form", convolutions())
def test_the_forms_of_a_convolution(form: str) -> None:
    tensors, change = convolutions()[form]
    model = twin()
    before = model.patch_embedding.weight.detach().clone()
    lora = Lora.read({f"patch_embedding.{name}": value for name, value in tensors.items()}, origin=form)
    with attach(model, [(lora, 2.0)]) as attached:
        assert len(attached.reports[0].applied) == len(tensors)
        assert error(model.patch_embedding.weight, before + 2 * change.reshape(before.shape)) < 1e-14
    key, value = next(iter(tensors.items()))
    wrong = {f"patch_embedding.{n}": v for n, v in tensors.items()} | {f"patch_embedding.{key}": value[:, 1:]}
    with pytest.raises(BadModel, match="another model"):
        attach(model, [(Lora.read(wrong, origin=form), 1.0)])
