"""The computation of shards and streams: loading images, calling each method, checking and encoding its answers."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError
from apm_tta.harness.compute.account import Account
from apm_tta.harness.compute.answer_columns import (
    concatenate_rows,
    count_right,
)
from apm_tta.harness.compute.batch_answers import BatchAnswers, LoadedBatch
from apm_tta.harness.compute.gathered_features import GatheredFeatures
from apm_tta.harness.compute.keeping import Earlier, Keeping, Now, Since, decode_checkpoint, joined
from apm_tta.harness.compute.loading import Following, Loader, Place
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.compute.read_digests import ReadDigests
from apm_tta.harness.compute.shard_features import CachedFeatures
from apm_tta.harness.compute.shown import positions_of, repeats
from apm_tta.harness.compute.stream_order import stream_order
from apm_tta.harness.compute.stream_states import StreamStates
from apm_tta.harness.compute.transfer import arriving
from apm_tta.harness.compute.watch import Watch
from apm_tta.harness.plan import Cell, Shard, Stream, Work
from apm_tta.harness.progress.events import Answered, Emit, Finished, Note, unit_name
from apm_tta.harness.progress.heard_warnings import counted, heard_warnings
from apm_tta.harness.storage.checkpoint import Checkpoint
from apm_tta.harness.storage.records import encode_records
from apm_tta.methods import Batch, Method
from apm_tta.methods.answering import refuse_changed_teacher, reset
from apm_tta.methods.batch import Shared
from apm_tta.methods.shared_values import evaluation_crops, features_key, whole_images_key
from apm_tta.precision import float32_products


class Worker:
    """What every shard and stream needs: the data set, the teacher and the methods.

    Args:
        prepared: the request with what it names; the teacher's own predictions are recorded with every method's.
        emit: receives an event for every batch answered, and notes for the user.
        fingerprint: of the run, which every file of records carries; see ``Numbers.fingerprint``.
        workers: number of loading processes.
        feature_cache: folder of the cached teacher features; None computes them.
        setup_warnings: what libraries warned of while this process prepared the run, with counts.
    """

    def __init__(
        self,
        prepared: Prepared,
        emit: Emit,
        fingerprint: str,
        workers: int = 0,
        feature_cache: Path | None = None,
        setup_warnings: Mapping[str, int] | None = None,
    ) -> None:
        self._dataset = prepared.dataset
        self._teacher = prepared.teacher
        self._methods = prepared.asked
        self._batch_size = prepared.request.suite.batch_size
        self._precision = prepared.request.suite.precision
        self._keep_every = prepared.request.keep_every
        self._feature_cache = feature_cache
        self._emit = emit
        self._fingerprint = fingerprint
        self._setup_warnings = setup_warnings or {}
        self._read = ReadDigests(self._dataset)
        self._checked: set[Cell] = set()
        self._repeating: dict[Condition, bool] = {}
        self._answers = BatchAnswers(prepared, emit)
        self._prepared = prepared
        self._loader = Loader(self._dataset, prepared.preparations(self._methods.values()), workers)

    def close(self) -> None:
        """End the loading processes."""
        self._loader.close()

    def compute(self, work: Work, following: Work | None = None, checkpoint: Checkpoint | None = None) -> Finished:
        """Take all ``steps``, and return the last one's result."""
        *_, finished = self.steps(work, following, checkpoint)
        assert finished is not None
        return finished

    def steps(
        self, work: Work, following: Work | None = None, checkpoint: Checkpoint | None = None
    ) -> Iterator[Finished | None]:
        """Answer ``work`` under each of its cells, one file per cell: yield after every batch, at the end the result.

        Whoever takes the steps can do something else in between, such as telling of them.

        Args:
            work: a shard or a stream.
            following: what this worker will most likely be asked for next: its first images are loaded meanwhile.
            checkpoint: of the work, to go on from; one that does not fit is noted, and the work begins anew.

        Raises:
            UserError: when a method fails, naming the method, the images and the error; when it does what a method must
                not do, or answers an image otherwise among others than alone.
        """
        started = time.perf_counter()
        self._begin(work)
        products = float32_products(self._precision, self._teacher.device)
        with self._heard_or_noted() as heard, torch.no_grad(), products:
            self._heard = heard
            self._go_on(work, checkpoint)
            if isinstance(work, Stream):
                answers = self._answer_stream(work)
            else:
                answers = self._answer_whole(work) if work.whole else self._answer_shard(work, following)
            for cell, table in answers:
                self._keeping.add(cell, table)
                self._emit(Answered(cell, len(table), count_right(table)))
                yield None
            watched = self._watch.end()
        refuse_changed_teacher(self._teacher, {cell.method for cell in work.cells})
        self._account.warnings.update(heard)
        headers = {
            cell: self._account.header(cell, watched.get(self._methods[cell.method, cell.seed])) for cell in work.cells
        }
        files = tuple(
            (work.file_of(cell), encode_records(cell, concatenate_rows(tables), headers[cell]))
            for cell, tables in self._keeping.tables.items()
        )
        seconds = time.perf_counter() - started
        yield Finished(work, files, seconds, self._read.files(work), dict(self._account.warnings))

    def _begin(self, work: Work, earlier: Earlier | None = None) -> None:
        """Begin a unit of work, or go on with it where it was left."""
        self._read = ReadDigests(self._dataset)
        self._watch = Watch(self._teacher.device)
        self._account = Account(work, self._fingerprint, self._teacher.device, self._setup_warnings)
        self._keeping = Keeping(work, self._fingerprint, self._keep_every, self._emit, earlier)
        self._gathered = GatheredFeatures(self._teacher)
        self._earlier = earlier
        if earlier is None:
            return
        self._account.add_state(earlier.index.account)
        since = joined(earlier.parts)
        self._read.put(since.digests)
        for key in {(cell.method, cell.seed) for cell in work.cells}:
            self._watch.put(self._methods[key], since.stretches.get(key, ()))
        if isinstance(work, Shard) and work.whole:
            places = {place[1].id: place for place in self._places(work)}
            for part in earlier.parts:
                if part.gathered is not None:
                    self._gathered.put(part.gathered, part.tensors, places)

    def _go_on(self, work: Work, checkpoint: Checkpoint | None) -> None:
        """Go on from a checkpoint, if there is one that fits."""
        if checkpoint is None:
            return
        try:
            earlier = decode_checkpoint(checkpoint, work)
            if isinstance(work, Stream):
                self._put_back(work, earlier)
            self._begin(work, earlier)
        except ValueError as error:
            self._emit(Note(f"what was kept of {unit_name(work)} cannot be gone on with ({error}): it begins anew"))
            self._begin(work)
            return
        for cell, tables in self._keeping.tables.items():
            for table in tables:
                self._emit(Answered(cell, len(table), count_right(table)))

    def _put_back(self, stream: Stream, earlier: Earlier) -> None:
        """Put the states of the methods back, and show them again what their windows hold.

        Raises:
            ValueError: when they do not fit.
        """
        methods = self._methods_of(stream)
        self._states = StreamStates(methods)
        self._states.put_back(earlier.states)
        places = stream_order(self._dataset, stream)
        held = [places[place] for place in earlier.index.window]
        for batch in self._load(held, max(1, len(held)), methods.values()):
            if len(batch.loaded.places) < len(held):
                raise ValueError(f"{batch.loaded.unread[0].error}")
            self._states.show_again(batch.given)

    def _boundary(self, images: int, now: Callable[[], Now | None]) -> None:
        """Note that so many images are behind, and keep what was answered where it is time for it."""

        def since() -> Since:
            stretches = self._watch.take_new()
            keys = {method: key for key, method in self._methods.items()}
            gathered, tensors = self._gathered.take_new()
            return Since(
                self._read.take_new(),
                {keys[timed]: own for timed, own in stretches.items()},  # type: ignore[index]
                gathered,
                tensors,
            )

        self._keeping.boundary(images, since, now)

    def _now(self) -> Now:
        state = self._account.state()
        return Now({**state, "warnings": dict(Counter(state["warnings"]) + self._heard)})

    @contextmanager
    def _heard_or_noted(self) -> Iterator[Counter[str]]:
        """Hear what libraries warn of in the block; where it fails, that is noted, since no file will state it."""
        with heard_warnings() as heard:
            try:
                yield heard
            except BaseException:
                for text in counted(heard):
                    self._emit(Note(text))
                raise

    def _answer_shard(self, shard: Shard, following: Work | None) -> Iterator[tuple[Cell, pa.Table]]:
        cache = None if shard.retried else self._feature_cache
        cached = CachedFeatures(cache, self._teacher, self._precision, self._dataset, shard)
        methods = {cell: self._methods[cell.method, cell.seed] for cell in shard.cells}
        if cache is None and isinstance(following, Shard) and not following.retried:
            later = [self._methods[cell.method, cell.seed] for cell in following.cells]
            coming = (self._places(following), self._batch_size, self._prepared.preparations(later))
        else:
            coming = None
        done = self._keeping.done
        places = self._places(shard)[done:]
        positions = shard.positions()[done:] if self._repeats(shard.condition) else None
        batches = self._load(places, self._batch_size, methods.values(), cached, coming, positions)
        for number, batch in enumerate(batches):
            loaded = batch.loaded
            # A cell's first images are timed alone; where features come from a cache, their time is unknown.
            measured = shard.index == 0 and done == number == 0 and not cached.complete and not shard.retried
            for cell, method in methods.items():
                checked = cell not in self._checked and len(batch.given) > 1
                answers = self._answers.answer(
                    method, batch, self._watch, self._account, measured, checked, remembered=not number
                )
                yield cell, answers
                if checked:
                    self._checked.add(cell)
            if loaded.places:
                cached.store(batch.given)
            self._boundary(len(loaded.read_and_unread), self._now)
        for method in methods.values():
            self._answers.refuse_late_memory(method, shard.condition)
        cached.close()

    def _answer_whole(self, shard: Shard) -> Iterator[tuple[Cell, pa.Table]]:
        """Gather the features of all images of a condition, and answer them together."""
        cached = CachedFeatures(self._feature_cache, self._teacher, self._precision, self._dataset, shard)
        methods = {cell: self._methods[cell.method, cell.seed] for cell in shard.cells}
        gathered, places = self._gathered, self._places(shard)
        left = places[self._keeping.done :]
        for batch in self._load(left, self._batch_size, methods.values(), cached):
            with self._watch.during(*methods.values()), self._answers.autocast():
                gathered.add(batch.given, batch.loaded)
            if batch.loaded.places:
                cached.store(batch.given)
            self._boundary(len(batch.loaded.read_and_unread), self._now)
        cached.close()
        repeated = self._repeats(shard.condition)
        positions = positions_of(gathered.loaded, places, shard.positions()) if repeated else None
        for cell, method in methods.items():
            reset(method)
            whole = LoadedBatch(gathered.batch(), gathered.loaded, positions)
            yield cell, self._answers.answer(method, whole, self._watch, self._account, measured=False, checked=False)

    def _answer_stream(self, stream: Stream) -> Iterator[tuple[Cell, pa.Table]]:
        methods, done = self._methods_of(stream), self._keeping.done
        cells = {(cell.method, cell.condition): cell for cell in stream.cells}
        places = stream_order(self._dataset, stream)
        size = stream.stream_batch or self._batch_size
        positions = range(len(places))[done:] if repeats(places) else None
        held: deque[int] = deque(self._earlier.index.window if self._earlier else (), stream.streaming.window or 0)
        if not done:
            self._states = StreamStates(methods)
        for number, batch in enumerate(self._load(places[done:], size, methods.values(), positions=positions)):
            loaded, first = batch.loaded, done == number == 0
            conditions = [condition for condition, _ in loaded.read_and_unread]
            for name, method in methods.items():
                if first:
                    reset(method)
                answers = self._answers.answer(method, batch, self._watch, self._account, measured=first, checked=first)
                for condition in dict.fromkeys(conditions):
                    rows = [row for row, own in enumerate(conditions) if own == condition]
                    yield cells[name, condition], answers.take(rows)
            if held.maxlen:
                shown = range(self._keeping.done, self._keeping.done + len(conditions))
                held.extend(positions_of(loaded, places[shown.start : shown.stop], shown).read)
            self._boundary(len(conditions), lambda: self._now_of_stream(stream, held))

    def _now_of_stream(self, stream: Stream, held: Sequence[int]) -> Now | None:
        """Return what a checkpoint of a stream states; None where a method keeps what cannot be stored."""
        try:
            states = self._states.encode()
        except UserError as error:
            self._emit(Note(f"{error}: where the run is killed, {unit_name(stream)} begins anew"))
            return None
        return replace(self._now(), states=states, window=tuple(held)[len(held) - self._states.held :])

    def _methods_of(self, stream: Stream) -> dict[str, Method[Any]]:
        return {cell.method: self._methods[cell.method, stream.seed] for cell in stream.cells}

    def _repeats(self, condition: Condition) -> bool:
        """Return whether the data set itself has an image several times under a condition."""
        if condition not in self._repeating:
            self._repeating[condition] = repeats([(condition, each) for each in self._dataset.entries(condition)])
        return self._repeating[condition]

    def _places(self, shard: Shard) -> list[Place]:
        entries = self._dataset.entries(shard.condition)
        return [(shard.condition, entries[position]) for position in shard.positions()]

    def _load(
        self,
        places: Sequence[Place],
        batch_size: int,
        methods: Collection[Method[Any]],
        cached: CachedFeatures | None = None,
        coming: Following | None = None,
        positions: Sequence[int] | None = None,
    ) -> Iterator[LoadedBatch]:
        """Load the images of ``places``, with what ``methods`` want of them, and then begin with what is ``coming``.

        Where an image is among them several times, ``positions`` are theirs.
        """
        teacher = self._teacher
        from_cache = cached is not None and cached.complete
        wanted = self._prepared.preparations(methods)
        if from_cache:
            wanted = [each for each in wanted if each.key != evaluation_crops(teacher).key]
        batches = self._loader.load(places, batch_size, wanted, coming)
        for number, arrived in enumerate(arriving(batches, teacher.device, wanted)):
            loaded, part = arrived.loaded, slice(number * batch_size, (number + 1) * batch_size)
            self._read.add(loaded)
            self._account.add_loaded(loaded)
            shared = Shared(teacher.device)
            for preparation, (tensor, milliseconds) in zip(wanted, loaded.prepared, strict=False):
                shared.put(preparation.key, tensor, milliseconds)
            if arrived.whole_images is not None:
                shared.put(whole_images_key(teacher.device), arrived.whole_images, 0.0)
            batch = Batch(tuple(entry.id for _, entry in loaded.places), loaded.images, shared)
            if from_cache and loaded.places and cached is not None:
                shared.put(features_key(teacher), cached.read(batch.ids), None)
            shown = None if positions is None else positions_of(loaded, places[part], positions[part])
            yield LoadedBatch(batch, loaded, shown)
