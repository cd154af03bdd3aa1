"""Ending when asked to: SIGTERM unwinds the stack like an error, so that nothing half written stays behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stopped(BaseException):
    """Somebody asked this process to end."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Within the block SIGTERM raises Stopped. Only the main thread hears signals; elsewhere this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Stopped("stopped; nothing was left half written")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
