"""Standard input, output and errors, any of which may be closed, full, a pipe that nobody reads, or in ASCII."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from apm_tta.errors import UserError
from apm_tta.system.stop_signals import OutputLost

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _Output(io.FileIO):
    """Standard output: what cannot be written ends the command, and is said once."""

    _lost = False

    def write(self, content: ReadableBuffer, /) -> int:
        if not self._lost:
            try:
                return super().write(content)
            except OSError as error:
                self._lost = True  # the interpreter flushes once more at its end
                self._end(error)
        return memoryview(content).nbytes

    def _end(self, error: OSError) -> None:
        if error.errno == errno.EPIPE:
            raise OutputLost from None
        raise UserError(f"standard output cannot be written ({error.strerror or error})") from None


class _Errors(_Output):
    """Standard errors: what cannot be written is dropped, since there is nowhere left to say so."""

    def _end(self, error: OSError) -> None:
        return


def own_streams() -> None:
    """Open what is closed among the three streams, and take over output and errors; for a process of its own.

    The number of a closed stream would be given to the next file that is opened, such as one of records, and whatever a
    library prints would be written into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stdout = _text(_Output(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Errors(2, "w", closefd=False), sys.stderr)


def _text(raw: io.FileIO, before: TextIO | None) -> TextIO:
    encoding = "utf-8" if before is None else before.encoding
    by_line = raw.fileno() == 2 or raw.isatty()
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=by_line
    )


@contextmanager
def errors_dropped() -> Iterator[None]:
    """Drop what libraries print to the standard errors within the block, past Python as well."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def whole_output() -> Iterator[None]:
    """Escape what a stream's encoding lacks, and write all of the output before the block ends."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def say(message: str) -> None:
    """Print one line to the standard errors, if that is possible."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"run-bench: {message}\n")
        sys.stderr.flush()
