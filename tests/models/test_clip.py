"""CLIP: equal to transformers' class on the same weights, and the laws of its towers and its loss."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vitascope.models.clip import CLIP, VIT_H_14, CLIPConfig, VisionTransformer, contrastive

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import CLIPConfig as OtherConfig
    from transformers import CLIPModel, CLIPVisionConfig, CLIPVisionModel

VOCAB, END = 40, 39
TO_TRANSFORMERS = (
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.conv1", "vision_model.embeddings.patch_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.ln_pre", "vision_model.pre_layrnorm"),
    ("visual.ln_post", "vision_model.post_layernorm"),
    ("visual.transformer.resblocks", "vision_model.encoder.layers"),
    ("ln_final", "text_model.final_layer_norm"),
    ("token_embedding", "text_model.embeddings.token_embedding"),
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def error(a: Tensor, b: Tensor) -> float:
    return float((a - b).detach().double().norm() / b.detach().double().norm())


def made(*, seed: int = 0, image: tuple[int, int] = (16, 32), causal: bool = True, quick_gelu: bool = False) -> CLIP:
    torch.manual_seed(seed)
    config = CLIPConfig(
        vocab=VOCAB,
        text_length=10,
        text_width=24,
        text_layers=2,
        text_heads=2,
        image=image,
        patch=8,
        vision_width=32,
        vision_layers=3,
        vision_heads=4,
        causal=causal,
        quick_gelu=quick_gelu,
    )
    return CLIP(config)


def randomise(model: CLIP) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            std = p.shape[-1] ** -0.5 if p.ndim > 1 else 0.5
            p.copy_(torch.randn(p.shape, generator=generator) * std)


def renamed(model: CLIP) -> dict[str, Tensor]:
    """Our (OpenAI's) state under transformers' names."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        for ours, theirs in TO_TRANSFORMERS:
            name = name.replace(ours, theirs)
        if name.startswith("transformer.resblocks"):
            name = name.replace("transformer.resblocks", "text_model.encoder.layers")
        if "attn.in_proj_" in name:
            stem, kind = name.split("attn.in_proj_")
            for letter, part in zip("qkv", value.chunk(3)):
                state[f"{stem}self_attn.{letter}_proj.{kind}"] = part
        elif name == "visual.proj":
            state["visual_projection.weight"] = value.mT
        elif name == "text_projection":
            state["text_projection.weight"] = value.mT
        elif name == "positional_embedding":
            state["text_model.embeddings.position_embedding.weight"] = value
        else:
            state[name] = value
    return state


def oracle(model: CLIP) -> CLIPModel:
    c = model.config
    shared = {"hidden_act": "quick_gelu" if c.quick_gelu else "gelu", "projection_dim": c.embed}
    text = {
        "vocab_size": c.vocab,
        "hidden_size": c.text_width,
        "intermediate_size": 4 * c.text_width,
        "num_hidden_layers": c.text_layers,
        "num_attention_heads": c.text_heads,
        "max_position_embeddings": c.text_length,
        "eos_token_id": END,
        "bos_token_id": 0,
        "pad_token_id": 1,
    }
    vision = {
        "hidden_size": c.vision_width,
        "intermediate_size": 4 * c.vision_width,
        "num_hidden_layers": c.vision_layers,
        "num_attention_heads": c.vision_heads,
        "image_size": c.image[0],
        "patch_size": c.patch,
    }
    config = OtherConfig(text_config=text | shared, vision_config=vision | shared, projection_dim=c.embed)
    other = CLIPModel(config).eval()
    missing, unexpected = other.load_state_dict(renamed(model), strict=False)
    assert not unexpected
    assert not [name for name in missing if "position_ids" not in name]
    return other


def sentences(rows: int, lengths: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random words, the end-of-text token, padding of ones; and the mask of what is real."""
    tokens = torch.randint(2, END, (rows, 10), generator=torch.Generator().manual_seed(seed))
    mask = torch.arange(10) < torch.tensor(lengths)[:, None]
    tokens[torch.arange(rows), torch.tensor(lengths) - 1] = END
    return tokens.where(mask, 1), mask


@pytest.mark.parametrize("quick_gelu", [False, True])
@torch.no_grad()
def test_equal_to_transformers(quick_gelu: bool) -> None:
    model = made(image=(24, 24), quick_gelu=quick_gelu)
    randomise(model)
    other = oracle(model)
    tokens, mask = sentences(3, (10, 6, 3))
    frames = draw(3, 3, 24, 24).clamp(-1, 1)
    states, text = model.encode_text(tokens, mask)
    image = model.encode_image(frames)
    theirs = other(input_ids=tokens, pixel_values=frames)
    assert error(states, theirs.text_model_output.last_hidden_state) < 1e-5
    assert error(text, theirs.text_embeds) < 1e-5
    assert error(image, theirs.image_embeds) < 1e-5
    logits = model.logit_scale.exp() * image @ text.mT
    assert error(logits, theirs.logits_per_image) < 1e-5
    deep = other.vision_model(pixel_values=frames, output_hidden_states=True).hidden_states
    assert error(model.visual.states(frames, model.config.vision_layers - 1), deep[-2]) < 1e-5


def test_names_are_openais() -> None:
    with torch.device("meta"):
        config = CLIPConfig(49408, 77, 512, 12, 8, (224, 224), 32, 768, 12, 12, quick_gelu=True)
        state = CLIP(config).state_dict()
    assert len(state) == 302
    assert sum(value.numel() for value in state.values()) == 151_277_313  # ViT-B/32, as published
    expected = {
        "visual.conv1.weight": (768, 3, 32, 32),
        "visual.positional_embedding": (50, 768),
        "visual.proj": (768, 512),
        "visual.transformer.resblocks.11.attn.in_proj_weight": (2304, 768),
        "transformer.resblocks.11.mlp.c_fc.bias": (2048,),
        "text_projection": (512, 512),
        "logit_scale": (),
    }
    assert {name: tuple(state[name].shape) for name in expected} == expected


@torch.no_grad()
def test_what_each_tower_sees() -> None:
    tokens, mask = sentences(2, (4, 7))
    other = tokens.where(mask, 17)  # other padding
    later = tokens.clone()
    later[:, 3:] = 5
    causal, full = made(causal=True), made(causal=False)
    for model in (causal, full):
        states, text = model.encode_text(tokens, mask)
        changed, same = model.encode_text(other, mask)
        torch.testing.assert_close(same, text)
        torch.testing.assert_close(changed[mask], states[mask])
        alone_states, alone = model.encode_text(tokens[:1, :4])
        torch.testing.assert_close(text[:1], alone)  # the last real token; without a mask the last
        torch.testing.assert_close(states[:1, :4], alone_states)
    assert error(causal.encode_text(later)[0][:, :3], causal.encode_text(tokens)[0][:, :3]) < 1e-6
    assert error(full.encode_text(later)[0][:, :3], full.encode_text(tokens)[0][:, :3]) > 1e-3


@torch.no_grad()
def test_a_video_is_the_mean_of_its_frames() -> None:
    model = made()
    video = draw(2, 3, 5, 16, 32).clamp(-1, 1)
    embedding = model.encode_video(video)
    frames = torch.stack([model.encode_image(video[:, :, i]) for i in range(5)], 1)
    assert embedding.shape == (2, 512)
    torch.testing.assert_close(embedding, frames.mean(1) / frames.mean(1).norm(dim=-1, keepdim=True))
    torch.testing.assert_close(embedding.norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(model.encode_video(video[:, :, [4, 2, 0, 1, 3]]), embedding)
    still = video[:, :, :1]
    torch.testing.assert_close(model.encode_video(still.expand(-1, -1, 4, -1, -1)), model.encode_image(still[:, :, 0]))


@torch.no_grad()
def test_pixels_are_normalised_as_the_tower_was_trained() -> None:
    """Frames come in [-1, 1]; a tower trained on (p - mean) / std of pixels p in [0, 1] gets just that."""
    plain = made()
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    told = CLIP(replace(plain.config, mean=mean, std=std))
    told.load_state_dict(plain.state_dict())
    frames = draw(2, 3, 16, 32).clamp(-1, 1)
    by_hand = ((frames + 1) / 2 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(told.encode_image(frames), plain.encode_image(by_hand))


def test_the_loss() -> None:
    a, b = (torch.nn.functional.normalize(draw(6, 8, seed=i), dim=-1) for i in range(2))
    scale = torch.tensor(7.0)
    torch.testing.assert_close(contrastive(a, b, scale), contrastive(b, a, scale))  # symmetric
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    torch.testing.assert_close(contrastive(a[order], b[order], scale), contrastive(a, b, scale))
    same = a[:1].expand(6, -1)
    assert contrastive(same, same, 50.0).item() == pytest.approx(math.log(6), rel=1e-6)  # they say nothing
    assert contrastive(a, a, 1000.0).item() < 1e-3
    assert contrastive(a, a[order], 1000.0).item() > 1
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(contrastive(a, b, scale), contrastive(b, a, scale), rtol=0, atol=0)
        assert contrastive(a, b, scale).dtype == torch.float32


def test_the_temperature() -> None:
    model = made()
    assert model.scale.item() == pytest.approx(1 / 0.07, rel=1e-6)
    with torch.no_grad():
        model.logit_scale.fill_(6.0)
    assert model.scale.item() == pytest.approx(100, rel=1e-6)
    model.scale.backward()
    assert model.logit_scale.grad is not None
    assert model.logit_scale.grad.item() > 0  # it can find its way back


def test_eight_pairs_are_learned() -> None:
    model = made(causal=False)
    tokens, mask = sentences(8, (3, 4, 5, 6, 7, 8, 9, 10))
    video = draw(8, 3, 2, 16, 32).clamp(-1, 1)
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(40):
        _, text = model.encode_text(tokens, mask)
        loss = contrastive(model.encode_video(video), text, model.scale)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert not [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    match = model.encode_video(video) @ model.encode_text(tokens, mask)[1].mT
    assert match.argmax(0).tolist() == match.argmax(1).tolist() == list(range(8))
    assert loss.item() < 0.1


@torch.no_grad()
def test_bf16_is_near() -> None:
    model = made(causal=False)
    tokens, mask = sentences(3, (10, 6, 3))
    frames = draw(3, 3, 16, 32).clamp(-1, 1)
    states, text = model.encode_text(tokens, mask)
    image = model.encode_image(frames)
    with torch.autocast("cpu", torch.bfloat16):
        for half, full in zip((*model.encode_text(tokens, mask), model.encode_image(frames)), (states, text, image)):
            assert half.dtype == torch.float32
            assert error(half, full) < 0.02


def test_wrong_shapes_are_refused() -> None:
    model = made()
    tokens = torch.zeros(2, 5, dtype=torch.long)
    with pytest.raises(ValueError, match="l <= 10"):
        model.encode_text(torch.zeros(2, 11, dtype=torch.long))
    with pytest.raises(ValueError, match="expected bool"):
        model.encode_text(tokens, torch.ones(2, 5))
    with pytest.raises(ValueError, match=r"expected \[b 3 16 32\]"):
        model.encode_image(draw(1, 3, 32, 16))
    with pytest.raises(ValueError, match=r"expected \[b 3 t h w\]"):
        model.encode_video(draw(1, 3, 16, 32))
    with pytest.raises(ValueError, match="heads must divide"):
        replace(model.config, text_heads=5)
    with pytest.raises(ValueError, match="patch must divide"):
        replace(model.config, image=(16, 20))


def wide_tower() -> tuple[VisionTransformer, CLIPVisionModel]:
    """A small twin of ViT-H/14, pre-norm and exact GELU, with an oracle of the same weights."""
    config = CLIPConfig.of_images((28, 28), 14, 80, 4, 5, ffn=4 * 80, embed=24)
    tower = VisionTransformer(config)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in tower.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (p.shape[-1] ** -0.5 if p.ndim > 1 else 0.5))
    other = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=80,
            intermediate_size=320,
            num_hidden_layers=4,
            num_attention_heads=5,
            image_size=28,
            patch_size=14,
            hidden_act="gelu",
            layer_norm_eps=1e-5,
        )
    ).eval()
    wanted = set(other.state_dict())
    state = {}
    for name, value in renamed_tower(tower).items():
        name = name if name in wanted else name.removeprefix("vision_model.")
        if name in wanted:
            state[name] = value
    missing, _ = other.load_state_dict(state, strict=False)
    assert not [name for name in missing if "position_ids" not in name]
    return tower, other


def renamed_tower(tower: VisionTransformer) -> dict[str, Tensor]:
    """The tower's state under transformers' names, q, k and v apart."""
    holder = made()
    holder.visual = tower
    return {name: value for name, value in renamed(holder).items() if name.startswith("vision_model.")}


@torch.no_grad()
def test_the_image_tower_alone_is_transformers() -> None:
    tower, other = wide_tower()
    pixels = draw(2, 3, 28, 28)
    deep = other(pixel_values=pixels, output_hidden_states=True).hidden_states
    assert tower.conv1.bias is None
    for layers in range(1, 5):
        assert error(tower.states(pixels, layers), deep[layers]) < 1e-5
    assert error(tower.states(pixels, 3), deep[-2]) < 1e-5  # what Wan reads
    assert error(tower.states(pixels), deep[-2]) > 0.1  # and one block more is something else


def test_the_tower_of_wan_from_its_config() -> None:
    with torch.device("meta"):
        state = VisionTransformer(VIT_H_14).state_dict()
    assert {value.device.type for value in state.values()} == {"meta"}
    assert state["positional_embedding"].shape == (257, 1280)
    assert state["transformer.resblocks.31.attn.in_proj_weight"].shape == (3840, 1280)
    assert state["transformer.resblocks.0.mlp.c_fc.weight"].shape == (5120, 1280)
    # OpenCLIP's ViT-H/14 as published: 632 million parameters
    assert sum(value.numel() for value in state.values()) == 632_076_800
