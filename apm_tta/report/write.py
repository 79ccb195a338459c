"""A run folder's tables: ``results.csv``, ``iterations.csv``, ``results.md``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from apm_tta.errors import UserError
from apm_tta.harness.manifest import read_manifest
from apm_tta.harness.records import read_records
from apm_tta.report.corruption_error import mean_corruption_error
from apm_tta.report.markdown import (
    caption,
    corruption_errors_markdown,
    disagreement_sentence,
    iterations_markdown,
    means_markdown,
    notes,
    results_markdown,
)
from apm_tta.report.results import (
    CELL,
    by_iteration,
    condition_name,
    disagreements,
    errors_table,
    mean_over_corruptions,
    results_table,
)

CSV_FILE, ITERATIONS_FILE, MARKDOWN_FILE = "results.csv", "iterations.csv", "results.md"
ERRORS_FILE = "errors.csv"


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        text: what ``results.md`` says.
        errors: answers that are missing because an image could not be read.
    """

    text: str
    errors: int


def write_report(run: Path) -> Report:
    """Writes the tables of a run folder.

    Raises:
        UserError: when ``run`` is no run folder, lacks records, or cannot be written.
    """
    manifest = read_manifest(run)
    numbers = manifest["numbers"]
    methods = list(numbers["methods"])
    records = read_records(run)
    _refuse_other_cells(run, records, numbers)
    results = results_table(records, numbers["conditions"], methods)
    _refuse_incomplete(run, results, numbers)

    damaged = errors_table(records)
    sections = [f"# {manifest['title']}", caption(manifest), *notes(manifest, damaged), results_markdown(results)]
    if len(means := mean_over_corruptions(results)):
        sections += ["## Mean over corruptions", means_markdown(means)]
    if len(errors := mean_corruption_error(results, numbers["dataset"]["classes"])):
        sections += ["## Mean corruption error, relative to AlexNet", corruption_errors_markdown(errors)]
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
        if len(damaged):
            damaged.to_csv(run / ERRORS_FILE, index=False)
        (run / MARKDOWN_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{error.filename or run} cannot be written ({error.strerror})") from None
    return Report(text, int(results["errors"].sum()))


def _distilled(records: pa.Table) -> list[str]:
    """Methods that recorded what they would have answered after every iteration."""
    counted = records.filter(pc.greater(pc.list_value_length(records["iteration_predictions"]), 0))
    return [str(name) for name in pc.unique(counted["method"].cast(pa.string())).to_pylist()]


def _refuse_other_cells(run: Path, records: pa.Table, numbers: dict[str, Any]) -> None:
    """Refuses records that the manifest knows nothing of, and an image that stands twice in a cell."""
    answers = records.select([*CELL, "id"]).to_pandas()
    twice = answers[answers.duplicated()]
    if len(twice):
        first = twice.iloc[0]
        raise UserError(f"{run} holds image {first['id']} of {first['method']} twice; delete its records and run again")
    for cell in answers[CELL].drop_duplicates().to_dict("records"):
        condition = condition_name(cell["corruption"], cell["severity"])
        known = (
            condition in numbers["conditions"]
            and cell["method"] in numbers["methods"]
            and cell["dataset"] == numbers["dataset"]["name"]
            and cell["teacher"] == numbers["teacher"]["name"]
            and cell["seed"] in numbers["seeds"]
        )
        if not known:
            raise UserError(
                f"{run} holds records of {cell['method']}, {condition}, seed {cell['seed']} on {cell['dataset']} with "
                f"{cell['teacher']}, which its run.yaml does not name; move them out of it"
            )


def _refuse_incomplete(run: Path, results: pd.DataFrame, numbers: dict[str, Any]) -> None:
    """A table never mixes subsets: every cell is there with every image, or there is no table."""
    expected = len(numbers["conditions"]) * len(numbers["methods"]) * len(numbers["seeds"])
    images = numbers["dataset"]["images_a_condition"]
    short = results[results["n"] + results["errors"] != images]
    if len(results) != expected or len(short):
        missing = expected - len(results) + len(short)
        raise UserError(f"{run} lacks {missing} of {expected} cells; run the same command with --out {run} to go on")
