"""Films of unknown origin, unpacked in a process of their own with little memory and little time.

A file can be made to take all memory or all time, or to bring down the decoder that reads it. So another process reads it:
it may take so much memory and no more, may write no file, and is ended when its time is over. What comes back are windows
of plain bytes. The process is used for film after film, and started again when one has brought it down.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from vitascope.errors import BadMedia
from vitascope.media.frames import Name
from vitascope.media.reading import local_path

MEMORY = 2 * 2**30
"""Bytes that unpacking may take, at most."""
SECONDS = 300.0
"""Seconds that one film may take, at most."""

# The very package that this is, and never what lies in the folder that it is started in: that may hold somebody's av.py.
_START = """
import sys
sys.path.insert(0, sys.argv[1])
import vitascope
sys.path.pop(0)
from vitascope.media.confined import serve
serve(int(sys.argv[2]))
"""


class Confined:
    """A process that cuts films to one measure: a context manager."""

    def __init__(self, measure: Any, *, memory: int = MEMORY, seconds: float = SECONDS) -> None:
        self.measure, self.memory, self.seconds = measure, memory, seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._held = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def cut(self, path: Name, sink: Callable[[bytes], object]) -> dict[str, Any]:
        """Hand `sink` the windows of a film as bytes, as `fitting.cut` does; returns the fields of its `Seen`.

        Raises:
            BadMedia: when it cannot be cut, within these limits.
        """
        local_path(path)
        deadline = time.monotonic() + self.seconds
        try:
            pipe = self._started(deadline).stdin
            assert pipe is not None
            pipe.write(json.dumps([os.fspath(path), *self.measure]).encode() + b"\n")
            pipe.flush()
            while True:
                told = json.loads(self._line(deadline))
                if "window" in told:
                    sink(self._take(told["window"], deadline))
                elif "fault" in told:
                    raise BadMedia(told["fault"])
                else:
                    return told["seen"]
        except TimeoutError:
            self._end()
            raise BadMedia(
                f"{path}: unpacking it took longer than {self.seconds:g} s; cut it into shorter films."
            ) from None
        except (EOFError, BrokenPipeError):
            why = self._end()
            raise BadMedia(
                f"{path}: the process that unpacked it ended ({why}), as it does with a file that was made to bring it down; "
                "leave the file out."
            ) from None
        except BadMedia:
            raise
        except BaseException:
            self._end()  # stopped in the middle: what is still in the pipe would be taken for the next film's
            raise

    def _started(self, deadline: float) -> subprocess.Popen[bytes]:
        if self._process is None:
            package = Path(__file__).parents[2]
            command = [sys.executable, "-P", "-c", _START, str(package), str(self.memory)]
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # of its own session, so that a terminal's Ctrl-C is not for it, from its first moment on
            self._held.clear()
            try:
                self._line(deadline)
            except EOFError:
                raise RuntimeError(f"expected a process that unpacks films, and it ended: {self._end()}") from None
        return self._process

    def _end(self) -> str:
        """End the process, and say how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "it was not there"
        if process.stdin and process.stdout:
            process.stdout.close()
            with suppress(BrokenPipeError):
                process.stdin.close()
        try:
            code = process.wait(0.2)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def _line(self, deadline: float) -> bytes:
        while (end := self._held.find(b"\n")) < 0:
            self._more(deadline)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    def _take(self, count: int, deadline: float) -> bytes:
        while len(self._held) < count:
            self._more(deadline)
        taken = bytes(self._held[:count])
        del self._held[:count]
        return taken

    def _more(self, deadline: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError
        got = os.read(pipe, 1 << 20)
        if not got:
            raise EOFError
        self._held += got


def serve(memory: int) -> None:
    """The other process: a line of JSON in, windows and a line of JSON out, until there is no more."""
    import av  # noqa: F401 (before the limits: what loading it takes is not the film's)

    from vitascope.media.fitting import Measure, cut

    out = sys.stdout.buffer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group, and the other end says when to stop
    _limit(memory)

    def tell(**what: Any) -> None:
        out.write(json.dumps(what).encode() + b"\n")
        out.flush()

    def give(window: Any) -> None:
        tell(window=window.nbytes)
        out.write(window.tobytes())

    tell(ready=True)
    for line in sys.stdin.buffer:
        path, *measure = json.loads(line)
        try:
            seen = cut(path, Measure(*measure), give)
        except BadMedia as error:
            tell(fault=str(error))
        else:
            tell(seen=seen._asdict())


def _limit(memory: int) -> None:
    import resource

    pages = Path("/proc/self/statm")
    if pages.is_file():  # elsewhere the limit on addresses means little; the limit on time holds everywhere
        now = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
