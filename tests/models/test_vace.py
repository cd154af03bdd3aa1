"""The transformer with control: equal to diffusers' on the same weights, and the laws of hints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.checkpoints.twin_names import transformer_state
from tests.checkpoints.twins import twin
from torch import Tensor

from vitascope.models.dit import DiT, DiTConfig
from vitascope.models.outline import outlined
from vitascope.models.vace import VaceConfig, VaceDiT


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().double().norm() / b.detach().double().norm())


def mirrored(layers: int = 5, head: int = 24) -> tuple[VaceDiT, Any]:
    """diffusers' model with random weights, and ours with the same under their published names."""
    other = twin("vace", layers=layers, head=head, short=False).transformer
    c = other.config
    config = VaceConfig(
        width=2 * head,
        heads=2,
        layers=layers,
        ffn=c.ffn_dim,
        text_width=c.text_dim,
        vace_layers=tuple(c.vace_layers),
    )
    model = VaceDiT(config)
    model.load_state_dict(transformer_state(other.state_dict()), strict=True)
    return model.requires_grad_(False), other


def given(rows: int = 1) -> dict[str, Tensor]:
    return {"context": draw(rows, 12, 64, seed=3), "vace": draw(rows, 96, 3, 4, 6, seed=4)}


@pytest.mark.parametrize("head", [24, 64])
@pytest.mark.parametrize("scales", [None, 1.0, 0.3, [0.0, 2.0, -0.5]])
@torch.no_grad()
def test_equal_to_diffusers(scales: Any, head: int) -> None:
    model, other = mirrored(head=head)
    x, clock, told = draw(2, 16, 3, 4, 6, seed=2), torch.tensor([12.0, 640.0]), given(2)
    theirs_scale = None if scales is None else torch.as_tensor(scales).expand(3)
    theirs = other(
        x,
        clock,
        told["context"],
        control_hidden_states=told["vace"],
        control_hidden_states_scale=theirs_scale,
        return_dict=False,
    )[0]
    mine: Any = 1.0 if scales is None else scales if isinstance(scales, float) else torch.tensor([scales])
    ours = model(x, clock, **told, vace_scale=mine)
    assert error(ours, theirs) < 1e-5
    without = model(x, clock, context=told["context"])
    assert error(ours, without) > 0.01, "the control is heard"


@pytest.mark.parametrize(
    ("config", "tensors", "parameters"),
    [
        (VaceConfig(width=1536, heads=12, layers=30, ffn=8960), 1264, 2_153_972_032),
        (
            VaceConfig(width=5120, heads=40, layers=40, ffn=13824, vace_layers=tuple(range(0, 40, 5))),
            1331,
            17_337_592_896,
        ),
    ],
    ids=["1.3B", "14B"],
)
def test_the_published_sizes(config: VaceConfig, tensors: int, parameters: int) -> None:
    with outlined():
        model = VaceDiT(config)
    with torch.device("meta"):
        y = model(
            torch.empty(1, 16, 2, 4, 4),
            torch.empty(1),
            context=torch.empty(1, 512, 4096),
            vace=torch.empty(1, 96, 2, 4, 4),
        )
    state = model.state_dict()
    assert len(state) == tensors
    assert sum(value.numel() for value in state.values()) == parameters
    assert state["vace_blocks.0.before_proj.weight"].shape == (config.width, config.width)
    assert "vace_blocks.1.before_proj.weight" not in state
    assert y.shape == (1, 16, 2, 4, 4)


@torch.no_grad()
def test_hints_of_no_strength_are_the_model_of_text() -> None:
    model, _ = mirrored()
    x, clock, told = draw(1, 16, 3, 4, 6, seed=2), torch.tensor([640.0]), given()
    plain = DiT(DiTConfig(width=48, heads=2, layers=5, ffn=96, text_width=64))
    plain.load_state_dict({n: v for n, v in model.state_dict().items() if not n.startswith("vace_")}, strict=True)
    alone = plain(x, clock, context=told["context"])
    assert torch.equal(model(x, clock, context=told["context"]), alone)
    torch.testing.assert_close(model(x, clock, **told, vace_scale=0.0), alone)


@torch.no_grad()
def test_a_batch_is_its_members() -> None:
    model, _ = mirrored()
    x, clock, told = draw(2, 16, 3, 4, 6, seed=2), torch.tensor([640.0, 3.0]), given(2)
    scale = torch.tensor([[1.0, 0.5, 0.0], [0.2, 0.2, 3.0]])
    both = model(x, clock, **told, vace_scale=scale)
    for i in range(2):
        row = slice(i, i + 1)
        one = model(x[row], clock[row], **{k: v[row] for k, v in told.items()}, vace_scale=scale[row])
        assert error(both[row], one) < 1e-5
    each = model(x, clock, **told, vace_scale=torch.tensor([1.0, 0.0]))
    assert error(each[1:], model(x[1:], clock[1:], context=told["context"][1:])) < 1e-5


def test_a_fresh_control_is_silent_and_learns() -> None:
    torch.manual_seed(0)
    model = VaceDiT(VaceConfig(width=48, heads=2, layers=3, ffn=96, text_width=64))
    torch.nn.init.normal_(model.head.head.weight)
    x, clock, told = draw(1, 16, 3, 4, 6, seed=2), torch.tensor([640.0]), given()
    y = model(x, clock, **told)
    assert torch.equal(y, model(x, clock, context=told["context"]))
    state = model.state_dict()
    assert torch.equal(state["vace_blocks.1.ffn.0.weight"], state["blocks.2.ffn.0.weight"])
    y.square().mean().backward()
    for name in ("vace_blocks.0.after_proj.weight", "vace_blocks.1.after_proj.weight"):
        gradient = model.get_parameter(name).grad
        assert gradient is not None
        assert gradient.abs().max() > 0


def test_gradients_reach_every_parameter() -> None:
    model, _ = mirrored(layers=3)
    model.requires_grad_(True)
    model(draw(1, 16, 3, 4, 6, seed=2), torch.tensor([640.0]), **given()).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vace": draw(1, 96, 2, 4, 6)}, r"vace: expected \[1, 96, 3, 4, 6\], got \[1, 96, 2, 4, 6\]"),
        ({"vace": draw(1, 64, 3, 4, 6)}, r"vace: expected \[1, 96"),
        ({"vace_scale": torch.ones(1, 4)}, r"vace_scale: expected a number, \[1\] or \[1 3\], got \[1, 4\]"),
        ({"vace_scale": torch.ones(2)}, "vace_scale: expected"),
    ],
)
def test_what_does_not_fit_is_told(change: dict[str, Tensor], said: str) -> None:
    model, _ = mirrored()
    with pytest.raises(ValueError, match=said):
        model(draw(1, 16, 3, 4, 6, seed=2), torch.tensor([640.0]), **given() | change)


@pytest.mark.parametrize("layers", [(), (1, 2), (0, 3), (0, 2, 1), (0, 0)])
def test_hints_rise_from_the_first_block(layers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must rise from 0 and stay below layers 3"):
        VaceConfig(width=48, heads=2, layers=3, ffn=96, vace_layers=layers)
