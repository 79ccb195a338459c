"""Tables as data: headers, cells of text, what is bold; ``render`` makes Markdown and LaTeX of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from apm_tta.harness.compute.plan import EPISODIC
from apm_tta.report.aggregate import condition_name

_SHOWN_ITERATIONS = 8
Row = dict[Any, Any]


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        headers: of the columns.
        rows: cells, as text that is not yet escaped.
        left: how many columns, from the first on, are text; the others are numbers.
        bold: (row, column) of cells that stand out.
        title: heading of its section; empty for none.
        note: a sentence below it; empty for none.
    """

    headers: list[str]
    rows: list[list[str]]
    left: int
    bold: frozenset[tuple[int, int]] = frozenset()
    title: str = ""
    note: str = ""


def results_table(results: pd.DataFrame) -> Table:
    """Condition x method: top-1 with its interval, the difference to zero-shot with its own, agreement, latency.

    Args:
        results: of ``over_seeds``. Columns that say nothing here are left out.
    """
    columns: dict[str, Callable[[Row], str]] = {
        "condition": lambda row: condition_name(row["corruption"], row["severity"]),
        "method": lambda row: row["method"],
        "setting": lambda row: row["setting"],
        "n": lambda row: str(int(row["n"])),
        "errors": lambda row: number(row["errors"], 0),
        "top-1 %": lambda row: mean_and_deviation(row["top1"], row["top1_sd"], row["seeds"]),
        "95 % interval": lambda row: interval(row["top1_low"], row["top1_high"]),
        "to zeroshot": lambda row: signed(row["delta_zeroshot"]),
        "its interval": lambda row: interval(row["delta_low"], row["delta_high"], signed),
        "p": lambda row: p_value(row["p_holm"]),
        "ECE %": lambda row: number(row["ece"]),
        "agreement %": lambda row: number(row["agreement"]),
        "with target %": lambda row: number(row["agreement_target"]),
        "published %": lambda row: number(row["published_top1"]) + ("*" if row["published_differs"] else ""),
        "latency p50 ms": lambda row: number(row["latency_ms_p50"]),
        "p95": lambda row: number(row["latency_ms_p95"]),
        "images/s": lambda row: number(row["images_per_s"], 0),
    }
    targets = results[results["agreement_target"].notna()]
    several = bool((results["seeds"] > 1).any())
    left_out = {
        "errors": not results["errors"].any(),
        # What they were fitted to is the teacher's own feature.
        "with target %": (targets["agreement_target"] == targets["agreement"]).all(),
        "setting": (results["setting"] == EPISODIC).all(),
        "published %": results["published_top1"].isna().all(),
        "95 % interval": several,
        "to zeroshot": results["delta_zeroshot"].isna().all(),
        "its interval": results["delta_low"].isna().all(),
        "p": results["p_holm"].isna().all(),
    }
    shown = [name for name in columns if not left_out.get(name, False)]
    records = results.to_dict("records")
    rows = [[columns[name](row) for name in shown] for row in records]
    bold = frozenset((index, shown.index("top-1 %")) for index, row in enumerate(records) if row["best"])
    return Table(shown, rows, left=3 if "setting" in shown else 2, bold=bold, note=_note(results, shown))


def means_table(means: pd.DataFrame) -> Table:
    """Mean over corruptions at each severity."""
    rows = [
        [
            f"mean of {row['corruptions']}, severity {row['severity']}",
            row["method"],
            mean_and_deviation(row["top1"], row["top1_sd"], 1 if pd.isna(row["top1_sd"]) else 2),
            number(row["agreement"]),
        ]
        for row in means.to_dict("records")
    ]
    return Table(["corruptions", "method", "top-1 %", "agreement %"], rows, 2, title="Mean over corruptions")


def corruption_errors_table(errors: pd.DataFrame) -> Table:
    """mCE and relative mCE by method."""
    rows = [[row["method"], number(row["mce"]), number(row["relative_mce"])] for row in errors.to_dict("records")]
    title = "Mean corruption error, relative to AlexNet"
    return Table(["method", "mCE %", "relative mCE %"], rows, 1, title=title)


def by_corruption_table(results: pd.DataFrame, severity: int) -> Table:
    """Method x corruption at one severity, with the mean: the shape in which papers show ImageNet-C."""
    corrupted = results[results["severity"] == severity]
    names = list(dict.fromkeys(corrupted["corruption"]))
    rows, bold = [], set()
    for index, (method, own) in enumerate(corrupted.groupby("method", sort=False)):
        by_name = own.set_index("corruption")
        tops = [by_name["top1"].get(name, float("nan")) for name in names]
        rows.append([str(method), *map(number, tops), number(sum(tops) / len(tops))])
        bold |= {(index, 1 + place) for place, name in enumerate(names) if by_name["best"].get(name, False)}
    title = f"Top-1 by corruption, severity {severity}"
    return Table(["method", *names, "mean"], rows, 1, frozenset(bold), title)


def cost_table(results: pd.DataFrame, manifest: Row) -> Table:
    """What a method costs: medians over the conditions, and passes by its formula."""
    rows = []
    for method, own in results.groupby("method", sort=False):
        cost = manifest.get("costs", {}).get(method, {})
        passes = [cost.get(name) for name in ("image_forwards", "image_backwards", "text_forwards", "text_backwards")]
        rows.append(
            [
                str(method),
                number(own["latency_ms_p50"].median()),
                number(own["latency_ms_p95"].median()),
                number(own["images_per_s"].median(), 0),
                number(own["peak_memory_mb"].max(), 0),
                number(own["gflop_per_image"].median(), 3),
                *("n/a" if value is None else str(value) for value in passes),
            ]
        )
    headers = ["method", "latency p50 ms", "p95", "images/s", "peak memory MB", "GFLOP an image"]
    passes_of = ["image forwards", "backwards", "text forwards", "backwards"]
    note = (
        "Medians over the conditions; latency of one image alone, images a second at batch size "
        f"{manifest['batch_size']}; memory of the device, or of the whole process on a CPU; passes through the teacher "
        "an image."
    )
    return Table([*headers, *passes_of], rows, 1, title="Cost", note=note)


def iterations_table(iterations: pd.DataFrame, fits: pd.DataFrame, method: str, sentence: str) -> Table:
    """Top-1 and agreement by iteration, at most ``_SHOWN_ITERATIONS`` rows, first and last always among them."""
    own = iterations[iterations["method"] == method]
    last = int(own["iteration"].max())
    shown = sorted({round(last * step / (_SHOWN_ITERATIONS - 1)) for step in range(_SHOWN_ITERATIONS)})
    groups = list(own["group"].unique())
    table = own.set_index(["iteration", "group"])
    rows = [
        [str(iteration), *(number(table.loc[(iteration, group), name]) for group in groups for name in _BY_ITERATION)]
        for iteration in shown
    ]
    headers = ["iteration", *(f"{group}: {label}" for group in groups for label in ("top-1 %", "agreement %"))]
    fitted = [
        f"{row['group']} {row['first_loss']:.3g} to {row['last_loss']:.3g}, cosine {row['last_cosine']:.3f}"
        for row in fits[fits["method"] == method].to_dict("records")
    ]
    note = f"{sentence} Mean loss, and cosine to the target at the end: {'; '.join(fitted)}."
    return Table(headers, rows, 0, title=f"{method} by iteration", note=note)


_BY_ITERATION = ("top1", "agreement")


def _note(results: pd.DataFrame, shown: Sequence[str]) -> str:
    said = []
    if results["best"].any():
        said.append("Bold: best under its condition, and by McNemar's exact test (p < 0.05) apart from the second.")
    if "to zeroshot" in shown:
        said.append(
            "To zeroshot: difference in percentage points on the same images"
            + (
                ", with its paired bootstrap interval; p is McNemar's, by Holm's correction over the methods of the "
                "condition."
                if "p" in shown
                else "."
            )
        )
    if (results["seeds"] > 1).any():
        said.append("Of several seeds: mean, and standard deviation over the seeds.")
    if "published %" in shown:
        differing = results[results["published_differs"].astype(bool)]
        for row in results[results["published_top1"].notna()].drop_duplicates("method").to_dict("records"):
            said.append(f"Published, {row['method']}: {row['published_source']}.")
        for row in differing.drop_duplicates("method").to_dict("records"):
            said.append(f"* {row['method']} does not compare: {row['published_differs']}.")
    return " ".join(said)


def number(value: Any, digits: int = 1) -> str:
    """Text of a number; n/a for one that was not measured."""
    return "n/a" if value is None or pd.isna(value) else f"{value:.{digits}f}"


def signed(value: Any) -> str:
    """Likewise, with its sign."""
    return "n/a" if pd.isna(value) else f"{value:+.1f}"


def interval(low: Any, high: Any, text: Callable[[Any], str] = number) -> str:
    """Both ends; n/a for none."""
    return "n/a" if pd.isna(low) else f"{text(low)} .. {text(high)}"


def p_value(value: Any) -> str:
    """Two digits that matter, and no smaller than 0.001."""
    if pd.isna(value):
        return "n/a"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def mean_and_deviation(mean: Any, deviation: Any, seeds: int) -> str:
    """The mean alone where there is one seed."""
    return number(mean) if seeds < 2 or pd.isna(mean) else f"{mean:.1f} ± {deviation:.1f}"
