"""The statistics of the tables against closed formulas, published values, and other implementations."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from apm_tta.report.statistics import (
    calibration_error,
    holm,
    mcnemar_p,
    paired_interval,
    reliability,
    wilson_interval,
)

counts = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(counts, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilsons_interval_equals_the_closed_formula(count: tuple[int, int], confidence: float) -> None:
    """Written out here from the definition, with the normal quantile from Python's standard library."""
    successes, trials = count
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    middle = share + z**2 / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    low, high = wilson_interval(successes, trials, confidence)
    assert low == pytest.approx((middle - half) / scale, abs=1e-12)
    assert high == pytest.approx((middle + half) / scale, abs=1e-12)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_equals_newcombes_table(successes: int, trials: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3: 95 %, the default here."""
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(counts)
def test_wilsons_interval_contains_the_proportion_and_stays_within_0_and_1(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= successes / trials <= high + 1e-12


@given(counts)
def test_wilsons_interval_of_failures_mirrors_that_of_successes(count: tuple[int, int]) -> None:
    successes, trials = count
    low, high = wilson_interval(successes, trials)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (5, 4), (-1, 4), (1, -1)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials"):
        wilson_interval(successes, trials)


discordant_counts = st.tuples(st.integers(0, 60), st.integers(0, 60))


@given(discordant_counts)
def test_mcnemars_p_is_the_exact_binomial_test(counts: tuple[int, int]) -> None:
    """Under the null hypothesis an image that only one got right is equally likely to be either's."""
    one, other = counts
    expected = binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar_p(one, other) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_p(one, other) == mcnemar_p(other, one)


def test_the_paired_interval_equals_that_of_resampled_images() -> None:
    """Compared with scipy's bootstrap, which draws the images themselves."""
    differences = np.array([1] * 30 + [-1] * 12 + [0] * 158)
    drawn = bootstrap(
        (differences,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert paired_interval(30, 12, 200) == pytest.approx((drawn.low, drawn.high), abs=0.0101)


def test_the_paired_interval_has_its_stated_coverage() -> None:
    """Simulated 300 times with 400 images and methods 5 points apart: 95 % within the error of the simulation."""
    random = np.random.default_rng(11)
    drawn = random.multinomial(400, [0.15, 0.10, 0.75], size=300)
    covered = 0
    for one, other, _ in drawn:
        low, high = paired_interval(int(one), int(other), 400)
        covered += low <= 0.05 <= high
    assert binomtest(covered, 300, 0.95).pvalue > 0.001


@given(discordant_counts, st.integers(1, 200))
def test_the_paired_interval_mirrors_swapped_methods_and_contains_the_difference(
    counts: tuple[int, int], same: int
) -> None:
    one, other = counts
    images = one + other + same
    low, high = paired_interval(one, other, images)
    assert low <= (one - other) / images <= high
    assert paired_interval(one, other, images) == (low, high), "a table can be reproduced"
    # The swapped counts seed other draws: the ends agree up to the noise of 10,000 draws.
    assert paired_interval(other, one, images) == pytest.approx(
        (-high, -low), abs=0.25 / math.sqrt(images) + 1 / images
    )


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 3), (3, 3, 5)])
def test_impossible_counts_have_no_paired_interval(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="cannot differ"):
        paired_interval(*counts)


def test_holm_on_an_example_worked_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, and 0.04 x 1 raised to the value before it, 0.06."""
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.999))
def test_holm_rejects_what_his_procedure_rejects_step_by_step(p_values: list[float], level: float) -> None:
    """From the smallest p on, of m tests: the i-th is rejected at level / (m - i + 1), until one is not."""
    rising = sorted(range(len(p_values)), key=lambda index: p_values[index])
    rejected = set()
    for tests, index in zip(range(len(p_values), 0, -1), rising, strict=True):
        if tests * p_values[index] > level:
            break
        rejected.add(index)
    assert {index for index, value in enumerate(holm(p_values)) if value <= level} == rejected


answers = st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=80)


@given(answers)
def test_calibration_error_is_the_sum_over_its_bins(pairs: list[tuple[float, bool]]) -> None:
    """Computed another way, image by image, with confidences in the middle of bins, away from rounding at the edges."""
    confidence = np.array([(min(int(value * 15), 14) + 0.5) / 15 for value, _ in pairs])
    right = np.array([hit for _, hit in pairs])
    bins: dict[int, list[float]] = {}
    for value, hit in zip(confidence, right, strict=True):
        bins.setdefault(int(value * 15), []).append(hit - value)
    expected = sum(abs(sum(gaps)) for gaps in bins.values()) / len(pairs)
    assert calibration_error(confidence, right) == pytest.approx(expected, abs=1e-6)
    rows = reliability(confidence, right)
    assert sum(row["count"] for row in rows) == len(pairs)
    gaps = sum(row["count"] * abs(row["accuracy"] - row["confidence"]) for row in rows)
    assert gaps / len(pairs) == pytest.approx(expected, abs=1e-9)
