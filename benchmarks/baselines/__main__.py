"""Time every baseline beside its plain form, in turn: ``python -m benchmarks.baselines``, on a quiet machine.

Print the ratios, and write them to ``benchmarks/baselines.csv`` and into ``results/performance.md``.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

from benchmarks.baselines.cases import CASES, Case
from benchmarks.baselines.section import COLUMNS, FIGURES, read_figures, with_section

PAGE = Path(__file__).parents[2] / "results" / "performance.md"


def seconds(call: Callable[[], object]) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def measure(case: Case, threads: int, runs: int | None = None) -> dict[str, str]:
    """Time a case with so many threads; return a row of figures."""
    torch.set_num_threads(threads)
    count = runs or case.runs
    with torch.no_grad():
        plainly, ours = case.calls()
        times = [(seconds(plainly), seconds(ours)) for _ in range(count + 1)][1:]
    plain, quick = zip(*times, strict=True)
    figures = [1000 * value for value in (median(plain), median(quick), min(plain), min(quick))]
    asked = "" if case.asked is None else f"{case.asked:g}"
    values = [case.name, str(threads), str(count), *(f"{value:.4g}" for value in figures), asked, machine()]
    ratio, least = figures[0] / figures[1], figures[2] / figures[3]
    print(f"{case.name}, {threads} threads: {ratio:.2f} x ({least:.2f} x by minima), asked {asked or '-'}", flush=True)
    return dict(zip(COLUMNS, values, strict=True))


def machine() -> str:
    """Return the processor's name."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def main(arguments: list[str] | None = None) -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads")
    parser.add_argument("--runs", type=int, help="runs of every case; unless given, each has its own number")
    parser.add_argument("--only", default="", help="only the cases whose name begins so; the others keep their figures")
    chosen = parser.parse_args(arguments)
    cases = [case for case in CASES if case.name.startswith(chosen.only)]
    rows = [measure(case, threads, chosen.runs) for case in cases for threads in chosen.threads]
    measured = {(row["case"], row["threads"]): row for row in [*(read_figures() if chosen.only else ()), *rows]}
    with FIGURES.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(measured.values())
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
