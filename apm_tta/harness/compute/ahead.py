"""Work that is done ahead, in processes of its own, in the order in which it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

from apm_tta.harness.compute.child_processes import Child, ended, packed
from apm_tta.harness.compute.sendable_error import sendable

T = TypeVar("T")
R = TypeVar("R")


def results_ahead(
    work: Callable[[T], R], items: Sequence[T], processes: int, context: BaseContext, begin: Callable[[], None]
) -> Iterator[R]:
    """Yield ``work(item)`` for every item, in their order.

    The i-th of n processes works on every n-th item from the i-th on; each is up to two results ahead of what is asked
    for. All of them are ended when the iterator is.

    Args:
        work: called in the processes.
        items: in their order.
        processes: how many there are; no more than there are items.
        context: how they are started.
        begin: called once in each process.

    Raises:
        CannotStart: when a process cannot be started.
        Lost: when a process was killed.
        Exception: what ``work`` raises for an item, in its place.
    """
    count = min(processes, len(items))
    children: list[Child] = []
    with ended(children):
        for number in range(count):
            children.append(Child(context, _serve, begin, work, items[number::count]))
        for number in range(len(items)):
            result = children[number % count].receive()
            if isinstance(result, _Failed):
                raise result.error
            yield result


class _Failed:
    def __init__(self, error: Exception) -> None:
        self.error = error


def _serve(pipe: Connection, begin: Callable[[], None], work: Callable[[Any], Any], items: Sequence[Any]) -> None:
    begin()
    sending: Future[None] | None = None
    with ThreadPoolExecutor(1) as sender:  # waits where results are not asked for yet
        for item in items:
            content = _packed_result(work, item)
            if sending is not None:
                sending.result()
            sending = sender.submit(pipe.send_bytes, content)
    if sending is not None:
        sending.result()


def _packed_result(work: Callable[[Any], Any], item: Any) -> bytes:
    try:
        return packed(work(item))
    except Exception as error:
        return packed(_Failed(sendable(error)))
