"""LoRA files read: names, the account of every key, refusals; and equality with what peft and diffusers make of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from vitascope import tensors as files
from vitascope.checkpoints import lora_export
from vitascope.checkpoints.attaching import attach, fitting
from vitascope.checkpoints.lora import Lora
from vitascope.errors import BadModel
from vitascope.models.dit import DiT, DiTConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.loaders.lora_pipeline import WanLoraLoaderMixin
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
    from peft import LoraConfig

WIDTH, FFN = 24, 40


def numbers(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.3


def twin(*, image: int | None = None, width: int = WIDTH, layers: int = 2) -> DiT:
    channels = 16 if image is None else 36
    model = DiT(
        DiTConfig(
            width=width,
            heads=2,
            layers=layers,
            ffn=FFN,
            in_channels=channels,
            text_width=24,
            image_width=image,
        )
    )
    with torch.no_grad():
        for seed, p in enumerate(model.parameters()):
            p.copy_(numbers(*p.shape, seed=seed) / (0.3 * p[0].numel() ** 0.5 if p.ndim > 1 else 1))
    return model.eval()


def theirs(ours: DiT) -> WanTransformer3DModel:
    """diffusers' own class with the same weights, named by its own converter."""
    c = ours.config
    model = WanTransformer3DModel(
        patch_size=c.patch,
        num_attention_heads=c.heads,
        attention_head_dim=c.width // c.heads,
        in_channels=c.in_channels,
        out_channels=c.out_channels,
        text_dim=c.text_width,
        freq_dim=c.freq_width,
        ffn_dim=c.ffn,
        num_layers=c.layers,
        image_dim=c.image_width,
        added_kv_proj_dim=None if c.image_width is None else c.width,
    )
    model.load_state_dict(convert_wan_transformer_to_diffusers(dict(ours.state_dict())), strict=True)
    return model.eval()


def inputs(model: DiT) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    c = model.config
    image = None if c.image_width is None else numbers(1, 257, c.image_width, seed=3)
    # diffusers counts the image's tokens as those beyond 512.
    return numbers(1, c.in_channels, 1, 4, 4, seed=1), torch.tensor([700]), numbers(1, 512, 24, seed=2), image


@torch.no_grad()
def film(model: DiT) -> Tensor:
    x, clock, text, image = inputs(model)
    return model(x, clock, context=text, image=image)


@torch.no_grad()
def their_film(model: WanTransformer3DModel, ours: DiT) -> Tensor:
    x, clock, text, image = inputs(ours)
    return model(x, clock, text, image, return_dict=False)[0]


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).double().norm() / b.double().norm())


def opened(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, "pt") as file:
        return files.read(path), file.metadata() or {}


PEFT = {
    "plain": {"r": 4, "lora_alpha": 4},
    "alpha": {"r": 4, "lora_alpha": 6},
    "rank-stabilised": {"r": 4, "lora_alpha": 6, "use_rslora": True},
    "patterns": {
        **{"r": 4, "lora_alpha": 6},
        "rank_pattern": {"blocks.0.attn1.to_q": 2, "to_out.0": 3},
        "alpha_pattern": {"blocks.0.attn1.to_q": 5, "ffn.net.2": 1},
    },
    "bias": {"r": 2, "lora_alpha": 3, "lora_bias": True},
    "magnitudes": {"r": 3, "lora_alpha": 2, "use_dora": True},
}


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "unmerged"])
@pytest.mark.parametrize("kind", PEFT)
@pytest.mark.filterwarnings("ignore")  # of peft: its own
def test_what_peft_trained_and_diffusers_saved_gives_their_film(kind: str, merge: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ours = twin(image=20)
    other = theirs(ours)
    bare = film(ours)
    assert error(bare, their_film(other, ours)) < 1e-5
    targets = [
        "to_q",
        "to_k",
        "to_v",
        "to_out.0",
        "add_k_proj",
        "add_v_proj",
        "ffn.net.0.proj",
        "ffn.net.2",
        "time_proj",
    ]
    other.add_adapter(LoraConfig(**PEFT[kind], target_modules=targets, init_lora_weights=kind == "magnitudes"))
    with torch.no_grad():
        for name, p in other.named_parameters():
            if "lora_" in name:
                p.copy_(numbers(*p.shape, seed=len(name)) + ("magnitude" in name))
    other.save_lora_adapter(tmp_path)
    tensors, metadata = opened(tmp_path / "pytorch_lora_weights.safetensors")
    lora = Lora.read(tensors, origin="peft", metadata=metadata)
    with attach(ours, [(lora, 1.0)], merge=merge) as attached:
        assert len(attached.reports[0].applied) == len(tensors) > 20
        assert error(film(ours), their_film(other, ours)) < 1e-5
        assert error(film(ours), bare) > 1e-2
    assert torch.equal(film(ours), bare)


TRAINED = [f"{kind}_attn.{map}" for kind in ("self", "cross") for map in "qkvo"]
TRAINED += ["cross_attn.k_img", "cross_attn.v_img", "ffn.0", "ffn.2"]


def attention(naming: str, down: str, up: str, *, alpha: float | None) -> dict[str, Tensor]:
    """A file over everything that musubi trains, by any naming."""
    tensors: dict[str, Tensor] = {}
    for i in range(2):
        for leaf in TRAINED:
            module = f"blocks.{i}.{leaf}"
            name = naming + (module.replace(".", "_") if naming.endswith("_") else module)
            out, inside = (FFN if leaf == "ffn.0" else WIDTH), (FFN if leaf == "ffn.2" else WIDTH)
            tensors[f"{name}.{down}.weight"] = numbers(4, inside, seed=len(tensors))
            tensors[f"{name}.{up}.weight"] = numbers(out, 4, seed=len(tensors))
            if alpha is not None:
                tensors[f"{name}.alpha"] = torch.tensor(alpha)
    return tensors


OTHERS = {
    "kohya": attention("lora_unet_", "lora_down", "lora_up", alpha=3.0),
    "comfy": attention("diffusion_model.", "lora_A", "lora_B", alpha=None),
    "comfy alpha": attention("diffusion_model.", "lora_down", "lora_up", alpha=1.0),
    "biases": {
        **attention("diffusion_model.", "lora_down", "lora_up", alpha=None),
        "diffusion_model.blocks.1.ffn.2.diff_b": numbers(WIDTH, seed=90),
        "diffusion_model.head.head.lora_down.weight": numbers(2, WIDTH, seed=91),
        "diffusion_model.head.head.lora_up.weight": numbers(64, 2, seed=92),
    },
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.filterwarnings("ignore")
def test_what_diffusers_converts_gives_its_film_and_our_export_too(kind: str, tmp_path: Path) -> None:
    ours = twin(image=20)
    other, exported = theirs(ours), theirs(ours)
    tensors = OTHERS[kind]
    lora = Lora.read(tensors, origin=kind)
    # Copies: diffusers multiplies alpha into what it is given.
    converted = WanLoraLoaderMixin.lora_state_dict({name: value.clone() for name, value in tensors.items()})
    assert isinstance(converted, dict)
    other.load_lora_adapter(converted, prefix="transformer")
    exported.load_lora_adapter(lora_export.diffusers(lora), prefix="transformer")
    with attach(ours, [(lora, 1.0)]) as attached:
        assert set(attached.reports[0].applied) == set(tensors)
        assert error(film(ours), their_film(other, ours)) < 1e-5
        assert error(film(ours), their_film(exported, ours)) < 1e-5
    again = Lora.read(lora_export.diffusers(lora), origin="again")
    with attach(ours, [(lora, 1.0), (again, -1.0)]):
        assert error(film(ours), film(twin(image=20))) < 1e-5


def test_an_export_is_read_again_as_what_it_was(tmp_path: Path) -> None:
    tensors = {
        **{name: value for name, value in OTHERS["kohya"].items() if "_blocks_1_" in name},
        "diffusion_model.blocks.0.modulation.diff": numbers(1, 6, WIDTH, seed=1),
        "diffusion_model.blocks.0.norm3.diff_b": numbers(WIDTH, seed=2),
        "diffusion_model.text_embedding.0.set_weight": numbers(WIDTH, 24, seed=3),
        **{f"diffusion_model.blocks.0.ffn.0.hada_w{i}_a": numbers(FFN, 3, seed=4) for i in (1, 2)},
        **{f"diffusion_model.blocks.0.ffn.0.hada_w{i}_b": numbers(3, WIDTH, seed=5) for i in (1, 2)},
        "diffusion_model.blocks.0.ffn.0.alpha": torch.tensor(0.7),
        "diffusion_model.blocks.0.ffn.2.lokr_w1": numbers(4, 5, seed=6),
        "diffusion_model.blocks.0.ffn.2.lokr_w2_a": numbers(6, 3, seed=7),
        "diffusion_model.blocks.0.ffn.2.lokr_w2_b": numbers(3, 8, seed=8),
        "diffusion_model.blocks.0.self_attn.q.lora_down.weight": numbers(3, WIDTH, seed=9),
        "diffusion_model.blocks.0.self_attn.q.lora_up.weight": numbers(WIDTH, 3, seed=10),
        "diffusion_model.blocks.0.self_attn.q.dora_scale": numbers(WIDTH, 1, seed=11).abs(),
    }
    lora = Lora.read(tensors, origin="x")
    named = lora_export.comfyui(lora)
    files.write(tmp_path / "x.safetensors", named)
    again = Lora.read(files.read(tmp_path / "x.safetensors"), origin="x")
    before, after = ({change.target: change.delta for change in file.changes} for file in (lora, again))
    assert set(before) == set(after)
    assert not again.ignored
    base = dict(twin(image=20).named_parameters())
    for target, delta in before.items():
        assert torch.equal(delta.of(base[target].detach()), after[target].of(base[target].detach()))
    with pytest.raises(BadModel, match=r"x: it was to be written for diffusers, .* write it for ComfyUI\.$"):
        lora_export.diffusers(lora)


def test_the_difference_of_two_models_is_the_nearest_lora() -> None:
    base, tuned = twin(), twin()
    factors = numbers(WIDTH, 2, seed=1), numbers(2, WIDTH, seed=2)
    changes = {
        "blocks.0.self_attn.q.weight": factors[0] @ factors[1],
        "blocks.1.modulation": torch.tensor(0.1),
        "patch_embedding.weight": numbers(WIDTH, 16, 1, 2, 2, seed=3),
        "head.head.bias": torch.tensor(0.2),
    }
    with torch.no_grad():
        for name, change in changes.items():
            tuned.get_parameter(name).add_(change)
    lora = lora_export.difference(base.state_dict(), tuned.state_dict(), rank=2, origin="d")
    found = {change.target: change.delta for change in lora.changes}
    assert set(found) == set(changes)
    of = {name: delta.of(base.get_parameter(name).detach()) for name, delta in found.items()}
    assert error(of["blocks.0.self_attn.q.weight"], factors[0] @ factors[1]) < 1e-5
    patch = (tuned.patch_embedding.weight - base.patch_embedding.weight).detach()
    rest = torch.linalg.svdvals(patch.flatten(1).double())[2:].norm()
    assert float((of["patch_embedding.weight"] - patch).norm()) == pytest.approx(float(rest), rel=1e-5)
    whole = lora_export.difference(base.state_dict(), tuned.state_dict(), rank=99, origin="d")
    again = Lora.read(lora_export.comfyui(whole), origin="again")
    with attach(base, [(again, 1.0)]):
        assert error(film(base), film(tuned)) < 1e-5
    with pytest.raises(BadModel, match="the two models are the same"):
        lora_export.difference(base.state_dict(), base.state_dict(), rank=2, origin="d")
    with pytest.raises(BadModel, match=r"differ in patch_embedding.weight itself"):
        lora_export.difference(base.state_dict(), twin(image=20).state_dict(), rank=2, origin="d")


def pair(name: str, out: int = WIDTH, inside: int = WIDTH, rank: int = 2) -> dict[str, Tensor]:
    down, up = numbers(rank, inside, seed=1), numbers(out, rank, seed=2)
    return {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}


def test_every_key_is_accounted_for_with_its_reason() -> None:
    one = torch.ones(WIDTH)
    tensors = {
        **pair("transformer.blocks.0.attn1.to_q"),
        **pair("transformer.blocks.1.attn1.to_k"),
        **pair("transformer.blocks.1.attn2.to_v", inside=WIDTH + 1),
        **pair("transformer.blocks.0.attn2.add_k_proj"),
        **pair("transformer.blocks.7.attn1.to_q"),
        **pair("transformer.vace_blocks.0.attn1.to_q"),
        **pair("transformer_2.blocks.0.attn1.to_q"),
        "transformer.blocks.0.attn2.norm_added_q.diff": one,
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": one,
        "transformer.blocks.0.attn1.to_k.oft_blocks": one,
        "transformer.single_blocks.3.linear.diff": one,
        "transformer.blocks.0.norm2.dora_scale": one,
    }
    lora = Lora.read(tensors, origin="mixed")
    report = fitting(twin(), lora)
    assert sorted([*report.applied, *report.ignored, *report.mismatched]) == sorted(tensors)
    assert set(report.applied) == {*pair("transformer.blocks.0.attn1.to_q"), *pair("transformer.blocks.1.attn1.to_k")}
    assert set(report.mismatched) == set(pair("transformer.blocks.1.attn2.to_v"))
    assert set(report.mismatched.values()) == {
        f"blocks.1.cross_attn.v.weight: down 2x{WIDTH + 1} and up {WIDTH}x2 where the weight is {WIDTH}x{WIDTH}"
    }
    reasons = {
        "transformer.blocks.0.attn2.add_k_proj.lora_A.weight": "this model takes no image",
        "transformer.blocks.7.attn1.to_q.lora_A.weight": "this model has 2 blocks",
        "transformer.vace_blocks.0.attn1.to_q.lora_B.weight": "no VACE",
        "transformer_2.blocks.0.attn1.to_q.lora_A.weight": "transformer 2, and this is transformer 1",
        "transformer.blocks.0.attn2.norm_added_q.diff": "old diffusers files",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": "text encoder",
        "transformer.blocks.0.attn1.to_k.oft_blocks": "ending",
        "transformer.single_blocks.3.linear.diff": "names nothing that a Wan",
        "transformer.blocks.0.norm2.dora_scale": "no change of blocks.0.norm3",
    }
    assert all(reason in report.ignored[key] for key, reason in reasons.items())
    told = str(report)
    assert told.startswith(f"mixed: 4 of {len(tensors)} keys change 2 weights\n")
    assert "  not fitting: 2 (transformer.blocks.1.attn2.to_v.lora_A.weight, ...): blocks.1" in told
    second = Lora.read(tensors, origin="mixed", expert=2)
    assert [change.target for change in second.changes] == ["blocks.0.self_attn.q.weight"]


NAN = {**pair("blocks.0.ffn.0", out=FFN), "blocks.1.norm3.diff": torch.full((WIDTH,), float("nan"))}
HALF = {"blocks.0.ffn.0.lora_A.weight": torch.ones(2, WIDTH)}
TWICE = pair("diffusion_model.blocks.0.self_attn.q") | pair("transformer.blocks.0.attn1.to_q")
NOTES = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": "eight"})}


@pytest.mark.parametrize(
    ("tensors", "notes", "told"),
    [
        ({}, {}, "it holds no tensors; give a LoRA made for Wan"),
        (pair("lora_unet_down_blocks_0_attentions_0.to_q"), {}, "of its 2 tensors none changes a Wan transformer"),
        (dict(twin().state_dict()), {}, "a LoRA was wanted and it looks like a video transformer of Wan's form"),
        (NAN, {}, r"blocks.1.norm3.diff holds numbers that are not finite, .* fetch the file again"),
        (HALF, {}, r"of blocks.0.ffn.0 it lacks up, .* fetch the file again"),
        (TWICE, {}, "say the same of blocks.0.self_attn.q"),
        (pair("lora_unet_blocks_0_ffn_0"), {}, r"lora_unet_blocks_0_ffn_0 has no .alpha, .* cannot be known"),
        ({**pair("blocks.0.ffn.0"), "blocks.0.ffn.0.alpha": torch.ones(3)}, {}, "holds 3 numbers and one was wanted"),
        ({"blocks.0.ffn.0.diff": torch.ones(2, dtype=torch.int8)}, {}, "holds torch.int8, and floating-point"),
        ({"blocks.0.ffn.0.diff": torch.ones(0, 4)}, {}, r"has the shape \[0, 4\], which no weight has"),
        (pair("transformer.blocks.0.attn1.to_q"), NOTES, r"its notes .* \(lora_alpha is no number\)"),
        (
            pair("blocks.0.ffn.0"),
            {"lora_adapter_metadata": "{" * 9},
            r"its notes \(lora_adapter_metadata\) cannot be read",
        ),
        ({"blocks.0.ffn.0.lokr_w1": torch.ones(2, 2)}, {}, "of blocks.0.ffn.0 it lacks lokr_w2"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_a_sentence(
    tensors: dict[str, Tensor], notes: dict[str, str], told: str
) -> None:
    with pytest.raises(BadModel, match=f"^file: .*{told}.*\\.$"):
        Lora.read(tensors, origin="file", metadata=notes)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        (attention("diffusion_model.", "lora_A", "lora_B", alpha=None), r"for 0 of its 24 changes .* 3[26]x3[26]|x"),
        (pair("blocks.0.attn1.to_q", rank=WIDTH + 1), rf"a rank of {WIDTH + 1} where 1 to {WIDTH} has a meaning"),
        (pair("blocks.30.ffn.0", out=FFN), "this model has 2 blocks"),
        (
            {"blocks.0.ffn.0.lora_A.weight": torch.ones(2, 4), "blocks.0.ffn.0.lora_B.weight": torch.ones(4, 3)},
            "one rank",
        ),
        (
            {"blocks.0.ffn.0.lokr_w1": torch.ones(2, 7), "blocks.0.ffn.0.lokr_w2": torch.ones(9, 9)},
            "factors 2x7 and 9x9",
        ),
        ({**pair("blocks.0.self_attn.q"), "blocks.0.self_attn.q.dora_scale": torch.ones(7)}, "a magnitude of 7"),
    ],
)
def test_a_lora_of_another_model_is_refused_and_nothing_changes(tensors: dict[str, Tensor], told: str) -> None:
    model = twin(width=36) if len(tensors) > 9 else twin()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for merge in (True, False):
        with pytest.raises(
            BadModel, match=f"^x: this LoRA was made for another model, .*{told}.*; take one made for .*\\.$"
        ):
            attach(model, [(Lora.read(tensors, origin="x"), 1.0)], merge=merge)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    attach(model, []).remove()
