"""What a run recorded, in a form that two runs can be compared by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from apm_tta.harness.storage.records import read_records

TIMINGS = ["latency_ms", "batch_ms", "peak_memory_mb"]
KEYS = ["method", "corruption", "severity", "setting", "seed", "id", "position"]


@pytest.fixture
def answers(request: pytest.FixtureRequest) -> Callable[[Path], pa.Table]:
    """Return a function that reads all records of a run in a fixed order, without measured times and memory.

    It reads operations only in modules that look at costs: elsewhere, runs in this process count none, but those in
    processes of their own do.
    """
    not_compared = TIMINGS if getattr(request.module, "LOOKS_AT_COSTS", False) else [*TIMINGS, "gflop"]

    def read(run: Path) -> pa.Table:
        records = read_records(run).drop_columns(not_compared)
        plain = records.cast(
            pa.schema([pa.field(f.name, pa.string()) if pa.types.is_dictionary(f.type) else f for f in records.schema])
        )
        return plain.combine_chunks().sort_by([(key, "ascending") for key in KEYS])

    return read


@pytest.fixture
def tables() -> Callable[[Path], list[str]]:
    """Return a function that reads the tables of a run as text, without measured times and memory."""

    def read(run: Path) -> list[str]:
        results = pd.read_csv(run / "results.csv", dtype=str)
        kept = [name for name in results if not name.startswith(("latency", "images_per_s", "peak_memory", "time"))]
        return [results[kept].to_csv(index=False), (run / "iterations.csv").read_text()]

    return read
