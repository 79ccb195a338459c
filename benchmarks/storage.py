"""Files, bytes and the report's time of all of ImageNet-C by 20 methods: ``python -m benchmarks.storage [--csv FILE]``.

75 conditions of 50,000 images, 75 million answers, as a run leaves them in shards and as its end makes them one file
per cell. Each report is a process of its own. About 5 GB of disk; on an idle machine about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from apm_tta.harness.storage.compaction import compact
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.methods import METHODS
from benchmarks.test_perf_report import report, simulate

NAMES = ["as recorded", "compact"]


def measure(run: Path) -> dict[str, float]:
    """Count what lies in a run folder's records, and time its report."""
    found = list((run / "records").rglob("*"))
    files = [path for path in found if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    words = [sys.executable, "-m", "benchmarks.storage", "--report", str(run)]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return {
        "files": len(files),
        "inodes": 1 + len(found),
        "GB": size / 1e9,
        "report s": float(said[-2]),
        "report MB": float(said[-1]),
    }


def main() -> None:
    """Make a run folder, measure it, make its cells one file each, and measure again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.report is not None:
        report(chosen.report)
        return
    others = [name for name in METHODS.names() if name not in ("zeroshot", "apm")]
    methods = ["zeroshot", "apm", *others][: chosen.methods]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        simulate(run, methods)
        rows = [measure(run)]
        started = time.perf_counter()
        compact(run, read_manifest(run).numbers)
        print(f"compaction took {time.perf_counter() - started:.0f} s", flush=True)
        rows.append(measure(run))
    for name, row in zip(NAMES, rows, strict=True):
        print(name, ", ".join(f"{what} {value:,.6g}" for what, value in row.items()))
    if chosen.csv is not None:
        with chosen.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["records", "methods", *rows[0]])
            for name, row in zip(NAMES, rows, strict=True):
                writer.writerow(
                    [name, len(methods), *(f"{value:.4g}" if value % 1 else int(value) for value in row.values())]
                )


if __name__ == "__main__":
    main()
