"""Ratios of one benchmark run against the committed ones: ``python benchmarks/ratios.py RUN.json [--write]``.

Machines differ and are noisy, ratios of one run much less. A ratio that is more than 20 % below the committed one is a
failure; ``--write`` commits this run's ratios to ``baseline.json`` and its table to the README instead.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from apm_tta.apm import APMConfig
from apm_tta.apm.flops import flops_an_iteration

BASELINE = Path(__file__).parent / "baseline.json"
README = Path(__file__).parent.parent / "README.md"
BEGIN, END = "<!-- performance: begin -->", "<!-- performance: end -->"
TOLERANCE = 0.8
PRODUCT = 2 * 1024 * 4096 * 2048


def ratios(medians: dict[str, float], products: dict[str, float]) -> dict[str, float]:
    """Ratios by name; a larger one is better.

    Args:
        medians: seconds by test name.
        products: by test name, seconds of a matrix product timed between that test's rounds.
    """
    engine, rounded = (medians[f"test_engine[{precision}]"] for precision in ("float32", "bfloat16"))
    products_an_iteration = flops_an_iteration(APMConfig()) / PRODUCT
    return {
        "published way / engine": medians["test_published_way"] / engine,
        "plain / engine": medians["test_plain"] / engine,
        "share of the machine's matrix-product rate, float32": products_an_iteration
        * products["test_engine[float32]"]
        / engine,
        "share of the machine's matrix-product rate, bfloat16": products_an_iteration
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


def table(run: dict[str, object], medians: dict[str, float], found: dict[str, float]) -> str:
    """The README's section: seconds of this run, then the ratios."""
    machine = run["machine_info"]["cpu"]["brand_raw"]  # type: ignore[index]
    rows = [f"| `{name}` | {1000 * seconds:.1f} ms |" for name, seconds in medians.items()]
    ratio_rows = [f"| {name} | {value:.2f} |" for name, value in found.items()]
    return "\n".join(
        [
            f"Medians of one run on {machine}, 2 cores (`tox -e perf` makes this section):",
            "",
            "| test | median |",
            "|---|---:|",
            *rows,
            "",
            "| ratio | |",
            "|---|---:|",
            *ratio_rows,
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="what pytest --benchmark-json wrote")
    parser.add_argument("--write", action="store_true", help="make this run the committed one")
    options = parser.parse_args()
    run = json.loads(options.run.read_text())
    # What the other files time has limits of its own there, and prints its table when run with -s.
    medians = {
        bench["name"]: bench["stats"]["median"]
        for bench in run["benchmarks"]
        if bench["fullname"].startswith("benchmarks/test_perf_apm.py")
    }
    products = {
        bench["name"]: bench["extra_info"]["matrix_product"]
        for bench in run["benchmarks"]
        if "matrix_product" in bench["extra_info"]
    }
    found = ratios(medians, products)
    if options.write:
        BASELINE.write_text(json.dumps({name: round(value, 3) for name, value in found.items()}, indent=2) + "\n")
        text = README.read_text(encoding="utf-8")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        README.write_text(f"{before}{BEGIN}\n{table(run, medians, found)}\n{END}{after}", encoding="utf-8")
    committed = json.loads(BASELINE.read_text())
    worse = 0
    for name, value in found.items():
        bad = value < TOLERANCE * committed[name]
        worse += bad
        print(f"{name}: {value:.2f}, committed {committed[name]:.2f}{' : WORSE by more than 20 %' if bad else ''}")
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
