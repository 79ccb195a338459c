"""A run folder's tables: ``results.csv`` and further numbers, ``results.md``, ``results.tex``, ``report.html``."""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from apm_tta.data.image_files.errors import count_kinds, remedies
from apm_tta.errors import UserError
from apm_tta.report.aggregate import mean_over_corruptions
from apm_tta.report.caption import caption, disagreement_sentence, notes
from apm_tta.report.corruption_error import mean_corruption_error
from apm_tta.report.html import Islands, write_html
from apm_tta.report.render import csv_text, latex, markdown, markdown_text
from apm_tta.report.reproduction import reproducing_command
from apm_tta.report.results_table import results_table
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.sampled_images import MOST
from apm_tta.report.table import Table
from apm_tta.report.tables import (
    by_corruption_table,
    corruption_errors_table,
    cost_table,
    iterations_table,
    means_table,
)
from apm_tta.report.trust import trust_table
from apm_tta.system.files import MAKE_ROOM, is_file, unwritable, write_file
from apm_tta.wording import first_few, for_shell, pluralise, resume

CSV_FILE, ITERATIONS_FILE, CALIBRATION_FILE, TRUST_FILE = (
    "results.csv",
    "iterations.csv",
    "calibration.csv",
    "trust.csv",
)
MARKDOWN_FILE, LATEX_FILE, ERRORS_FILE = "results.md", "results.tex", "errors.csv"


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes:
        folder: the run folder, in which they lie.
        files: their paths.
        text: content of ``results.md``.
        errors: how many answers are missing because an image could not be read.
        kinds: how many images could not be read under a condition, by the kind of error.
        unwritten: why there are no files, where the folder may only be read; empty where they were written.
    """

    folder: Path
    files: tuple[Path, ...]
    text: str
    errors: int
    kinds: Mapping[str, int] = field(default_factory=dict)
    unwritten: str = ""

    def missing_answers(self) -> str:
        """Say how many answers are missing, why, where the images are named, and what to do about them."""
        subject = pluralise(self.errors, "answer is", "answers are")
        return (
            f"{subject} missing: images could not be read ({count_kinds(self.kinds)}); "
            f"{for_shell([self.folder / ERRORS_FILE])} names them; {remedies(self.kinds)}, then {resume(self.folder)}"
        )

    def __str__(self) -> str:
        return f"{', '.join(path.name for path in self.files)} in {self.folder}"

    def _repr_markdown_(self) -> str:
        """Show the tables in a notebook."""
        return self.text


def write_report(
    run: Path,
    partial: bool = False,
    islands: int = 0,
    resolution: int | None = None,
    fine: str = "bilinear",
    *,
    allow_code: bool = False,
    long: bool = False,
) -> Report:
    """Write the tables and pictures of a run into its folder.

    Args:
        run: the run folder.
        partial: whether an incomplete run is shown too, marked as such.
        islands: the largest number of images of the page under which the islands of their APM are drawn; their APMs
            are fitted again.
        resolution: locations per side of the islands; None for the APM's own.
        fine: way to features between its locations; see ``apm_tta.islands.fine``.
        allow_code: whether a teacher ``module:...``, which is code, may be imported and run for these.
        long: whether islands may take more than ten minutes.

    Raises:
        UserError: when ``run`` is not a run folder, lacks records, or cannot be written; for ``islands`` also when the
            run's fits cannot be computed again here.
    """
    data = read_report_data(run, partial)
    sentences = [caption(data.manifest, data.sites), *notes(data)]
    if data.missing:
        subject = pluralise(len(data.missing), "cell is", "cells are")
        sentences.insert(0, f"Incomplete: {subject} missing or incomplete ({first_few(data.missing, '; ')}).")
    tables = tables_of(data)
    text = "\n\n".join(
        [
            f"# {markdown_text(data.manifest.title)}",
            *map(markdown_text, sentences),
            *map(markdown, tables),
            *([f"## Reproduce\n\n    {command}"] if (command := reproducing_command(data)) else []),
        ]
    )
    optional = {
        ITERATIONS_FILE: data.iterations,
        CALIBRATION_FILE: data.calibration,
        TRUST_FILE: data.trust,
        ERRORS_FILE: data.damaged,
    }
    contents = {
        MARKDOWN_FILE: f"{text}\n".encode(),
        LATEX_FILE: latex_document(tables, " ".join(sentences)).encode(),
        CSV_FILE: csv_text(data.results).encode(),
        **{name: csv_text(frame).encode() for name, frame in optional.items() if len(frame)},
    }
    errors = int(data.results["errors"].sum())
    kinds = Counter(data.damaged["kind"])
    drawn = _islands(data, islands, resolution, fine, allow_code, long) if islands else None
    try:
        for name, frame in optional.items():
            if name not in contents:
                _remove_of_earlier_report(run / name, frame)
        for name, content in contents.items():
            write_file(run / name, content, MAKE_ROOM)
        page = write_html(data, islands=drawn)
    except UserError as error:
        if not _may_only_be_read(error):
            raise
        return Report(run, (), f"{text}\n", errors, kinds, f"the tables are printed and not written: {error}")
    return Report(run, (page, *(run / name for name in contents)), f"{text}\n", errors, kinds)


def _may_only_be_read(error: UserError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.EACCES, errno.EPERM, errno.EROFS)


def _islands(data: ReportData, count: int, resolution: int | None, fine: str, allow_code: bool, long: bool) -> Islands:
    # What draws is not imported by those who only want tables.
    from apm_tta.report.html.formation import draw_islands

    return draw_islands(data, MOST, count, resolution, fine, allow_code=allow_code, long=long)


def tables_of(data: ReportData) -> list[Table]:
    """Return the tables of one run, in their order; those that do not apply are left out."""
    results = data.merged
    tables = [results_table(results)]
    if len(means := mean_over_corruptions(data.results)):
        tables.append(means_table(means))
    for severity in sorted(set(results["severity"])):
        if results[results["severity"] == severity]["corruption"].nunique() > 1:
            tables.append(by_corruption_table(results, severity))
    if len(errors := mean_corruption_error(data.results, data.manifest.numbers.dataset.classes)):
        tables.append(corruption_errors_table(errors))
    tables.append(trust_table(data.trust, len(data.manifest.numbers.conditions)))
    for method in dict.fromkeys(data.iterations["method"]):
        counts = data.disagreements.set_index("method").loc[method].to_dict()
        sentence = disagreement_sentence(str(method), {str(name): int(count) for name, count in counts.items()})
        tables.append(iterations_table(data.iterations, data.fits, str(method), sentence))
    return [*tables, cost_table(results, data.manifest)]


def latex_document(tables: list[Table], caption: str, label: str = "results") -> str:
    """Return all tables as LaTeX, to be included where booktabs and graphicx are loaded; the first line says so."""
    head = "% for pdflatex, xelatex or lualatex, with \\usepackage{booktabs} and \\usepackage{graphicx}\n"
    return head + "\n\n".join(latex(table, caption, f"{label}-{index}") for index, table in enumerate(tables, 1)) + "\n"


def _remove_of_earlier_report(path: Path, frame: pd.DataFrame) -> None:
    """Remove a file that an earlier report wrote and this one does not; a file of other columns is somebody else's.

    An earlier version may have had fewer columns.

    Raises:
        UserError: when it cannot be removed: it would be taken for a part of this report.
    """
    try:
        if not is_file(path):
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            columns = file.readline().rstrip("\n").split(",")
        ours = len(columns) > 1 and columns == [name for name in frame.columns if name in columns]
        if ours:
            path.unlink()
    except OSError as error:
        raise unwritable(path, error, MAKE_ROOM) from error
