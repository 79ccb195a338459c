"""What the rows of ``results.csv`` add up to."""

from __future__ import annotations

import pandas as pd


def mean_over_corruptions(results: pd.DataFrame) -> pd.DataFrame:
    """Mean top-1 and agreement over the corruptions at each severity, by method; no interval: images repeat.

    Columns: severity, method, corruptions, top1, agreement; of several seeds the mean, and top1_sd, the standard
    deviation of the seeds' means.
    """
    corrupted = results[results["corruption"] != "clean"]
    by_seed = corrupted.groupby(["severity", "method", "seed"], sort=False, as_index=False).agg(
        corruptions=("corruption", "nunique"), top1=("top1", "mean"), agreement=("agreement", "mean")
    )
    return by_seed.groupby(["severity", "method"], sort=False, as_index=False).agg(
        corruptions=("corruptions", "first"),
        top1=("top1", "mean"),
        agreement=("agreement", "mean"),
        top1_sd=("top1", "std"),
    )


def over_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Results with one row a cell but for its seed: the mean of every number, ``seeds`` and ``top1_sd`` beside it.

    Intervals and p values are of one seed's images; over several seeds there are none (NaN).
    """
    keys = ["dataset", "corruption", "severity", "setting", "teacher", "method"]
    counts = results.groupby(keys, sort=False)["top1"].agg(seeds="size", top1_sd="std").reset_index()
    first = results.drop_duplicates(keys).drop(columns="seed")
    merged = first.merge(counts, on=keys)
    if (merged["seeds"] > 1).any():
        numeric = [name for name in first.columns if name not in keys and pd.api.types.is_numeric_dtype(first[name])]
        means = results.groupby(keys, sort=False)[numeric].mean().reset_index()
        merged[numeric] = means[numeric]
        merged["best"] = results.groupby(keys, sort=False)["best"].all().reset_index()["best"]
        for name in ("top1_low", "top1_high", "delta_low", "delta_high", "p_mcnemar", "p_holm"):
            merged[name] = float("nan")
    return merged


def condition_name(corruption: str, severity: int) -> str:
    """As ``str(Condition)``."""
    return "clean" if corruption == "clean" else f"{corruption} {severity}"
