"""Records: one Parquet file per shard and cell with one row per image, written atomically and read with its SHA-256.

Parquet's own checksums miss flipped bits in places where they change a label or a prediction. So each file has its
digest in a second file next to it, in the format that ``sha256sum --check`` reads.

The columns are those of ``apm_tta.columns``. A column that a file lacks, because it was added later, reads as null; the
schema version is raised only where the meaning of a column changes. The metadata say which run, cell and shard a file
belongs to: ``run_records`` compares them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from apm_tta.columns import RECORD_COLUMNS
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.record_header import RecordHeader, as_metadata, stated_headers
from apm_tta.system.files import read_regular, unwritable, write_whole

SCHEMA_VERSION = 5
_MOST_DIGESTS = 2
"""Of one file: while it is replaced, that of the former content stands below."""
_VERSION_KEY = b"apm_tta_schema"
_PART = 2**18
"""Rows that are decoded together where a file is decoded in parts."""
REPAIR = "rerunning the run's own command with --out sets it aside and answers its images again"
SCHEMA = pa.schema(
    [(column.name, column.type) for column in RECORD_COLUMNS],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
_REQUIRED = {column.name for column in RECORD_COLUMNS if column.required}
Columns: TypeAlias = "Mapping[str, Sequence[Any] | pa.Array] | pa.Table"
"""Columns of images by name, of equal length; an absent column is null."""


@dataclass(frozen=True)
class Recorded:
    """The content of one file of records.

    Attributes:
        table: a row per image, in ``SCHEMA``.
        header: what the file says of itself.
        others: of a compact file, what the second, third, ... file said whose rows it has.
    """

    table: pa.Table
    header: RecordHeader
    others: tuple[RecordHeader, ...] = ()

    @property
    def headers(self) -> tuple[RecordHeader, ...]:
        """What the files said whose rows it has, in their order."""
        return (self.header, *self.others)


def encode_records(cell: Cell, columns: Columns, header: RecordHeader) -> bytes:
    """Encode the answers of ``cell`` as the content of a Parquet file.

    Raises:
        ValueError: for a column that ``apm_tta.columns`` does not declare, or columns of different lengths.
    """
    if isinstance(columns, pa.Table):
        columns = {name: columns[name] for name in columns.column_names}
    if unknown := columns.keys() - set(SCHEMA.names):
        raise ValueError(f"{sorted(unknown)[0]} is not a column of the records; declare it in apm_tta.columns")
    lengths = {len(values) for values in columns.values()} or {0}
    if len(lengths) > 1:
        raise ValueError(f"columns have different lengths: {', '.join(map(str, sorted(lengths)))}")
    (count,) = lengths
    key = cell_columns(cell)
    arrays = [
        _array(field, [key[field.name]] * count if field.name in key else columns.get(field.name), count)
        for field in SCHEMA
    ]
    return encode_table(Recorded(pa.Table.from_arrays(arrays, schema=SCHEMA), header))


def encode_table(recorded: Recorded) -> bytes:
    """Encode a table of records with its header as the content of a Parquet file."""
    metadata = {**(SCHEMA.metadata or {}), **as_metadata(recorded.headers)}
    sink = pa.BufferOutputStream()
    pq.write_table(recorded.table.replace_schema_metadata(metadata), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def cell_columns(cell: Cell) -> dict[str, Any]:
    """Return the values of ``cell`` in the columns that identify it."""
    return {
        "dataset": cell.dataset,
        "corruption": cell.condition.corruption,
        "severity": cell.condition.severity,
        "setting": cell.setting,
        "teacher": cell.teacher,
        "method": cell.method,
        "seed": cell.seed,
    }


def write_content(path: Path, content: bytes) -> None:
    """Write the result of ``encode_records`` to ``path`` atomically, its digest first.

    Where it replaces a file, the digests of both stand there meanwhile: whichever a killed writer leaves is whole.

    Raises:
        UserError: when the file cannot be written, naming it.
    """
    try:
        if path.exists():
            write_whole(digest_path(path), _digest_line(path, content) + read_regular(digest_path(path)))
            write_whole(path, content)
        write_digest(path, content)
        if not path.exists():
            write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, advice="") from error


def write_digest(path: Path, content: bytes) -> None:
    """Write the SHA-256 of ``content``, which is or will be in ``path``, to ``path`` with ``.sha256`` appended.

    The digest is written before the file that it belongs to: a file without a digest was not written here.
    """
    write_whole(digest_path(path), _digest_line(path, content))


def _digest_line(path: Path, content: bytes) -> bytes:
    return f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode()


def digest_path(path: Path) -> Path:
    """Return the path of the file with the SHA-256 of ``path``."""
    return path.with_name(f"{path.name}.sha256")


def read_records(run: Path) -> pa.Table:
    """Read all rows of a run folder, in the order of their files' names; what a killed writer left behind is ignored.

    Raises:
        UserError: when there are none, when a file is damaged, or when a file has another schema version.
    """
    files = record_files(run)
    if not files:
        raise UserError(f"{run} holds no records")
    return pa.concat_tables([read_shard(path) for path in files]).combine_chunks()


def record_files(run: Path) -> list[Path]:
    """List the files of a run folder's records, sorted by name, without what a killed writer left behind."""
    return sorted((run / "records").rglob("*.parquet"))


def read_shard(path: Path) -> pa.Table:
    """Read the rows of one file, whichever run it belongs to.

    Raises:
        UserError: when it is damaged, or has another schema version.
    """
    return decode_records(path, read_content(path)).table


def decode_records(path: Path, content: bytes) -> Recorded:
    """Decode the result of ``encode_records``.

    Args:
        path: of the file, for the messages.
        content: of the file, which has its digest.

    Raises:
        UserError: when it is no file of records, or has another schema version.
    """
    with _damage_named(path):
        table = pq.read_table(pa.BufferReader(content))
    first, *others = _headers(path, table.schema.metadata)
    return Recorded(_conform(path, table), first, tuple(others))


def decode_parts(path: Path, content: bytes) -> tuple[tuple[RecordHeader, ...], Iterator[pa.Table]]:
    """Decode the result of ``encode_records`` part by part, where all of its rows at once would take much memory.

    Args:
        path: of the file, for the messages.
        content: of the file, which has its digest.

    Returns:
        What the file says of itself, or of a compact file what each said whose rows it has; and its rows, some at a
        time.

    Raises:
        UserError: see ``decode_records``.
    """
    with _damage_named(path):
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = file.schema_arrow  # made anew whenever it is asked for
        names = _with_values(file, schema)
    headers = _headers(path, schema.metadata)

    def parts() -> Iterator[pa.Table]:
        if file.metadata.num_rows <= _PART:  # threads and batches cost more than they gain
            with _damage_named(path):
                table = file.read(names, use_threads=False)
            yield _conform(path, table)
            return
        batches = file.iter_batches(_PART, columns=names)
        while True:
            with _damage_named(path):
                batch = next(batches, None)
            if batch is None:
                return
            yield _conform(path, pa.Table.from_batches([batch]))

    return headers, parts()


def _with_values(file: pq.ParquetFile, schema: pa.Schema) -> list[str]:
    """Name the columns of a file without those that are null in every row, as its statistics say; not to be read."""
    empty = Counter[str]()
    for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            found = column.statistics
            if found is not None and found.has_null_count and found.null_count == group.num_rows:
                empty[column.path_in_schema] += 1
    null = {name for name, groups in empty.items() if groups == file.metadata.num_row_groups}
    return [name for name in schema.names if name in _REQUIRED or name not in null]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {REPAIR}") from None


def _headers(path: Path, stated: Mapping[bytes, bytes] | None) -> tuple[RecordHeader, ...]:
    """Read what a file says of itself, or of a compact file what each said whose rows it has.

    Raises:
        UserError: when it has another schema version, or says nothing.
    """
    metadata = stated or {}
    version = metadata.get(_VERSION_KEY, b"none").decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise UserError(f"{path} has record schema {version}, this version reads {SCHEMA_VERSION}; {REPAIR}")
    if not (headers := stated_headers(metadata)):
        raise UserError(f"{path} does not say which run it belongs to; {REPAIR}")
    return headers


def _conform(path: Path, table: pa.Table) -> pa.Table:
    """Bring ``table`` into the current schema: an absent column becomes null, a column of a later version is dropped.

    Raises:
        UserError: when a required column is absent, or a column has another type.
    """
    present = {field.name: field.type for field in table.schema}
    for column in RECORD_COLUMNS:
        if column.required and column.name not in present:
            raise UserError(f"{path} lacks the column {column.name}; {REPAIR}")
        if (actual := present.get(column.name, column.type)) != column.type:
            raise UserError(f"{path} has {actual} in the column {column.name}, not {column.type}; {REPAIR}")
    arrays = [
        table[column.name] if column.name in present else _nulls(len(table), column.type) for column in RECORD_COLUMNS
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


@lru_cache(maxsize=64)
def _nulls(count: int, type: pa.DataType) -> pa.Array:
    """Return an array of nulls: nearly all files lack the same columns, and have the same number of rows."""
    return pa.nulls(count, type)


def read_content(path: Path) -> bytes:
    """Read the bytes of one file and check them against its digest.

    Raises:
        UserError: when it is damaged.
    """
    try:
        content = read_regular(path)
        stated = read_regular(digest_path(path)).splitlines()[:_MOST_DIGESTS]
    except OSError as error:
        raise UserError(f"{path} is damaged ({error.strerror}: {error.filename}); {REPAIR}") from None
    if hashlib.sha256(content).hexdigest().encode() not in {line.partition(b" ")[0] for line in stated}:
        raise UserError(f"{path} is damaged (its SHA-256 does not match); {REPAIR}")
    return content


def _array(field: pa.Field, values: Sequence[Any] | pa.Array | None, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, field.type)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        contiguous = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return contiguous.cast(field.type)
    return pa.array(values, field.type)
