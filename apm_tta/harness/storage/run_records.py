"""The records of one run: which files its manifest names, and whether what lies there is what it names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apm_tta.data.sample import FOREIGN, parse_condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import EPISODIC, TRANSDUCTIVE, Cell, record_file
from apm_tta.harness.storage.manifest import Numbers, StreamFields
from apm_tta.harness.storage.record_header import RecordHeader, read_header
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
    """

    name: PurePosixPath
    cell: Cell
    images: int


def files_of_run(numbers: Numbers) -> dict[PurePosixPath, RecordFile]:
    """Return every file that a complete run has, by its path below the run folder."""
    counts = {parse_condition(name): numbers.dataset.images_under(name) for name in numbers.conditions}
    if numbers.foreign is not None:
        counts[FOREIGN] = numbers.foreign.images
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
                    files.append(RecordFile(record_file(cell, index), cell, images))
    return {file.name: file for file in files}


def rows_of_run(numbers: Numbers) -> Counter[Cell]:
    """Count the rows that every cell of a complete run has."""
    rows: Counter[Cell] = Counter()
    for file in files_of_run(numbers).values():
        rows[file.cell] += file.images
    return rows


def present_files(run: Path, numbers: Numbers) -> list[RecordFile]:
    """List the files of a run's records that are there, sorted by name; what a killed writer left behind is ignored.

    Raises:
        UserError: when a file lies among them that the run's manifest does not name.
    """
    named = files_of_run(numbers)
    found = [PurePosixPath(path.relative_to(run).as_posix()) for path in record_files(run)]
    strays = [str(name) for name in found if name not in named]
    if strays:
        raise UserError(
            f"{run} holds records that its run.yaml does not name: {first_few(strays)}; move them out of "
            f"{run / 'records'}"
        )
    return [named[name] for name in found]


def read_headers(run: Path, numbers: Numbers) -> list[tuple[str, RecordHeader]]:
    """Read what each file of a run's records says of itself, with the method that it is of; its rows are not read.

    Raises:
        UserError: when a file is damaged where it says so, or is not one of the run's.
    """
    headers = []
    for file in present_files(run, numbers):
        path = run / file.name
        try:
            header = read_header(pq.read_schema(path).metadata or {}) if path.is_file() else None
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {REPAIR}") from None
        if header is None:
            raise UserError(f"{path} does not say which run it belongs to; {REPAIR}")
        headers.append((file.cell.method, header))
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
    _refuse_other_header(path, recorded.header, file, fingerprint)
    _refuse_other_cell(path, table, file.cell)
    _refuse_other_count(path, len(table), file)
    if (key := equal_key(table)) is not None:
        raise UserError(f"{path} has {key} in two rows; {REPAIR}")
    if images is not None:
        held = zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True)
        if Counter(held) != Counter(images):
            raise UserError(f"{path} has other images or labels than its shard; {REPAIR}")
    return recorded


def read_parts(run: Path, file: RecordFile, fingerprint: str) -> tuple[RecordHeader, Iterator[pa.Table]]:
    """Read one file of a run's records part by part; whether its keys differ is left to whoever has all of its parts.

    Arguments as for ``read_recorded``.

    Returns:
        What the file says of itself, and its rows, some at a time.

    Raises:
        UserError: see ``read_recorded``; of the rows as they are read.
    """
    path = run / file.name
    header, tables = decode_parts(path, read_content(path))
    _refuse_other_header(path, header, file, fingerprint)

    def parts() -> Iterator[pa.Table]:
        count = 0
        for table in tables:
            count += len(table)
            _refuse_other_cell(path, table, file.cell)
            yield table
        _refuse_other_count(path, count, file)

    return header, parts()


def _refuse_other_header(path: Path, header: RecordHeader, file: RecordFile, fingerprint: str) -> None:
    if header.fingerprint != fingerprint:
        raise UserError(
            f"{path} is of another run: its numbers depend on {header.fingerprint[:_SHOWN]}, those of this run on "
            f"{fingerprint[:_SHOWN]}; {REPAIR}"
        )
    if header.file != str(file.name):
        raise UserError(f"{path} holds what was recorded as {header.file}; {REPAIR}")


def _refuse_other_cell(path: Path, table: pa.Table, cell: Cell) -> None:
    for name, value in cell_columns(cell).items():
        found = pc.unique(table[name].combine_chunks()).to_pylist()
        if found != [value]:
            raise UserError(f"{path} has {', '.join(map(str, found)) or 'no row'} as its {name}, not {value}; {REPAIR}")


def _refuse_other_count(path: Path, count: int, file: RecordFile) -> None:
    if count != file.images:
        rows, images_of_shard = pluralise(count, "row"), pluralise(file.images, "image")
        raise UserError(f"{path} has {rows}, its shard {images_of_shard}; {REPAIR}")
