"""Records: one Parquet file per shard and cell with one row per image, written atomically and read with its SHA-256.

Parquet's own checksums miss flipped bits in places where they change a label or a prediction. So each file has its
digest in a second file next to it, in the format that ``sha256sum --check`` reads.

The columns are those of ``apm_tta.columns``. A column that a file lacks, because it was added later, reads as null; the
schema version is raised only where the meaning of a column changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from apm_tta.columns import RECORD_COLUMNS
from apm_tta.errors import UserError
from apm_tta.files import unwritable, write_whole
from apm_tta.harness.plan import Cell

SCHEMA_VERSION = 4
_VERSION_KEY = b"apm_tta_schema"
_REPAIR = "rerunning the run's own command with --out sets it aside and answers its images again"
SCHEMA = pa.schema(
    [(column.name, column.type) for column in RECORD_COLUMNS],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
Columns: TypeAlias = "Mapping[str, Sequence[Any] | pa.Array] | pa.Table"
"""Columns of images by name, of equal length; an absent column is null."""


def write_records(path: Path, cell: Cell, columns: Columns) -> None:
    """Write the answers of ``cell`` to ``path``; see ``write_content``."""
    write_content(path, encode_records(cell, columns))


def encode_records(cell: Cell, columns: Columns) -> bytes:
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
    key = {
        "dataset": cell.dataset,
        "corruption": cell.condition.corruption,
        "severity": cell.condition.severity,
        "setting": cell.setting,
        "teacher": cell.teacher,
        "method": cell.method,
        "seed": cell.seed,
    }
    arrays = [
        _array(field, [key[field.name]] * count if field.name in key else columns.get(field.name), count)
        for field in SCHEMA
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA), sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_content(path: Path, content: bytes) -> None:
    """Write the result of ``encode_records`` to ``path`` atomically, its digest first.

    Raises:
        UserError: when the file cannot be written, naming it.
    """
    try:
        write_digest(path, content)
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, "finished shards are kept") from error


def write_digest(path: Path, content: bytes) -> None:
    """Write the SHA-256 of ``content``, which is or will be in ``path``, to ``path`` with ``.sha256`` appended.

    The digest is written before the file that it belongs to: a file without a digest was not written here.
    """
    write_whole(digest_path(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())


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
    """Read the rows of one file.

    Raises:
        UserError: when it is damaged, or has another schema version.
    """
    content = read_content(path)
    try:
        table = read_table(content)
    except pa.ArrowException as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {_REPAIR}") from None
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    version = metadata.get(_VERSION_KEY, b"none").decode()
    if version != str(SCHEMA_VERSION):
        newer = version.isdecimal() and int(version) > SCHEMA_VERSION
        reader = "a newer apm-tta" if newer else "the version in its run.yaml"
        raise UserError(f"{path} has record schema {version}, this version reads {SCHEMA_VERSION}; {reader} reads it")
    return _conform(path, table)


def _conform(path: Path, table: pa.Table) -> pa.Table:
    """Bring ``table`` into the current schema: an absent column becomes null, a column of a later version is dropped.

    Raises:
        UserError: when a required column is absent, or a column has another type.
    """
    present = set(table.schema.names)
    for column in RECORD_COLUMNS:
        if column.required and column.name not in present:
            raise UserError(f"{path} lacks the column {column.name}; {_REPAIR}")
        if column.name in present and table.schema.field(column.name).type != column.type:
            actual = table.schema.field(column.name).type
            raise UserError(f"{path} has {actual} in the column {column.name}, not {column.type}; {_REPAIR}")
    arrays = [
        table[name] if name in present else pa.nulls(len(table), SCHEMA.field(name).type) for name in SCHEMA.names
    ]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


def read_table(content: bytes) -> pa.Table:
    """Decode the result of ``encode_records`` without checking its schema."""
    return pq.read_table(pa.BufferReader(content))


def read_content(path: Path) -> bytes:
    """Read the bytes of one file and check them against its digest.

    Raises:
        UserError: when it is damaged.
    """
    try:
        content = path.read_bytes()
        expected = digest_path(path).read_text(encoding="utf-8").split()[:1]
    except OSError as error:
        raise UserError(f"{path} is damaged ({error.strerror}: {error.filename}); {_REPAIR}") from None
    if [hashlib.sha256(content).hexdigest()] != expected:
        raise UserError(f"{path} is damaged (its SHA-256 does not match); {_REPAIR}")
    return content


def _array(field: pa.Field, values: Sequence[Any] | pa.Array | None, count: int) -> pa.Array:
    if values is None:
        return pa.nulls(count, field.type)
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        contiguous = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        return contiguous.cast(field.type)
    return pa.array(values, field.type)
