"""Processes that work for this one, each at the end of a pipe of its own.

Only the process itself holds its end of the pipe: however it is lost, in the middle of a message too, whoever reads the
other end notices at once. No semaphores are needed, and no shared memory that has a name or a limit of its own.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from typing import Any, TypeVar

import torch

from apm_tta.system.stop_signals import signals_held

T = TypeVar("T")

_END_S = 5.0
"""How long a process may take to end after its pipe is closed."""
_BEFORE_THE_PROCESSES = 100
"""At the end of the interpreter ``multiprocessing`` waits for its processes; before that, they are ended."""


class Lost(Exception):
    """A process ended without having said so.

    Args:
        reason: ``it was killed by SIGKILL``, ``it ended with exit code 1``.
    """


class CannotStart(Exception):
    """No process can be started: there is no memory for it, or no right to another one."""


class Child:
    """A process, and this side of its pipe.

    Args:
        context: how it is started.
        target: called in it with the other side of the pipe and ``arguments``. Stop signals never reach it: the process
            that started it decides, and what that leaves behind ends by itself.
        arguments: of ``target``.

    Raises:
        CannotStart: when no process can be started.
    """

    def __init__(self, context: BaseContext, target: Callable[..., None], *arguments: Any) -> None:
        try:
            self.pipe, other = context.Pipe()
        except OSError as error:
            raise CannotStart(error.strerror or str(error)) from error
        self._process: BaseProcess = context.Process(target=_begin, args=(target, other, *arguments))  # type: ignore[attr-defined]
        # Bound to no object: the frame that should end it may be kept by a traceback until the interpreter's end.
        self.end: Callable[[], object] = Finalize(None, _end, (self._process, self.pipe), None, _BEFORE_THE_PROCESSES)
        try:
            with closing(other), signals_held():
                self._process.start()
        except OSError as error:
            self.end()
            raise CannotStart(error.strerror or str(error)) from error
        except BaseException:  # a signal that was held back: nobody else knows of the process yet
            self.end()
            raise

    def send(self, content: Any) -> None:
        """Send something.

        Raises:
            Lost: when the process is gone.
        """
        try:
            self.pipe.send(content)
        except OSError:
            raise Lost(self._reason()) from None

    def receive(self) -> Any:
        """Wait for what comes next, and return it.

        Raises:
            Lost: when the process ended instead.
        """
        return self.received(lambda: pickle.loads(self.pipe.recv_bytes()))

    def received(self, receive: Callable[[], T]) -> T:
        """Return what ``receive`` reads from the pipe.

        Raises:
            Lost: when the process ended instead.
        """
        try:
            return receive()
        except (EOFError, OSError):
            raise Lost(self._reason()) from None

    def _reason(self) -> str:
        self._process.join(_END_S)
        code = self._process.exitcode
        if code is None or code >= 0:
            return f"it ended with exit code {code}"
        with suppress(ValueError):
            return f"it was killed by {signal.Signals(-code).name}"
        return f"it was killed by signal {-code}"


@contextmanager
def ended(children: list[Child]) -> Iterator[None]:
    """End all processes of the list with the block."""
    try:
        yield
    finally:
        for child in children:
            child.end()


def packed(content: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pickle something to be sent; arrays, and tensors as such, stay apart from the pickle."""
    file, arrays = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(file, 5, buffer_callback=arrays.append).dump(content)
    return file.getvalue(), arrays


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # Tensors have their own way to other processes, by shared memory with a name, and to files, by archives.
        if type(value) is torch.Tensor and value.device.type == "cpu" and value.dtype in _PLAIN:
            return torch.from_numpy, (value.detach().contiguous().numpy(),)
        return NotImplemented


_PLAIN = {torch.float32, torch.float64, torch.float16, torch.uint8, torch.int32, torch.int64, torch.bool}


def _begin(target: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    with signals_held():  # again: a server that forks processes may have been there before
        threading.Thread(target=_end_with_parent, daemon=True).start()
        with suppress(EOFError, BrokenPipeError, ConnectionResetError):  # nobody listens any more
            target(pipe, *arguments)


def _end_with_parent() -> None:
    """End with the process that started this one: one that is killed leaves no process behind, and no lock."""
    parent = parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
        os._exit(1)


def _end(process: BaseProcess, pipe: Connection) -> None:
    pipe.close()
    if process.pid is not None:  # it was started
        process.kill()
        process.join()
