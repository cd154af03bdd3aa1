"""What Wan's makers run it with: lengths of films that its codec can make."""

from __future__ import annotations

import pytest

from vitascope.checkpoints.makers import FRAMES, STEP, following, run_with
from vitascope.models.vae import VAEConfig


@pytest.mark.parametrize(("length", "frames"), [(1, 1), (4, 1), (5, 5), (80, 77), (81, 81), (82, 81), (500, 81)])
def test_a_film_that_follows_another_is_as_long_as_its_codec_can_make_it(length: int, frames: int) -> None:
    assert following(length) == frames


def test_what_is_said_of_the_codec_is_so() -> None:
    assert VAEConfig().stride[0] == STEP
    assert (FRAMES - 1) % STEP == 0


@pytest.mark.parametrize(
    ("variant", "small", "steps", "shift"),
    [
        ("t2v", True, 50, 5.0),
        ("t2v", False, 50, 5.0),
        ("i2v", True, 40, 3.0),
        ("i2v", False, 40, 5.0),
        ("vace", True, 50, 16.0),
    ],
)
def test_how_each_kind_is_run(variant: str, small: bool, steps: int, shift: float) -> None:
    said = run_with(variant, small)
    assert (said["steps"], said["shift"], said["height"]) == (steps, shift, 480 if small else 720)
