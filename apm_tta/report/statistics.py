"""The statistics in the tables, written out: libraries of statistics take seconds to import, as long as a small run."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr, gammaln, ndtri

from apm_tta.randomness import numpy_generator

BINS = 15
_RESAMPLES = 10_000
_DRAWN_TOGETHER = 500
"""Resamples in memory at once where there are many different images."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def wilson_interval(successes: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    r"""Compute Wilson's score interval of a proportion (JASA 22, 1927), both ends in 0 .. 1.

    .. math::
        \frac{\hat p + z^2 / 2n \pm z \sqrt{\hat p (1 - \hat p) / n + z^2 / 4n^2}}{1 + z^2 / n}

    Raises:
        ValueError: when there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} successes in {trials} trials have no interval")
    share = successes / trials
    square = float(ndtri((1 + confidence) / 2)) ** 2
    middle = share + square / (2 * trials)
    half = math.sqrt(square) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    scale = 1 + square / trials
    # Without successes the lower end is 0, without failures the upper end 1, which rounding misses.
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def clustered_interval(right: Bools, images: Ints, confidence: float = 0.95) -> tuple[float, float]:
    r"""Compute Wilson's interval of a proportion whose answers are several to each image, both ends in 0 .. 1.

    Images are taken to be independent of each other, the answers to one of them are not. So the interval is that of as
    many independent answers as would have the variance of the share over images (Korn and Graubard, 1998):

    .. math::
        n_\mathrm{eff} = \min\Bigl(n, \frac{\hat p (1 - \hat p)}{v}\Bigr), \quad
        v = \frac{k}{k - 1} \sum_{i=1}^{k} \frac{(r_i - \hat p \, m_i)^2}{n^2}

    where :math:`r_i` of the :math:`m_i` answers to image i are right. It is k where all answers are right, or none.

    Args:
        right: of every answer, ``(n,)``.
        images: which image it is to, from 0 to k - 1, ``(n,)``.
        confidence: of the interval.
    """
    shown = np.bincount(images)
    share, answers, count = float(right.mean()), len(right), len(shown)
    residuals = np.bincount(images, weights=right) - share * shown
    variance = count / max(1, count - 1) * float(residuals @ residuals) / answers**2
    effective = count if variance == 0 or share in (0, 1) else min(answers, share * (1 - share) / variance)
    return wilson_interval(share * effective, effective, confidence)


def mcnemar_p(only_one: int, only_other: int) -> float:
    r"""Compute McNemar's exact two-sided p for two methods on the same images.

    .. math:: p = \min\Bigl(1,\; 2 \sum_{k=0}^{\min(b, c)} \binom{b + c}{k} 2^{-(b + c)}\Bigr)

    where b and c are the numbers of images that only the one and only the other method got right; p is 1 where both
    are 0.
    """
    if not only_one + only_other:
        return 1.0
    return min(1.0, 2 * float(bdtr(min(only_one, only_other), only_one + only_other, 0.5)))


def paired_interval(only_one: int, only_other: int, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the paired percentile bootstrap interval of a difference in accuracy, one minus other, ends in -1 .. 1.

    The difference on one image is 1, -1 or 0. Drawing images with replacement and counting these three values amounts
    to drawing the counts from a multinomial distribution, which is done here 10,000 times: the interval is the same,
    and its cost does not depend on the number of images. The draws are seeded by the counts themselves, so that a table
    can be reproduced.

    Raises:
        ValueError: when there are no images, or fewer than the images that differ.
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


def sign_flip_p(differences: Ints) -> float:
    r"""Compute the exact two-sided p of a sum of paired differences, whose signs are equally likely (Pitman, 1937).

    .. math:: p = \min\Bigl(1,\; 2 \, P\bigl(\textstyle\sum_k k B_k \le (t - s) / 2\bigr)\Bigr), \quad
              B_k \sim \mathrm{Bin}(n_k, 1/2)

    where :math:`n_k` images have a difference of size k, t is the sum of all sizes and s the size of their sum. An
    image that is answered several times, as under several conditions, counts with the sum of its differences: its
    answers are not independent. Where every difference is 1, -1 or 0, this is McNemar's exact test.

    Args:
        differences: of each image, ``(n,)``.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    total, observed = int(sizes @ counts), abs(int(differences.sum()))
    if not observed:
        return 1.0
    if len(sizes) == 1:
        return min(1.0, 2 * float(bdtr((total - observed) // (2 * sizes[0]), counts[0], 0.5)))
    length = 1 << total.bit_length()
    transformed = np.ones(length // 2 + 1, dtype=np.complex128)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        chosen = np.arange(count + 1)
        logarithm = gammaln(count + 1) - gammaln(chosen + 1) - gammaln(count - chosen + 1) - count * math.log(2)
        distribution = np.zeros(length)
        distribution[size * chosen] = np.exp(logarithm)
        transformed *= np.fft.rfft(distribution)
    tail = np.fft.irfft(transformed, length)[: (total - observed) // 2 + 1].sum()
    return float(np.clip(2 * tail, 0, 1))


def paired_mean_interval(differences: Ints, answers: int | Ints, confidence: float = 0.95) -> tuple[float, float]:
    """Compute the paired percentile bootstrap interval of a difference in accuracy over several answers per image.

    Images are drawn with all of their answers, which are not independent: under several conditions, with several seeds.
    With one answer per image it is ``paired_interval``.

    Args:
        differences: of each image, ``(n,)``: how many of its answers only the one got right, less those that only the
            other did.
        answers: of all images together; or of each image, ``(n,)``, where they are shown different numbers of times.
        confidence: of the interval.

    Returns:
        Its ends, in -1 .. 1.
    """
    if not isinstance(answers, int):
        if (answers != answers[0]).any():
            return _ratio_interval(differences, answers, confidence)
        answers = int(answers.sum())
    values, counts = np.unique(differences, return_counts=True)
    images = len(differences)
    if answers == images and np.abs(values).max() <= 1:
        return paired_interval(int((differences > 0).sum()), int((differences < 0).sum()), images, confidence)
    key = " ".join(f"{value}:{count}" for value, count in zip(values, counts, strict=True))
    generator = numpy_generator(0, f"{key} {answers}", "paired bootstrap")
    drawn = generator.multinomial(images, counts / images, size=_RESAMPLES) @ values / answers
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def _ratio_interval(differences: Ints, answers: Ints, confidence: float) -> tuple[float, float]:
    """Compute ``paired_mean_interval`` where the number of answers to the drawn images is as random as their sum."""
    pairs, counts = np.unique(np.stack([differences, answers]), axis=1, return_counts=True)
    key = hashlib.sha256(pairs.tobytes() + counts.tobytes()).hexdigest()
    generator = numpy_generator(0, key, "paired bootstrap")
    drawn = np.concatenate(
        [
            generator.multinomial(len(differences), counts / len(differences), size=_DRAWN_TOGETHER) @ pairs.T
            for _ in range(_RESAMPLES // _DRAWN_TOGETHER)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], [tail, 1 - tail])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Correct the p values of several tests, so that the chance of any false positive stays as stated (Holm, 1979).

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min\bigl(1,\; (m - j + 1) \, p_{(j)}\bigr)

    where :math:`p_{(1)} \le \dots \le p_{(m)}` are the values in rising order; the result is in the order given.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order]))
    return [float(value) for value in corrected]


def calibration_error(confidence: Floats, right: Bools) -> float:
    r"""Compute the expected calibration error with 15 bins of equal width (arXiv 1706.04599, equation 3), in 0 .. 1.

    .. math:: \mathrm{ECE} = \sum_m \frac{|B_m|}{n} \, |\mathrm{acc}(B_m) - \mathrm{conf}(B_m)|

    A bin includes its lower end, the last bin both ends.

    Raises:
        ValueError: when a confidence is outside 0 .. 1.
    """
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence outside 0 .. 1 is not a probability")
    bins = reliability(confidence, right)
    return float(sum(each["count"] * abs(each["accuracy"] - each["confidence"]) for each in bins) / len(confidence))


def reliability(confidence: Floats, right: Bools) -> list[dict[str, Any]]:
    """Return the ends, count, mean confidence and accuracy of each non-empty bin, all but the count in 0 .. 1.

    The bins are the same as for ``calibration_error``.
    """
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
