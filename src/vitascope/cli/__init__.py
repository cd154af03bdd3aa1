"""The command line. Standard output is the result alone; what is told on the way goes to standard error.

Exit codes: 0 done, 1 failed, 2 the request was wrong (one sentence says what would do), 130 interrupted, 143 stopped.
Each command is a module with a dataclass `Command` (its flags) and a function `run`; only the module that is asked for
is imported, so that help and refusals come at once, without torch.
"""

from __future__ import annotations

import codecs
import errno
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

from vitascope import __version__
from vitascope.cli.flags import BadCommand, parse
from vitascope.cli.progress import plain
from vitascope.cli.stopping import Stopped, stoppable
from vitascope.errors import VitascopeError, nearest

COMMANDS = {
    "generate": "make a film of a sentence",
    "plan": "tell what a film would take on this machine",
    "inspect": "tell what a film is and how it was made, or what weights are",
    "sheet": "make a film of every line of a file, all on one picture",
    "storybook": "show the drawn world that models learn",
    "models": "list the models that are here",
    "data": "examine a folder of films before training on it",
    "train": "train a model from a recipe",
    "export": "write a model in the layout of diffusers, and bring it back",
    "bundle": "write the weights of a run as it stands, or stood, as a bundle",
    "evaluate": "measure a model",
}

HELP = f"""\
vitascope {__version__}: a prompt becomes a video

usage: vitascope COMMAND ...

{chr(10).join(f"  {name:<10}{what}" for name, what in COMMANDS.items())}

vitascope COMMAND --help tells the flags of a command. To begin with:

  vitascope generate "a red ball bounces across a snowfield at dusk"
"""


INTERRUPTED = "interrupted; nothing was left half written"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    _ensure_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        codecs.register_error("vitascope", _written)
        sys.stdout.reconfigure(errors="vitascope")
    try:
        with stoppable():
            code = _run(argv)
            sys.stdout.flush()  # here, so that a result that cannot be written is a failure
            return code
    except VitascopeError as error:
        return _told(error, 1 if _by_disk(error) else 2)
    except BrokenPipeError:  # whoever read the result has seen enough
        _deafen(sys.stdout)
        return 141
    except (OSError, MemoryError, FloatingPointError) as error:
        return _told(f"failed: {error}", 1)
    except KeyboardInterrupt as error:
        return _told(str(error) or INTERRUPTED, 130)
    except Stopped as error:
        return _told(error, 143)
    except Exception as fault:
        ended = _ended_by(fault)
        if ended is not None:
            return ended
        traceback.print_exc()  # a fault of the program: whoever mends it needs to see where
        return _told("failed: this is a fault of vitascope, not of the request; please report the lines above", 1)


def _run(argv: Sequence[str]) -> int:
    if not argv:
        print(HELP, file=sys.stderr)
        return 2
    name = argv[0]
    if name in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        raise BadCommand(f"{name[:60]!r}: there is no such command; {_way_out(name)}.")
    module = importlib.import_module(f"vitascope.cli.{name}")
    command = parse(module.Command, argv[1:], name)
    if command is None:  # help was asked for, and given
        return 0
    module.run(command)
    return 0


def _ensure_streams() -> None:
    """Whoever closed a stream wants to hear nothing on it; that is no reason to fail."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (as long as the process)


def _by_disk(error: VitascopeError) -> bool:
    """Whether a full or broken disk was in the way, and nothing was wrong with the request."""
    cause, numbers = error.__cause__, (errno.ENOSPC, errno.EDQUOT, errno.EIO)
    in_words = any(f"(os error {number})" in str(cause) for number in numbers)  # as safetensors tells of it
    return in_words or getattr(cause, "errno", None) in numbers


def _ended_by(fault: BaseException) -> int | None:
    """The exit code where an error came of a signal: some libraries, asked to end while they load, make an error of that."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, Stopped):
            return _told(seen, 143)
        if isinstance(seen, KeyboardInterrupt):
            return _told(INTERRUPTED, 130)
        seen = seen.__cause__ or seen.__context__
    return None


def _way_out(name: str) -> str:
    if " " in name.strip():
        return "a prompt goes after generate: vitascope generate " + repr(name[:60])
    close = nearest(name[:60], COMMANDS)
    return f"the nearest is {close}" if close else f"there are {', '.join(COMMANDS)}"


def _written(error: UnicodeError) -> tuple[str | bytes, int]:
    """A path is printed as the bytes that it is; what a terminal has no letter for, as its number."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)


def _told(what: object, code: int) -> int:
    try:
        print(plain(" ".join(str(what).splitlines())), file=sys.stderr, flush=True)
    except OSError:  # nobody hears it, and the code says it still
        _deafen(sys.stderr)
    return code


def _deafen(stream: TextIO) -> None:
    """What is left in a stream that nobody reads, and would be written at the end, goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
