"""What methods cost one by one, measured in rounds: each method takes its turn, so that a drift hits all alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

import torch

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.gathered_features import GatheredFeatures
from apm_tta.harness.compute.loading import Loaded, Place, load
from apm_tta.harness.compute.measure import gflop_of, peak_memory
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.spot_check import takes_single_images
from apm_tta.harness.compute.watch import Watch
from apm_tta.harness.plan import SHARD_SIZE
from apm_tta.harness.storage.times import MethodTimes
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import answer, failures_named, reset
from apm_tta.methods.batch import Shared
from apm_tta.precision import autocast, float32_products

SINGLES = 100
"""Images that a method answers alone; fewer where one takes more than a second."""
BATCHES = 6
"""Batches that a method answers, the first of them to warm up."""
_SINGLES_S, _BATCHES_S = 100.0, 20.0
"""Time after which a method gets no further images alone, and no further batches."""
_LEAST_SINGLES = 10
_WARM_UP = 2
"""Images that a method answers alone before it is timed."""

_DIGITS = 4


@dataclass
class _Turns:
    """Hold what was measured of one method so far."""

    method: Method[Any]
    size: int
    wanted: int = 0
    latencies: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    seconds: float = 0.0
    megabytes: list[float] = field(default_factory=list)
    gflop: float | None = None

    @property
    def whole(self) -> bool:
        """Return whether it answers all images of a condition together."""
        return self.method.protocol == "transductive"


def measure_in_rounds(
    prepared: Prepared, sizes: Mapping[str, int], advance: Callable[[], object] = lambda: None
) -> dict[str, MethodTimes]:
    """Measure every method: single images first, then batches, each image and batch with nothing shared.

    The images are spread over the conditions of the run. Streams begin anew before both.

    Args:
        prepared: the run.
        sizes: images in a batch, by method; of a transductive one ``SHARD_SIZE`` at most.
        advance: called after each of ``SINGLES`` + ``BATCHES`` rounds.

    Raises:
        UserError: when a method fails, or no image can be read.
    """
    device, precision = prepared.teacher.device, prepared.request.suite.precision
    watch = Watch(device)
    first = prepared.request.suite.seeds[0]
    turns = [
        _Turns(method, min(sizes[name], SHARD_SIZE) if method.protocol == "transductive" else sizes[name])
        for name, method in ((name, prepared.asked[name, first]) for name in prepared.methods)
    ]
    rounds = _Rounds(prepared, turns, watch)
    with torch.no_grad(), float32_products(precision, device), autocast(precision, device):
        for _ in rounds.singles():
            advance()
        for _ in rounds.batches():
            advance()
    clocks = watch.end()
    return {
        each.method.given.row: MethodTimes(
            latencies_ms=_rounded(each.latencies),
            batch_ms=_rounded(each.batches[1:] or each.batches),
            batch_size=each.size,
            peak_memory_mb=max(each.megabytes, default=None),
            gflop=each.gflop,
            clocks=clocks[each.method],
        )
        for each in turns
    }


class _Rounds:
    def __init__(self, prepared: Prepared, turns: list[_Turns], watch: Watch) -> None:
        self._dataset, self._conditions = prepared.dataset, prepared.request.conditions
        self._teacher, self._at_once = prepared.teacher, prepared.request.suite.batch_size
        self._turns, self._watch = turns, watch

    def singles(self) -> Iterator[int]:
        """Time single images."""
        single = [each for each in self._turns if takes_single_images(each.method)]
        images = self._single_images()
        for each in single:
            reset(each.method)
            for image in images[:_WARM_UP]:
                milliseconds = self._time(each, self._fresh(image))
            slow = milliseconds > 1000 * _SINGLES_S / SINGLES
            each.wanted = max(_LEAST_SINGLES, math.ceil(1000 * _SINGLES_S / milliseconds)) if slow else SINGLES
            each.gflop = gflop_of(each.method, self._fresh(images[0]))
            reset(each.method)
        for turn in range(SINGLES):
            for each in _rotated(single, turn):
                if turn < each.wanted:
                    with self._watch.during(each.method):
                        each.latencies.append(self._time(each, self._fresh(images[turn % len(images)])))
            yield turn

    def batches(self) -> Iterator[int]:
        """Time batches."""
        for each in self._turns:
            if each.gflop is None and not each.whole:
                each.gflop = gflop_of(each.method, self._fresh(self._images(0, each.size)))
            reset(each.method)
        for turn in range(BATCHES):
            loaded = {size: self._images(turn, size) for size in {each.size for each in self._turns if not each.whole}}
            for each in _rotated(self._turns, turn):
                if each.seconds < _BATCHES_S:
                    with self._watch.during(each.method), peak_memory(self._teacher.device) as peak:
                        batch = self._gathered(turn, each.size) if each.whole else self._fresh(loaded[each.size])
                        each.batches.append(self._time(each, batch))
                    each.size = len(batch)
                    each.seconds += each.batches[-1] / 1000
                    each.megabytes += [] if peak.megabytes is None else [peak.megabytes]
            yield turn
        for each in self._turns:
            reset(each.method)

    def _time(self, each: _Turns, batch: Batch) -> float:
        """Return the milliseconds that a method takes for a batch, of which nothing has been computed yet."""
        with failures_named(each.method.given.row, f"{batch.ids[0]}, which it was timed with"):
            meter = answer(each.method, batch, "alone").meter
        return meter.own + (meter.shared or 0.0)

    def _fresh(self, loaded: Loaded) -> Batch:
        ids = tuple(entry.id for _, entry in loaded.places)
        return Batch(ids, loaded.images, Shared(self._teacher.device))

    def _single_images(self) -> list[Loaded]:
        """Return images of all conditions in turn, at most ``SINGLES``."""
        by_condition = [
            self._spread(condition, math.ceil(SINGLES / len(self._conditions))) for condition in self._conditions
        ]
        places = [place for turn in zip_longest(*by_condition) for place in turn if place is not None][:SINGLES]
        return self._read(places, 1)

    def _images(self, turn: int, size: int) -> Loaded:
        """Return images of one condition; of another one in the next turn."""
        return self._read(self._spread(self._conditions[turn % len(self._conditions)], size), size)[0]

    def _gathered(self, turn: int, size: int) -> Batch:
        gathered = GatheredFeatures(self._teacher)
        for loaded in self._read(self._spread(self._conditions[turn % len(self._conditions)], size), self._at_once):
            gathered.add(self._fresh(loaded), loaded)
        return gathered.batch()

    def _spread(self, condition: Condition, count: int) -> list[Place]:
        """Return images of a condition, spread over all classes as the entries are."""
        entries = self._dataset.entries(condition)
        taken = min(count, len(entries))
        return [(condition, entries[place * len(entries) // taken]) for place in range(taken)]

    def _read(self, places: Sequence[Place], at_once: int) -> list[Loaded]:
        """Read images, without those that cannot be read.

        Raises:
            UserError: when that is none of them.
        """
        read = [loaded for loaded in load(self._dataset, places, at_once) if loaded.places]
        if not read:
            raise UserError(f"no image of {places[0][0]} could be read, so nothing can be timed", passing=True)
        return read


def _rotated(turns: list[_Turns], turn: int) -> list[_Turns]:
    """Return all turns, another one first each time: none is always behind the same one."""
    first = turn % max(1, len(turns))
    return [*turns[first:], *turns[:first]]


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, _DIGITS) for value in values)
