"""The other tables of one run: means, corruptions side by side, costs, and results by iteration."""

from __future__ import annotations

import pandas as pd

from apm_tta.columns import CLOCKED, header
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.report.cells import BOLD
from apm_tta.report.sites import varies
from apm_tta.report.table import Table, mean_and_deviation, number
from apm_tta.report.timings import MARK, MARKED, RATIO, is_disturbed, marked

_SHOWN_ITERATIONS = 8
_PASSES = ("image_forwards", "image_backwards", "text_forwards", "text_backwards")
_OF_TIMINGS = ("measured_on", "batch_size")
_BY_ITERATION = ("top1", "agreement")


def means_table(means: pd.DataFrame) -> Table:
    """Tabulate the means over corruptions at each severity, or over domains; see ``mean_over_corruptions``."""
    kind = _kind(means["severity"])
    rows = [
        [
            f"mean of {row['corruptions']}" + (f", severity {row['severity']}" if row["severity"] else ""),
            row["method"],
            mean_and_deviation(row["top1"], row["top1_sd"], 1 if pd.isna(row["top1_sd"]) else 2),
            number(row["agreement"]),
        ]
        for row in means.to_dict("records")
    ]
    headers = [kind, *map(header, ("method", "top1", "agreement"))]
    return Table(headers, rows, 2, title=f"Mean over {kind}")


def _kind(severities: pd.Series[int]) -> str:
    """Return what conditions are called that are not clean; those of a data set with domains have no severity."""
    return "corruptions" if severities.any() else "domains"


def corruption_errors_table(errors: pd.DataFrame) -> Table:
    """Tabulate mCE and relative mCE by method; see ``mean_corruption_error``."""
    rows = [[row["method"], number(row["mce"]), number(row["relative_mce"])] for row in errors.to_dict("records")]
    title = "Mean corruption error, relative to AlexNet"
    return Table(["method", "mCE %", "relative mCE %"], rows, 1, title=title)


def by_corruption_table(results: pd.DataFrame, severity: int) -> Table:
    """Tabulate method x corruption at one severity, or method x domain, with the mean: the layout of tables in papers.

    Args:
        results: results from ``merge_seeds`` on one data set.
        severity: 1 to 5; 0 for domains.
    """
    corrupted = results[results["severity"] == severity]
    names = list(dict.fromkeys(corrupted["corruption"]))
    rows, bold = [], set()
    for index, (method, own) in enumerate(corrupted.groupby("method", sort=False)):
        by_name = own.set_index("corruption")
        tops = [by_name["top1"].get(name, float("nan")) for name in names]
        rows.append([str(method), *map(number, tops), number(sum(tops) / len(tops))])
        bold |= {(index, 1 + place) for place, name in enumerate(names) if by_name["best"].get(name, False)}
    title = f"Top-1 by corruption, severity {severity}" if severity else "Top-1 by domain"
    return Table(["method", *names, "mean"], rows, 1, frozenset(bold), title, BOLD if bold else "")


def cost_table(results: pd.DataFrame, manifest: Manifest) -> Table:
    """Tabulate what each method costs: medians over the conditions, and passes by the method's formula.

    Args:
        results: results from ``merge_seeds``.
        manifest: manifest of the run.
    """
    told_apart = [name for name in _OF_TIMINGS if varies(results[name])]
    rows = []
    disturbed = is_disturbed(results)
    seconds = _comparable_seconds(results)
    enough = bool(results["latency_ms_p95"].notna().any())
    order = list(dict.fromkeys(results["method"]))
    groups = results.groupby(["method", *_OF_TIMINGS], sort=False)
    for key, own in sorted(groups, key=lambda group: order.index(group[0][0])):
        method, *texts = map(str, key)
        cost = manifest.costs.get(method)
        quiet = own[~disturbed[own.index]]
        timed = quiet if len(quiet) else own
        medians = {name: timed[name].dropna().median() for name in CLOCKED}  # pandas 2.2 warns of none
        digits = {"images_per_s": 0}
        times = [
            marked(name, medians[name], number(medians[name], digits.get(name, 1)), not len(quiet))
            for name in _timed(enough)
        ]
        rows.append(
            [
                method,
                *(text for name, text in zip(_OF_TIMINGS, texts, strict=True) if name in told_apart),
                *times,
                number(100 * seconds[own.index].sum(min_count=1) / seconds.sum()),
                number(own["peak_memory_mb"].max(), 0),
                number(own["gflop_per_image"].dropna().median(), 3),
                *("n/a" if cost is None else str(getattr(cost, name)) for name in _PASSES),
            ]
        )
    headers = [
        *map(header, ("method", *told_apart, *_timed(enough))),
        *(
            "share of time %",
            "peak memory MB",
            "GFLOP per image",
            "image forwards",
            "backwards",
            "text forwards",
            "backwards",
        ),
    ]
    size = "the batch size of the row" if "batch_size" in told_apart else f"batch size {results['batch_size'].iloc[0]}"
    note = (
        f"Medians over the conditions; latency of one image alone, images per second at {size}; share "
        "of the time where each method computes all by itself; memory of the device, or of the whole process "
        f"on a CPU; passes through the teacher per image. {RATIO}"
        + (" Marked times of some conditions are left out of the medians." if disturbed.any() else "")
        + (f" {MARKED}" if any(MARK in cell for row in rows for cell in row) else "")
    )
    left = 1 + len(told_apart)
    return Table(headers, rows, left, title="Cost", note=note)


def _timed(enough: bool) -> list[str]:
    """Return the columns of times, without the 95th percentile where no method was timed on enough images."""
    return ["latency_ms_p50", *(["latency_ms_p95"] if enough else []), "time_vs_zeroshot", "images_per_s"]


def _comparable_seconds(results: pd.DataFrame) -> pd.Series[float]:
    """Return the seconds of every row's images, of the conditions under which no row's times are marked."""
    seconds = results["n"] / results["images_per_s"]
    conditions = [results["corruption"], results["severity"]]
    return seconds.where(~is_disturbed(results).groupby(conditions).transform("any"))


def iterations_table(iterations: pd.DataFrame, fits: pd.DataFrame, method: str, sentence: str) -> Table:
    """Tabulate top-1 and agreement by iteration, in at most ``_SHOWN_ITERATIONS`` rows, first and last included.

    Args:
        iterations: ``ReportData.iterations``.
        fits: ``ReportData.fits``.
        method: name of the method.
        sentence: start of the note below the table; the losses and cosines of the fits follow it.
    """
    own = iterations[iterations["method"] == method]
    last = int(own["iteration"].max())
    shown = sorted({round(last * step / (_SHOWN_ITERATIONS - 1)) for step in range(_SHOWN_ITERATIONS)})
    groups = list(own["group"].unique())
    table = own.set_index(["iteration", "group"])
    rows = [
        [str(iteration), *(number(table.loc[(iteration, group), name]) for group in groups for name in _BY_ITERATION)]
        for iteration in shown
    ]
    headers = ["iteration", *(f"{group}: {header(name)}" for group in groups for name in _BY_ITERATION)]
    fitted = [
        f"{row['group']} {row['first_loss']:.3g} to {row['last_loss']:.3g}, cosine {row['last_cosine']:.3f}"
        for row in fits[fits["method"] == method].to_dict("records")
    ]
    note = f"{sentence} Mean loss before and after, and final cosine to the target: {'; '.join(fitted)}."
    return Table(headers, rows, 0, title=f"{method} by iteration", note=note)
