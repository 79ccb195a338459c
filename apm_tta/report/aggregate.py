"""Means of the rows of ``results.csv``, over corruptions and over seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from apm_tta.columns import KEY, RESULT_COLUMNS, TIMINGS, Seeds
from apm_tta.data.sample import Condition
from apm_tta.report.sites import is_pooled, join_distinct

_CELL_BUT_SEED = [name for name in KEY if name != "seed"]


def mean_over_corruptions(results: pd.DataFrame) -> pd.DataFrame:
    """Compute the mean top-1 and agreement over the corruptions at each severity, by method.

    Columns: severity, method, corruptions, top1 and agreement, which are means over the seeds too where there are
    several, and top1_sd, the standard deviation of the seeds' means. There is no interval, since the same images repeat
    under every corruption. A mean that lacks one of its terms is NaN: over fewer terms it would be a different number.
    """
    corrupted = results[results["corruption"] != "clean"]
    if corrupted.empty:  # pandas takes as long for no group as for many
        return pd.DataFrame(columns=["severity", "method", "corruptions", "top1", "agreement", "top1_sd"])
    by_seed = corrupted.groupby(["severity", "method", "seed"], sort=False, as_index=False).agg(
        corruptions=("corruption", "nunique"), top1=("top1", mean_of_all), agreement=("agreement", mean_of_all)
    )
    return by_seed.groupby(["severity", "method"], sort=False, as_index=False).agg(
        corruptions=("corruptions", "first"),
        top1=("top1", mean_of_all),
        agreement=("agreement", mean_of_all),
        top1_sd=("top1", _deviation),
    )


def merge_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Merge the seeds of every cell into one row, each column as ``apm_tta.columns`` declares it.

    Two kinds of columns are added: ``seeds``, the number of seeds, and ``NAME_sd``, the standard deviation over seeds
    of each column that is shown with one. Where there is only one seed throughout, every value is that seed's.

    Args:
        results: rows of ``results.csv``.
    """
    groups = results.groupby(_CELL_BUT_SEED, sort=False)
    sizes = groups.size()
    several = bool((sizes > 1).any())  # a deviation of one value is NaN, whichever it is
    added = {f"{name}_sd": groups[name].agg(_deviation) if several else float("nan") for name in _WITH_DEVIATION}
    counts = pd.DataFrame({"seeds": sizes, **added}).reset_index()
    merged = results.drop_duplicates(_CELL_BUT_SEED).drop(columns="seed").merge(counts, on=_CELL_BUT_SEED)
    if several:
        for column in RESULT_COLUMNS:
            if column.seeds != "same":
                merged[column.name] = _OVER_SEEDS[column.seeds](groups[column.name]).to_numpy()
        pooled = [is_pooled(*texts) for texts in zip(merged["measured_on"], merged["batch_size"], strict=True)]
        merged.loc[pooled, list(TIMINGS)] = float("nan")
    return merged


_WITH_DEVIATION = [column.name for column in RESULT_COLUMNS if column.shown and column.shown.form == "mean"]


def mean_of_all(values: pd.Series[float]) -> float:
    """Average values; NaN where one of them is unknown."""
    return float(values.mean(skipna=False))


def _deviation(values: pd.Series[float]) -> float:
    return float(values.std(skipna=False))


_OVER_SEEDS: dict[Seeds, Callable[[Any], Any]] = {
    "mean": lambda groups: groups.mean(),
    "mean of all": lambda groups: groups.agg(mean_of_all),
    "every": lambda groups: groups.all(),
    "unknown": lambda groups: groups.agg(lambda _: float("nan")),
    "joined": lambda groups: groups.agg(join_distinct),
}


def condition_name(corruption: str, severity: int) -> str:
    """Return the name of a condition, the same as ``str(Condition)``."""
    return str(Condition(corruption, severity))
