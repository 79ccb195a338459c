"""The page: what stands on it, and in which words."""

from __future__ import annotations

import base64
import hashlib
import math
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from apm_tta.report.caption import caption, disagreement_sentence, notes
from apm_tta.report.data import ReportData
from apm_tta.report.html.charts import Series, bars, heat_map, linear_axis, logarithmic_axis, percent_axis, plot
from apm_tta.report.html.samples import RULE, choose_samples
from apm_tta.report.results import condition_name, over_seeds
from apm_tta.report.tables import Table, cost_table, number, results_table
from apm_tta.report.text import write_text

HTML_FILE = "report.html"
SAMPLES = 60
_FOLDER = Path(__file__).parent


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


def write_html(data: ReportData, samples: int = SAMPLES) -> Path:
    """Writes ``report.html`` into the run folder.

    Args:
        data: of the run.
        samples: images that are shown, at most.

    Raises:
        UserError: when it cannot be written.
    """
    results = over_seeds(data.results)
    shown, why = choose_samples(data, samples)
    environment = Environment(loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined)
    script, style = ((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{_digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    text = environment.get_template("page.html.j2").render(
        title=data.manifest["title"],
        caption=caption(data.manifest),
        notes=notes(data.manifest, data.damaged),
        missing=data.missing,
        answers=answers(data, results),
        table=results_table(results),
        cost=cost_table(results, data.manifest),
        figures=figures(data, results),
        samples=shown,
        sample_rule=RULE,
        no_pictures=why,
        votes=[name for name in data.methods if data.manifest["numbers"]["methods"][name].get("votes")],
        methods=data.methods,
        conditions=list(dict.fromkeys(sample.condition for sample in shown)),
        command=" ".join(shlex.quote(word) for word in data.manifest.get("command", [])),
        versions=data.manifest["numbers"]["versions"],
        weights=data.manifest["numbers"]["teacher"]["weights_sha256"],
        fingerprint=data.manifest["numbers"]["dataset"]["fingerprint"],
        places=[data.manifest["environment"], *data.manifest.get("also_computed_on", [])],
        policy=policy,
        script=Markup(script),
        style=Markup(style),
    )
    path = data.run / HTML_FILE
    write_text(path, text)
    return path


def answers(data: ReportData, results: pd.DataFrame) -> list[tuple[str, str]]:
    """The questions that a reader comes with, and what this run says to them."""
    return [
        ("Which method is best, and is it significant?", _best(results)),
        ("What does it cost?", _cost(results)),
        ("Where does it fail?", _fails(results)),
        ("Does APM differ from its teacher?", _differs(data)),
        ("Can I reproduce this row?", _reproduced(data)),
    ]


def _best(results: pd.DataFrame) -> str:
    answered = results[results["top1"].notna()]
    if answered["method"].nunique() < 2:
        return "There is one method alone."
    conditions = answered.groupby(["corruption", "severity"], sort=False)
    first = [group.sort_values("top1", ascending=False, kind="stable").iloc[0] for _, group in conditions]
    means = answered.groupby("method", sort=False)["top1"].mean().sort_values(ascending=False)
    clear = [row for row in first if row["best"]]
    leaders = ", ".join(f"{name} {count}" for name, count in Counter(str(row["method"]) for row in clear).items())
    separated = (
        f"Under {len(clear)} of {len(first)} conditions the best is apart from every other by McNemar's exact test "
        f"(p < 0.05, Holm): {leaders}."
        if clear
        else f"Under none of {len(first)} conditions is the best apart from every other by McNemar's test (p < 0.05)."
    )
    return f"Highest mean top-1 over the conditions: {means.index[0]}, {means.iloc[0]:.1f} %. {separated}"


def _cost(results: pd.DataFrame) -> str:
    measured = results[results["latency_ms_p50"].notna()]
    if not len(measured):
        return "No latency was measured: features came from a cache, or no image was answered alone."
    medians = measured.groupby("method", sort=False)["latency_ms_p50"].median().sort_values()
    least, most = float(medians.iloc[0]), float(medians.iloc[-1])
    return (
        f"An image alone takes {medians.index[0]} {least:.1f} ms and {medians.index[-1]} {most:.1f} ms, "
        f"{most / least:.0f} times as long; memory, FLOPs and passes are in the table of costs."
    )


def _fails(results: pd.DataFrame) -> str:
    answered = results[results["top1"].notna()]
    said = []
    for method, own in answered.groupby("method", sort=False):
        row = own.sort_values("top1", kind="stable").iloc[0]
        worse = own.sort_values("delta_zeroshot", kind="stable").iloc[0]
        text = f"{method}: lowest under {condition_name(row['corruption'], row['severity'])} ({row['top1']:.1f} %)"
        if not math.isnan(worse["delta_zeroshot"]) and worse["delta_zeroshot"] < 0:
            where = condition_name(worse["corruption"], worse["severity"])
            text += f", furthest below zero-shot under {where} ({worse['delta_zeroshot']:+.1f} points)"
        said.append(text)
    return "; ".join(said) + "."


def _differs(data: ReportData) -> str:
    distilled = list(dict.fromkeys(data.iterations["method"]))
    if not distilled:
        return "No method of this run is fitted to its teacher."
    counts = data.disagreements.set_index("method")
    return " ".join(
        disagreement_sentence(str(name), {str(key): int(value) for key, value in counts.loc[name].to_dict().items()})
        for name in distilled
    )


def _reproduced(data: ReportData) -> str:
    words = " ".join(shlex.quote(word) for word in data.manifest.get("command", []))
    return (
        f"Yes: {words or 'the command of this run'}, with --methods and --corruptions of that row alone. run.yaml has "
        "the versions, the commit, the digests of weights and images, and the seeds."
    )


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


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
