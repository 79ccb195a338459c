"""The part of the test set that a method sees, and the values that methods share instead of recomputing them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import torch
from PIL import Image

from apm_tta.guard.seals import Seal

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
        lent: keys of the shared values that the method itself was given.
    """

    own: float = 0.0
    shared: float | None = 0.0
    lent: set[Hashable] = field(default_factory=set)

    @property
    def alone(self) -> float | None:
        """Return what the prediction would have cost without any other method."""
        return None if self.shared is None else self.own + self.shared


@dataclass(frozen=True)
class _Computed:
    """The key of a value that a method shares by itself, with the code that computes it."""

    key: Hashable
    code: Hashable

    def __str__(self) -> str:
        return str(self.key[0] if isinstance(self.key, tuple) and self.key else self.key)


@dataclass
class _Frame:
    """One running computation.

    Attributes:
        nested: milliseconds that the computations inside it took.
        used: keys of the shared values that it used.
        lent: keys of those that were given to a method itself.
    """

    nested: float = 0.0
    used: set[Hashable] = field(default_factory=set)
    lent: set[Hashable] = field(default_factory=set)


@dataclass(frozen=True)
class CommonKey:
    """The key of a value that every method gets, whichever requests it first: see ``shared_values``.

    Attributes:
        what: the value, in words.
        of: what it depends on beside the images.
    """

    what: str
    of: tuple[Any, ...]

    def __str__(self) -> str:
        return self.what


class Shared:
    """Values that several methods request, each computed at the first request, along with its own cost.

    Under a ``CommonKey`` lies what this package computes for all methods. Any other key goes with the code that makes
    its value, so that a method which happens to choose another's key does not get the other's value.

    Args:
        device: synchronised before every reading of the clock.

    Attributes:
        device: as given; the CPU unless given.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self._values: dict[Hashable, Any] = {}
        self._costs: dict[Hashable, float | None] = {}
        self._uses: dict[Hashable, set[Hashable]] = {}
        self._running: list[_Frame] = []
        self._seals: dict[Hashable, Seal] = {}

    def get(self, key: Hashable, compute: Callable[[], T], lend: bool = True) -> T:
        """Return the value of ``key``, calling ``compute`` at the first request.

        Args:
            key: of the value, among those that the same code computes.
            compute: returns it.
            lend: whether the caller may pass the value itself to a method, which must not change it.
        """
        if not isinstance(key, CommonKey):
            key = _Computed(key, _code_of(compute))
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
        # Inside another computation, whose result is what the method gets, it is in nobody's hands.
        if lend and len(self._running) == 1:
            self._lend(key)
        return cast(T, self._values[key])

    def changed(self, meter: Meter) -> str | None:
        """Return the name of a value that was lent within the metered block and is no longer what it was."""
        for key in meter.lent:
            seal = self._seals[key]
            if self._values[key] is not seal.value or seal.broken:
                return str(key)
        return None

    def has(self, key: CommonKey) -> bool:
        """Return whether a value of ``key`` has been computed or stored."""
        return key in self._values

    def of(self, key: CommonKey) -> Any:
        """Return the value of ``key``, which must exist."""
        if self._running:
            self._lend(key)
        return self._values[key]

    def cost(self, key: CommonKey) -> float | None:
        """Return the milliseconds that ``key``, which must exist, took by itself; None where that was not measured."""
        return self._costs[key]

    def put(self, key: CommonKey, value: Any, milliseconds: float | None) -> None:
        """Store a value from elsewhere: a loading process that timed it, or a cache on disk (None: cost unknown).

        Raises:
            RuntimeError: when a method is answering.
        """
        if self._running:
            raise RuntimeError("a method cannot put what others share; compute it with batch.shared.get")
        self._store(key, value, milliseconds, set())

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Time the block as one method's work; the meter is complete when the block ends."""
        meter = Meter()
        with self._timed() as frame:
            started = self._clock()
            yield meter
            elapsed = self._clock() - started
        meter.own, meter.lent = elapsed - frame.nested, frame.lent
        costs = [self._costs[key] for key in frame.used]
        meter.shared = None if None in costs else sum(cost for cost in costs if cost is not None)

    def _lend(self, key: Hashable) -> None:
        """Note that the method has the value, and what it is; that takes none of the method's time."""
        frame = self._running[-1]
        if key not in self._seals:
            started = self._clock()
            self._seals[key] = Seal(self._values[key])
            frame.nested += self._clock() - started
        frame.lent.add(key)

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
        synchronize(self.device)
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


def _code_of(function: Callable[[], Any]) -> Hashable:
    """Return what is the same for one function wherever it is defined anew, and differs from every other's."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__code__", None) or (type(function).__module__, type(function).__qualname__)
