"""Time on a device that works through a queue: measured by events in the queue, without waiting for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

Mark = Any
"""A moment: milliseconds of the CPU's clock, or an event in the queue of a GPU."""


@dataclass(frozen=True)
class Elapsed:
    """A length of time, or a sum of some. On a GPU it can be read once the device has come that far.

    Attributes:
        known: milliseconds that are known already.
        spans: pairs of events, with the sign by which the time between them counts.
    """

    known: float = 0.0
    spans: tuple[tuple[int, Mark, Mark], ...] = ()

    @property
    def milliseconds(self) -> float:
        """The sum; waits for the last of the events, which is over where the answers are on the CPU."""
        return self.known + sum(sign * _between(start, end) for sign, start, end in self.spans)

    def __add__(self, other: Elapsed) -> Elapsed:
        return Elapsed(self.known + other.known, self.spans + other.spans)

    def __sub__(self, other: Elapsed) -> Elapsed:
        negative = tuple((-sign, start, end) for sign, start, end in other.spans)
        return Elapsed(self.known - other.known, self.spans + negative)


class Clock:
    """A clock of one device.

    Args:
        device: whose work is timed.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def now(self) -> Mark:
        """Return this moment, or the one at which the device is done with all that it was given until now."""
        if self._device.type != "cuda":
            return 1000 * time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def since(self, start: Mark) -> Elapsed:
        """Return the time from ``start`` until now."""
        end = self.now()
        return Elapsed(spans=((1, start, end),)) if self._device.type == "cuda" else Elapsed(end - start)


def _between(start: Mark, end: Mark) -> float:
    end.synchronize()
    elapsed: float = start.elapsed_time(end)
    return elapsed
