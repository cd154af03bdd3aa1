"""What a user can meet, each with the way out. Needs no torch.

Every message is one sentence in three parts: what was asked; why it cannot be; what would do.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class VitascopeError(Exception):
    """A request that cannot be met as it stands. The command line prints it and exits 2; a server answers 4xx."""


class BadShot(VitascopeError):
    """A field of a Shot is outside what can be made."""


class BadPrompt(BadShot):
    """A prompt that cannot be read as text."""


class BadModel(VitascopeError):
    """A model file or bundle that cannot be used."""


class BadRecipe(VitascopeError):
    """A recipe that cannot be read or that contradicts itself."""


class BadMedia(VitascopeError):
    """A video or image file that cannot be read or written."""


class BadData(VitascopeError):
    """A folder of films from which nothing can be learned."""


class BadRun(VitascopeError):
    """A training run's folder that cannot be started or continued."""


class Undefined(VitascopeError):
    """A prediction was asked for where it determines nothing (the determinant of its 2x2 system is zero)."""


MISPRINT = 0.65
"""How alike a word and its misprint are: where what is less alike is another word, and no hint is better than a wrong one."""


def nearest(word: str, choices: Iterable[str], likeness: float = 0.5) -> str | None:
    """The choice that `word` most likely stood for, or None when nothing is as close as `likeness`, from 0 to 1."""
    found = get_close_matches(word.lower(), list(choices), n=1, cutoff=likeness)
    return found[0] if found else None
