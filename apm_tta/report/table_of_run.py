"""One table beside those of a run's report, written into its folder in three forms."""

from __future__ import annotations

import pandas as pd

from apm_tta.report.caption import caption, notes
from apm_tta.report.render import csv_text, markdown, markdown_text
from apm_tta.report.run_data import ReportData
from apm_tta.report.table import Table
from apm_tta.report.write import latex_document
from apm_tta.system.files import MAKE_ROOM, write_file


def write_table_of_run(data: ReportData, table: Table, frame: pd.DataFrame, name: str, label: str) -> str:
    """Write a table as Markdown, CSV and LaTeX, with the caption and notes of the run; return the Markdown.

    Args:
        data: of the run, whose folder receives the files.
        table: as it is shown.
        frame: its numbers, for CSV.
        name: of the files, before ``.md``, ``.csv`` and ``.tex``.
        label: of the LaTeX table.

    Raises:
        UserError: when the folder cannot be written.
    """
    sentences = [caption(data.manifest, data.sites), *notes(data)]
    text = "\n\n".join([markdown(table), *map(markdown_text, sentences)]) + "\n"
    contents = {"md": text, "csv": csv_text(frame), "tex": latex_document([table], " ".join(sentences), label)}
    for ending, content in contents.items():
        write_file(data.run / f"{name}.{ending}", content.encode(), MAKE_ROOM)
    return text
