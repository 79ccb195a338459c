"""The part of the test set that a method sees, and the values that methods share instead of recomputing them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar, cast

import torch
from PIL import Image
from torch import Tensor

from apm_tta.guard.seals import Seal
from apm_tta.methods.clock import Clock, Elapsed
from apm_tta.methods.images import Images

T = TypeVar("T")


@dataclass
class Meter:
    """What a method's prediction took, and would have taken without other methods; read it once that is over.

    Attributes:
        elapsed: time spent by the method itself, excluding what it shares with others.
        costs: of every shared value that it used, whichever method computed it first; None where that was not measured
            (features from a cache).
        lent: keys of the shared values that the method itself was given.
    """

    elapsed: Elapsed = field(default_factory=Elapsed)
    costs: list[Elapsed | None] = field(default_factory=list)
    lent: set[Hashable] = field(default_factory=set)

    @property
    def own(self) -> float:
        """Milliseconds of the method itself."""
        return self.elapsed.milliseconds

    @property
    def shared(self) -> float | None:
        """Milliseconds of all shared values that it used; None where one of them was not measured."""
        known = [cost.milliseconds for cost in self.costs if cost is not None]
        return sum(known) if len(known) == len(self.costs) else None

    @property
    def alone(self) -> float | None:
        """Milliseconds that the prediction would have cost without any other method."""
        shared = self.shared
        return None if shared is None else self.own + shared


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
        nested: time that the computations inside it took.
        used: keys of the shared values that it used.
        lent: keys of those that were given to a method itself.
    """

    nested: Elapsed = field(default_factory=Elapsed)
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
        device: whose work is timed.

    Attributes:
        device: as given; the CPU unless given.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self._clock = Clock(self.device)
        self._values: dict[Hashable, Any] = {}
        self._costs: dict[Hashable, Elapsed | None] = {}
        self._given: list[CommonKey] = []
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
                started = self._clock.now()
                value = compute()
                elapsed = self._clock.since(started)
            self._store(key, value, elapsed - frame.nested, frame.used)
            if self._running:
                self._running[-1].nested += elapsed
        if self._running:
            self._running[-1].used |= {key, *self._uses[key]}
        # Inside another computation, whose result is what the method gets, it is in nobody's hands.
        if lend and len(self._running) == 1:
            self._lend(key)
        return cast(T, self._values[key])

    def changes(self, meter: Meter) -> list[tuple[str, Tensor]]:
        """Look at every value that was lent within the metered block.

        Returns:
            Its name, and whether it is no longer what it was: one boolean, on the value's device.
        """
        found = []
        for key in meter.lent:
            seal = self._seals[key]
            replaced = self._values[key] is not seal.value
            found.append((str(key), torch.tensor(True) if replaced else seal.broken()))
        return found

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
        cost = self._costs[key]
        return None if cost is None else cost.milliseconds

    @property
    def given(self) -> tuple[CommonKey, ...]:
        """The keys of the values that came from elsewhere; see ``put``."""
        return tuple(self._given)

    def put(self, key: CommonKey, value: Any, milliseconds: float | None) -> None:
        """Store a value from elsewhere: a loading process that timed it, or a cache on disk (None: cost unknown).

        Raises:
            RuntimeError: when a method is answering.
        """
        if self._running:
            raise RuntimeError("a method cannot put what others share; compute it with batch.shared.get")
        self._store(key, value, None if milliseconds is None else Elapsed(milliseconds), set())
        self._given.append(key)

    @contextmanager
    def metered(self) -> Iterator[Meter]:
        """Time the block as one method's work; the meter is complete when the block ends."""
        meter = Meter()
        with self._timed() as frame:
            started = self._clock.now()
            yield meter
            elapsed = self._clock.since(started)
        meter.elapsed, meter.lent = elapsed - frame.nested, frame.lent
        meter.costs = [self._costs[key] for key in frame.used]

    def _lend(self, key: Hashable) -> None:
        """Note that the method has the value, and what it is; that takes none of the method's time."""
        frame = self._running[-1]
        if key not in self._seals:
            started = self._clock.now()
            self._seals[key] = Seal(self._values[key])
            frame.nested += self._clock.since(started)
        frame.lent.add(key)

    def _store(self, key: Hashable, value: Any, cost: Elapsed | None, uses: set[Hashable]) -> None:
        self._values[key], self._costs[key], self._uses[key] = value, cost, uses

    @contextmanager
    def _timed(self) -> Iterator[_Frame]:
        frame = _Frame()
        self._running.append(frame)
        try:
            yield frame
        finally:
            self._running.pop()


@dataclass(frozen=True)
class Batch:
    """Images and their ids, without labels or anything that contains a label.

    Attributes:
        ids: stable names of the images.
        images: in RGB, of PIL; each is made when it is first asked for where a loading process read it. See ``Images``.
        shared: values that the methods compute from these images once for all of them.
    """

    ids: tuple[str, ...]
    images: Sequence[Image.Image]
    shared: Shared = field(default_factory=Shared, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.images, Images):
            object.__setattr__(self, "images", Images(self.images))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def tensors(self) -> list[Tensor]:
        """The images as tensors ``(H, W, 3)``, ``uint8``, on the CPU, into which nobody may write."""
        return cast(Images, self.images).tensors()


def _code_of(function: Callable[[], Any]) -> Hashable:
    """Return what is the same for one function wherever it is defined anew, and differs from every other's."""
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__code__", None) or (type(function).__module__, type(function).__qualname__)
