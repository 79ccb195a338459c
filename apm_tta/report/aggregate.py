"""What the rows of ``results.csv`` add up to."""

from __future__ import annotations

import pandas as pd

_SHARES = ("top1", "top5", "delta_zeroshot", "agreement", "ece", "agreement_target")


def mean_over_corruptions(results: pd.DataFrame) -> pd.DataFrame:
    """Mean top-1 and agreement over the corruptions at each severity, by method; no interval: images repeat.

    Columns: severity, method, corruptions, top1, agreement; of several seeds the mean, and top1_sd, the standard
    deviation of the seeds' means. A mean that lacks one of its terms is NaN: of fewer it would be another number.
    """
    corrupted = results[results["corruption"] != "clean"]
    by_seed = corrupted.groupby(["severity", "method", "seed"], sort=False, as_index=False).agg(
        corruptions=("corruption", "nunique"), top1=("top1", _mean), agreement=("agreement", _mean)
    )
    return by_seed.groupby(["severity", "method"], sort=False, as_index=False).agg(
        corruptions=("corruptions", "first"),
        top1=("top1", _mean),
        agreement=("agreement", _mean),
        top1_sd=("top1", _deviation),
    )


def over_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Results with one row a cell but for its seed: the mean of every number, ``seeds`` and ``top1_sd`` beside it.

    Intervals and p values are of one seed's images; over several seeds there are none (NaN). Nor is there a share where
    a seed lacks it; what a machine took is over the seeds for which it was measured.
    """
    keys = ["dataset", "corruption", "severity", "setting", "teacher", "method"]
    counts = results.groupby(keys, sort=False)["top1"].agg(seeds="size", top1_sd=_deviation).reset_index()
    first = results.drop_duplicates(keys).drop(columns="seed")
    merged = first.merge(counts, on=keys)
    if (merged["seeds"] > 1).any():
        numeric = [name for name in first.columns if name not in keys and pd.api.types.is_numeric_dtype(first[name])]
        means = results.groupby(keys, sort=False)[numeric].mean().reset_index()
        for name in _SHARES:
            means[name] = results.groupby(keys, sort=False)[name].agg(_mean).reset_index()[name]
        merged[numeric] = means[numeric]
        merged["best"] = results.groupby(keys, sort=False)["best"].all().reset_index()["best"]
        for name in ("top1_low", "top1_high", "delta_low", "delta_high", "p_mcnemar", "p_holm"):
            merged[name] = float("nan")
    return merged


def _mean(values: pd.Series[float]) -> float:
    return float(values.mean(skipna=False))


def _deviation(values: pd.Series[float]) -> float:
    return float(values.std(skipna=False))


def condition_name(corruption: str, severity: int) -> str:
    """As ``str(Condition)``."""
    return "clean" if corruption == "clean" else f"{corruption} {severity}"
