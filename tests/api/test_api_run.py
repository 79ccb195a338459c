"""Running suites and opening run folders from Python: the same checks, files and numbers as the command."""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import apm_tta
from apm_tta.api.run import RunOptions
from apm_tta.cli import main
from apm_tta.columns import KEY, RECORD_COLUMNS, RESULT_COLUMNS
from apm_tta.commands.suites import SuiteCommand
from apm_tta.harness.storage.records import record_files

QUICK: dict[str, Any] = {"methods": "zeroshot", "corruptions": "", "limit": 20, "quiet": True}


def refusal(call: Callable[[], object]) -> tuple[str, int]:
    with pytest.raises(apm_tta.UserError) as caught:
        call()
    return str(caught.value), caught.value.exit_code


def test_results_are_those_of_results_csv(small_run: apm_tta.Run) -> None:
    """The frame has the file's columns in its order, and its values before they were rounded to six digits."""
    written = pd.read_csv(small_run.folder / "results.csv")
    assert list(small_run.results) == list(written) == [column.name for column in RESULT_COLUMNS]
    numeric = small_run.results.select_dtypes("number").columns
    pd.testing.assert_frame_equal(small_run.results[numeric], written[numeric], rtol=1e-5, check_dtype=False)
    assert small_run.results["method"].tolist() == written["method"].tolist()


def test_answers_are_the_records_and_make_the_results(small_run: apm_tta.Run) -> None:
    """Every image of every cell is there once; the share of right ones is top1; filters take one value or several."""
    everything = small_run.answers()
    assert list(everything) == [*KEY, *(column.name for column in RECORD_COLUMNS if column.name not in KEY)]
    assert len(everything) == 2 * 4 * 70
    assert not everything.duplicated(["method", "corruption", "severity", "seed", "id"]).any()
    for row in small_run.results.to_dict("records"):
        answers = small_run.answers(row["method"], row["corruption"], row["severity"], row["seed"])
        assert len(answers) == 70
        assert 100 * (answers.prediction == answers.label).mean() == pytest.approx(row["top1"])
    both = small_run.answers(method=["mta", "apm"], corruption="clean")
    pd.testing.assert_frame_equal(both, small_run.answers(method="mta, apm", severity=np.int64(0)))
    assert both["method"].drop_duplicates().tolist() == ["mta", "apm"]
    assert set(both["severity"]) == {0}


def test_results_cannot_be_changed_through_a_frame(small_run: apm_tta.Run) -> None:
    before, frame = small_run.results, small_run.results
    frame["top1"] = 0.0
    pd.testing.assert_frame_equal(small_run.results, before)


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"method": "memo"}, "has no method 'memo'; it has zeroshot, mta, apm, tent"),
        ({"corruption": ["clean", "fog"]}, "has no corruption 'fog'; it has clean, contrast"),
        ({"severity": 3}, "has no severity 3; it has 0, 5"),
        ({"seed": 1}, "has no seed 1; it has 0"),
        ({"seed": 0.5}, "has no seed 0.5; it has 0"),
        ({"method": [["mta"]]}, "has no method ['mta']"),
        ({"corruption": "clean", "severity": 5}, "has no answers for"),
    ],
)
def test_answers_that_are_not_there_are_refused(small_run: apm_tta.Run, filters: dict[str, Any], message: str) -> None:
    assert message in refusal(lambda: small_run.answers(**filters))[0]


def test_answers_of_damaged_or_foreign_records_are_refused(small_run: apm_tta.Run, tmp_path: Path) -> None:
    shutil.copytree(small_run.folder, tmp_path / "run")
    damaged = record_files(tmp_path / "run")[0]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert "damaged" in refusal(apm_tta.open_run(tmp_path / "run").answers)[0]


def test_a_report_says_where_it_is_and_shows_its_tables(small_run: apm_tta.Run) -> None:
    report = small_run.report()
    assert f"in {small_run.folder}" in str(report)
    assert all(path.is_file() for path in report.files)
    assert {path.name for path in report.files} >= {"report.html", "results.csv", "results.md", "results.tex"}
    assert report._repr_markdown_() == (small_run.folder / "results.md").read_text(encoding="utf-8")


def test_an_opened_run_is_the_run(small_run: apm_tta.Run) -> None:
    opened = apm_tta.open_run(str(small_run.folder))
    pd.testing.assert_frame_equal(opened.results, small_run.results)
    assert repr(opened) == repr(small_run)
    assert "demo" in repr(opened)
    message, _ = refusal(lambda: apm_tta.open_run(small_run.folder / "records"))
    assert "is not a run folder" in message


def test_options_are_the_command_s() -> None:
    """Whatever the command has, Python has under the same name."""
    command = {parameter.name for parameter in SuiteCommand("demo").params}
    assert set(RunOptions.__annotations__) == command - {"dry_run", "json"}
    assert list(inspect.signature(apm_tta.run).parameters) == ["suite", *RunOptions.__annotations__]


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"methods": "zeroshot,mtaa"}, ["--methods", "zeroshot,mtaa"]),
        ({"corruptions": ["rain"]}, ["--corruptions", "rain"]),
        ({"severities": 7}, ["--severities", "7"]),
        ({"seeds": [-1]}, ["--seeds=-1"]),
        ({"teacher": "ViT-Z"}, ["--teacher", "ViT-Z"]),
        ({"dataset": "imagenett"}, ["--dataset", "imagenett"]),
        ({"devices": "tpu"}, ["--devices", "tpu"]),
        ({"settings": {"apm": {"iteration": 3}}}, ["--set", "apm.iteration=3"]),
        ({"settings": {"apm": {"iterations": "x"}}}, ["--set", "apm.iterations=x"]),
        ({"settings": {"memo": {"views": 3}}}, ["--set", "memo.views=3"]),
        ({"jpeg_quality": 101}, ["--jpeg-quality", "101"]),
        ({"dataset": "imagenet", "data_root": "/nowhere"}, ["--dataset", "imagenet", "--data-root", "/nowhere"]),
    ],
)
def test_a_wrong_option_is_refused_with_the_command_s_line(
    options: dict[str, Any], arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["demo", *arguments, "--quiet", "--out", str(tmp_path / "a")])
    message, exit_code = refusal(lambda: apm_tta.run("demo", **options, quiet=True, out=tmp_path / "b"))
    assert capsys.readouterr().err == f"run-bench: {message}\n"
    assert exit_code == code != 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limt": 3}, "unknown option 'limt'"),
        ({"shard_range": "5/4"}, "'5/4' is not a part of a run"),
        ({"shard_range": (0, 2)}, "(0, 2) is not a part of a run"),
        ({"memory": 0}, "memory 0 is not a number above 0"),
        ({"gpu_share": float("nan")}, "gpu_share nan is not a number above 0"),
        ({"workers": -1}, "workers -1 is not a whole number"),
        ({"workers": 10**9}, "workers 1000000000 is not a whole number from 0 to 1024"),
        ({"batch_size": 10**30}, "batch_size: "),
        ({"devices": []}, "no device is named"),
        ({"out": "a\0b"}, "is not a path"),
        ({"teacher": "timm:resnet18:/nowhere/a\nb"}, "there is no file /nowhere/a\\nb"),
        ({"settings": {"apm": 3}}, "settings are of the form"),
        ({"out": 3}, "3 is not a path"),
        ({"teacher": object()}, "teacher: "),
        ({"limit": "all"}, "limit: "),
        ({"methods": 3}, "methods.0: Input should be a valid string"),
        ({"methods": []}, "methods: name at least one"),
    ],
)
def test_what_a_command_line_could_not_say_is_refused_too(options: dict[str, Any], message: str) -> None:
    text, exit_code = refusal(lambda: apm_tta.run("demo", **options))
    assert message in text
    assert "\n" not in text
    assert exit_code == 2


def test_a_run_resumes_and_another_is_refused(tmp_path: Path) -> None:
    first = apm_tta.run("demo", **QUICK, out=tmp_path / "run")
    again = apm_tta.run("demo", **QUICK, out=tmp_path / "run")
    pd.testing.assert_frame_equal(first.results, again.results)
    message, _ = refusal(lambda: apm_tta.run("demo", **{**QUICK, "seeds": 1}, out=tmp_path / "run"))
    assert "seeds" in message


def test_parts_merge_into_the_whole_run(tmp_path: Path) -> None:
    whole = apm_tta.run("demo", **QUICK, shard_size=10, out=tmp_path / "whole")
    parts = [
        apm_tta.run("demo", **QUICK, shard_size=10, shard_range=part, out=tmp_path / f"part-{part[0]}")
        for part in ((1, 2), (2, 2))
    ]
    assert "is incomplete" in refusal(lambda: parts[0].results)[0] or "lacks" in refusal(lambda: parts[0].results)[0]
    merged = apm_tta.merge(parts, tmp_path / "merged")
    assert merged.results["top1"].tolist() == whole.results["top1"].tolist()
    # Also into one of the parts, as the command always did; one that is named twice changes nothing.
    into_first = apm_tta.merge([*parts, parts[1]], parts[0].folder)
    assert into_first.results["top1"].tolist() == whole.results["top1"].tolist()
    table = apm_tta.compare(merged, tmp_path / "whole")
    assert table["delta"].tolist() == [0.0]


@pytest.mark.parametrize(
    "call",
    [
        lambda _run: apm_tta.open_run(None),
        lambda _run: apm_tta.open_run("a\0b"),
        lambda run: apm_tta.compare(run, 3),
        lambda _run: apm_tta.merge([], "whole"),
        lambda _run: apm_tta.merge(3, "whole"),
        lambda _run: apm_tta.check_dataset("dtd", 3),
        lambda run: run.report(islands=-1),
        lambda _run: apm_tta.load_teacher("embedded", classifier="none"),
    ],
)
def test_what_is_no_run_or_path_is_refused(call: Callable[[apm_tta.Run], object], small_run: apm_tta.Run) -> None:
    message, exit_code = refusal(lambda: call(small_run))
    assert "\n" not in message
    assert exit_code == 2


def test_images_that_cannot_be_read_are_warned_of_and_count_as_nothing(tmp_path: Path) -> None:
    """A damaged image has an error and no prediction: comparing it with its label gives neither right nor wrong."""
    for name, shade in (("cat", 0), ("dog", 255)):
        (tmp_path / "data" / name).mkdir(parents=True)
        for index in range(3):
            Image.new("L", (40, 40), shade).save(tmp_path / "data" / name / f"{index}.png")
    (tmp_path / "data" / "dog" / "2.png").write_bytes(b"\x89PNG cut short")
    with pytest.warns(UserWarning, match=r"1 answer is missing: .* \(1 damaged\); .*errors\.csv names them"):
        run = apm_tta.run(
            "folder",
            data_root=tmp_path / "data",
            teacher="embedded",
            methods="zeroshot",
            quiet=True,
            out=tmp_path / "run",
        )
    assert run.unreadable["id"].tolist() == ["dog/2.png"]
    answers = run.answers()
    assert answers["prediction"].isna().sum() == answers["error"].notna().sum() == 1
    right = answers["prediction"] == answers["label"]
    assert right.isna().sum() == 1
    assert 100 * right.mean() == pytest.approx(run.results["top1"][0])


def test_an_incomplete_run_is_shown_when_asked(tmp_path: Path) -> None:
    run = apm_tta.run("demo", **{**QUICK, "methods": "zeroshot,ensemble"}, out=tmp_path / "run")
    for path in record_files(run.folder):
        if "ensemble" in path.parts:
            path.unlink()
    assert "ensemble" in refusal(lambda: apm_tta.open_run(run.folder).results)[0]
    assert apm_tta.open_run(run.folder, partial=True).results["method"].tolist() == ["zeroshot"]


def test_an_estimate_computes_nothing_that_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    estimate = apm_tta.estimate("demo", **QUICK)
    assert estimate.images == 20
    assert "zeroshot" in estimate.text()
    assert not list(tmp_path.iterdir())


def test_a_data_set_is_checked(tmp_path: Path) -> None:
    assert apm_tta.check_dataset("fashion-mnist").passed
    report = apm_tta.check_dataset("imagenet-r", tmp_path)
    assert not report.passed
    assert report.problems
