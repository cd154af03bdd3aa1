"""The video transformer: equal to diffusers' Wan on the same weights, and the laws it keeps."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vitascope.models.dit import DiT, DiTConfig, along, places
from vitascope.models.layers import patchify, sinusoid, unpatchify

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

CLOCKS = (0.0, 1.0, 499.0, 995.0, 999.0)
TO_DIFFUSERS = (
    ("time_embedding.0", "condition_embedder.time_embedder.linear_1"),
    ("time_embedding.2", "condition_embedder.time_embedder.linear_2"),
    ("text_embedding.0", "condition_embedder.text_embedder.linear_1"),
    ("text_embedding.2", "condition_embedder.text_embedder.linear_2"),
    ("time_projection.1", "condition_embedder.time_proj"),
    ("img_emb.proj.0", "condition_embedder.image_embedder.norm1"),
    ("img_emb.proj.1", "condition_embedder.image_embedder.ff.net.0.proj"),
    ("img_emb.proj.3", "condition_embedder.image_embedder.ff.net.2"),
    ("img_emb.proj.4", "condition_embedder.image_embedder.norm2"),
    ("img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"),
    ("head.modulation", "scale_shift_table"),
    ("head.head", "proj_out"),
    (".modulation", ".scale_shift_table"),
    ("ffn.0", "ffn.net.0.proj"),
    ("ffn.2", "ffn.net.2"),
    ("norm3", "norm2"),
    ("norm_k_img", "norm_added_k"),
    ("k_img", "add_k_proj"),
    ("v_img", "add_v_proj"),
    ("attn.q.", "attn.to_q."),
    ("attn.k.", "attn.to_k."),
    ("attn.v.", "attn.to_v."),
    ("attn.o.", "attn.to_out.0."),
    ("self_attn", "attn1"),
    ("cross_attn", "attn2"),
)


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


def randomise(model: nn.Module) -> None:
    """Every parameter, norms and biases and modulation too: a part that starts at zero or one must not hide a mistake."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            std = p[0].numel() ** -0.5 if p.ndim > 1 else 0.5
            p.copy_(torch.randn(p.shape, generator=generator) * std)


def made(*, head: int = 16, heads: int = 2, image: int | None = None, tokens: int | None = None) -> DiT:
    channels = 36 if image is not None else 16
    config = DiTConfig(
        width=head * heads,
        heads=heads,
        layers=2,
        ffn=48,
        in_channels=channels,
        text_width=24,
        image_width=image,
        image_tokens=tokens,
    )
    model = DiT(config)
    randomise(model)
    return model


def diffusers_name(name: str) -> str:
    for ours, theirs in TO_DIFFUSERS:
        name = name.replace(ours, theirs)
    return name


def oracle(model: DiT) -> WanTransformer3DModel:
    """diffusers' class with our weights, under its names."""
    c = model.config
    other = WanTransformer3DModel(
        num_attention_heads=c.heads,
        attention_head_dim=c.width // c.heads,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        text_dim=c.text_width,
        ffn_dim=c.ffn,
        num_layers=c.layers,
        image_dim=c.image_width,
        added_kv_proj_dim=None if c.image_width is None else c.width,
        pos_embed_seq_len=c.image_tokens,
    )
    other.load_state_dict({diffusers_name(name): value for name, value in model.state_dict().items()})
    return other.eval()


class ExactWaves(nn.Module):
    """diffusers computes the clock's waves in float32; Wan's own code, and ours, in float64."""

    def forward(self, clock: Tensor) -> Tensor:
        return sinusoid(clock, 256).float()


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("kind", ["text", "image", "first-last"])
@pytest.mark.parametrize("head", [16, 64, 128])
@torch.no_grad()
def test_equal_to_diffusers(head: int, kind: str, rows: int) -> None:
    image = None if kind == "text" else 20
    model = made(head=head, image=image, tokens=514 if kind == "first-last" else None)
    x = draw(rows, model.config.in_channels, 3, 6, 10, seed=2)  # 3 x 3 x 5 tokens
    context = draw(rows, 512, 24, seed=3)
    context[:, 20:] = 0  # Wan pads with zeros and attends to them
    clip = None if image is None else draw(rows, 514 if kind == "first-last" else 257, 20, seed=4)
    clocks = torch.tensor(CLOCKS if rows == len(CLOCKS) else CLOCKS[-1:])
    ours = model(x, clocks, context=context, image=clip)
    other = oracle(model)
    theirs_image = clip.reshape(-1, 257, 20) if clip is not None else None
    assert error(ours, other(x, clocks, context, theirs_image, return_dict=False)[0]) < 1e-5
    other.condition_embedder.register_module("timesteps_proj", ExactWaves())  # most of the rest was that
    assert error(ours, other(x, clocks, context, theirs_image, return_dict=False)[0]) < 1e-6


@torch.no_grad()
def test_a_clock_for_each_frame_is_that_of_wan_2_2() -> None:
    model = made(head=64)
    x, context = draw(2, 16, 3, 6, 10, seed=2), draw(2, 512, 24, seed=3)
    clocks = torch.tensor([[0.0, 700.0, 700.0], [500.0, 500.0, 500.0]])
    other = oracle(model)
    other.condition_embedder.register_module("timesteps_proj", ExactWaves())
    each = clocks.repeat_interleave(3 * 5, dim=1)  # diffusers wants one for each token
    ours = model(x, clocks, context=context)
    assert error(ours, other(x, each, context, return_dict=False)[0]) < 1e-6
    # One clock for all frames is the same said shorter; another one for the first is not.
    same = model(x[1:], clocks[1:, 0], context=context[1:])
    torch.testing.assert_close(ours[1:], same, atol=1e-5, rtol=1e-5)
    assert error(ours[:1], model(x[:1], clocks[:1, 1], context=context[:1])) > 1e-3


def test_the_waves_of_the_clock() -> None:
    """Values computed by hand for Wan's layout: cosines first, frequency 10000^(-i/128), float64."""
    early, late = sinusoid(torch.tensor([500, 999]), 256)
    expected = {0: -0.883849, 1: 0.945943, 128: -0.467772, 255: 0.053705}
    for index, value in expected.items():
        assert float(early[index]) == pytest.approx(value, abs=1e-6)
    expected = {0: 0.999650, 1: 0.963782, 2: -0.398992, 128: -0.026461, 129: -0.266690, 255: 0.107147}
    for index, value in expected.items():
        assert float(late[index]) == pytest.approx(value, abs=1e-6)
    assert early.dtype == torch.float64
    with pytest.raises(ValueError, match="even"):
        sinusoid(torch.zeros(1), 7)


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [
        (DiTConfig(width=1536, heads=12, layers=30, ffn=8960), 825, 1_418_996_800),
        (DiTConfig(width=5120, heads=40, layers=40, ffn=13824, in_channels=36, image_width=1280), 1303, 16_394_878_784),
        (
            DiTConfig(width=5120, heads=40, layers=40, ffn=13824, in_channels=36, image_width=1280, image_tokens=514),
            1304,
            16_395_536_704,
        ),
    ],
    ids=["T2V-1.3B", "I2V-14B", "FLF2V-14B"],
)
def test_the_published_sizes(config: DiTConfig, tensors: int, parameters: int) -> None:
    with torch.device("meta"):
        model = DiT(config)
    state = model.state_dict()
    assert len(state) == tensors
    assert sum(value.numel() for value in state.values()) == parameters
    assert state["blocks.29.cross_attn.norm_k.weight"].shape == (config.width,)
    assert state["head.head.weight"].shape == (64, config.width)


def test_shapes_without_memory() -> None:
    """The 1.3B model walks 33 frames of 832 x 480 on the meta device: shapes and operations can be counted beforehand."""
    with torch.device("meta"):
        model = DiT(DiTConfig(width=1536, heads=12, layers=2, ffn=8960))
        x = torch.empty(2, 16, 9, 60, 104)
        y = model(x, torch.empty(2), context=torch.empty(2, 512, 4096), mask=torch.ones(2, 512, dtype=torch.bool))
    assert y.shape == x.shape


@torch.no_grad()
def test_padding_that_is_masked_is_not_there() -> None:
    model = made()
    x, clock = draw(2, 16, 2, 4, 6), torch.tensor([300.0, 700.0])
    context = draw(2, 9, 24, seed=1)
    mask = torch.tensor([[True] * 5 + [False] * 4] * 2)
    padded = model(x, clock, context=context, mask=mask)
    assert error(padded, model(x, clock, context=context[:, :5])) < 1e-6
    zeros = torch.where(mask[..., None], context, 0.0)
    assert error(model(x, clock, context=zeros), padded) > 1e-3, "without a mask padding is heard, as in Wan"
    assert error(model(x, clock, context=context, mask=torch.ones_like(mask)), model(x, clock, context=context)) < 1e-6


@torch.no_grad()
def test_a_batch_is_its_members() -> None:
    model = made(image=20)
    x, clock = draw(2, 36, 2, 4, 6), torch.tensor([12.5, 990.0], dtype=torch.float64)
    context, image = draw(2, 9, 24, seed=1), draw(2, 7, 20, seed=2)
    mask = torch.tensor([[True] * 9, [True] * 3 + [False] * 6])
    both = model(x, clock, context=context, mask=mask, image=image)
    first = model(x[:1], clock[:1], context=context[:1], image=image[:1])
    second = model(x[1:], clock[1:], context=context[1:, :3], image=image[1:])
    assert error(both, torch.cat((first, second))) < 1e-6


@torch.no_grad()
def test_concat_goes_behind_the_latents() -> None:
    model = made(image=20)
    x, further = draw(1, 16, 1, 4, 4), draw(1, 20, 1, 4, 4, seed=1)
    given = {"context": draw(1, 3, 24, seed=2), "image": draw(1, 4, 20, seed=3)}
    clock = torch.tensor([5.0])
    torch.testing.assert_close(
        model(x, clock, concat=further, **given), model(torch.cat((x, further), 1), clock, **given)
    )


@pytest.mark.parametrize("image", [None, 20])
def test_gradients_reach_every_parameter(image: int | None) -> None:
    model = made(image=image, tokens=None if image is None else 6)
    clip = None if image is None else draw(1, 6, image)
    model(
        draw(1, model.config.in_channels, 2, 4, 4), torch.tensor([400.0]), context=draw(1, 5, 24), image=clip
    ).square().sum().backward()
    # Even the biases of the keys: a softmax would forget them, but the norm between them and it does not.
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-8]


def test_a_fresh_model_says_nothing_and_learns_at_once() -> None:
    torch.manual_seed(0)
    model = DiT(DiTConfig(width=48, heads=2, layers=2, ffn=96, text_width=24))
    x, target, context = draw(4, 16, 1, 4, 4), draw(4, 16, 1, 4, 4, seed=1), draw(4, 3, 24, seed=2)
    clock = torch.tensor([100.0, 300.0, 600.0, 900.0])
    assert not model(x, clock, context=context).any()
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        loss = (model(x, clock, context=context) - target).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1, "60 steps remember four targets of variance 1"


@torch.no_grad()
def test_precision_islands() -> None:
    """Under bf16 the answer is float32 and near; time is told in full (a bf16 clock could not tell 999 from 999.5)."""
    model = made(head=64)
    x, context, clock = draw(1, 16, 2, 4, 6), draw(1, 5, 24, seed=1), torch.tensor([999.0])
    full = model(x, clock, context=context)
    half = made(head=64).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        mixed, later = (model(x, c, context=context) for c in (clock, clock + 0.5))
    assert mixed.dtype == half(x, clock, context=context).dtype == torch.float32
    assert error(mixed, full) < 0.02
    assert error(half(x, clock, context=context), full) < 0.03
    assert error(later, mixed) > 1e-3
    double = model.double()(x.double(), clock.double(), context=context.double())
    assert double.dtype == torch.float64
    assert error(full, double) < 2e-6


def told_places(seed: int = 0) -> DiT:
    """A network that is told of places, every parameter drawn."""
    torch.manual_seed(seed)
    model = DiT(
        DiTConfig(width=32, heads=2, layers=2, ffn=48, in_channels=4, out_channels=4, text_width=8, places=True)
    )
    randomise(model)
    return model.eval()


@torch.no_grad()
def test_only_places_tell_one_side_from_the_other() -> None:
    """Where all tokens are alike, distances say nothing: whatever is asked, the answer is the same everywhere."""
    model = told_places()
    x = draw(1, 4, 1, 1, 1).expand(1, 4, 3, 6, 10)  # alike within a patch, too
    context, clock = draw(1, 5, 8, seed=1), torch.tensor([990.0])

    def sides() -> Tensor:
        said = model(x, clock, context=context).unflatten(3, (3, 2)).unflatten(5, (5, 2))  # [b c t h 2 w 2]
        return said.movedim(4, 5).flatten(5)  # [b c t h w 4]

    said = sides()
    for axis in (2, 3, 4):
        assert (said.select(axis, 0) - said.select(axis, -1)).abs().mean() > 1e-2
    model.place_embedding.weight.zero_()
    alike = sides()
    torch.testing.assert_close(alike, alike[:, :, :1, :1, :1].expand_as(alike), atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_network_that_learned_without_places_goes_on_unchanged() -> None:
    model = told_places()
    before = DiT(replace(model.config, places=False)).eval()
    weights = {name: value for name, value in model.state_dict().items() if name != "place_embedding.weight"}
    before.load_state_dict(weights)
    model.load_state_dict(weights | {"place_embedding.weight": DiT(model.config).place_embedding.weight})
    x, clock, context = draw(2, 4, 3, 4, 6), torch.tensor([10.0, 900.0]), draw(2, 5, 8, seed=1)
    assert torch.equal(model(x, clock, context=context), before(x, clock, context=context))


def test_places_are_measured_from_edge_to_edge() -> None:
    waves = places((1, 4, 7), torch.device("cpu")).view(4, 7, 3, 6)  # [h w, axis, waves]
    time, down, across = waves.unbind(2)
    assert torch.equal(time, time[:1, :1].expand_as(time))
    assert torch.equal(down, down[:, :1].expand_as(down))
    assert torch.equal(across, across[:1].expand_as(across))
    torch.testing.assert_close(across[0, :, :3], -across[0, :, :3].flip(0), atol=1e-6, rtol=0)  # the sines
    torch.testing.assert_close(across[0, :, 3:], across[0, :, 3:].flip(0), atol=1e-6, rtol=0)
    assert bool((across[0, :, 0].diff() > 0).all())
    wide = places((1, 4, 21), torch.device("cpu")).view(4, 21, 3, 6)
    torch.testing.assert_close(wide[:, 1::3], waves, atol=1e-6, rtol=0)  # a larger picture has the same middles


@torch.no_grad()
def test_a_piece_is_told_where_in_its_film_it_is() -> None:
    """Of a whole film that says what it knows; each row has its own; and the same piece elsewhere is another."""
    model = told_places()
    x, clock, context = draw(2, 4, 3, 4, 6), torch.tensor([300.0, 900.0]), draw(2, 5, 8, seed=1)
    whole = model(x, clock, context=context)
    known = torch.cat([along(3), along(2), along(3)]).expand(2, 8)
    torch.testing.assert_close(whole, model(x, clock, context=context, within=known))
    one, rows, columns = x[:, :, 1:2, :2, :4], along(4), along(7)
    at = torch.stack([torch.cat([along(5)[[f]], rows[[r]], columns[c : c + 2]]) for f, r, c in ((1, 0, 3), (4, 2, 5))])
    both = model(one, clock, context=context, within=at)
    for row in range(2):
        only = slice(row, row + 1)
        alone = model(one[only], clock[only], context=context[only], within=at[only])
        torch.testing.assert_close(both[only], alone, atol=1e-5, rtol=0)
    for axis in (slice(1), slice(1, 2), slice(2, 4)):
        elsewhere = at.clone()
        elsewhere[:, axis] = at.flip(0)[:, axis]
        assert (both - model(one, clock, context=context, within=elsewhere)).abs().mean() > 1e-3
    middle = torch.cat([along(1), along(1), along(2)]).expand(2, 4)
    torch.testing.assert_close(model(one, clock, context=context, within=middle), model(one, clock, context=context))


def test_the_waves_of_a_piece_are_those_of_its_place() -> None:
    film = places((5, 6, 10), torch.device("cpu")).view(5, 6, 10, -1)
    at = torch.cat([along(5)[1:3], along(6)[2:6], along(10)[3:6]])[None]
    piece = places((2, 4, 3), torch.device("cpu"), at)
    torch.testing.assert_close(piece.view(2, 4, 3, -1), film[1:3, 2:6, 3:6])


@torch.no_grad()
def test_patches() -> None:
    """The patch embedding is a convolution; the head's order, c fastest, is its own."""
    conv = nn.Conv3d(3, 8, (1, 2, 2), (1, 2, 2), bias=False)
    x = draw(2, 3, 2, 4, 6)
    tokens = patchify(x, (1, 2, 2)) @ conv.weight.flatten(1).mT
    torch.testing.assert_close(tokens, conv(x).flatten(2).mT)
    y = patchify(x, (1, 2, 2)).unflatten(-1, (3, 4)).mT.flatten(-2)
    torch.testing.assert_close(unpatchify(y, (2, 2, 3), (1, 2, 2)), x)
    with pytest.raises(ValueError, match="do not fit"):
        unpatchify(y, (2, 2, 2), (1, 2, 2))


def test_nothing_but_weights_is_saved() -> None:
    model = made()
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"x": draw(2, 16, 2, 5, 6)}, "multiples of"),
        ({"x": draw(2, 16, 2, 4, 7)}, "multiples of"),
        ({"x": draw(2, 12, 2, 4, 6)}, r"expected \[b 16 t h w\]"),
        ({"clock": torch.tensor(1.0)}, r"clock: expected \[2\]"),
        ({"context": draw(2, 3, 25)}, r"context: expected \[2 l 24\]"),
        ({"mask": torch.ones(2, 3)}, "mask: expected bool"),
        ({"image": draw(2, 3, 20)}, "takes no image tokens"),
        ({"concat": draw(2, 20, 2, 4, 6)}, r"got \(2, 36"),
        ({"within": torch.zeros(2, 6)}, r"within: expected \[2 7\]"),
    ],
)
def test_wrong_shapes_are_refused(change: dict[str, Tensor], said: str) -> None:
    given = {"x": draw(2, 16, 2, 4, 6), "clock": torch.ones(2), "context": draw(2, 3, 24)} | change
    with pytest.raises(ValueError, match=said):
        made()(given.pop("x"), given.pop("clock"), **given)


def test_wrong_configs_are_refused() -> None:
    with pytest.raises(ValueError, match="heads must divide"):
        DiTConfig(width=10, heads=3, layers=1, ffn=8)
    with pytest.raises(ValueError, match="even head width"):
        DiTConfig(width=9, heads=3, layers=1, ffn=8)
    with pytest.raises(ValueError, match="image_width"):
        DiTConfig(width=16, heads=1, layers=1, ffn=8, image_tokens=514)
    with pytest.raises(ValueError, match="514 tokens"):
        made(image=20, tokens=514)(draw(1, 36, 1, 2, 2), torch.ones(1), context=draw(1, 2, 24), image=draw(1, 257, 20))
