"""The answers of one method to one loaded batch: measured, checked against those of the images alone, as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import pyarrow as pa
import torch

from apm_tta.apm.engine import is_out_of_memory
from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.account import Account
from apm_tta.harness.compute.answer_columns import (
    answer_columns,
    concatenate_columns,
    concatenate_rows,
    label_columns,
    make_columns,
    nearest_labels,
    probability_columns,
)
from apm_tta.harness.compute.fresh_start import FreshStart
from apm_tta.harness.compute.loading import Loaded, Place
from apm_tta.harness.compute.measure import SoloCost, measure_alone, peak_memory
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.shown import Positions
from apm_tta.harness.compute.spot_check import answer_alone, part_of, refuse_other_answers
from apm_tta.harness.compute.watch import Watch
from apm_tta.harness.progress.events import Emit, Note
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import Answers, answer, failures_named
from apm_tta.precision import autocast


class LoadedBatch(NamedTuple):
    """A batch as the methods get it, as it was loaded, and its positions where an image is shown several times."""

    given: Batch
    loaded: Loaded
    positions: Positions | None


class BatchAnswers:
    """Answers batches, and keeps for the next ones what sizes fit into memory, and what was measured and checked.

    Args:
        prepared: the request with what it names; the teacher's own predictions are recorded with every method's.
        emit: receives notes for the user.
    """

    def __init__(self, prepared: Prepared, emit: Emit) -> None:
        self._dataset = prepared.dataset
        self._teacher = prepared.teacher
        self._batch_size = prepared.request.suite.batch_size
        self._precision = prepared.request.suite.precision
        self._emit = emit
        self._limits: dict[Method[Any], int] = {}
        self._gflop: dict[Method[Any], float] = {}
        self._fresh_start = FreshStart(prepared.seeded.values(), prepared.request.parameters)

    def answer(
        self,
        method: Method[Any],
        loaded_batch: LoadedBatch,
        watch: Watch,
        account: Account,
        measured: bool,
        checked: bool,
        remembered: bool = False,
    ) -> pa.Table:
        """Answer a batch: one row per image, followed by an error row for every image that could not be read.

        Args:
            method: the method that answers.
            loaded_batch: the images that could be read, with their labels, and those that could not.
            watch: whether something else ran meanwhile is noted there.
            account: of the unit of work.
            measured: whether the method is also measured on single images of the batch.
            checked: whether it is also asked whether it answers them alone as it answers them together.
            remembered: whether it is asked for some of them again when the shard ends.
        """
        batch, loaded, positions = loaded_batch
        errors = make_columns(
            len(loaded.unread),
            position=None if positions is None else positions.unread,
            id=[unread.entry.id for unread in loaded.unread],
            error=[str(unread.error) for unread in loaded.unread],
            error_kind=[unread.error.kind for unread in loaded.unread],
        )
        given = len(batch) if method.protocol == "transductive" else method.stream_batch or self._batch_size
        errors = concatenate_columns(errors, label_columns([unread.entry for unread in loaded.unread]))
        if not loaded.places:
            account.add_batch(method.given.row, given)
            return errors
        solo: SoloCost | None = None
        alone: list[Answers] = []
        named = failures_named(method.given.row, _where(loaded.places))
        with watch.during(method), self.autocast(), named, _memory_named(method):
            if measured:
                solo = measure_alone(method, batch, self._gflop.get(method))
                self._gflop[method], alone = solo.gflop, solo.alone
            elif checked:
                alone = answer_alone(method, batch)
            parts = self._predict(method, batch, thorough=checked)
            together = [answers for answers, _ in parts]
            if alone:
                refuse_other_answers(method, batch, alone, together)
            if checked:
                self._fresh_start.refuse_memory(method, batch, together)
            if remembered:
                self._fresh_start.remember(method, batch, together)
        account.add_batch(method.given.row, min(given, self._limits.get(method, given)))
        count = len(batch)
        latencies = solo.latencies if solo else []
        entries = [entry for _, entry in loaded.places]
        images = make_columns(
            count,
            id=batch.ids,
            position=None if positions is None else positions.read,
            image_sha256=[self._other_content(each, loaded.digests[each]) for each in batch.ids],
        )
        costs = make_columns(
            count,
            latency_ms=[*latencies, *[None] * (count - len(latencies))],
            gflop=[solo.gflop if solo else None, *[None] * (count - 1)],
        )
        columns = [images, label_columns(entries), concatenate_rows([columns for _, columns in parts]), costs]
        if not method.votes:
            logits = torch.cat([each.predictions.logits for each in together])
            columns.append(probability_columns(logits, nearest_labels(logits, entries)))
        return concatenate_rows([concatenate_columns(*columns), errors])

    def refuse_late_memory(self, method: Method[Any], condition: Condition) -> None:
        """Ask a method again for images of a shard's beginning, when the shard ends; see ``FreshStart``."""
        with self.autocast(), failures_named(method.given.row, f"images of {condition} that it had answered"):
            self._fresh_start.refuse_late_memory(method)

    def _other_content(self, sample_id: str, digest: str) -> str | None:
        """Return the digest of an image that the run's list does not state; None where it does."""
        listed = self._dataset.expected
        return digest if listed is not None and listed.is_other(sample_id, digest) else None

    def _predict(self, method: Method[Any], batch: Batch, thorough: bool) -> list[tuple[Answers, pa.Table]]:
        """Ask the method, part by part of the batch, with the columns of the answers and of what they cost.

        There is one part, unless memory runs out: then the batch is halved, and the method gets batches of at most that
        size from then on.
        """
        limit = self._limits.get(method, len(batch))
        if len(batch) > limit:
            starts = range(0, len(batch), limit)
            halves = [part_of(batch, slice(start, start + limit), given=True) for start in starts]
            return [answered for half in halves for answered in self._predict(method, half, thorough)]
        device = self._teacher.device
        try:
            with peak_memory(device) as peak:
                answers = answer(method, batch, thorough=thorough)
        except (RuntimeError, MemoryError) as error:
            # Some of the images may already have changed the state of an online method: none may be shown to it again.
            divisible = method.protocol == "episodic" and not method.batch_dependent and len(batch) > 1
            if not is_out_of_memory(error) or not divisible:
                raise
        else:
            count, alone = len(batch), answers.meter.alone
            share = None if alone is None else alone / count
            costs = make_columns(count, batch_ms=[share] * count, peak_memory_mb=[peak.megabytes] * count)
            columns = answer_columns(answers.predictions, answers.teacher.argmax(1))
            return [(answers, concatenate_columns(columns, costs))]
        self._limits[method] = limit = (len(batch) + 1) // 2
        if device.type == "cuda":
            torch.cuda.empty_cache()
        self._emit(Note(f"out of memory on {device}: from now on {method.given.row} gets {limit} images at once"))
        return self._predict(method, batch, thorough)

    def autocast(self) -> AbstractContextManager[Any]:
        """Compute in the run's precision in the block."""
        return autocast(self._precision, self._teacher.device)


@contextmanager
def _memory_named(method: Method[Any]) -> Iterator[None]:
    """Say what could help where a method cannot run with the memory that there is.

    Raises:
        UserError: when memory runs out in the block.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        fixed = method.stream_batch is not None or (method.protocol == "episodic" and not method.batch_dependent)
        device = method.given.teacher.device
        raise UserError(
            f"out of memory on {device}: method {method.given.row} cannot run with less memory",
            advice="" if fixed else "try a smaller --batch-size",
        ) from error


def _where(places: Sequence[Place]) -> str:
    """Name the first and the last image, and the conditions."""
    ids = dict.fromkeys((places[0][1].id, places[-1][1].id))
    conditions = dict.fromkeys(str(condition) for condition, _ in places)
    return f"{' to '.join(ids)} ({', '.join(conditions)})"
