"""Scaling: Pillow's own bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vitascope.media.resampling import resampled

KERNELS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
SIDE = st.integers(1, 70)


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(KERNELS)), SIDE, SIDE, SIDE, SIDE, st.integers(0, 9))
def test_every_byte_is_pillows(kernel: Any, tall: int, broad: int, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (tall, broad, 3), dtype=np.uint8)
    pixels[: tall // 2] = 255 * (pixels[: tall // 2] > 128)  # hard edges, where kernels overshoot
    wanted = np.asarray(Image.fromarray(pixels).resize((width, height), KERNELS[kernel]))
    image = torch.from_numpy(pixels)
    other_first = resampled(image.transpose(0, 1), width, height, kernel).transpose(0, 1)
    ours = resampled(image, height, width, kernel)
    assert np.array_equal(ours.numpy(), wanted) or np.array_equal(other_first.numpy(), wanted)
    if height >= tall:  # here every Pillow begins with the width
        assert np.array_equal(ours.numpy(), wanted)


def test_a_film_is_scaled_picture_by_picture() -> None:
    film = torch.randint(0, 256, (3, 20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    each = torch.stack([resampled(picture, 11, 40, "lanczos") for picture in film])
    assert torch.equal(resampled(film, 11, 40, "lanczos"), each)


@pytest.mark.parametrize("kernel", sorted(KERNELS))
def test_one_colour_stays_itself(kernel: Any) -> None:
    pixels = torch.full((33, 47, 3), 201, dtype=torch.uint8)
    assert resampled(pixels, 8, 90, kernel).eq(201).all()
