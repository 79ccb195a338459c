"""Timings of different machines, numbers of threads or batch sizes are told apart or left out, and all are named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from records_by_hand import read_plain, relabel, rows_of_table, write_plain, write_rows

from apm_tta.cli import main
from apm_tta.columns import TIMINGS
from apm_tta.data.sample import CLEAN
from apm_tta.harness.plan import Cell, record_file
from apm_tta.harness.storage.records import read_shard
from apm_tta.report import write_report
from apm_tta.report.html.figures import figures
from apm_tta.report.html.questions import answer_questions
from apm_tta.report.run_data import read_report_data

LOOKS_AT_COSTS = True

SECOND_SHARD, FIRST_SHARD = "*-shard-00001.parquet", "*-shard-00000.parquet"
LATER = "2024-05-07T07:08:09+00:00"


def change(run: Path, pattern: str, **changes: Any) -> None:
    paths = sorted((run / "records").rglob(pattern))
    assert paths
    for path in paths:
        relabel(path, **changes)


def captions(run: Path) -> list[str]:
    """Return the report's text in its four formats, each without escapes."""
    write_report(run)
    texts = [(run / name).read_text() for name in ("results.md", "results.tex", "report.html", "results.csv")]
    return [re.sub(r"\\([*_~])", r"\1", text) for text in texts]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_sizes": (1,)}, ["batch sizes 1 and 8 (apm, zeroshot).", "1; 8"]),
        ({"site": {"threads": 7}}, ["An Abacus, 2 threads; An Abacus, 7 threads"]),
        ({"site": {"device_name": "One GPU", "device": "cuda:0"}}, ["An Abacus, 2 threads; One GPU, 2 threads"]),
    ],
)
def test_shards_of_two_kinds_have_no_common_timing_and_every_format_names_both(
    run_folder: Path, changes: dict[str, Any], words: list[str]
) -> None:
    """Half of every cell: no number of the table is an average over the two."""
    change(run_folder, SECOND_SHARD, **changes)
    markdown, latex, html, csv = captions(run_folder)
    for text in (markdown, latex, html):
        assert words[0] in text
        assert "Times and memory of 10 of 10 cells are left out: the shards were answered on different" in text
    assert words[-1] in csv
    results = pd.read_csv(run_folder / "results.csv")
    assert results[list(TIMINGS)].isna().all(axis=None)
    assert results["top1"].notna().all()
    cost = [line.split("|") for line in markdown.split("## Cost")[1].splitlines() if line.startswith("| ")][1:]
    assert {cell.strip() for line in cost for cell in line[3:7]} == {"n/a"}
    assert bool(re.search(r"at batch size \d", markdown)) == ("batch_sizes" not in changes)


def test_cells_of_two_machines_keep_their_timings_and_are_told_apart(run_folder: Path) -> None:
    """One method on one machine, the other on another: neither the text nor a figure compares them."""
    for pattern in (FIRST_SHARD, SECOND_SHARD):
        change(run_folder, f"apm/**/{pattern}", site={"device_name": "One GPU"}, batch_sizes=(1,))
    data = read_report_data(run_folder)
    assert data.results.groupby("method")["latency_ms_p50"].max().notna().all()
    text = write_report(run_folder).text
    header, *rows = [line for line in text.split("## Cost")[1].splitlines() if line.startswith("|")]
    assert [cell.strip() for cell in header.split("|")[1:4]] == ["method", "measured on", "batch size"]
    assert [[cell.strip() for cell in row.split("|")[1:4]] for row in rows[1:]] == [
        ["zeroshot", "An Abacus, 2 threads", "8"],
        ["apm", "One GPU, 2 threads", "1"],
    ]
    assert "images per second at the batch size of the row" in text
    assert "An Abacus, 2 threads; One GPU, 2 threads" in text
    assert "are left out: their shards" not in text
    assert "are not compared" in dict(answer_questions(data, data.results.assign(seeds=1)))["What does it cost?"]
    (figure,) = [each for each in figures(data, data.results.assign(seeds=1)) if each.key == "latency"]
    assert "measured on" in figure.tables[0].headers
    assert "zeroshot, An Abacus, 2 threads" in str(figure.charts["clean"])


def test_conditions_of_two_machines_are_not_averaged_in_the_cost_table(run_folder: Path) -> None:
    for pattern in (FIRST_SHARD, SECOND_SHARD):
        change(run_folder, f"zeroshot/clean/{pattern}", site={"threads": 1})
    text = write_report(run_folder).text
    rows = [line.split("|") for line in text.split("## Cost")[1].splitlines() if line.startswith("| ")][1:]
    assert [[cell.strip() for cell in row[1:3]] for row in rows] == [
        ["zeroshot", "An Abacus, 1 thread"],
        ["zeroshot", "An Abacus, 2 threads"],
        ["apm", "An Abacus, 2 threads"],
    ]


def test_seeds_of_two_batch_sizes_have_no_common_timing(run_folder: Path) -> None:
    """Each seed has its own row with its own timing; what is shown over both has none."""
    manifest = read_plain(run_folder)
    numbers = manifest["numbers"]
    numbers["conditions"], numbers["seeds"] = ["clean"], [3, 4]
    numbers["methods"] = {"zeroshot": numbers["methods"]["zeroshot"]}
    first, second = (Cell("fashion-mnist", CLEAN, "embedded", "zeroshot", seed) for seed in (3, 4))
    rows = [rows_of_table(read_shard(run_folder / record_file(first, index))) for index in (0, 1)]
    shutil.rmtree(run_folder / "records")
    write_plain(run_folder, manifest)
    for index in (0, 1):
        write_rows(run_folder / record_file(first, index), first, rows[index])
        write_rows(run_folder / record_file(second, index), second, rows[index])
        relabel(run_folder / record_file(second, index), batch_sizes=(2,))
    text = write_report(run_folder).text
    results = pd.read_csv(run_folder / "results.csv", dtype={"batch_size": str})
    assert results["batch_size"].tolist() == ["8", "2"]
    assert results["images_per_s"].notna().all()
    (row,) = [line for line in text.splitlines() if line.startswith("| clean")]
    assert [cell.strip() for cell in row.split("|")][-3:-1] == ["n/a", "n/a"]
    assert "8; 2" in row


def test_the_caption_names_every_commit_and_the_time_from_the_first_to_the_last(run_folder: Path) -> None:
    change(run_folder, SECOND_SHARD, site={"commit": "1" * 40, "started": LATER})
    for text in captions(run_folder)[:3]:
        assert f"commits fedcba987654, 111111111111; An Abacus, 2 threads, 2024-05-06T07:08:09+00:00 to {LATER}" in text


def test_one_site_is_named_as_ever(run_folder: Path) -> None:
    """With the time at which the first shard was begun."""
    change(run_folder, SECOND_SHARD, site={"started": LATER})
    for text in captions(run_folder)[:3]:
        assert "commit fedcba987654; An Abacus, 2 threads, 2024-05-06T07:08:09+00:00." in text
        assert "images per second at batch size 8;" in text


def test_a_comparison_names_device_threads_and_batch_size_and_refuses_nothing(
    run_folder: Path, whole_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(whole_run), str(whole_run)]) == 0
    assert "computed differently" not in capsys.readouterr().out
    change(run_folder, "*.parquet", site={"device": "cuda:1", "threads": 8}, batch_sizes=(1,))
    assert main(["compare", str(whole_run), str(run_folder)]) == 0
    said = capsys.readouterr().out
    assert "nothing that decides a number" in said
    assert "device: cpu there, cuda now; threads: 2 there, 8 now" in said
    assert "batch size: 8 there, 1 now" in said


def test_a_run_that_goes_on_at_another_batch_size_says_so(tmp_path: Path) -> None:
    """The case of somebody whose run was begun elsewhere: run.yaml stays what it was."""
    words = ["demo", "--methods", "zeroshot,tda", "--corruptions=", "--limit", "10", "--shard-size", "5", "--quiet"]
    run = tmp_path / "run"
    assert main([*words, "--batch-size", "64", "--shard-range", "2/3", "--out", str(run)]) == 0
    before = (run / "run.yaml").read_bytes()
    assert main([*words, "--batch-size", "1", "--out", str(run)]) == 0
    assert (run / "run.yaml").read_bytes() == before
    results = pd.read_csv(run / "results.csv", dtype={"batch_size": str}).set_index("method")
    assert results["batch_size"].to_dict() == {"zeroshot": "1; 64", "tda": "1"}
    assert results.loc["zeroshot", list(TIMINGS)].isna().all()
    known = [name for name in TIMINGS if name not in ("latency_ms_p95", "time_vs_zeroshot")]
    assert results.loc["tda", known].notna().all(), "all of it was answered by the second command"
    assert "batch sizes 1 and 64 (zeroshot)" in (run / "results.md").read_text()
