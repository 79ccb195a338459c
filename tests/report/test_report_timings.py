"""Times of a machine on which something else ran: marked in every table, left out of charts, ratios and answers."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from records_by_hand import SITE, read_plain, relabel

from apm_tta.errors import UserError
from apm_tta.harness.quietness import Clocks
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import record_files
from apm_tta.harness.storage.times import MethodTimes, Times, write_times
from apm_tta.report.aggregate import merge_seeds
from apm_tta.report.html.figures import figures
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.run_data import ReportData, read_report_data
from apm_tta.report.tables import cost_table
from apm_tta.report.write import write_report

QUIET = Clocks(reference_ms=1.05, fastest_ms=1.0, processor_share=0.98)
BUSY = Clocks(reference_ms=2.0, fastest_ms=1.6, processor_share=0.5)
FORMS = ("results.md", "results.tex", "report.html")


def clocked(run: Path, busy: str = "") -> Path:
    """Let every file of records say that the machine was quiet, those whose path has ``busy`` in it that it was not."""
    for path in record_files(run):
        relabel(path, clocks=BUSY if busy and busy in path.as_posix() else QUIET)
    return run


def texts(run: Path) -> dict[str, str]:
    write_report(run)
    return {name: (run / name).read_text(encoding="utf-8").replace(r"\dag{}", "†") for name in FORMS}


def latency_figure(data: ReportData) -> str:
    (figure,) = [each for each in figures(data, merge_seeds(data.results)) if each.key == "latency"]
    return figure.text + " ".join(map(str, figure.charts.values()))


def test_of_a_quiet_machine_nothing_is_marked(run_folder: Path) -> None:
    for text in texts(clocked(run_folder)).values():
        assert "†" not in text
        assert "something else ran" not in text
        assert "was not recorded" not in text
    results = pd.read_csv(run_folder / "results.csv")
    assert results["times_disturbed"].isna().all()
    assert results["time_vs_zeroshot"].tolist() == pytest.approx([1, 4] * 5)


def test_marks_are_in_every_form_of_the_tables_with_a_note_on_clean_ones(run_folder: Path) -> None:
    """Of apm on clean images: 125 ms and 125 images per second."""
    clocked(run_folder, "records/apm/clean/")
    for name, text in texts(run_folder).items():
        assert text.count("125.0†") == 1, name
        assert text.count("125†") == 1, name
        assert "† Something else ran on the machine meanwhile" in text
        assert "Times of 1 of 10 cells are marked †" in text
        assert "run-bench time" in text
    results = pd.read_csv(run_folder / "results.csv").set_index(["method", "corruption", "severity"])
    row = results.loc[("apm", "clean", 0)]
    assert row["times_disturbed"] == "a core for 50 % of the time and the reference took 2.0 times as long as at best"
    assert row["latency_ms_p50"] == 125
    assert results["times_disturbed"].notna().sum() == 1


def test_marked_times_are_in_no_chart_ratio_or_share(run_folder: Path) -> None:
    """With apm's clean cell marked, four conditions are left: of the time under them apm takes 80 %."""
    data = read_report_data(clocked(run_folder, "records/apm/clean/"))
    row = data.results.query("method == 'apm' and corruption == 'clean'").iloc[0]
    assert pd.isna(row["time_vs_zeroshot"])
    assert data.results["time_vs_zeroshot"].notna().sum() == 9
    assert "Left out: 1 of 8 rows" in latency_figure(data)
    assert latency_figure(data).count("<title>apm: ") == 3
    table = cost_table(data.merged, data.manifest)
    shares = [row[table.headers.index("share of time %")] for row in table.rows]
    assert shares == ["20.0", "80.0"]
    assert "Marked times of some conditions are left out" in table.note
    assert "†" not in "".join(map("".join, table.rows))


def test_with_zeroshots_own_cell_marked_no_method_is_compared_with_it(run_folder: Path) -> None:
    data = read_report_data(clocked(run_folder, "records/zeroshot/"))
    assert data.results["time_vs_zeroshot"].isna().all()
    table = cost_table(data.merged, data.manifest)
    assert table.rows[0][1].endswith("†"), "there is no other time of it"
    assert "†" not in "".join(table.rows[1])


def test_where_all_are_marked_there_is_no_picture_and_no_answer_on_cost(run_folder: Path) -> None:
    data = read_report_data(clocked(run_folder, "records/"))
    assert not [each for each in figures(data, data.merged) if each.key == "latency"]
    answer = dict(answer_questions(data, data.merged))["What does it cost?"]
    assert "run-bench time" in answer
    assert not re.search(r"\d ms", answer)


def test_of_records_without_clocks_it_is_said_that_it_is_not_known(run_folder: Path) -> None:
    for text in texts(run_folder).values():
        assert "was not recorded for 10 of 10 cells" in text
        assert "†" not in text


def test_one_seed_that_was_disturbed_marks_the_mean_over_the_seeds() -> None:
    key = {"dataset": "d", "corruption": "clean", "severity": 0, "setting": "episodic", "teacher": "t", "method": "m"}
    from apm_tta.report.cells import RESULT_NAMES

    same = {**dict.fromkeys(RESULT_NAMES, 1.0), **key, "measured_on": "one", "batch_size": "8", "best": False}
    texts = dict.fromkeys(("published_source", "published_differs", "beside"), "")
    rows = [{**same, **texts, "seed": seed, "times_disturbed": mark} for seed, mark in ((0, ""), (1, "busy"))]
    merged = merge_seeds(pd.DataFrame(rows, columns=RESULT_NAMES))
    assert merged["times_disturbed"].tolist() == ["busy"]


def again(run: Path, clocks: Clocks = QUIET, count: int = 100, **other: object) -> Times:
    """Write times of apm that were measured again: 1 to ``count`` ms alone, 16 ms for a batch of 8."""
    measured = MethodTimes(
        latencies_ms=tuple(float(each) for each in range(1, count + 1)),
        batch_ms=(15.0, 16.0, 90.0),
        batch_size=8,
        peak_memory_mb=7.0,
        gflop=0.5,
        clocks=clocks,
    ).model_copy(update=other)
    times = Times(fingerprint=read_manifest(run).numbers.fingerprint, site=SITE, methods={"apm": measured})
    write_times(run, times)
    return times


def test_times_that_were_measured_again_take_the_place_of_the_runs_and_the_caption_says_so(run_folder: Path) -> None:
    again(clocked(run_folder, "records/apm/"))
    for text in texts(run_folder).values():
        assert "measured again by run-bench time, 2024-05-06T07:08:09+00:00, on An Abacus, 2 threads" in text
        assert "†" not in text
    own = read_report_data(run_folder).results.query("method == 'apm'")
    assert own["latency_ms_p50"].tolist() == [50.5] * 5
    assert own["latency_ms_p95"].tolist() == pytest.approx([95.05] * 5)
    assert own["images_per_s"].tolist() == [500.0] * 5
    assert own["gflop_per_image"].tolist() == [0.5] * 5
    assert own["time_vs_zeroshot"].tolist() == [1.0] * 5, "zeroshot also answered 500 images per second"


def test_a_disturbed_measurement_is_marked_too(run_folder: Path) -> None:
    again(clocked(run_folder), BUSY)
    results = read_report_data(run_folder).results
    assert results["times_disturbed"].astype(bool).sum() == 5


def test_a_percentile_of_fewer_images_is_of_a_slow_method_and_said(run_folder: Path) -> None:
    again(clocked(run_folder), latencies_ms=(1500.0, 1600.0, 1700.0))
    data = read_report_data(run_folder)
    assert data.results.query("method == 'apm'")["latency_ms_p95"].tolist() == [pytest.approx(1690.0)] * 5
    assert "latency is of fewer: apm of 3." in " ".join(data.timing_notes)
    again(run_folder, count=99)
    assert read_report_data(run_folder).results["latency_ms_p95"].isna().all()


@pytest.mark.parametrize("change", ["damaged", "of another run"])
def test_times_that_are_not_the_runs_are_refused(run_folder: Path, change: str) -> None:
    times = again(clocked(run_folder))
    if change == "damaged":
        (run_folder / "times.json").write_text('{"fingerprint": 3}')
    else:
        write_times(run_folder, times.model_copy(update={"fingerprint": "f" * 64}))
    with pytest.raises(UserError, match=change):
        read_report_data(run_folder)
    assert read_plain(run_folder)
