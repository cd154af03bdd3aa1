"""T5's tokens: those of transformers and of SentencePiece, from either file; what is cut off and unknown is told."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vitascope.errors import BadModel, BadPrompt
from vitascope.wan_text import T5Words, clean, left_undone

TEXTS = (
    "Two anthropomorphic cats in boxing gear fight on a spotlighted stage.",
    "一只白猫戴着太阳镜坐在冲浪板上，背景是模糊的海滩。",
    "a 😀 and 👩‍👩‍👧 and 🎈🎈",
    "first line\nsecond line\r\n\tthird",
    "fish &amp;amp; chips &lt;b&gt; 5 &#60; 6",
    "an <extra_id_0> in prose, x<extra_id_12>y <extra_id_299>",
    "two  spaces   and    more ",
    "  in front",
    "</s> and <pad> and <s> and <unk> inside",
    "ﬁne ½ ＦＵＬＬ　ｗｉｄｔｈ é e\u0301 \u200bzero\u00a0space",
    "красный мяч; שלום עולם; नमस्ते; ภาษาไทย",
    "",
    "   ",
    "▁ meta▁space",
    "x",
)


def theirs(twin: Any, text: str, length: int = 512) -> list[int]:
    return twin.theirs(text, truncation=True, max_length=length)["input_ids"]


@pytest.mark.parametrize("source", ["json", "spiece", "tensor", "folder"])
def test_the_ids_are_those_of_transformers(twin: Any, source: str) -> None:
    if source == "json":
        words = T5Words.parse(twin.json)
    elif source == "spiece":
        words = T5Words.read(twin.folder / "spiece.model")
    elif source == "tensor":
        words = T5Words.spiece(torch.frombuffer(bytearray(twin.model), dtype=torch.uint8))
    else:
        words = T5Words.read(twin.folder)
    for text in (*TEXTS, *map(clean, TEXTS)):
        assert words.tokens(text)[0] == theirs(twin, text), text
    long = " ".join(TEXTS)
    for length in (1, 2, 7, 30):
        assert words.tokens(long, length)[0] == theirs(twin, long, length)
    pieces = len(sentencepiece.SentencePieceProcessor(model_proto=twin.model))  # type: ignore[arg-type, call-arg]
    assert words.tokens("<extra_id_299> <extra_id_0>")[0] == [pieces, pieces + 299, 1]
    assert len(words) == pieces + 300


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=40) | st.text("ab猫<>_extraid0 9/s\n", max_size=40))
def test_any_text_has_the_ids_of_transformers(twin: Any, text: str) -> None:
    wanted = theirs(twin, text)
    assert _words(twin, "json").tokens(text)[0] == wanted
    assert _words(twin, "spiece").tokens(text)[0] == wanted


_MADE: dict[tuple[str, int], T5Words] = {}


def _words(twin: Any, source: str) -> T5Words:
    key = (source, id(twin))
    if key not in _MADE:
        _MADE[key] = T5Words.parse(twin.json) if source == "json" else T5Words.spiece(twin.model)
    return _MADE[key]


def test_the_ids_are_those_of_sentencepiece(twin: Any, with_bytes: bytes) -> None:
    # For SentencePiece itself a special token in a text is letters like others.
    texts = [clean(text) for text in TEXTS if not any(name in text for name in ("<extra_id", "</s>"))]
    assert len(texts) > 10
    for model in (twin.model, with_bytes):
        other = sentencepiece.SentencePieceProcessor(model_proto=model)  # type: ignore[call-arg]
        words = T5Words.spiece(model)
        for text in texts:
            assert words.tokens(text)[0] == [*other.encode(text), 1], text


def test_what_does_not_fit_is_told(twin: Any) -> None:
    words = _words(twin, "json")
    prompt = clean("Two anthropomorphic cats, 一只白猫戴着太阳镜, in boxing gear fight on a stage 🎈 with spotlights")
    ids, cut = words.tokens(prompt)
    assert cut == ""
    whole = len(ids)
    assert words.tokens(prompt, whole) == (ids, "")
    before = prompt
    for length in range(whole - 1, 0, -1):
        kept, cut = words.tokens(prompt, length)
        assert kept == [*ids[: length - 1], 1]
        assert cut
        assert prompt.endswith(cut)
        assert len(cut) >= len(before) or before is prompt
        before = cut
    assert before == prompt  # where nothing fits, all is cut


def test_unknown_words_are_told_as_they_were_typed(twin: Any, with_bytes: bytes) -> None:
    words = _words(twin, "spiece")
    assert words.unknown_words("a red ball") == []
    assert words.unknown_words("a ⻄⻄ ball, ⻄⻄ and 𓀀") == ["⻄⻄", "𓀀"]
    assert T5Words.spiece(with_bytes).unknown_words("a ⻄⻄ ball") == []  # it spells them
    with pytest.raises(BadPrompt, match="half of a character"):
        words.tokens("a \ud800 ball")


def test_a_file_may_not_have_prompts_cut_or_padded(twin: Any) -> None:
    table = json.loads(twin.json)
    table["truncation"] = {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0}
    pad = {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": None}
    table["padding"] = pad | {"pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}
    ids = [["<s>", 2], ["</s>", 1]]
    table["post_processor"] = {"type": "BertProcessing", "sep": ids[1], "cls": ids[0]}
    assert T5Words.parse(json.dumps(table)).tokens(TEXTS[0]) == _words(twin, "json").tokens(TEXTS[0])


def spoiled(text: str, change: str) -> str:
    table = json.loads(text)
    model = table["model"]
    pattern = {"type": "Replace", "pattern": {"Regex": "(a+)+$"}, "content": ""}
    long = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 10_000}
    if change == "kind":
        table["model"] = {"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}
    elif change == "end":
        model["vocab"][1][0] = "<end>"
        table["added_tokens"] = []
    elif change == "pattern":
        table["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Sequence", "normalizers": [pattern]}]}
    elif change == "long":
        table["normalizer"] = long
    elif change == "part":
        table["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "x"}, "behavior": "Removed", "invert": False}
    elif change == "characters":  # a table that points outside itself
        broken = base64.b64encode(b"\x10\0\0\0" + b"\xff" * 8 + b"\0" * 8).decode()
        table["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": broken}
    elif change == "unknown":
        model["unk_id"] = None
    return json.dumps(table)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("kind", "not of SentencePiece's unigram kind"),
        ("end", "it lacks the token </s>"),
        ("pattern", r"it asks for the pattern '\(a\+\)\+\$'"),
        ("long", "it asks for a long text"),
        ("part", "it asks for 'Split'"),
        ("characters", "no whole tokeniser"),
        ("unknown", "no whole tokeniser"),
    ],
)
def test_a_spoiled_tokenizer_is_refused(twin: Any, change: str, why: str) -> None:
    with pytest.raises(BadModel, match=why) as told:
        T5Words.parse(spoiled(twin.json, change), "some/tokenizer.json")
    assert str(told.value).startswith("some/tokenizer.json: ")


@pytest.mark.parametrize("text", ["", "{}", "[1]", "<!DOCTYPE html>", '{"model": ' * 200])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadModel, match="no whole tokeniser"):
        T5Words.parse(text)
    (tmp_path / "tokenizer.json").write_text(text)
    with pytest.raises(BadModel):
        T5Words.read(tmp_path)


def test_a_damaged_spiece_is_refused_or_read(twin: Any) -> None:
    """Cut anywhere it is refused with a sentence; with a byte changed it is refused, or it is another model."""
    model = twin.model
    begin = 2000  # the pieces begin the file
    for size in (0, 1, 2, 7, 100, begin, len(model) - 1):
        with pytest.raises(BadModel, match="no SentencePiece model"):
            T5Words.spiece(model[:size])
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for place in torch.randint(0, begin, (40,), generator=generator).tolist():
        try:
            T5Words.spiece(model[:place] + bytes([model[place] ^ 0xFF]) + model[place + 1 :]).tokens("a ball 猫")
        except BadModel:
            refused += 1
    assert refused > 10
    for data in (b"\xff" * 50, b"\x0a\xff\xff\xff\xff\x7f", b"\x0b\0"):
        with pytest.raises(BadModel, match="no SentencePiece model"):
            T5Words.spiece(data)
    with pytest.raises(BadModel, match="not a row of bytes"):
        T5Words.spiece(torch.zeros(3))


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadModel, match=r"neither tokenizer\.json nor spiece\.model"):
        T5Words.read(tmp_path)
    with pytest.raises(BadModel, match="cannot be read"):
        T5Words.read(tmp_path / "spiece.model")
    (tmp_path / "spiece.model").touch()
    with (tmp_path / "spiece.model").open("r+b") as file:
        file.truncate(2**30)  # sparse
    with pytest.raises(BadModel, match="more than the"):
        T5Words.read(tmp_path)
    os.mkfifo(tmp_path / "tokenizer.json")  # nobody writes into it, and whoever reads waits
    with pytest.raises(BadModel, match="no file"):
        T5Words.read(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a\n\nred \t ball ", "a red ball"),
        ("fish &amp;amp; chips", "fish & chips"),
        ("5 &amp;lt; 6", "5 < 6"),
        ("&nbsp;a&nbsp;&nbsp;b&nbsp;", "a b"),
        ("cafÃ©", "café"),
        ("“quoted”", '"quoted"'),
        ("一只\u3000白猫", "一只 白猫"),
        ("", ""),
    ],
)
def test_cleaning(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_without_ftfy_the_rest_is_done_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert left_undone() is None
    monkeypatch.setitem(sys.modules, "ftfy", None)
    assert importlib.util.find_spec("ftfy") is None
    told = left_undone()
    assert told is not None
    assert 'pip install "vitascope[wan]"' in told
    assert clean(" fish &amp;amp;\n chips ") == "fish & chips"
    assert clean("fish &amp;amp;amp; chips") == "fish &amp; chips"  # twice, and no more
    assert clean("cafÃ©") == "cafÃ©"
