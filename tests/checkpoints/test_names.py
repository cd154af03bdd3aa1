"""Names: every table reads both ways, knows every tensor of a model, and agrees with one that shares no line with it."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from tests.checkpoints import twin_names
from tests.checkpoints.twins import Variant, twin
from torch import Tensor

from vitascope.checkpoints import names
from vitascope.checkpoints.names import IMAGE, IMAGE_TRANSFORMERS, TEXT, TRANSFORMER, Names, autoencoder, image_rules
from vitascope.models.outline import outlined
from vitascope.models.vae import VAE, VAEConfig

TABLES = {
    "transformer": TRANSFORMER,
    "autoencoder": autoencoder(),
    "residual autoencoder": autoencoder(residual=True),
    "text": TEXT,
    "image": IMAGE,
    "image of transformers": IMAGE_TRANSFORMERS,
}


def below(inner: str, outer: str) -> bool:
    return inner.split(".")[: len(outer.split("."))] == outer.split(".")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_no_line_lies_below_another_so_that_one_line_at_most_fits(table: Names) -> None:
    for (ours, theirs), (outer, other) in permutations(table.pairs, 2):
        assert not below(ours, outer), (ours, outer)
        assert not below(theirs, other), (theirs, other)
        assert ours.count("*") == theirs.count("*")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_a_table_reads_both_ways(table: Names) -> None:
    for ours, theirs in table.pairs:
        ours, theirs = ours.replace("*", "17"), theirs.replace("*", "17")
        for leaf in ("", ".weight", ".lora_A.default.weight"):
            assert table.theirs(ours + leaf) == theirs + leaf
            assert table.ours(theirs + leaf) == ours + leaf


@pytest.mark.parametrize(
    "name", ["", "blocks", "blocks.x.attn1.to_q", "blocks.-1.ffn.0", "proj_outer.weight", "blocks.٣.ffn.0"]
)
def test_what_no_line_tells_has_no_translation(name: str) -> None:
    assert TRANSFORMER.ours(name) is None
    assert TRANSFORMER.theirs(name) is None


@pytest.mark.parametrize("variant", ["t2v", "i2v", "flf2v", "vace"])
def test_every_tensor_of_a_transformer_has_the_name_that_the_published_files_have(variant: Variant) -> None:
    state = twin(variant).transformer.state_dict()
    expected = twin_names.transformer_state(state)
    assert {TRANSFORMER.ours(name): id(value) for name, value in state.items()} == {
        name: id(value) for name, value in expected.items()
    }


def test_every_tensor_of_an_autoencoder_likewise() -> None:
    state = twin().vae.state_dict()
    expected = twin_names.autoencoder_state(state)
    table = autoencoder()
    assert {table.ours(name): id(value) for name, value in state.items()} == {k: id(v) for k, v in expected.items()}
    assert len(state) == 194


@pytest.mark.parametrize("residual", [False, True])
def test_an_autoencoder_of_our_own_has_the_names_and_sizes_of_diffusers(residual: bool) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

    config = VAEConfig(base=8, z=16, residual=residual)
    with outlined():
        ours = VAE(config).state_dict()
    theirs = AutoencoderKLWan(base_dim=8, z_dim=16, is_residual=residual).state_dict()
    table = autoencoder(residual=residual)
    assert {table.theirs(name): v.shape for name, v in ours.items()} == {name: v.shape for name, v in theirs.items()}


def test_every_tensor_of_a_text_encoder_likewise() -> None:
    state = twin().text.state_dict()
    expected = twin_names.text_state(state)
    assert {TEXT.ours(name) for name in state if name != names.TWICE} == set(expected)


def test_an_image_tower_comes_the_same_from_both_layouts() -> None:
    t = twin("i2v")
    assert t.image is not None
    theirs = {f"vision_model.{k.removeprefix('vision_model.')}": v for k, v in t.image.state_dict().items()}
    official = twin_names.image_state({k: v for k, v in theirs.items() if "position_ids" not in k}, t.projection)
    theirs["visual_projection.weight"] = t.projection
    theirs["logit_scale"] = torch.tensor(4.6)
    official |= {"log_scale": torch.tensor(4.6), "textual.norm.weight": torch.ones(3)}
    a, b = (applied(state) for state in (theirs, official))
    assert set(a) == set(b)
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def test_without_one_of_q_k_and_v_there_is_no_joined_matrix() -> None:
    stem = "vision_model.encoder.layers.0.self_attn"
    rules = image_rules({f"{stem}.q_proj.weight": (4, 4), f"{stem}.v_proj.weight": (4, 4)})
    assert set(rules) == {f"{stem}.q_proj.weight", f"{stem}.v_proj.weight"}


def applied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    rules = image_rules({name: value.shape for name, value in state.items()})
    return {name: make(*(state[one] for one in needs)) for name, (needs, make) in rules.items()}
