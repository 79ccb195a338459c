"""Records and manifests that a test writes out by hand: a row an image, and ``run.yaml`` as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from apm_tta.harness.plan import Cell
from apm_tta.harness.storage.records import write_records


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


NAMES = [field.name for field in fields(Row)]


def write_rows(path: Path, cell: Cell, rows: Sequence[Row]) -> None:
    """Write rows as the columns that are recorded."""
    write_records(path, cell, {name: [getattr(row, name) for row in rows] for name in NAMES})


def rows_of_table(table: pa.Table) -> list[Row]:
    """Return a file's records as rows."""
    return [Row(**values) for values in table.select(NAMES).to_pylist()]


def read_plain(folder: Path) -> dict[str, Any]:
    """Return a run folder's ``run.yaml`` as plain data, to be changed."""
    content: dict[str, Any] = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    return content


def write_plain(folder: Path, manifest: dict[str, Any]) -> None:
    """Write plain data as ``run.yaml``, whether or not it is a manifest."""
    content = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
    (folder / "run.yaml").write_text(content, encoding="utf-8")
