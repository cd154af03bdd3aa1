"""Numbers as they are told and kept: to six digits. What is beyond depends on where in memory a film lies."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

T = TypeVar("T")


def rounded(value: T) -> T:
    """A result, or a part of one, with its numbers to six digits."""
    return cast(T, _rounded(value))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    if isinstance(value, tuple):
        return tuple(_rounded(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: _rounded(getattr(value, each.name)) for each in fields(value)})
    return value
