"""Compare a benchmark run with the committed one: ``python benchmarks/ratios.py RUN.json [--write]``.

Write ``results/performance.md`` with every group. Machines differ and are noisy, but ratios within one run much less: a
ratio more than 20 % below the committed one is a failure; ``--write`` makes this run the committed one, in
``baseline.json`` and in ``docs/performance.md``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any, TypedDict, cast

from tabulate import tabulate

from apm_tta.apm import APMConfig
from apm_tta.apm.flops import flops_per_iteration

sys.path.insert(0, str(Path(__file__).parent.parent))  # run as a file, it does not know its package

from benchmarks.baselines.section import with_section

BASELINE = Path(__file__).parent / "baseline.json"
SECTION_PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PAGE = Path(__file__).parent.parent / "results" / "performance.md"
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
TOLERANCE = 0.8
PRODUCT = 2 * 1024 * 4096 * 2048


class Stats(TypedDict):
    """Statistics of one test, in seconds."""

    median: float
    rounds: int


class Bench(TypedDict):
    """One test of a run."""

    name: str
    group: str | None
    stats: Stats
    extra_info: dict[str, float]


class Run(TypedDict):
    """The output of pytest-benchmark."""

    machine_info: dict[str, Any]
    benchmarks: list[Bench]


class Baseline(TypedDict):
    """The committed run."""

    machine: str
    ratios: dict[str, float]
    medians: dict[str, float]


def ratios(medians: dict[str, float], products: dict[str, float]) -> dict[str, float]:
    """Return ratios by name; larger ones are better.

    Args:
        medians: median seconds by test name.
        products: seconds, by test name, of a matrix product timed between that test's rounds.
    """
    engine, rounded = (medians[f"test_engine[{precision}]"] for precision in ("float32", "bfloat16"))
    products_per_iteration = flops_per_iteration(APMConfig()) / PRODUCT
    return {
        "published way / engine": medians["test_published_way"] / engine,
        "plain / engine": medians["test_plain"] / engine,
        "share of the machine's matrix-product rate, float32": products_per_iteration
        * products["test_engine[float32]"]
        / engine,
        "share of the machine's matrix-product rate, bfloat16": products_per_iteration
        * products["test_engine[bfloat16]"]
        / rounded,
        "engine: float32 / bfloat16": engine / rounded,
        "the machine's matrix product: float32 / bfloat16": medians["test_matrix_product[float32]"]
        / medians["test_matrix_product[bfloat16]"],
        "embedded size: plain, one after another / engine, together": medians["test_plain_one_after_another"]
        / medians["test_engine_embedded[32]"],
        "embedded size: engine, one after another / together": medians["test_engine_embedded[1]"]
        / medians["test_engine_embedded[32]"],
    }


def section_of_ratios(baseline: Baseline) -> str:
    """Return the section of ``docs/performance.md``: the committed ratios."""
    rows = [f"| {name} | {value:.2f} |" for name, value in baseline["ratios"].items()]
    return "\n".join(
        [
            f"Ratios of medians of one run on {baseline['machine']}, 2 cores (`tox -e perf` makes this section, and",
            "[results/performance.md](../results/performance.md) with every benchmark's median):",
            "",
            "| ratio | |",
            "|---|---:|",
            *rows,
        ]
    )


def page(run: Run, measured: dict[str, float], committed: Baseline) -> str:
    """Return every group of one run beside the committed baseline, as Markdown."""
    parts = [
        "# Performance",
        f"Made by `tox -e perf` on {machine(run)}; baseline: {committed['machine']}. Medians of two machines, or of a "
        "noisy one, are not comparable; ratios within one run are, and one more than 20 % below its baseline fails.",
        "## Ratios within one run",
        tabulate(
            [
                [
                    name,
                    f"{value:.2f}",
                    f"{committed['ratios'].get(name, math.nan):.2f}",
                    _verdict(name, value, committed),
                ]
                for name, value in measured.items()
            ],
            ["ratio, larger is better", "this run", "baseline", ""],
            tablefmt="github",
            colalign=("left", "right", "right", "left"),
            disable_numparse=True,
        ),
    ]
    groups: dict[str, list[Bench]] = {}
    for bench in run["benchmarks"]:
        groups.setdefault(bench["group"] or "others", []).append(bench)
    for group, benches in groups.items():
        rows = []
        for bench in benches:
            median, before = bench["stats"]["median"], committed["medians"].get(bench["name"])
            ratio = "new" if before is None else f"{before / median:.2f}"
            rows.append([f"`{bench['name']}`", f"{1000 * median:,.2f}", bench["stats"]["rounds"], ratio])
        headers = ["test", "median ms", "rounds", "baseline / this run"]
        aligned = ("left", "right", "right", "right")
        parts += [f"## {group}", tabulate(rows, headers, tablefmt="github", colalign=aligned, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def machine(run: Run) -> str:
    """Return the processor's name as pytest-benchmark reports it."""
    return str(run["machine_info"]["cpu"]["brand_raw"])


def _verdict(name: str, value: float, committed: Baseline) -> str:
    return "WORSE by more than 20 %" if is_worse(name, value, committed) else ""


def is_worse(name: str, value: float, committed: Baseline) -> bool:
    """Return whether a ratio is more than 20 % below the committed one."""
    return value < TOLERANCE * committed["ratios"].get(name, 0)


def main() -> int:
    """Compare a run with the committed one; return 1 where a ratio is worse, else 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="file that pytest --benchmark-json wrote")
    parser.add_argument("--write", action="store_true", help="make this run the committed one")
    options = parser.parse_args()
    run: Run = json.loads(options.run.read_text())
    medians = {bench["name"]: bench["stats"]["median"] for bench in run["benchmarks"]}
    products = {
        bench["name"]: bench["extra_info"]["matrix_product"]
        for bench in run["benchmarks"]
        if "matrix_product" in bench["extra_info"]
    }
    measured = ratios(medians, products)
    if options.write:
        baseline = {
            "machine": machine(run),
            "ratios": {name: round(value, 3) for name, value in measured.items()},
            "medians": {name: float(f"{seconds:.4g}") for name, seconds in medians.items()},
        }
        BASELINE.write_text(json.dumps(baseline, indent=2) + "\n")
        text = SECTION_PAGE.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        section = section_of_ratios(cast(Baseline, baseline))
        SECTION_PAGE.write_text(f"{before}{BEGIN}\n{section}\n{END}{after}", encoding="utf-8")
    committed: Baseline = json.loads(BASELINE.read_text())
    PAGE.write_text(with_section(page(run, measured, committed)), encoding="utf-8")
    for name, value in measured.items():
        baseline_ratio = committed["ratios"].get(name, math.nan)
        print(f"{name}: {value:.2f}, committed {baseline_ratio:.2f} {_verdict(name, value, committed)}")
    return int(any(is_worse(name, value, committed) for name, value in measured.items()))


if __name__ == "__main__":
    sys.exit(main())
