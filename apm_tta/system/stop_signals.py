"""Signals that stop a command: Ctrl-C, and those by which terminals, batch systems and service managers stop a process.

Each raises ``Stopped`` in the main thread, so that everything is cleaned up on the way out.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from apm_tta.errors import UserError

STOP_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
)
"""Slurm sends SIGTERM, and as told SIGUSR1 or SIGUSR2 before; a limit of CPU time SIGXCPU; a closed terminal SIGHUP."""

_PIPE = getattr(signal, "SIGPIPE", 13)
_WORDS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", _PIPE: "stopped, as nobody reads the output"}
_FROM_SHELLS = 128


class Stopped(KeyboardInterrupt):
    """The exception for a signal.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    def __str__(self) -> str:
        return stop_word(self)


class OutputLost(Stopped):
    """Nobody reads the standard output any more. Python gets an error where other programs get this signal."""

    def __init__(self, number: int = _PIPE) -> None:
        super().__init__(number)


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise ``Stopped`` within the block for every signal of ``STOP_SIGNALS``.

    A signal that was ignored before, as SIGHUP under ``nohup``, stays ignored; one for which somebody else has set a
    handler keeps it. What this process forks ignores them: the process that was asked decides.
    """
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    taken = [number for number in STOP_SIGNALS if before[number] in (signal.SIG_DFL, signal.default_int_handler)]
    if taken:
        _received.clear()
    handle = _handler(os.getpid())
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is handle:
                signal.signal(number, before[number])


def let_end(code: int) -> None:
    """Let the process end once all is written and said: in what the interpreter still does nothing may be raised.

    After a stop further signals are ignored, so that the first one's code stays; otherwise they cut the end off.
    """
    for number in STOP_SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_IGN if code > _FROM_SHELLS else signal.SIG_DFL)


_received: list[int] = []
"""What was raised: a library may catch it and raise a plain ``KeyboardInterrupt`` in its place, as Ray does."""


_holding: list[bool] = []
_held: list[int] = []
"""One entry for every block that holds signals back, and what came meanwhile."""


def _handler(process: int) -> Callable[[int, FrameType | None], None]:
    def handle(number: int, _frame: FrameType | None) -> None:
        # A second signal while the first one is being followed would break what cleans up.
        if _holding and os.getpid() == process:  # another thread got it, which does not hold signals back
            _held.append(number)
        elif os.getpid() == process and not _is_stopping():
            _received.append(number)
            raise Stopped(number)

    return handle


def _is_stopping() -> bool:
    """Return whether what is being handled at this moment follows from a signal."""
    error, seen = sys.exc_info()[1], set()
    while error is not None and id(error) not in seen:
        if isinstance(error, KeyboardInterrupt):
            return True
        seen.add(id(error))
        error = error.__context__
    return False


@contextmanager
def stop_says(advice: str) -> Iterator[None]:
    """Turn a stop within the block into one line that ends with ``advice``.

    Raises:
        UserError: with the exit code that shells use for the signal.
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        raise UserError(stop_word(stop), stop_code(stop), advice=advice) from None


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals back until the end of the block; processes that are started in it never get them.

    A program that this process starts keeps them held from its first instruction, where a handler would come late.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    _holding.append(True)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _holding.pop()
        while _held and not _holding:
            os.kill(os.getpid(), _held.pop())


@contextmanager
def handlers_kept() -> Iterator[None]:
    """Put the handlers of signals back at the end of the block: libraries set their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def stop_word(stop: KeyboardInterrupt) -> str:
    """Describe in a few words how the command was stopped."""
    number = _number(stop)
    return _WORDS.get(number) or f"stopped by {signal.Signals(number).name}"


def stop_code(stop: KeyboardInterrupt) -> int:
    """Return the exit code that shells use for it: 128 and the number of the signal."""
    return _FROM_SHELLS + _number(stop)


def _number(stop: KeyboardInterrupt) -> int:
    if isinstance(stop, Stopped):
        return stop.number
    return _received[-1] if _received else signal.SIGINT
