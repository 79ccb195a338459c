"""Questions that readers ask, answered from the numbers of the run."""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd

from apm_tta.harness.storage.code_identity import NO_CHANGES
from apm_tta.report.aggregate import condition_name
from apm_tta.report.caption import disagreement_sentence
from apm_tta.report.html.means import mean_over_conditions
from apm_tta.report.reproduction import reproducing_command
from apm_tta.report.run_data import ReportData
from apm_tta.report.timings import is_disturbed
from apm_tta.report.trust import paid_with_trust


def answer_questions(data: ReportData, results: pd.DataFrame) -> list[tuple[str, str]]:
    """Return pairs of a question that readers ask and its answer for this run."""
    return [
        ("Which method is best, and is it significant?", _best_method(data, results)),
        ("Is a gain in accuracy paid with trust?", paid_with_trust(data.trust)),
        ("What does it cost?", _cost(results)),
        ("Where does it fail?", _failures(results)),
        ("Does APM differ from its teacher?", _teacher_differences(data)),
        ("Can I reproduce this row?", _reproducibility(data)),
    ]


def _best_method(data: ReportData, results: pd.DataFrame) -> str:
    answered = results[results["top1"].notna()]
    if answered["method"].nunique() < 2:
        return "There is only one method."
    conditions = answered.groupby(["corruption", "severity"], sort=False)
    first = [group.sort_values("top1", ascending=False, kind="stable").iloc[0] for _, group in conditions]
    means = mean_over_conditions(data, results, "top1")
    separated = [row for row in first if row["best"]]
    best = ", ".join(f"{name} {count}" for name, count in Counter(str(row["method"]) for row in separated).items())
    test = "significantly better than every other by McNemar's exact test (p < 0.05, Holm)"
    significance = (
        f"Under {len(separated)} of {len(first)} conditions the best method is {test}: {best}."
        if separated
        else f"Under none of {len(first)} conditions is the best method {test}."
    )
    if not means:
        return f"No method has answers under every condition, so there are no means to compare. {significance}"
    highest = max(means.values())
    leaders = ", ".join(method for method, mean in means.items() if mean == highest)
    return f"Highest mean top-1 over the conditions: {leaders}, {highest:.1f} %. {significance}"


def _cost(results: pd.DataFrame) -> str:
    measured = results[results["latency_ms_p50"].notna()]
    if not len(measured):
        return "No latency was measured: features came from a cache, or no image was answered alone."
    measured = measured[~is_disturbed(measured)]
    if not len(measured):
        return (
            "No latency was measured while the machine did nothing else; run-bench time measures times again, without "
            "answering the set again."
        )
    if measured["measured_on"].nunique() > 1:
        return "Latencies were measured on different hardware and are not compared; the cost table tells them apart."
    medians = measured.groupby("method", sort=False)["latency_ms_p50"].median().sort_values()
    least, most = float(medians.iloc[0]), float(medians.iloc[-1])
    return (
        f"For one image alone, {medians.index[0]} takes {least:.1f} ms and {medians.index[-1]} {most:.1f} ms, "
        f"{most / least:.0f} times as long; memory, FLOPs and passes are in the cost table."
    )


def _failures(results: pd.DataFrame) -> str:
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


def _teacher_differences(data: ReportData) -> str:
    distilled = list(dict.fromkeys(data.iterations["method"]))
    if not distilled:
        return "No method of this run is fitted to its teacher."
    counts = data.disagreements.set_index("method")
    return " ".join(
        disagreement_sentence(str(name), {str(key): int(value) for key, value in counts.loc[name].to_dict().items()})
        for name in distilled
    )


def _reproducibility(data: ReportData) -> str:
    if data.manifest.numbers.revisions.uncommitted != NO_CHANGES:
        return (
            "Not necessarily: the code was not exactly that of a known commit. run.yaml has the digests of code, "
            "weights and images, and the versions; the command is at the end of this page."
        )
    own = ", ".join(data.manifest.numbers.revisions.sources)
    code = (
        f" and the code of {own}, whose digest is in run.yaml; where no package has it, by apm_tta.run in Python"
        if own
        else ""
    )
    words = reproducing_command(data)
    return (
        f"Yes: {words or 'the command of this run'}, with only that row's --methods, --corruptions and "
        f"--severities{code}. run.yaml has the versions, the commit, the digests of weights and images, and the seeds."
    )
