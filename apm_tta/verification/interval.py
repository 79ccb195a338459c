"""What a subset tells of the accuracy on all images, exactly: a published number is of all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

CONFIDENCE = 0.99
ALLOWANCE = 0.35
"""Percentage points by which numbers of one protocol may differ: by precision, library versions, decoders of images.

LAION's CLIP_benchmark (``benchmark/benchmark.csv``) and open_clip (``docs/openclip_results.csv``) have 91 numbers of
the same teachers on the same sets, ImageNet and its variants, ObjectNet and CIFAR: nine in ten differ by at most 0.2,
and none by more than 0.31.
"""
_Counts = NDArray[np.int64]


def whole_set_interval(right: int, images: int, available: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    r"""Compute the exact interval of the accuracy on all images, given that on some of them, both ends in 0 .. 1.

    Of N images, K answered correctly, n are drawn without replacement; the number k of correct answers among them is
    hypergeometric, and the interval holds every K / N for which neither tail is too small:

    .. math::
        P(X \le k \mid N, K, n) > \frac{\alpha}{2} \quad\text{and}\quad P(X \ge k \mid N, K, n) > \frac{\alpha}{2}

    This is Clopper's and Pearson's interval (Biometrika 26, 1934) for a finite population: theirs where N is far above
    n, and the accuracy itself, without any width, where all images were answered. Exact rather than Wilson's score
    interval, which covers less than it says near 0 and 1 (Brown, Cai, DasGupta, Statistical Science 16, 2001) and
    knows no finite population. A subset that is spread evenly over the classes varies less than a random one, so that
    the interval errs on the wide side.

    Args:
        right: k.
        images: n.
        available: N.
        confidence: 1 - alpha.

    Raises:
        ValueError: where there are no images, or the numbers contradict each other.
    """
    if not 0 <= right <= images <= available or not images:
        raise ValueError(f"{right} of {images} images of {available} have no interval")
    tail = (1 - confidence) / 2
    # Each tail is monotone in K: an end is where it passes the limit. Of the upper one the wrong answers are counted.
    low = _first(right, available - (images - right), lambda count: _tail(right, images, count, available) > tail)
    wrong = images - right
    fewest = _first(wrong, available - right, lambda count: _tail(wrong, images, count, available) > tail)
    return low / available, (available - fewest) / available


def _tail(least: int, images: int, right: int, available: int) -> float:
    """Return the probability that at least so many of the drawn images are among the right ones."""
    counts = np.arange(max(least, images - (available - right)), min(images, right) + 1)
    if not len(counts):
        return 0.0
    logs = _choose(right, counts) + _choose(available - right, images - counts) - _choose(available, np.array(images))
    return float(np.exp(logs).sum())


def _choose(total: int, chosen: _Counts) -> NDArray[np.float64]:
    """Return the logarithms of binomial coefficients."""
    logs: NDArray[np.float64] = gammaln(total + 1) - gammaln(chosen + 1) - gammaln(total - chosen + 1)
    return logs


def _first(low: int, high: int, holds: Callable[[int], bool]) -> int:
    """Return the first number from ``low`` to ``high`` from which on a condition holds; it holds for ``high``."""
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
