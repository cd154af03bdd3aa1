"""LoRA files of every dialect against the dense sum written out here, in float64; and what is put on comes off again."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitascope.checkpoints.attaching import attach
from vitascope.checkpoints.deltas import Added
from vitascope.checkpoints.lora import Lora
from vitascope.errors import BadModel, BadShot
from vitascope.models.dit import DiT, DiTConfig

WIDTH, FFN, LAYERS = 36, 40, 2
Dense = dict[str, Callable[[Tensor], Tensor]]
"""Parameter to what a file makes of it, each given the parameter as it was, in float64."""
File = tuple[dict[str, Tensor], Dense]


class Numbers:
    """Random factors, in float32 as a file has them."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(*shape, generator=self.generator) * 0.3


def twin(*, image: bool = True, dtype: torch.dtype = torch.float64, layers: int = LAYERS, width: int = WIDTH) -> DiT:
    config = DiTConfig(
        width=width,
        heads=2,
        layers=layers,
        ffn=FFN,
        in_channels=36 if image else 16,
        text_width=24,
        image_width=20 if image else None,
    )
    model = DiT(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (p[0].numel() ** -0.5 if p.ndim > 1 else 0.5))
    return model.to(dtype)


@torch.no_grad()
def film(model: nn.Module) -> Tensor:
    numbers, config = Numbers(3), model.config
    image = None if config.image_width is None else numbers(1, 5, config.image_width)
    x = numbers(1, config.in_channels, 2, 4, 4)
    return model(x, torch.tensor([700.0]), context=numbers(1, 6, 24), image=image)


def error(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def fingerprint(model: nn.Module) -> str:
    """Of every name and every byte, in order."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        total.update(value.detach().clone().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def summed(model: DiT, *files: tuple[Dense, float]) -> DiT:
    """The network whose weights are W + sum of s (f(W) - W)."""
    dense = copy.deepcopy(model).double()
    base = {name: value.clone() for name, value in dense.state_dict().items()}
    with torch.no_grad():
        for name, parameter in dense.named_parameters():
            for made, strength in files:
                if name in made:
                    parameter += strength * (made[name](base[name]) - base[name])
    return dense


# The files. Modules of each kind: attention, its image half, feed-forward, and what lies outside the blocks.
MODULES = {
    "blocks.0.self_attn.q": (WIDTH, WIDTH),
    "blocks.1.cross_attn.o": (WIDTH, WIDTH),
    "blocks.1.cross_attn.k_img": (WIDTH, WIDTH),
    "blocks.0.cross_attn.v_img": (WIDTH, WIDTH),
    "blocks.1.ffn.0": (FFN, WIDTH),
    "blocks.0.ffn.2": (WIDTH, FFN),
}
DIFFUSERS = {
    "blocks.0.self_attn.q": "blocks.0.attn1.to_q",
    "blocks.1.cross_attn.o": "blocks.1.attn2.to_out.0",
    "blocks.1.cross_attn.k_img": "blocks.1.attn2.add_k_proj",
    "blocks.0.cross_attn.v_img": "blocks.0.attn2.add_v_proj",
    "blocks.1.ffn.0": "blocks.1.ffn.net.0.proj",
    "blocks.0.ffn.2": "blocks.0.ffn.net.2",
}


def plus(value: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda w: w + value.double().reshape(w.shape)


def low_rank(naming: Callable[[str], str], down: str, up: str, alpha: float | None = None) -> File:
    numbers, tensors, dense = Numbers(5), {}, {}
    for rank, (module, (out, inside)) in enumerate(MODULES.items(), start=2):
        a, b = numbers(rank, inside), numbers(out, rank)
        tensors |= {f"{naming(module)}.{down}": a, f"{naming(module)}.{up}": b}
        if alpha is not None:
            tensors[f"{naming(module)}.alpha"] = torch.tensor(alpha)
        dense[f"{module}.weight"] = plus((1 if alpha is None else alpha / rank) * (b.double() @ a.double()))
    return tensors, dense


def peft() -> File:
    tensors, dense = low_rank(lambda m: f"transformer.{DIFFUSERS[m]}", "lora_A.weight", "lora_B.weight")
    bias = Numbers(8)(FFN)
    tensors["transformer.blocks.1.ffn.net.0.proj.lora_B.bias"] = bias
    return tensors, {**dense, "blocks.1.ffn.0.bias": plus(bias)}


def peft_prefixed() -> File:
    names = "lora_A.default.weight", "lora_B.default.weight"
    return low_rank(lambda m: f"base_model.model.{DIFFUSERS[m]}", *names)


def kohya() -> File:
    return low_rank(lambda m: "lora_unet_" + m.replace(".", "_"), "lora_down.weight", "lora_up.weight", alpha=3.0)


def kohya_fun() -> File:
    return low_rank(lambda m: "lora_unet__" + m.replace(".", "_"), "lora_down.weight", "lora_up.weight", alpha=0.75)


def comfy() -> File:
    return low_rank(lambda m: f"diffusion_model.{m}", "lora_A.weight", "lora_B.weight")


def comfy_alpha() -> File:
    return low_rank(lambda m: f"diffusion_model.{m}", "lora_down.weight", "lora_up.weight", alpha=1.0)


def diffsynth() -> File:
    return low_rank(lambda m: m, "lora_A.default.weight", "lora_B.default.weight")


def distilled() -> File:
    """lightx2v's: low rank, and differences of everything else, of biases, norms, modulations, the head."""
    tensors, dense = low_rank(lambda m: f"diffusion_model.{m}", "lora_down.weight", "lora_up.weight")
    numbers, shapes = Numbers(9), {n: p.shape for n, p in twin().named_parameters()}
    whole = {
        **{f"{m}.diff": f"{m}.weight" for m in ("blocks.0.norm3", "blocks.1.self_attn.norm_k", "head.head")},
        **{f"{m}.diff": f"{m}.weight" for m in ("patch_embedding", "img_emb.proj.0", "blocks.0.self_attn.v")},
        **{f"{m}.diff_b": f"{m}.bias" for m in ("blocks.0.norm3", "head.head", "patch_embedding", "time_projection.1")},
        **{f"{m}.diff_b": f"{m}.bias" for m in ("blocks.0.self_attn.q", "text_embedding.2", "img_emb.proj.3")},
        **{"blocks.1.diff_m": "blocks.1.modulation", "head.diff_m": "head.modulation"},
        "blocks.0.modulation.diff": "blocks.0.modulation",
    }
    for ending, target in whole.items():
        value = numbers(*shapes[target])
        tensors[f"diffusion_model.{ending}"], dense[target] = value, plus(value)
    a, b = numbers(4, *shapes["patch_embedding.weight"][1:]), numbers(WIDTH, 4, 1, 1, 1)
    place = "diffusion_model.patch_embedding"
    tensors |= {f"{place}.lora_down.weight": a, f"{place}.lora_up.weight": b}
    product = torch.einsum("or,ric...->oic...", b.flatten(1).double(), a.double())
    whole_patch = tensors["diffusion_model.patch_embedding.diff"].double() + product
    dense["patch_embedding.weight"] = plus(whole_patch)
    for module in ("time_projection.1", "time_embedding.0", "text_embedding.0", "img_emb.proj.1"):
        out, inside = shapes[f"{module}.weight"]
        a, b = numbers(3, inside), numbers(out, 3)
        tensors |= {f"diffusion_model.{module}.lora_down.weight": a, f"diffusion_model.{module}.lora_up.weight": b}
        dense[f"{module}.weight"] = plus(b.double() @ a.double())
    value = numbers(WIDTH, WIDTH)
    tensors["diffusion_model.text_embedding.2.set_weight"] = value
    dense["text_embedding.2.weight"] = lambda w: value.double()
    return tensors, dense


def loha() -> File:
    numbers, tensors, dense = Numbers(11), {}, {}
    for module, (out, inside) in MODULES.items():
        a, b, c, d = numbers(out, 3), numbers(3, inside), numbers(out, 3), numbers(3, inside)
        place = "lycoris_" + DIFFUSERS[module].replace(".", "_")
        parts = zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), (a, b, c, d))
        tensors |= {f"{place}.{name}": value for name, value in parts} | {f"{place}.alpha": torch.tensor(2.0)}
        dense[f"{module}.weight"] = plus(2 / 3 * (a.double() @ b.double()) * (c.double() @ d.double()))
    # A convolution with cores: dW[o, i] = sum over r, s of t[r, s] a[r, o] b[s, i], of two, times each other.
    place, shape = "lora_unet_patch_embedding", (2, 2, 1, 2, 2)
    t, a, b = numbers(*shape), numbers(2, WIDTH), numbers(2, 36)
    u, c, d = numbers(*shape), numbers(2, WIDTH), numbers(2, 36)
    names = ("hada_t1", "hada_w1_a", "hada_w1_b", "hada_t2", "hada_w2_a", "hada_w2_b")
    tensors |= {f"{place}.{name}": value for name, value in zip(names, (t, a, b, u, c, d))}
    tensors[f"{place}.alpha"] = torch.tensor(4.0)
    sides = [torch.einsum("rsabc,ro,si->oiabc", *(v.double() for v in three)) for three in ((t, a, b), (u, c, d))]
    dense["patch_embedding.weight"] = plus(2 * sides[0] * sides[1])
    return tensors, dense


def lokr() -> File:
    numbers, tensors, dense = Numbers(12), {}, {}

    def add(module: str, first: tuple[Tensor, ...], second: tuple[Tensor, ...], alpha: float, scale: float) -> None:
        for name, side in (("lokr_w1", first), ("lokr_w2", second)):
            ends = [""] if len(side) == 1 else ["_a", "_b"]
            tensors.update({f"diffusion_model.{module}.{name}{end}": value for end, value in zip(ends, side)})
        tensors[f"diffusion_model.{module}.alpha"] = torch.tensor(alpha)
        w1, w2 = (
            side[0].double() if len(side) == 1 else side[0].double() @ side[1].double() for side in (first, second)
        )
        blocks = [torch.cat([x * w2 for x in row], dim=1) for row in w1]  # the Kronecker product, by its definition
        dense[f"{module}.weight"] = plus(scale * torch.cat(blocks, dim=0))

    add("blocks.0.self_attn.q", (numbers(4, 6),), (numbers(9, 6),), alpha=7.0, scale=1.0)
    add("blocks.1.self_attn.k", (numbers(4, 6),), (numbers(9, 3), numbers(3, 6)), alpha=1.5, scale=0.5)
    add("blocks.1.ffn.0", (numbers(5, 2), numbers(2, 6)), (numbers(8, 6),), alpha=1.0, scale=0.5)
    add("blocks.0.ffn.2", (numbers(6, 2), numbers(2, 5)), (numbers(6, 2), numbers(2, 8)), alpha=3.0, scale=1.5)
    # The patch embedding: with a core, [36 36 1 2 2] of [4 6] and [9 6 1 2 2].
    w1, t, a, b = numbers(4, 6), numbers(2, 2, 1, 2, 2), numbers(2, 9), numbers(2, 6)
    for name, value in (("lokr_w1", w1), ("lokr_t2", t), ("lokr_w2_a", a), ("lokr_w2_b", b)):
        tensors[f"diffusion_model.patch_embedding.{name}"] = value
    w2 = torch.einsum("rsabc,ro,si->oiabc", t.double(), a.double(), b.double())
    product = torch.einsum("pq,oiabc->poqiabc", w1.double(), w2)
    dense["patch_embedding.weight"] = plus(product)
    return tensors, dense


def dora() -> File:
    tensors, _ = low_rank(lambda m: f"diffusion_model.{m}", "lora_A.weight", "lora_B.weight", alpha=4.0)
    numbers, dense = Numbers(13), {}
    for place, (module, (out, inside)) in enumerate(MODULES.items()):
        rows = place % 2 == 0  # the two conventions, on square weights too
        magnitude = numbers(out, 1).abs() + 1 if rows else numbers(1, inside).abs() + 1
        if place == 4:
            magnitude = magnitude[:, 0]  # peft keeps a plain vector
        key = "lora_magnitude_vector" if place == 4 else "dora_scale"
        tensors[f"diffusion_model.{module}.{key}"] = magnitude
        a, b = (tensors[f"diffusion_model.{module}.lora_{side}.weight"].double() for side in "AB")
        product, column = 4 / len(a) * b @ a, magnitude.double().reshape((out, 1) if rows else (1, inside))

        def made(w: Tensor, p: Tensor = product, m: Tensor = column, axis: int = int(rows)) -> Tensor:
            return m * (w + p) / (w + p).square().sum(axis, keepdim=True).sqrt()

        dense[f"{module}.weight"] = made
    return tensors, dense


FILES: dict[str, Callable[[], File]] = {
    **{"a": peft, "a prefixed": peft_prefixed, "b": kohya, "b fun": kohya_fun, "c": comfy, "c alpha": comfy_alpha},
    **{"d": distilled, "e": diffsynth, "f": loha, "g": lokr, "h": dora},
}


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("dialect", FILES)
def test_a_file_of_each_dialect_is_the_dense_sum(dialect: str, merge: bool) -> None:
    tensors, dense = FILES[dialect]()
    model = twin()
    before, bare = fingerprint(model), film(model)
    expected = film(summed(model, (dense, 0.7)))
    assert error(bare, expected) > 1e-3
    lora = Lora.read(tensors, origin=f"{dialect}.safetensors")
    with attach(model, [(lora, 0.7)], merge=merge) as attached:
        assert error(film(model), expected) < 1e-11
        [report] = attached.reports
        assert set(report.applied) == set(tensors)
        assert set(report.applied.values()) == set(dense)
        assert not report.ignored
        assert not report.mismatched
        if merge:
            reference = summed(model_of(before, twin()), (dense, 0.7)).state_dict()
            assert max(error(value, reference[name]) for name, value in model.state_dict().items()) < 1e-14
        else:
            assert fingerprint(model) == before
    assert fingerprint(model) == before
    assert torch.equal(film(model), bare)


def model_of(wanted: str, model: DiT) -> DiT:
    assert fingerprint(model) == wanted
    return model


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_several_add_up_in_any_order_and_their_strengths_can_be_changed(merge: bool) -> None:
    model = twin()
    before, files = fingerprint(model), [FILES[d]() for d in ("b", "d", "h", "g", "f")]
    loras = [Lora.read(tensors, origin=str(i)) for i, (tensors, _) in enumerate(files)]
    first, then = [0.5, 0.4, 0.8, -0.3, 0.25], [0.0, 1.0, 0.0, 0.6, 1.5]
    attached = attach(model, list(zip(loras, first)), merge=merge)
    assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, first))))) < 1e-11
    attached.change(then)
    assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, then))))) < 1e-11
    attached.change([0.0] * 5)
    assert torch.equal(film(model), film(twin()))
    attached.remove()
    assert fingerprint(model) == before
    with attach(model, list(zip(loras[::-1], first[::-1])), merge=merge):
        assert error(film(model), film(summed(twin(), *((f[1], s) for f, s in zip(files, first))))) < 1e-11
    with pytest.raises(ValueError, match="removed"):
        attached.change(first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_merge_is_rounded_once_and_both_forms_agree(dtype: torch.dtype) -> None:
    tensors, dense = distilled()
    tensors = {name: value.to(dtype) for name, value in tensors.items()}
    model, lora = twin(dtype=dtype), Lora.read(tensors, origin="d")
    before = fingerprint(model)
    with attach(model, [(lora, 1.0)], merge=False):
        unmerged = film(model)
    base = model.blocks[0].ffn[2].weight.detach().clone()
    with attach(model, [(lora, 1.0)]):
        a, b = (tensors[f"diffusion_model.blocks.0.ffn.2.lora_{side}.weight"].float() for side in ("down", "up"))
        assert torch.equal(model.blocks[0].ffn[2].weight, (base.float() + b @ a).to(dtype))
        assert error(unmerged, film(model)) < (3e-2 if dtype == torch.bfloat16 else 1e-5)
    assert fingerprint(model) == before
    if dtype == torch.float32:
        assert error(unmerged, film(summed(twin(dtype=dtype), (dense, 1.0)))) < 1e-5


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
def test_a_failure_half_way_leaves_the_network_bare(merge: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model = twin(dtype=torch.float32)
    before, whole, calls = fingerprint(model), Added.of, 0
    lora = Lora.read(distilled()[0], origin="d")

    def failing(self: Added, base: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise MemoryError("half way")
        return whole(self, base)

    monkeypatch.setattr(Added, "of", failing)
    if merge:
        with pytest.raises(MemoryError):
            attach(model, [(lora, 1.0)])
    else:
        with attach(model, [(lora, 1.0)], merge=False), pytest.raises(MemoryError):
            film(model)
    assert calls == 6
    assert fingerprint(model) == before


def test_a_strength_too_high_leaves_the_network_bare() -> None:
    model = twin(dtype=torch.float32)
    before = fingerprint(model)
    mild = Lora.read(comfy()[0], origin="mild")
    wild = Lora.read({"blocks.1.norm3.diff": torch.full((WIDTH,), 1e38)}, origin="wild")
    attached = attach(model, [(mild, 1.0), (wild, 0.0)])
    with pytest.raises(
        BadModel, match=r"blocks.1.norm3.weight: .* exceeds what torch.float32 can hold; lower the strengths"
    ):
        attached.change([1.0, 9.0])
    assert fingerprint(model) == before
    for strength in (float("nan"), float("inf"), -1e39):
        with pytest.raises(BadShot, match=r"strength: .* was asked for, and beyond 100 .*; give one from -2 to 2"):
            attach(model, [(mild, strength)])
    assert fingerprint(model) == before


def test_an_unmerged_network_that_fails_has_its_own_weights_back() -> None:
    model = twin()
    before = fingerprint(model)
    seen: list[bool] = []
    with attach(model, [(Lora.read(distilled()[0], origin="d"), 1.0)], merge=False):

        def fail(*_: object) -> None:
            seen.append(fingerprint(model) != before)
            raise RuntimeError("out of memory")

        handle = model.blocks[1].ffn[0].register_forward_hook(fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            film(model)
        handle.remove()
        assert seen == [True]
        assert fingerprint(model) == before


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_weights_of_a_read_only_map_are_never_written(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    model = twin(dtype=torch.float32)
    state = model.state_dict()
    path.write_bytes(b"".join(value.numpy().tobytes() for value in state.values()))
    table, start = np.memmap(path, dtype=np.float32, mode="r"), 0
    mapped: dict[str, Tensor] = {}
    for name, value in state.items():
        mapped[name] = torch.from_numpy(table[start : start + value.numel()]).reshape(value.shape)
        start += value.numel()
    model.load_state_dict(mapped, assign=True)
    before = fingerprint(model)
    tensors, dense = distilled()
    with attach(model, [(Lora.read(tensors, origin="d"), 1.0)]):  # a write would end the process
        assert error(film(model), film(summed(twin(dtype=torch.float32), (dense, 1.0)))) < 1e-5
    assert fingerprint(model) == before
    assert model.patch_embedding.weight.data_ptr() == mapped["patch_embedding.weight"].data_ptr()


def test_a_network_carries_one_attachment_at_a_time_and_frees_itself() -> None:
    model, lora = twin(), Lora.read(comfy()[0], origin="c")
    with attach(model, [(lora, 1.0)]), pytest.raises(ValueError, match="remove them first"):
        attach(model, [(lora, 1.0)])
    attach(model, [(lora, 1.0)], merge=False).remove()


def test_a_merge_needs_numbers_in_memory_and_an_unmerged_lora_does_not() -> None:
    model, lora = twin().to("meta"), Lora.read(comfy()[0], origin="c")
    with pytest.raises(ValueError, match="attach unmerged"):
        attach(model, [(lora, 1.0)])
    attach(model, [(lora, 1.0)], merge=False).remove()


def test_autocast_changes_the_merged_and_the_unmerged_film_alike() -> None:
    model, lora = twin(dtype=torch.float32), Lora.read(comfy()[0], origin="c")
    with torch.autocast("cpu", torch.bfloat16):
        with attach(model, [(lora, 1.0)]):
            merged = film(model)
        with attach(model, [(lora, 1.0)], merge=False):
            assert error(film(model), merged) < 3e-2


def test_a_t2v_lora_goes_on_an_i2v_network_and_the_other_way_round() -> None:
    tensors, _ = comfy()
    lora = Lora.read(tensors, origin="i2v")
    with attach(twin(image=False), [(lora, 1.0)]) as attached:
        [report] = attached.reports
        assert set(report.ignored) == {name for name in tensors if "_img" in name}
        assert set(report.ignored.values()) == {"this model takes no image"}
        assert accounted(report.applied, report.ignored, report.mismatched) == sorted(tensors)


def accounted(*tables: Mapping[str, str]) -> list[str]:
    return sorted(key for table in tables for key in table)
