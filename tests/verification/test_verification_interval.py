"""The interval of the accuracy on all images holds what it promises, for every size of subset."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, hypergeom

from apm_tta.data.layouts import Entry
from apm_tta.data.subset import even_subset
from apm_tta.report.published_rows import Protocol, PublishedRow
from apm_tta.verification.evaluation import Tally
from apm_tta.verification.interval import ALLOWANCE, whole_set_interval
from apm_tta.verification.verdict import is_inside

CLASSES, OF_EACH = 20, 50
DRAWS = 300
SIZES = (40, 400, 950)


def row(percent: float) -> PublishedRow:
    return PublishedRow("test", "t", "zeroshot", "d", "top1", f"{percent:.2f}", Protocol())


def subset_tallies(of_class: np.ndarray, size: int) -> list[Tally]:
    """Answer ``DRAWS`` subsets of one set, each chosen as ``--limit`` does for a set with other ids."""
    draws = np.random.default_rng(size)
    right = np.concatenate([np.arange(OF_EACH) < count for count in of_class])
    tallies = []
    for seed in range(DRAWS):
        shuffled = np.concatenate([draws.permutation(part) for part in right.reshape(CLASSES, OF_EACH)])
        entries = [Entry(f"{seed}/{index}", index // OF_EACH) for index in range(len(right))]
        chosen = [int(entry.id.partition("/")[2]) for entry in even_subset(entries, size)]
        tallies.append(Tally(float(shuffled[chosen].sum()), size, len(right)))
    return tallies


@pytest.mark.parametrize("case", [(0, 10, 60), (10, 10, 60), (3, 10, 60), (57, 60, 60), (100, 120, 125), (1, 1, 7)])
def test_the_ends_are_the_outermost_counts_that_neither_tail_rules_out(case: tuple[int, int, int]) -> None:
    """By scipy's distribution, count by count."""
    right, images, available = case
    counts = np.arange(available + 1)
    upper = hypergeom.sf(right - 1, available, counts, images)
    lower = hypergeom.cdf(right, available, counts, images)
    possible = counts[(upper > 0.005) & (lower > 0.005)]
    assert whole_set_interval(*case) == (possible[0] / available, possible[-1] / available)


def test_it_is_clopper_and_pearsons_where_the_set_is_far_larger() -> None:
    expected = binomtest(500, 700).proportion_ci(0.99)
    assert whole_set_interval(500, 700, 10**7) == pytest.approx((expected.low, expected.high), abs=1e-5)


def test_it_has_no_width_where_all_images_were_answered() -> None:
    assert whole_set_interval(1234, 2000, 2000) == (0.617, 0.617)


@pytest.mark.parametrize("case", [(1, 0, 5), (3, 2, 5), (2, 6, 5), (-1, 2, 5)])
def test_numbers_that_contradict_each_other_are_refused(case: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="have no interval"):
        whole_set_interval(*case)


@pytest.mark.parametrize("size", SIZES)
def test_right_runs_are_outside_on_at_most_one_in_a_hundred_subsets(size: int) -> None:
    """One in a hundred of these draws is 3; 9 or more would come about in fewer than one of 200 tests."""
    of_class = np.random.default_rng(1).integers(10, OF_EACH + 1, CLASSES)
    published = row(100 * of_class.sum() / (CLASSES * OF_EACH))
    outside = sum(not is_inside(published, tally) for tally in subset_tallies(of_class, size))
    assert outside <= 8


def test_a_difference_of_ten_points_is_outside_on_nearly_every_subset() -> None:
    of_class = np.full(CLASSES, 35)
    tallies = subset_tallies(of_class, 400)
    for published in (row(60), row(80)):
        assert sum(not is_inside(published, tally) for tally in tallies) > 0.95 * DRAWS


def test_rounding_and_the_allowance_widen_it() -> None:
    tally = Tally(1234, 2000, 2000)  # 61.7 %
    assert is_inside(row(61.7 + ALLOWANCE), tally)
    assert not is_inside(row(61.7 + ALLOWANCE + 0.01), tally)
    coarse = PublishedRow("test", "t", "zeroshot", "d", "top1", "62.5", Protocol())
    assert not is_inside(coarse, tally)
    assert is_inside(PublishedRow("test", "t", "zeroshot", "d", "top1", "62", Protocol()), tally)


def test_an_error_is_compared_as_its_complement() -> None:
    tally = Tally(1234, 2000, 2000)
    assert is_inside(PublishedRow("test", "t", "source", "d", "error", "38.3", Protocol()), tally)
    assert not is_inside(PublishedRow("test", "t", "source", "d", "error", "61.7", Protocol()), tally)


def test_a_mean_over_conditions_has_the_interval_of_one() -> None:
    """Fractions of answers are rounded outwards."""
    low, high = Tally(61.5, 100, 1000).interval
    assert low == 100 * whole_set_interval(61, 100, 1000)[0]
    assert high == 100 * whole_set_interval(62, 100, 1000)[1]
