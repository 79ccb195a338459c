"""Measure every method's host cost, and write it as CSV: ``python -m benchmarks.host --csv docs/host.csv``."""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

from benchmarks.host.measure import SETTINGS, HostCost, make_photographs, measure

COLUMNS = ("method", "condition", "feeding_ms", "loading_ms")


def rows(photographs: Path, images: int) -> list[tuple[str, str, HostCost]]:
    """Return the cost of each method over ``images`` photographs, per image."""
    make_photographs(photographs, images)
    measure("zeroshot", photographs, images // 2)  # what a process does once
    found = []
    for name in SETTINGS:
        found.append((name, "clean", measure(name, photographs, images)))
        print(f"{name:9} feeding {found[-1][2].feeding:6.3f} ms, loading {found[-1][2].loading:6.2f} ms", flush=True)
    return found


def main() -> None:
    """Measure, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, help="write the figures to this file")
    parser.add_argument("--images", type=int, default=1280, help="photographs per method")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = rows(Path(folder), chosen.images)
    if chosen.csv is not None:
        with chosen.csv.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows(
                (name, condition, f"{cost.feeding:.3f}", f"{cost.loading:.2f}") for name, condition, cost in found
            )


if __name__ == "__main__":
    main()
