"""Charts have the numbers of the tables, and means are over all of their terms."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apm_tta.data.sample import CLEAN, Condition, parse_condition
from apm_tta.harness.storage.manifest import SourceFields
from apm_tta.report.aggregate import merge_seeds
from apm_tta.report.html.axes import linear_axis, logarithmic_axis, percent_axis
from apm_tta.report.html.charts import REFERENCE, Series, plot
from apm_tta.report.html.figures import Figure, figures
from apm_tta.report.html.means import mean_over_conditions, means_by_severity
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.run_data import ReportData, read_report_data


def figure(data: ReportData, key: str) -> Figure:
    (matching,) = [one for one in figures(data, merge_seeds(data.results)) if one.key == key]
    return matching


def test_a_heat_map_has_the_results(run: Path) -> None:
    """Its cells and their mean, read back from the picture."""
    data = read_report_data(run)
    cells = re.findall(r"<title>(\w+), (\w+): ([\d.]+) %</title>", figure(data, "corruptions").charts["severity 5"])
    own = data.results[data.results["severity"] == 5]
    expected = []
    for method in data.methods:
        tops = own[own["method"] == method].set_index("corruption")["top1"]
        expected += [(method, name, f"{tops[name]:.1f}") for name in ("contrast", "pixelate")]
        expected.append((method, "mean", f"{tops.sum() / 2:.1f}"))
    assert cells == expected


def test_accuracy_is_drawn_at_its_latency_with_its_interval(data: ReportData) -> None:
    """By hand: 6 of 8 right, 25 ms; the ends of the bar are read back by means of the labels of the axis."""
    chart = figure(data, "latency").charts["clean"]
    row = data.results.iloc[0]
    assert f"<title>zeroshot: {row['latency_ms_p50']:.4g}, {row['top1']:.4g}</title>" in chart
    y = {
        float(text): float(at) - 4
        for at, text in re.findall(r'y="([\d.]+)" text-anchor="end" class="label">(\d+)', chart)
    }
    (low, low_y), (high, high_y) = min(y.items()), max(y.items())

    def value(at: float) -> float:
        return low + (low_y - at) / (low_y - high_y) * (high - low)

    ends = re.search(r'<path d="M[\d.]+ ([\d.]+)V([\d.]+)', chart)
    assert ends is not None
    assert value(float(ends[1])) == pytest.approx(row["top1_low"], abs=0.1)
    assert value(float(ends[2])) == pytest.approx(row["top1_high"], abs=0.1)


def test_every_chart_has_a_title_a_description_and_a_table(run: Path) -> None:
    data = read_report_data(run)
    drawn = figures(data, merge_seeds(data.results))
    keys = ["latency", "corruptions", "severity", "iterations-0", "agreement", "calibration"]
    assert [one.key for one in drawn] == keys
    for one in drawn:
        assert all(table.rows for table in one.tables)
        for chart in one.charts.values():
            assert re.match(r'<svg role="img" [^>]*><title>[^<]+</title><desc>[^<]+</desc>', chart)


def test_the_fit_is_described_with_its_iterations(data: ReportData) -> None:
    """By hand: loss 0.5 to 0.25, cosine 0.75; the teacher's answer after one iteration."""
    one = figure(data, "iterations-0")
    assert "clean, loss 0.5 to 0.25, cosine 0.75" in one.text
    assert one.tables[1].rows[0] == ["clean", "0.5", "0.25", "0.75"]
    assert list(one.charts) == ["top-1", "agreement with the teacher"]
    assert one.tables[0].rows[1][2] == "100.0"


def test_a_fit_that_was_not_measured_is_shown_as_na(data: ReportData) -> None:
    fits = data.fits.assign(last_cosine=math.nan)
    assert "loss 0.5 to 0.25, cosine n/a" in figure(replace(data, fits=fits), "iterations-0").text


def test_a_mean_is_over_all_of_its_terms(data: ReportData) -> None:
    """Where a term is missing there is no mean: one over the other terms would be compared with means over all."""
    whole = merge_seeds(data.results)
    lacking = whole[~((whole["method"] == "apm") & (whole["corruption"] == "contrast") & (whole["severity"] == 5))]
    lines = means_by_severity(data, lacking)
    assert [severity for severity, _ in lines["zeroshot"]] == [0, 3, 5]
    assert [severity for severity, _ in lines["apm"]] == [0, 3]
    tops = whole[(whole["method"] == "apm") & (whole["severity"] == 3)]["top1"]
    assert dict(lines["apm"])[3] == pytest.approx(tops.sum() / 2)
    assert list(mean_over_conditions(data, whole, "top1")) == ["zeroshot", "apm"]
    assert list(mean_over_conditions(data, lacking, "top1")) == ["zeroshot"]
    unknown = whole.assign(agreement=[math.nan, *whole["agreement"][1:]])
    assert list(mean_over_conditions(data, unknown, "agreement")) == ["apm"]


def test_a_best_mean_is_named_only_where_there_are_means(data: ReportData) -> None:
    whole = merge_seeds(data.results)
    assert answer_questions(data, whole)[0][1].startswith("Highest mean top-1 over the conditions: ")
    first: pd.DataFrame = whole[whole["severity"] == 3]
    assert answer_questions(data, first)[0][1].startswith("No method has answers under every condition")


@pytest.mark.parametrize("condition", [CLEAN, Condition("fog", 1), Condition("of two words", 5)])
def test_a_condition_is_parsed_from_its_text(condition: Condition) -> None:
    assert parse_condition(str(condition)) == condition


PERCENTS = st.lists(st.floats(0, 100), min_size=1, max_size=20)


@given(PERCENTS)
def test_a_percent_axis_contains_its_values(values: list[float]) -> None:
    """Within 0 .. 100, with at most eight values labelled, the first and the last at its ends."""
    axis = percent_axis("%", values)
    assert 0 <= axis.low <= min(values)
    assert max(values) <= axis.high <= 100
    assert 2 <= len(axis.ticks) <= 8
    assert axis.ticks[0] == axis.low
    assert axis.ticks[-1] == pytest.approx(axis.high)


@given(st.lists(st.floats(1e-4, 1e6), min_size=1, max_size=20))
def test_a_logarithmic_axis_contains_its_values(values: list[float]) -> None:
    """Equal ratios are equal distances; two to fourteen values are labelled."""
    axis = logarithmic_axis("ms", values)
    assert axis.low <= min(values)
    assert max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 14
    middle = math.sqrt(axis.low * axis.high)
    assert axis.place(middle, 10, 20) == pytest.approx(15)


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=20))
def test_an_axis_of_iterations_contains_its_values(values: list[int]) -> None:
    axis = linear_axis("iteration", values)
    assert axis.low == min(values)
    assert axis.high >= max(values)
    assert len(axis.ticks) <= 9


def test_methods_differ_in_shape_and_colour() -> None:
    """No two of fourteen methods share both, and each has its mark in the chart and in the legend."""
    series = [Series(str(index), [(0, index), (1, index)], colour=index) for index in range(14)]
    assert len({(one.variable, one.shape) for one in series}) == 14
    chart = plot(series, linear_axis("x", [0, 1]), percent_axis("y"), "title", "description")
    for one in series:
        mark = f'<path d="{one.shape}"', f'class="mark" style="fill:{one.variable}"'
        assert sum(mark[0] in path and mark[1] in path for path in re.findall(r"<path [^>]*>", chart)) == 3


def test_a_reference_line_has_no_mark() -> None:
    chart = plot(
        [Series("calibrated", [(0, 0), (1, 100)], colour=REFERENCE)],
        linear_axis("x", [0, 1]),
        percent_axis("y"),
        "a",
        "b",
    )
    assert "var(--reference)" in chart
    assert 'class="mark"' not in chart


def test_names_in_a_chart_are_escaped() -> None:
    chart = plot([Series("<b>", [(1, 2)])], linear_axis("<i>", [0, 1]), percent_axis("<u>"), "<s>", '"<p>')
    assert not re.search(r"<[bius]>|<p>", chart)


def test_what_reproduces_a_row_is_said(data: ReportData) -> None:
    """The command; with the code of methods that the package does not have; not for sure where code is in no commit."""
    results, numbers = merge_seeds(data.results), data.manifest.numbers
    own = {"mine": SourceFields(distribution=None, version="Python 3.11", sha256="ab" * 32)}

    def answer(**revisions: Any) -> str:
        changed = numbers.model_copy(update={"revisions": numbers.revisions.model_copy(update=revisions)})
        other = replace(data, manifest=data.manifest.model_copy(update={"numbers": changed}))
        return answer_questions(other, results)[-1][1]

    assert answer().startswith("Yes: ")
    assert "the code of" not in answer()
    assert "and the code of mine, whose digest is in run.yaml; where no package has it" in answer(sources=own)
    assert answer(uncommitted="ab" * 32).startswith("Not necessarily: ")
