"""Mean corruption error, relative to AlexNet (Hendrycks & Dietterich, arXiv 1903.12261, section 4.2)."""

from __future__ import annotations

import pandas as pd

# AlexNet's top-1 error on ImageNet-C, the mean over five severities (the authors' table).
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
_SEVERITIES = 5
_CLASSES = 1000


def mean_corruption_error(results: pd.DataFrame, classes: int) -> pd.DataFrame:
    r"""mCE by method, percent; no row where it is not defined.

    .. math:: \mathrm{mCE} = \frac{1}{15} \sum_c \frac{\sum_{s=1}^5 E_{s,c}}{\sum_{s=1}^5 E^{\text{AlexNet}}_{s,c}}

    It is defined for ImageNet's 1000 classes, over all 15 corruptions at all five severities.

    Args:
        results: rows of ``results_table``.
        classes: that the methods chose among.
    """
    rows = []
    corrupted = results[results["corruption"].isin(list(ALEXNET))]
    for method, own in corrupted.groupby("method", sort=False):
        errors = (100 - own["top1"]) / 100
        if classes != _CLASSES or len(own) != len(ALEXNET) * _SEVERITIES or errors.isna().any():
            continue
        by_corruption = errors.groupby(own["corruption"]).mean()
        ratios = [by_corruption[name] / alexnet for name, alexnet in ALEXNET.items()]
        rows.append({"method": method, "mce": 100 * sum(ratios) / len(ratios)})
    return pd.DataFrame(rows, columns=["method", "mce"])
