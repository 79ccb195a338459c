"""The charts of a report, each with its numbers as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from apm_tta.report.data import ReportData
from apm_tta.report.html.charts import Series, bars, heat_map, linear_axis, logarithmic_axis, percent_axis, plot
from apm_tta.report.results import condition_name
from apm_tta.report.tables import Table, number


@dataclass(frozen=True)
class Figure:
    """One chart, or several of which one is shown at a time.

    Attributes:
        key: in the page's addresses.
        title: heading.
        text: what is to be seen.
        charts: by the name under which they are chosen.
        table: the numbers.
    """

    key: str
    title: str
    text: str
    charts: dict[str, Markup]
    table: Table


def figures(data: ReportData, results: pd.DataFrame) -> list[Figure]:
    """The charts that there are numbers for."""
    made = [
        _accuracy_against_latency(results, data.methods),
        _heat_map(results, data.methods),
        _by_severity(results, data.methods),
        *_by_iteration(data),
        _agreement(results, data.methods),
        _calibration(data),
    ]
    return [figure for figure in made if figure is not None]


def _accuracy_against_latency(results: pd.DataFrame, methods: Sequence[str]) -> Figure | None:
    measured = results[results["latency_ms_p50"].notna() & results["top1"].notna()]
    if not len(measured):
        return None
    charts, rows = {}, []
    x = logarithmic_axis("latency of one image, ms (p50)", list(measured["latency_ms_p50"]))
    for (corruption, severity), group in measured.groupby(["corruption", "severity"], sort=False):
        name = condition_name(str(corruption), int(str(severity)))
        series = [
            Series(
                row["method"],
                [(row["latency_ms_p50"], row["top1"])],
                [] if math.isnan(row["top1_low"]) else [(row["top1_low"], row["top1_high"])],
                methods.index(row["method"]),
                joined=False,
            )
            for row in group.to_dict("records")
        ]
        text = f"Under {name}: top-1 with its 95 % interval against the latency of one image."
        charts[name] = plot(series, x, percent_axis("top-1 %"), f"Accuracy against latency, {name}", text)
        rows += [
            [name, row["method"], number(row["latency_ms_p50"]), number(row["top1"])]
            for row in group.to_dict("records")
        ]
    return Figure(
        "latency",
        "Accuracy against latency",
        "Top-1 with Wilson's 95 % interval; latency is logarithmic. Up and to the left is better.",
        charts,
        Table(["condition", "method", "latency p50 ms", "top-1 %"], rows, 2),
    )


def _heat_map(results: pd.DataFrame, methods: Sequence[str]) -> Figure | None:
    corrupted = results[results["severity"] > 0]
    if not len(corrupted):
        return None
    names = list(dict.fromkeys(corrupted["corruption"]))
    charts, rows = {}, []
    for severity in sorted(set(corrupted["severity"])):
        own = corrupted[corrupted["severity"] == severity].set_index(["method", "corruption"])["top1"]
        values = [[float(own.get((method, name), math.nan)) for name in names] for method in methods]
        charts[f"severity {severity}"] = heat_map(methods, names, values, f"Top-1 by corruption, severity {severity}")
        rows += [
            [f"severity {severity}", method, *map(number, line)] for method, line in zip(methods, values, strict=True)
        ]
    table = Table(["severity", "method", *names], rows, 2)
    return Figure("corruptions", "Method by corruption", "Top-1 %, the darker the higher.", charts, table)


def _by_severity(results: pd.DataFrame, methods: Sequence[str]) -> Figure | None:
    if results["severity"].nunique() < 2:
        return None
    means = results.groupby(["method", "severity"], sort=False)["top1"].mean()
    severities = sorted(set(results["severity"]))
    lines = {m: [(s, float(means[m, s])) for s in severities if (m, s) in means.index] for m in methods}
    series = [Series(method, points, colour=index) for index, (method, points) in enumerate(lines.items())]
    chart = plot(
        series,
        linear_axis("severity (0: clean)", severities),
        percent_axis("top-1 %"),
        "Accuracy by severity",
        "Mean over the corruptions at each severity.",
    )
    rows = [[method, *(number(value) for _, value in points)] for method, points in lines.items()]
    table = Table(["method", *(str(severity) for severity in severities)], rows, 1)
    text = "Mean over the corruptions at each severity; 0 is clean."
    return Figure("severity", "Accuracy by severity", text, {"all": chart}, table)


def _by_iteration(data: ReportData) -> list[Figure]:
    found = []
    for method in dict.fromkeys(data.iterations["method"]):
        own = data.iterations[data.iterations["method"] == method]
        groups = list(dict.fromkeys(own["group"]))
        series = []
        for index, group in enumerate(groups):
            rows = own[own["group"] == group]
            series.append(
                Series(f"{group}: top-1", list(zip(rows["iteration"], rows["top1"], strict=True)), colour=index)
            )
            agreement = list(zip(rows["iteration"], rows["agreement"], strict=True))
            series.append(Series("agreement", agreement, colour=index, dashed=True))
        x = linear_axis("iteration", list(own["iteration"]))
        title = f"{method} by iteration"
        chart = plot(series, x, percent_axis("%"), title, "Top-1 and, dashed, agreement with the teacher.")
        fits = data.fits[data.fits["method"] == method]
        fitted = "; ".join(
            f"{row['group']}: loss {row['first_loss']:.3g} to {row['last_loss']:.3g}, cosine to the target "
            f"{row['last_cosine']:.3f} at the end"
            for row in fits.to_dict("records")
        )
        wide = own.pivot(index="iteration", columns="group", values=["top1", "agreement"])
        rows_of = [
            [str(at), *(number(wide.loc[at, (name, group)]) for group in groups for name in ("top1", "agreement"))]
            for at in wide.index
        ]
        headers = ["iteration", *(f"{group}: {name}" for group in groups for name in ("top-1 %", "agreement %"))]
        text = f"Top-1 and, dashed, agreement with the teacher after every iteration. {fitted}."
        found.append(Figure(f"iterations-{method}", title, text, {"all": chart}, Table(headers, rows_of, 0)))
    return found


def _agreement(results: pd.DataFrame, methods: Sequence[str]) -> Figure | None:
    means = results.groupby("method", sort=False)["agreement"].mean()
    there = [method for method in methods if not math.isnan(means.get(method, math.nan))]
    if not there:
        return None
    values = [float(means[method]) for method in there]
    text = "Answers that are the teacher's zero-shot answers under the same templates, mean over the conditions."
    rows = [[method, number(value)] for method, value in zip(there, values, strict=True)]
    chart = bars(there, values, "Agreement with the teacher", text)
    return Figure("agreement", "Agreement with the teacher", text, {"all": chart}, Table(["method", "%"], rows, 1))


def _calibration(data: ReportData) -> Figure | None:
    if not len(data.calibration):
        return None
    charts, rows = {}, []
    for method, own in data.calibration.groupby("method", sort=False):
        weighted = own.assign(c=own["confidence"] * own["count"], a=own["accuracy"] * own["count"])
        bins = weighted.groupby("bin_low", sort=True)[["count", "c", "a"]].sum()
        points = [(100 * row["c"] / row["count"], 100 * row["a"] / row["count"]) for _, row in bins.iterrows()]
        error = 100 * float(np.average([abs(a - b) / 100 for a, b in points], weights=bins["count"]))
        series = [
            Series(str(method), points, colour=data.methods.index(str(method))),
            Series("calibrated", [(0, 0), (100, 100)], colour=11, dashed=True),
        ]
        text = (
            f"{method}: accuracy by confidence in 15 bins over all conditions; below the line it is too sure of itself."
        )
        x, y = percent_axis("confidence %"), percent_axis("accuracy %")
        charts[str(method)] = plot(series, x, y, f"Calibration of {method}", text)
        rows += [
            [str(method), number(100 * float(str(low))), str(int(row["count"])), number(a), number(b)]
            for (low, row), (a, b) in zip(bins.iterrows(), points, strict=True)
        ]
        rows.append([str(method), "all", str(int(bins["count"].sum())), "ECE", number(error)])
    text = (
        "Accuracy against confidence in 15 bins, over all conditions together (the error under each is in the table of "
        "results). Methods whose confidences are shares of votes are left out: they are no probabilities."
    )
    table = Table(["method", "bin from %", "answers", "confidence %", "accuracy %"], rows, 1)
    return Figure("calibration", "Calibration", text, charts, table)
