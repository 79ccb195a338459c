"""An estimate of a run: cells, images, and from a short calibration its time, disk and memory. Nothing is written."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from tabulate import tabulate

from apm_tta.errors import UserError
from apm_tta.harness.bottleneck import Bottleneck, seconds_of_loading
from apm_tta.harness.compute.job import Job
from apm_tta.harness.compute.loading import default_workers
from apm_tta.harness.compute.prepare import Prepared, plan, prepare
from apm_tta.harness.compute.stream_states import StreamStates
from apm_tta.harness.plan import Cell, Shard, Stream, Work
from apm_tta.harness.progress.events import Event, Note
from apm_tta.harness.progress.heard_warnings import counted, heard_warnings
from apm_tta.harness.progress.logged_notes import gathered_warnings
from apm_tta.harness.quietness import Clocks, disturbance
from apm_tta.harness.request.run_request import KEEP_EVERY_S, RunRequest
from apm_tta.harness.request.suite import Suite, run_title, span_of_images
from apm_tta.harness.storage.division import write_plan
from apm_tta.harness.storage.records import decode_records, encode_records
from apm_tta.harness.whole_run import seconds_of_run
from apm_tta.wording import first_few, pluralise

_LITTLE = 0.01
"""Share of the time that keeping may take before it is said."""
_CALIBRATION_IMAGES = 16
"""Images that every method is asked for, unless it takes too long."""
_FIRST_IMAGES = 2
_CALIBRATION_S = 60.0
"""Time for all methods together, in equal shares."""
_COLD_S = 30.0
"""First images that took no longer are answered a second time in any case: half of it may be what comes once."""


@dataclass(frozen=True)
class MethodEstimate:
    """The estimate for one method over the whole run.

    Attributes:
        method: name of the method.
        protocol: ``episodic``, ``online`` or ``transductive``.
        cells: number of cells.
        answers: number of images over all cells.
        seconds_per_image: time of the method alone: loading, the teacher's features and its own work.
        megabytes: peak memory while it answered; None where it was not measured.
        lost_seconds: what is lost at most when the run is killed: all since it was kept last, and a batch; its whole
            largest stream where the method keeps what cannot be stored.
        state_bytes: size of an online method's state after the calibration; 0 for others.
        state_seconds: time that it takes to make it ready to be written.
    """

    method: str
    protocol: str
    cells: int
    answers: int
    seconds_per_image: float
    megabytes: float | None
    lost_seconds: float
    state_bytes: int = 0
    state_seconds: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """The estimate for a whole run.

    Attributes:
        suite: the requested suite.
        title: of the run.
        processes: number of processes that would share the work.
        part: ``(i, n)`` where the i-th of n parts was requested.
        conditions: conditions in the order of the table.
        images: number of images under a condition, the most that one has.
        fewest_images: the fewest that one has.
        units: number of shards and streams.
        methods: the estimate for each method.
        disk_bytes: size of the records.
        calibration_images: number of images per method that were answered for the calibration, at most.
        bottleneck: what the run waits for.
        streams: what online methods are shown, in words; empty without them.
        notes: what the run would note: doubts about the images, and what libraries warned of.
        disturbed: by method, by what it is known that something else ran while it was measured.
        keep_every: see ``RunRequest``.
        seconds: time of one process for all shards and streams, with what methods share computed once.
        start_seconds: time until the first image is loaded: imports, teacher, images.
    """

    suite: Suite
    title: str
    processes: int
    part: tuple[int, int] | None
    conditions: list[str]
    images: int
    fewest_images: int
    units: int
    methods: list[MethodEstimate]
    disk_bytes: float
    calibration_images: int
    bottleneck: Bottleneck
    streams: str = ""
    notes: tuple[str, ...] = ()
    disturbed: Mapping[str, str] = field(default_factory=dict)
    keep_every: float = KEEP_EVERY_S
    seconds: float = 0.0
    start_seconds: float = 0.0

    @property
    def whole_seconds(self) -> float:
        """The time of the whole command, or of one of its parts, from its start until its records are complete."""
        parts = 1 if self.part is None else self.part[1]
        return self.start_seconds + self.seconds / self.processes / parts

    @property
    def kept(self) -> str:
        """Say how often answers are kept, and what the states of online methods cost."""
        every = duration(self.keep_every)
        states = [method for method in self.methods if method.state_bytes]
        said = f"Answers are kept at the latest every {every}, in the middle of shards and streams too"
        if not states:
            return f"{said}."
        size, took = (sum(getattr(each, name) for each in states) for name in ("state_bytes", "state_seconds"))
        said += (
            f", with the states of {', '.join(each.method for each in states)}: {size / 1e6:.1f} MB after "
            f"{pluralise(self.calibration_images, 'image')}, made in {duration(took)}"
        )
        share = took / self.keep_every
        return said + (f", which is {100 * share:.0f} % of the time." if share > _LITTLE else ".")

    def text(self) -> str:
        """Write the estimate for a reader."""
        answers = sum(method.answers for method in self.methods)
        cells = sum(method.cells for method in self.methods)
        head = [
            f"{self.title}: nothing is computed or written (--dry-run).",
            f"{pluralise(cells, 'cell')} = {pluralise(len(self.conditions), 'condition')} x "
            f"{pluralise(len(self.methods), 'method')} x {pluralise(len(self.suite.seeds), 'seed')}; "
            f"{span_of_images([self.fewest_images, self.images])} per condition; {pluralise(answers, 'answer')} in "
            f"{pluralise(self.units, 'shard or stream', 'shards and streams')}.",
            f"Conditions: {', '.join(self.conditions)}.",
            *([self.streams] if self.streams else []),
        ]
        rows = [
            [
                method.method,
                method.protocol,
                method.cells,
                method.answers,
                f"{1000 * method.seconds_per_image:.1f}",
                duration(method.answers * method.seconds_per_image),
                duration(method.lost_seconds),
                "n/a" if method.megabytes is None else f"{method.megabytes:.0f}",
            ]
            for method in self.methods
        ]
        headers = ["method", "protocol", "cells", "answers", "ms per image", "alone", "lost if killed", "memory MB"]
        left, right = ("left",) * 2, ("right",) * 6
        table = tabulate(rows, headers, tablefmt="github", colalign=(*left, *right), disable_numparse=True)
        parts = 1 if self.part is None else self.part[1]
        processes = "" if self.processes * parts == 1 else f" on {self.processes * parts} processes"
        measured = f"at most {pluralise(self.calibration_images, 'image')}"
        foot = [
            f"About {duration(self.whole_seconds)}{processes}, {duration(self.start_seconds)} of it before the first "
            f"image, {self.disk_bytes / 1e6:.1f} MB of records. Measured on this machine with a few images of every "
            f"kind of shard and stream, and with {measured} per method alone: the run computes what methods share "
            "(loading, features, views) only once.",
            self.bottleneck.text(),
        ]
        if self.disturbed:
            told = first_few([f"{name}: {reason}" for name, reason in self.disturbed.items()], "; ")
            foot.append(
                f"Something else ran on this machine meanwhile ({told}): these times are too long. Ask again while it "
                "does nothing else."
            )
        foot.append(self.kept)
        noted = ["", *(f"Note: {note}." for note in self.notes)] if self.notes else []
        return "\n".join([*head, "", table, "", *foot, *noted])


def estimate(request: RunRequest, before: float = 0.0) -> Estimate:
    """Answer a few images with every method, as the run would, and extrapolate.

    Args:
        request: the run.
        before: seconds that the run would have taken before it is asked for, to import what it needs.

    Raises:
        UserError: for anything that the run itself would refuse.
    """
    started = time.perf_counter()
    request = replace(request, feature_cache=False)
    with heard_warnings() as heard, gathered_warnings() as notes:
        prepared = prepare(request, request.devices[0])
    notes += [*prepared.dataset.doubts, *prepared.remarks]
    cells, work = plan(prepared)
    start_seconds = before + time.perf_counter() - started
    count = min(_CALIBRATION_IMAGES, len(prepared.dataset.entries(request.conditions[0])))
    methods, row_bytes, file_bytes, clocks, once = [], 0.0, 0.0, dict[str, Clocks](), dict[str, float]()
    for name in prepared.methods:
        own = [cell for cell in cells if cell.method == name]
        measured = _calibrate(Job(request, prepared=prepared), own[0], count, _CALIBRATION_S / len(prepared.methods))
        heard.update(measured.warnings)
        once[name] = measured.once
        if measured.clocks is not None:
            clocks[name] = measured.clocks
        notes += measured.notes
        units = [unit for unit in work if any(cell.method == name for cell in unit.cells)]
        largest = max(sum(unit.count_answers(cell) for cell in unit.cells if cell.method == name) for unit in units)
        answers = sum(unit.count_answers(cell) for unit in units for cell in unit.cells if cell.method == name)
        at_once = prepared.asked[name, request.suite.seeds[0]].stream_batch or request.suite.batch_size
        longest = largest * measured.seconds_per_image
        kept_after = request.keep_every + at_once * measured.seconds_per_image
        methods.append(
            MethodEstimate(
                name,
                prepared.methods[name].protocol,
                len(own),
                answers,
                measured.seconds_per_image,
                measured.megabytes,
                longest if measured.state_bytes is None else min(longest, kept_after),
                measured.state_bytes or 0,
                measured.state_seconds,
            )
        )
        files = sum(sum(cell.method == name for cell in unit.cells) for unit in units)
        row_bytes += answers * measured.bytes_per_row
        file_bytes += files * measured.bytes_per_file
    if request.plan is not None:
        planned = {unit.file_of(cell): unit.count_answers(cell) for unit in work for cell in unit.cells}
        write_plan(request.plan, planned, {method.method: method.seconds_per_image for method in methods})
    images = [len(prepared.dataset.entries(condition)) for condition in request.conditions]
    alone = {method.method: method.seconds_per_image for method in methods}
    seconds = seconds_of_run(Job(request, prepared=prepared), work, alone, once, _workers(request))
    return Estimate(
        request.suite,
        run_title(request.suite, prepared.dataset.title, images),
        len(request.devices),
        request.part,
        [str(condition) for condition in request.every_condition],
        max(images),
        min(images),
        len(work),
        methods,
        row_bytes + file_bytes,
        count,
        _bottleneck(prepared, methods, count),
        _streams(work),
        tuple(dict.fromkeys([*notes, *counted(heard)])),
        _disturbed(clocks),
        request.keep_every,
        seconds,
        start_seconds,
    )


def _disturbed(clocks: Mapping[str, Clocks]) -> dict[str, str]:
    """Say of every method during which something else ran by what that is known."""
    fastest = min((each.fastest_ms for each in clocks.values()), default=0.0)
    told = {name: disturbance(each, fastest) for name, each in clocks.items()}
    return {name: reason for name, reason in told.items() if reason}


def _streams(work: Sequence[Work]) -> str:
    """Say how many images the online methods are shown."""
    streams = [unit for unit in work if isinstance(unit, Stream)]
    if not streams:
        return ""
    first, several = streams[0].streaming, "" if len(streams) == 1 else " together"
    count = sum(stream.images for stream in streams)
    return f"Setting {first}: {pluralise(len(streams), 'stream')} of {pluralise(count, 'shown image')}{several}."


def _bottleneck(prepared: Prepared, methods: Sequence[MethodEstimate], count: int) -> Bottleneck:
    """Tell loading and answering apart: where one process does both, what was measured of the methods includes both."""
    request = prepared.request
    device, seeds = request.devices[0], len(request.suite.seeds)
    loading = seconds_of_loading(prepared, request.conditions[0], count)
    workers = _workers(request)
    included = 0.0 if workers else loading
    answering = sum(max(0.0, method.seconds_per_image - included) for method in methods)
    return Bottleneck(loading, seeds * answering, workers, device.type == "cpu")


def _workers(request: RunRequest) -> int:
    return default_workers(request.devices[0], len(request.devices)) if request.workers is None else request.workers


@dataclass(frozen=True)
class _Calibration:
    seconds_per_image: float
    once: float
    megabytes: float | None
    bytes_per_row: float
    bytes_per_file: float
    warnings: Mapping[str, int]
    notes: list[str]
    clocks: Clocks | None
    state_bytes: int | None
    state_seconds: float


def _calibrate(job: Job, cell: Cell, most: int, seconds: float) -> _Calibration:
    """Answer the first images of ``cell``, then more of them, until there are enough or the time is over.

    Args:
        job: the run, prepared in this process.
        cell: whose images.
        most: number of images of the last pass, where there is time; the first one is a warm-up.
        seconds: time for all passes. It is exceeded only by those over the first images.
    """
    events: list[Event] = []
    worker = job.worker(job.request.devices[0], events.append)
    assert job.prepared is not None
    method = job.prepared.asked[cell.method, cell.seed]
    states = StreamStates({cell.method: method} if method.protocol == "online" else {})
    count, warm, cold_seconds = min(_FIRST_IMAGES, most), False, 0.0
    with closing(worker):
        while True:
            began = time.perf_counter()
            # index 1: only a cell's first shard, 0, measures single images
            finished = worker.compute(Shard(cell.condition, 1, 0, count, (cell,)))
            took = time.perf_counter() - began
            seconds -= took
            affordable = min(most, int(seconds * count / max(took, 1e-9)))
            if not warm:
                cold_seconds = finished.seconds / count
                affordable = max(affordable, count) if took < _COLD_S else affordable
            if affordable < count or (warm and affordable == count):
                break
            count, warm = affordable, True
    started = time.perf_counter()
    size: int | None = None
    try:
        size = sum(map(len, states.encode().values()))
    except UserError as error:
        events.append(Note(f"{error}: where the run is killed, its stream begins anew"))
    took = time.perf_counter() - started
    ((_, content),) = finished.files
    recorded = decode_records(Path(), content)
    empty = len(encode_records(cell, {}, recorded.header))
    megabytes = [value for value in recorded.table["peak_memory_mb"].to_pylist() if value is not None]
    return _Calibration(
        finished.seconds / count,
        max(0.0, cold_seconds - finished.seconds / count) * min(_FIRST_IMAGES, most),
        max(megabytes, default=None),
        max(0.0, (len(content) - empty) / count),
        empty,
        finished.warnings,
        [event.text for event in events if isinstance(event, Note)],
        recorded.header.clocks,
        size,
        took,
    )


def duration(seconds: float) -> str:
    """Format a time in at most two units, such as ``1 h 20 min``."""
    units = [(86400, "d"), (3600, "h"), (60, "min"), (1, "s")]
    for (size, name), (smaller_size, smaller_name) in itertools.pairwise(units):
        if seconds >= size:
            whole, rest = divmod(round(seconds / smaller_size), size // smaller_size)
            return f"{whole} {name} {rest} {smaller_name}" if rest else f"{whole} {name}"
    return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.2f} s"
