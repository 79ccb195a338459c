"""Whether confidences can be trusted, and whether every class is served: statistics beside top-1, written out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from apm_tta.report.statistics import BINS

_WORST = 10  # one class in so many

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def adaptive_calibration_error(confidence: Floats, right: Bools) -> float:
    r"""Compute the calibration error with 15 bins of equally many images (arXiv 1508.05154, section 3), in 0 .. 1.

    The images are sorted by confidence and cut into bins whose sizes differ by one at most; of fewer than 15 images
    each is a bin. Images of the same confidence have no order, so each counts as right by the accuracy among them.

    .. math:: \sum_m \frac{|B_m|}{n} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|
    """
    count = len(confidence)
    bins = np.arange(count) * min(BINS, count) // count
    gaps = np.sort(confidence) - _right_by_confidence(confidence, right)
    return float(np.abs(np.bincount(bins, weights=gaps)).sum() / count)


def risk_coverage_area(confidence: Floats, right: Bools) -> float:
    r"""Compute the area under the risk-coverage curve, AURC (arXiv 1805.08206, equation 3), in 0 .. 1.

    The risk at coverage k/n is the share of wrong answers among the k images of highest confidence (arXiv 1705.08500);
    the area is its mean over all coverages. Where images have the same confidence it is the expected area over
    all their orders. It is low where the wrong answers are few, and where they are the least confident ones.

    .. math:: \mathrm{AURC} = \frac{1}{n} \sum_{k=1}^{n} \frac{1}{k} \sum_{i=1}^{k} [\text{answer } i \text{ is wrong}]
    """
    wrong = 1 - _right_by_confidence(confidence, right)[::-1]
    return float((wrong.cumsum() / np.arange(1, len(wrong) + 1)).mean())


def class_accuracies(label: Ints, right: Bools) -> Floats:
    """Return the share of right answers in each class that has images, in rising order: ``(K,)``, in 0 .. 1."""
    counts, hits = np.bincount(label), np.bincount(label, weights=right)
    return np.sort(hits[counts > 0] / counts[counts > 0])


def worst_classes_accuracy(accuracies: Floats) -> float:
    """Compute the mean accuracy over the tenth of the classes where it is lowest, rounded down, at least one.

    Of ImageNet's 1,000 classes these are 100, as in arXiv 2310.03324. With few images per class it is lower than that
    of a larger sample, because the classes are chosen by the same answers.

    Args:
        accuracies: from ``class_accuracies``.
    """
    return float(accuracies[: max(1, len(accuracies) // _WORST)].mean())


def separation(own: Floats, foreign: Floats) -> float:
    """Compute the area under the ROC curve of telling own images from foreign ones, AUROC, in 0 .. 1.

    It is the share of pairs of an own and a foreign image in which the own one has the higher score; a pair of equal
    scores counts half.

    Args:
        own: scores of the own images, ``(n,)``; higher for what is taken for own.
        foreign: scores of the foreign images, ``(m,)``.
    """
    ordered = np.sort(foreign)
    lower = np.searchsorted(ordered, own, "left") + np.searchsorted(ordered, own, "right")
    return float(lower.mean() / (2 * len(foreign)))


def foreign_accepted(own: Floats, foreign: Floats) -> float:
    """Compute the share of foreign images taken for own ones at 95 % recall, FPR95, in 0 .. 1; arguments as above.

    The threshold is the highest score of an own image that at least 95 % of the own images reach.
    """
    recalled = -(-95 * len(own) // 100)
    threshold = np.sort(own)[::-1][recalled - 1]
    return float((foreign >= threshold).mean())


def _right_by_confidence(confidence: Floats, right: Bools) -> Floats:
    """Return the accuracy among the images of the same confidence, for every image, by rising confidence."""
    _, places, counts = np.unique(confidence, return_inverse=True, return_counts=True)
    return np.repeat(np.bincount(places, weights=right) / counts, counts)
