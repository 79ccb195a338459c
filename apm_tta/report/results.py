"""Rows of samples -> rows of results, one a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from apm_tta.report.statistics import wilson_interval

CELL = ["dataset", "corruption", "severity", "setting", "teacher", "method", "seed"]

_MEASURED = [
    "top1",
    "top1_low",
    "top1_high",
    "top5",
    "agreement",
    "agreement_target",
    "latency_ms_p50",
    "latency_ms_p95",
    "images_per_s",
    "iterations",
]


def results_table(records: pa.Table, conditions: Sequence[str], methods: Sequence[str]) -> pd.DataFrame:
    """One row a cell, in the order of ``conditions`` and, under each, of ``methods``.

    Columns: the cell; n images that were answered, errors that could not be read; top1 with its 95 % Wilson interval
    (top1_low, top1_high), top5, agreement with the teacher's zero-shot prediction under the same templates and
    agreement_target with what a method's target says by itself, in percent; latency_ms_p50 and latency_ms_p95 at batch
    size 1; images_per_s at the run's batch size; iterations. What was not measured is NaN.
    """
    frame = records.to_pandas()
    rows = [_row(cell, group) for cell, group in frame.groupby(CELL, observed=True, sort=False)]
    results = pd.DataFrame(rows)
    names = [condition_name(*pair) for pair in zip(results["corruption"], results["severity"], strict=True)]
    order = np.lexsort(
        ([list(methods).index(name) for name in results["method"]], [conditions.index(n) for n in names])
    )
    return results.iloc[order].reset_index(drop=True)


def _row(cell: Any, group: pd.DataFrame) -> dict[str, Any]:
    answered = group[group["error"].isna()]
    count = len(answered)
    named = dict(zip(CELL, cell, strict=True))
    if not count:
        return {**named, "n": 0, "errors": len(group), **dict.fromkeys(_MEASURED, float("nan"))}
    correct = int((answered["prediction"] == answered["label"]).sum())
    low, high = wilson_interval(correct, count)
    in_top5 = [label in top for label, top in zip(answered["label"], answered["top5"], strict=True)]
    latency = answered["latency_ms"].dropna()
    milliseconds = float(answered["batch_ms"].sum(skipna=False))
    measured = (
        100 * correct / count,
        100 * low,
        100 * high,
        100 * float(np.mean(in_top5)),
        _agreement(answered, "teacher_prediction"),
        _agreement(answered, "target_prediction"),
        float(latency.quantile(0.5)),
        float(latency.quantile(0.95)),
        1000 * count / milliseconds,
        int(answered["iterations"].max()),
    )
    return {**named, "n": count, "errors": len(group) - count, **dict(zip(_MEASURED, measured, strict=True))}


def _agreement(answered: pd.DataFrame, column: str) -> float:
    """Percent of predictions that equal ``column``; NaN where the method has no such thing."""
    if answered[column].isna().any():
        return float("nan")
    return 100 * float((answered["prediction"] == answered[column]).mean())


def mean_over_corruptions(results: pd.DataFrame) -> pd.DataFrame:
    """Mean top-1 and agreement over the corruptions at each severity, by method; no interval: images repeat."""
    corrupted = results[results["corruption"] != "clean"]
    grouped = corrupted.groupby(["severity", "method"], sort=False, as_index=False)
    return grouped.agg(corruptions=("corruption", "nunique"), top1=("top1", "mean"), agreement=("agreement", "mean"))


def by_iteration(records: pa.Table, method: str) -> pd.DataFrame:
    """Top-1 and agreement after 0 .. T iterations of ``method``, in percent, by group of conditions.

    Columns: group (``clean``, or ``severity s``, the mean over its corruptions, which have equal n), iteration,
    top1, agreement.
    """
    frame = records.to_pandas()
    frame = frame[(frame["method"] == method) & frame["error"].isna()]
    frame = frame[frame["iteration_predictions"].map(len) > 0]
    rows = []
    for severity, group in frame.groupby("severity", sort=True):
        predictions = np.stack(group["iteration_predictions"].to_list())
        right = predictions == group["label"].to_numpy()[:, None]
        same = predictions == group["teacher_prediction"].to_numpy()[:, None]
        for iteration in range(predictions.shape[1]):
            rows.append(
                {
                    "group": f"severity {severity}" if severity else "clean",
                    "iteration": iteration,
                    "top1": 100 * float(right[:, iteration].mean()),
                    "agreement": 100 * float(same[:, iteration].mean()),
                }
            )
    return pd.DataFrame(rows, columns=["group", "iteration", "top1", "agreement"])


def disagreements(records: pa.Table, method: str) -> dict[str, int]:
    """How often ``method`` differed from its teacher over all conditions, and who was right then."""
    frame = records.to_pandas()
    frame = frame[(frame["method"] == method) & frame["error"].isna()]
    differ = frame[frame["prediction"] != frame["teacher_prediction"]]
    return {
        "answers": len(frame),
        "different": len(differ),
        "method_right": int((differ["prediction"] == differ["label"]).sum()),
        "teacher_right": int((differ["teacher_prediction"] == differ["label"]).sum()),
    }


def errors_table(records: pa.Table) -> pd.DataFrame:
    """Images that could not be read, one row an image and condition: corruption, severity, id, error."""
    columns = ["corruption", "severity", "id", "error"]
    frame: pd.DataFrame = records.select(columns).to_pandas()
    return frame[frame["error"].notna()].drop_duplicates(ignore_index=True)


def condition_name(corruption: str, severity: int) -> str:
    """As ``str(Condition)``."""
    return "clean" if corruption == "clean" else f"{corruption} {severity}"
