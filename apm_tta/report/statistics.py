"""Statistics of the tables, each by a library of statistics."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from apm_tta.randomness import numpy_generator

BINS = 15
_RESAMPLES = 10_000

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Wilson's score interval of a proportion (JASA 22, 1927), both ends in 0 .. 1.

    .. math::
        \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4n^2}}{1 + z^2 / n}

    Raises:
        ValueError: when there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} successes in {trials} trials have no interval")
    low, high = proportion_confint(successes, trials, alpha=1 - confidence, method="wilson")
    return float(low), float(high)


def mcnemar_p(only_one: int, only_other: int) -> float:
    r"""McNemar's exact two-sided p for two methods on the same images.

    .. math:: p = \min\Bigl(1,\; 2 \sum_{k=0}^{\min(b, c)} \binom{b + c}{k} 2^{-(b + c)}\Bigr)

    b and c being the images that one method alone got right; 1 where there are none.
    """
    if not only_one + only_other:
        return 1.0
    return float(mcnemar([[0, only_one], [only_other, 0]], exact=True).pvalue)


def paired_interval(only_one: int, only_other: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Paired percentile bootstrap interval of the difference in accuracy, one minus other, both ends in -1 .. 1.

    The difference on an image is 1, -1 or 0. Drawing images with replacement and counting these three is drawing the
    counts from a multinomial distribution, which is what is done here, 10,000 times: the same interval, whatever the
    number of images. Seeded by the counts themselves, so that a table can be made again.

    Raises:
        ValueError: when there are no images, or fewer than differ.
    """
    same = images - only_one - only_other
    if images < 1 or min(only_one, only_other, same) < 0:
        raise ValueError(f"{only_one} and {only_other} of {images} images cannot differ")
    generator = numpy_generator(0, f"{only_one} {only_other} {images}", "paired bootstrap")
    shares = np.array([only_one, only_other, same]) / images
    drawn = generator.multinomial(images, shares, size=_RESAMPLES)
    differences = (drawn[:, 0] - drawn[:, 1]) / images
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p values of several tests, corrected so that the chance of any false alarm is kept (Holm, 1979)."""
    if not p_values:
        return []
    gc.freeze()  # statsmodels collects garbage on every call; frozen, there is next to nothing to look at
    try:
        return [float(value) for value in multipletests(p_values, method="holm")[1]]
    finally:
        gc.unfreeze()


def calibration_error(confidence: Floats, right: Bools) -> float:
    r"""Expected calibration error with 15 bins of equal width (arXiv 1706.04599, equation 3), in 0 .. 1.

    .. math:: \mathrm{ECE} = \sum_m \frac{|B_m|}{n} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|

    Bins hold their lower end, the last one both.

    Raises:
        ValueError: when a confidence is outside 0 .. 1, which torchmetrics would take for logits.
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence outside 0 .. 1 is no probability")
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    # Whether the prediction is right is a binary event, of which its confidence is the stated probability.
    error = binary_calibration_error(
        # torchmetrics gives 1 a sixteenth bin of its own.
        torch.from_numpy(np.minimum(confidence.astype(np.float64), np.nextafter(1, 0))),
        torch.from_numpy(right.astype(np.int64)),
        n_bins=BINS,
        norm="l1",
    )
    return float(error)


def reliability(confidence: Floats, right: Bools) -> list[dict[str, Any]]:
    """Of each bin that has images: its ends, count, mean confidence and accuracy, all in 0 .. 1; bins as for ECE."""
    edges = np.linspace(0, 1, BINS + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="right") - 1, 0, BINS - 1)
    counts = np.bincount(places, minlength=BINS)
    sums = np.bincount(places, weights=confidence, minlength=BINS)
    hits = np.bincount(places, weights=right, minlength=BINS)
    return [
        {
            "bin_low": float(edges[index]),
            "bin_high": float(edges[index + 1]),
            "count": int(counts[index]),
            "confidence": float(sums[index] / counts[index]),
            "accuracy": float(hits[index] / counts[index]),
        }
        for index in range(BINS)
        if counts[index]
    ]
