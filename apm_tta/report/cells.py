"""From the cells of one condition to rows of ``results.csv``, compared image by image with zero-shot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from apm_tta.columns import RESULT_COLUMNS, TIMINGS
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.method_rows import spelt_settings
from apm_tta.report.aggregate import condition_name
from apm_tta.report.beside import ZEROSHOT, beside
from apm_tta.report.cell_answers import Answers, apply_to_cells, image_numbers
from apm_tta.report.paired import pair
from apm_tta.report.published import published_number
from apm_tta.report.sites import batch_sizes, hardware, is_pooled
from apm_tta.report.statistics import calibration_error, clustered_interval, holm, wilson_interval
from apm_tta.report.timings import latencies
from apm_tta.report.trust_statistics import (
    adaptive_calibration_error,
    class_accuracies,
    foreign_accepted,
    risk_coverage_area,
    separation,
    worst_classes_accuracy,
)
from apm_tta.teachers.learned_prompts import shortened

SIGNIFICANT = 0.05
BOLD = (
    "Bold: best under its condition and significantly better than every other method, by McNemar's exact test with "
    f"Holm's correction (p < {SIGNIFICANT}); with several seeds, for each of them."
)
"""What ``_mark_best`` computes, and ``merge_seeds`` for several seeds: the note of every table with bold cells."""
RESULT_NAMES = [column.name for column in RESULT_COLUMNS]
_NAN = float("nan")


def cell_rows(answers: Sequence[Answers], manifest: Manifest) -> list[dict[str, Any]]:
    """Return one row per cell with the columns ``RESULT_NAMES``: shares in percent, NaN where nothing was measured.

    Args:
        answers: every cell of one condition.
        manifest: manifest of the run.
    """
    rows = apply_to_cells(lambda cell: _row(cell, manifest), answers, sum(map(len, answers)))
    for seed in dict.fromkeys(cell.cell["seed"] for cell in answers):
        of_seed = [(cell, row) for cell, row in zip(answers, rows, strict=True) if cell.cell["seed"] == seed]
        _mark_best(of_seed)
        zeroshot = next((cell for cell, _ in of_seed if cell.cell["method"] == ZEROSHOT), None)
        if zeroshot is None:
            continue
        tested = [(cell, row) for cell, row in of_seed if cell is not zeroshot and len(cell)]
        for cell, row in tested:
            row |= _compare_with_zeroshot(cell, zeroshot)
        for (_, row), corrected in zip(tested, holm([row["p_mcnemar"] for _, row in tested]), strict=True):
            row["p_holm"] = corrected
    return rows


def foreign_columns(clean: Answers, foreign: Answers, manifest: Manifest) -> dict[str, float]:
    """Compute how well a method tells clean images from foreign ones, in percent; nothing from votes.

    Args:
        clean: its answers to the clean images.
        foreign: its answers to the foreign ones.
        manifest: manifest of the run.
    """
    if not len(clean) or not len(foreign) or manifest.numbers.methods[clean.cell["method"]].votes:
        return {}
    scores = {"": (clean.confidence, foreign.confidence), "_energy": (-clean.energy, -foreign.energy)}
    known = {name: pair for name, pair in scores.items() if np.isfinite(pair[0]).all() and np.isfinite(pair[1]).all()}
    return {
        f"foreign_{measure}{name}": 100 * compute(*pair)
        for name, pair in known.items()
        for measure, compute in (("auroc", separation), ("fpr95", foreign_accepted))
    }


def _mark_best(of_seed: list[tuple[Answers, dict[str, Any]]]) -> None:
    """Mark the best method where McNemar's exact test with Holm's correction separates it from every other; else none.

    It must be separated from every other method, not just from the runner-up: the same images decide which method is
    second, and a method further behind may differ on more of them, so that the test separates it less clearly.
    """
    ranked = sorted((pair for pair in of_seed if len(pair[0])), key=lambda pair: -pair[1]["top1"])
    for _, row in of_seed:
        row["best"] = False
    if len(ranked) > 1:
        (best, row), *others = ranked
        pairs = [pair(best, other) for other, _ in others]
        corrected = holm([each.p() for each in pairs])
        row["best"] = max(corrected) < SIGNIFICANT and all(each.only_one > each.only_other for each in pairs)


def _compare_with_zeroshot(cell: Answers, zeroshot: Answers) -> dict[str, float]:
    """Compute top-1 minus zero-shot's on the images that both answered, in percentage points, with interval and p."""
    pairs = pair(cell, zeroshot)
    if not len(pairs):
        return {}
    low, high = pairs.interval()
    return {
        "delta_zeroshot": 100 * (pairs.only_one - pairs.only_other) / len(pairs),
        "delta_low": 100 * low,
        "delta_high": 100 * high,
        "p_mcnemar": pairs.p(),
    }


def _by_confidence(answers: Answers) -> dict[str, float]:
    """Compute what only probabilities have, in percent."""
    pair = answers.confidence, answers.right
    return {
        "ece": 100 * calibration_error(*pair),
        "adaptive_ece": 100 * adaptive_calibration_error(*pair),
        "aurc": 100 * risk_coverage_area(*pair),
    }


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
        "measured_on": hardware(answers.headers),
        "batch_size": batch_sizes(answers.headers),
        "published_tuned": published.tuned if published else "",
        "subset": numbers.dataset.named_subset or "",
        "beside": beside(answers, numbers),
        "prompts": shortened(numbers.teacher.others.get("prompts", "")),
        "tuned": spelt_settings(manifest.tuned.get(cell["method"], {})),
        "times_disturbed": "",
        **answers.means,
    }
    if not count:
        return row
    correct = int(answers.right.sum())
    images = None if answers.showing is None else image_numbers(answers.ids)
    interval = wilson_interval(correct, count) if images is None else clustered_interval(answers.right, images)
    low, high = interval
    pooled = is_pooled(row["measured_on"], row["batch_size"])
    target = answers.target_prediction
    by_class = class_accuracies(answers.label, answers.right)
    return {
        **row,
        "images": _NAN if images is None else int(images.max()) + 1,
        "top1": 100 * correct / count,
        "top1_low": 100 * low,
        "top1_high": 100 * high,
        "top5": 100 * float(answers.in_top5.mean()),
        "agreement": 100 * float((answers.prediction == answers.teacher_prediction).mean()),
        "agreement_target": _NAN if target is None else 100 * float((answers.prediction == target).mean()),
        "balanced_accuracy": 100 * float(by_class.mean()),
        "worst_classes": 100 * worst_classes_accuracy(by_class),
        **({} if numbers.methods[cell["method"]].votes else _by_confidence(answers)),
        **latencies(answers.latency_ms),
        "images_per_s": 1000 * count / answers.batch_ms,
        **(dict.fromkeys(TIMINGS, _NAN) if pooled else {}),
    }
