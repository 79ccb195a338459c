"""Memory that two processes share, so that arrays cross without being copied through a pipe.

A block is an anonymous file of the kernel's: it has no name that could stay behind, lies in no folder that a container
may have made too small, and is gone when both processes are. Where there are none, arrays cross in the pipe.
"""

from __future__ import annotations

import mmap
import os
import pickle
import weakref
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

_ALIGNMENT = 64
_SMALLEST = 1 << 20
_LEAST_SHARED = 1 << 15
"""Arrays of fewer bytes in all are not worth a block."""


@dataclass(frozen=True)
class _Head:
    """What comes before a message's pickle.

    Attributes:
        block: number of the block that holds its arrays; None where they follow in the pipe.
        parts: first byte and length of each array.
        size: of the block, if its file comes along with this message; 0 where it is known already.
        dropped: numbers of blocks that are not used any more.
    """

    block: int | None
    parts: tuple[tuple[int, int], ...]
    size: int = 0
    dropped: tuple[int, ...] = ()


class Sender:
    """The side that fills blocks: in a process of its own, whose receiver says which of them it has done with.

    Args:
        pipe: to the receiver.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._blocks: dict[int, tuple[int, mmap.mmap]] = {}
        self._free: list[int] = []
        self._count = 0

    def release(self, numbers: Sequence[int]) -> None:
        """Use blocks again that the receiver has done with."""
        self._free += numbers

    def send(self, pickled: bytes, arrays: Sequence[pickle.PickleBuffer]) -> None:
        """Send a pickle and the arrays that belong to it."""
        views = [array.raw() for array in arrays]
        total = sum(-(-view.nbytes // _ALIGNMENT) * _ALIGNMENT for view in views)
        number, size, dropped = self._block_for(total) if total >= _LEAST_SHARED else (None, 0, ())
        parts, start = [], 0
        for view in views:
            parts.append((start, view.nbytes))
            if number is not None:
                self._blocks[number][1][start : start + view.nbytes] = view
            start += -(-view.nbytes // _ALIGNMENT) * _ALIGNMENT
        self._pipe.send_bytes(pickle.dumps(_Head(number, tuple(parts), size, dropped)))
        if number is not None and size:
            reduction.send_handle(self._pipe, self._blocks[number][0], None)
            os.close(self._blocks[number][0])
        self._pipe.send_bytes(pickled)
        for view in views if number is None else ():
            self._pipe.send_bytes(view)

    def _block_for(self, total: int) -> tuple[int | None, int, tuple[int, ...]]:
        """Return a block or None, its size where it is new, and the blocks that are too small to be kept."""
        small = [number for number in self._free if len(self._blocks[number][1]) < total]
        for number in small:
            self._free.remove(number)
            del self._blocks[number]
        if self._free:
            return self._free.pop(), 0, tuple(small)
        size = max(_SMALLEST, 1 << (total - 1).bit_length())
        try:
            file = os.memfd_create("apm-tta", os.MFD_CLOEXEC)
        except (AttributeError, OSError):
            return None, 0, tuple(small)
        try:
            # All of it now: memory that cannot be had later would end the process without a word.
            os.posix_fallocate(file, 0, size)
            memory = mmap.mmap(file, size)
        except OSError:
            os.close(file)
            return None, 0, tuple(small)
        self._count += 1
        self._blocks[self._count] = file, memory
        return self._count, size, tuple(small)


class Receiver:
    """The side that reads blocks: arrays lie in them, and a block is free again when none of them is held any more.

    Args:
        pipe: to the sender.
    """

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._blocks: dict[int, mmap.mmap] = {}
        # Filled wherever the last array of a block happens to be forgotten; emptied by whoever receives.
        self._done: deque[int] = deque()

    def released(self) -> list[int]:
        """Return, once, the blocks of which nothing is held any more."""
        numbers = []
        while self._done:
            numbers.append(self._done.popleft())
        return numbers

    def receive(self) -> Any:
        """Wait for a message, and return what it holds.

        Raises:
            EOFError: when the sender is gone, as for OSError.
        """
        head: _Head = pickle.loads(self._pipe.recv_bytes())
        for number in head.dropped:
            del self._blocks[number]
        if head.block is not None and head.size:
            file = reduction.recv_handle(self._pipe)
            try:
                self._blocks[head.block] = mmap.mmap(file, head.size)
            finally:
                os.close(file)
        pickled = self._pipe.recv_bytes()
        if head.block is None:
            return pickle.loads(pickled, buffers=[bytearray(self._pipe.recv_bytes()) for _ in head.parts])
        whole = np.frombuffer(self._blocks[head.block], np.uint8)
        # Every array that is unpickled holds a part of ``whole``, and so ``whole`` itself.
        weakref.finalize(whole, self._done.append, head.block).atexit = False
        return pickle.loads(pickled, buffers=[whole[start : start + length] for start, length in head.parts])
