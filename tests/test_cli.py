"""What a user sees: the commands as typed, their tables, and one line for every mistake."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import yaml
from small_settings import NEED_BATCH_NORM, NEED_SUPPORT, as_words
from worker_runs import SETTINGS

from apm_tta.cli import main
from apm_tta.columns import RECORD_COLUMNS, RESULT_COLUMNS, TIMINGS
from apm_tta.harness import streams
from apm_tta.methods import METHODS
from apm_tta.resources import SUITES, yaml_names

LOOKS_AT_COSTS = True

NOT_OF_THE_NUMBERS = {*TIMINGS, "times_disturbed", "batch_size"}


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def without_timings(path: Path) -> list[dict[str, str]]:
    return [{key: value for key, value in row.items() if key not in NOT_OF_THE_NUMBERS} for row in read_csv(path)]


def small_demo(out: Path, *more: str) -> list[str]:
    """Return the words of a demo on a few images, fast enough for a test."""
    words = ["demo", "--limit", "20", "--corruptions", "contrast", "--severities", "5", "--quiet", "--out", str(out)]
    own = [] if "--methods" in more else ["--methods", "zeroshot,ensemble,apm", "--set", "apm.iterations=4"]
    return [*words, *own, *more]


HEAVY = ("sklearn", "matplotlib", "scipy.stats", "apm_tta.islands", "apm_tta.field")
PROCESS = """
import json, sys
sys.modules["transformers"] = None  # a plain install has none, and it imports what it finds
from apm_tta.cli import main
code = main(sys.argv[2:])
print([name for name in json.loads(sys.argv[1]) if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def test_the_demo_as_a_process_writes_what_it_prints_and_imports_nothing_that_draws(tmp_path: Path) -> None:
    words = ["demo", "--limit", "10", "--corruptions", "gaussian_noise,jpeg_compression", "--severities", "3"]
    command = [sys.executable, "-c", PROCESS, json.dumps(HEAVY), *words]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert process.stderr.splitlines()[-1] == "[]"
    (run,) = (tmp_path / "results" / "demo").iterdir()
    assert f"run folder: {run.relative_to(tmp_path)}" in process.stdout
    assert (run / "results.md").read_text() in process.stdout

    rows = read_csv(run / "results.csv")
    conditions = [("clean", "0"), ("gaussian_noise", "3"), ("jpeg_compression", "3")]
    expected = [
        (*condition, name) for condition in conditions for name in ("zeroshot", "ensemble", "norm", "tent", "apm")
    ]
    assert [(row["corruption"], row["severity"], row["method"]) for row in rows] == expected
    for row in rows:
        assert row["n"] == "10"
        assert 0 <= float(row["top1_low"]) <= float(row["top1"]) <= float(row["top1_high"]) <= 100
        assert row["method"] in ("norm", "tent") or float(row["latency_ms_p50"]) > 0
        assert float(row["images_per_s"]) > 0
        assert f"| {float(row['top1']):9.1f} |" in process.stdout
    assert {row["agreement"] for row in rows if row["method"] in ("zeroshot", "ensemble")} == {"100"}
    assert float(rows[0]["top1"]) >= 70  # clean images, ten classes, a teacher with an accuracy of 92 %

    iterations = read_csv(run / "iterations.csv")
    assert [int(row["iteration"]) for row in iterations if row["group"] == "clean"] == list(range(21))
    manifest = yaml.safe_load((run / "run.yaml").read_text())
    assert manifest["numbers"]["dataset"]["images_per_condition"] == 10
    assert "10 of 2000 images, evenly over classes" in process.stdout
    assert "cell 15/15" in process.stderr
    assert "150/150 images" in process.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the small demo without any interruption."""
    run = tmp_path_factory.mktemp("finished") / "run"
    assert main(small_demo(run)) == 0
    return run


def test_batch_size_and_method_order_change_no_answer(tmp_path: Path) -> None:
    """Compare all columns, on a ViT: of convolutions the sixth digit of what is made of confidences may differ too."""
    words = ("--teacher", "embedded")
    assert main(small_demo(tmp_path / "whole", *words)) == 0
    words += ("--batch-size", "3", "--methods", "apm,ensemble,zeroshot", "--set", "apm.iterations=4")
    assert main(small_demo(tmp_path / "run", *words)) == 0
    key = lambda row: (row["corruption"], row["method"])  # noqa: E731
    runs = (tmp_path / "whole", tmp_path / "run")
    first, second = (sorted(without_timings(run / "results.csv"), key=key) for run in runs)
    for name in ("nll", "brier"):  # of all logits, whose last bit depends on how many images are multiplied at once
        values = [[float(row.pop(name)) for row in rows] for rows in (first, second)]
        assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert first == second


def test_a_run_that_lost_shards_is_resumed_and_ends_with_the_same_table(
    tmp_path: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before, manifest = without_timings(run / "results.csv"), (run / "run.yaml").read_bytes()
    kept = run / "records" / "zeroshot" / "clean" / "episodic-seed-0-shard-00000.parquet"
    kept_bytes = kept.read_bytes()
    lost = run / "records" / "apm" / "contrast-5" / "episodic-seed-0-shard-00000.parquet"
    lost.rename(lost.with_suffix(".partial"))
    capsys.readouterr()
    assert main(["report", str(run)]) == 1
    assert "lacks 1 of 6 cells (all of contrast 5, apm, seed 0); rerun the same command with" in capsys.readouterr().err
    assert main(small_demo(run)) == 0
    assert without_timings(run / "results.csv") == before
    assert (run / "run.yaml").read_bytes() == manifest
    assert kept.read_bytes() == kept_bytes


@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_is_resumed_and_ends_with_the_same_table(
    how: signal.Signals, code: int, tmp_path: Path, finished: Path, start: Callable[..., BaseProcess]
) -> None:
    """Stop a real process once it has written its first record."""
    run = tmp_path / "run"
    process = start(small_demo(run), tmp_path / "errors")
    while not list(run.rglob("*.parquet")):
        assert process.is_alive()
        time.sleep(0.005)
    os.kill(process.pid or 0, how)
    process.join()
    if len(list(run.rglob("*.parquet"))) < 6:
        assert process.exitcode == code
        said = (tmp_path / "errors").read_text()
        assert said.strip().endswith(f"rerun the same command with --out {run} to resume")
    assert main(small_demo(run)) == 0
    assert without_timings(run / "results.csv") == without_timings(finished / "results.csv")


def test_a_run_folder_of_other_settings_is_refused_by_field(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(small_demo(finished, "--seed", "1")) == 1
    assert (
        "holds another run (seeds: [0] there, [1] now); choose another --out, or --force-new" in capsys.readouterr().err
    )


def test_all_runs_the_methods_that_can_work_and_names_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = [name for name in METHODS.names() if name not in NEED_SUPPORT | NEED_BATCH_NORM]
    words = as_words({name: values for name, values in SETTINGS.items() if name in expected})
    words += ["--teacher", "embedded", "--methods", "all", "--limit", "1", "--corruptions", ""]
    assert main(small_demo(tmp_path / "run", *words)) == 0
    output = capsys.readouterr().out
    assert [row["method"] for row in read_csv(tmp_path / "run" / "results.csv")] == expected
    assert "method knn needs labelled images" in output
    assert "method norm takes the statistics of Batch normalisation" in output


def test_fast_runs_the_quick_methods_and_the_table_has_each_ones_share_of_the_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = as_words({name: values for name, values in SETTINGS.items() if METHODS.get(name).fast and name != "eata"})
    settings = [word for pair in zip(words[::2], words[1::2], strict=True) if "knn" not in pair[1] for word in pair]
    settings += ["--teacher", "embedded", "--methods", "fast", "--limit", "1", "--corruptions", ""]
    assert main(small_demo(run, *settings)) == 0
    quick = [name for name in METHODS.names() if METHODS.get(name).fast]
    assert {"zeroshot", "tent", "tda"} < set(quick)
    assert not {"memo", "tpt", "watt", "zero"} & set(quick)
    expected = [name for name in quick if name not in NEED_SUPPORT | NEED_BATCH_NORM]
    assert [row["method"] for row in read_csv(run / "results.csv")] == expected
    cost = capsys.readouterr().out.partition("## Cost")[2]
    header, _, *rows = [line for line in cost.splitlines() if line.startswith("|")]
    place = [cell.strip() for cell in header.split("|")].index("share of time %")
    shares = [float(row.split("|")[place]) for row in rows]
    assert len(shares) == len(expected)
    assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))


def test_settings_reach_the_method_and_the_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert (
        main(small_demo(run, "--set", "apm.iterations=3", "--set", "apm.learning_rate=1e-3", "--methods", "apm")) == 0
    )
    capsys.readouterr()
    assert {row["iterations"] for row in read_csv(run / "results.csv")} == {"3"}
    method = yaml.safe_load((run / "run.yaml").read_text())["numbers"]["methods"]["apm"]
    assert (method["iterations"], method["learning_rate"], method["hidden"]) == (3, 1e-3, [256, 128, 64])


def test_bfloat16_runs_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(small_demo(tmp_path / "run", "--precision", "bfloat16", "--limit", "4")) == 0
    assert "; bfloat16." in capsys.readouterr().out


MISTAKES = [
    (["dmo"], 2, "unknown suite or command 'dmo'; there are: demo, video, dream, caltech101, ccc, check, cifar10, "),
    (
        ["demo", "--methods", "tptt"],
        2,
        f"unknown method 'tptt'; there are: {', '.join(METHODS.names())}",
    ),
    (["demo", "--methods", ""], 2, "methods"),
    (["demo", "--methods", "apm,apm"], 2, "names something twice"),
    (["demo", "--teacher", "Vit"], 2, "unknown teacher 'Vit'; there are: embedded"),
    (["demo", "--teacher", "ViT-B-16:opena"], 2, "there are: "),
    (
        ["demo", "--corruptions", "fgo"],
        2,
        "unknown corruption of fashion-mnist 'fgo'; there are: fog, frost, blue_noise_sample, brightness,",
    ),
    (["demo", "--severities", "6"], 2, "severity 6 does not exist; severities are 1 to 5"),
    (["demo", "--severities", "x"], 2, "'x' is not a list of severities"),
    (
        ["demo", "--set", "apm.itertions=3"],
        2,
        "unknown key of method apm 'itertions'; there are: column, compile,",
    ),
    (["demo", "--set", "apm.iterations=-3"], 2, "greater than or equal to 0"),
    (["demo", "--set", "iterations=3"], 2, "not of the form method.key=value"),
    (["demo", "--methods", "zeroshot", "--set", "apm.iterations=3"], 2, "has no effect: the methods are zeroshot"),
    (["demo", "--limit", "-1"], 2, "--limit"),
    (["demo", "--device", "cuda:99"], 2, "device 'cuda:99' is not available; there are: cpu"),
    (["demo", "--device", "meta"], 2, "device 'meta' is not available; there are: cpu"),
    (["demo", "--device", "toaster"], 2, "device 'toaster' is not available; there are: cpu"),
    (["imagenet-c"], 1, "imagenet-c needs --data-root FOLDER; expected tree: DATA_ROOT/gaussian_noise/1/n01440764"),
    (["imagenet-c", "--data-root", "/nowhere"], 1, "to get it: download blur.tar"),
    (["imagenet-c", "--corruptions", "nois"], 2, "unknown corruption of imagenet-c 'nois'; there are: brightness,"),
    (["demo", "--out", "/dev/null/run"], 1, "/dev/null/run cannot be written"),
    (["report", "/nowhere"], 1, "/nowhere does not exist: no run is there"),
    (["list", "things"], 2, "things"),
]


@pytest.mark.parametrize(("words", "exit_code", "message"), MISTAKES, ids=[" ".join(words) for words, _, _ in MISTAKES])
def test_mistakes_are_reported_in_one_line(
    words: list[str],
    exit_code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("run-bench: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert list(tmp_path.iterdir()) == [] or list(tmp_path.rglob("*.parquet")) == []


def test_a_folder_of_other_files_is_never_written_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("results")
    assert main(small_demo(tmp_path)) == 1
    assert "holds files but no run; nothing is overwritten" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("kind", ["suites", "datasets", "methods", "corruptions", "settings", "templates", "teachers"])
def test_list_prints_one_line_each(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    lines = capsys.readouterr().out.splitlines()
    expected = {
        "suites": yaml_names(SUITES),
        "methods": METHODS.names(),
        "settings": streams.SETTINGS.names(),
        "teachers": ["embedded", "embedded-resnet"],
    }.get(kind, [])
    assert len(lines) >= max(2, len(expected))
    assert all(any(line.startswith(name) for line in lines) for name in expected)


def test_help_names_every_suite_and_every_option_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    overview = capsys.readouterr().out
    assert all(name in overview for name in [*yaml_names(SUITES), "list", "report"])
    assert main(["demo", "--help"]) == 0
    options = capsys.readouterr().out
    names = (
        "methods teacher limit corruptions severities seed out device precision set data-root batch-size memory quiet"
    )
    assert all(f"--{name}" in options for name in names.split())


def test_a_folder_whose_writer_was_killed_while_writing_its_manifest_is_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml.partial").write_text("numb")
    assert main(small_demo(tmp_path, "--methods", "zeroshot")) == 0
    assert "numbers" in yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert not list(tmp_path.rglob("*.partial"))
    capsys.readouterr()


def test_help_shows_commands_apart_from_suites(capsys: pytest.CaptureFixture[str]) -> None:
    """Suites and commands have a heading each, and every name appears once."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    suites, commands = text.split("\nSuites:\n")[1].split("\nCommands:\n")
    names = [{line.split()[0] for line in part.splitlines() if re.match(r"  \S", line)} for part in (suites, commands)]
    assert names[0] == set(yaml_names(SUITES))
    assert {"check", "compare", "list", "merge", "report"} <= names[1]
    assert not names[0] & names[1]


def test_every_column_of_records_and_results_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "columns"]) == 0
    records, results = capsys.readouterr().out.split("[results.csv]")
    for part, columns in ((records, RECORD_COLUMNS), (results, RESULT_COLUMNS)):
        for column in columns:
            assert re.search(rf"^{column.name} .*{re.escape(column.doc)}$", part, flags=re.MULTILINE)
