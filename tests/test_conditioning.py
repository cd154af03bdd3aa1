"""Conditions of Wan 2.1: equal to what diffusers' pipelines make, and to the published code's steps done one by one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from tests.checkpoints.twin_names import autoencoder_state
from tests.checkpoints.twins import Twin, pipeline, twin
from torch import Tensor

from vitascope.codec import VideoCodec
from vitascope.conditioning import (
    framed,
    image_to_video,
    image_tokens,
    size_like,
    vace,
)
from vitascope.errors import BadShot
from vitascope.models.clip import CLIP, CLIPConfig, VisionTransformer
from vitascope.models.vae import VAEConfig

SIZE = (32, 48)
NAMES = (
    (r"embeddings\.class_embedding", "class_embedding"),
    (r"embeddings\.patch_embedding", "conv1"),
    (r"embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"pre_layrnorm", "ln_pre"),
    (r"post_layernorm", "ln_post"),
    (r"encoder\.layers", "transformer.resblocks"),
    (r"layer_norm([12])", r"ln_\1"),
    (r"self_attn\.out_proj", "attn.out_proj"),
    (r"mlp\.fc1", "mlp.c_fc"),
    (r"mlp\.fc2", "mlp.c_proj"),
)


def codec_of(t: Twin) -> VideoCodec:
    codec = VideoCodec(VAEConfig(base=8)).requires_grad_(False)
    codec.vae.load_state_dict(autoencoder_state(t.vae.state_dict()))
    codec.mean.copy_(torch.tensor(t.vae.config["latents_mean"]))
    codec.std.copy_(torch.tensor(t.vae.config["latents_std"]))
    return codec


def tower_of(t: Twin) -> VisionTransformer:
    assert t.image is not None
    state: dict[str, Tensor] = {"proj": t.projection.mT}
    theirs = {name.removeprefix("vision_model."): value for name, value in t.image.state_dict().items()}
    for name, value in theirs.items():
        for pattern, new in NAMES:
            name = re.sub(pattern, new, name)
        if "self_attn" not in name:
            state[name] = value
    for i in range(3):
        for kind in ("weight", "bias"):
            parts = [theirs[f"encoder.layers.{i}.self_attn.{x}_proj.{kind}"] for x in "qkv"]
            state[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(parts)
    config = CLIPConfig(
        vocab=4,
        text_length=4,
        text_width=8,
        text_layers=1,
        text_heads=1,
        image=(224, 224),
        patch=14,
        vision_width=160,
        vision_layers=3,
        vision_heads=2,
        embed=48,
    )
    tower = CLIP(config).visual.requires_grad_(False)
    tower.load_state_dict(state, strict=True)
    return tower


def picture(height: int, width: int, seed: int = 0) -> Tensor:
    """Soft shapes and noise on them, as uint8 [h w 3]."""
    generator = torch.Generator().manual_seed(seed)
    soft = F.interpolate(torch.rand(1, 3, 4, 5, generator=generator), (height, width), mode="bicubic")
    noisy = soft + 0.1 * torch.randn(1, 3, height, width, generator=generator)
    return (255 * noisy[0].clamp(0, 1)).byte().permute(1, 2, 0).contiguous()


def film(frames: int, seed: int = 5) -> Tensor:
    return torch.stack([picture(*SIZE, seed=seed + i) for i in range(frames)])


def pil(pixels: Tensor) -> Image.Image:
    return Image.fromarray(pixels.numpy())


def error(a: Tensor, b: Tensor) -> float:
    assert a.shape == b.shape
    return float((a - b).double().norm() / b.double().norm())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("variant", ["i2v", "flf2v"])
@pytest.mark.parametrize("frames", [5, 13])
@torch.no_grad()
def test_image_to_video_is_that_of_diffusers(variant: Any, frames: int) -> None:
    t = twin(variant)
    pipe = pipeline(t)
    first, last = picture(50, 90), picture(40, 61, seed=1) if variant == "flf2v" else None
    images = [pil(first)] if last is None else [pil(first), pil(last)]
    theirs_image = pipe.encode_image(images, torch.device("cpu")).reshape(1, -1, 160)
    pixels = [pipe.video_processor.preprocess(image, *SIZE) for image in images]
    device, kind = torch.device("cpu"), torch.float32
    _, condition = pipe.prepare_latents(pixels[0], 1, 16, *SIZE, frames, kind, device, None, None, *pixels[1:])
    told = image_to_video(codec_of(t), tower_of(t), first, last, frames=frames, size=SIZE, as_="diffusers")
    assert error(told["concat"], condition) < 1e-5
    assert error(told["image"], theirs_image) < 1e-5


@pytest.mark.parametrize("with_last", [False, True])
@torch.no_grad()
def test_image_to_video_is_the_published_code_step_by_step(with_last: bool) -> None:
    t = twin("i2v")
    codec, tower = codec_of(t), tower_of(t)
    frames, (h, w) = 9, SIZE
    pictures = [picture(50, 90)] + ([picture(50, 90, seed=1)] if with_last else [])
    floats = [p.permute(2, 0, 1).float().div(255).sub(0.5).div(0.5) for p in pictures]
    scaled = [F.interpolate(x[None], size=SIZE, mode="bicubic").transpose(0, 1) for x in floats]
    between = torch.zeros(3, frames - len(pictures), h, w)
    latent = codec.encode(torch.cat([scaled[0], between, *scaled[1:]], dim=1)[None])
    mask = torch.zeros(1, frames, h // 8, w // 8)
    mask[:, 0] = 1
    if with_last:
        mask[:, -1] = 1
    mask = torch.cat((mask[:, :1].repeat_interleave(4, dim=1), mask[:, 1:]), dim=1)
    mask = mask.view(1, -1, 4, h // 8, w // 8).transpose(1, 2)
    squares = torch.cat([F.interpolate(x[None], (224, 224), mode="bicubic") for x in floats])
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    states = tower.states((squares * 0.5 + 0.5 - mean.view(3, 1, 1)) / std.view(3, 1, 1), layers=2)
    told = image_to_video(codec, tower, *pictures, frames=frames, size=SIZE)
    assert error(told["concat"], torch.cat((mask, latent), dim=1)) < 1e-5
    assert error(told["image"], states.reshape(1, -1, 160)) < 1e-6
    assert told["image"].shape == (1, 257 * len(pictures), 160)


@torch.no_grad()
def test_a_last_picture_of_another_size_is_scaled_to_cover_the_first() -> None:
    """And not padded with black, as in the published code: of a picture twice as large the whole is seen."""
    codec = codec_of(twin("i2v"))
    first, last = picture(32, 48), picture(32, 48, seed=1)
    large = last.repeat_interleave(2, 0).repeat_interleave(2, 1)
    small = last[::2, ::2].contiguous()
    wanted = image_to_video(codec, None, first, last, frames=5, size=SIZE)["concat"]
    assert error(image_to_video(codec, None, first, large, frames=5, size=SIZE)["concat"], wanted) < 0.05
    assert error(image_to_video(codec, None, first, small, frames=5, size=SIZE)["concat"], wanted) < 0.3
    assert "image" not in image_to_video(codec, None, first, frames=5, size=SIZE)


@torch.no_grad()
def test_one_frame() -> None:
    codec = codec_of(twin("i2v"))
    concat = image_to_video(codec, None, picture(*SIZE), frames=1, size=SIZE)["concat"]
    assert concat.shape == (1, 20, 1, 4, 6)
    assert concat[:, :4].eq(1).all()
    torch.testing.assert_close(concat[:, 4:], codec.encode(framed(picture(*SIZE), SIZE)[:, :, None]))
    told, n = vace(codec, film(1), references=[picture(30, 30)], frames=1, size=SIZE)
    assert n == 1
    assert told["vace"].shape == (1, 96, 2, 4, 6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("references", [0, 1, 2])
@pytest.mark.parametrize("given", ["nothing", "film", "film and mask"])
@torch.no_grad()
def test_vace_is_that_of_diffusers(given: str, references: int) -> None:
    t, frames = twin("vace"), 9
    pipe = pipeline(t)
    pictures = [picture(50, 90, seed=3), picture(41, 23, seed=4)][:references]
    shown = film(frames) if "film" in given else None
    shades = film(frames, seed=30)[..., 0] if "mask" in given else None
    device, kind = torch.device("cpu"), torch.float32
    prepared = pipe.preprocess_conditions(
        None if shown is None else [pil(x) for x in shown],
        None if shades is None else [pil(x[..., None].repeat(1, 1, 3)) for x in shades],
        [[pil(p) for p in pictures]] if pictures else None,
        1,
        *SIZE,
        frames,
        kind,
        device,
    )
    latents, marks = pipe.prepare_video_latents(*prepared, None, device), pipe.prepare_masks(*prepared[1:])
    told, n = vace(codec_of(t), shown, shades, pictures, frames=frames, size=SIZE, as_="diffusers")
    assert n == references
    assert error(told["vace"], torch.cat((latents, marks), dim=1)) < 1e-5
    _, time, *place = codec_of(t).latent_shape(frames, *SIZE)
    assert told["vace"].shape[2:] == (n + time, *place)


@torch.no_grad()
def test_references_come_first_in_their_order() -> None:
    codec, pictures = codec_of(twin("vace")), [picture(32, 48, seed=3), picture(32, 48, seed=4)]
    told, n = vace(codec, references=pictures, frames=5, size=SIZE)
    other, _ = vace(codec, references=pictures[::-1], frames=5, size=SIZE, as_="diffusers")
    torch.testing.assert_close(told["vace"], other["vace"], atol=1e-5, rtol=1e-4)
    first = codec.encode(framed(pictures[0], SIZE)[:, :, None])
    torch.testing.assert_close(told["vace"][:, :16, :1], first, atol=1e-5, rtol=1e-4)
    assert not told["vace"][:, 16:, :n].any()
    assert told["vace"][:, 32:, n:].eq(1).all()
    many, n = vace(codec, references=pictures * 2, frames=1, size=SIZE)
    assert (n, many["vace"].shape[2]) == (4, 5), "more references than latent frames"


@torch.no_grad()
def test_what_stays_and_what_is_made_anew() -> None:
    codec, shown = codec_of(twin("vace")), film(9)
    mask = torch.zeros(9, *SIZE, dtype=torch.uint8)
    mask[:, :, 24:] = 255
    half, _ = vace(codec, shown, mask, frames=9, size=SIZE)
    left = codec.encode((shown.permute(3, 0, 1, 2)[None] / 127.5 - 1) * (mask == 0))
    torch.testing.assert_close(half["vace"][:, :16], left, atol=1e-4, rtol=1e-4)
    assert half["vace"][:, 32:, :, :, :3].eq(0).all()
    assert half["vace"][:, 32:, :, :, 3:].eq(1).all()
    flipped, _ = vace(codec, shown, 255 - mask, frames=9, size=SIZE)
    torch.testing.assert_close(flipped["vace"][:, :16], half["vace"][:, 16:32])
    marks = mask.clone()
    marks[:, 3, 5] = 255  # row 3 and column 5 of the first place: channel 3 * 8 + 5
    one, _ = vace(codec, shown, marks, frames=9, size=SIZE)
    assert one["vace"][0, 32:, 0, 0, 0].nonzero().flatten().tolist() == [29]


@torch.no_grad()
def test_no_more_than_one_chunk_is_ever_there() -> None:
    """A film is encoded as it is taken, frame by frame of latents: memory does not grow with its length."""

    class Watched(VideoCodec):
        log: list[tuple[str, int]] = []  # noqa: RUF012

        def encode_chunks(self, chunks: Any) -> Iterator[Tensor]:
            def taken() -> Iterator[Tensor]:
                for chunk in chunks:
                    self.log.append(("in", chunk.shape[2]))
                    yield chunk

            for latent in super().encode_chunks(taken()):
                self.log.append(("out", latent.shape[2]))
                yield latent

    codec = Watched(VAEConfig(base=8))
    image_to_video(codec, None, picture(*SIZE), picture(*SIZE), frames=13, size=SIZE)
    assert codec.log == [("in", 1), ("out", 1)] + [("in", 4), ("out", 1)] * 3


@torch.no_grad()
def test_chunks_are_the_whole() -> None:
    codec = codec_of(twin("vace"))
    video = film(13).permute(3, 0, 1, 2)[None] / 127.5 - 1
    chunks = iter(video.split([1, 4, 4, 4], dim=2))
    torch.testing.assert_close(torch.cat(list(codec.encode_chunks(chunks)), 2), codec.encode(video), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="a chunk of 3 frames; expected 4"):
        list(codec.encode_chunks(iter(video.split([1, 3, 9], dim=2))))


def test_the_two_programs_differ_where_they_do() -> None:
    t = twin("i2v")
    tower, square, long = tower_of(t), picture(224, 224), picture(120, 300)
    same = error(image_tokens(tower, [square]), image_tokens(tower, [square], "diffusers"))
    other = error(image_tokens(tower, [long]), image_tokens(tower, [long], "diffusers"))
    assert same < 1e-5
    assert other > 0.05
    assert error(framed(long, SIZE), framed(long, SIZE, "diffusers")) > 1e-3


@pytest.mark.parametrize(
    ("shape", "official", "diffusers"),
    [
        ((720, 1280), (464, 832), (464, 832)),
        ((480, 832), (464, 832), (480, 832)),
        ((1000, 1000), (624, 624), (624, 624)),
        ((2, 9000), (16, 42384), (16, 42384)),
    ],
)
def test_the_size_is_that_of_each_rule(shape: Any, official: Any, diffusers: Any) -> None:
    codec, shown = VideoCodec(VAEConfig(base=8)), torch.empty(*shape, 3, dtype=torch.uint8)
    assert size_like(shown, 480 * 832, codec) == official
    assert size_like(shown, 480 * 832, codec, as_="diffusers") == diffusers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": 6}, "6 frames: this codec takes 1 + 4k frames; the nearest are 5 and 9."),
        ({"size": (30, 48)}, "height 30: this model makes multiples of 8 pixels"),
        ({"frames": 1, "last": picture(8, 8)}, "1 frame from a first to a last picture: one frame cannot be both"),
    ],
)
def test_what_cannot_be_is_told(change: dict[str, Any], said: str) -> None:
    codec = codec_of(twin("i2v"))
    with pytest.raises(BadShot, match=re.escape(said)):
        image_to_video(codec, None, picture(8, 8), **{"frames": 5, "size": SIZE} | change)


def test_a_mask_needs_a_film() -> None:
    codec, mask = codec_of(twin("vace")), torch.zeros(5, *SIZE, dtype=torch.uint8)
    with pytest.raises(BadShot, match="a mask without a film"):
        vace(codec, mask=mask, frames=5, size=SIZE)
    with pytest.raises(ValueError, match=r"mask: expected uint8 \[5, 32, 48\], got torch.float32"):
        vace(codec, film(5), mask.float(), frames=5, size=SIZE)
    with pytest.raises(ValueError, match=r"film: expected uint8 \[9, 32, 48, 3\]"):
        vace(codec, film(5), frames=9, size=SIZE)
