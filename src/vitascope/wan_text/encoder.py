"""Prompts to what Wan's transformer reads of them, with UMT5 whole in memory or one layer of it at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitascope.errors import BadModel
from vitascope.models.layers import RMSNorm, compute_dtype, wide
from vitascope.models.umt5 import UMT5, Block, UMT5Config
from vitascope.physics.field import Condition
from vitascope.shot import ensure_several
from vitascope.tensors import agree
from vitascope.wan_text.cleaning import clean, left_undone
from vitascope.wan_text.kept import Kept
from vitascope.wan_text.tokens import T5Words

Resident = Literal["whole", "layers"]
Part = TypeVar("Part", bound=nn.Module)

LENGTH = 512
"""Tokens of a prompt that Wan was trained to read, `</s>` included."""


class StreamedUMT5(nn.Module):
    """UMT5 of which one layer at a time is in memory: its weights are taken from a mapping as they are needed.

    `weights` has the official names and answers with tensors, as a view of a memory-mapped file does; of the table of words
    only the rows that occur are touched. Equal to `UMT5` of the same weights and dtype, bit for bit. `.to` moves where, and in
    what, it computes.
    """

    anchor: Tensor

    def __init__(
        self,
        config: UMT5Config,
        weights: Mapping[str, Tensor],
        dtype: torch.dtype = torch.bfloat16,
        origin: str = "UMT5",
    ) -> None:
        super().__init__()
        self.config = config
        self.weights = weights
        self.origin = origin
        # Only names here: a shape may cost the reading of a tensor. Those are compared layer by layer.
        wanted = {name: value.shape for name, value in _on_meta(UMT5, config).state_dict().items()}
        agree(wanted, {name: wanted.get(name, ()) for name in weights}, origin=origin)
        self.register_buffer("anchor", torch.empty(0, dtype=dtype), persistent=False)

    @torch.no_grad()
    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The states [l width] of each row of token ids [l]; every layer is fetched once for all of them."""
        states = self._embedded(rows)
        for index in range(self.config.layers):
            states = self._through(f"blocks.{index}.", _on_meta(Block, self.config), states)
        return self._through("norm.", _on_meta(RMSNorm, self.config.width, self.config.eps), states)

    def _embedded(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """The words' own states [l width] of each row; the table of all words lives no longer than this call."""
        name, config = "token_embedding.weight", self.config
        words = self.weights[name]
        agree({name: (config.vocab, config.width)}, {name: words.shape}, origin=self.origin)
        return [wide(F.embedding(row.to(words.device), words).to(self.anchor)) for row in rows]

    def _through(self, prefix: str, part: nn.Module, states: list[Tensor]) -> list[Tensor]:
        """The states after one part of the encoder, whose weights live no longer than this call."""
        found = {name: self.weights[prefix + name] for name in part.state_dict()}
        agree(
            {prefix + name: value.shape for name, value in part.state_dict().items()},
            {prefix + name: value.shape for name, value in found.items()},
            origin=self.origin,
        )
        part.load_state_dict({name: found.pop(name).to(self.anchor) for name in list(found)}, assign=True)
        return [part(x[None])[0] for x in states]


class UMT5Text(nn.Module):
    """Wan's text encoder: `context` is what its transformer reads of every token, zeros behind a prompt's end.

    Wan attends to those zeros, so there is no mask. Only real tokens are run, each prompt by itself: what comes of it does not
    depend on its neighbours. Equal prompts are run once, and what was `kept` not at all.
    """

    def __init__(
        self, encoder: UMT5 | StreamedUMT5, words: T5Words, *, length: int = LENGTH, kept: Kept | None = None
    ) -> None:
        super().__init__()
        if len(words) > encoder.config.vocab:
            raise BadModel(
                f"{words.origin}: it has {len(words):,} tokens and the text encoder {encoder.config.vocab:,}; they must come "
                "from the same model."
            )
        self.encoder = encoder
        self.words = words
        self.length = length
        self.kept = kept

    @staticmethod
    def of(
        config: UMT5Config,
        weights: Mapping[str, Tensor],
        words: T5Words,
        *,
        resident: Resident = "whole",
        dtype: torch.dtype = torch.bfloat16,
        kept: Kept | None = None,
        origin: str = "UMT5",
    ) -> UMT5Text:
        """From weights under their official names, all in memory or layer by layer. Raises BadModel where they do not fit."""
        if resident == "layers":
            return UMT5Text(StreamedUMT5(config, weights, dtype, origin), words, kept=kept)
        encoder = _on_meta(UMT5, config)
        found = {name: weights[name] for name in weights}
        agree(
            {k: v.shape for k, v in encoder.state_dict().items()}, {k: v.shape for k, v in found.items()}, origin=origin
        )
        encoder.load_state_dict({name: found.pop(name).to(dtype) for name in list(found)}, assign=True)
        return UMT5Text(encoder.requires_grad_(False), words, kept=kept)

    @property
    def resident(self) -> Resident:
        """How much of the encoder is in memory."""
        return "layers" if isinstance(self.encoder, StreamedUMT5) else "whole"

    @property
    def dtype(self) -> torch.dtype:
        """What the matrix products run in."""
        return compute_dtype(self._anchor)

    @property
    def notices(self) -> list[str]:
        """What a person should be told once of how prompts are read here, a sentence each."""
        told = left_undone()
        return [told] if told else []

    @torch.no_grad()
    def forward(self, prompts: Sequence[str]) -> Condition:
        """context [b 512 d], float32, zeros beyond each prompt's tokens. Raises as `ensure_several`."""
        ensure_several(prompts)
        rows = [tuple(self.words.tokens(clean(prompt), self.length)[0]) for prompt in prompts]
        states = self._states(list(dict.fromkeys(rows)))
        width = self.encoder.config.width
        context = torch.zeros(len(rows), self.length, width, device=self._anchor.device)
        for index, row in enumerate(rows):
            context[index, : len(row)] = states[row]
        return {"context": context}

    def cut(self, prompt: str) -> str:
        """The part of a prompt, as it reads when cleaned, that is beyond what the model reads."""
        return self.words.tokens(clean(prompt), self.length)[1]

    def unknown_words(self, prompt: str) -> list[str]:
        """What of a prompt the vocabulary lacks and the model cannot tell apart, each once."""
        return self.words.unknown_words(clean(prompt))

    @property
    def _anchor(self) -> Tensor:
        """A tensor that lies where the encoder computes, in its dtype."""
        encoder = self.encoder
        return encoder.anchor if isinstance(encoder, StreamedUMT5) else encoder.token_embedding.weight

    def _states(self, rows: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        """The states, float32 [l width], of each row of token ids; from the disk where they are kept."""
        found: dict[tuple[int, ...], Tensor] = {}
        for row in rows if self.kept else ():
            states = self.kept.get(row, self.dtype, self.encoder.config.width) if self.kept else None
            if states is not None:
                found[row] = states
        missing = [row for row in rows if row not in found]
        for row, states in zip(missing, self._run([torch.tensor(row) for row in missing])):
            if not torch.isfinite(states).all():
                raise BadModel(
                    "prompt: the text encoder answers it with what are no numbers, so its weights are damaged or their dtype is "
                    "too narrow; fetch them again, or compute in bfloat16 or float32."
                )
            found[row] = states.float()
            if self.kept:
                self.kept.put(row, self.dtype, found[row])
        return found

    def _run(self, rows: list[Tensor]) -> list[Tensor]:
        if not rows:
            return []
        if isinstance(self.encoder, StreamedUMT5):
            return self.encoder(rows)
        return [self.encoder(row[None].to(self._anchor.device))[0] for row in rows]


def footprint(
    config: UMT5Config,
    dtype: torch.dtype = torch.bfloat16,
    *,
    resident: Resident = "whole",
    tokens: int = LENGTH,
    prompts: int = 2,
) -> int:
    """Bytes that reading `prompts` texts of `tokens` tokens takes at its peak, weights included.

    Layer by layer these are the weights of the largest layer and of the words that occur; the file's own pages, which the
    system may keep in memory beside them while there is room, are not counted.
    """
    sizes = {name: value.numel() for name, value in _on_meta(UMT5, config).state_dict().items()}
    layer = sum(size for name, size in sizes.items() if name.startswith("blocks.0."))
    weights = sum(sizes.values()) if resident == "whole" else layer + tokens * config.width
    inner = config.heads * config.head_width
    # In float32: q, k, v and what they give, then logits, their softmax and the bias; or the two wide layers and their product.
    attention = 4 * tokens * inner + 4 * config.heads * tokens * tokens
    work = max(attention, 3 * tokens * config.ffn) + 3 * tokens * config.width
    rows = 2 * prompts * tokens * config.width
    return weights * dtype.itemsize + 4 * (work + rows)


def _on_meta(kind: type[Part], *sizes: object) -> Part:
    with torch.device("meta"):
        return kind(*sizes)
