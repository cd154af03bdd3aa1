"""The tokeniser of UMT5, from a tokenizer.json or from the SentencePiece model that the former is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Encoding, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram
from torch import Tensor

from vitascope.errors import BadModel, BadPrompt
from vitascope.wan_text import spiece

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
SENTINELS = 300
"""UMT5 has so many `<extra_id_n>` behind its pieces, the highest n first; they stand for gaps, which Wan does not use."""

LARGEST_FILE = 64 * 2**20
"""Bytes; UMT5-XXL's tokenizer.json has 16.8 million."""

_PARTS = {"Sequence", "Precompiled", "Strip", "Replace", "NFKC", "NFC", "Metaspace", "WhitespaceSplit"}
_PATTERNS = {" {2,}", r"\s+", " +"}
"""The regular expressions that tokenisers of this family hold. Another one could take forever on purpose."""

_PROBE = "A probe, 1 Prüfung & пробa:\t測試テスト 😀 ﬁ½  <extra_id_0>"


class T5Words:
    """A text as UMT5's tokens: pieces of words of every script, and `</s>` at the end.

    The same ids as transformers' fast tokeniser. What stands in a prompt as `<extra_id_0>` or `</s>` is that token there, and
    so it is here. Texts are taken as they come: see `clean`.
    """

    def __init__(self, tokenizer: Tokenizer, origin: str) -> None:
        self.origin = origin
        if not isinstance(tokenizer.model, Unigram):
            raise BadModel(f"{origin}: it is not of SentencePiece's unigram kind; take the one of google/umt5-xxl.")
        # A file may not have prompts cut or padded, nor run what it likes on them.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        for part in (tokenizer.normalizer, tokenizer.pre_tokenizer):
            for told in _unwonted(json.loads(part.__getstate__())) if part is not None else ():
                raise BadModel(
                    f"{origin}: it asks for {told}, which no T5 tokeniser does; take the one of google/umt5-xxl."
                )
        self.tokenizer = tokenizer
        self.pad, self.end, self.unknown = (self._id(name) for name in (PAD, END, UNKNOWN))
        self._encoded(_PROBE)

    @staticmethod
    def read(path: Path) -> T5Words:
        """From a tokenizer.json, a spiece.model, or a folder that holds one of them. Raises BadModel."""
        if path.is_dir():
            inside = [path / name for name in ("tokenizer.json", "spiece.model") if (path / name).is_file()]
            if not inside:
                raise BadModel(
                    f"{path}: it holds neither tokenizer.json nor spiece.model; copy them from google/umt5-xxl beside the weights."
                )
            path = inside[0]
        try:
            if path.exists() and not path.is_file():  # a pipe would be waited for, a device has no end
                raise BadModel(f"{path}: this is no file; take the tokeniser of google/umt5-xxl.")
            size = path.stat().st_size
            if size > LARGEST_FILE:
                raise BadModel(
                    f"{path}: it has {size:,} bytes, more than the {LARGEST_FILE:,} that a tokeniser may have; take the one of "
                    "google/umt5-xxl."
                )
            data = path.read_bytes()
        except OSError as error:
            raise BadModel(f"{path}: it cannot be read ({error}); copy it again.") from error
        if data.lstrip()[:1] != b"{":
            return T5Words.spiece(data, str(path))
        try:
            return T5Words.parse(data.decode(), str(path))
        except UnicodeDecodeError as error:
            raise BadModel(f"{path}: it is not text in UTF-8; fetch it again.") from error

    @staticmethod
    def parse(text: str, origin: str = "tokenizer.json") -> T5Words:
        """From the text of a tokenizer.json, which messages call `origin`. Raises BadModel."""
        if len(text) > LARGEST_FILE:
            raise BadModel(f"{origin}: it has more than {LARGEST_FILE:,} characters; take the one of google/umt5-xxl.")
        with _library(origin):
            return T5Words(Tokenizer.from_str(text), origin)

    @staticmethod
    def spiece(data: bytes | Tensor, origin: str = "spiece.model", sentinels: int = SENTINELS) -> T5Words:
        """From the bytes of a spiece.model, or the uint8 tensor `spiece_model` that holds them (ComfyUI's files).

        A character that is in no piece becomes its bytes where the model says so, and else `<unk>`. Raises BadModel.
        """
        if isinstance(data, Tensor):
            if data.dtype not in (torch.uint8, torch.int8) or data.ndim != 1:
                raise BadModel(
                    f"{origin}: it is {data.dtype} {list(data.shape)} and not a row of bytes; fetch the file again."
                )
            data = data.cpu().contiguous().view(torch.uint8).numpy().tobytes()
        if len(data) > LARGEST_FILE:
            raise BadModel(f"{origin}: it has {len(data):,} bytes, too many for a tokeniser; fetch the file again.")
        try:
            model = spiece.read(data)
        except ValueError as error:
            raise BadModel(
                f"{origin}: it is no SentencePiece model that UMT5 could use ({str(error)[:200]}); take google/umt5-xxl's "
                "spiece.model."
            ) from error
        with _library(origin):
            return T5Words(_tokenizer(model, sentinels), origin)

    def __len__(self) -> int:
        """One more than the highest id."""
        added = self.tokenizer.get_added_tokens_decoder()
        return max([self.tokenizer.get_vocab_size(with_added_tokens=False), *(index + 1 for index in added)])

    def tokens(self, prompt: str, length: int = 512) -> tuple[list[int], str]:
        """At most `length` tokens, `</s>` included, and the part of the prompt that did not fit. Raises BadPrompt."""
        encoded = self._encoded(prompt)
        ids, cut = encoded.ids, ""
        if len(ids) >= length:
            cut = prompt[encoded.offsets[length - 1][0] :].lstrip()
        return [*ids[: length - 1], self.end], cut

    def unknown_words(self, prompt: str) -> list[str]:
        """What of a prompt became `<unk>`, as it was typed, each once. Raises BadPrompt."""
        encoded = self._encoded(prompt)
        found = (prompt[a:b].strip() for index, (a, b) in zip(encoded.ids, encoded.offsets) if index == self.unknown)
        return [word for word in dict.fromkeys(found) if word]

    def _id(self, name: str) -> int:
        index = self.tokenizer.token_to_id(name)
        if index is None:
            raise BadModel(f"{self.origin}: it lacks the token {name}; take the one of google/umt5-xxl.")
        return index

    def _encoded(self, prompt: str) -> Encoding:
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise BadPrompt("prompt: it holds half of a character (a lone surrogate); take that character out.")
        with _library(self.origin):
            return self.tokenizer.encode(prompt, add_special_tokens=False)


def _tokenizer(model: spiece.Spiece, sentinels: int) -> Tokenizer:
    """The same tokeniser for the `tokenizers` library, put together as transformers puts T5's together."""
    known = {text for text, _ in model.pieces}
    gaps = [f"<extra_id_{n}>" for n in reversed(range(sentinels)) if f"<extra_id_{n}>" not in known]
    vocab = model.pieces + [(gap, 0.0) for gap in gaps]
    tokenizer = Tokenizer(Unigram(vocab, unk_id=model.unknown, byte_fallback=model.bytes_for_unknown))
    spaces = [normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]
    table = [normalizers.Precompiled(model.characters)] if model.characters else []
    tokenizer.normalizer = normalizers.Sequence([*table, *spaces])
    scheme = "always" if model.space_in_front else "never"
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme)
    special = [text for (text, _), kind in zip(model.pieces, model.kinds) if kind in (spiece.UNKNOWN, spiece.CONTROL)]
    tokenizer.add_special_tokens([AddedToken(text, normalized=False, special=True) for text in (*special, *gaps)])
    return tokenizer


def _unwonted(part: Any) -> Iterator[str]:
    """What a normaliser or pre-tokeniser, as its JSON, does that those of T5 do not."""
    if isinstance(part, list):
        for item in part:
            yield from _unwonted(item)
    elif isinstance(part, dict):
        if part.get("type", "Sequence") not in _PARTS:
            yield f"'{str(part['type'])[:40]}'"
        if part.get("Regex", " {2,}") not in _PATTERNS:
            yield f"the pattern '{str(part['Regex'])[:40]}'"
        if len(str(part.get("content", ""))) > 8:
            yield "a long text in the place of a short one"
        for value in part.values():
            yield from _unwonted(value)


@contextmanager
def _library(origin: str) -> Iterator[None]:
    """What the library raises at a bad file, as a BadModel: bare Exceptions, and panics, which are no Exceptions at all."""
    try:
        yield
    except BadModel:
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        told = " ".join(str(error).split())[:200]
        raise BadModel(f"{origin}: it is no whole tokeniser ({told}); take the one of google/umt5-xxl.") from error
