"""A SentencePiece model (`spiece.model`), read as the data that it is: a Protocol Buffers message, and no library needed.

Of its fields (sentencepiece_model.proto in Google's repository) these are read: the pieces with their scores and kinds,
what kind of model they are for, and the normaliser's table of characters.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

NORMAL, UNKNOWN, CONTROL = 1, 2, 3
"""Kinds of pieces; others are told by the user (4), unused (5), or bytes (6)."""

_UNIGRAM = 1


class Spiece(NamedTuple):
    """What a model's file says."""

    pieces: list[tuple[str, float]]
    """Each piece and its log probability; the place in the list is the token's id."""
    kinds: list[int]
    characters: bytes
    """The normaliser's table in SentencePiece's own form; empty: none."""
    bytes_for_unknown: bool
    """Whether a character that is in no piece becomes its bytes and not one unknown token."""
    space_in_front: bool
    """Whether a text is taken as if a space stood before it."""

    @property
    def unknown(self) -> int:
        """The id of the unknown token."""
        return self.kinds.index(UNKNOWN)


def read(data: bytes) -> Spiece:
    """What the bytes of a `spiece.model` say. Raises ValueError with what is wrong in a few words."""
    pieces: list[tuple[str, float]] = []
    kinds: list[int] = []
    trainer: dict[int, int | bytes] = {}
    normaliser: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == 1:
            piece, kind = _piece(_part(value))
            pieces.append(piece)
            kinds.append(kind)
        elif number == 2:
            trainer |= dict(_fields(_part(value)))
        elif number == 3:
            normaliser |= dict(_fields(_part(value)))
    if trainer.get(3, _UNIGRAM) != _UNIGRAM:
        raise ValueError("it is not of the unigram kind")
    if kinds.count(UNKNOWN) != 1:
        raise ValueError(f"it has {kinds.count(UNKNOWN)} unknown tokens where one is wanted")
    if len({text for text, _ in pieces}) != len(pieces):
        raise ValueError("a piece stands in it twice")
    if trainer.get(24):
        raise ValueError("its spaces stand behind words")
    return Spiece(pieces, kinds, _part(normaliser.get(2, b"")), bool(trainer.get(35, 0)), bool(normaliser.get(3, 1)))


def _piece(data: bytes) -> tuple[tuple[str, float], int]:
    table = dict(_fields(data))
    text, score, kind = table.get(1), table.get(2), table.get(3, NORMAL)
    if not isinstance(text, bytes) or not text or not isinstance(kind, int):
        raise ValueError("a piece has no text")
    number = struct.unpack("<f", score)[0] if isinstance(score, bytes) and len(score) == 4 else 0.0
    if not math.isfinite(number):
        raise ValueError("a piece's score is no number")
    return (text.decode(), number), kind


def _part(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number stands where a part was wanted")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message, each with its number: whole numbers, and everything else as its bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield key >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"at byte {place:,} stands what the format does not know")
        if size > len(data) - place:
            raise ValueError("it was cut off")
        yield key >> 3, data[place : place + size]
        place += size


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """The whole number at `place`, seven bits a byte, low ones first; and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            raise ValueError("it was cut off")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError(f"at byte {place:,} stands a number without end")
