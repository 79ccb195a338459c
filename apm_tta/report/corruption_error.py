"""Mean corruption error, relative to AlexNet (Hendrycks & Dietterich, arXiv 1903.12261, section 4.2)."""

from __future__ import annotations

import pandas as pd

# AlexNet's top-1 error on ImageNet-C, mean over the five severities (the authors' table).
ALEXNET = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
# AlexNet's top-1 error on clean ImageNet, as in the authors' code.
ALEXNET_CLEAN = 0.4348
_SEVERITIES = 5
_CLASSES = 1000


def mean_corruption_error(results: pd.DataFrame, classes: int) -> pd.DataFrame:
    r"""Compute mCE and relative mCE by method, percent; no row where mCE is not defined, NaN where relative mCE is not.

    .. math::
        \mathrm{mCE} = \frac{1}{15} \sum_c \frac{\sum_{s=1}^5 E_{s,c}}{\sum_{s=1}^5 E^{\text{AlexNet}}_{s,c}}, \quad
        \mathrm{relative\ mCE} = \frac{1}{15} \sum_c
        \frac{\sum_{s=1}^5 (E_{s,c} - E_{\text{clean}})}
        {\sum_{s=1}^5 (E^{\text{AlexNet}}_{s,c} - E^{\text{AlexNet}}_{\text{clean}})}

    Both are defined for ImageNet's 1000 classes over all 15 corruptions at all five severities; relative mCE only where
    the clean images were answered too. Several seeds are averaged.

    Args:
        results: rows of ``results.csv``.
        classes: number of classes that the methods chose from.
    """
    rows = []
    for method, own in results.groupby("method", sort=False):
        by_seed = [_seed_errors(of_seed) for _, of_seed in own.groupby("seed")]
        if classes != _CLASSES or any(both is None for both in by_seed):
            continue
        mce, relative = zip(*(both for both in by_seed if both is not None), strict=True)
        rows.append({"method": method, "mce": sum(mce) / len(mce), "relative_mce": sum(relative) / len(relative)})
    return pd.DataFrame(rows, columns=["method", "mce", "relative_mce"])


def _seed_errors(results: pd.DataFrame) -> tuple[float, float] | None:
    """Compute mCE and relative mCE of one method and seed, percent; None where mCE is not defined."""
    corrupted = results[results["corruption"].isin(list(ALEXNET))]
    errors = (100 - corrupted["top1"]) / 100
    if len(corrupted) != len(ALEXNET) * _SEVERITIES or errors.isna().any():
        return None
    by_corruption = errors.groupby(corrupted["corruption"]).mean()
    clean = (100 - results[results["corruption"] == "clean"]["top1"]) / 100
    clean_error = float(clean.iloc[0]) if len(clean) else float("nan")
    ratios = [by_corruption[name] / alexnet for name, alexnet in ALEXNET.items()]
    relative = [(by_corruption[name] - clean_error) / (alexnet - ALEXNET_CLEAN) for name, alexnet in ALEXNET.items()]
    return 100 * sum(ratios) / len(ratios), 100 * sum(relative) / len(relative)
