"""``run-bench time``: a real run, timed again by the command line with the embedded teacher."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from records_by_hand import read_plain, write_plain

from apm_tta.cli import main
from apm_tta.harness.compute import rounds, watch
from apm_tta.harness.compute.rounds import _rotated, _Turns
from apm_tta.harness.storage.times import TIMES_FILE

LOOKS_AT_COSTS = True
SINGLES = 4
METHODS = ["zeroshot", "tda", "tent", "transclip"]
"""Episodic; a stream of single images, and one of batches; all images together."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run of two conditions. Do not change it."""
    run = tmp_path_factory.mktemp("time") / "run"
    words = ["demo", "--teacher", "embedded", "--methods", ",".join(METHODS), "--limit", "10", "--severities", "5"]
    words += ["--corruptions", "contrast", "--batch-size", "5", "--device", "cpu", "--quiet", "--out", str(run)]
    assert main(words) == 0
    return run


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(rounds, "SINGLES", SINGLES)
    monkeypatch.setattr(rounds, "BATCHES", 2)
    return Path(shutil.copytree(finished, tmp_path / "run"))


def digests(run: Path, *but: str) -> dict[str, str]:
    files = [path for path in run.rglob("*") if path.is_file() and path.name not in but]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_every_method_is_timed_again_and_no_answer_changes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Single images where the method takes them; batches as large as the run's (the set is smaller than TENT's own)."""
    records, before = digests(run / "records"), pd.read_csv(run / "results.csv")
    assert main(["time", str(run), "--device", "cpu"]) == 0
    assert digests(run / "records") == records
    times = json.loads((run / TIMES_FILE).read_text())["methods"]
    assert {name: len(own["latencies_ms"]) for name, own in times.items()} == {
        **{"zeroshot": SINGLES, "tda": SINGLES, "tent": 0, "transclip": 0}
    }
    assert {name: own["batch_size"] for name, own in times.items()} == {
        **{"zeroshot": 5, "tda": 5, "tent": 10, "transclip": 10}
    }
    assert all(milliseconds > 0 for own in times.values() for milliseconds in (*own["latencies_ms"], *own["batch_ms"]))
    after = pd.read_csv(run / "results.csv")
    for name in ("top1", "agreement", "ece", "gflop_per_image"):
        pd.testing.assert_series_equal(after[name], before[name])
    for name in METHODS:
        own = after[after["method"] == name]
        assert own["images_per_s"].nunique() == 1, "the same under both conditions"
    assert "were measured again by run-bench time" in capsys.readouterr().out


def test_a_machine_that_does_something_else_is_said_to_with_an_exit_code(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(watch, "processor_seconds", lambda _device: 0.0)
    assert main(["time", str(run), "--device", "cpu"]) == 3
    said = capsys.readouterr()
    assert "something else ran while 4 of 4 methods were timed (zeroshot: a core for 0 % of the time" in said.err
    assert "†" in said.out
    assert pd.read_csv(run / "results.csv")["times_disturbed"].notna().all()


def test_what_is_not_the_runs_is_not_timed_and_nothing_is_written(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = read_plain(run)
    manifest["numbers"]["versions"]["timm"] = "0.0.1"
    write_plain(run, manifest)
    before = digests(run)
    assert main(["time", str(run), "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "was not answered by what would be timed here (versions.timm: 0.0.1 there" in said
    assert digests(run) == before


def test_a_measurement_that_is_stopped_leaves_the_run_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between two batches, when all single images have been timed."""
    before = digests(run)
    monkeypatch.setattr(rounds, "peak_memory", lambda _device: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["time", str(run), "--device", "cpu"]) == 130
    assert digests(run) == before


def test_a_run_that_is_not_complete_is_not_timed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next((run / "records" / "tda").rglob("*.parquet")).unlink()
    assert main(["time", str(run), "--device", "cpu"]) == 1
    assert "is incomplete" in capsys.readouterr().err


def test_every_method_is_first_as_often_as_any_other() -> None:
    """And none is always behind the same one's work, which what is in the processor's caches depends on."""
    turns = [_Turns(method, 1) for method in "abc"]  # type: ignore[arg-type]
    orders = ["".join(str(each.method) for each in _rotated(turns, turn)) for turn in range(4)]
    assert orders == ["abc", "bca", "cab", "abc"]
