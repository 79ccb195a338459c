"""Records and manifests that a test writes out by hand: a row an image, and ``run.yaml`` as plain data.

What is written here is what a run would have written: ``run.yaml`` has its digests, and records carry its fingerprint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml
from pydantic import ValidationError

from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.manifest_file import manifest_text
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.records import (
    decode_records,
    encode_records,
    encode_table,
    read_content,
    record_files,
    write_content,
)
from apm_tta.harness.storage.site import Site

SITE = Site(
    started="2024-05-06T07:08:09+00:00",
    commit="fedcba9876543210" * 2 + "fedcba98",
    device="cpu",
    device_name="An Abacus",
    threads=2,
    python="3.11.7",
    platform="Linux",
    clock="time.perf_counter",
)


@dataclass(frozen=True)
class Row:
    """What is recorded of one image, as far as a test says it; see ``apm_tta.columns``."""

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
    nll: float | None = None
    brier: float | None = None
    energy: float | None = None


NAMES = [field.name for field in fields(Row)]


def write_rows(path: Path, cell: Cell, rows: Sequence[Row]) -> None:
    """Write rows as the columns that are recorded."""
    columns = {name: [getattr(row, name) for row in rows] for name in NAMES}
    write_content(path, encode_records(cell, columns, header_of(path)))


def header_of(path: Path) -> RecordHeader:
    """Return the header of a file in a run folder, as the run would write it."""
    folder = next(parent for parent in path.parents if (parent / "run.yaml").exists())
    return RecordHeader(
        fingerprint=fingerprint_of(read_plain(folder)["numbers"]),
        file=path.relative_to(folder).as_posix(),
        site=SITE,
        batch_sizes=(8,),
        unit=f"{path.parent.name} {path.name}",
        remarks={},
        warnings={},
        setup_warnings={},
    )


def relabel(path: Path, **changes: Any) -> None:
    """Change what a file of records says of itself; a ``site`` is a mapping of what changes of it."""
    recorded = decode_records(path, read_content(path))
    if "site" in changes:
        changes["site"] = recorded.header.site.model_copy(update=changes["site"])
    write_content(path, encode_table(replace(recorded, header=recorded.header.model_copy(update=changes))))


def fingerprint_of(numbers: dict[str, Any]) -> str:
    """Return the fingerprint of numbers in plain data; of those that are none, a text."""
    try:
        return Numbers.model_validate(numbers).fingerprint
    except ValidationError:
        return "none"


def rows_of_table(table: pa.Table) -> list[Row]:
    """Return a file's records as rows."""
    return [Row(**values) for values in table.select(NAMES).to_pylist()]


def read_plain(folder: Path) -> dict[str, Any]:
    """Return a run folder's ``run.yaml`` as plain data, to be changed."""
    content: dict[str, Any] = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    return {name: value for name, value in content.items() if name not in ("schema", "digests", "sha256")}


def write_plain(folder: Path, manifest: dict[str, Any]) -> None:
    """Write plain data as ``run.yaml``, whether or not it is a manifest; the folder's records become that run's."""
    (folder / "run.yaml").write_text(manifest_text(manifest), encoding="utf-8")
    fingerprint = fingerprint_of(manifest.get("numbers", {}))
    for path in record_files(folder):
        relabel(path, fingerprint=fingerprint)
