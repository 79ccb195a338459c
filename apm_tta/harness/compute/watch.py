"""Clocks that run while methods are timed: a fixed reference before and after, and CPU time beside wall time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from apm_tta.harness.quietness import Clocks, Stretch, summarise
from apm_tta.methods.clock import Clock

_SIDES = {"cpu": 384, "cuda": 1024}
_REPETITIONS = 5
_ENOUGH_MS = 10.0
"""Of a reference that takes this long there is one repetition: something else runs, and it should not cost more."""
_FRESH_S = 1.0
"""How long a measurement of the reference holds. It takes some 4 ms, so this keeps it below a hundredth of the time."""


def measure_reference(device: torch.device) -> float:
    """Return the milliseconds of a product of two matrices of fixed size, on a device and all threads of the process.

    The median of a few: one of them may meet what even an idle machine does now and then. Nothing is kept, so that the
    device's peak memory stays that of the methods.
    """
    clock, side = Clock(device), _SIDES.get(device.type, _SIDES["cpu"])
    factor = torch.ones(side, side, device=device)
    factor @ factor  # which may wait for the device, or for threads to wake
    times: list[float] = []
    while len(times) < _REPETITIONS and sum(times) < _ENOUGH_MS:
        started = clock.now()
        factor @ factor
        times.append(clock.since(started).milliseconds)
    return statistics.median(times)


def processor_seconds(device: torch.device) -> float:
    """Return the CPU time of what computes on a device until now.

    That is this thread; with a GPU all threads, since gradients are computed in another one, for which this one sleeps.
    """
    return time.process_time() if device.type == "cuda" else time.thread_time()


@dataclass
class _Pending:
    """What a method has taken since the reference was measured last."""

    seconds: float = 0.0
    processor_seconds: float = 0.0


class Watch:
    """Watches whether something else runs while methods are timed.

    Methods take turns, batch by batch: the reference is measured at the first turn, at the last, and between turns
    where the last measurement is older than ``_FRESH_S``.

    Args:
        device: of the methods.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pending: dict[Hashable, _Pending] = {}
        self._stretches: dict[Hashable, list[Stretch]] = {}
        self._taken: dict[Hashable, int] = {}
        self._last = self._at = float("-inf")

    @contextmanager
    def during(self, *timed: Hashable) -> Iterator[None]:
        """Watch the block, in which all of ``timed`` are timed."""
        if time.perf_counter() - self._at > _FRESH_S:
            self._look()
        wall, processor = time.perf_counter(), processor_seconds(self._device)
        yield
        processor, wall = processor_seconds(self._device) - processor, time.perf_counter() - wall
        for each in timed:
            pending = self._pending.setdefault(each, _Pending())
            pending.seconds += wall
            pending.processor_seconds += processor

    def end(self) -> dict[Hashable, Clocks]:
        """Return what the clocks said since the last end, by what was timed."""
        if self._pending:
            self._look()
        found = {timed: summarise(stretches) for timed, stretches in self._stretches.items()}
        self._stretches = {}
        return {timed: clocks for timed, clocks in found.items() if clocks is not None}

    def take_new(self) -> dict[Hashable, list[Stretch]]:
        """Return the stretches since they were taken last, or put."""
        if self._pending:
            self._look()
        new = {timed: stretches[self._taken.get(timed, 0) :] for timed, stretches in self._stretches.items()}
        self._taken = {timed: len(stretches) for timed, stretches in self._stretches.items()}
        return new

    def put(self, timed: Hashable, stretches: Iterable[Stretch]) -> None:
        """Add stretches from before; they are new to ``take_new``."""
        self._stretches.setdefault(timed, []).extend(stretches)

    def _look(self) -> None:
        now = measure_reference(self._device)
        for timed, own in self._pending.items():
            stretch = Stretch(own.seconds, own.processor_seconds, self._last, now)
            self._stretches.setdefault(timed, []).append(stretch)
        self._pending, self._last, self._at = {}, now, time.perf_counter()
