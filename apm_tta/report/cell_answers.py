"""Records of one cell as arrays, from which every number of the tables is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from apm_tta.columns import KEY, RECORD_COLUMNS
from apm_tta.data.image_files import DamagedImage
from apm_tta.data.sample import FOREIGN
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.record_keys import equal_key, has_positions
from apm_tta.harness.storage.records import cell_columns
from apm_tta.harness.storage.run_records import RecordFile, present_files, read_parts
from apm_tta.report.further_labels import FurtherLabels
from apm_tta.system.threads import Item, Result, in_threads
from apm_tta.wording import resume

_ROUNDING = 1e-6  # of a float32 softmax
CELL = list(KEY)

_AT_ONCE = 2**17
"""Rows that are taken in together; for fewer, threads cost more than they gain."""

_FIT = ("first_loss", "last_loss", "last_cosine")
_MEANS = [column.name for column in RECORD_COLUMNS if column.mean]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Answers of one cell: n images that were answered, and those that could not be read.

    Attributes:
        cell: values of ``CELL``.
        ids: ids of the answered images, ``(n,)``, a dictionary array where images were shown several times.
        showing: how often each image had been shown before, under this condition, ``(n,)``; None where every image was
            shown once.
        damaged: a row for each of the others: its id, the kind of error, and the error.
        label: true classes, ``(n,)``.
        prediction: predicted classes, ``(n,)``.
        right: whether the prediction is the label, or another right class, ``(n,)``.
        in_top5: whether the label, or another right class, is one of the five best classes, ``(n,)``.
        confidence: confidence in the prediction, ``(n,)``.
        energy: of the logits, ``(n,)``; NaN where it was not recorded.
        teacher_prediction: the teacher's zero-shot predictions with the same templates, ``(n,)``.
        target_prediction: classes of the feature that the method was fitted to, ``(n,)``; None where there is none.
        iterations: predictions after 0 .. T iterations, ``(n, T + 1)``; None where there are none.
        fit: means over the images of first_loss, last_loss and last_cosine; NaN where there are none.
        steps: the largest number of iterations.
        latency_ms: latencies of the images that were timed alone, any number of them.
        batch_ms: sum over the images; NaN where one was not measured.
        peak_memory_mb: largest of any batch; NaN where it was not measured.
        gflop: GFLOP per image; NaN where it was not counted.
        means: over the images, of every column that declares a mean; NaN where the value of any image is unknown.
        headers: of the files that they were read from.
        further: the right classes besides the labels; None where every image has one right class.
    """

    cell: dict[str, Any]
    ids: pa.Array
    showing: Ints | None
    damaged: list[dict[str, str]]
    label: Ints
    prediction: Ints
    right: Bools
    in_top5: Bools
    confidence: Floats
    energy: Floats
    teacher_prediction: Ints
    target_prediction: Ints | None
    iterations: Ints | None
    fit: dict[str, float]
    steps: int
    latency_ms: Floats
    batch_ms: float
    peak_memory_mb: float
    gflop: float
    means: dict[str, float]
    headers: tuple[RecordHeader, ...]
    further: FurtherLabels | None = None

    def __len__(self) -> int:
        return len(self.label)

    def hits(self, predictions: Ints) -> Bools:
        """Return whether predictions are right, ``(n,)`` or ``(n, k)``."""
        return _hits(predictions, self.label, self.further)

    @property
    def images(self) -> pa.Array:
        """Return the ids of all images, each once, those without an answer at the end."""
        if self.showing is None and not self.damaged:
            return self.ids
        unread = pa.array([row["id"] for row in self.damaged], pa.string())
        if self.showing is None:
            return pa.concat_arrays([self.ids, unread])
        return pc.unique(pa.concat_arrays([self.ids.dictionary, unread]))


def condition_files(run: Path, numbers: Numbers) -> dict[str, list[RecordFile]]:
    """Group the files of a run's records by their condition; those of foreign images are none of them.

    Raises:
        UserError: when there are none, or a file among them is not one of the run's.
    """
    by_condition: dict[str, list[RecordFile]] = {}
    for file in present_files(run, numbers):
        if file.cell.condition != FOREIGN:
            by_condition.setdefault(str(file.cell.condition), []).append(file)
    if not by_condition:
        raise UserError(f"{run} holds no records yet", advice=resume(run))
    return by_condition


def read_foreign(run: Path, numbers: Numbers) -> dict[tuple[str, int], Answers]:
    """Read the cells of foreign images, by method and seed; those that are not complete are left out.

    Raises:
        UserError: see ``read_condition``.
    """
    if numbers.foreign is None:
        return {}
    files = [file for file in present_files(run, numbers) if file.cell.condition == FOREIGN]
    cells = read_condition(run, files, numbers.fingerprint)
    return {
        (cell.cell["method"], cell.cell["seed"]): cell for cell in cells if len(cell.images) == numbers.foreign.images
    }


def read_condition(run: Path, files: Sequence[RecordFile], fingerprint: str) -> list[Answers]:
    """Read the cells of one condition.

    Args:
        run: the run folder.
        files: of that condition; see ``condition_files``.
        fingerprint: of the run.

    Raises:
        UserError: when a file is damaged, or is not what the run has there; when two rows of a cell have one key.
    """
    by_cell: dict[Cell, list[RecordFile]] = {}
    for file in files:
        by_cell.setdefault(file.cell, []).append(file)
    if not by_cell:
        return []
    (cell, own), *others = by_cell.items()
    first = _answers(run, cell, own, fingerprint, [])

    def answers(pair: tuple[Cell, list[RecordFile]]) -> Answers:
        return _answers(run, *pair, fingerprint, [first.ids])

    return [first, *apply_to_cells(answers, others, sum(file.images for _, own in others for file in own))]


def apply_to_cells(function: Callable[[Item], Result], items: Iterable[Item], rows: int) -> list[Result]:
    """Apply a function to every item, one per cell, in threads where all of them together are of many rows."""
    return in_threads(function, items) if rows >= _AT_ONCE else list(map(function, items))


def positions(ids: pa.Array, among: pa.Array) -> Ints:
    """Return the index in ``among`` of each of ``ids``, the first one of an id that is in it several times; else -1.

    Ids that are no dictionary are each there once.
    """
    if ids is among and not pa.types.is_dictionary(ids.type):
        return np.arange(len(ids))
    if not (pa.types.is_dictionary(ids.type) or pa.types.is_dictionary(among.type)):
        return _index_in(ids, among)
    ids, among = (each if pa.types.is_dictionary(each.type) else each.dictionary_encode() for each in (ids, among))
    first = np.full(len(among.dictionary) + 1, -1)  # the last stands for an id that is not in it
    first[among.indices.to_numpy()[::-1]] = np.arange(len(among))[::-1]
    found: Ints = first[_index_in(ids.dictionary, among.dictionary)][ids.indices.to_numpy()]
    return found


def _index_in(ids: pa.Array, among: pa.Array) -> Ints:
    indices: Ints = pc.fill_null(pc.index_in(ids, value_set=among), -1).to_numpy(zero_copy_only=False).astype(np.int64)
    return indices


def image_numbers(ids: pa.Array) -> Ints:
    """Return the number of each row's image, from 0, ``(n,)``."""
    encoded = ids if pa.types.is_dictionary(ids.type) else ids.dictionary_encode()
    _, numbers = np.unique(encoded.indices.to_numpy(), return_inverse=True)
    return numbers.astype(np.int64)


def _showings(images: Ints, position: Ints) -> Ints:
    """Count for every row how often its image was shown before."""
    order = np.lexsort((position, images))
    first = np.flatnonzero(np.diff(images[order], prepend=-1))
    showings = np.empty(len(images), dtype=np.int64)
    showings[order] = np.arange(len(images)) - np.repeat(first, np.diff(first, append=len(images)))
    return showings


class _Rows:
    """The rows of one cell, gathered part by part as arrays: a stream may have millions.

    Small parts are gathered until there are many rows, since each costs as much as thousands of rows.

    Args:
        run: the run folder, for the messages.
        cell: values of ``CELL``.
    """

    def __init__(self, run: Path, cell: dict[str, Any]) -> None:
        self.run, self.cell = run, cell
        self.ids: list[pa.Array] = []
        self.damaged: list[dict[str, str]] = []
        self._columns: dict[str, list[Any]] = {}
        self._further: list[FurtherLabels] = []
        self._answered = 0
        self._waiting: list[pa.Table] = []

    def add(self, table: pa.Table) -> None:
        """Add some rows.

        Raises:
            UserError: when what a row must have is missing or impossible.
        """
        self._waiting.append(table.drop_columns(CELL))  # which are the same in all rows, and were compared
        if sum(map(len, self._waiting)) >= _AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Take in what was gathered; to be called after the last rows.

        Raises:
            UserError: see ``add``.
        """
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting).unify_dictionaries().combine_chunks()
        self._waiting.clear()
        ids = table["id"].combine_chunks()
        self.ids.append(ids.dictionary_encode() if has_positions(table) else ids)  # of a stream, few differ
        unread = pc.is_valid(table["error"])
        answered = table
        if table["error"].null_count < len(table):
            answered = table.filter(pc.invert(unread)).combine_chunks()
            self.damaged += [
                {"id": row["id"], "kind": row["error_kind"] or DamagedImage.kind, "error": row["error"]}
                for row in table.filter(unread).select(["id", "error_kind", "error"]).to_pylist()
            ]
        _refuse_gaps(self.run, self.cell, answered)
        label, latency = _integers(answered, "label"), _floats(answered, "latency_ms")
        if (further := FurtherLabels.of(answered["other_labels"])) is not None:
            self._further.append(FurtherLabels(self._answered + further.rows, further.classes))
        self._answered += len(answered)
        iterations = _iterations(self.run, self.cell, answered)
        target = None if answered["target_prediction"].null_count else _integers(answered, "target_prediction")
        values = {
            "unread": unread.to_numpy(),
            "position": _integers(table, "position"),
            "label": label,
            "prediction": _integers(answered, "prediction"),
            "in_top5": _in_top5(answered, label, further),
            "confidence": _probabilities(self.run, self.cell, answered),
            "teacher_prediction": _integers(answered, "teacher_prediction"),
            "latency": latency[np.isfinite(latency)],
            "batch": _floats(answered, "batch_ms"),
            "steps": _integers(answered, "iterations"),
            **{name: answered[name].to_numpy() for name in ("energy", "peak_memory_mb", "gflop", *_FIT, *_MEANS)},
        }
        if len(answered):
            values |= {"iterations": iterations, "target": target}
        for name, value in values.items():
            self._columns.setdefault(name, []).append(value)

    def take(self, name: str) -> Any:
        """Return a column of all rows, or of those with an answer, once; None where there is none in any part.

        Raises:
            UserError: when only some parts have it, or another number of iterations.
        """
        parts = self._columns.pop(name, [])
        known = [part for part in parts if part is not None]
        if not known:
            return None
        if len(known) < len(parts) or len({part.shape[1:] for part in known}) > 1:
            raise _uneven(self.run, self.cell, name)
        return known[0] if len(known) == 1 else np.concatenate(known)

    def further(self) -> FurtherLabels | None:
        """Return the right classes besides the labels; None where there are none in any part."""
        if not self._further:
            return None
        rows, classes = zip(*((each.rows, each.classes) for each in self._further), strict=True)
        return FurtherLabels(np.concatenate(rows), np.concatenate(classes))

    def floats(self, name: str) -> Floats:
        """Return a column as double precision, once."""
        found: Floats = self.take(name).astype(np.float64)
        return found


def _uneven(run: Path, cell: dict[str, Any], name: str) -> UserError:
    if name == "target":
        return UserError(f"{run}: only some images of {cell['method']} have a target_prediction; run it again")
    return UserError(f"{run}: images of {cell['method']} were given different numbers of iterations; run it again")


def _answers(
    run: Path, cell: Cell, files: Sequence[RecordFile], fingerprint: str, others: Sequence[pa.Array]
) -> Answers:
    rows, headers = _Rows(run, cell_columns(cell)), list[RecordHeader]()
    for file in files:
        own, parts = read_parts(run, file, fingerprint)
        headers += own
        for part in parts:
            rows.add(part)
    rows.flush()
    unread, position = rows.take("unread"), rows.take("position")
    ids, showing = _keyed(rows, position, others)
    if unread.any():
        ids = ids.filter(pa.array(~unread))
        showing = None if showing is None else showing[~unread]
    label, prediction, batch, steps = (rows.take(name) for name in ("label", "prediction", "batch", "steps"))
    further = rows.further()
    peak, gflop = rows.floats("peak_memory_mb"), rows.floats("gflop")
    return Answers(
        cell=rows.cell,
        ids=ids,
        showing=showing,
        damaged=rows.damaged,
        label=label,
        prediction=prediction,
        right=_hits(prediction, label, further),
        in_top5=rows.take("in_top5"),
        confidence=rows.take("confidence"),
        energy=rows.floats("energy"),
        teacher_prediction=rows.take("teacher_prediction"),
        target_prediction=rows.take("target"),
        iterations=rows.take("iterations"),
        fit={name: _mean(rows.floats(name)) for name in _FIT},
        steps=int(steps.max()) if len(steps) else 0,
        latency_ms=rows.take("latency"),
        batch_ms=float(batch.sum()) if len(batch) else float("nan"),
        peak_memory_mb=float(np.nanmax(peak)) if np.isfinite(peak).any() else float("nan"),
        gflop=float(gflop[np.isfinite(gflop)][0]) if np.isfinite(gflop).any() else float("nan"),
        means={name: _mean(rows.floats(name)) for name in _MEANS},
        headers=tuple(headers),
        further=further,
    )


def _hits(predictions: Ints, label: Ints, further: FurtherLabels | None) -> Bools:
    across = (slice(None), *[None] * (predictions.ndim - 1))
    found: Bools = predictions == label[across]
    return found if further is None else found | further.among(np.arange(len(label))[across], predictions)


def _keyed(rows: _Rows, position: Ints, others: Sequence[pa.Array]) -> tuple[pa.Array, Ints | None]:
    """Return the ids of all rows, and how often each image was shown before where rows have positions.

    Args:
        rows: of the cell.
        position: of each of them; -1 for none.
        others: ids of other cells: the ids are the same object where they are the same.

    Raises:
        UserError: when two rows have one key.
    """
    several = bool((position >= 0).any())
    if several:
        encoded = (each if pa.types.is_dictionary(each.type) else each.dictionary_encode() for each in rows.ids)
        ids = pa.chunked_array(list(encoded)).unify_dictionaries().combine_chunks()
    else:
        ids = pa.chunked_array(rows.ids, pa.string()).combine_chunks()
        for other in others:
            if not pa.types.is_dictionary(other.type) and ids.equals(other):
                return other, None  # whose keys differ, and which need not be looked for in each other
    key = equal_key(pa.table({"id": ids, "position": pa.array(position, mask=position < 0)}))
    if key is not None:
        raise UserError(
            f"{rows.run} holds {key} of {rows.cell['method']} twice; delete its records and rerun the command"
        )
    return ids, _showings(image_numbers(ids), position) if several else None


def _refuse_gaps(run: Path, cell: dict[str, Any], answered: pa.Table) -> None:
    """Refuse nulls, which would be read as a class of their own and counted as wrong."""
    for name in ("label", "prediction", "top5", "teacher_prediction"):
        if answered[name].null_count:
            first = answered["id"][pc.index(pc.is_null(answered[name]), True).as_py()].as_py()
            raise UserError(f"{run}: {cell['method']} has no {name} for image {first} and no error; run it again")
    if 0 < answered["target_prediction"].null_count < len(answered):
        raise UserError(f"{run}: only some images of {cell['method']} have a target_prediction; run it again")


def _probabilities(run: Path, cell: dict[str, Any], answered: pa.Table) -> Floats:
    """Return confidences in 0 .. 1; those that rounding has put above 1 become 1."""
    confidence = _floats(answered, "confidence")
    outside = ~((confidence >= 0) & (confidence <= 1 + _ROUNDING))  # negated, so that NaN counts as outside
    if outside.any():
        place = int(np.flatnonzero(outside)[0])
        problem = "not a number" if np.isnan(confidence[place]) else f"{confidence[place]:g}, not a probability"
        first = answered["id"][place].as_py()
        raise UserError(f"{run}: the confidence of {cell['method']} on image {first} is {problem}; run it again")
    return np.minimum(confidence, 1)


def _in_top5(answered: pa.Table, label: Ints, further: FurtherLabels | None) -> Bools:
    top5 = answered["top5"].combine_chunks()
    parents, classes = pc.list_parent_indices(top5).to_numpy(), top5.flatten().to_numpy()
    hits = classes == label[parents]
    if further is not None:
        hits |= further.among(parents, classes.astype(np.int64))
    in_top5: Bools = np.bincount(parents, weights=hits, minlength=len(label)) > 0
    return in_top5


def _iterations(run: Path, cell: dict[str, Any], answered: pa.Table) -> Ints | None:
    lists = answered["iteration_predictions"].combine_chunks()
    lengths = pc.unique(pc.list_value_length(lists)).to_pylist()
    if lengths in ([], [0]):
        return None
    if len(lengths) != 1:
        raise UserError(f"{run}: images of {cell['method']} were given different numbers of iterations; run it again")
    predictions: Ints = lists.flatten().to_numpy().astype(np.int64).reshape(len(lists), lengths[0])
    return predictions


def _integers(table: pa.Table, name: str) -> Ints:
    column: Ints = pc.fill_null(table[name], -1).to_numpy().astype(np.int64)
    return column


def _floats(table: pa.Table, name: str) -> Floats:
    column: Floats = table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
    return column


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
