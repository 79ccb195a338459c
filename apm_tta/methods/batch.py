"""The part of the test set that a method sees, and the values that methods share instead of recomputing them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import torch
from PIL import Image

T = TypeVar("T")


def synchronize(device: torch.device) -> None:
    """Wait until all work queued on ``device`` is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass
class Meter:
    """Milliseconds that a method's prediction took, and would have taken without other methods.

    Attributes:
        own: time spent by the method itself, excluding what it shares with others.
        shared: time of every shared value that it used, whichever method computed it first; None where that was not
            measured (features from a cache).
    """

    own: float = 0.0
    shared: float | None = 0.0

    @property
    def alone(self) -> float | None:
        """Return what the prediction would have cost without any other method."""
        return None if self.shared is None else self.own + self.shared


@dataclass
class _Frame:
    """One running computation.

    Attributes:
        nested: milliseconds that the computations inside it took.
        used: keys of the shared values that it used.
    """

    nested: float = 0.0
    used: set[Hashable] = field(default_factory=set)


class Shared:
    """Values that several methods request, each computed at the first request, along with its own cost.

    Args:
        device: synchronised before every reading of the clock.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._device = device or torch.device("cpu")
        self._values: dict[Hashable, Any] = {}
        self._costs: dict[Hashable, float | None] = {}
        self._uses: dict[Hashable, set[Hashable]] = {}
        self._running: list[_Frame] = []

    def get(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Return the value of ``key``, calling ``compute`` at the first request."""
        if key not in self._values:
            with self._timed() as frame:
                started = self._clock()
                value = compute()
                elapsed = self._clock() - started
            self._store(key, value, elapsed - frame.nested, frame.used)
            if self._running:
                self._running[-1].nested += elapsed
        if self._running:
            self._running[-1].used |= {key, *self._uses[key]}
        return cast(T, self._values[key])

    def has(self, key: Hashable) -> bool:
        """Return whether a value of ``key`` has been computed or stored."""
        return key in self._values

    def of(self, key: Hashable) -> Any:
        """Return the value of ``key``, which must exist."""
        return self._values[key]

    def cost(self, key: Hashable) -> float | None:
        """Return the milliseconds that ``key``, which must exist, took by itself; None where that was not measured."""
        return self._costs[key]

    def put(self, key: Hashable, value: Any, milliseconds: float | None) -> None:
        """Store a value from elsewhere: a loading process that timed it, or a cache on disk (None: cost unknown)."""
        self._store(key, value, milliseconds, set())

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Time the block as one method's work; the meter is complete when the block ends."""
        meter = Meter()
        with self._timed() as frame:
            started = self._clock()
            yield meter
            elapsed = self._clock() - started
        meter.own = elapsed - frame.nested
        costs = [self._costs[key] for key in frame.used]
        meter.shared = None if None in costs else sum(cost for cost in costs if cost is not None)

    def _store(self, key: Hashable, value: Any, cost: float | None, uses: set[Hashable]) -> None:
        self._values[key], self._costs[key], self._uses[key] = value, cost, uses

    @contextmanager
    def _timed(self) -> Iterator[_Frame]:
        frame = _Frame()
        self._running.append(frame)
        try:
            yield frame
        finally:
            self._running.pop()

    def _clock(self) -> float:
        synchronize(self._device)
        return 1000 * time.perf_counter()


@dataclass(frozen=True)
class Batch:
    """Images and their ids, without labels or anything that contains a label.

    Attributes:
        ids: stable names of the images.
        images: RGB.
        shared: values that the methods compute from these images once for all of them.
    """

    ids: tuple[str, ...]
    images: tuple[Image.Image, ...]
    shared: Shared = field(default_factory=Shared, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.ids)
