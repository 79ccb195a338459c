"""What a shard or stream has answered so far, and when it is kept: a worker makes checkpoints, and goes on from one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import load, save
from torch import Tensor

from apm_tta.columns import RECORD_COLUMNS
from apm_tta.harness.compute.answer_columns import concatenate_rows
from apm_tta.harness.compute.gathered_features import Gathered
from apm_tta.harness.plan import Cell, Work
from apm_tta.harness.progress.events import Emit, Kept, unit_name
from apm_tta.harness.quietness import Stretch
from apm_tta.harness.storage.checkpoint import (
    Checkpoint,
    CheckpointIndex,
    digest_of,
    record_names,
    retried_of,
)
from apm_tta.method_rows import folder_of

_SINCE = b"apm_tta_since"
_CELL = "cell"
_TYPES = {column.name: column.type for column in RECORD_COLUMNS}


@dataclass
class Since:
    """What happened since the last checkpoint beside answers, which grows with the images.

    Attributes:
        digests: see ``ReadDigests``.
        stretches: see ``Watch``; by row and seed.
        gathered: of a transductive method's images, see ``GatheredFeatures``; None for others.
        tensors: likewise their features.
    """

    digests: Sequence[tuple[str, int, str, str]] = ()
    stretches: Mapping[tuple[str, int], Sequence[Stretch]] = field(default_factory=dict)
    gathered: Gathered | None = None
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass
class Now:
    """What a checkpoint states as it is by then.

    Attributes:
        account: see ``Account.state``.
        states: of methods, by row: see ``apm_tta.methods.kept``.
        window: see ``CheckpointIndex``.
    """

    account: Mapping[str, Any]
    states: Mapping[str, bytes] = field(default_factory=dict)
    window: Sequence[int] = ()


@dataclass(frozen=True)
class Earlier:
    """What a checkpoint holds, decoded.

    Attributes:
        index: of the checkpoint.
        tables: answers by cell.
        parts: what happened between the checkpoints before it.
        states: of methods, by row.
    """

    index: CheckpointIndex
    tables: Mapping[Cell, Sequence[pa.Table]]
    parts: Sequence[Since]
    states: Mapping[str, bytes]


class Keeping:
    """Collects the answers of one shard or stream, and makes checkpoints of it.

    A checkpoint has new files for what is new since the one before, and goes on naming the files of that.

    Args:
        work: the shard or stream.
        fingerprint: of the run.
        every: seconds after which answers are kept: at the boundary between two batches before that is over, by the
            time that batches take.
        emit: receives the checkpoints.
        earlier: the checkpoint to go on from.

    Attributes:
        tables: answers by cell.
        done: images that are behind.
    """

    def __init__(self, work: Work, fingerprint: str, every: float, emit: Emit, earlier: Earlier | None = None) -> None:
        self._work, self._fingerprint, self._every, self._emit = work, fingerprint, every, emit
        self.tables: dict[Cell, list[pa.Table]] = {cell: [] for cell in work.cells}
        self.done = 0
        self._number, self._files = 0, dict[str, str]()
        self._new: list[tuple[int, pa.Table]] = []
        self._cells = {cell: index for index, cell in enumerate(work.cells)}
        self._kept_at = self._boundary_at = time.perf_counter()
        if earlier is not None:
            # What was kept is kept again with what comes next, in one file: names of files are those of this worker.
            self._number, self.done = earlier.index.number + 1, earlier.index.done
            for cell, tables in earlier.tables.items():
                for table in tables:
                    self.add(cell, table)

    def add(self, cell: Cell, table: pa.Table) -> None:
        """Add answers."""
        self.tables[cell].append(table)
        self._new.append((self._cells[cell], table))

    def boundary(self, images: int, since: Callable[[], Since], now: Callable[[], Now | None]) -> None:
        """Note that a batch is behind, and make a checkpoint if the next one might come too late for it.

        Args:
            images: of the batch.
            since: returns what happened since it was called last.
            now: returns what a checkpoint states beside; None where there can be none.
        """
        self.done += images
        began, before = time.perf_counter(), self._boundary_at
        self._boundary_at = began
        if began - self._kept_at + (began - before) < self._every:
            return
        self._kept_at = began
        if (stated := now()) is None:
            return
        files = self._encoded(since(), stated)
        states = {name: digest for name, digest in self._files.items() if not name.startswith("state-")}
        self._files = states | {name: digest_of(content) for name, content in files.items()}
        index = CheckpointIndex(
            fingerprint=self._fingerprint,
            unit=unit_name(self._work),
            records=record_names(self._work),
            retried=retried_of(self._work),
            number=self._number,
            done=self.done,
            answers=sum(len(table) for tables in self.tables.values() for table in tables),
            files=self._files,
            account=dict(stated.account),
            window=tuple(stated.window),
        )
        self._number += 1
        self._new = []
        self._emit(Kept(self._work, index.content, files, time.perf_counter() - began))
        self._boundary_at = time.perf_counter()

    def _encoded(self, since: Since, now: Now) -> dict[str, bytes]:
        number = f"{self._number:05d}"
        files = {f"answers-{number}.parquet": _encode_rows(self._new, since)}
        if since.tensors:
            files[f"features-{number}.safetensors"] = save(dict(since.tensors))
        return files | {f"state-{number}-{folder_of(row)}.safetensors": state for row, state in now.states.items()}


def decode_checkpoint(checkpoint: Checkpoint, work: Work) -> Earlier:
    """Decode what has been kept of a unit of work, of which the unit may have some of the cells only.

    Raises:
        ValueError: when it cannot be read.
    """
    index = checkpoint.index
    places = {str(work.file_of(cell)): cell for cell in work.cells}
    cells = [places.get(name) for name in index.records]
    tables: dict[Cell, list[pa.Table]] = {cell: [] for cell in work.cells}
    parts = []
    for name in sorted(name for name in index.files if name.startswith("answers-")):
        rows, since = _decode_rows(checkpoint.files[name])
        features = name.replace("answers-", "features-").replace(".parquet", ".safetensors")
        if features in checkpoint.files:
            since.tensors = load(checkpoint.files[features])
        parts.append(since)
        for number, cell in enumerate(cells):
            if cell is not None and len(own := rows.filter(pa.compute.equal(rows[_CELL], number))):
                tables[cell].append(own.drop_columns([_CELL]))
    states = {
        row: content
        for row in dict.fromkeys(cell.method for cell in work.cells)
        for name, content in checkpoint.files.items()
        if name.startswith("state-") and name.partition("-")[2].partition("-")[2] == f"{folder_of(row)}.safetensors"
    }
    return Earlier(index, tables, parts, states)


def joined(parts: Sequence[Since]) -> Since:
    """Join what happened in several parts, beside what was gathered."""
    stretches: dict[tuple[str, int], list[Stretch]] = {}
    for part in parts:
        for key, own in part.stretches.items():
            stretches.setdefault(key, []).extend(own)
    return Since([each for part in parts for each in part.digests], stretches)


def _encode_rows(new: Sequence[tuple[int, pa.Table]], since: Since) -> bytes:
    tables = [table.append_column(_CELL, pa.array([number] * len(table), pa.int32())) for number, table in new]
    rows = concatenate_rows(tables) if tables else pa.table({_CELL: pa.array([], pa.int32())})
    plain = {
        "digests": list(since.digests),
        "stretches": [[*key, [astuple(each) for each in own]] for key, own in since.stretches.items()],
        "gathered": since.gathered,
    }
    sink = pa.BufferOutputStream()
    pq.write_table(rows.replace_schema_metadata({_SINCE: json.dumps(plain).encode()}), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _decode_rows(content: bytes) -> tuple[pa.Table, Since]:
    """Decode answers, and what happened meanwhile.

    Raises:
        ValueError: when that is something else.
    """
    try:
        rows = pq.read_table(pa.BufferReader(content))
        plain = json.loads(rows.schema.metadata[_SINCE])
        stretches = {(row, seed): [Stretch(*each) for each in own] for row, seed, own in plain["stretches"]}
        gathered = None if plain["gathered"] is None else Gathered(*plain["gathered"])
        digests = [tuple(each) for each in plain["digests"]]
    except (pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its answers cannot be read ({type(error).__name__})") from None
    if any(_TYPES.get(each.name, pa.int32()) != each.type for each in rows.schema):
        raise ValueError("its answers have other columns")
    return rows.replace_schema_metadata(), Since(digests, stretches, gathered)
