"""Tables as Markdown to paste and as LaTeX (booktabs) to include; text is escaped for each."""

from __future__ import annotations

import re

from tabulate import tabulate

from apm_tta.report.table import Table

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    '"': "''",
}


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
    """Escape names and messages, so that no character in them starts a cell, a tag or emphasis."""
    # An underscore between letters is literal already, as in gaussian_noise.
    escaped = re.sub(r"([\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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
    return "\n".join(
        [
            r"\begin{table}[t]",
            r"\centering",
            rf"\caption{{{latex_text(full_caption)}}}",
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


def latex_text(text: str) -> str:
    """Escape ``text``, so that nothing in it is a LaTeX command."""
    return "".join(_LATEX.get(character, character) for character in text)
