"""How a long measurement tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Watch = Callable[[str, int, int], None]
"""Hears (what is being done, done, of)."""
