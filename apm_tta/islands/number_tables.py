"""The numbers that accompany pictures: a CSV file, and a table for the terminal."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from tabulate import tabulate

Value = str | int | float


def as_csv(rows: Sequence[Mapping[str, Value]]) -> bytes:
    """Encode rows as CSV, numbers with nine digits, since cosines lie close to 1; the first row has the columns."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([f"{value:.9g}" if isinstance(value, float) else value for value in row.values()] for row in rows)
    return content.getvalue().encode()


def as_table(rows: Sequence[Mapping[str, Value]]) -> str:
    """Format rows as a table for the terminal, numbers with three decimals."""
    cells = [[f"{value:.3f}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    numbers = [not isinstance(value, str) for value in rows[0].values()]
    aligned = tuple("right" if number else "left" for number in numbers)
    return tabulate(cells, list(rows[0]), tablefmt="github", colalign=aligned, disable_numparse=True)
