"""A run folder's tables: ``results.csv``, ``iterations.csv``, ``results.md``, ``results.tex``, ``report.html``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from apm_tta.files import MAKE_ROOM, write_file
from apm_tta.report.aggregate import mean_over_corruptions, over_seeds
from apm_tta.report.caption import caption, disagreement_sentence, notes
from apm_tta.report.corruption_error import mean_corruption_error
from apm_tta.report.html import Islands, write_html
from apm_tta.report.html.page import SAMPLES
from apm_tta.report.render import latex, markdown, markdown_text
from apm_tta.report.results_table import results_table
from apm_tta.report.run_data import ReportData, listed, read_report_data
from apm_tta.report.table import Table
from apm_tta.report.tables import (
    by_corruption_table,
    corruption_errors_table,
    cost_table,
    iterations_table,
    means_table,
)

CSV_FILE, ITERATIONS_FILE, CALIBRATION_FILE = "results.csv", "iterations.csv", "calibration.csv"
MARKDOWN_FILE, LATEX_FILE, ERRORS_FILE = "results.md", "results.tex", "errors.csv"


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        text: what ``results.md`` says.
        errors: answers that are missing because an image could not be read.
    """

    text: str
    errors: int


def write_report(run: Path, partial: bool = False, islands: int = 0) -> Report:
    """Writes the tables and pictures of a run folder.

    Args:
        run: the folder.
        partial: whether a half-finished run is shown too, marked as such.
        islands: images of the page, at most, under which stand the islands of their APM; they are fitted again.

    Raises:
        UserError: when ``run`` is no run folder, lacks records, or cannot be written; for ``islands`` also when the
            run's fits cannot be made again here.
    """
    data = read_report_data(run, partial)
    sentences = [caption(data.manifest), *notes(data.manifest, data.damaged)]
    if data.missing:
        sentences.insert(
            0, f"Half-finished: {len(data.missing)} cells are missing or not whole ({listed(data.missing)})."
        )
    tables = tables_of(data)
    text = "\n\n".join(
        [f"# {markdown_text(data.manifest.title)}", *map(markdown_text, sentences), *map(markdown, tables)]
    )
    write_file(run / MARKDOWN_FILE, f"{text}\n".encode(), MAKE_ROOM)
    write_file(run / LATEX_FILE, latex_document(tables, " ".join(sentences)).encode(), MAKE_ROOM)
    write_file(run / CSV_FILE, _csv(data.results), MAKE_ROOM)
    for name, frame in (
        (ITERATIONS_FILE, data.iterations),
        (CALIBRATION_FILE, data.calibration),
        (ERRORS_FILE, data.damaged),
    ):
        if len(frame):
            write_file(run / name, _csv(frame), MAKE_ROOM)
    write_html(data, islands=_islands(data, islands) if islands else None)
    return Report(f"{text}\n", int(data.results["errors"].sum()))


def _islands(data: ReportData, count: int) -> Islands:
    # What draws is not imported by those who only want tables.
    from apm_tta.report.html.formation import islands_of

    return islands_of(data, SAMPLES, count)


def tables_of(data: ReportData) -> list[Table]:
    """The tables of one run, in their order; those that do not apply are left out."""
    results = over_seeds(data.results)
    tables = [results_table(results)]
    if len(means := mean_over_corruptions(data.results)):
        tables.append(means_table(means))
    for severity in sorted(set(results["severity"]) - {0}):
        if results[results["severity"] == severity]["corruption"].nunique() > 1:
            tables.append(by_corruption_table(results, severity))
    if len(errors := mean_corruption_error(data.results, data.manifest.numbers.dataset.classes)):
        tables.append(corruption_errors_table(errors))
    for method in dict.fromkeys(data.iterations["method"]):
        counts = data.disagreements.set_index("method").loc[method].to_dict()
        sentence = disagreement_sentence(str(method), {str(name): int(count) for name, count in counts.items()})
        tables.append(iterations_table(data.iterations, data.fits, str(method), sentence))
    return [*tables, cost_table(results, data.manifest)]


def latex_document(tables: list[Table], caption: str, label: str = "results") -> str:
    """All tables, to be included where booktabs and graphicx are loaded."""
    head = "% needs \\usepackage{booktabs} and \\usepackage{graphicx}\n"
    return head + "\n\n".join(latex(table, caption, f"{label}-{index}") for index, table in enumerate(tables, 1)) + "\n"


def _csv(frame: pd.DataFrame) -> bytes:
    content: str = frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    return content.encode()
