"""The table of the baselines' times in ``results/performance.md``, from the figures that were measured."""

from __future__ import annotations

import csv
from pathlib import Path

from tabulate import tabulate

FIGURES = Path(__file__).parent.parent / "baselines.csv"
COLUMNS = ("case", "threads", "runs", "plain_ms", "ours_ms", "plain_least_ms", "ours_least_ms", "asked", "machine")
BEGIN, END = "<!-- baselines: begin -->", "<!-- baselines: end -->"


def read_figures(figures: Path = FIGURES) -> list[dict[str, str]]:
    """Return the rows that were written last."""
    with figures.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def section(figures: Path = FIGURES) -> str:
    """Return the section, between its marks."""
    measured, rows = read_figures(figures), []
    for row in measured:
        plain, ours = float(row["plain_ms"]), float(row["ours_ms"])
        least = float(row["plain_least_ms"]) / float(row["ours_least_ms"])
        asked = f"{float(row['asked']):g}" if row["asked"] else ""
        verdict = "" if not asked or plain / ours >= float(asked) else "not reached"
        medians = (f"{plain:,.1f}", f"{ours:,.1f}", f"{plain / ours:.2f}", f"{least:.2f}")
        rows.append([row["case"], row["threads"], row["runs"], *medians, asked, verdict])
    headers = ["", "threads", "runs", "plain, ms", "ours, ms", "ratio", "of the minima", "asked", ""]
    aligned = ("left", *["right"] * 7, "left")
    text = (
        f"`python -m benchmarks.baselines` on {measured[0]['machine']}: medians of runs in turn, float32, 64 views of "
        "512 features and 1000 classes unless said. The plain forms (`benchmarks/baselines/plain.py`) take images one "
        "after another, as published; `tests/methods/test_plain_forms.py` compares the answers of both, in float64 and "
        "float32. The product of the views with the class weights, which both need, bounds what VTE can gain."
    )
    table = tabulate(rows, headers, tablefmt="github", colalign=aligned, disable_numparse=True)
    return f"{BEGIN}\n## Baselines against their plain forms\n\n{text}\n\n{table}\n{END}"


def with_section(page: str, figures: Path = FIGURES) -> str:
    """Return a page with the section in the place of an earlier one, or at its end."""
    if BEGIN in page:
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        return f"{before}{section(figures)}{after}"
    return f"{page.rstrip()}\n\n{section(figures)}\n"
