"""Computes shards and streams: loads, asks each method, checks and records its answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apm_tta.data.dataset import Dataset
from apm_tta.harness.features import CachedFeatures
from apm_tta.harness.loading import Damaged, Loaded, Place, load
from apm_tta.harness.measure import latencies, timed
from apm_tta.harness.order import stream_order
from apm_tta.harness.plan import Cell, Shard, Stream, Work
from apm_tta.harness.records import Row, as_rows, write_rows
from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.base import FEATURES, PIXELS, check_logits
from apm_tta.methods.batch import Shared
from apm_tta.teachers import Teacher

Report = Callable[[Cell, int], None]


@dataclass(frozen=True)
class Conduct:
    """How answers are computed, beside what they are.

    Attributes:
        batch_size: images that episodic methods see at once.
        precision: see ``Suite.precision``.
        seed: of the order of streams.
        workers: loading processes.
        feature_cache: folder of the teacher's features; None computes them.
    """

    batch_size: int
    precision: str
    seed: int
    workers: int = 0
    feature_cache: Path | None = None


class Worker:
    """Holds what every shard and stream needs: the data set, the methods, the run folder.

    Args:
        dataset: where samples come from.
        teacher: the frozen encoder; its own answers are recorded beside every method's.
        methods: by name, each over the same teacher.
        folder: the run folder.
        conduct: batch size, precision, loading.
        report: called with a cell and a number of images whenever they are answered.
    """

    def __init__(
        self,
        dataset: Dataset,
        teacher: Teacher,
        methods: dict[str, Method],
        folder: Path,
        conduct: Conduct,
        report: Report,
    ) -> None:
        self._dataset = dataset
        self._teacher = teacher
        self._methods = methods
        self._folder = folder
        self._conduct = conduct
        self._report = report

    def compute(self, work: Work) -> None:
        """Answers ``work`` under each of its cells and writes one file a cell."""
        rows: dict[Cell, list[Row]] = {cell: [] for cell in work.cells}
        with torch.no_grad():
            answers = self._stream(work) if isinstance(work, Stream) else self._shard(work)
            for cell, row in answers:
                rows[cell].append(row)
        for cell, answered in rows.items():
            write_rows(self._folder / work.file_of(cell), cell, answered)

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
                for _, row in self._answer(self._methods[cell.method], batch, loaded, first):
                    yield cell, row
                self._report(cell, len(loaded.places) + len(loaded.damaged))
            if loaded.places:
                cached.keep(batch)
        cached.close()

    def _stream(self, stream: Stream) -> Iterator[tuple[Cell, Row]]:
        names = list(dict.fromkeys(cell.method for cell in stream.cells))
        cells = {(cell.method, cell.condition): cell for cell in stream.cells}
        for name in names:
            self._methods[name].reset()
        places = stream_order(self._dataset, stream, self._conduct.seed)
        for loaded in self._load(places, stream.stream_batch or self._conduct.batch_size):
            batch = self._batch(loaded)
            for name in names:
                # An online method's state must not see images twice, so that none is timed alone.
                for (condition, _), row in self._answer(self._methods[name], batch, loaded, first=False):
                    yield cells[name, condition], row
                    self._report(cells[name, condition], 1)

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
        """Rows of ``batch``, and an error row for every image that could not be read."""
        errors = [((damaged.condition, damaged.entry), _error_row(damaged)) for damaged in loaded.damaged]
        if not loaded.places:
            return errors
        with self._autocast():
            alone = latencies(method, batch) if first else []
            predictions, meter = timed(method, batch)
            check_logits(method.name, predictions, batch, len(method.classes))
            teacher = method.logits(method.features(batch)).argmax(1)
        count = len(batch)
        share = None if meter.alone is None else meter.alone / count
        rows = as_rows(
            {
                "id": list(batch.ids),
                "label": [entry.label for _, entry in loaded.places],
                **_columns(predictions, teacher),
                "latency_ms": [*alone, *[None] * (count - len(alone))],
                "batch_ms": [share] * count,
            }
        )
        return [*zip(loaded.places, rows, strict=True), *errors]

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._conduct.precision == "bfloat16":
            return torch.autocast(self._teacher.device.type, torch.bfloat16)
        return nullcontext()


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
