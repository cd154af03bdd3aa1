"""The parts of a small Wan 2.1 with random weights: diffusers' and transformers' own modules, and a tokenizer."""

from __future__ import annotations

import functools
import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import sentencepiece
import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor, nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
    from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

Variant = Literal["t2v", "i2v", "flf2v", "vace"]
TEXT_WIDTH, IMAGE_WIDTH, IMAGE_LAYERS, EMBED = 64, 160, 3, 48
CORPUS = (
    "a red fox runs over the snow at night while the camera turns slowly around it",
    "two boats sail on a calm lake, mountains behind them and a bright sky above",
    "an old man drinks tea in a small cafe; rain falls on the window, warm light",
    "bright tones, overexposed, static, blurred details, subtitles, style, works, paintings",
    "worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers",
    "still picture, messy background, three legs, many people in the background, walking backwards",
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰",
    "最差质量，低质量，残留，丑陋的，残缺的，多余的手指，杂乱的背景，三条腿，倒着走",
)


@dataclass(frozen=True)
class Twin:
    """The parts of a small Wan, as diffusers and transformers make them. Shared between tests: never change a weight."""

    variant: Variant
    transformer: Any
    vae: AutoencoderKLWan
    text: UMT5EncoderModel
    tokenizer: Mapping[str, bytes]
    """The files of the tokenizer's folder, by name."""
    image: CLIPVisionModel | None
    projection: Tensor
    """[EMBED, d]: of the image tower's published file; nothing that makes a film reads it."""


@functools.cache
def twin(
    variant: Variant = "t2v",
    *,
    head: int = 24,
    heads: int = 2,
    layers: int = 2,
    short: bool = True,
    seed: int = 0,
) -> Twin:
    """A twin whose transformer has `heads` of width `head`; its VAE has Wan's 194 tensors, 8 channels to a base of 96."""
    generator = torch.Generator().manual_seed(seed)
    pictured = variant in ("i2v", "flf2v")
    sizes: dict[str, Any] = {
        "num_attention_heads": heads,
        "attention_head_dim": head,
        "in_channels": 36 if pictured else 16,
        "text_dim": TEXT_WIDTH,
        "ffn_dim": 2 * head * heads,
        "num_layers": layers,
    }
    if pictured:
        sizes |= {"image_dim": IMAGE_WIDTH, "added_kv_proj_dim": head * heads}
        sizes["pos_embed_seq_len"] = 514 if variant == "flf2v" else None
    if variant == "vace":
        transformer: nn.Module = WanVACETransformer3DModel(**sizes, vace_layers=list(range(0, layers, 2)))
    else:
        transformer = WanTransformer3DModel(**sizes)
    vae = AutoencoderKLWan(base_dim=8)
    tokenizer, vocab = _tokenizer()
    text = UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocab,
            d_model=TEXT_WIDTH,
            d_kv=16,
            d_ff=160,
            num_layers=2,
            num_heads=4,
            tie_word_embeddings=False,  # pyright: ignore[reportCallIssue]
            dropout_rate=0.0,
        )
    )
    image = CLIPVisionModel(_image_config()) if pictured else None
    for module in (transformer, vae, text, image):
        if module is not None:
            _randomise(module, generator, short)
            module.eval().requires_grad_(False)
    projection = _short(torch.randn(EMBED, IMAGE_WIDTH, generator=generator) * IMAGE_WIDTH**-0.5)
    return Twin(variant, transformer, vae, text, tokenizer, image, projection)


def _image_config() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=IMAGE_WIDTH,
        intermediate_size=4 * IMAGE_WIDTH,
        num_hidden_layers=IMAGE_LAYERS,
        num_attention_heads=IMAGE_WIDTH // 80,
        projection_dim=EMBED,
        image_size=224,
        patch_size=14,
        hidden_act="gelu",
    )


def _randomise(module: nn.Module, generator: torch.Generator, short: bool) -> None:
    """Every parameter, so that a part that starts at zero or one hides no mistake; signals keep their size."""
    for name, p in module.named_parameters():
        x = torch.randn(p.shape, generator=generator)
        if name.endswith("bias"):
            x = 0.05 * x
        elif p.squeeze().ndim == 1 and ("norm" in name or "gamma" in name):
            x = 1 + 0.1 * x
        elif "scale_shift_table" in name:
            x = x / p.shape[-1] ** 0.5
        elif "embedding" in name or "pos_embed" in name or name == "shared.weight":
            x = 0.3 * x
        elif name.endswith("SelfAttention.q.weight"):  # UMT5 divides no product of q and k by its width
            x = x * (p[0].numel() * 16) ** -0.5
        else:
            x = x * p[0].numel() ** -0.5
        p.data.copy_(_short(x) if short else x)


def _short(x: Tensor) -> Tensor:
    """The nearest values that float16 and bfloat16 both hold."""
    return x.bfloat16().half().float()


@functools.cache
def _tokenizer() -> tuple[dict[str, bytes], int]:
    """A tokenizer like UMT5's, with the ids of its marks, and how many tokens its network knows."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS),
        model_writer=model,
        vocab_size=400,
        hard_vocab_limit=False,
        character_coverage=1.0,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        num_threads=1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    count = pieces.get_piece_size()
    extra = [f"<extra_id_{i}>" for i in reversed(range(300))]
    vocab = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(count)] + [(name, 0.0) for name in extra]
    fast = Tokenizer(Unigram(vocab, unk_id=3, byte_fallback=False))
    fast.normalizer = normalizers.Precompiled(_field(_field(model.getvalue(), 3), 2))  # type: ignore[assignment]
    metaspace = {"replacement": "▁", "prepend_scheme": "always"}
    fast.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**metaspace)]  # type: ignore[arg-type]
    )
    fast.decoder = decoders.Metaspace(**metaspace)  # type: ignore[assignment]
    fast.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])  # type: ignore[assignment]
    fast.add_special_tokens(["<pad>", "</s>", "<unk>", *extra])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {**marks, "bos_token": "<s>", "extra_ids": 300, "additional_special_tokens": extra, "sp_model_kwargs": {}}
    config |= {"tokenizer_class": "T5Tokenizer", "model_max_length": 1000000000000000019884624838656}
    files = {
        "spiece.model": model.getvalue(),
        "tokenizer.json": fast.to_str().encode(),
        "tokenizer_config.json": json.dumps(config).encode(),
        "special_tokens_map.json": json.dumps({**marks, "additional_special_tokens": extra}).encode(),
    }
    return files, -(-(count + 300) // 128) * 128


def _field(message: bytes, wanted: int) -> bytes:
    """The first field of this number and of wire type 2 in a protobuf message."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        size = {1: 8, 5: 4}.get(key & 7, 0) if key & 7 in (1, 5) else varint()
        if key & 7 != 0:
            if key == wanted << 3 | 2:
                return message[at : at + size]
            at += size
    raise ValueError(f"no field {wanted}")
