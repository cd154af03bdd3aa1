"""Prompts become conditions: a tokeniser by words, and the text tower of our CLIP."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.models.clip import CLIP, CLIPConfig
from vitascope.physics.field import Condition
from vitascope.shot import ensure_several

PAD, UNKNOWN, END = "[pad]", "[unknown]", "[end]"
TOKENIZER = "tokenizer.json"


class TextEncoder(Protocol):
    """Prompts to a Condition: keys are the network's keyword arguments, rows are prompts."""

    def __call__(self, prompts: Sequence[str]) -> Condition: ...

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that were never learned, as they were typed, each once."""
        ...

    def cut(self, prompt: str) -> str:
        """The end of a prompt that is not read, because it is too long."""
        ...

    @property
    def length(self) -> int:
        """Tokens of a prompt that are read, its end apart."""
        ...


class Words:
    """A tokeniser by words with an explicit unknown token, so that a word which the model never learned can be told.

    Such a word is not given to the model: what it would make of a token that no caption ever held is chance.
    """

    def __init__(self, tokenizer: Tokenizer, origin: str = TOKENIZER) -> None:
        if not isinstance(tokenizer.model, WordLevel):
            raise BadModel(f"{origin}: it does not cut a text into words; take the file that came with the bundle.")
        table = tokenizer.get_vocab()
        absent = [name for name in (PAD, UNKNOWN, END) if name not in table]
        if absent:
            raise BadModel(f"{origin}: it lacks the token {absent[0]}; take the file that came with the bundle.")
        if sorted(table.values()) != list(range(len(table))):
            raise BadModel(
                f"{origin}: its {len(table):,} words are not numbered from 0 to {len(table) - 1:,}; take the file that came "
                "with the bundle."
            )
        # Cutting and padding are this class's own work: a file may not ask for them.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.tokenizer = tokenizer
        self.pad, self.unknown, self.end = (table[name] for name in (PAD, UNKNOWN, END))

    @staticmethod
    def of(vocabulary: Sequence[str]) -> Words:
        """A tokeniser that knows just these words (lower case)."""
        table = {word: index for index, word in enumerate((PAD, UNKNOWN, END, *vocabulary))}
        tokenizer = Tokenizer(WordLevel(table, unk_token=UNKNOWN))
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(r"[^\p{L}\p{N}'\s]+"), " ")]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return Words(tokenizer)

    @staticmethod
    def found_in(texts: Iterable[str]) -> Words:
        """A tokeniser that knows the words of these texts, as it would cut them itself."""
        return Words.of(words_in(texts))

    def with_new(self, vocabulary: Iterable[str]) -> Words:
        """A tokeniser that knows more: the numbers of its own words stay, and those that it lacks come behind them."""
        table = self.tokenizer.get_vocab()
        new = [word for word in dict.fromkeys(vocabulary) if word not in table]
        if not new:
            return self
        grown = json.loads(self.json())
        grown["model"]["vocab"] |= {word: len(table) + place for place, word in enumerate(new)}
        return Words.parse(json.dumps(grown))

    @staticmethod
    def parse(text: str, origin: str = TOKENIZER) -> Words:
        """From the text of a tokenizer.json, which messages call `origin`. Raises BadModel."""
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises a bare Exception for every kind of bad file
            raise BadModel(
                f"{origin}: it is no tokeniser ({' '.join(str(error).split())[:200]}); take the file that came with the bundle."
            ) from error
        return Words(tokenizer, origin)

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def json(self) -> str:
        """The text of a tokenizer.json."""
        return self.tokenizer.to_str()

    def tokens(self, prompt: str, length: int) -> tuple[list[int], str]:
        """At most `length` tokens, of known words and the end token, and the part of the prompt that did not fit."""
        encoded = self.tokenizer.encode(prompt, add_special_tokens=False)
        known = [(word, at) for word, (at, _) in zip(encoded.ids, encoded.offsets) if word != self.unknown]
        cut = prompt[known[length - 1][1] :] if len(known) >= length else ""
        return [*(word for word, _ in known[: length - 1]), self.end], cut

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that the vocabulary lacks, as they were typed, each once."""
        encoded = self.tokenizer.encode(prompt, add_special_tokens=False)
        found = [prompt[a:b] for i, (a, b) in zip(encoded.ids, encoded.offsets) if i == self.unknown]
        return list(dict.fromkeys(found))

    def batch(self, prompts: Sequence[str], length: int) -> tuple[Tensor, Tensor]:
        """Tokens [b l] and a mask [b l], True where a token is real; l is the longest prompt's. Raises as `ensure_several`."""
        ensure_several(prompts)
        rows = [self.tokens(prompt, length)[0] for prompt in prompts]
        longest = max((len(row) for row in rows), default=1)
        tokens = torch.full((len(rows), longest), self.pad)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        for index, row in enumerate(rows):
            tokens[index, : len(row)] = torch.tensor(row)
            mask[index, : len(row)] = True
        return tokens, mask


def words_in(texts: Iterable[str]) -> list[str]:
    """The words of texts as a tokeniser by words would cut them, sorted, each once."""
    normalizer = Words.of(()).tokenizer.normalizer
    assert normalizer is not None
    return sorted({word for text in texts for word in normalizer.normalize_str(text).split()})


class ClipText(nn.Module):
    """Our CLIP as a text encoder: `context` is what a network reads of every token, `mask` tells the real ones."""

    def __init__(self, config: CLIPConfig, words: Words) -> None:
        super().__init__()
        if len(words) != config.vocab:
            raise BadModel(
                f"the tokenizer has {len(words)} words and the text tower {config.vocab}; they must come from the same bundle"
            )
        self.clip = CLIP(config)
        self.config = config
        self.words = words

    def forward(self, prompts: Sequence[str]) -> Condition:
        """context [b l d], d being the config's `context_width`, and mask [b l] of the prompts."""
        tokens, mask = self.words.batch(prompts, self.config.text_length)
        device = self.clip.logit_scale.device
        tokens, mask = tokens.to(device), mask.to(device)
        states, _ = self.clip.encode_text(tokens, mask)
        if self.config.context == "words+states":
            states = torch.cat((self.clip.encode_words(tokens), states), dim=-1)
        return {"context": states, "mask": mask}

    def unknown_words(self, prompt: str) -> list[str]:
        """The words of a prompt that were never learned, as they were typed, each once."""
        return self.words.unknown_words(prompt)

    def says_nothing(self, prompt: str) -> bool:
        """Whether no word of a prompt is known."""
        return len(self.words.tokens(prompt, self.config.text_length)[0]) == 1

    def cut(self, prompt: str) -> str:
        """The end of a prompt that is not read, because it is too long."""
        return self.words.tokens(prompt, self.config.text_length)[1]

    @property
    def length(self) -> int:
        """Words of a prompt that are read, its end apart."""
        return self.config.text_length - 1

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """The prompts' unit vectors [b 512] in the space shared with video."""
        tokens, mask = self.words.batch(prompts, self.config.text_length)
        device = self.clip.logit_scale.device
        return self.clip.encode_text(tokens.to(device), mask.to(device))[1]
