"""Tracebacks go into a file: they are for whoever mends the program, not for whoever uses it."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import threading
import traceback
from types import TracebackType
from typing import TYPE_CHECKING

from apm_tta.errors import describe_error
from apm_tta.system.standard_streams import say
from apm_tta.system.stop_signals import Stopped

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

_AGAIN_S = 0.05


def unexpected(error: BaseException) -> str:
    """Write the traceback of an error that nobody expected to a new temporary file; return the line that says so."""
    short = describe_error(error)
    try:
        text = "".join(traceback.format_exception(error))
        number, path = tempfile.mkstemp(prefix="run-bench-", suffix=".log")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{sys.argv}, Python {sys.version}, {sys.platform}\n{text}")
    except Exception as failure:  # the disk is full, or the memory used up: there is nothing left to try
        return f"unexpected {short} (its traceback could not be written: {type(failure).__name__})"
    return f"unexpected {short} (traceback in {path})"


def keep_tracebacks_in_files() -> None:
    """Print no traceback where no frame catches it: in a thread, at an object's end, at the interpreter's end."""
    logging.raiseExceptions = False
    sys.excepthook = _uncaught
    threading.excepthook = _in_thread
    sys.unraisablehook = _unraisable


def _uncaught(_kind: type[BaseException], error: BaseException, _traceback: TracebackType | None) -> None:
    if not isinstance(error, KeyboardInterrupt):
        say(unexpected(error))


def _in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None:
        say(unexpected(failed.exc_value))


def _unraisable(lost: UnraisableHookArgs) -> None:
    error = lost.exc_value
    if isinstance(error, Stopped):  # where nothing could follow it, such as at an object's end
        threading.Timer(_AGAIN_S, os.kill, (os.getpid(), error.number)).start()
    elif isinstance(error, Exception) and not sys.is_finalizing():
        say(unexpected(error))
