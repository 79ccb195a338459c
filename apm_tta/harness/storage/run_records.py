"""The records of one run: which files its manifest names, and whether what lies there is what it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apm_tta.data.sample import FOREIGN, Condition, parse_condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import EPISODIC, TRANSDUCTIVE, Cell, compact_file, record_file
from apm_tta.harness.storage.manifest import Numbers, StreamFields
from apm_tta.harness.storage.record_header import RecordHeader, stated_headers
from apm_tta.harness.storage.record_keys import equal_key
from apm_tta.harness.storage.records import (
    REPAIR,
    Recorded,
    cell_columns,
    decode_parts,
    decode_records,
    read_content,
    record_files,
)
from apm_tta.wording import first_few, pluralise

Image = tuple[str, int]
"""Id and label of an image."""

_SHOWN = 12
"""Leading digits of a fingerprint in a message."""


@dataclass(frozen=True)
class RecordFile:
    """One file of a run's records, as the run's manifest names it.

    Attributes:
        name: its path below the run folder.
        cell: the cell that its rows belong to.
        images: how many rows it has.
        index: of the shard among those of its cell.
        joined: of a compact file, those in whose place it is, in the order of its rows.
    """

    name: PurePosixPath
    cell: Cell
    images: int
    index: int = 0
    joined: tuple[RecordFile, ...] = ()

    @property
    def shards(self) -> tuple[RecordFile, ...]:
        """The files that its rows were recorded in: itself, unless it is a compact one."""
        return self.joined or (self,)


def samples_of_run(numbers: Numbers) -> dict[Condition, int]:
    """Return the number of images under each condition, that of the foreign images among them."""
    counts = {parse_condition(name): numbers.dataset.images_under(name) for name in numbers.conditions}
    return counts if numbers.foreign is None else {**counts, FOREIGN: numbers.foreign.images}


def files_of_run(numbers: Numbers) -> dict[PurePosixPath, RecordFile]:
    """Return every file that a complete run has, by its path below the run folder."""
    counts = samples_of_run(numbers)
    streaming = numbers.streams.streaming if isinstance(numbers.streams, StreamFields) else None
    own = [condition for condition in counts if condition != FOREIGN]
    passes = Counter([] if streaming is None else streaming.setting.passes(own))
    files = []
    for condition, count in counts.items():
        for method, fields in numbers.methods.items():
            streamed = fields.protocol == "online" and streaming is not None
            whole = fields.protocol == "transductive"
            setting = TRANSDUCTIVE if whole else EPISODIC
            if streamed:
                setting = str(streaming)
            shown = count * passes.get(condition, 1) if streamed else count
            starts = [0] if streamed or whole else range(0, count, numbers.shard_size)
            for seed in numbers.seeds:
                cell = Cell(numbers.dataset.name, condition, numbers.teacher.name, method, seed, setting)
                for index, start in enumerate(starts):
                    images = shown if streamed or whole else min(numbers.shard_size, count - start)
                    files.append(RecordFile(record_file(cell, index), cell, images, index))
    return {file.name: file for file in files}


def compact_files(numbers: Numbers) -> dict[PurePosixPath, RecordFile]:
    """Return the compact files that a run may have, by their paths: one for every cell that is recorded in shards."""
    by_cell: dict[Cell, list[RecordFile]] = {}
    for file in files_of_run(numbers).values():
        by_cell.setdefault(file.cell, []).append(file)
    files = (
        RecordFile(compact_file(cell), cell, sum(file.images for file in own), joined=tuple(own))
        for cell, own in by_cell.items()
        if len(own) > 1
    )
    return {file.name: file for file in files}


def rows_of_run(numbers: Numbers) -> Counter[Cell]:
    """Count the rows that every cell of a complete run has."""
    rows: Counter[Cell] = Counter()
    for file in files_of_run(numbers).values():
        rows[file.cell] += file.images
    return rows


def present_files(run: Path, numbers: Numbers) -> list[RecordFile]:
    """List the files of a run's records that are there, sorted by name; what a killed writer left behind is ignored.

    Of a cell that has a compact file only that counts: shards beside it were about to be removed.

    Raises:
        UserError: when a file lies among them that the run's manifest does not name.
    """
    named = {**files_of_run(numbers), **compact_files(numbers)}
    found = [PurePosixPath(path.relative_to(run).as_posix()) for path in record_files(run)]
    strays = [str(name) for name in found if name not in named]
    if strays:
        raise UserError(
            f"{run} holds records that its run.yaml does not name: {first_few(strays)}; move them out of "
            f"{run / 'records'}"
        )
    present = [named[name] for name in found]
    replaced = {shard.name for file in present for shard in file.joined}
    return [file for file in present if file.name not in replaced]


def read_headers(run: Path, numbers: Numbers) -> list[tuple[str, RecordHeader]]:
    """Read what each file of a run's records says of itself, with the method that it is of; its rows are not read.

    Raises:
        UserError: when a file is damaged where it says so, or is not one of the run's.
    """
    headers = []
    for file in present_files(run, numbers):
        path = run / file.name
        try:
            own = stated_headers(pq.read_schema(path).metadata or {}) if path.is_file() else ()
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {REPAIR}") from None
        if not own:
            raise UserError(f"{path} does not say which run it belongs to; {REPAIR}")
        headers += [(file.cell.method, header) for header in own]
    return headers


def read_recorded(run: Path, file: RecordFile, fingerprint: str, images: Sequence[Image] | None = None) -> Recorded:
    """Read one file of a run's records.

    Args:
        run: the run folder.
        file: which file.
        fingerprint: of the run; see ``Numbers.fingerprint``.
        images: those that it must hold, in any order; None where that is not known.

    Raises:
        UserError: when it is damaged, or not what the run has there: of another run, cell or shard, or with other
            images; when two of its rows have one key.
    """
    path = run / file.name
    return check_recorded(path, read_content(path), file, fingerprint, images)


def check_recorded(
    path: Path, content: bytes, file: RecordFile, fingerprint: str, images: Sequence[Image] | None = None
) -> Recorded:
    """Decode the content of one file of a run's records; see ``read_recorded``."""
    recorded = decode_records(path, content)
    table = recorded.table
    _refuse_other_headers(path, recorded.headers, file, fingerprint)
    _refuse_other_cell(path, table, file.cell)
    _refuse_other_count(path, len(table), file)
    if (key := equal_key(table)) is not None:
        raise UserError(f"{path} has {key} in two rows; {REPAIR}")
    if images is not None:
        held = zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)
        if Counter(held) != Counter(images):
            raise UserError(f"{path} has other images or labels than its shard; {REPAIR}")
    return recorded


def split(recorded: Recorded, file: RecordFile) -> Iterator[tuple[RecordFile, Recorded]]:
    """Yield the files whose rows a file has, each as it was recorded; one that is not compact is its own."""
    start = 0
    for shard, header in zip(file.shards, recorded.headers, strict=True):
        yield shard, Recorded(recorded.table.slice(start, shard.images), header)
        start += shard.images


def read_parts(run: Path, file: RecordFile, fingerprint: str) -> tuple[tuple[RecordHeader, ...], Iterator[pa.Table]]:
    """Read one file of a run's records part by part; whether its keys differ is left to whoever has all of its parts.

    Arguments as for ``read_recorded``.

    Returns:
        What each file says of itself whose rows are in it, and its rows, some at a time.

    Raises:
        UserError: see ``read_recorded``; of the rows as they are read.
    """
    path = run / file.name
    headers, tables = decode_parts(path, read_content(path))
    _refuse_other_headers(path, headers, file, fingerprint)

    def parts() -> Iterator[pa.Table]:
        count = 0
        for table in tables:
            count += len(table)
            _refuse_other_cell(path, table, file.cell)
            yield table
        _refuse_other_count(path, count, file)

    return headers, parts()


def _refuse_other_headers(path: Path, headers: Sequence[RecordHeader], file: RecordFile, fingerprint: str) -> None:
    for header in headers:
        if header.fingerprint != fingerprint:
            raise UserError(
                f"{path} is of another run: its numbers depend on {header.fingerprint[:_SHOWN]}, those of this run on "
                f"{fingerprint[:_SHOWN]}; {REPAIR}"
            )
    held, wanted = [header.file for header in headers], [str(shard.name) for shard in file.shards]
    if held != wanted:
        other = next((each for each in held if each not in wanted), f"{len(held)} of {len(wanted)} shards")
        raise UserError(f"{path} holds what was recorded as {other}; {REPAIR}")


def _refuse_other_cell(path: Path, table: pa.Table, cell: Cell) -> None:
    for name, value in cell_columns(cell).items():
        found = _distinct(table[name])
        if found != [value]:
            raise UserError(f"{path} has {', '.join(map(str, found)) or 'no row'} as its {name}, not {value}; {REPAIR}")


def _distinct(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column, each once; of a dictionary with one entry, as nearly all are, without counting."""
    if column.num_chunks == 1 and not column.null_count and len(column) and pa.types.is_dictionary(column.type):
        dictionary = column.chunk(0).dictionary
        if len(dictionary) == 1:
            return [dictionary[0].as_py()]
    found: list[Any] = pc.unique(column.combine_chunks()).to_pylist()
    return found


def _refuse_other_count(path: Path, count: int, file: RecordFile) -> None:
    if count != file.images:
        rows, images_of_shard = pluralise(count, "row"), pluralise(file.images, "image")
        raise UserError(f"{path} has {rows}, its shard {images_of_shard}; {REPAIR}")
