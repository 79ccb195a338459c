"""One Parquet file a shard and cell, one row a sample; written whole or not at all, and read with its SHA-256.

Parquet's own checksums miss flipped bits in places where a label or a prediction changes. So each file has its digest
beside it, in the form that ``sha256sum --check`` reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from apm_tta.errors import UserError
from apm_tta.files import write_whole
from apm_tta.harness.plan import Cell

SCHEMA_VERSION = 3
_VERSION_KEY = b"apm_tta_schema"
_REPAIR = "the run's own command with --out sets it aside and answers its images again"
_CATEGORY = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        # The cell, so that any Parquet reader sees what a row belongs to.
        ("dataset", _CATEGORY),
        ("corruption", _CATEGORY),
        ("severity", pa.int8()),
        ("setting", _CATEGORY),  # episodic, or the stream in which an online method met the images
        ("teacher", _CATEGORY),
        ("method", _CATEGORY),
        ("seed", pa.int64()),
        ("id", pa.string()),
        ("label", pa.int32()),
        ("error", pa.string()),  # why there is no answer; null where there is one
        ("prediction", pa.int32()),  # null, like all below it, where there is an error
        ("top5", pa.list_(pa.int32())),  # classes by falling logit; fewer where there are fewer than five
        ("confidence", pa.float32()),  # softmax probability of the prediction
        ("teacher_prediction", pa.int32()),  # zero-shot, under the method's own templates
        ("target_prediction", pa.int32()),  # of the feature that a method was fitted to; null where there is none
        ("iteration_predictions", pa.list_(pa.int32())),  # after 0 .. T iterations; empty where there are none
        ("first_loss", pa.float32()),
        ("last_loss", pa.float32()),
        ("last_cosine", pa.float32()),
        ("iterations", pa.int32()),
        ("latency_ms", pa.float64()),  # alone in its batch; null where it was not measured
        ("batch_ms", pa.float64()),  # its share of the batch's time; null where features came from a cache
        ("peak_memory_mb", pa.float32()),  # while its batch was answered: of the device, or of the process on a CPU
        ("gflop", pa.float64()),  # of one image, counted once a cell, on its first image; null elsewhere
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True)
class Row:
    """What is recorded of one sample; fields as in ``SCHEMA``."""

    id: str
    label: int
    error: str | None = None
    prediction: int | None = None
    top5: list[int] | None = None
    confidence: float | None = None
    teacher_prediction: int | None = None
    target_prediction: int | None = None
    iteration_predictions: list[int] | None = None
    first_loss: float | None = None
    last_loss: float | None = None
    last_cosine: float | None = None
    iterations: int | None = None
    latency_ms: float | None = None
    batch_ms: float | None = None
    peak_memory_mb: float | None = None
    gflop: float | None = None


def write_rows(path: Path, cell: Cell, rows: Iterable[Row]) -> None:
    """Writes ``rows`` of ``cell`` to ``path``; see ``write_content``."""
    write_content(path, encode_rows(cell, rows))


def encode_rows(cell: Cell, rows: Iterable[Row]) -> bytes:
    """``rows`` of ``cell`` as the content of a Parquet file."""
    common = {
        "dataset": cell.dataset,
        "corruption": cell.condition.corruption,
        "severity": cell.condition.severity,
        "setting": cell.setting,
        "teacher": cell.teacher,
        "method": cell.method,
        "seed": cell.seed,
    }
    table = pa.Table.from_pylist([{**common, **vars(row)} for row in rows], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_content(path: Path, content: bytes) -> None:
    """Writes what ``encode_rows`` made to ``path``: whole or not at all, its digest first.

    Raises:
        UserError: when it cannot be written, naming it.
    """
    try:
        write_digest(path, content)
        write_whole(path, content)
    except OSError as error:
        raise UserError(f"{path} cannot be written ({error.strerror or error}); finished shards are kept") from error


def write_digest(path: Path, content: bytes) -> None:
    """Writes the SHA-256 of ``content``, which is or will be in ``path``, to ``path`` with ``.sha256`` added.

    The digest is there before the file that it belongs to: a file without one was not written here.
    """
    write_whole(digest_path(path), f"{hashlib.sha256(content).hexdigest()}  {path.name}\n".encode())


def digest_path(path: Path) -> Path:
    """Where the SHA-256 of ``path`` is written."""
    return path.with_name(f"{path.name}.sha256")


def read_records(run: Path) -> pa.Table:
    """All rows of a run folder, in the order of their files' names; what a killed writer left behind is not read.

    Raises:
        UserError: when there are none, when a file is damaged, or when a file's schema is another version's.
    """
    files = record_files(run)
    if not files:
        raise UserError(f"{run} holds no records")
    return pa.concat_tables([read_shard(path) for path in files]).combine_chunks()


def record_files(run: Path) -> list[Path]:
    """The files of a run folder's records, by name; what a killed writer left behind is not among them."""
    return sorted((run / "records").rglob("*.parquet"))


def read_shard(path: Path) -> pa.Table:
    """The rows of one file.

    Raises:
        UserError: when it is damaged, or its schema is another version's.
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
        what = "a newer apm-tta reads it" if newer else "the version in its run.yaml reads it"
        raise UserError(f"{path} has record schema {version}, this version reads {SCHEMA_VERSION}; {what}")
    if table.schema != SCHEMA:
        raise UserError(f"{path} has other columns than record schema {SCHEMA_VERSION}; {_REPAIR}")
    return table


def read_table(content: bytes) -> pa.Table:
    """What ``encode_rows`` made, as a table; its schema is not looked at."""
    return pq.read_table(pa.BufferReader(content))


def read_content(path: Path) -> bytes:
    """The bytes of one file, compared with its digest.

    Raises:
        UserError: when it is damaged.
    """
    try:
        content = path.read_bytes()
        expected = digest_path(path).read_text(encoding="utf-8").split()[:1]
    except OSError as error:
        raise UserError(f"{path} is damaged ({error.strerror}: {error.filename}); {_REPAIR}") from None
    if [hashlib.sha256(content).hexdigest()] != expected:
        raise UserError(f"{path} is damaged (its SHA-256 is another); {_REPAIR}")
    return content


def as_rows(columns: Mapping[str, list[Any]]) -> list[Row]:
    """Columns of equal length -> rows."""
    names = list(columns)
    return [Row(**dict(zip(names, values, strict=True))) for values in zip(*columns.values(), strict=True)]
