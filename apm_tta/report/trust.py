"""One table to tell whether a gain in accuracy is paid with trust: what a classifier is asked for beside top-1."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from apm_tta.columns import header
from apm_tta.report.aggregate import mean_of_all
from apm_tta.report.beside import ZEROSHOT
from apm_tta.report.table import Table, interval, number
from apm_tta.wording import pluralise

MEASURES = {
    "top1": (header("top1"), 1, +1),
    "nll": ("NLL", 3, -1),
    "brier": ("Brier", 3, -1),
    "ece": (header("ece"), 1, -1),
    "adaptive_ece": ("adaptive ECE %", 1, -1),
    "aurc": ("AURC %", 1, -1),
    "worst_classes": ("worst classes %", 1, +1),
    "balanced_accuracy": ("balanced %", 1, +1),
    "foreign_auroc": ("foreign AUROC %", 1, +1),
    "foreign_fpr95": ("FPR95 %", 1, -1),
    "foreign_auroc_energy": ("by energy: AUROC %", 1, +1),
    "foreign_fpr95_energy": ("by energy: FPR95 %", 1, -1),
}
"""Header, digits, and which sign of a difference is a gain, by the column of ``results.csv``."""
_OF_CLEAN = ("foreign_auroc", "foreign_fpr95", "foreign_auroc_energy", "foreign_fpr95_energy")
_NOTE = (
    "Means over the {conditions}{seeds}; in brackets the difference to zeroshot, of which no test is made. NLL "
    "(nats), Brier (0 to 2), ECE, adaptive ECE (15 bins of equally many images) and AURC (mean error rate among the "
    "most confident images, over all coverages) are better where they are lower; top-1 and its mean over the tenth of "
    "the classes where it is lowest, where they are higher. Shares of votes are not probabilities and have none but "
    "these two."
)
_BALANCED = "Balanced: mean over the classes, whose images are not equally many."
_FOREIGN = (
    "Foreign: how well clean images are told from images of another data set by confidence, and by energy: AUROC, and "
    "the share of foreign images that pass (FPR95) where 95 % of the clean ones do. Online methods answer them in a "
    "stream of their own, after a reset."
)
_STABILITY = (
    "By seed: lowest and highest mean top-1 of any seed. A seed decides what a method draws and, for online methods, "
    "the order of the stream; the images are the same."
)
_ROUNDING = 1e-9


def trust_means(results: pd.DataFrame, conditions: int) -> pd.DataFrame:
    """Average every measure over conditions and seeds, by method, in the order of the results.

    Columns: method, seeds, then each of ``MEASURES`` with its difference to zeroshot, ``delta_NAME``, then the lowest,
    the highest and the standard deviation of the seeds' mean top-1: ``top1_lowest``, ``top1_highest``, ``top1_sd``.
    Foreign images are told from clean ones only, so that their columns have one condition. A mean that lacks one of its
    terms is NaN, as is a difference to a zeroshot that is not there.

    Args:
        results: rows of ``results.csv``.
        conditions: how many the run has.
    """
    names = list(MEASURES)
    groups = results.groupby(["method", "seed"], sort=False)
    by_seed = groups[names].agg(mean_of_all).where(groups.size() == conditions)
    by_seed[list(_OF_CLEAN)] = groups[list(_OF_CLEAN)].first()  # the only one that has a value
    by_method = by_seed.groupby("method", sort=False)
    merged = by_method.agg(mean_of_all)
    reference = merged.loc[ZEROSHOT] if ZEROSHOT in merged.index else pd.Series(np.nan, names)
    columns = {"seeds": by_method.size()}
    for name in names:
        columns |= {name: merged[name], f"delta_{name}": merged[name] - reference[name]}
    top1 = by_method["top1"]
    for statistic, name in (("min", "top1_lowest"), ("max", "top1_highest"), ("std", "top1_sd")):
        columns[name] = top1.agg(statistic).where(merged["top1"].notna())
    return pd.DataFrame(columns).reset_index()


def trust_table(means: pd.DataFrame, conditions: int) -> Table:
    """Tabulate the means by method, each with its difference to zeroshot; a measure that nobody has is left out.

    Args:
        means: from ``trust_means``.
        conditions: how many they are over.
    """
    shown = [name for name in MEASURES if not means[name].isna().all()]
    if np.allclose(means["balanced_accuracy"], means["top1"], rtol=0, atol=_ROUNDING, equal_nan=True):
        shown = [name for name in shown if name != "balanced_accuracy"]
    seeds = int(means["seeds"].max())
    rows = [
        [
            str(row["method"]),
            *(_beside_zeroshot(row, name) for name in shown),
            *([interval(row["top1_lowest"], row["top1_highest"])] if seeds > 1 else []),
        ]
        for row in means.to_dict("records")
    ]
    headers = [header("method"), *(MEASURES[name][0] for name in shown), *(["top-1 by seed %"] if seeds > 1 else [])]
    note = [
        _NOTE.format(conditions=pluralise(conditions, "condition"), seeds=f" and {seeds} seeds" if seeds > 1 else ""),
        *([_BALANCED] if "balanced_accuracy" in shown else []),
        *([_FOREIGN] if "foreign_auroc" in shown else []),
        *([_STABILITY] if seeds > 1 else []),
    ]
    return Table(headers, rows, 1, title="Trust", note=" ".join(note))


def paid_with_trust(means: pd.DataFrame) -> str:
    """Say which methods have a higher mean top-1 than zeroshot, and which measures are worse for each.

    Args:
        means: from ``trust_means``.
    """
    compared = means[means["delta_top1"].notna() & (means["method"] != ZEROSHOT)]
    if not len(compared):
        return "There is no method to compare with zeroshot."
    gained = compared[compared["delta_top1"] > _ROUNDING].sort_values("delta_top1", ascending=False, kind="stable")
    of = f"{len(gained)} of {pluralise(len(compared), 'method')}"
    if not len(gained):
        return f"No method gained: none of {pluralise(len(compared), 'method')} has a higher mean top-1 than zeroshot."
    clauses = []
    for row in gained.to_dict("records"):
        known = [name for name in MEASURES if name != "top1" and not np.isnan(row[f"delta_{name}"])]
        worse = [name for name in known if MEASURES[name][2] * row[f"delta_{name}"] < -_ROUNDING]
        named = ", ".join(MEASURES[name][0].removesuffix(" %") for name in worse)
        price = f"worse in {named}" if worse else "nothing worse"
        price += "" if "nll" in known else " of what is known"
        clauses.append(f"{row['method']} {row['delta_top1']:+.1f} points, {price}")
    listed = "; ".join(clauses)
    return f"Mean top-1 is higher than that of zeroshot for {of}: {listed}. The table of trust has the numbers."


def _beside_zeroshot(row: dict[Any, Any], name: str) -> str:
    digits, difference = MEASURES[name][1], row[f"delta_{name}"]
    text = number(row[name], digits)
    return text if row["method"] == ZEROSHOT or np.isnan(difference) else f"{text} ({difference:+.{digits}f})"
