"""Bytes become pixels and pixels bytes, in one way for all."""

from __future__ import annotations

import pytest
import torch

from vitascope.pixels import from_bytes, to_bytes, to_pixels


def test_pixels_are_within_minus_1_and_1() -> None:
    shades = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 1, 1, 1, 3)
    assert to_pixels(shades).flatten().tolist() == pytest.approx([-1.0, -0.6, 1.0])
    assert to_pixels(torch.zeros(2, 5, 4, 6, 3, dtype=torch.uint8)).shape == (2, 3, 5, 4, 6)


def test_every_byte_comes_back() -> None:
    clips = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16, 1).expand(2, 3, 16, 16, 3)
    assert torch.equal(to_bytes(to_pixels(clips)), clips)


def test_what_leaves_the_range_is_cut_off() -> None:
    assert to_bytes(torch.tensor([-9.0, 0.0, 9.0]).view(1, 3, 1, 1, 1)).flatten().tolist() == [0, 128, 255]


def test_what_is_given_stays_and_how_it_lies_too() -> None:
    # A convolution's sums depend on how its input lies, so films do as well.
    for shades in (torch.full((4, 6, 3), 7, dtype=torch.uint8).movedim(-1, 0)[None], torch.full((2, 3), 7.0)):
        before = shades.clone()
        assert from_bytes(shades).stride() == shades.float().stride()
        assert torch.equal(shades, before)
