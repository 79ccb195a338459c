"""The numbers of the tables, compared with numbers worked out by hand from the letters in ``conftest.py``."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_by_hand import Row, read_plain, rows_of_table, write_plain, write_rows

from apm_tta.data.sample import CLEAN, Condition
from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell, record_file
from apm_tta.harness.storage.records import read_shard
from apm_tta.report import cell_answers
from apm_tta.report.aggregate import condition_name, mean_over_corruptions, merge_seeds
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.system import threads

# corruption, severity, method, top-1, top-5, agreement: counts of letters, of 8 images.
EXPECTED = [
    ("clean", 0, "zeroshot", 75.0, 87.5, 100.0),
    ("clean", 0, "apm", 75.0, 87.5, 75.0),
    ("pixelate", 3, "zeroshot", 50.0, 75.0, 100.0),
    ("pixelate", 3, "apm", 62.5, 75.0, 62.5),
    ("pixelate", 5, "zeroshot", 12.5, 25.0, 100.0),
    ("pixelate", 5, "apm", 25.0, 37.5, 75.0),
    ("contrast", 3, "zeroshot", 25.0, 50.0, 100.0),
    ("contrast", 3, "apm", 25.0, 37.5, 75.0),
    ("contrast", 5, "zeroshot", 0.0, 0.0, 100.0),
    ("contrast", 5, "apm", 0.0, 0.0, 87.5),
]
# Wilson's 95 % interval of k out of 8, in percent, from the closed formula with 30 digits.
WILSON = {
    0: (0.0, 32.4407564883880),
    1: (2.2417491450057, 47.0888182212854),
    2: (7.1479212752109, 59.0724569689831),
    4: (21.5216062213878, 78.4783937786122),
    5: (30.5742394602627, 86.3155714176403),
    6: (40.9275430310169, 92.8520787247891),
}


def test_top1_top5_and_agreement_are_those_counted_by_hand(results: pd.DataFrame) -> None:
    """The rows are in the order of the manifest's conditions and, under each, of its methods."""
    columns = ["corruption", "severity", "method", "top1", "top5", "agreement"]
    assert list(results[columns].itertuples(index=False, name=None)) == EXPECTED


def test_every_row_names_its_cell_and_counts_its_images(results: pd.DataFrame) -> None:
    """Two shards become one row."""
    assert len(results) == 10
    for column, value in {"dataset": "fashion-mnist", "teacher": "embedded", "seed": 3, "n": 8}.items():
        assert set(results[column]) == {value}
    assert results["iterations"].tolist() == [0, 2] * 5


def test_intervals_are_wilsons(results: pd.DataFrame) -> None:
    for _, row in results.iterrows():
        low, high = WILSON[round(row["top1"] * 8 / 100)]
        assert (row["top1_low"], row["top1_high"]) == pytest.approx((low, high), abs=1e-9)


def test_latency_is_over_the_measured_images_only(results: pd.DataFrame) -> None:
    """10, 20, 30 and 40 ms for four images (100 more for apm); the other four were not measured."""
    table = results.set_index(["corruption", "severity", "method"])[["latency_ms_p50", "latency_images"]]
    assert table.loc[("pixelate", 3, "zeroshot")].tolist() == pytest.approx([25.0, 4])
    assert table.loc[("clean", 0, "apm")].tolist() == pytest.approx([125.0, 4])
    assert math.isnan(table.loc[("contrast", 5, "apm"), "latency_ms_p50"])
    assert results["latency_ms_p95"].isna().all(), "of so few images there is no 95th percentile"


def test_images_per_second_come_from_the_time_of_the_batches(results: pd.DataFrame) -> None:
    """2 ms per image: 500 images per second; 8 ms: 125."""
    assert results["images_per_s"].tolist() == pytest.approx([500.0, 125.0] * 5)


@pytest.mark.parametrize("methods", [["zeroshot", "apm"], ["apm", "zeroshot"]])
def test_rows_follow_the_manifests_order(run_folder: Path, methods: list[str]) -> None:
    manifest = read_plain(run_folder)
    numbers = manifest["numbers"]
    numbers["conditions"] = sorted(numbers["conditions"])
    numbers["methods"] = {name: numbers["methods"][name] for name in methods}
    write_plain(run_folder, manifest)
    table = read_report_data(run_folder).results
    names = [condition_name(*pair) for pair in zip(table["corruption"], table["severity"], strict=True)]
    assert list(zip(names, table["method"], strict=True)) == [(c, m) for c in numbers["conditions"] for m in methods]


def test_the_order_of_the_records_changes_no_number(run_folder: Path, results: pd.DataFrame) -> None:
    """An online method sees the images in another order: pairs are matched by id."""
    for path in (run_folder / "records" / "apm").rglob("*.parquet"):
        shard = read_shard(path)
        rows = rows_of_table(shard)
        condition = Condition(shard["corruption"][0].as_py(), shard["severity"][0].as_py())
        write_rows(path, Cell("fashion-mnist", condition, "embedded", "apm", 3), rows[::-1])
    pd.testing.assert_frame_equal(read_report_data(run_folder).results, results)


def test_means_are_over_corruptions_at_each_severity(results: pd.DataFrame) -> None:
    """Clean images are not a corruption. Severity 3: apm (62.5 + 25) / 2; severity 5: (25 + 0) / 2; and so on."""
    means = mean_over_corruptions(results)[["severity", "method", "corruptions", "top1", "agreement"]]
    assert list(means.itertuples(index=False, name=None)) == [
        (3, "zeroshot", 2, 37.5, 100.0),
        (3, "apm", 2, 43.75, 68.75),
        (5, "zeroshot", 2, 6.25, 100.0),
        (5, "apm", 2, 12.5, 81.25),
    ]


def test_clean_images_only_have_no_mean_over_corruptions(results: pd.DataFrame) -> None:
    assert len(mean_over_corruptions(results[results["corruption"] == "clean"])) == 0


def test_by_iteration_counts_each_iteration_of_each_group(data: ReportData) -> None:
    """Counted over 8 or 16 answers: after 0 iterations nobody's answer, after 1 the teacher's, after 2 the method's."""
    assert list(data.iterations.itertuples(index=False, name=None)) == [
        ("clean", "apm", 0, 0.0, 0.0),
        ("clean", "apm", 1, 75.0, 100.0),
        ("clean", "apm", 2, 75.0, 75.0),
        ("severity 3", "apm", 0, 0.0, 0.0),
        ("severity 3", "apm", 1, 31.25, 100.0),
        ("severity 3", "apm", 2, 43.75, 68.75),
        ("severity 5", "apm", 0, 0.0, 0.0),
        ("severity 5", "apm", 1, 0.0, 100.0),
        ("severity 5", "apm", 2, 12.5, 81.25),
    ]
    assert list(data.iterations.columns) == ["group", "method", "iteration", "top1", "agreement"]
    assert list(data.fits.itertuples(index=False, name=None)) == [
        (group, "apm", 0.5, 0.25, 0.75) for group in ("clean", "severity 3", "severity 5")
    ]


def test_disagreements_count_who_was_right(data: ReportData) -> None:
    """M, T and D over the 40 answers of apm: 6, 2 and 2; zero-shot never differs from itself."""
    assert data.disagreements.to_dict("records") == [
        {"method": "zeroshot", "answers": 40, "different": 0, "method_right": 0, "teacher_right": 0},
        {"method": "apm", "answers": 40, "different": 10, "method_right": 6, "teacher_right": 2},
    ]


def test_the_last_iteration_equals_the_results(data: ReportData, results: pd.DataFrame) -> None:
    """Two ways to the same number: the table by iteration ends at the value in the results table."""
    last = data.iterations.query("iteration == 2").set_index("group")["top1"]
    assert last["clean"] == results.query("method == 'apm' and corruption == 'clean'")["top1"].item()
    means = mean_over_corruptions(results).query("method == 'apm'").set_index("severity")["top1"]
    assert [last["severity 3"], last["severity 5"]] == means.tolist()


def test_methods_are_compared_with_zeroshot_image_by_image(results: pd.DataFrame) -> None:
    """pixelate 3: zero-shot BBBBSSWW, apm BBBMMDWS: one image more, which only apm got right."""
    row = results.query("method == 'apm' and corruption == 'pixelate' and severity == 3").iloc[0]
    assert row["delta_zeroshot"] == 12.5
    assert row["p_mcnemar"] == row["p_holm"] == 1.0
    assert row["delta_low"] <= 12.5 <= row["delta_high"]
    zeroshot = results[results["method"] == "zeroshot"]
    assert zeroshot[["delta_zeroshot", "p_mcnemar", "p_holm"]].isna().all().all()
    assert not results["best"].any(), "eight images separate no methods"


def test_calibration_is_of_the_recorded_confidences(data: ReportData, results: pd.DataFrame) -> None:
    """Every confidence is 0.5: one bin, whose error is the distance of the accuracy to 0.5."""
    assert len(data.calibration) == len(results) == 10
    assert set(data.calibration["confidence"]) == {0.5}
    assert data.calibration["accuracy"].tolist() == (results["top1"] / 100).tolist()
    assert results["ece"].tolist() == pytest.approx((results["top1"] - 50).abs().tolist(), abs=1e-4)


def test_forwards_and_backwards_are_those_of_the_formula(results: pd.DataFrame) -> None:
    assert set(results[results["method"] == "apm"]["forwards"]) == {1}
    assert results[results["method"] == "zeroshot"]["forwards"].isna().all(), "not in the manifest"


def test_several_seeds_become_a_mean_and_a_deviation(results: pd.DataFrame) -> None:
    """75 and 50 %: 62.5, and sqrt(2) / 2 of their distance; a single seed's interval is dropped."""
    one = results[(results["corruption"] == "clean") & (results["method"] == "apm")]
    both = pd.concat([one, one.assign(seed=4, top1=50.0)], ignore_index=True)
    (row,) = merge_seeds(both).to_dict("records")
    assert (row["seeds"], row["top1"]) == (2, 62.5)
    assert row["top1_sd"] == pytest.approx(25 / math.sqrt(2))
    assert math.isnan(row["top1_low"])


@given(
    st.just(CLEAN)
    | st.builds(Condition, st.sampled_from(["fog", "gaussian_noise"]), st.integers(min_value=1, max_value=5))
)
def test_a_condition_has_one_name_everywhere(condition: Condition) -> None:
    """The name in the table equals the one in the manifest."""
    assert condition_name(condition.corruption, condition.severity) == str(condition)


CELL = Cell("fashion-mnist", CLEAN, "embedded", "zeroshot", 3)


def answered(index: int, right: bool = True) -> Row:
    """Make an answer that equals its teacher's."""
    prediction = index if right else index + 1
    return Row(
        f"test/{index:05d}",
        index,
        None,
        prediction,
        [prediction],
        0.5,
        prediction,
        None,
        [],
        iterations=0,
        batch_ms=2.0,
    )


def report_of_one_cell(run: Path, rows: list[Row]) -> ReportData:
    """Replace the run's records by ``rows`` of one cell, and read them."""
    manifest = read_plain(run)
    numbers = manifest["numbers"]
    numbers["conditions"], numbers["methods"] = ["clean"], {"zeroshot": numbers["methods"]["zeroshot"]}
    numbers["shard_size"] = len(rows)
    shutil.rmtree(run / "records")
    write_plain(run, manifest)
    write_rows(run / record_file(CELL, 0), CELL, rows)
    return read_report_data(run)


def only_row(run: Path, rows: list[Row]) -> dict[str, object]:
    (row,) = report_of_one_cell(run, rows).results.to_dict("records")
    return row


def test_an_image_without_an_answer_is_an_error_and_neither_right_nor_wrong(run_folder: Path) -> None:
    rows = [answered(index, right=index < 5) for index in range(8)]
    rows[1] = Row(rows[1].id, rows[1].label, error="cut short")
    row = only_row(run_folder, rows)
    assert (row["n"], row["errors"]) == (7, 1)
    assert row["top1"] == pytest.approx(100 * 4 / 7)
    assert row["agreement"] == pytest.approx(100)
    assert row["images_per_s"] == pytest.approx(500)
    assert read_report_data(run_folder).damaged.to_dict("records") == [
        {"corruption": "clean", "severity": 0, "id": "test/00001", "kind": "damaged", "error": "cut short"}
    ]


def test_a_cell_without_any_answer_has_no_numbers(run_folder: Path) -> None:
    row = only_row(run_folder, [Row(f"test/{index}", 0, error="cut short") for index in range(8)])
    assert (row["n"], row["errors"]) == (0, 8)
    assert pd.isna(row["top1"])
    assert pd.isna(row["images_per_s"])


def test_agreement_with_a_target_is_counted_like_that_with_the_teacher(run_folder: Path) -> None:
    rows = [replace(answered(index), target_prediction=index if index < 6 else 9) for index in range(8)]
    assert only_row(run_folder, rows)["agreement_target"] == pytest.approx(75)


def test_answers_from_a_feature_cache_have_no_rate(run_folder: Path) -> None:
    """The time of computing the features was not measured: a rate would be made up."""
    row = only_row(run_folder, [replace(answered(index), batch_ms=None) for index in range(8)])
    assert pd.isna(row["images_per_s"])
    assert pd.isna(row["latency_ms_p50"])
    assert row["top1"] == 100


def test_a_confidence_that_is_not_a_number_is_refused(run_folder: Path) -> None:
    with pytest.raises(UserError, match="confidence of zeroshot on image test/00003 is not a number"):
        report_of_one_cell(run_folder, [replace(answered(i), confidence=math.nan if i == 3 else 0.5) for i in range(8)])


def test_shares_of_votes_are_not_calibrated(run_folder: Path) -> None:
    manifest = read_plain(run_folder)
    manifest["numbers"]["methods"]["apm"]["votes"] = True
    write_plain(run_folder, manifest)
    data = read_report_data(run_folder)
    assert set(data.calibration["method"]) == {"zeroshot"}
    assert data.results.set_index("method").loc["apm", "ece"].isna().all()


def test_cells_that_are_read_in_threads_have_the_same_numbers(
    whole_run: Path, data: ReportData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are where a condition has many rows."""
    used = []

    def in_threads(function: Any, items: Any) -> Any:
        used.append(function)
        return threads.in_threads(function, items)

    monkeypatch.setattr(threads, "usable_cores", lambda: 4)
    monkeypatch.setattr(cell_answers, "in_threads", in_threads)
    monkeypatch.setattr(cell_answers, "_AT_ONCE", 1)
    found = read_report_data(whole_run)
    assert used
    for name in ("results", "iterations", "fits", "calibration", "disagreements", "damaged"):
        pd.testing.assert_frame_equal(getattr(found, name), getattr(data, name))
    assert found.samples == data.samples
