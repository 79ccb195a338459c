"""The figures of a report: charts, each with its numbers as tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup

from apm_tta.report.aggregate import condition_name
from apm_tta.report.html.axes import Axis, linear_axis, logarithmic_axis, percent_axis
from apm_tta.report.html.charts import REFERENCE, Series, bars, heat_map, plot
from apm_tta.report.html.means import mean_over_conditions, means_by_severity
from apm_tta.report.run_data import ReportData
from apm_tta.report.table import Table, number
from apm_tta.report.timings import is_disturbed
from apm_tta.wording import pluralise


@dataclass(frozen=True)
class Figure:
    """One chart, or several of which one is shown at a time.

    Attributes:
        key: fragment identifier in links within the page.
        title: heading.
        text: what the charts show.
        charts: charts by the name under which a reader chooses them.
        tables: the numbers in the charts.
    """

    key: str
    title: str
    text: str
    charts: dict[str, Markup]
    tables: list[Table]


def figures(data: ReportData, results: pd.DataFrame) -> list[Figure]:
    """Draw every figure for which the run has numbers.

    Args:
        data: data of the run.
        results: its results from ``merge_seeds``.
    """
    candidates = [
        _accuracy_against_latency(data, results),
        _heat_map(results, data.methods),
        _by_severity(data, results),
        *_by_iteration(data),
        _agreement(data, results),
        _calibration(data),
    ]
    return [figure for figure in candidates if figure is not None]


def _accuracy_against_latency(data: ReportData, results: pd.DataFrame) -> Figure | None:
    timed = results[results["latency_ms_p50"].notna() & results["top1"].notna()]
    measured = timed[~is_disturbed(timed)]
    left_out = len(timed) - len(measured)
    if not len(measured):
        return None
    charts, rows = {}, []
    told_apart = measured["measured_on"].nunique() > 1
    x = logarithmic_axis("latency of one image, ms (median, logarithmic)", list(measured["latency_ms_p50"]))
    for (corruption, severity), group in measured.groupby(["corruption", "severity"], sort=False):
        name = condition_name(str(corruption), int(str(severity)))
        records = group.to_dict("records")
        series = [
            Series(
                f"{row['method']}, {row['measured_on']}" if told_apart else row["method"],
                [(row["latency_ms_p50"], row["top1"])],
                [] if math.isnan(row["top1_low"]) else [(row["top1_low"], row["top1_high"])],
                data.methods.index(row["method"]),
                connected=False,
            )
            for row in records
        ]
        text = f"Under {name}: top-1 with its 95 % interval against the latency of one image."
        charts[name] = plot(series, x, _percent("top-1 %", series), f"Accuracy against latency, {name}", text)
        rows += [
            [
                *(name, row["method"], *([row["measured_on"]] if told_apart else [])),
                *(number(row["latency_ms_p50"]), number(row["top1"])),
            ]
            for row in records
        ]
    places = ["measured on"] if told_apart else []
    return Figure(
        "latency",
        "Accuracy against latency",
        "Top-1 with Wilson's 95 % interval against the latency of one image alone. Up and to the left is better; the "
        "vertical axis begins near the lowest value."
        + (f" Left out: {left_out} of {pluralise(len(timed), 'row')}, whose times are marked." if left_out else ""),
        charts,
        [Table(["condition", "method", *places, "latency p50 ms", "top-1 %"], rows, 2 + len(places))],
    )


def _heat_map(results: pd.DataFrame, methods: Sequence[str]) -> Figure | None:
    corrupted = results[results["corruption"] != "clean"]
    if not len(corrupted):
        return None
    names = list(dict.fromkeys(corrupted["corruption"]))
    charts, rows = {}, []
    for severity in sorted(set(corrupted["severity"])):
        own = corrupted[corrupted["severity"] == severity].set_index(["method", "corruption"])["top1"]
        cells = [[float(own.get((method, name), math.nan)) for name in names] for method in methods]
        values = [[*line, sum(line) / len(line)] for line in cells]  # NaN where one is missing
        group = f"severity {severity}" if severity else "domains"
        title = f"Top-1 by corruption, {group}" if severity else "Top-1 by domain"
        charts[group] = heat_map(methods, [*names, "mean"], values, title)
        rows += [[group, method, *map(number, line)] for method, line in zip(methods, values, strict=True)]
    table = Table(["severity", "method", *names, "mean"], rows, 2)
    text = "Top-1 %, the stronger the shade the higher; the mean is over the others of its row."
    return Figure(
        "corruptions", f"Method by {'corruption' if corrupted['severity'].any() else 'domain'}", text, charts, [table]
    )


def _by_severity(data: ReportData, results: pd.DataFrame) -> Figure | None:
    lines = means_by_severity(data, results)
    severities = sorted({severity for points in lines.values() for severity, _ in points})
    if len(severities) < 2:
        return None
    series = [Series(method, points, colour=data.methods.index(method)) for method, points in lines.items()]
    text = "Mean over the corruptions at each severity; 0 is clean. A mean that lacks a corruption is left out."
    x = linear_axis("severity (0: clean)", severities)
    chart = plot(series, x, _percent("top-1 %", series), "Accuracy by severity", text)
    rows = [
        [method, *(number(dict(points).get(severity, math.nan)) for severity in severities)]
        for method, points in lines.items()
    ]
    table = Table(["method", *(f"severity {severity}" for severity in severities)], rows, 1)
    return Figure("severity", "Accuracy by severity", text, {"all": chart}, [table])


_FITTED = ("first_loss", "last_loss", "last_cosine")
_BY_ITERATION = {"top1": "top-1", "agreement": "agreement with the teacher"}


def _by_iteration(data: ReportData) -> list[Figure]:
    by_method = []
    for place, method in enumerate(dict.fromkeys(data.iterations["method"])):
        own = data.iterations[data.iterations["method"] == method]
        groups = list(dict.fromkeys(own["group"]))
        x = linear_axis("iteration", list(own["iteration"]))
        charts = {}
        for column, name in _BY_ITERATION.items():
            series = [
                Series(group, list(zip(rows["iteration"], rows[column], strict=True)), colour=index)
                for index, group in enumerate(groups)
                if len(rows := own[own["group"] == group])
            ]
            text = f"{name} of {method} after every iteration, by group of conditions"
            charts[name] = plot(series, x, _percent(f"{name} %", series), f"{method}: {name} by iteration", text)
        wide = own.pivot(index="iteration", columns="group", values=list(_BY_ITERATION))
        table_rows = [
            [
                str(iteration),
                *(number(wide.loc[iteration, (name, group)]) for group in groups for name in _BY_ITERATION),
            ]
            for iteration in wide.index
        ]
        headers = ["iteration", *(f"{group}: {name}" for group in groups for name in ("top-1 %", "agreement %"))]
        fits = data.fits[data.fits["method"] == method].to_dict("records")
        fitted = [[row["group"], *(_three_digits(row[name]) for name in _FITTED)] for row in fits]
        text = (
            "Top-1 and agreement with the teacher after every iteration; 0 is before the first. Mean result of the fit "
            "over the images: "
            + "; ".join(f"{name}, loss {first} to {last}, cosine {cosine}" for name, first, last, cosine in fitted)
            + "."
        )
        tables = [
            Table(headers, table_rows, 0),
            Table(["conditions", "first loss", "last loss", "cosine to the target"], fitted, 1),
        ]
        by_method.append(Figure(f"iterations-{place}", f"{method} by iteration", text, charts, tables))
    return by_method


def _agreement(data: ReportData, results: pd.DataFrame) -> Figure | None:
    means = mean_over_conditions(data, results, "agreement")
    if not means:
        return None
    text = (
        "Share of answers that equal the teacher's zero-shot answer under the same templates, mean over all "
        "conditions; 100 by definition for a method that returns the zero-shot answer."
    )
    chart = bars(means, [data.methods.index(method) for method in means], "Agreement with the teacher", text)
    rows = [[method, number(value)] for method, value in means.items()]
    return Figure(
        "agreement", "Agreement with the teacher", text, {"all": chart}, [Table(["method", "agreement %"], rows, 1)]
    )


def _calibration(data: ReportData) -> Figure | None:
    if not len(data.calibration):
        return None
    charts, rows = {}, []
    for method, own in data.calibration.groupby("method", sort=False):
        weighted = own.assign(c=own["confidence"] * own["count"], a=own["accuracy"] * own["count"])
        bins = weighted.groupby("bin_low", sort=True)[["count", "c", "a"]].sum()
        points = [(100 * row["c"] / row["count"], 100 * row["a"] / row["count"]) for _, row in bins.iterrows()]
        error = float(np.average([abs(a - b) for a, b in points], weights=bins["count"]))
        series = [
            Series("perfect calibration", [(0, 0), (100, 100)], colour=REFERENCE, dashed=True),
            Series(f"{method}, ECE {error:.1f} %", points, colour=data.methods.index(str(method))),
        ]
        text = f"{method}: accuracy by confidence in 15 bins over all conditions; below the line it is overconfident."
        x, y = percent_axis("confidence %"), percent_axis("accuracy %")
        charts[str(method)] = plot(series, x, y, f"Calibration of {method}", text)
        rows += [
            [str(method), number(100 * float(str(low))), str(int(row["count"])), number(a), number(b)]
            for (low, row), (a, b) in zip(bins.iterrows(), points, strict=True)
        ]
        rows.append([str(method), "all", str(int(bins["count"].sum())), "ECE", number(error)])
    text = (
        "Accuracy against confidence in 15 bins, over all conditions together (the results table has the error under "
        "each condition). Methods whose confidences are shares of votes are left out: these are not probabilities."
    )
    table = Table(["method", "bin from %", "answers", "confidence %", "accuracy %"], rows, 1)
    return Figure("calibration", "Calibration", text, charts, [table])


def _three_digits(value: float) -> str:
    return "n/a" if math.isnan(value) else f"{value:.3g}"


def _percent(label: str, series: Iterable[Series]) -> Axis:
    """Make an axis of the part of 0 to 100 in which the points and their intervals lie."""
    values = [value for one in series for _, value in one.points]
    values += [end for one in series for ends in one.intervals for end in ends]
    return percent_axis(label, values)
