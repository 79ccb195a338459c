"""The time of a whole run: what a unit of work costs once and per image, measured on a few images of real units."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from apm_tta.data.sample import Condition
from apm_tta.harness.bottleneck import seconds_of_loading
from apm_tta.harness.compute import measure
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.spot_check import IMAGES, takes_single_images
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Shard, Work
from apm_tta.harness.progress.events import Event
from apm_tta.methods import Method

_FEW, _ENOUGH = 8, 64
"""Images of the first two passes over a group of units, and at most of the third."""
_THIRD_S = 10.0
"""Time that the third pass may take by what the second one took."""
_SLOW_S = 0.5
"""A method of so many seconds per image shares next to nothing: what was measured of it alone is enough."""
_LOADED = 4
"""Images of every condition that are loaded to time that."""


@dataclass(frozen=True)
class _Costs:
    """Seconds that units of one group cost: ``once`` in a process, ``per_unit``, and ``per_image`` after loading it."""

    once: float
    per_unit: float
    per_image: float


def seconds_of_run(
    job: Job, work: Sequence[Work], alone: Mapping[str, float], once: Mapping[str, float], workers: int
) -> float:
    """Estimate the time that one process computes for all units of ``work``.

    Units whose methods are the same form a group. Of every group three units under different conditions are cut to a
    few images and computed as the run would compute them, measurements of single images, spot checks and shared work
    included: the first one shows what comes once, the other two tell a unit's own cost from that of an image. Loading
    is timed for every condition, since corruptions differ by a hundred times.

    Args:
        job: the run, prepared in this process.
        work: its shards and streams.
        alone: seconds per image of every method alone, loading included.
        once: seconds that every method takes longer for its first images in a process.
        workers: number of loading processes beside the one that answers; 0 where it loads too.
    """
    prepared = job.prepared
    assert prepared is not None
    seconds, known = 0.0, set[str]()
    for units in _groups(work).values():
        slow = {cell.method for cell in units[0].cells if alone[cell.method] > _SLOW_S}
        seconds += sum(once[name] for name in slow - known)
        for unit in units:
            for cell in (cell for cell in unit.cells if cell.method in slow):
                method, images = prepared.asked[cell.method, cell.seed], unit.count_answers(cell)
                if not isinstance(unit, Shard) or not unit.index:
                    images += _asked_alone(method, min(images, job.request.suite.batch_size), cell.method not in known)
                    known.add(cell.method)
                seconds += images * alone[cell.method]
        quick = [replace(unit, cells=tuple(cell for cell in unit.cells if cell.method not in slow)) for unit in units]
        if not quick[0].cells:
            continue
        methods = [prepared.asked[cell.method, cell.seed] for cell in quick[0].cells]
        loading = {each: seconds_of_loading(prepared, each, _LOADED, methods) for each in _conditions(quick)}
        costs = _measure(job, quick, loading, workers)
        beginnings = sum(not isinstance(unit, Shard) or unit.index == 0 for unit in quick)
        seconds += costs.once + beginnings * costs.per_unit
        for condition, images in (pair for unit in quick for pair in _images(unit)):
            seconds += images * _per_image(costs.per_image, loading[condition], workers)
    return seconds


def _per_image(answering: float, loading: float, workers: int) -> float:
    return max(answering, loading / workers) if workers else answering + loading


def _conditions(work: Sequence[Work]) -> list[Condition]:
    return list(dict.fromkeys(condition for unit in work for condition, _ in _images(unit)))


def _images(unit: Work) -> Sequence[tuple[Condition, int]]:
    """Return the conditions of a unit with the number of images that it loads under each."""
    return [(unit.condition, unit.stop - unit.start)] if isinstance(unit, Shard) else unit.conditions


def _groups(work: Sequence[Work]) -> dict[object, list[Work]]:
    """Return the units by what computes them."""
    groups: dict[object, list[Work]] = {}
    for unit in work:
        methods = frozenset(cell.method for cell in unit.cells)
        kind = (unit.whole,) if isinstance(unit, Shard) else (None, unit.stream_batch)
        groups.setdefault((methods, *kind), []).append(unit)
    return groups


def _asked_alone(method: Method[Any], batch: int, first: bool) -> int:
    """Return for how many images a method is asked beside answering them: see ``measure_alone``.

    Args:
        method: the method.
        batch: images of its first batch under the condition.
        first: whether it is measured for the first time in its process.
    """
    if method.protocol == "transductive":
        return 0
    if takes_single_images(method):
        return 2 + min(measure.LATENCY_IMAGES, batch) if first else min(IMAGES, batch)
    at_once = batch if method.batch_dependent else min(method.stream_batch or 1, batch)
    return at_once * (2 if first else 1)


def _measure(job: Job, units: Sequence[Work], loading: Mapping[Condition, float], workers: int) -> _Costs:
    """Compute three units of a group, cut to a few images."""
    first = [unit for unit in units if not isinstance(unit, Shard) or unit.index == 0]
    chosen = [first[0], first[len(first) // 2], first[-1]]
    events: list[Event] = []
    assert job.prepared is not None
    with closing(job.worker(job.request.devices[0], events.append)) as worker:
        few = [_cut(job.prepared, unit, _FEW) for unit in chosen[:2]]
        began, unit = (_seconds_after_loading(worker, each, loading, workers) for each in few)
        count = few[1].stop
        wanted = int(_THIRD_S * count / max(unit, 1e-9))
        third = _cut(job.prepared, chosen[2], max(_FEW, min(_ENOUGH, wanted)))
        took = _seconds_after_loading(worker, third, loading, workers)
    if third.stop <= count:  # there are no more images, or they take too long to tell the two apart
        return _Costs(max(0.0, began - unit), 0.0, unit / count)
    per_image = max(0.0, took - unit) / (third.stop - count)
    return _Costs(max(0.0, began - unit), max(0.0, unit - count * per_image), per_image)


def _cut(prepared: Prepared, unit: Work, count: int) -> Shard:
    """Return the beginning of a unit's first condition as a shard."""
    condition = _images(unit)[0][0]
    cells = tuple(cell for cell in unit.cells if cell.condition == condition)
    return Shard(condition, 0, 0, min(count, len(prepared.dataset.entries(condition))), cells)


def _seconds_after_loading(worker: Worker, unit: Shard, loading: Mapping[Condition, float], workers: int) -> float:
    started = time.perf_counter()
    worker.compute(unit)
    taken = time.perf_counter() - started
    return taken if workers else max(0.0, taken - unit.stop * loading[unit.condition])
