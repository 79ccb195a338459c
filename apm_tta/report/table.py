"""A table as text, and how its cells write numbers; ``render`` makes Markdown and LaTeX of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        headers: of the columns.
        rows: cells, as text that is not yet escaped.
        left: how many columns, from the first on, are text; the others are numbers.
        bold: (row, column) of cells that stand out.
        title: heading of its section; empty for none.
        note: sentences below it; empty for none.
    """

    headers: list[str]
    rows: list[list[str]]
    left: int
    bold: frozenset[tuple[int, int]] = frozenset()
    title: str = ""
    note: str = ""


def number(value: Any, digits: int = 1) -> str:
    """Write a number with ``digits`` after the point; n/a for one that was not measured."""
    return "n/a" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def signed(value: Any) -> str:
    """Write a number with its sign; n/a for one that was not measured."""
    return "n/a" if pd.isna(value) else f"{value:+.1f}"


def interval(low: Any, high: Any, text: Callable[[Any], str] = number) -> str:
    """Write both ends; n/a for none."""
    return "n/a" if pd.isna(low) else f"{text(low)} .. {text(high)}"


def p_value(value: Any) -> str:
    """Write three digits, and nothing smaller than 0.001."""
    if pd.isna(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def mean_and_deviation(mean: Any, deviation: Any, seeds: int) -> str:
    """Write the mean over seeds and their standard deviation; the mean alone where there is one seed."""
    return number(mean) if seeds < 2 or pd.isna(mean) else f"{mean:.1f} ± {deviation:.1f}"
