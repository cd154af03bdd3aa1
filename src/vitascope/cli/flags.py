"""Reading a command's flags. A mistake is answered with one sentence that names the nearest right thing.

tyro turns a dataclass into help and into an object. Its own answers to mistakes are boxes of several lines, so the
words are read here first, and reach tyro in a form that it can only take one way (`--flag=value ... -- PROMPT`).

Every value is text: a Shot's are judged by Shot, in one place for the command line, the server and Python.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from vitascope.errors import VitascopeError, nearest


class BadCommand(VitascopeError):
    """Words that the command line does not know."""


def word(metavar: str) -> PrimitiveConstructorSpec[str | None]:
    """A flag that takes one word of any text, 'None' included, and is None when it is not given."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value is None or isinstance(value, str),
        str_from_instance=lambda value: [value or ""],
    )


_plain = tyro.conf.arg(help_behavior_hint="")
Text = Annotated[str | None, word("TEXT"), _plain]
Whole = Annotated[str | None, word("INT"), _plain]
Real = Annotated[str | None, word("NUMBER"), _plain]
File = Annotated[str | None, word("FILE"), _plain]
Folder = Annotated[str | None, word("FOLDER"), _plain]
Flag = Annotated[tyro.conf.FlagCreatePairsOff[bool], _plain]

ELSEWHERE = {
    "o": ("output", "out"),
    "cfg": ("guidance",),
    "cfg-scale": ("guidance",),
    "guidance-scale": ("guidance",),
    "num-inference-steps": ("steps",),
    "sampler": ("solver",),
    "scheduler": ("solver",),
    "num-frames": ("frames",),
    "length": ("frames",),
    "negative-prompt": ("negative",),
    "size": ("height",),
    "resolution": ("height",),
    "flow-shift": ("shift",),
    "ckpt": ("model",),
    "checkpoint": ("model",),
    "init-image": ("image",),
}
"""What other programs call flags, and what they are called here."""

_LIKE_A_FLAG = re.compile(r"--?[A-Za-z][\w-]*(=.*)?", re.DOTALL)
_POSITIONAL = get_args(tyro.conf.Positional[str])[1]
T = TypeVar("T")


@dataclass(frozen=True)
class _Field:
    name: str  # of the dataclass's field
    flag: str  # as it is typed, without dashes
    metavar: str  # "" for one that takes no value
    positional: bool
    required: bool


def named_folder(flag: str, text: str) -> Path:
    """The folder that a flag names. Raises BadCommand for "", which is what a shell makes of a variable that is not set, and
    would be the folder one is in."""
    if not text:
        raise BadCommand(f"{flag} '': it names no folder; give its name, or . for the one that you are in.")
    return Path(text)


def parse(command: type[T], argv: Sequence[str], name: str) -> T | None:
    """The `command` that `argv` says, or None where help was asked for (and printed).

    Raises:
        BadCommand: when a flag is unknown, twice there or without its value, or a word is too many or missing.
    """
    known = _known(command)
    prog = f"vitascope {name}"
    asked = argv[: argv.index("--")] if "--" in argv else argv
    if "--help" in asked or "-h" in asked:
        try:
            tyro.cli(command, args=["--help"], prog=prog)
        except SystemExit:
            return None
    values, places = _scan(known, argv, name)
    words = [f"--{f.flag}={values[f.flag]}" if f.metavar else f"--{f.flag}" for f in known if f.flag in values]
    return tyro.cli(command, args=[*words, *(["--", *places] if places else [])], prog=prog)


def _scan(known: Sequence[_Field], argv: Sequence[str], name: str) -> tuple[dict[str, str], list[str]]:
    """The values of flags by name, and the words that are not flags."""
    flags = {field.flag: field for field in known if not field.positional}
    values: dict[str, str] = {}
    places: list[str] = []
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        if token == "--":
            places += rest
            break
        if not _LIKE_A_FLAG.fullmatch(token):
            places.append(token)
            continue
        spelled, equals, value = token.partition("=")
        flag = spelled.lstrip("-").replace("_", "-")
        field = flags.get(flag) if spelled.startswith("--") else None
        if field is None:
            close = next((known for known in ELSEWHERE.get(flag.lower(), ()) if known in flags), None)
            close = close or nearest(flag[:60], [*flags, "help"])
            hint = f"the nearest is --{close}" if close else f"vitascope {name} --help lists them"
            raise BadCommand(f"{spelled[:60]}: {name} has no such flag; {hint}.")
        if flag in values:
            raise BadCommand(f"{spelled} twice: it can have one value; leave one of the two out.")
        if not field.metavar and equals:
            raise BadCommand(f"{token[:60]}: this flag takes no value; write {spelled} alone.")
        if field.metavar and not equals:
            if not rest or (rest[0].lstrip("-").partition("=")[0] in flags and rest[0].startswith("--")):
                raise BadCommand(f"{spelled} without a value: it takes one; write {spelled} {field.metavar}.")
            value = rest.pop(0)
        if not value and (field.metavar in ("FILE", "FOLDER", "MODEL", "PROGRAM") or flag in ("model", "against")):
            raise BadCommand(f"{spelled} '': there is no name in it; give one, or leave {spelled} out.")
        values[flag] = value
    _fits(places, [field for field in known if field.positional], name)
    return values, places


def _fits(places: Sequence[str], wanted: Sequence[_Field], name: str) -> None:
    if len(places) > len(wanted):
        extra = places[len(wanted)][:60]
        takes = f"one {wanted[0].metavar}" if wanted else "only flags"
        raise BadCommand(f"{extra!r}: {name} takes {takes}; put words that belong together in quotes.")
    needed = sum(field.required for field in wanted)
    if len(places) < needed:
        raise BadCommand(f"{name} alone: it needs a {wanted[0].metavar}; see vitascope {name} --help.")


def _known(command: type[Any]) -> list[_Field]:
    hints = get_type_hints(command, include_extras=True)
    found = []
    for field in fields(command):
        parts = get_args(hints[field.name])
        metavar = next((part.metavar for part in parts if isinstance(part, PrimitiveConstructorSpec)), "")
        positional = any(part is _POSITIONAL for part in parts)
        flag = field.name.rstrip("_").replace("_", "-")
        found.append(_Field(field.name, flag, metavar, positional, field.default is MISSING))
    return found
