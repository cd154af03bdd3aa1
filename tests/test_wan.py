"""The whole way with a Wan model: from its files to the film, and the same film as diffusers' pipelines make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, Twin, Variant, twin
from torch import Tensor

from vitascope.engine import Engine
from vitascope.shot import Given, Shot

FRAMES, HEIGHT, WIDTH, STEPS, SEED = 9, 32, 48, 10, 7
PROMPT, NEGATIVE = "a fox trots&nbsp;across  fresh snow", "blurry"
PACKS: dict[str, Callable[[Twin, Path], Packed]] = {"official": twins.official, "diffusers": twins.diffusers}


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    small = torch.randint(0, 256, (1, 3, 4, 6), generator=torch.Generator().manual_seed(seed)).float()
    big = torch.nn.functional.interpolate(small, (height, width), mode="bilinear")
    return big[0].byte().permute(1, 2, 0).contiguous()


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


def given(variant: Variant) -> Given:
    """What a film of each kind is given; all at its size, so that nobody scales."""
    film = torch.stack([picture(10 + k) for k in range(FRAMES)])
    mask = torch.zeros(FRAMES, HEIGHT, WIDTH, dtype=torch.uint8)
    mask[:, :, WIDTH // 2 :] = 255
    return {
        "t2v": Given(),
        "i2v": Given(image=picture(1)),
        "flf2v": Given(image=picture(1), last=picture(2)),
        "vace": Given(video=film, mask=mask, references=(picture(3),)),
    }[variant]


def theirs(t: Twin, variant: Variant, output: str) -> Any:
    """What diffusers' pipeline makes of the same question."""
    from PIL import Image

    def image(pixels: Tensor) -> Image.Image:
        return Image.fromarray(pixels.numpy())

    had = given(variant)
    asked: dict[str, Any] = {}
    if had.image is not None:
        asked["image"] = image(had.image)
    if had.last is not None:
        asked["last_image"] = image(had.last)
    if had.video is not None and had.mask is not None:
        asked |= {
            "video": [image(frame) for frame in had.video],
            "mask": [Image.fromarray(frame.numpy()) for frame in had.mask],
            "reference_images": [image(one) for one in had.references],
        }
    return twins.pipeline(t)(
        prompt=PROMPT,
        negative_prompt=NEGATIVE,
        height=HEIGHT,
        width=WIDTH,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=5.0,
        generator=torch.Generator().manual_seed(SEED),
        output_type=output,
        **asked,
    ).frames


def ours(engine: Engine, variant: Variant) -> tuple[Tensor, Tensor]:
    """Latents [1 16 t h w] and pixels [1 3 t h w] of our walk."""
    shot, had = prepared(engine, variant)
    guides = engine.guides(shot, had)
    *_, last = engine.sample(shot, guides=guides)
    latent = last.x[:, :, guides.ahead :]
    return latent, torch.cat(list(engine.codec.decode(latent)), dim=2)


def prepared(engine: Engine, variant: Variant, **more: Any) -> tuple[Shot, Given]:
    asked = {
        "prompt": PROMPT, "negative": NEGATIVE, "frames": FRAMES, "height": HEIGHT, "width": WIDTH, "steps": STEPS,
        "guidance": 5.0, "shift": twins.SHIFT[variant], "seed": SEED, "preset": "diffusers", "solver": "unipc", **more,
    }  # fmt: skip
    return engine.begun(engine.prepare(Shot.model_validate(asked), given(variant)), given(variant))


@pytest.mark.parametrize("variant", ["t2v", "i2v", "flf2v", "vace"])
def test_the_film_is_that_of_diffusers(variant: Variant, tmp_path: Path) -> None:
    t = twin(variant, head=128, heads=1)
    packed = twins.official(t, tmp_path / "model")
    engine = Engine.load(packed.root, "cpu", dtype="float32")
    latent, pixels = ours(engine, variant)
    wanted = torch.as_tensor(theirs(t, variant, "np"))[0].permute(3, 0, 1, 2)[None] * 2 - 1
    raw = theirs(t, variant, "latent")
    raw = raw[:, :, -latent.shape[2] :]
    assert error(latent, raw) < 1e-4
    assert error(pixels, wanted.clamp(-1, 1)) < 1e-4
