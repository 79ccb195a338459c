"""Work that libraries do outside Python's lock, on several threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from apm_tta.system.cores import usable_cores

_MOST = 4
"""Threads: what stays inside the lock leaves nothing to gain for more, and each has its arrays in memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Apply a function to every item, several at the same time; results are in the order of the items.

    Raises:
        Exception: what the function raised for the first item for which it raised.
    """
    threads = min(_MOST, usable_cores())
    if threads == 1:
        return list(map(function, items))
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, items))
