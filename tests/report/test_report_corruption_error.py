"""mCE, on examples that can be worked out by hand, and only where it is defined."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from apm_tta.report.corruption_error import ALEXNET, mean_corruption_error


def results(factor: float) -> pd.DataFrame:
    """Make errors of ``factor`` times AlexNet's, larger at higher severities, and an extra corruption to be ignored."""
    rows = [
        {
            "corruption": name,
            "severity": severity,
            "method": "zeroshot",
            "seed": 0,
            "top1": 100 * (1 - factor * error * scale),
        }
        for name, error in ALEXNET.items()
        for severity, scale in zip(range(1, 6), (0.8, 0.9, 1.0, 1.1, 1.2), strict=True)
    ]
    return pd.DataFrame([*rows, {"corruption": "spatter", "severity": 1, "method": "zeroshot", "seed": 0, "top1": 0.0}])


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 100.0), (0.5, 50.0)])
def test_alexnet_has_100(factor: float, expected: float) -> None:
    (row,) = mean_corruption_error(results(factor), 1000).to_dict("records")
    assert row == {
        "method": "zeroshot",
        "mce": pytest.approx(expected),
        "relative_mce": pytest.approx(math.nan, nan_ok=True),
    }


def test_relative_mce_measures_the_errors_that_corruptions_add() -> None:
    """AlexNet scores 100; half as many errors everywhere, on clean images too, are half as many added: 50."""
    for factor in (1.0, 0.5):
        clean = {
            "corruption": "clean",
            "severity": 0,
            "method": "zeroshot",
            "seed": 0,
            "top1": 100 * (1 - factor * 0.4348),
        }
        table = pd.concat([results(factor), pd.DataFrame([clean])], ignore_index=True)
        assert mean_corruption_error(table, 1000)["relative_mce"].tolist() == [pytest.approx(100 * factor)]


def test_a_corruption_is_weighted_by_its_own_difficulty() -> None:
    """All wrong under brightness, equal to AlexNet elsewhere: (14 + 1 / 0.564592) / 15."""
    table = results(1.0)
    table.loc[table["corruption"] == "brightness", "top1"] = 0.0
    assert mean_corruption_error(table, 1000)["mce"].tolist() == [pytest.approx(100 * (14 + 1 / 0.564592) / 15)]


@pytest.mark.parametrize("drop", [{"corruption": "fog", "severity": 3}, {"corruption": "snow", "severity": 5}])
def test_it_is_not_defined_when_a_condition_is_missing(drop: dict[str, object]) -> None:
    table = results(1.0)
    missing = (table["corruption"] == drop["corruption"]) & (table["severity"] == drop["severity"])
    assert mean_corruption_error(table[~missing], 1000).empty


def test_it_is_not_defined_for_another_number_of_classes() -> None:
    assert mean_corruption_error(results(1.0), 200).empty
