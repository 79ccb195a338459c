"""Means over conditions, each over all of its terms: a mean over fewer would be a different number, so is left out."""

from __future__ import annotations

import pandas as pd

from apm_tta.data.sample import Condition, parse_condition
from apm_tta.report.run_data import ReportData


def run_conditions(data: ReportData) -> list[Condition]:
    """Return the conditions of the run in its order, whether or not they have answers."""
    return [parse_condition(name) for name in data.manifest.numbers.conditions]


def mean_over_conditions(data: ReportData, results: pd.DataFrame, column: str) -> dict[str, float]:
    """Average a column over every condition of the run, by method; methods that lack a value are left out.

    Args:
        data: data of the run.
        results: its results from ``merge_seeds``.
        column: name of the column to average.
    """
    return _means(data.methods, results, column, len(run_conditions(data)))


def means_by_severity(data: ReportData, results: pd.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """Average top-1 over the corruptions at each severity: ``(severity, mean)`` by method; severity 0 is clean."""
    conditions = run_conditions(data)
    by_method: dict[str, list[tuple[int, float]]] = {}
    for severity in sorted({condition.severity for condition in conditions}):
        count = sum(condition.severity == severity for condition in conditions)
        means = _means(data.methods, results[results["severity"] == severity], "top1", count)
        for method, mean in means.items():
            by_method.setdefault(method, []).append((severity, mean))
    return {method: by_method[method] for method in data.methods if method in by_method}


def _means(methods: list[str], results: pd.DataFrame, column: str, terms: int) -> dict[str, float]:
    known = results[results[column].notna()].groupby("method", sort=False)[column]
    means, counts = known.mean(), known.size()
    return {method: float(means[method]) for method in methods if counts.get(method, 0) == terms}
