"""The tables as Markdown: what is printed at the end of a run and pasted into a page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from tabulate import tabulate

from apm_tta.harness.plan import EPISODIC
from apm_tta.report.results import condition_name

_SHOWN_ITERATIONS = 8


def results_markdown(results: pd.DataFrame) -> str:
    """Method x condition: top-1 with its interval, agreement, latency; columns that say nothing here are left out."""
    columns: dict[str, Callable[[dict[Any, Any]], str]] = {
        "condition": lambda row: condition_name(row["corruption"], row["severity"]),
        "method": lambda row: row["method"],
        "setting": lambda row: row["setting"],
        "n": lambda row: str(row["n"]),
        "errors": lambda row: str(row["errors"]),
        "top-1 %": lambda row: _number(row["top1"]),
        "95 % interval": lambda row: f"{_number(row['top1_low'])} .. {_number(row['top1_high'])}",
        "agreement %": lambda row: _number(row["agreement"]),
        "with target %": lambda row: _number(row["agreement_target"]),
        "latency p50 ms": lambda row: _number(row["latency_ms_p50"]),
        "p95": lambda row: _number(row["latency_ms_p95"]),
        "images/s": lambda row: _number(row["images_per_s"], digits=0),
    }
    if not results["errors"].any():
        del columns["errors"]
    targets = results[results["agreement_target"].notna()]
    if (targets["agreement_target"] == targets["agreement"]).all():  # what they were fitted to is the teacher's feature
        del columns["with target %"]
    if (results["setting"] == EPISODIC).all():
        del columns["setting"]
    rows = [[text(row) for text in columns.values()] for row in results.to_dict("records")]
    return _table(rows, list(columns), left=3 if "setting" in columns else 2)


def notes(manifest: dict[str, Any], damaged: pd.DataFrame) -> list[str]:
    """What a reader of the table must know beside its caption: images without an answer, methods left out."""
    said = []
    if len(damaged):
        named = ", ".join(str(name) for name in damaged["id"].unique()[:3])
        count = damaged["id"].nunique()
        said.append(f"**{count} images could not be read and have no answer** (column errors; errors.csv): {named}.")
    if left_out := manifest.get("left_out"):
        said.append("Left out: " + "; ".join(left_out.values()) + ".")
    return said


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


def corruption_errors_markdown(errors: pd.DataFrame) -> str:
    """mCE by method."""
    return _table(
        [[row["method"], _number(row["mce"])] for row in errors.to_dict("records")], ["method", "mCE %"], left=1
    )


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
    templates = ", ".join(f"{name} {_templates(method['templates'])}" for name, method in numbers["methods"].items())
    protocols = sorted({method["protocol"] for method in numbers["methods"].values()})
    templates = templates if teacher["classifier"] == "text" else "none"
    return (
        f"{data['title']} ({data['name']}): {data['subset']} under each condition; {_corruptions(numbers)}"
        f"Teacher {teacher['name']} (weights {teacher['weights_sha256'][:12]}), class weights from "
        f"{teacher['classifier']}; templates: {templates}; protocol: {', '.join(protocols)}{_streams(numbers)}; "
        f"seeds {', '.join(map(str, numbers['seeds']))}; {numbers['precision']}. "
        f"apm-tta {versions['apm-tta']}, commit {versions['commit'][:12]}; "
        f"{place['device_name']}, {place['threads']} threads, {place['started']}."
    )


def _corruptions(numbers: dict[str, Any]) -> str:
    """Where corrupted images came from; nothing where there are none."""
    data = numbers["dataset"]
    if numbers["conditions"] == ["clean"]:
        return ""
    authors = "CIFAR-10-C" if data["corruption_parameters"] == "cifar" else "ImageNet-C"
    quality = data["jpeg_quality"]
    made = "" if data["corruptions"] == "stored" else f", made as images were read, {_jpeg(quality)}"
    return f"severities as the authors of {authors} set them{made}. "


def _jpeg(quality: int | None) -> str:
    return "not compressed again" if quality is None else f"then through JPEG of quality {quality}"


def _templates(templates: str | list[str]) -> str:
    return templates if isinstance(templates, str) else ", ".join(f'"{template}"' for template in templates)


def _streams(numbers: dict[str, Any]) -> str:
    streams = numbers["streams"]
    return "" if streams == EPISODIC else f" ({streams['setting']} streams, reset: {streams['reset']})"


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


def _number(value: float, digits: int = 1) -> str:
    return "n/a" if pd.isna(value) else f"{value:.{digits}f}"
