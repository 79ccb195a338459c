"""Write into each row of ``results/published/*.csv`` which of our runs compares with it.

``python scripts/make_published_runs.py`` fills the column ``run`` with what ``apm_tta.report.published_runs`` says. A
test compares the tables with its output, and every command with what it would run.
"""

from __future__ import annotations

import csv
import io
import sys

from apm_tta.report.published_rows import TABLES, read_rows
from apm_tta.report.published_runs import run_of
from apm_tta.resources import PUBLISHED


def table(name: str) -> str:
    """Return a table with its column ``run``, as text."""
    with (PUBLISHED / name).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    text = io.StringIO()
    columns = [column for column in lines[0] if column != "run"]
    writer = csv.DictWriter(text, [*columns, "run"], lineterminator="\n")
    writer.writeheader()
    for line, row in zip(lines, read_rows(PUBLISHED / name), strict=True):
        writer.writerow({**line, "run": run_of(row)})
    return text.getvalue()


if __name__ == "__main__":
    for name in TABLES:
        (PUBLISHED / name).write_text(table(name), encoding="utf-8")
        sys.stdout.write(f"{PUBLISHED / name}\n")
