"""The whole way with a Wan model: from its files to the film, and the same film as diffusers' pipelines make of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, Twin, Variant, twin
from torch import Tensor

from vitascope.checkpoints import wan_system
from vitascope.engine import Engine
from vitascope.errors import BadShot
from vitascope.presets import NEGATIVE as NEGATIVE_OF_WAN
from vitascope.presets import PRESETS
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


# --- the same film, however it lies on disk and wherever its weights wait ---


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The text-to-video twin in every packaging."""
    root = tmp_path_factory.mktemp("packed")
    t = twin("t2v", head=128, heads=1)
    for name, packing in (PACKS | {"comfy": twins.comfy, "kijai": twins.kijai}).items():
        packing(t, root / name)
    return root


def loaded(shelf: Path, name: str = "official", dtype: str = "float32", **how: Any) -> Engine:
    parts = {"tokenizer": shelf / "official" / "google" / "umt5-xxl"} if name == "kijai" else None
    return Engine.load(shelf / name, "cpu", parts=parts, dtype=dtype, **how)


def film(engine: Engine, **more: Any) -> Tensor:
    """Frames uint8 of a short film of text."""
    asked = {"prompt": PROMPT, "negative": NEGATIVE, "frames": 5, "height": 32, "width": 48, "steps": 3, "seed": SEED}
    return engine.generate(Shot.model_validate(asked | more)).frames


def walked(engine: Engine, **more: Any) -> Tensor:
    """The latent of that film."""
    asked = {"prompt": PROMPT, "frames": 5, "height": 32, "width": 48, "steps": 3, "seed": SEED}
    *_, last = engine.sample(engine.prepare(Shot.model_validate(asked | more)))
    return last.x


def test_every_packaging_gives_the_same_film(shelf: Path) -> None:
    wanted = walked(loaded(shelf)), film(loaded(shelf))
    # The twin's weights are the same numbers in 16 bits, in which ComfyUI's and Kijai's files keep them.
    for name in ("diffusers", "comfy", "kijai"):
        engine = loaded(shelf, name)
        if name == "diffusers":
            assert engine.defaults["shift"] == 3.0, "as its scheduler's config says"
        assert torch.equal(walked(engine, shift=5.0), wanted[0]), name
        assert torch.equal(film(engine, shift=5.0), wanted[1]), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_weights_wait_changes_no_bit(dtype: str, shelf: Path) -> None:
    wanted = film(loaded(shelf, dtype=dtype))
    for offload in ("component", "block", "disk"):
        assert torch.equal(film(loaded(shelf, dtype=dtype, offload=offload)), wanted), offload


def test_loras_merged_and_beside_say_the_same_and_leave_no_trace(shelf: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    layers = ("self_attn.q", "cross_attn.v", "ffn.0")
    shapes = {"self_attn.q": (128, 128), "cross_attn.v": (128, 128), "ffn.0": (256, 128)}
    state = {}
    for layer in layers:
        out, into = shapes[layer]
        state[f"diffusion_model.blocks.0.{layer}.lora_A.weight"] = torch.randn(4, into, generator=generator) * 0.1
        state[f"diffusion_model.blocks.0.{layer}.lora_B.weight"] = torch.randn(out, 4, generator=generator) * 0.1
    path = tmp_path / "style.safetensors"
    save_file(state, path)
    merged, beside = loaded(shelf), loaded(shelf, offload="block")
    plain, before = walked(merged), {name: p.clone() for name, p in merged.diffusion.net.named_parameters()}
    for engine in (merged, beside):
        (report,) = engine.attach([(path, 0.8)])
        assert "6 of 6 keys change 3 weights" in report
    styled = walked(merged, loras=merged.loras)
    assert error(walked(beside, loras=beside.loras), styled) < 1e-5
    assert error(styled, plain) > 1e-3
    with pytest.raises(BadShot, match="--lora"):
        walked(merged)  # whose record would tell of no LoRA
    for engine in (merged, beside):
        assert engine.attach([]) == []
        assert torch.equal(walked(engine), plain)
    for name, parameter in merged.diffusion.net.named_parameters():
        assert torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("variant", ["t2v", "i2v", "flf2v"])
def test_as_official_means_its_grid_and_its_negative_prompt(variant: Variant, tmp_path: Path) -> None:
    packed = twins.official(twin(variant, head=128, heads=1), tmp_path / "model")
    engine = Engine.load(packed.root, "cpu", dtype="float32")
    shot, had = prepared(engine, variant, preset="official", negative="", steps=3, shift=5.0, frames=5)
    guides = engine.guides(shot, had)
    walk = list(engine.sample(shot, guides=guides))
    sigmas = torch.linspace(0.999, 0, 4)[:-1].double()
    sigmas = 5 * sigmas / (1 + 4 * sigmas)
    times = PRESETS["official"].grid(shot).times
    torch.testing.assert_close(times[:-1].double(), sigmas, rtol=0, atol=1e-6)
    assert [step.t for step in walk] == pytest.approx(times[1:].tolist())
    # An empty negative prompt stands for the makers' own; saying it aloud gives the same film.
    prefix = {"t2v": "", "i2v": "镜头晃动，", "flf2v": "镜头切换，镜头晃动，"}[variant]
    aloud = shot.model_copy(update={"negative": prefix + NEGATIVE_OF_WAN})
    other = shot.model_copy(update={"negative": "blurry"})
    *_, said = engine.sample(aloud, guides=guides)
    *_, elsewise = engine.sample(other, guides=guides)
    assert torch.equal(said.x, walk[-1].x)
    assert not torch.equal(elsewise.x, walk[-1].x)


def test_kept_words_give_the_same_film(shelf: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "vitascope"
    first = film(loaded(shelf))
    kept = [path for path in cache.rglob("*") if path.is_file() and path.name != "hashes.json"]
    assert kept
    assert torch.equal(film(loaded(shelf)), first)
    assert torch.equal(film(Engine(wan_system.load(shelf / "official", dtype="float32", keep=False))), first)


@pytest.mark.parametrize(("shape", "size"), [((480, 832), (464, 832)), ((90, 60), (768, 512)), ((50, 50), (624, 624))])
def test_a_film_has_the_shape_of_its_picture(shape: tuple[int, int], size: tuple[int, int], pictured: Engine) -> None:
    had = Given(image=picture(1, *shape))
    full = pictured.prepare(Shot(prompt=PROMPT, frames=5), had)
    assert (full.height, full.width) == size
    assert pictured.prepare(Shot(prompt=PROMPT, frames=5, height=32, width=48), had).height == 32


@pytest.fixture(scope="module")
def pictured(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The image-to-video twin, in a folder that says which size it was trained for."""
    packed = twins.official(twin("i2v", head=128, heads=1), tmp_path_factory.mktemp("models") / "Wan2.1-I2V-480P")
    return Engine.load(packed.root, "cpu", dtype="float32")


def test_what_a_model_cannot_be_given_is_refused_unread(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wan_system.wan, "load_codec", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(BadShot, match="begin with a picture"):
        loaded(shelf, given=["image"])


def test_what_comfy_does_with_pictures_is_not_known(tmp_path: Path) -> None:
    engine = Engine.load(twins.official(twin("i2v", head=128, heads=1), tmp_path / "model").root, "cpu")
    with pytest.raises(BadShot, match=r"^--as comfy: how that program scales pictures and films is not known here"):
        prepared(engine, "i2v", preset="comfy", solver="euler")


def test_packed_transformers_make_films(tmp_path: Path) -> None:
    """GGUF in blocks of 8 bits, and ComfyUI's and LightX2V's fp8: near the film of the whole weights, and not it."""
    gguf = pytest.importorskip("gguf")
    t = twin("t2v", head=128, heads=1)
    whole = twins.official(t, tmp_path / "whole")
    writer = gguf.GGUFWriter(tmp_path / "wan-Q8_0.gguf", "wan")
    for name, value in load_file(whole.transformer).items():
        matrix = value.ndim == 2 and value.shape[-1] % 32 == 0 and name.startswith("blocks.")
        if value.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(value.shape))
            value = value.flatten(0, 1)
        kind = gguf.GGMLQuantizationType.Q8_0
        array = value.contiguous().numpy()
        if matrix:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts: dict[str, Any] = {"vae": whole.vae, "text_encoder": whole.text, "tokenizer": whole.tokenizer}
    plain, _ = ours(Engine.load(whole.root, "cpu", dtype="float32"), "t2v")
    packed = [
        (tmp_path / "wan-Q8_0.gguf", parts),
        (twins.comfy(t, tmp_path / "comfy", quantised="scaled_new").transformer, parts),
        (twins.lightx2v(t, tmp_path / "light").transformer, parts),
    ]
    for place, beside in packed:
        made, _ = ours(Engine.load(place, "cpu", dtype="float32", parts=beside), "t2v")
        assert 1e-5 < error(made, plain) < 0.3, place


def test_pictures_to_refer_to_are_no_part_of_the_film(tmp_path: Path) -> None:
    engine = Engine.load(twins.official(twin("vace", head=128, heads=1), tmp_path / "model").root, "cpu")
    asked = Shot(prompt=PROMPT, frames=FRAMES, height=HEIGHT, width=WIDTH, steps=2, seed=1)
    assert engine.generate(asked, given=given("vace")).frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
