"""A fault during a run leaves the finished work readable, and one line that states what to do."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
import torch

from apm_tta.cli import main
from apm_tta.harness.storage.records import read_records
from apm_tta.methods import METHODS, Batch, Method, Predictions
from apm_tta.methods.parameters import Templates
from apm_tta.system import files

WORDS = [
    *("demo", "--limit", "20", "--corruptions", "contrast,pixelate", "--severities", "5", "--shard-size", "10"),
    *("--methods", "zeroshot", "--device", "cpu", "--quiet"),
]
FILES = 6
Answers = Callable[[Path], pa.Table]


def recorded(run: Path) -> list[Path]:
    return sorted(run.glob("records/**/*.parquet"))


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error message, which is one line on standard error."""
    message = capsys.readouterr().err
    assert message.startswith("run-bench: ")
    assert message.count("\n") == 1
    return message


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    assert main([*WORDS, "--out", str(run)]) == 0
    return run


def test_a_full_disk_stops_the_run_which_resumes_once_there_is_room(
    tmp_path: Path, whole: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk is full after the eighth file synced: in the middle of the run, with some records written."""
    run, room = tmp_path / "run", 8
    sync = os.fsync

    def fill(descriptor: int) -> None:
        nonlocal room
        room -= Path(f"/proc/self/fd/{descriptor}").readlink().suffix == files.PARTIAL
        if room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fill)
        assert main([*WORDS, "--out", str(run)]) == 1
    message = refusal(capsys)
    assert "cannot be written (No space left on device)" in message
    assert f"finished shards and checkpoints are kept; rerun the same command with --out {run} to resume" in message
    kept = {path: path.read_bytes() for path in recorded(run)}
    assert 0 < len(kept) < FILES
    assert not list(run.rglob("*.partial")), "a file that could not be written takes no room"
    assert len(read_records(run)) == 10 * len(kept)
    assert main([*WORDS, "--out", str(run)]) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert answers(run).equals(answers(whole))


@pytest.mark.parametrize("keep", [0, 1000, -1])
def test_a_truncated_record_is_set_aside_and_answered_again(
    keep: int, tmp_path: Path, whole: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    damaged = recorded(run)[2]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:keep])
    capsys.readouterr()
    assert main(["report", str(run)]) == 1
    assert f"{damaged} is damaged" in refusal(capsys)
    assert main([*WORDS, "--out", str(run)]) == 0
    assert answers(run).equals(answers(whole))
    aside = damaged.with_name(damaged.name + ".damaged")
    assert aside.read_bytes() == content[:keep], "nothing is deleted"
    log = (run / "run.log").read_text()
    assert f"{damaged} is damaged (its SHA-256 does not match): it is set aside, and its images are answered" in log


def test_a_second_writer_is_refused_and_a_dead_one_holds_no_lock(
    tmp_path: Path,
    whole: Path,
    answers: Answers,
    start: Callable[[list[str]], BaseProcess],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = tmp_path / "run"
    words = [*WORDS, "--out", str(run)]
    first = start(words)
    while not (run / "run.owner").exists():
        assert first.is_alive()
        time.sleep(0.001)
    os.kill(first.pid or 0, signal.SIGSTOP)  # it is suspended and still holds the lock
    assert main(words) == 1
    assert f"{run} is being written by process {first.pid} on " in refusal(capsys)
    first.kill()
    first.join()
    assert main(words) == 0
    assert answers(run).equals(answers(whole))
    assert not [path for path in run.iterdir() if path.name in ("run.lock", "run.owner")]


def test_force_new_starts_in_a_new_folder_and_overwrites_nothing(
    tmp_path: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for number in (2, 3):
        assert main([*WORDS, "--seed", "1", "--out", str(run), "--force-new"]) == 0
        assert len(recorded(tmp_path / f"run-{number}")) == FILES
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@dataclass(frozen=True)
class Parameters:
    """Parameters of the methods below."""

    templates: Templates = "simple"


class Fault(Method):
    """Zero-shot classification, interrupted by a fault."""

    protocol = "episodic"
    summary = paper = adapts = "nothing"
    Parameters = Parameters

    def predict(self, batch: Batch) -> Predictions:
        self.fault(batch)
        return Predictions(self.logits(self.features(batch)))

    def fault(self, batch: Batch) -> None:
        raise NotImplementedError


class Broken(Fault):
    """A method that fails on one image."""

    name = "broken"

    def fault(self, batch: Batch) -> None:
        if "test/00547" in batch.ids and len(batch) > 1:
            raise IndexError("index 10 is out of bounds")


class Greedy(Fault):
    """A method that allocates a pebibyte for more than four images, which the allocator refuses."""

    name = "greedy"

    def fault(self, batch: Batch) -> None:
        torch.empty(2**50 if len(batch) > 4 else 4, dtype=torch.uint8)


class Insatiable(Greedy):
    """A method that allocates a pebibyte even for a single image."""

    name = "insatiable"

    def fault(self, batch: Batch) -> None:
        torch.empty(2**50, dtype=torch.uint8)


class Remembering(Greedy):
    """A method that allocates like ``Greedy`` and keeps state."""

    name = "remembering"
    protocol = "online"


@pytest.fixture(autouse=True, scope="module")
def registered() -> Iterator[None]:
    methods = (Broken, Greedy, Insatiable, Remembering)
    for method in methods:
        METHODS.register(method.name)(method)
    yield
    for method in methods:
        del METHODS._entries[method.name]


def test_an_exception_in_a_method_names_it_and_its_images(
    tmp_path: Path, whole: Path, answers: Answers, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other method's finished shards are readable; the log has the traceback."""
    run = tmp_path / "run"
    ids = answers(whole)["id"].to_pylist()
    assert "test/00547" in ids
    assert main([*WORDS, "--methods", "zeroshot,broken", "--out", str(run)]) == 1
    message = refusal(capsys)
    assert "method broken failed on test/" in message
    assert "IndexError: index 10 is out of bounds" in message
    assert message.endswith(f"; finished shards and checkpoints are kept in {run}\n"), "it would fail again"
    log = (run / "run.log").read_text()
    assert "Traceback" in log
    assert "in fault" in log
    finished = recorded(run)
    assert len(finished) in (0, 2, 4)
    if finished:
        assert len(read_records(run)) == 10 * len(finished)


def test_where_memory_runs_out_batches_are_halved_with_a_note_and_the_same_answers(
    tmp_path: Path, whole: Path, answers: Answers
) -> None:
    """Ten images need too much memory, and so do five, but not three: this size is kept."""
    run = tmp_path / "run"
    assert main([*WORDS, "--methods", "greedy", "--out", str(run)]) == 0
    notes = [line for line in (run / "run.log").read_text().splitlines() if "out of memory" in line]
    assert [line.split(" ", 1)[1] for line in notes] == [
        "out of memory on cpu: from now on greedy gets 5 images at once",
        "out of memory on cpu: from now on greedy gets 3 images at once",
    ]
    columns = ["corruption", "id", "prediction"]
    assert answers(run).select(columns).equals(answers(whole).select(columns))
    results = pd.read_csv(run / "results.csv", dtype=str)
    assert set(results["batch_size"]) == {"3"}, "what was measured was measured at this size"
    assert "images per second at batch size 3;" in (run / "results.md").read_text()


@pytest.mark.parametrize(
    ("method", "advice"), [("insatiable", "; finished"), ("remembering", "; try a smaller --batch-size; finished")]
)
def test_a_batch_that_cannot_be_halved_is_an_error(
    method: str, advice: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single image; or images that may already have changed the state of an online method."""
    assert main([*WORDS, "--batch-size", "10", "--methods", method, "--out", str(tmp_path / "run")]) == 1
    assert f"out of memory on cpu: method {method} cannot run with less memory{advice}" in refusal(capsys)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert main([*WORDS, "--out", str(tmp_path)]) == 1
    assert "holds files but no run; nothing is overwritten" in refusal(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_events_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main([*WORDS, "--json", "--out", str(run)]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["planned", *["recorded"] * FILES, "done"]
    assert (events[0]["cells"], events[0]["shards"], events[0]["answers"]) == (3, FILES, 60)
    assert sorted(file for event in events[1:-1] for file in event["files"]) == [
        str(path.relative_to(run)) for path in recorded(run)
    ]
    assert main([*WORDS, "--json", "--seed", "1", "--out", str(run)]) == 1
    captured = capsys.readouterr()
    (event,) = [json.loads(line) for line in captured.out.splitlines()]
    assert (event["event"], event["exit_code"]) == ("stopped", 1)
    assert captured.err == f"run-bench: {event['message']}\n"


def test_a_dry_run_describes_the_work_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [*WORDS, "--methods", "zeroshot,apm,tda", "--seeds", "0,1", "--set", "apm.iterations=2"]
    assert main([*words, "--dry-run", "--out", str(tmp_path / "run")]) == 0
    text = capsys.readouterr().out
    assert (
        "18 cells = 3 conditions x 3 methods x 2 seeds; 20 images per condition; 360 answers in 12 shards and" in text
    )
    assert "Conditions: clean, contrast 5, pixelate 5." in text
    rows = [[part.strip() for part in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")][1:]
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("zeroshot", "episodic", "6", "120"),
        ("apm", "episodic", "6", "120"),
        ("tda", "online", "6", "120"),
    ]
    assert all(float(row[4]) > 0 and float(row[7]) > 0 for row in rows)
    assert "MB of records" in text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard-range", "0/3"], "'0/3' is not a part of a run; write 1/4 for the first of four"),
        (["--shard-range", "4/3"], "'4/3' is not a part"),
        (["--seeds", "0,0"], "seeds: names something twice"),
        (["--seeds", "one"], "'one' is not a list of seeds"),
        (["--devices", "cpu,cuda:99"], "device 'cuda:99' is not available"),
        (["--devices", "cpu,cpu", "--ray", "local"], "Ray gives every task its own device"),
    ],
)
def test_impossible_options_are_refused(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--ray" in words:
        pytest.importorskip("ray", reason="Ray is not installed")
    assert main([*WORDS, *words, "--out", str(tmp_path / "run")]) == 2
    assert message in refusal(capsys)
