"""Tables as Markdown to paste and as LaTeX (booktabs) to include; text is escaped for each."""

from __future__ import annotations

import csv
import re

import pandas as pd
from tabulate import tabulate

from apm_tta.report.latex_text import latex_text
from apm_tta.report.table import Table
from apm_tta.wording import visible

_LONGEST_CAPTION = 2500


def csv_text(frame: pd.DataFrame) -> str:
    """Render a frame as CSV, in which every name is what it is: one with a line break is quoted."""
    columns = frame.select_dtypes(["object", "string"])
    if any(columns[name].astype(str).str.contains("\r").any() for name in columns):
        # A carriage return ends a line for readers of CSV, though Python does not quote it: all text is quoted then.
        return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    return frame.to_csv(index=False, float_format="%.6g", lineterminator="\n")


def markdown(table: Table) -> str:
    """Render the table as Markdown, with its heading above and its note below."""
    rows = [
        [f"**{markdown_text(cell)}**" if (i, j) in table.bold else markdown_text(cell) for j, cell in enumerate(row)]
        for i, row in enumerate(table.rows)
    ]
    headers = [markdown_text(header) for header in table.headers]
    alignment = ["left"] * table.left + ["right"] * (len(headers) - table.left)
    text = str(tabulate(rows, headers, tablefmt="github", colalign=alignment, disable_numparse=True))
    parts = [f"## {markdown_text(table.title)}"] if table.title else []
    return "\n\n".join([*parts, text, *([markdown_text(table.note)] if table.note else [])])


def markdown_text(text: str) -> str:
    """Escape names and messages, so that no character in them starts a cell, a tag, a link or emphasis.

    What is literal already stays readable: an underscore between letters, as in gaussian_noise; brackets without an
    address, as in apm[target=mta]; and ``<`` or ``&`` before a space, as in ``< 0.001``.
    """
    escaped = re.sub(r"([\\`*|~]|(?<![^\W_])_|_(?![^\W_])|\[(?=[\^\[])|\](?=[(\[:]))", r"\\\1", visible(text))
    escaped = re.sub(r"&(?! )", "&amp;", escaped)
    return re.sub(r"<(?! )", "&lt;", escaped).replace(">", "&gt;")


def latex(table: Table, caption: str, label: str) -> str:
    """Render the table as a ``table`` environment that needs the package booktabs; a wide one is scaled to the line."""
    columns = "l" * table.left + "r" * (len(table.headers) - table.left)
    lines = [" & ".join(latex_text(header) for header in table.headers) + r" \\"]
    body = [
        " & ".join(
            rf"\textbf{{{latex_text(cell)}}}" if (i, j) in table.bold else latex_text(cell)
            for j, cell in enumerate(row)
        )
        + r" \\"
        for i, row in enumerate(table.rows)
    ]
    full_caption = " ".join(part for part in (f"{table.title}." if table.title else "", caption, table.note) if part)
    head, rest = _caption_and_rest(latex_text(full_caption))
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{head}}}",
            *([rf"\par {rest}"] if rest else []),
            rf"\label{{tab:{label}}}",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            *lines,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def _caption_and_rest(text: str) -> tuple[str, str]:
    """Divide a text that is too long for a caption, which LaTeX measures as one line: 16,383 pt are the most."""
    if len(text) <= _LONGEST_CAPTION:
        return text, ""
    end = text.rfind(". ", 0, _LONGEST_CAPTION) + 1 or text.rfind(" ", 0, _LONGEST_CAPTION)
    return text[:end], text[end:].strip()
