"""Means over conditions, each over all of its terms: of fewer it would be another number, so there is none."""

from __future__ import annotations

import pandas as pd

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.report.run_data import ReportData


def conditions_of(data: ReportData) -> list[Condition]:
    """Of the run, in its order, whether or not there are answers."""
    return [condition_called(name) for name in data.manifest.numbers.conditions]


def condition_called(name: str) -> Condition:
    """The condition of which ``name`` is the text."""
    if name == str(CLEAN):
        return CLEAN
    corruption, _, severity = name.rpartition(" ")
    return Condition(corruption, int(severity))


def over_all(data: ReportData, results: pd.DataFrame, column: str) -> dict[str, float]:
    """Mean over every condition of the run, by method; methods that lack a value are left out.

    Args:
        data: of the run.
        results: its results ``over_seeds``.
        column: whose mean.
    """
    return _means(data.methods, results, column, len(conditions_of(data)))


def over_severities(data: ReportData, results: pd.DataFrame) -> dict[str, list[tuple[int, float]]]:
    """Mean top-1 over the corruptions at each severity, ``(severity, mean)`` by method; 0 is clean."""
    conditions = conditions_of(data)
    found: dict[str, list[tuple[int, float]]] = {}
    for severity in sorted({condition.severity for condition in conditions}):
        count = sum(condition.severity == severity for condition in conditions)
        means = _means(data.methods, results[results["severity"] == severity], "top1", count)
        for method, mean in means.items():
            found.setdefault(method, []).append((severity, mean))
    return {method: found[method] for method in data.methods if method in found}


def _means(methods: list[str], results: pd.DataFrame, column: str, terms: int) -> dict[str, float]:
    there = results[results[column].notna()].groupby("method", sort=False)[column]
    means, counts = there.mean(), there.size()
    return {method: float(means[method]) for method in methods if counts.get(method, 0) == terms}
