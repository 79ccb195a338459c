"""Work that is done ahead, in processes of its own, in the order in which it is asked for."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from apm_tta.harness.compute.child_processes import Child, ended, packed
from apm_tta.harness.compute.sendable_error import sendable
from apm_tta.harness.compute.shared_blocks import Receiver, Sender

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2
"""Items that a process has been given and whose results have not been asked for: one is being worked on."""


class Ahead(Generic[T, R]):
    """Processes that work ahead of what is asked for.

    The i-th of n processes works on every n-th item from the i-th on, and has up to two results ready. Arrays and
    tensors in a result lie in memory that is shared with the process, which uses it again when nothing holds them.

    Args:
        work: called in the processes.
        processes: how many there are.
        context: how they are started.
        begin: called once in each process.

    Raises:
        CannotStart: when a process cannot be started.
    """

    def __init__(self, work: Callable[[T], R], processes: int, context: BaseContext, begin: Callable[[], None]) -> None:
        self._processes: list[_Process] = []
        self._submitted = self._asked = 0
        # Whoever forgets it without a word does not leave its processes behind.
        weakref.finalize(self, _end, self._processes)
        try:
            for _ in range(processes):
                self._processes.append(_Process(Child(context, _serve, begin, work)))
        except BaseException:
            self.end()
            raise

    def submit(self, items: Sequence[T]) -> None:
        """Have items worked on after all that were submitted before.

        Raises:
            Lost: when a process was killed.
        """
        for item in items:
            self._processes[self._submitted % len(self._processes)].waiting.append(item)
            self._submitted += 1
        for process in self._processes:
            process.give()

    @property
    def outstanding(self) -> int:
        """The number of results that have not been asked for."""
        return self._submitted - self._asked

    def next(self) -> R:
        """Wait for the next result.

        Raises:
            Lost: when the process was killed that works on it.
            Exception: what ``work`` raised.
        """
        process = self._processes[self._asked % len(self._processes)]
        self._asked += 1
        result = process.take()
        if isinstance(result, _Failed):
            raise result.error
        return result  # type: ignore[no-any-return]

    def end(self) -> None:
        """End all processes, whatever they do."""
        _end(self._processes)


def _end(processes: Sequence[_Process]) -> None:
    for process in processes:
        process.child.end()


def results_ahead(
    work: Callable[[T], R], items: Sequence[T], processes: int, context: BaseContext, begin: Callable[[], None]
) -> Iterator[R]:
    """Yield ``work(item)`` for every item, in their order, by processes that end with the iterator; see ``Ahead``."""
    children: list[Child] = []
    with ended(children):
        ahead = Ahead(work, min(processes, len(items)), context, begin)
        children += [process.child for process in ahead._processes]
        ahead.submit(items)
        for _ in items:
            yield ahead.next()


class _Process:
    """One process, what it has been given, and what it is to be given."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.waiting: deque[Any] = deque()
        self._receiver = Receiver(child.pipe)
        self._given = 0

    def give(self) -> None:
        while self.waiting and self._given < _AHEAD:
            self.child.send((self._receiver.released(), self.waiting.popleft()))
            self._given += 1

    def take(self) -> Any:
        result = self.child.received(self._receiver.receive)
        self._given -= 1
        self.give()
        return result


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _serve(pipe: Connection, begin: Callable[[], None], work: Callable[[Any], Any]) -> None:
    begin()
    tasks: SimpleQueue[Any] = SimpleQueue()
    # Read at once: whoever gives tasks must never wait for one who waits for his results to be taken.
    threading.Thread(target=_read, args=(pipe, tasks), daemon=True).start()
    sender = Sender(pipe)
    while (task := tasks.get()) is not None:
        released, item = task
        sender.release(released)
        sender.send(*_packed_result(work, item))


def _read(pipe: Connection, tasks: SimpleQueue[Any]) -> None:
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        tasks.put(None)


def _packed_result(work: Callable[[Any], Any], item: Any) -> tuple[bytes, list[pickle.PickleBuffer]]:
    try:
        return packed(work(item))
    except Exception as error:
        return packed(_Failed(sendable(error)))
