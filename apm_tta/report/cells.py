"""The cells of one condition -> rows of ``results.csv``, compared image by image with zero-shot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apm_tta.columns import RESULT_COLUMNS
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.report.aggregate import condition_name
from apm_tta.report.cell_answers import Answers, positions
from apm_tta.report.published import published_number
from apm_tta.report.statistics import calibration_error, holm, mcnemar_p, paired_interval, wilson_interval

ZEROSHOT = "zeroshot"
SIGNIFICANT = 0.05
BOLD = (
    "Bold: best under its condition, and by McNemar's exact test with Holm's correction "
    f"(p < {SIGNIFICANT}) apart from every other method; with several seeds, under each of them."
)
"""What ``_mark_best`` computes, and ``over_seeds`` of several seeds: the sentence of every table that has bold."""
RESULT_NAMES = [column.name for column in RESULT_COLUMNS]
_NAN = float("nan")


def cell_rows(answers: Sequence[Answers], manifest: Manifest) -> list[dict[str, Any]]:
    """Return one row a cell, in ``RESULT_NAMES``: shares in percent; what was not measured is NaN.

    Args:
        answers: every cell of one condition.
        manifest: of the run.
    """
    rows = [_row(cell, manifest) for cell in answers]
    for seed in dict.fromkeys(cell.cell["seed"] for cell in answers):
        of_seed = [(cell, row) for cell, row in zip(answers, rows, strict=True) if cell.cell["seed"] == seed]
        _mark_best(of_seed)
        zeroshot = next((cell for cell, _ in of_seed if cell.cell["method"] == ZEROSHOT), None)
        if zeroshot is None:
            continue
        tested = [(cell, row) for cell, row in of_seed if cell is not zeroshot and len(cell)]
        for cell, row in tested:
            row |= compared(cell, zeroshot)
        for (_, row), corrected in zip(tested, holm([row["p_mcnemar"] for _, row in tested]), strict=True):
            row["p_holm"] = corrected
    return rows


def _mark_best(of_seed: list[tuple[Answers, dict[str, Any]]]) -> None:
    """Marks the best where McNemar's exact test, by Holm's correction, separates it from every other; else nobody.

    From every other and not from the second alone: which method is second is chosen by the same images, and one that
    is further behind may differ on more of them, so that less sets it apart.
    """
    ranked = sorted((pair for pair in of_seed if len(pair[0])), key=lambda pair: -pair[1]["top1"])
    for _, row in of_seed:
        row["best"] = False
    if len(ranked) > 1:
        (best, row), *others = ranked
        counts = [discordant(best, other)[:2] for other, _ in others]
        corrected = holm([mcnemar_p(*pair) for pair in counts])
        row["best"] = max(corrected) < SIGNIFICANT and all(mine > its for mine, its in counts)


def compared(one: Answers, other: Answers) -> dict[str, float]:
    """Difference of two cells on the images that both answered, percentage points, with its interval and p."""
    only_one, only_other, images = discordant(one, other)
    if not images:
        return {}
    low, high = paired_interval(only_one, only_other, images)
    return {
        "delta_zeroshot": 100 * (only_one - only_other) / images,
        "delta_low": 100 * low,
        "delta_high": 100 * high,
        "p_mcnemar": mcnemar_p(only_one, only_other),
    }


def discordant(one: Answers, other: Answers) -> tuple[int, int, int]:
    """Images that one alone got right, that the other alone got right, and that both answered."""
    places = positions(one.ids, other.ids)
    both = places >= 0
    mine, its = one.right[both], other.right[places[both]]
    return int((mine & ~its).sum()), int((its & ~mine).sum()), int(both.sum())


def _row(answers: Answers, manifest: Manifest) -> dict[str, Any]:
    numbers, cell = manifest.numbers, answers.cell
    count = len(answers)
    cost = manifest.costs.get(cell["method"])
    published = published_number(numbers, cell["method"], condition_name(cell["corruption"], cell["severity"]))
    row = {
        **dict.fromkeys(RESULT_NAMES, _NAN),
        **cell,
        "n": count,
        "errors": len(answers.damaged),
        "peak_memory_mb": answers.peak_memory_mb,
        "gflop_per_image": answers.gflop,
        "forwards": _NAN if cost is None else cost.image_forwards + cost.text_forwards,
        "backwards": _NAN if cost is None else cost.image_backwards + cost.text_backwards,
        "published_top1": published.top1 if published else _NAN,
        "published_source": published.source if published else "",
        "published_differs": published.differs if published else "",
        "iterations": answers.steps,
        **answers.means,
    }
    if not count:
        return row
    correct = int(answers.right.sum())
    low, high = wilson_interval(correct, count)
    latency = answers.latency_ms
    votes = numbers.methods[cell["method"]].votes
    target = answers.target_prediction
    return {
        **row,
        "top1": 100 * correct / count,
        "top1_low": 100 * low,
        "top1_high": 100 * high,
        "top5": 100 * float(answers.in_top5.mean()),
        "agreement": 100 * float((answers.prediction == answers.teacher_prediction).mean()),
        "agreement_target": _NAN if target is None else 100 * float((answers.prediction == target).mean()),
        "ece": _NAN if votes else 100 * calibration_error(answers.confidence, answers.right),
        "latency_ms_p50": float(np.quantile(latency, 0.5)) if len(latency) else _NAN,
        "latency_ms_p95": float(np.quantile(latency, 0.95)) if len(latency) else _NAN,
        "images_per_s": 1000 * count / answers.batch_ms,
    }
