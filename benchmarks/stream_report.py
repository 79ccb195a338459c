"""Memory and time of the report on one long stream: ``python -m benchmarks.stream_report [--positions 7500000]``.

A run folder as a run over CCC would leave it, made up: 50,000 photographs, each shown again and again in one stream,
answered by an online method in one file and by zero-shot in shards. What is measured is a process of its own that reads
the numbers of the report, and nothing else; what Python and its libraries take without any records is stated beside it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import apm_tta
from apm_tta.harness.compute.measure import process_peak
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.manifest_file import read_manifest, write_manifest
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.records import encode_records, record_files, write_content
from apm_tta.harness.storage.run_records import RecordFile, files_of_run, read_headers
from apm_tta.report.run_data import read_report_data

PHOTOGRAPHS, CLASSES, SHARD = 50_000, 1000, 500_000


def make_run(folder: Path, positions: int) -> Path:
    """Return a run folder with so many positions, after a run of a few images."""
    run = apm_tta.run(
        "demo", methods="zeroshot,tda", setting="stored", corruptions="", limit=10, quiet=True, out=folder / "run"
    ).folder
    manifest = read_manifest(run)
    header = dict(read_headers(run, manifest.numbers))["tda"]
    dataset = manifest.numbers.dataset.model_copy(
        update={
            "images_per_condition": positions,
            "images": PHOTOGRAPHS,
            "classes": CLASSES,
            "class_names": tuple(f"class {number}" for number in range(CLASSES)),
        }
    )
    numbers = manifest.numbers.model_copy(update={"dataset": dataset, "shard_size": SHARD})
    for path in record_files(run):
        path.unlink()
    (run / "run.yaml").unlink()
    write_manifest(run, manifest.model_copy(update={"numbers": numbers}))
    for file in files_of_run(numbers).values():
        _write(run, file, header, numbers)
    return run


def _write(run: Path, file: RecordFile, header: RecordHeader, numbers: Numbers) -> None:
    start = int(file.name.stem[-5:]) * SHARD if file.cell.method == "zeroshot" else 0
    content = encode_records(
        file.cell,
        _rows(start, file.images, file.cell.method),
        header.model_copy(update={"fingerprint": numbers.fingerprint, "file": str(file.name)}),
    )
    write_content(run / file.name, content)


def _rows(start: int, count: int, method: str) -> dict[str, Any]:
    """Return columns of made-up answers; the photographs and their classes are the same for every method."""
    photograph = np.random.default_rng(0).integers(0, PHOTOGRAPHS, 2**25)[start : start + count]
    label = (photograph % CLASSES).astype(np.int32)
    draw = np.random.default_rng(len(method) + start)
    guess = np.where(draw.random(count) < 0.5, label, draw.integers(0, CLASSES, count)).astype(np.int32)
    names = pa.array([f"val/n{number % CLASSES:08d}/ILSVRC2012_val_{number:08d}" for number in range(PHOTOGRAPHS)])
    five = (guess[:, None] + np.arange(5, dtype=np.int32)) % CLASSES
    offsets = pa.array(np.arange(count + 1, dtype=np.int32) * 5)
    measured = {
        name: pa.array(draw.random(count).astype(np.float32))
        for name in ("confidence", "logit_margin", "nll", "brier", "energy", "entropy")
    }
    return {
        "id": names.take(pa.array(photograph)),
        "position": pa.array(np.arange(start, start + count)),
        "label": pa.array(label),
        "prediction": pa.array(guess),
        "top5": pa.ListArray.from_arrays(offsets, pa.array(five.reshape(-1))),
        "teacher_prediction": pa.array(guess),
        "iteration_predictions": pa.ListArray.from_arrays(
            pa.array(np.zeros(count + 1, np.int32)), pa.array([], pa.int32())
        ),
        "iterations": pa.array(np.zeros(count, np.int32)),
        "batch_ms": pa.array(draw.random(count)),
        **measured,
    }


def _read(run: Path) -> None:
    """Read the report's numbers in this process, and print what that took."""
    before, started = process_peak() or 0.0, time.perf_counter()
    results = read_report_data(run).results
    more = (process_peak() or 0.0) - before
    print(
        f"{int(results['n'].sum()):,} answers to {int(results['images'].max()):,} photographs: "
        f"{more:,.0f} MB above the {before:,.0f} MB without records, {time.perf_counter() - started:.0f} s"
    )


def main() -> None:
    """Make a run folder, and read it in another process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=7_500_000)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.read is not None:
        _read(chosen.read)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(Path(folder), chosen.positions)
        size = sum(path.stat().st_size for path in record_files(run)) / 1e6
        print(f"{size:,.0f} MB of records", flush=True)
        subprocess.run([sys.executable, "-m", "benchmarks.stream_report", "--read", str(run)], check=True)


if __name__ == "__main__":
    main()
