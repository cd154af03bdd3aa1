"""The models that ship, without torch."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """Their folders, by name."""
    return {recipe.parent.name: recipe.parent for recipe in sorted(WEIGHTS.glob("*/recipe.json"))}
