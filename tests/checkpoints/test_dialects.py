"""Names of LoRA keys: one module in every naming, and no key lost whatever it says."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.checkpoints.dialects import IN_BLOCK, OUTSIDE, Name, Unknown, parsed, to_diffusers
from vitascope.checkpoints.lora import Lora
from vitascope.errors import BadModel

LEAVES = st.sampled_from(
    [f"{blocks}.{i}.{leaf}" for blocks in ("blocks", "vace_blocks") for i in (0, 9, 39) for leaf in IN_BLOCK]
)
MODULES = st.one_of(LEAVES, st.sampled_from(sorted(OUTSIDE)))
DOTTED = (
    "",
    "diffusion_model.",
    "model.diffusion_model.",
    "transformer.",
    "base_model.model.",
    "pipe.dit.",
    "_orig_mod.",
)
ENDINGS = {
    **{"lora_A.weight": "down", "lora_up.weight": "up", "lora_B.my name.weight": "up", "lora_B.bias": "up_bias"},
    **{"alpha": "alpha", "diff": "diff", "diff_b": "diff_b", "lokr_w1_a": "lokr_w1_a", "dora_scale": "dora_scale"},
}


@settings(deadline=None)
@given(MODULES, st.sampled_from(DOTTED), st.sampled_from(sorted(ENDINGS)), st.booleans())
def test_a_module_is_the_same_in_every_naming(module: str, prefix: str, ending: str, diffusers: bool) -> None:
    path = to_diffusers(module) if diffusers else module
    dotted, flat = parsed(f"{prefix}{path}.{ending}"), parsed(f"lora_unet_{path.replace('.', '_')}.{ending}")
    assert isinstance(dotted, Name)
    assert isinstance(flat, Name)
    assert (dotted.module, dotted.slot) == (module, ENDINGS[ending]) == (flat.module, flat.slot)
    assert flat.flat
    assert not dotted.flat


words = st.sampled_from(
    ["blocks", "0", "-1", "٣", "self_attn", "q", "lora_A", "weight", "transformer_2", "default", "_", "alpha", ""]
)
keys = st.one_of(
    st.text(max_size=30), st.lists(words, max_size=8).map(".".join), st.lists(words, max_size=8).map("_".join)
)


@settings(max_examples=100, deadline=None)
@given(st.sets(keys, max_size=6))
def test_no_key_is_ever_dropped(strange: set[str]) -> None:
    tensors = {"transformer.blocks.0.norm2.diff": torch.ones(24), **dict.fromkeys(sorted(strange), torch.ones(2, 2))}
    try:
        lora = Lora.read(tensors, origin="x")
    except BadModel:
        return
    applied = [key for change in lora.changes for key in change.keys]
    assert sorted([*applied, *lora.ignored]) == sorted(tensors)
    assert all(isinstance(parsed(key), Name | Unknown) for key in strange)
