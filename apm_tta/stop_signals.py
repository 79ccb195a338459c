"""Signals that stop a command: Ctrl-C as Python handles it, and SIGTERM in the same way."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from apm_tta.errors import INTERRUPTED, TERMINATED


class Terminated(KeyboardInterrupt):
    """The exception for SIGTERM, which batch systems and service managers send before they kill a process."""


@contextmanager
def terminable() -> Iterator[None]:
    """Raise ``Terminated`` on SIGTERM within the block, so that everything is cleaned up as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_word(stop: KeyboardInterrupt) -> str:
    """Describe in one word how the command was stopped."""
    return "terminated" if isinstance(stop, Terminated) else "interrupted"


def stop_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that shells use for it."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
