"""Computes one shard: decodes, asks each method, checks and records its answer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from apm_tta.data.dataset import Dataset
from apm_tta.harness.measure import latencies, timed
from apm_tta.harness.plan import Cell, Shard
from apm_tta.harness.records import Row, as_rows, write_rows
from apm_tta.methods import Batch, Method, Predictions
from apm_tta.methods.base import check_logits, embed
from apm_tta.methods.zeroshot import from_features
from apm_tta.teachers import Teacher

Report = Callable[[Cell, int], None]


class Worker:
    """Holds what every shard needs: the data set, the methods, the run folder.

    Args:
        dataset: where samples come from.
        teacher: the frozen encoder; its own answers are recorded beside every method's.
        methods: by name, each over the same teacher.
        folder: the run folder.
        batch_size: images that a method sees at once.
        precision: see ``Suite.precision``.
        report: called with a cell and a number of images whenever they are answered.
    """

    def __init__(
        self,
        dataset: Dataset,
        teacher: Teacher,
        methods: dict[str, Method],
        folder: Path,
        batch_size: int,
        precision: str,
        report: Report,
    ) -> None:
        self._dataset = dataset
        self._teacher = teacher
        self._methods = methods
        self._folder = folder
        self._batch_size = batch_size
        self._precision = precision
        self._report = report

    def compute(self, shard: Shard) -> None:
        """Answers ``shard`` under each of its cells and writes one file a cell."""
        entries = self._dataset.entries(shard.condition)[shard.start : shard.stop]
        rows: dict[Cell, list[Row]] = {cell: [] for cell in shard.cells}
        for cell in shard.cells:
            if shard.start == 0:
                self._methods[cell.method].reset()
        with torch.no_grad():
            for start in range(0, len(entries), self._batch_size):
                chosen = entries[start : start + self._batch_size]
                samples = [self._dataset.read(entry, shard.condition) for entry in chosen]
                batch = Batch(tuple(sample.id for sample in samples), tuple(sample.image for sample in samples))
                labels = [sample.label for sample in samples]
                measure = shard.index == 0 and start == 0
                with self._autocast():
                    features = embed(self._teacher, batch.images)
                    for cell in shard.cells:
                        rows[cell] += self._answer(self._methods[cell.method], batch, labels, features, measure)
                        self._report(cell, len(samples))
        for cell, answered in rows.items():
            write_rows(self._folder / shard.file_of(cell), cell, answered)

    def _answer(self, method: Method, batch: Batch, labels: list[int], features: Tensor, measure: bool) -> list[Row]:
        """Rows of ``batch``; ``features`` are the teacher's, for its own answer under the method's templates."""
        # An online method's state must not see the images that are only timed.
        alone = latencies(method, batch) if measure and method.protocol == "episodic" else []
        predictions, milliseconds = timed(method, batch)
        check_logits(method.name, predictions, batch, len(method.classes))
        teacher = from_features(features, method.class_weights, self._teacher.logit_scale).argmax(1)
        count = len(batch.ids)
        return as_rows(
            {
                "id": list(batch.ids),
                "label": labels,
                **_columns(predictions, teacher),
                "latency_ms": [*alone, *[None] * (count - len(alone))],
                "batch_ms": [milliseconds / count] * count,
            }
        )

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._precision == "bfloat16":
            return torch.autocast(self._teacher.device.type, torch.bfloat16)
        return nullcontext()


def _columns(predictions: Predictions, teacher: Tensor) -> dict[str, list[Any]]:
    """What a batch's answer leaves in the records, column by column."""
    logits = predictions.logits.float()
    count = len(logits)
    order = logits.argsort(dim=1, descending=True, stable=True)[:, :5]
    prediction = order[:, 0]
    confidence = logits.softmax(1).gather(1, prediction[:, None])[:, 0]
    iterations = predictions.iteration_classes
    losses, cosines = predictions.losses, predictions.cosines
    return {
        "prediction": prediction.tolist(),
        "top5": order.tolist(),
        "confidence": confidence.tolist(),
        "teacher_prediction": teacher.tolist(),
        "iteration_predictions": [[]] * count if iterations is None else iterations.tolist(),
        "first_loss": [None] * count if losses is None else losses[:, 0].tolist(),
        "last_loss": [None] * count if losses is None else losses[:, -1].tolist(),
        "last_cosine": [None] * count if cosines is None else cosines[:, -1].tolist(),
        "iterations": [0 if iterations is None else iterations.shape[1] - 1] * count,
    }
