"""The tables as Markdown: what is printed at the end of a run and pasted into a page."""

from __future__ import annotations

from typing import Any

import pandas as pd
from tabulate import tabulate

from apm_tta.report.results import condition_name

_SHOWN_ITERATIONS = 8


def results_markdown(results: pd.DataFrame) -> str:
    """Method x condition: top-1 with its interval, agreement, latency."""
    rows = [
        [
            condition_name(row["corruption"], row["severity"]),
            row["method"],
            row["n"],
            f"{row['top1']:.1f}",
            f"{row['top1_low']:.1f} .. {row['top1_high']:.1f}",
            f"{row['agreement']:.1f}",
            _milliseconds(row["latency_ms_p50"]),
            _milliseconds(row["latency_ms_p95"]),
            f"{row['images_per_s']:.0f}",
        ]
        for row in results.to_dict("records")
    ]
    headers = [
        "condition",
        "method",
        "n",
        "top-1 %",
        "95 % interval",
        "agreement %",
        "latency p50 ms",
        "p95",
        "images/s",
    ]
    return _table(rows, headers, left=2)


def means_markdown(means: pd.DataFrame) -> str:
    """Mean over corruptions at each severity."""
    rows = [
        [
            f"mean of {row['corruptions']}, severity {row['severity']}",
            row["method"],
            f"{row['top1']:.1f}",
            f"{row['agreement']:.1f}",
        ]
        for row in means.to_dict("records")
    ]
    return _table(rows, ["corruptions", "method", "top-1 %", "agreement %"], left=2)


def iterations_markdown(iterations: pd.DataFrame) -> str:
    """Top-1 and agreement by iteration, at most ``_SHOWN_ITERATIONS`` rows, first and last always among them."""
    last = int(iterations["iteration"].max())
    shown = sorted({round(last * step / (_SHOWN_ITERATIONS - 1)) for step in range(_SHOWN_ITERATIONS)})
    groups = list(iterations["group"].unique())
    table = iterations.set_index(["iteration", "group"])
    rows = [
        [
            iteration,
            *(f"{table.loc[(iteration, group), column]:.1f}" for group in groups for column in ("top1", "agreement")),
        ]
        for iteration in shown
    ]
    headers = ["iteration", *(f"{group}: {column}" for group in groups for column in ("top-1 %", "agreement %"))]
    return _table(rows, headers, left=0)


def caption(manifest: dict[str, Any]) -> str:
    """What every table must state: n, subset rule, teacher, templates, protocol, seed, commit, machine."""
    numbers, place = manifest["numbers"], manifest["environment"]
    data, teacher, versions = numbers["dataset"], numbers["teacher"], numbers["versions"]
    templates = ", ".join(f"{name} {method['templates']}" for name, method in numbers["methods"].items())
    protocols = sorted({method["protocol"] for method in numbers["methods"].values()})
    return (
        f"{data['title']} ({data['name']}): {data['subset']} under each condition; severities as the authors of "
        f"{'CIFAR-10-C' if data['corruption_parameters'] == 'cifar' else 'ImageNet-C'} set them. "
        f"Teacher {teacher['name']} (weights {teacher['weights_sha256'][:12]}); templates: {templates}; "
        f"protocol: {', '.join(protocols)}; seed {numbers['seed']}; {numbers['precision']}. "
        f"apm-tta {versions['apm-tta']}, commit {versions['commit'][:12]}; "
        f"{place['device_name']}, {place['threads']} threads, {place['started']}."
    )


def disagreement_sentence(method: str, counts: dict[str, int]) -> str:
    """Who was right where a distilled method and its teacher differ."""
    agreement = 100 * (1 - counts["different"] / counts["answers"])
    return (
        f"{method} gave its teacher's answer {agreement:.1f} % of the time. It differed in {counts['different']} of "
        f"{counts['answers']} answers: there {method} was right {counts['method_right']} times, "
        f"the teacher {counts['teacher_right']} times."
    )


def _table(rows: list[list[Any]], headers: list[str], left: int) -> str:
    alignment = ["left"] * left + ["right"] * (len(headers) - left)
    return str(tabulate(rows, headers, tablefmt="github", colalign=alignment, disable_numparse=True))


def _milliseconds(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.1f}"
