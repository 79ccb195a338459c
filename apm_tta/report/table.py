"""A table as text, and the formats of the numbers in its cells; ``render`` turns it into Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        headers: column headers.
        rows: cells by row, as text that is not escaped yet.
        left: number of leading columns that are text and aligned left; the others are numbers.
        bold: ``(row, column)`` of the cells in bold.
        title: heading of its section; empty for none.
        note: sentences below it; empty for none.
    """

    headers: list[str]
    rows: list[list[str]]
    left: int
    bold: frozenset[tuple[int, int]] = frozenset()
    title: str = ""
    note: str = ""


def is_unknown(value: Any) -> bool:
    """Return whether a number was not measured."""
    return value is None or bool(pd.isna(value))


def number(value: Any, digits: int = 1) -> str:
    """Format a number with ``digits`` after the point; n/a where it was not measured."""
    return "n/a" if is_unknown(value) else f"{value:.{digits}f}"


def signed(value: Any) -> str:
    """Format a number with its sign; n/a where it was not measured."""
    return "n/a" if pd.isna(value) else f"{value:+.1f}"


def interval(low: Any, high: Any, text: Callable[[Any], str] = number) -> str:
    """Format both ends of an interval; n/a where there is none."""
    return "n/a" if pd.isna(low) else f"{text(low)} .. {text(high)}"


def p_value(value: Any) -> str:
    """Format a p value with three digits; anything smaller than 0.001 as ``< 0.001``."""
    if pd.isna(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def mean_and_deviation(mean: Any, deviation: Any, seeds: int) -> str:
    """Format the mean over seeds and their standard deviation; only the mean where there is one seed."""
    return number(mean) if seeds < 2 or pd.isna(mean) else f"{mean:.1f} ± {deviation:.1f}"
