"""A small network, and LoRA files for it in every dialect, each with the change it stands for written out in float64.

Shares no code with what reads such files.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

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
def film(model: DiT) -> Tensor:
    numbers, config = Numbers(3), model.config
    image = None if config.image_width is None else numbers(1, 5, config.image_width)
    x = numbers(1, config.in_channels, 2, 4, 4)
    return model(x, torch.tensor([700.0]), context=numbers(1, 6, 24), image=image)


def error(a: Tensor, b: Tensor) -> float:
    a, b = a.detach(), b.detach()
    return float((a.double() - b.double()).norm() / b.double().norm())


def fingerprint(model: DiT) -> str:
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


def convolutions() -> dict[str, tuple[dict[str, Tensor], Tensor]]:
    """Forms that only a convolution has, here the patch embedding [36 36 1 2 2], each with its change in float64."""
    numbers, shape = Numbers(14), (1, 2, 2)
    down, mid, up = numbers(3, 36, 1, 1, 1), numbers(3, 3, *shape), numbers(36, 3, 1, 1, 1)
    tucker = torch.einsum("or,rsabc,si->oiabc", up.flatten(1).double(), mid.double(), down.flatten(1).double())
    w1, w2, a, b = numbers(4, 6), numbers(9, 6, *shape), numbers(9, 2), numbers(2, 6, *shape)
    product = torch.einsum("or,riabc->oiabc", a.double(), b.double())
    whole, halves = (torch.einsum("pq,oiabc->poqiabc", w1.double(), side) for side in (w2.double(), product))
    return {
        "locon": ({"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}, tucker),
        "lokr whole": ({"lokr_w1": w1, "lokr_w2": w2}, whole),
        "lokr halves": ({"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b}, halves),
        "lokr flat": ({"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b.flatten(1)}, halves),
    }


FILES: dict[str, Callable[[], File]] = {
    **{"a": peft, "a prefixed": peft_prefixed, "b": kohya, "b fun": kohya_fun, "c": comfy, "c alpha": comfy_alpha},
    **{"d": distilled, "e": diffsynth, "f": loha, "g": lokr, "h": dora},
}
