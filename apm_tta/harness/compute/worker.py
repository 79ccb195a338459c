"""Computes shards and streams: loads, asks each method, checks and records its answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apm_tta.apm.engine import is_out_of_memory
from apm_tta.data.dataset import Dataset
from apm_tta.errors import UserError
from apm_tta.harness.compute.loading import Damaged, Loaded, Place, load
from apm_tta.harness.compute.measure import measure_alone, peak_memory, timed
from apm_tta.harness.plan import Cell, Shard, Stream, Work
from apm_tta.harness.compute.shard_features import CachedFeatures
from apm_tta.harness.compute.stream_order import stream_order
from apm_tta.harness.progress.events import Answered, Emit, Finished, Note
from apm_tta.harness.storage.records import Row, as_rows, encode_rows
from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.base import FEATURES, PIXELS, check_logits
from apm_tta.methods.batch import Shared
from apm_tta.teachers import Teacher

_HALVED = (PIXELS, FEATURES)
"""What the halves of a batch keep of it: what a loader or a cache has put there."""


@dataclass(frozen=True)
class Conduct:
    """How answers are computed, beside what they are.

    Attributes:
        batch_size: images that episodic methods see at once.
        precision: see ``Suite.precision``.
        workers: loading processes.
        feature_cache: folder of the teacher's features; None computes them.
    """

    batch_size: int
    precision: str
    workers: int = 0
    feature_cache: Path | None = None


class Worker:
    """Holds what every shard and stream needs: the data set, the teacher, the methods.

    Args:
        dataset: where samples come from.
        teacher: the frozen encoder; its own answers are recorded beside every method's.
        methods: by name and seed, each over the same teacher.
        conduct: batch size, precision, loading.
        emit: hears of every batch that is answered, and of what a person should know.
    """

    def __init__(
        self,
        dataset: Dataset,
        teacher: Teacher,
        methods: dict[tuple[str, int], Method],
        conduct: Conduct,
        emit: Emit,
    ) -> None:
        self._dataset = dataset
        self._teacher = teacher
        self._methods = methods
        self._conduct = conduct
        self._emit = emit
        self._at_once: dict[Method, int] = {}

    def compute(self, work: Work) -> Finished:
        """Answers ``work`` under each of its cells: one file a cell.

        Raises:
            UserError: when a method fails, naming it, the images, and what it said.
        """
        started = time.perf_counter()
        rows: dict[Cell, list[Row]] = {cell: [] for cell in work.cells}
        with torch.no_grad():
            answers = self._stream(work) if isinstance(work, Stream) else self._shard(work)
            for cell, row in answers:
                rows[cell].append(row)
        files = tuple((work.file_of(cell), encode_rows(cell, answered)) for cell, answered in rows.items())
        return Finished(work, files, time.perf_counter() - started)

    def _shard(self, shard: Shard) -> Iterator[tuple[Cell, Row]]:
        entries = self._dataset.entries(shard.condition)[shard.start : shard.stop]
        places = [(shard.condition, entry) for entry in entries]
        conduct = self._conduct
        cached = CachedFeatures(conduct.feature_cache, self._teacher, conduct.precision, self._dataset, shard)
        for number, loaded in enumerate(self._load(places, conduct.batch_size, cached.there)):
            batch = self._batch(loaded)
            # A cell's first images are timed alone; where features come from a cache there is no time to be had.
            first = shard.index == 0 and number == 0 and not cached.there
            if cached.there and loaded.places:
                batch.shared.put((FEATURES, self._teacher), cached.read(batch.ids), None)
            for cell in shard.cells:
                method = self._methods[cell.method, cell.seed]
                rows = [row for _, row in self._answer(method, batch, loaded, first)]
                yield from ((cell, row) for row in rows)
                self._emit(_answered(cell, rows))
            if loaded.places:
                cached.keep(batch)
        cached.close()

    def _stream(self, stream: Stream) -> Iterator[tuple[Cell, Row]]:
        names = list(dict.fromkeys(cell.method for cell in stream.cells))
        cells = {(cell.method, cell.condition): cell for cell in stream.cells}
        places = stream_order(self._dataset, stream)
        for number, loaded in enumerate(self._load(places, stream.stream_batch or self._conduct.batch_size)):
            batch = self._batch(loaded)
            for name in names:
                method = self._methods[name, stream.seed]
                if not number:
                    method.reset()
                answers = self._answer(method, batch, loaded, first=not number)
                for (condition, _), row in answers:
                    yield cells[name, condition], row
                for condition in dict.fromkeys(condition for (condition, _), _ in answers):
                    rows = [row for (own, _), row in answers if own == condition]
                    self._emit(_answered(cells[name, condition], rows))

    def _load(self, places: Sequence[Place], batch_size: int, cached: bool = False) -> Iterator[Loaded]:
        on_gpu = self._teacher.device.type == "cuda"
        preprocess = None if cached else self._teacher.preprocess
        return load(self._dataset, places, batch_size, preprocess, self._conduct.workers, pin=on_gpu)

    def _batch(self, loaded: Loaded) -> Batch:
        shared = Shared(self._teacher.device)
        if loaded.pixels is not None:
            shared.put((PIXELS, self._teacher), loaded.pixels, loaded.pixels_ms)
        return Batch(tuple(entry.id for _, entry in loaded.places), tuple(loaded.images), shared)

    def _answer(self, method: Method, batch: Batch, loaded: Loaded, first: bool) -> list[tuple[Place, Row]]:
        """Rows of ``batch``, and an error row for every image that could not be read.

        Args:
            method: who answers.
            batch: the images that could be read.
            loaded: the same with their labels, and the others.
            first: whether the method is also measured on single images of the batch.
        """
        errors = [((damaged.condition, damaged.entry), _error_row(damaged)) for damaged in loaded.damaged]
        if not loaded.places:
            return errors
        with self._autocast(), _named(method, loaded.places):
            alone = measure_alone(method, batch) if first else None
            columns = self._columns(method, batch)
        count = len(batch)
        latencies = alone.latencies if alone else []
        rows = as_rows(
            {
                "id": list(batch.ids),
                "label": [entry.label for _, entry in loaded.places],
                **columns,
                "latency_ms": [*latencies, *[None] * (count - len(latencies))],
                "gflop": [alone.gflop if alone else None, *[None] * (count - 1)],
            }
        )
        return [*zip(loaded.places, rows, strict=True), *errors]

    def _columns(self, method: Method, batch: Batch) -> dict[str, list[Any]]:
        """What the method answers and what that cost; where memory runs out, in halves that are kept from there on."""
        at_once = self._at_once.get(method, len(batch))
        if len(batch) > at_once:
            parts = [self._columns(method, part) for part in _split(batch, at_once, self._teacher)]
            return {name: [value for part in parts for value in part[name]] for name in parts[0]}
        device = self._teacher.device
        try:
            with peak_memory(device) as peak:
                predictions, meter = timed(method, batch)
            check_logits(method.name, predictions, batch, len(method.classes))
            teacher = method.logits(method.features(batch)).argmax(1)
        except (RuntimeError, MemoryError) as error:
            # Some of the images may have left their traces in an online method: none of them may be shown again.
            if not is_out_of_memory(error) or method.protocol == "online" or len(batch) == 1:
                raise
        else:
            share = None if meter.alone is None else meter.alone / len(batch)
            return {
                **_columns(predictions, teacher),
                "batch_ms": [share] * len(batch),
                "peak_memory_mb": [peak.megabytes] * len(batch),
            }
        self._at_once[method] = (len(batch) + 1) // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        self._emit(
            Note(f"out of memory on {device}: {method.name} takes {self._at_once[method]} images at once from here on")
        )
        return self._columns(method, batch)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._conduct.precision == "bfloat16":
            return torch.autocast(self._teacher.device.type, torch.bfloat16)
        return nullcontext()


@contextmanager
def _named(method: Method, places: Sequence[Place]) -> Iterator[None]:
    """Says of whatever goes wrong in the block which method it was, and on which images."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            fewer = "; try a smaller --batch-size" if method.protocol == "online" and not method.stream_batch else ""
            message = f"out of memory on {method.teacher.device}: method {method.name} cannot do with less{fewer}"
            raise UserError(message) from error
        said = " ".join(f"{type(error).__name__}: {error}".split())
        ids = list(dict.fromkeys((places[0][1].id, places[-1][1].id)))
        where = ", ".join(str(condition) for condition in dict.fromkeys(condition for condition, _ in places))
        raise UserError(f"method {method.name} failed on {' to '.join(ids)} ({where}): {said}") from error


def _split(batch: Batch, at_once: int, teacher: Teacher) -> Iterator[Batch]:
    """``batch`` in parts of ``at_once`` images, each with its part of what a loader or a cache put there."""
    for start in range(0, len(batch), at_once):
        part = slice(start, start + at_once)
        shared = Shared(teacher.device)
        for key in ((name, teacher) for name in _HALVED):
            if batch.shared.has(key):
                cost = batch.shared.cost(key)
                images = len(batch.ids[part])
                shared.put(key, batch.shared.of(key)[part], None if cost is None else cost * images / len(batch))
        yield Batch(batch.ids[part], batch.images[part], shared)


def _answered(cell: Cell, rows: Sequence[Row]) -> Answered:
    return Answered(cell, len(rows), sum(row.prediction == row.label for row in rows))


def _error_row(damaged: Damaged) -> Row:
    return Row(id=damaged.entry.id, label=damaged.entry.label, error=damaged.reason)


def _columns(predictions: Predictions, teacher: Tensor) -> dict[str, list[Any]]:
    """What a batch's answer leaves in the records, column by column."""
    logits = predictions.logits.float()
    count = len(logits)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :5]
    prediction = order[:, 0]
    confidence = logits.softmax(1).gather(1, prediction[:, None])[:, 0]
    iterations, target = predictions.iteration_classes, predictions.target_classes
    losses, cosines = predictions.losses, predictions.cosines
    return {
        "prediction": prediction.tolist(),
        "top5": order.tolist(),
        "confidence": confidence.tolist(),
        "teacher_prediction": teacher.tolist(),
        "target_prediction": [None] * count if target is None else target.tolist(),
        "iteration_predictions": [[]] * count if iterations is None else iterations.tolist(),
        "first_loss": [None] * count if losses is None else losses[:, 0].tolist(),
        "last_loss": [None] * count if losses is None else losses[:, -1].tolist(),
        "last_cosine": [None] * count if cosines is None else cosines[:, -1].tolist(),
        "iterations": [0 if iterations is None else iterations.shape[1] - 1] * count,
    }
