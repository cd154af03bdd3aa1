"""A prompt as Wan cleans it before it is cut into tokens."""

from __future__ import annotations

import html
import importlib.util
import re


def clean(text: str) -> str:
    """The text with its encoding mended (ftfy), HTML's entities resolved twice, and one space where white space was.

    The rules are those of Wan's tokeniser ("whitespace") and of diffusers' WanPipeline. Without ftfy the rest is done all the
    same, and `left_undone` is what to tell.
    """
    if _has_ftfy():
        import ftfy

        text = ftfy.fix_text(text)
    return re.sub(r"\s+", " ", html.unescape(html.unescape(text)).strip()).strip()


def left_undone() -> str | None:
    """The sentence that a person should read once where `clean` cannot do all of its work, or None where it can."""
    if _has_ftfy():
        return None
    return (
        "prompts: broken characters (as in 'cafÃ©') are not mended, as Wan's own code does, because ftfy is not installed; "
        'pip install "vitascope[wan]" installs it.'
    )


def _has_ftfy() -> bool:
    return importlib.util.find_spec("ftfy") is not None
