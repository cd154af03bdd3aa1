"""Reading a command's flags. A mistake is answered with one sentence that names the nearest right thing.

tyro turns a dataclass into help and into an object. Its own answers to mistakes are boxes of several lines, so the
words are read here first, and reach tyro in a form that it can only take one way (`--flag=value ... -- PROMPT`).

Every value is text: a Shot's are judged by Shot, in one place for the command line, the server and Python.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from vitascope.errors import MISPRINT, VitascopeError, nearest


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
    **dict.fromkeys(("o", "save-file", "out-dir", "output-dir", "save-path"), ("output", "out")),
    **dict.fromkeys(("cfg", "cfg-scale", "guidance-scale", "sample-guide-scale", "guide-scale"), ("guidance",)),
    **dict.fromkeys(("num-inference-steps", "sample-steps"), ("steps",)),
    **dict.fromkeys(("sampler", "scheduler", "sample-solver"), ("solver",)),
    **dict.fromkeys(("num-frames", "frame-num", "video-length", "length"), ("frames",)),
    **dict.fromkeys(("negative-prompt", "n-prompt"), ("negative",)),
    **dict.fromkeys(("size", "resolution"), ("height",)),
    **dict.fromkeys(("flow-shift", "sample-shift"), ("shift",)),
    **dict.fromkeys(("ckpt", "checkpoint", "ckpt-dir"), ("model",)),
    "init-image": ("image",),
    "base-seed": ("seed",),
    "src-ref-images": ("reference",),
    "src-video": ("video",),
    "src-mask": ("mask",),
    "last": ("last-image",),
    "preset": ("as",),
    **dict.fromkeys(("overwrite", "y"), ("force",)),
    **dict.fromkeys(("fp16", "bf16"), ("dtype",)),
}
"""What other programs call flags, and what they are called here, where the command has one of these."""

_SIZE = re.compile(r"(\d{1,5})[*xX](\d{1,5})")

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


def whole(
    flag: str, text: str | None, default: int, largest: int, smallest: int = 1, *, says: str | None = None
) -> int:
    """A whole number from `smallest` to `largest`, or the default where the flag is not there.

    says: what it is and what would do, where that is more than these three numbers.

    Raises:
        BadCommand: when `text` is not one.
    """
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not smallest <= int(text) <= largest:
        says = says or f"it is a whole number from {smallest} to {largest}; {default} would do"
        raise BadCommand(f"{flag} {text[:60]!r}: {says}.")
    return int(text)


def real(flag: str, text: str, fits: Callable[[float], bool], says: str) -> float:
    """A number that fits; `says`: what it is and what would do.

    Raises:
        BadCommand: when `text` is not one.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not fits(number):
        raise BadCommand(f"{flag} {text[:60]!r}: {says}.")
    return number


def among(flag: str, text: str, choices: Collection[str], says: str) -> str:
    """One of the choices; `says`: why nothing else can be.

    Raises:
        BadCommand: when `text` is none of them.
    """
    if text not in choices:
        guess = nearest(text[:60], choices)
        hint = f"the nearest is {guess}" if guess else f"there are {', '.join(choices)}"
        raise BadCommand(f"{flag} {text[:60]!r}: {says}; {hint}.")
    return text


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
            prompted = any(field.positional and field.metavar == "PROMPT" for field in known)
            hint = _hint(flag.lower(), value if equals else next(iter(rest), ""), flags, prompted)
            hint = hint or f"vitascope {name} --help lists them"
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


def _hint(flag: str, value: str, flags: Collection[str], prompted: bool) -> str | None:
    """What somebody meant who typed a flag, and perhaps its value, as another program takes them."""
    if flag == "prompt" and prompted:
        return "the prompt stands without a flag, in quotes"
    if flag == "task" and "model" in flags:
        return "the model decides this, so leave it out"
    size = _SIZE.fullmatch(value)
    if flag in ("size", "resolution") and size and {"height", "width"} <= set(flags):
        return f"write --width {size[1]} --height {size[2]}"
    if flag in ("fp16", "bf16") and "dtype" in flags:
        return f"write --dtype {'float16' if flag == 'fp16' else 'bfloat16'}"
    guess = next((ours for ours in ELSEWHERE.get(flag, ()) if ours in flags), None)
    guess = guess or nearest(flag[:60], [*flags, "help"], MISPRINT)
    return f"the nearest is --{guess}" if guess else None


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
