"""UMT5: equal to transformers' encoder on the same weights; its distances; one layer after the other."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from vitascope.models.umt5 import UMT5, UMT5Config, bucket

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import UMT5Config as OtherConfig
    from transformers import UMT5EncoderModel

SMALL = UMT5Config(vocab=96, width=48, heads=4, head_width=8, ffn=80, layers=3)

TO_TRANSFORMERS = (
    ("blocks.", "encoder.block."),
    ("pos_embedding.embedding", "layer.0.SelfAttention.relative_attention_bias"),
    ("norm1", "layer.0.layer_norm"),
    ("attn", "layer.0.SelfAttention"),
    ("norm2", "layer.1.layer_norm"),
    ("ffn.gate.0", "layer.1.DenseReluDense.wi_0"),
    ("ffn.fc1", "layer.1.DenseReluDense.wi_1"),
    ("ffn.fc2", "layer.1.DenseReluDense.wo"),
    ("token_embedding", "shared"),
)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().double().norm() / b.detach().double().norm())


def made(config: UMT5Config = SMALL, seed: int = 0) -> UMT5:
    """Weights under which logits, positions and gates all matter."""
    generator = torch.Generator().manual_seed(seed)
    model = UMT5(config)
    with torch.no_grad():
        for name, p in model.named_parameters():
            draw = torch.randn(p.shape, generator=generator)
            if "norm" in name:
                p.copy_(1 + 0.2 * draw)
            else:
                p.copy_(draw if "embedding" in name else draw * p.shape[1] ** -0.5)
    return model.requires_grad_(False)


def oracle(model: UMT5) -> UMT5EncoderModel:
    c = model.config
    other = UMT5EncoderModel(
        OtherConfig(
            vocab_size=c.vocab,
            d_model=c.width,
            d_kv=c.head_width,
            d_ff=c.ffn,
            num_layers=c.layers,
            num_heads=c.heads,
            relative_attention_num_buckets=c.buckets,
            relative_attention_max_distance=c.furthest,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    ).eval()
    state = {}
    for name, value in model.state_dict().items():
        for ours, theirs in TO_TRANSFORMERS:
            name = name.replace(ours, theirs)
        state["encoder.final_layer_norm.weight" if name == "norm.weight" else name] = value
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= {"encoder.embed_tokens.weight"}  # the same tensor as `shared`
    return other


def texts(rows: int, lengths: tuple[int, ...], vocab: int = 96) -> tuple[Tensor, Tensor]:
    """Random tokens, padding of zeros; and the mask of what is real."""
    longest = max(lengths)
    tokens = torch.randint(1, vocab, (rows, longest), generator=torch.Generator().manual_seed(1))
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    return tokens.where(mask, 0), mask


def test_equal_to_transformers() -> None:
    model = made()
    tokens, mask = texts(3, (200, 90, 1))
    ours = model(tokens, mask)
    theirs = oracle(model)(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    assert error(ours[mask], theirs[mask]) <= 1e-6
    # The weights matter: the same with one table of positions for all layers is another encoder.
    spoiled = made()
    name = "pos_embedding.embedding.weight"
    positions = {name: spoiled.blocks[0].state_dict()[name]}
    spoiled.blocks[1].load_state_dict(spoiled.blocks[1].state_dict() | positions)
    assert error(spoiled(tokens, mask)[mask], theirs[mask]) > 1e-2


def test_bf16_is_no_further_off_than_transformers() -> None:
    model = made()
    tokens, mask = texts(2, (120, 40))
    exact = oracle(model).double()(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    half = oracle(model).bfloat16()(input_ids=tokens, attention_mask=mask.long()).last_hidden_state
    theirs = error(half[mask], exact[mask])
    for ours in (made().bfloat16()(tokens, mask), _autocast(made(), tokens, mask)):
        assert ours.dtype == torch.float32
        assert 0 < error(ours[mask], exact[mask]) <= theirs


def _autocast(model: UMT5, tokens: Tensor, mask: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return model(tokens, mask)


def test_the_table_of_distances() -> None:
    known = {-200: 15, -64: 14, -32: 12, -16: 10, -8: 8, -7: 7, 0: 0, 1: 17, 8: 24, 12: 25, 16: 26, 23: 27, 32: 28}
    known |= {46: 29, 64: 30, 91: 31, 200: 31}
    assert {d: int(bucket(torch.tensor(d))) for d in known} == known
    distances = torch.arange(-1030, 1031)
    for buckets, furthest in ((32, 128), (16, 64), (64, 500)):
        config = OtherConfig(relative_attention_num_buckets=buckets, relative_attention_max_distance=furthest)
        first: Any = UMT5EncoderModel(_tiny(config)).encoder.block
        other = first[0].layer[0].SelfAttention
        assert torch.equal(bucket(distances, buckets, furthest), other._relative_position_bucket(distances))


def _tiny(config: OtherConfig) -> OtherConfig:
    config.vocab_size, config.d_model, config.d_ff, config.num_layers = 8, 8, 8, 1
    return config


def test_real_tokens_alone_are_the_padded_run() -> None:
    model = made()
    tokens, mask = texts(3, (64, 17, 1))
    padded = model(tokens, mask)
    for row, length in enumerate((64, 17, 1)):
        alone = model(tokens[row : row + 1, :length])
        assert error(padded[row : row + 1, :length], alone) < 1e-6
    other = model(tokens.where(mask, 5), mask)  # another padding
    assert torch.equal(other[mask], padded[mask])


def test_layers_one_by_one() -> None:
    model = made()
    tokens, _ = texts(1, (20,))
    x = model.token_embedding(tokens)
    for block in model.blocks:
        x = block(x)
    assert torch.equal(model.norm(x), model(tokens))


def test_names_and_sizes_are_those_of_the_official_file() -> None:
    with torch.device("meta"):
        state = UMT5(UMT5Config()).state_dict()
    assert len(state) == 242
    assert sum(value.numel() for value in state.values()) == 5_680_910_336
    expected = {
        "token_embedding.weight": (256384, 4096),
        "blocks.23.norm1.weight": (4096,),
        "blocks.0.attn.o.weight": (4096, 4096),
        "blocks.0.pos_embedding.embedding.weight": (32, 64),
        "blocks.5.ffn.gate.0.weight": (10240, 4096),
        "blocks.5.ffn.fc1.weight": (10240, 4096),
        "blocks.5.ffn.fc2.weight": (4096, 10240),
        "norm.weight": (4096,),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected
    assert {value.device.type for value in state.values()} == {"meta"}


def test_fp16_stays_finite_where_its_range_ends() -> None:
    tokens, _ = texts(1, (12,))
    model = made()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "fc" in name:
                p.mul_(300)
    exact = model(tokens)
    assert torch.isfinite(model.half()(tokens)).all()
    # and what is large in other dtypes is left alone
    assert error(model.float()(tokens), exact) < 0.02


def test_what_does_not_fit_is_refused() -> None:
    model = made()
    with pytest.raises(ValueError, match=r"expected \[b l\]"):
        model(torch.zeros(3, dtype=torch.long))
    with pytest.raises(ValueError, match="expected bool"):
        model(torch.zeros(1, 3, dtype=torch.long), torch.ones(1, 3))
    with pytest.raises(ValueError, match="multiple of 4"):
        UMT5Config(buckets=6)
