"""Loading: equal to diffusers' own classes on the same weights, whatever the packaging; whole, or not at all."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.checkpoints import twins
from tests.checkpoints.twins import Packed, Twin, Variant, twin
from torch import Tensor, nn

from vitascope.checkpoints import wan
from vitascope.checkpoints.assembly import SAFEST_WIDE, assemble
from vitascope.checkpoints.layout import look
from vitascope.checkpoints.weights import held
from vitascope.errors import BadModel
from vitascope.models.dit import DiT
from vitascope.models.outline import outlined
from vitascope.streaming import Streamed

VARIANTS: tuple[Variant, ...] = ("t2v", "i2v", "flf2v", "vace")
Pack = Callable[[Twin, Path], Packed]
PACKAGINGS: dict[str, Pack] = {
    "official": twins.official,
    "official, sharded": lambda t, f: twins.official(t, f, shards=3),
    "diffusers": twins.diffusers,
    "diffusers, sharded": lambda t, f: twins.diffusers(t, f, shard="200KB"),
    "comfy": twins.comfy,
    "comfy, bf16, no prefix": lambda t, f: twins.comfy(t, f, prefix="", dtype=torch.bfloat16),
    "comfy, fp8": lambda t, f: twins.comfy(t, f, quantised="plain"),
    "comfy, fp8 scaled, old": lambda t, f: twins.comfy(t, f, quantised="scaled_old"),
    "comfy, fp8 scaled, new": lambda t, f: twins.comfy(t, f, quantised="scaled_new"),
    "kijai": twins.kijai,
    "kijai, prefix": lambda t, f: twins.kijai(t, f, prefix="diffusion_model."),
    "lightx2v, fp8": twins.lightx2v,
    "lightx2v, int8": lambda t, f: twins.lightx2v(t, f, kind="int8"),
}


def small(variant: Variant = "t2v") -> Twin:
    return twin(variant, head=128, heads=1)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


def inputs(variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
    """One question, as it is put to our network and to diffusers'."""
    pictured = variant in ("i2v", "flf2v")
    x, clock, context = draw(1, 36 if pictured else 16, 2, 4, 6), torch.tensor([421.0]), draw(1, 512, 64, seed=1)
    ours: dict[str, Any] = {"x": x, "clock": clock, "context": context}
    theirs: dict[str, Any] = {"hidden_states": x, "timestep": clock, "encoder_hidden_states": context}
    if pictured:
        image = draw(1, 514 if variant == "flf2v" else 257, 160, seed=2)
        ours["image"] = image
        theirs["encoder_hidden_states_image"] = image.view(-1, 257, 160)
    if variant == "vace":
        ours["vace"] = theirs["control_hidden_states"] = draw(1, 96, 2, 4, 6, seed=3)
    return ours, theirs


@torch.no_grad()
def answers(net: nn.Module, t: Twin) -> tuple[Tensor, Tensor]:
    ours, theirs = inputs(t.variant)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return net(**ours), t.transformer(**theirs, return_dict=False)[0]


def target(packed: Packed) -> Path:
    return packed.transformer if packed.transformer.is_file() else packed.root


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("packaging", PACKAGINGS)
def test_a_transformer_answers_as_diffusers_own(packaging: str, variant: Variant, tmp_path: Path) -> None:
    packed = PACKAGINGS[packaging](small(variant), tmp_path)
    found = look(target(packed))
    assert found.variant == variant
    ours, theirs = answers(wan.load_transformer(found, "float32"), packed.holds)
    assert error(ours, theirs) <= 1e-5


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_two_layouts_load_bit_for_bit_the_same(variant: Variant, tmp_path: Path) -> None:
    t = twin(variant, short=False)
    one, two = (look(pack(t, tmp_path / pack.__name__).root) for pack in (twins.official, twins.diffusers))
    pairs = [(wan.load_transformer(f), wan.load_codec(f)) for f in (one, two)]
    for a, b in zip(*pairs):
        assert a.state_dict().keys() == b.state_dict().keys()
        assert all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())
    for net, _ in pairs:
        # Where in a file a tensor begins decides which of a machine's instructions multiply it, so they are copied first.
        net.load_state_dict({name: value.clone() for name, value in net.state_dict().items()}, assign=True)
    a, b = (answers(net, t)[0] for net, _ in pairs)
    assert torch.equal(a, b)


@pytest.mark.parametrize("packaging", ["official", "diffusers", "comfy", "kijai"])
def test_the_other_parts_answer_as_diffusers_and_transformers_own(packaging: str, tmp_path: Path) -> None:
    packed = PACKAGINGS[packaging](small("i2v"), tmp_path)
    found = look(target(packed))
    t = packed.holds
    assert t.image is not None
    with torch.no_grad():
        codec = wan.load_codec(found)
        video = draw(1, 3, 5, 16, 16).clamp(-1, 1)
        latent = t.vae.encode(video).latent_dist.mode()  # type: ignore[union-attr]
        assert error(codec.vae.encode(video), latent) <= 1e-5
        assert error(codec.vae.decode(latent, True), t.vae.decode(latent, return_dict=False)[0]) <= 1e-5
        mean, std = (
            torch.tensor(v).view(1, -1, 1, 1, 1) for v in (t.vae.config["latents_mean"], t.vae.config["latents_std"])
        )
        assert error(codec.encode(video), (latent - mean) / std) <= 1e-5
        tower, pixels = wan.load_image_tower(found), draw(1, 3, 224, 224)
        states = t.image(pixels, output_hidden_states=True).hidden_states[-2]
        assert error(tower.states(pixels, layers=2), states) <= 1e-5
        if found.tokenizer is not None:
            text = wan.load_text(found, "float32")
            ids = torch.tensor([text.words.tokens("a red fox runs", 512)[0]])
            context = text(["a red fox runs"])["context"]
            assert error(context[:, : ids.shape[1]], t.text(ids).last_hidden_state) <= 1e-5
            streamed = wan.load_text(found, "float32", resident="layers")
            assert torch.equal(streamed(["a red fox runs"])["context"], context)


@pytest.fixture(scope="module")
def comfy(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return twins.comfy(small(), tmp_path_factory.mktemp("comfy"), dtype=torch.bfloat16)


def test_weights_are_the_map_where_the_precision_is_the_wanted_one(comfy: Packed) -> None:
    net = wan.load_transformer(look(comfy.transformer), "bfloat16")
    stores = {p.untyped_storage().data_ptr() for p in net.parameters()}
    assert len(stores) == 1
    assert not any(p.requires_grad for p in net.parameters())
    before = comfy.transformer.read_bytes()
    net.head.head.weight.fill_(1.0)  # a view of one's own: the file stays as it is
    assert comfy.transformer.read_bytes() == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_precision_and_what_is_safest_in_float32(comfy: Packed, dtype: str) -> None:
    found = look(comfy.transformer)
    net: DiT = wan.load_transformer(found, dtype, keep_wide=True)  # type: ignore[arg-type]
    wide = {name for name, p in net.named_parameters() if p.dtype == torch.float32}
    if dtype == "float32":
        assert wide == {name for name, _ in net.named_parameters()}
        return
    assert wide == {name for name, _ in net.named_parameters() if SAFEST_WIDE.match(name)}
    for name in ("time_embedding.0.weight", "head.modulation", "blocks.1.modulation", "blocks.0.norm3.bias"):
        assert name in wide
    assert "blocks.0.self_attn.norm_q.weight" in wide
    assert "blocks.0.self_attn.q.weight" not in wide
    assert "patch_embedding.weight" not in wide
    ours, theirs = answers(net, comfy.holds)
    assert error(ours, theirs) <= 2e-2


def broken(comfy: Packed, path: Path, change: Callable[[dict[str, Tensor]], Any]) -> str:
    """What is said of a file that was changed so; nothing may come of it."""
    state = load_file(comfy.transformer)
    change(state)
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    with pytest.raises(BadModel) as told:
        wan.load_transformer(look(path))
    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)
    return str(told.value)


P = "model.diffusion_model."


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s: s.pop(P + "blocks.1.ffn.2.bias"), "it lacks blocks.1.ffn.2.bias"),
        (lambda s: s.update({P + "extra.weight": torch.ones(2)}), "beside what is wanted extra.weight"),
        (lambda s: s.update({"head.head.bias": torch.ones(64)}), "are two names of one tensor"),
        (lambda s: s.update({P + "blocks.1.ffn.2.weight": torch.ones(2, 3)}), "(2x3 where 128x256 is wanted)"),
        (
            lambda s: s[P + "blocks.1.ffn.2.weight"].view(-1)[7].fill_(torch.nan),
            "blocks.1.ffn.2.weight holds numbers that are not",
        ),
        (
            lambda s: s[P + "blocks.1.ffn.2.bias"][0].fill_(-torch.inf),
            "blocks.1.ffn.2.bias holds numbers that are not finite",
        ),
        (lambda s: s[P + "patch_embedding.weight"].zero_(), "patch_embedding.weight holds nothing but zeros"),
        (lambda s: s[P + "blocks.0.self_attn.norm_q.weight"].zero_(), "norm_q.weight holds nothing but zeros"),
        (lambda s: s.update({P + "blocks.0.modulation": torch.ones(1, 6, 128, dtype=torch.int32)}), "holds int32"),
        (lambda s: [s.pop(name) for name in list(s) if "ffn.2" in name or "ffn.0.b" in name], "it lacks"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(
    comfy: Packed, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], what: str
) -> None:
    assert what in broken(comfy, tmp_path / "broken.safetensors", change)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s: s[P + "blocks.1.ffn.2.weight"].view(-1)[7].fill_(torch.nan), "that are not finite"),
        (lambda s: s[P + "blocks.1.ffn.2.weight"].zero_(), "nothing but zeros"),
        (lambda s: s.update({P + "blocks.1.ffn.2.weight": torch.ones(128, 256, dtype=torch.int8)}), "holds int8"),
    ],
)
def test_what_is_streamed_is_looked_at_too(
    comfy: Packed, tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], what: str
) -> None:
    state = load_file(comfy.transformer)
    change(state)
    save_file(state, tmp_path / "broken.safetensors")
    found = look(tmp_path / "broken.safetensors")
    with outlined():
        net = wan.outline(found)
    x, context = draw(1, 16, 1, 4, 4), draw(1, 4, found.network.config.text_width)
    with (
        Streamed(net.eval(), wan.transformer_weights(found), dtype=torch.float32) as streamed,
        pytest.raises(BadModel, match=f"blocks.1.ffn.2.weight holds.*{what.removeprefix('holds ')}"),
    ):
        streamed.module(x, torch.zeros(1), context=context)


def test_what_is_missing_is_told_ten_at_a_time_and_with_what_it_looks_like(comfy: Packed, tmp_path: Path) -> None:
    def without(state: dict[str, Tensor]) -> None:
        for name in [name for name in state if "blocks.1" in name and "self_attn.q" not in name]:
            del state[name]

    said = broken(comfy, tmp_path / "broken.safetensors", without)
    assert "and 15 more" in said
    assert "a video transformer of Wan's form" in said


def test_zeros_in_a_bias_are_no_fault(comfy: Packed, tmp_path: Path) -> None:
    state = load_file(comfy.transformer)
    state[P + "head.head.bias"].zero_()
    save_file(state, tmp_path / "model.safetensors")
    assert not wan.load_transformer(look(tmp_path / "model.safetensors")).head.head.bias.any()


def test_a_module_is_left_as_it_was_when_its_weights_are_refused() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    good = {name: torch.ones(value.shape) for name, value in module.state_dict().items()}
    bad = good | {"1.bias": torch.tensor([1.0, torch.nan, 1.0])}
    heard: list[int] = []
    with pytest.raises(BadModel, match=r"1\.bias"):
        assemble(module, held(bad, origin="x"), origin="x", watch=lambda _, done, of: heard.append(done))
    assert heard == [1, 2, 3]
    assert all(p.is_meta for p in module.parameters())
    assemble(module, held(good, origin="x"), origin="x")
    assert not any(p.is_meta for p in module.parameters())


def test_numbers_too_large_for_float16_are_told() -> None:
    with torch.device("meta"):
        module = nn.Linear(2, 2)
    big = held({"weight": torch.full((2, 2), 1e6), "bias": torch.ones(2)}, origin="x")
    with pytest.raises(BadModel, match="beyond 65,504"):
        assemble(module, big, origin="x", dtype=torch.float16)


def test_parts_that_do_not_go_together_are_told(comfy: Packed, tmp_path: Path) -> None:
    found = look(comfy.transformer)
    wider = dataclasses.replace(found.network.config, text_width=96, out_channels=8)
    other = dataclasses.replace(found, network=dataclasses.replace(found.network, config=wider))
    with pytest.raises(BadModel, match="its latents have 16 channels and the transformer's 8"):
        wan.load_codec(other)
    with pytest.raises(BadModel, match="64 wide and the transformer reads 96"):
        wan.load_text(other)
    with pytest.raises(BadModel, match="a Wan VAE was wanted and this is a UMT5"):
        wan.load_codec(dataclasses.replace(found, vae=found.text))
    with pytest.raises(BadModel, match="--image-encoder"):
        wan.load_image_tower(found)
    config = tmp_path / "vae" / "config.json"
    config.parent.mkdir()
    (config.parent / "model.safetensors").write_bytes(comfy.vae.read_bytes())
    config.write_text(json.dumps({"latents_mean": [0.0] * 16, "latents_std": [2.0] * 16, "z_dim": 16, "odd": 1}))
    codec = wan.load_codec(beside := dataclasses.replace(found, vae=config.parent, notices=[]))
    assert codec.std.tolist() == [2.0] * 16
    assert beside.notices == [f"{config}: nothing is made of odd"]


MEASURE = """
import resource, sys
from pathlib import Path
from vitascope.checkpoints import wan
from vitascope.checkpoints.layout import look
found = look(Path(sys.argv[1]))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
net = wan.load_transformer(found, sys.argv[2])
print(peak() - before)
"""


@pytest.fixture(scope="module")
def heavy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A transformer of 150 million numbers, in bf16."""
    from vitascope.models.dit import DiTConfig
    from vitascope.models.outline import outlined

    with outlined():
        net = DiT(DiTConfig(width=1024, heads=8, layers=8, ffn=4096))
    noise = torch.rand(1 << 20).add_(0.5).bfloat16()
    state = {
        name: noise.repeat(-(-p.numel() // len(noise)))[: p.numel()].view(p.shape)
        for name, p in net.state_dict().items()
    }
    path = tmp_path_factory.mktemp("heavy") / "model.safetensors"
    save_file(state, path)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is told otherwise elsewhere")
@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 1.2), ("float32", 2.5)])
def test_loading_peaks_at_the_size_of_what_is_kept(heavy: Path, dtype: str, most: float) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(heavy), dtype], capture_output=True, text=True, check=True
    )
    size = heavy.stat().st_size
    assert size > 250e6
    assert int(done.stdout) <= most * size
