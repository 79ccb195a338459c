"""The questions that a reader comes with, answered from the numbers of the run."""

from __future__ import annotations

import math
import shlex
from collections import Counter

import pandas as pd

from apm_tta.harness.storage.code_identity import NO_CHANGES
from apm_tta.report.aggregate import condition_name
from apm_tta.report.caption import disagreement_sentence
from apm_tta.report.html.means import over_all
from apm_tta.report.run_data import ReportData


def answers(data: ReportData, results: pd.DataFrame) -> list[tuple[str, str]]:
    """The questions that a reader comes with, and what this run says to them."""
    return [
        ("Which method is best, and is it significant?", _best(data, results)),
        ("What does it cost?", _cost(results)),
        ("Where does it fail?", _fails(results)),
        ("Does APM differ from its teacher?", _differs(data)),
        ("Can I reproduce this row?", _reproduced(data)),
    ]


def _best(data: ReportData, results: pd.DataFrame) -> str:
    answered = results[results["top1"].notna()]
    if answered["method"].nunique() < 2:
        return "There is one method alone."
    conditions = answered.groupby(["corruption", "severity"], sort=False)
    first = [group.sort_values("top1", ascending=False, kind="stable").iloc[0] for _, group in conditions]
    means = over_all(data, results, "top1")
    clear = [row for row in first if row["best"]]
    leaders = ", ".join(f"{name} {count}" for name, count in Counter(str(row["method"]) for row in clear).items())
    separated = (
        f"Under {len(clear)} of {len(first)} conditions the best is apart from every other by McNemar's exact test "
        f"(p < 0.05, Holm): {leaders}."
        if clear
        else f"Under none of {len(first)} conditions is the best apart from every other by McNemar's test (p < 0.05)."
    )
    if not means:
        return f"No method has answers under every condition, so that no mean compares them. {separated}"
    leader = max(means, key=lambda method: means[method])
    return f"Highest mean top-1 over the conditions: {leader}, {means[leader]:.1f} %. {separated}"


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
    sentences = []
    for method, own in answered.groupby("method", sort=False):
        row = own.sort_values("top1", kind="stable").iloc[0]
        worse = own.sort_values("delta_zeroshot", kind="stable").iloc[0]
        text = f"{method}: lowest under {condition_name(row['corruption'], row['severity'])} ({row['top1']:.1f} %)"
        if not math.isnan(worse["delta_zeroshot"]) and worse["delta_zeroshot"] < 0:
            where = condition_name(worse["corruption"], worse["severity"])
            text += f", furthest below zero-shot under {where} ({worse['delta_zeroshot']:+.1f} points)"
        sentences.append(text)
    return "; ".join(sentences) + "."


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
    if data.manifest.numbers.revisions.uncommitted != NO_CHANGES:
        return (
            "Not surely: the program had changes that no commit and no release holds. run.yaml has the versions and "
            "the digests of weights and images; the command is at the end of this page."
        )
    words = " ".join(shlex.quote(word) for word in data.manifest.command)
    return (
        f"Yes: {words or 'the command of this run'}, with --methods and --corruptions of that row alone. run.yaml has "
        "the versions, the commit, the digests of weights and images, and the seeds."
    )
