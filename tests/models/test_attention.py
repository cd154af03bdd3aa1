"""Attention and rotary positions: laws, and one answer from every path."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vitascope.models import attention
from vitascope.models.attention import Attention, attend, rotary_split, rotary_table, rotate

CPU = torch.device("cpu")


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().double().norm() / b.detach().double().norm())


def exact(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """The formula in float64; `seen` [b, 1, l or 1, m]."""
    scores = (q.double() @ k.double().mT / q.shape[-1] ** 0.5).masked_fill(~seen, -torch.inf)
    return scores.softmax(-1) @ v.double()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("scores", [1 << 24, 100])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-14), (torch.bfloat16, 1e-2)])
def test_attend_is_the_formula(
    dtype: torch.dtype, bound: float, scores: int, causal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "SCORES", scores)  # 100: bf16 walks the queries two at a time
    q, k, v = (draw(2, 3, 9, 16, seed=i, dtype=dtype) for i in range(3))
    mask = torch.tensor([[True] * 9, [True] * 4 + [False] * 5])
    seen = mask[:, None, None, :]
    if causal:
        seen = seen & torch.ones(9, 9, dtype=torch.bool).tril()
    assert error(attend(q, k, v, mask, causal=causal), exact(q, k, v, seen)) < bound
    if not causal:
        assert error(attend(q, k, v), exact(q, k, v, torch.ones_like(seen))) < bound


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_masked_cannot_be_heard(dtype: torch.dtype) -> None:
    q, k, v = (draw(2, 2, 5, 8, seed=i, dtype=dtype) for i in range(3))
    mask = torch.tensor([[True, False, True, False, True], [False] * 5])
    y = attend(q, k, v, mask)
    k[~mask[:, None].expand(2, 2, 5)] = 1e4
    v[~mask[:, None].expand(2, 2, 5)] = -1e4
    torch.testing.assert_close(attend(q, k, v, mask), y, rtol=0, atol=0)
    assert not y[1].any(), "a row without a key gets zeros, not nan"
    torch.testing.assert_close(y[:1], attend(q[:1], k[:1, :, ::2], v[:1, :, ::2]))


def test_gradients_agree_between_the_plain_form_and_the_kernel() -> None:
    inputs = [draw(2, 2, 7, 8, seed=i).requires_grad_() for i in range(3)]
    q, k, v = inputs
    plain = torch.autograd.grad(attention._plain(q, k, v, None).square().sum(), inputs)
    kernel = torch.autograd.grad(F.scaled_dot_product_attention(q, k, v).square().sum(), inputs)
    for a, b in zip(plain, kernel):
        assert error(a, b) < 1e-5


@pytest.mark.parametrize(
    ("width", "split"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (24, (8, 8, 8)), (16, (8, 4, 4)), (6, (2, 2, 2))]
)
def test_rotary_split(width: int, split: tuple[int, int, int]) -> None:
    assert rotary_split(width) == split


@pytest.mark.parametrize("width", [4, 15])
def test_rotary_split_refuses(width: int) -> None:
    with pytest.raises(ValueError, match="even head width"):
        rotary_split(width)


def test_rotary_angles_are_wans() -> None:
    """The token at (1, 1, 1): each axis has its own denominator (44 for time, 42 for height and width)."""
    table = rotary_table((2, 2, 2), 128, CPU)
    angle = torch.atan2(table[-1, :, 1], table[-1, :, 0])
    assert table.shape == (8, 64, 2)
    expected = {0: 1.0, 1: 0.65793322, 2: 0.43287613, 21: 0.00015199, 22: 1.0, 23: 0.64494668, 24: 0.41595622}
    expected |= {42: 0.00015505, 43: 1.0, 44: 0.64494668, 63: 0.00015505}
    for index, value in expected.items():
        assert float(angle[index]) == pytest.approx(value, rel=3e-5)
    torch.testing.assert_close(table[0, :, 0], torch.ones(64))  # position (0, 0, 0) does not turn


def test_tokens_run_in_time_then_height_then_width() -> None:
    angle = rotary_table((3, 4, 5), 24, CPU)[:, [0, 4, 8], 1].asin()  # the first pair of each axis turns by p itself
    for token, (t, h, w) in enumerate((t, h, w) for t in range(2) for h in range(2) for w in range(2)):
        position = torch.tensor([t, h, w], dtype=torch.float32)
        torch.testing.assert_close(angle[20 * t + 5 * h + w], position, msg=f"token {token} at {(t, h, w)}")


@pytest.mark.parametrize("width", [16, 24, 64, 128])
def test_only_the_offset_between_two_tokens_counts(width: int) -> None:
    """<rotate(q, p), rotate(k, p')> depends on p' - p alone: Su et al. 2021, eq. 11."""
    grid = (4, 5, 6)
    table = rotary_table(grid, width, CPU).double()
    q, k = draw(1, 1, 1, width, dtype=torch.float64), draw(1, 1, 1, width, seed=1, dtype=torch.float64)
    turned_q, turned_k = (rotate(x.expand(1, 120, 1, width), table)[0, :, 0].reshape(*grid, width) for x in (q, k))
    product = torch.einsum("thwc,thwc->thw", turned_q[:3, :4, :4], turned_k[1:, 1:, 2:])  # all offset by (1, 1, 2)
    assert float(product.max() - product.min()) < 1e-6 * float(q.norm() * k.norm())
    assert error(turned_q.norm(dim=-1), q.norm().expand(grid)) < 1e-6


def test_both_forms_of_the_turn_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x, table = draw(2, 12, 3, 16), rotary_table((3, 2, 2), 16, CPU)
    complex_form = rotate(x, table)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(rotate(x, table), complex_form)


def test_tables_are_kept() -> None:
    assert rotary_table((2, 3, 4), 16, CPU) is rotary_table((2, 3, 4), 16, CPU)


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="heads must divide"):
        Attention(10, 3)


@torch.no_grad()
def test_image_tokens_are_a_second_voice() -> None:
    """The two answers add before the last map: with values of zero the image says nothing."""
    torch.manual_seed(0)
    module = Attention(16, 2, image=True)
    x, text, image = draw(2, 5, 16), draw(2, 3, 16, seed=1), draw(2, 4, 16, seed=2)
    alone = module(x, text)
    assert error(module(x, text, image=image), alone) > 1e-3
    torch.nn.init.zeros_(module.v_img.weight)
    torch.nn.init.zeros_(module.v_img.bias)
    torch.testing.assert_close(module(x, text, image=image), alone)
