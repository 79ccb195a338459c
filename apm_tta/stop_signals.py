"""Being told to stop: Ctrl-C as Python has it, and SIGTERM likewise."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from apm_tta.errors import INTERRUPTED, TERMINATED


class Terminated(KeyboardInterrupt):
    """SIGTERM: what batch systems and service managers send before they kill."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises ``Terminated``, so that everything is put away as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
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
    """Return what happened, in one word."""
    return "terminated" if isinstance(stop, Terminated) else "interrupted"


def stop_code(stop: KeyboardInterrupt) -> int:
    """The exit code that shells have for it."""
    return TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
