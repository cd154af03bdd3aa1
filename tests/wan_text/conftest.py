"""A small SentencePiece model of many scripts, trained here; and transformers' own tokeniser on it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import sentencepiece

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import AutoTokenizer
    from transformers.convert_slow_tokenizer import T5Converter

LINES = (
    "The quick brown fox jumps over the lazy dog.",
    "Two anthropomorphic cats in boxing gear fight on a stage with spotlights.",
    "一只白猫戴着太阳镜坐在冲浪板上，背景是模糊的海滩。",
    "Ein roter Ball hüpft über den Zaun; l'été à la plage, café crème",
    "красный мяч прыгает через забор",
    "a red ball & a blue box, it's 5 < 6 > 4 (really?)",
    "猫がボールで遊ぶ 😀 🎈",
)


def trained(**options: Any) -> bytes:
    """The bytes of a spiece.model with the ids of UMT5: pad 0, </s> 1, <s> 2, <unk> 3."""
    out = io.BytesIO()
    asked: dict[str, Any] = {"vocab_size": 400, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3} | options
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES * 30),
        model_writer=out,
        model_type="unigram",
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
        **asked,
    )
    return out.getvalue()


def transformers_folder(folder: Path, model: bytes) -> Path:
    """The folder that transformers itself would write for this model: tokenizer.json and its companions."""
    (folder / "spiece.model").write_bytes(model)
    asked = SimpleNamespace(
        vocab_file=str(folder / "spiece.model"), _extra_ids=300, convert_tokens_to_ids=lambda name: {"</s>": 1}[name]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = T5Converter(asked).converted()
    made.add_special_tokens([f"<extra_id_{n}>" for n in range(300)] + ["<pad>", "</s>", "<unk>"])
    made.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text('{"model_type": "umt5"}')
    (folder / "tokenizer_config.json").write_text(
        '{"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "model_max_length": 512}'
    )
    return folder


def oracle(folder: Path) -> Any:
    """transformers' tokeniser of such a folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return AutoTokenizer.from_pretrained(folder)


class Twin(NamedTuple):
    """A folder as transformers writes it, the model it was made of, and transformers' own tokeniser on it."""

    folder: Path
    model: bytes
    theirs: Any

    @property
    def json(self) -> str:
        return (self.folder / "tokenizer.json").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Twin:
    model = trained()
    folder = transformers_folder(tmp_path_factory.mktemp("umt5"), model)
    return Twin(folder, model, oracle(folder))


@pytest.fixture(scope="session")
def with_bytes() -> bytes:
    """A model that knows few characters, and spells the others by their bytes."""
    return trained(byte_fallback=True, character_coverage=0.98, vocab_size=420)
