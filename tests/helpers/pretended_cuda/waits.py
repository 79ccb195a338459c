"""When a process waits for the device, and what it may read before it has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_READING = {
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::bincount"),
    *("aten::_unique2", "aten::unique_dim", "aten::unique_consecutive", "aten::repeat_interleave.Tensor"),
}
"""Operations whose result is a number, or has a size that depends on values."""

BY_INDEX = ("aten::index.Tensor", "aten::index_put_", "aten::index_put", "aten::_index_put_impl_")


class Waits:
    """How often a process waited for the device, by the reason.

    A copy to pinned memory does not make it wait, and leaves nonsense there until the process has waited.

    Attributes:
        reasons: counts by what was waited for.
        number: of waits since the process began, whether they were counted or not.
    """

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.number = 0
        self._on_the_way: list[tuple[Tensor, Tensor]] = []
        self._ignored = 0

    def clear(self) -> None:
        """Count from 0."""
        self.reasons.clear()

    @property
    def total(self) -> int:
        """The number of waits, whatever for."""
        return self.reasons.total()

    def note(self, reason: str) -> None:
        """Count a wait: what was on the way to the host has arrived then."""
        if self._ignored:
            return
        self.reasons[reason] += 1
        self.finish_copies()

    def note_reading(self, operation: str, tensors: list[Tensor]) -> None:
        """Count a wait where ``operation`` on tensors of the device needs their values on the host."""
        if operation in _READING:
            self.note(operation.removeprefix("aten::"))
        elif operation in BY_INDEX:
            # Assigning one number under a mask is a filling, whose size is known.
            filling = operation != "aten::index.Tensor" and tensors[-1].ndim == 0
            if not filling and any(each.dtype in (torch.bool, torch.uint8) for each in tensors[1:]):
                self.note("index by a mask")

    def copy_later(self, target: Tensor, source: Tensor) -> None:
        """Begin a copy that ends at the next wait; until then ``target`` holds what nobody computed."""
        self._on_the_way.append((target, source.clone()))
        target.fill_(torch.nan if target.is_floating_point() else 77)

    def finish_copies(self) -> None:
        """Let everything arrive that is on the way to the host."""
        self.number += 1
        arrived, self._on_the_way = self._on_the_way, []
        for target, source in arrived:
            target.copy_(source)

    @contextmanager
    def ignored(self) -> Iterator[None]:
        """Count nothing in the block: what torch looks at in the CPU's form of an operation, and not in CUDA's."""
        self._ignored += 1
        try:
            yield
        finally:
            self._ignored -= 1


WAITS = Waits()
