"""Runs in separate processes, to be killed, stopped and compared."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from apm_tta.cli import main
from apm_tta.harness.storage.records import read_records

TIMINGS = ["latency_ms", "batch_ms", "peak_memory_mb"]
KEYS = ["method", "corruption", "severity", "setting", "seed", "id"]


@pytest.fixture
def start() -> Iterator[Callable[[list[str]], BaseProcess]]:
    """Return a function that starts ``run-bench`` in a separate process; processes left when the test ends are killed.

    They are forked from a server in which the slow imports have been done once.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["apm_tta.cli", "apm_tta.harness.run", "apm_tta.harness.estimate", "apm_tta.report"])
    started: list[BaseProcess] = []

    def begin(words: list[str]) -> BaseProcess:
        process = context.Process(target=main, args=(words,))
        process.start()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.join()


@pytest.fixture
def answers() -> Callable[[Path], pa.Table]:
    """Return a function that reads all records of a run in a fixed order, without measured times and memory."""

    def read(run: Path) -> pa.Table:
        records = read_records(run).drop_columns(TIMINGS)
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
        kept = [name for name in results if not name.startswith(("latency", "images_per_s", "peak_memory"))]
        return [results[kept].to_csv(index=False), (run / "iterations.csv").read_text()]

    return read
