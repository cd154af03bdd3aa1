"""What an engine keeps true of itself with a Wan model: its LoRAs, its memory, several shots at once, walks that are left."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Variant, twin
from torch import Tensor

from vitascope import engine as engine_module
from vitascope.checkpoints import wan_system
from vitascope.engine import Engine
from vitascope.errors import BadModel, BadShot
from vitascope.planning import Ask, Sizes
from vitascope.shot import Given, Shot

FRAMES, HEIGHT, WIDTH = 5, 32, 48


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def built(variant: Variant, folder: Path, **how: str) -> Engine:
    packed = twins.official(twin(variant, head=128, heads=1), folder)
    return Engine.load(packed.root, "cpu", dtype="float32", **how)  # type: ignore[arg-type]


def shots(engine: Engine, given: Given, *seeds: int, **more: object) -> list[Shot]:
    asked = {"prompt": "a fox", "frames": FRAMES, "height": HEIGHT, "width": WIDTH, "steps": 2, "guidance": 4.0, **more}
    prepared = (engine.prepare(Shot.model_validate(asked | {"seed": seed}), given) for seed in seeds)
    return [engine.begun(shot, given)[0] for shot in prepared]


def latents(engine: Engine, given: Given, *asked: Shot) -> Tensor:
    *_, last = engine.sample(*asked, guides=engine.guides(asked[0], given))
    return last.x


def picture() -> Tensor:
    return torch.randint(0, 256, (HEIGHT, WIDTH, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def lora(path: Path, width: int = 128) -> Path:
    numbers = torch.Generator().manual_seed(1)
    name = "diffusion_model.blocks.0.self_attn.q"
    pair = {f"{name}.lora_down.weight": (2, width), f"{name}.lora_up.weight": (width, 2)}
    save_file({key: torch.randn(shape, generator=numbers) for key, shape in pair.items()}, path)
    return path


def test_after_a_lora_that_is_refused_the_model_carries_none_and_says_so(tmp_path: Path) -> None:
    engine = built("t2v", tmp_path / "model")
    weight = engine.diffusion.net.state_dict()["blocks.0.self_attn.q.weight"].clone()
    engine.attach([(lora(tmp_path / "a.safetensors"), 1.0)])
    assert not torch.equal(engine.diffusion.net.state_dict()["blocks.0.self_attn.q.weight"], weight)
    for bad in (tmp_path / "none.safetensors", lora(tmp_path / "b.safetensors", 96)):
        engine.attach([(tmp_path / "a.safetensors", 1.0)])
        with pytest.raises(BadModel):
            engine.attach([(bad, 1.0)])
        assert engine.loras == ()
        assert torch.equal(engine.diffusion.net.state_dict()["blocks.0.self_attn.q.weight"], weight)


def test_a_lora_in_a_folder_has_the_name_of_its_file(tmp_path: Path) -> None:
    engine = built("t2v", tmp_path / "model")
    (tmp_path / "folder").mkdir()
    file = lora(tmp_path / "folder" / "a.safetensors")
    engine.attach([(file, 1.0)])
    named = engine.loras
    engine.attach([(file.parent, 1.0)])
    assert engine.loras == named


def needing(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """A machine in which a row of the network takes 100 bytes, and a clock for each frame 100 others."""

    def peak(sizes: Sizes, ask: Ask, rows: int, tile: int | None = None, bytes_: int = 2) -> int:
        return 100 * (rows + (ask.begins and sizes.own_clock))

    monkeypatch.setattr(engine_module, "peak", peak)
    monkeypatch.setattr(engine_module, "free_memory", lambda device: free)


def test_where_two_rows_do_not_fit_they_go_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, rows = built("t2v", tmp_path / "model"), []
    engine.diffusion.net.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))
    found = []
    for free, calls in ((221, {2}), (219, {1}), (111, {1})):
        needing(monkeypatch, free)
        rows.clear()
        found.append(latents(engine, Given(), *shots(engine, Given(), 1)))
        assert set(rows) == calls
    assert all(torch.allclose(found[0], other, atol=1e-4) for other in found[1:])
    needing(monkeypatch, 109)  # a plan would keep a tenth to spare, too
    with pytest.raises(BadShot, match=r"with a tenth to spare, and .* fewer frames"):
        shots(engine, Given(), 1)


@pytest.mark.parametrize(("guidance", "calls"), [(1, 2), ("1 in 0.2..0.8", 2), (5, 4), ("1 > 5", 4), ("5 > 1", 4)])
def test_a_plan_counts_both_rows_wherever_a_walk_asks_for_both(
    guidance: float | str, calls: int, tmp_path: Path
) -> None:
    root = twins.official(twin("t2v", head=128, heads=1), tmp_path / "model").root
    shot = Shot(prompt="a fox", frames=FRAMES, height=HEIGHT, width=WIDTH, steps=2, guidance=guidance)
    assert wan_system.planned(root, torch.device("cpu"), None, "float32", shot).calls == calls


def test_a_picture_told_in_channels_takes_no_memory_for_clocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = built("i2v", tmp_path / "model")
    needing(monkeypatch, 111)
    assert shots(engine, Given(image=picture()), 1)


@pytest.mark.parametrize("variant", ["i2v", "vace"])
def test_shots_in_one_walk_are_those_of_a_walk_each(variant: Variant, tmp_path: Path) -> None:
    engine = built(variant, tmp_path / "model")
    given = Given(image=picture()) if variant == "i2v" else Given(references=(picture(),))
    both = shots(engine, given, 1, 2)
    together = latents(engine, given, *both)
    for row, shot in zip(together, both):
        alone = latents(engine, given, shot)[0]
        assert float((row - alone).norm() / alone.norm()) < 1e-4


@pytest.mark.parametrize("preset", ["official", "diffusers"])
def test_guidance_1_asks_nothing_of_the_negative_prompt(preset: str, tmp_path: Path) -> None:
    engine, rows = built("t2v", tmp_path / "model"), []
    engine.diffusion.net.register_forward_pre_hook(lambda net, args: rows.append(len(args[0])))
    plain, other = (
        shots(engine, Given(), 1, guidance=1.0, preset=preset, negative=negative)[0] for negative in ("", "a cat")
    )
    assert torch.equal(latents(engine, Given(), plain), latents(engine, Given(), other))
    assert set(rows) == {1}


@pytest.mark.parametrize("offload", ["component", "block", "disk"])
def test_a_film_that_is_left_half_way_leaves_all_parts_where_they_wait(offload: str, tmp_path: Path) -> None:
    engine = built("t2v", tmp_path / "model", offload=offload)
    (shot,) = shots(engine, Given(), 1)
    parts = (engine.codec, engine.text, engine.diffusion.net)

    def places() -> list[int]:
        return [id(value) for part in parts for value in part.state_dict(keep_vars=True).values()]  # type: ignore[union-attr]

    whole = torch.cat(list(engine.film(shot).chunks))
    before = places()
    chunks = engine.film(shot).chunks
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]

    def stop(*told: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(engine.film(shot, stop).chunks)
    hook = engine.diffusion.net.get_submodule("blocks.1").register_forward_hook(stop)
    with pytest.raises(KeyboardInterrupt):
        list(engine.film(shot).chunks)
    hook.remove()
    assert torch.equal(torch.cat(list(engine.film(shot).chunks)), whole)
    assert [was == now for was, now in zip(before, places(), strict=True)].count(False) == 0


@pytest.mark.parametrize("fast", [True, False])
def test_without_a_dtype_it_is_the_one_that_is_fast_here(
    fast: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vitascope.planning.machine.has_bf16", lambda kind: fast)
    packed = twins.official(twin("t2v", head=128, heads=1), tmp_path / "model")
    engine = Engine.load(packed.root, "cpu")
    weight = engine.diffusion.net.state_dict()["blocks.0.self_attn.q.weight"]
    assert weight.dtype == (torch.bfloat16 if fast else torch.float32)
