"""The page ``results/gpu.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from benchmarks.gpu.section import Found, Section

NOTHING = "**Nothing has been measured on a GPU yet.**"
COMMAND = "python -m benchmarks.gpu"


def empty_page(sections: Sequence[Section]) -> str:
    """Return the page that says that nothing has been measured, and how to."""
    lines = [
        "# On a GPU",
        f"Made by `{COMMAND} --smoke`, which takes every measurement below in small on a CPU, to show that it runs to "
        f"its end.\n\n{NOTHING}",
        f"On a machine with CUDA, `{COMMAND}` (or `tox -e gpu`) takes at most eight minutes, downloads nothing, and "
        "writes this page with:",
        "\n".join(f"* {section.title}: {section.what}." for section in sections),
    ]
    return "\n\n".join(lines) + "\n"


def page(device: str, versions: str, seconds: float, found: Mapping[Section, Found]) -> str:
    """Return the page with what was measured.

    Args:
        device: its name.
        versions: of the libraries and the code.
        seconds: that everything took.
        found: by section.
    """
    lines = ["# On a GPU", f"Made by `{COMMAND}` on {device} in {seconds:.0f} s ({versions})."]
    for section, part in found.items():
        lines.append(f"## {section.title}")
        if part.rows:
            rows = [[str(value) for value in row] for row in part.rows]
            lines.append(tabulate(rows, part.columns, tablefmt="github", disable_numparse=True))
        lines += part.remarks
        lines += [f"**Failed**: {each}." for each in part.failed]
    return "\n\n".join(lines) + "\n"
