"""What a classifier is asked for beside top-1, against examples worked by hand and scikit-learn; and its table."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from apm_tta.report import write_report
from apm_tta.report.run_data import ReportData
from apm_tta.report.statistics import calibration_error
from apm_tta.report.trust import MEASURES, paid_with_trust, trust_means, trust_table
from apm_tta.report.trust_statistics import (
    adaptive_calibration_error,
    class_accuracies,
    foreign_accepted,
    risk_coverage_area,
    separation,
    worst_classes_accuracy,
)

answers = st.lists(st.tuples(st.sampled_from([0.125, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=1, max_size=60)


def arrays(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([value for value, _ in pairs]), np.array([hit for _, hit in pairs])


def test_adaptive_calibration_error_worked_by_hand() -> None:
    """30 images, two to a bin: the first 28 are half right at 0.5, the last two both wrong at 0.75 and 1."""
    confidence = np.array([1.0, 0.75, *[0.5] * 28])
    right = np.array([False, False, *[True, False] * 14])
    assert adaptive_calibration_error(confidence, right) == pytest.approx((0.75 + 1.0) / 30)


def test_fewer_images_than_bins_are_a_bin_each() -> None:
    assert adaptive_calibration_error(np.array([0.5, 0.75]), np.array([True, False])) == pytest.approx((0.5 + 0.75) / 2)


def test_risk_coverage_area_worked_by_hand() -> None:
    """Errors in the second and the fourth place: risks 0, 1/2, 1/3, 1/2."""
    confidence, right = np.array([0.6, 0.9, 0.8, 0.7]), np.array([False, True, False, True])
    assert risk_coverage_area(confidence, right) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_risk_coverage_area_of_equal_confidences_is_the_mean_over_their_orders() -> None:
    """A right answer at 0.9, then one right and one wrong at 0.5 in either order: risks 0, 0, 1/3 or 0, 1/2, 1/3."""
    confidence, right = np.array([0.5, 0.9, 0.5]), np.array([True, True, False])
    assert risk_coverage_area(confidence, right) == pytest.approx(((1 / 3) / 3 + (1 / 2 + 1 / 3) / 3) / 2)


@given(answers, st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(pairs: list[tuple[float, bool]], random: Random) -> None:
    shuffled = random.sample(pairs, len(pairs))
    for measure in (adaptive_calibration_error, risk_coverage_area):
        assert measure(*arrays(pairs)) == pytest.approx(measure(*arrays(shuffled)), abs=1e-12)


@given(answers)
def test_measures_by_confidence_stay_within_their_bounds(pairs: list[tuple[float, bool]]) -> None:
    """No order of k errors among n has a smaller area than errors last, or a larger one than errors first."""
    confidence, right = arrays(pairs)
    assert 0 <= adaptive_calibration_error(confidence, right) <= 1
    places = np.arange(1, len(pairs) + 1)
    best, worst = (float((order.cumsum() / places).mean()) for order in (np.sort(~right), np.sort(~right)[::-1]))
    assert best - 1e-12 <= risk_coverage_area(confidence, right) <= worst + 1e-12


@given(answers)
def test_all_of_one_confidence_have_the_plain_calibration_error_and_the_error_rate(
    pairs: list[tuple[float, bool]],
) -> None:
    """Where confidences say nothing, bins of equal width and of equal mass see the same, and coverage changes none."""
    _, right = arrays(pairs)
    same = np.full(len(right), 0.25)
    assert adaptive_calibration_error(same, right) == pytest.approx(calibration_error(same, right), abs=1e-12)
    assert risk_coverage_area(same, right) == pytest.approx(1 - right.mean(), abs=1e-12)


def test_classes_worked_by_hand() -> None:
    """Class 0: 1 of 2, class 2: 3 of 3, class 5: 0 of 1; the others have no image. One of three is the worst."""
    label = np.array([0, 0, 2, 2, 2, 5])
    accuracies = class_accuracies(label, np.array([True, False, True, True, True, False]))
    assert accuracies.tolist() == [0, 0.5, 1]
    assert worst_classes_accuracy(accuracies) == 0
    assert worst_classes_accuracy(np.linspace(0, 1, 21)) == pytest.approx((0 + 0.05) / 2), "two of 21"


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=60))
def test_the_mean_over_classes_is_scikit_learns_balanced_accuracy(pairs: list[tuple[int, int]]) -> None:
    label = np.array([pair[0] for pair in pairs])
    # scikit-learn warns of predicted classes without images: such a prediction is another wrong one here.
    prediction = np.array(
        [own if own in label else label[(place + 1) % len(label)] for place, (_, own) in enumerate(pairs)]
    )
    accuracies = class_accuracies(label, label == prediction)
    assert worst_classes_accuracy(accuracies) <= accuracies.mean() + 1e-12
    if len(accuracies) > 1:
        assert accuracies.mean() == pytest.approx(balanced_accuracy_score(label, prediction), abs=1e-12)


def test_the_table_has_means_over_the_conditions_and_differences(data: ReportData) -> None:
    """All confidences are 0.5: ECE is the distance of top-1 to 50, AURC the error rate. The records have no NLL."""
    means = data.trust.set_index("method")
    assert means["top1"].tolist() == [32.5, 37.5]
    assert means["ece"].tolist() == means["adaptive_ece"].tolist() == [27.5, 27.5]
    assert means["aurc"].tolist() == pytest.approx([67.5, 62.5])
    assert means["worst_classes"].tolist() == [0, 0]
    assert means[["nll", "brier", "delta_nll"]].isna().all(axis=None)
    assert means.loc["apm", ["delta_top1", "delta_ece", "delta_aurc"]].tolist() == pytest.approx([5, 0, -5])
    table = trust_table(data.trust, 5)
    assert table.headers == ["method", "top-1 %", "ECE %", "adaptive ECE %", "AURC %", "worst classes %"]
    assert table.rows == [
        ["zeroshot", "32.5", "27.5", "27.5", "67.5", "0.0"],
        ["apm", "37.5 (+5.0)", "27.5 (+0.0)", "27.5 (+0.0)", "62.5 (-5.0)", "0.0 (+0.0)"],
    ]


def results(**changes: float) -> pd.DataFrame:
    """Two conditions of zeroshot, and of ``tda`` with changes to every measure."""
    plain = dict.fromkeys(MEASURES, 10.0)
    return pd.DataFrame(
        [
            {"method": method, "seed": 0, "condition": condition, **plain, **(changes if method == "tda" else {})}
            for condition in range(2)
            for method in ("zeroshot", "tda")
        ]
    )


def test_the_answer_names_what_a_gain_is_paid_with() -> None:
    paid = paid_with_trust(trust_means(results(top1=11.5, nll=10.1, aurc=9.0, worst_classes=8.0), 2))
    assert "for 1 of 1 method: tda +1.5 points, worse in NLL, worst classes." in paid
    free = paid_with_trust(trust_means(results(top1=11.5, nll=9.9), 2))
    assert "tda +1.5 points, nothing worse." in free
    votes = dict.fromkeys(["nll", "brier", "ece", "adaptive_ece", "aurc"], math.nan)
    assert "tda +1.5 points, nothing worse of what is known." in paid_with_trust(
        trust_means(results(top1=11.5, **votes), 2)
    )
    assert "No method gained" in paid_with_trust(trust_means(results(nll=9.0), 2))
    assert "no method to compare" in paid_with_trust(trust_means(results().query("method == 'tda'"), 2))


def test_stability_is_the_range_of_the_seeds_means() -> None:
    """Means over the two conditions: 10 and 12 for zeroshot's seeds, 10 and 7 for those of tda; SD 2 / sqrt(2)."""
    first, second = results(), results(top1=7.0).assign(seed=1)
    second.loc[second["method"] == "zeroshot", "top1"] = [11.0, 13.0]
    means = trust_means(pd.concat([first, second]), 2).set_index("method")
    assert means.loc["zeroshot", ["seeds", "top1", "top1_lowest", "top1_highest"]].tolist() == [2, 11, 10, 12]
    assert means.loc["zeroshot", "top1_sd"] == pytest.approx(math.sqrt(2))
    table = trust_table(means.reset_index(), 2)
    assert table.headers[-1] == "top-1 by seed %"
    assert [row[-1] for row in table.rows] == ["10.0 .. 12.0", "7.0 .. 10.0"]
    assert "2 conditions and 2 seeds" in table.note
    assert "by seed" not in " ".join(trust_table(trust_means(first, 2), 2).headers)
    incomplete = trust_means(pd.concat([first, second.iloc[:-1]]), 2).set_index("method")
    assert incomplete.loc["tda", ["top1", "top1_lowest"]].isna().all(), "not the range of the seeds that are there"


def test_a_mean_that_lacks_a_condition_is_unknown() -> None:
    means = trust_means(results().iloc[:-1], 2).set_index("method")
    assert means.loc["zeroshot", "nll"] == 10
    assert math.isnan(means.loc["tda", "nll"])


def test_balanced_accuracy_is_shown_where_it_is_not_top1() -> None:
    assert "balanced %" not in trust_table(trust_means(results(), 2), 2).headers
    table = trust_table(trust_means(results(balanced_accuracy=9.0), 2), 2)
    assert "balanced %" in table.headers
    assert "not equally many" in table.note


def test_every_form_of_the_report_has_the_table_and_the_answer(run_folder: Path) -> None:
    text = write_report(run_folder).text
    assert "## Trust" in text
    assert "37.5 (+5.0)" in (run_folder / "results.tex").read_text()
    page = (run_folder / "report.html").read_text()
    assert '<section id="trust"' in page
    assert "Is a gain in accuracy paid with trust?" in page
    assert "apm +5.0 points, nothing worse of what is known." in page
    assert pd.read_csv(run_folder / "trust.csv")["delta_top1"].tolist() == [0, 5]


def test_foreign_images_worked_by_hand() -> None:
    """Of 3 x 2 pairs the own image is higher in four, equal in one. All own scores reach 0.3, and so does one other."""
    own, foreign = np.array([0.9, 0.5, 0.3]), np.array([0.2, 0.5])
    assert separation(own, foreign) == pytest.approx(4.5 / 6)
    assert foreign_accepted(own, foreign) == 0.5


def test_one_in_twenty_own_images_may_be_lost() -> None:
    """Of 20 own images the lowest may fall below the threshold, which is then the second lowest; of 19 none may."""
    own, foreign = np.linspace(1, 20, 20), np.array([0.5, 1.0, 1.5, 2.0])
    assert foreign_accepted(own, foreign) == 0.25
    assert foreign_accepted(own[:19], foreign) == 0.75


@given(answers)
def test_the_separation_is_scikit_learns_area(pairs: list[tuple[float, bool]]) -> None:
    scores, is_own = arrays(pairs)
    if len(set(is_own)) == 2:
        expected = roc_auc_score(is_own, scores)
        assert separation(scores[is_own], scores[~is_own]) == pytest.approx(expected, abs=1e-12)
