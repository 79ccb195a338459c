"""A run folder's tables: ``results.csv``, ``iterations.csv``, ``results.md``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from apm_tta.errors import UserError
from apm_tta.harness.manifest import read_manifest
from apm_tta.harness.records import read_records
from apm_tta.report.markdown import (
    caption,
    disagreement_sentence,
    iterations_markdown,
    means_markdown,
    results_markdown,
)
from apm_tta.report.results import by_iteration, disagreements, mean_over_corruptions, results_table

CSV_FILE, ITERATIONS_FILE, MARKDOWN_FILE = "results.csv", "iterations.csv", "results.md"


def write_report(run: Path) -> str:
    """Writes the tables of a run folder and returns what ``results.md`` says.

    Raises:
        UserError: when ``run`` is no run folder, lacks records, or cannot be written.
    """
    manifest = read_manifest(run)
    numbers = manifest["numbers"]
    methods = list(numbers["methods"])
    records = read_records(run)
    results = results_table(records, numbers["conditions"], methods)
    _refuse_incomplete(run, results, numbers)

    sections = [f"# {manifest['title']}", caption(manifest), results_markdown(results)]
    if len(means := mean_over_corruptions(results)):
        sections += ["## Mean over corruptions", means_markdown(means)]
    iterations = []
    for method in _distilled(records):
        table = by_iteration(records, method)
        iterations.append(table.assign(method=method))
        sections += [
            f"## {method} by iteration",
            disagreement_sentence(method, disagreements(records, method)),
            iterations_markdown(table),
        ]
    text = "\n\n".join(sections) + "\n"
    try:
        results.to_csv(run / CSV_FILE, index=False, float_format="%.4f")
        if iterations:
            pd.concat(iterations).to_csv(run / ITERATIONS_FILE, index=False, float_format="%.4f")
        (run / MARKDOWN_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename or run} cannot be written ({error.strerror})") from None
    return text


def _distilled(records: pa.Table) -> list[str]:
    """Methods that recorded what they would have answered after every iteration."""
    counted = records.filter(pc.greater(pc.list_value_length(records["iteration_predictions"]), 0))
    return [str(name) for name in pc.unique(counted["method"].cast(pa.string())).to_pylist()]


def _refuse_incomplete(run: Path, results: pd.DataFrame, numbers: dict[str, object]) -> None:
    """A table never mixes subsets: every cell is there with every image, or there is no table."""
    expected = len(numbers["conditions"]) * len(numbers["methods"])  # type: ignore[arg-type]
    images = numbers["dataset"]["images_a_condition"]  # type: ignore[index]
    short = results[results["n"] != images]
    if len(results) != expected or len(short):
        missing = expected - len(results) + len(short)
        raise UserError(f"{run} lacks {missing} of {expected} cells; run the same command with --out {run} to go on")
