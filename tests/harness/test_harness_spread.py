"""Merged parts, and runs that lose a worker or are killed: the answers of one process to the last bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import torch

from apm_tta.cli import main

WORDS = [
    *("demo", "--methods", "zeroshot,apm,tda", "--limit", "40", "--corruptions", "contrast", "--severities", "5"),
    *("--shard-size", "10", "--set", "apm.iterations=4", "--seeds", "0,1", "--quiet"),
]
Answers = Callable[[Path], pa.Table]


@pytest.fixture(scope="module", autouse=True)
def one_thread_a_process() -> Iterator[None]:
    """As processes that share two cores have it: sums of two threads differ from those of one in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("serial") / "run"
    assert main([*WORDS, "--out", str(run)]) == 0
    return run


def recorded(run: Path) -> int:
    return len(list(run.glob("records/**/*.parquet")))


def test_three_merged_parts_answer_as_one(
    serial: Path, tmp_path: Path, answers: Answers, tables: Callable[[Path], list[str]]
) -> None:
    """Their files are disjoint; merging them twice changes nothing."""
    parts = [tmp_path / f"part-{part}" for part in (1, 2, 3)]
    for number, part in enumerate(parts, 1):
        assert main([*WORDS, "--shard-range", f"{number}/3", "--out", str(part)]) == 0
    assert min(map(recorded, parts)) > 0
    assert sum(map(recorded, parts)) == recorded(serial)
    whole = tmp_path / "whole"
    for _ in range(2):
        assert main(["merge", *map(str, parts), "--out", str(whole)]) == 0
        assert answers(whole).equals(answers(serial))
    assert tables(whole) == tables(serial)


def workers_of(process: BaseProcess, run: Path, records: int) -> list[psutil.Process]:
    """Return the workers of a run, once it has recorded something new."""
    while recorded(run) <= records:
        assert process.is_alive()
        time.sleep(0.005)
    children = psutil.Process(process.pid).children()
    return [child for child in children if "spawn_main" in " ".join(child.cmdline())]


def test_runs_that_lose_a_worker_or_are_killed_leave_no_process_and_are_gone_on_with(
    serial: Path, tmp_path: Path, answers: Answers, start: Callable[..., BaseProcess]
) -> None:
    run = tmp_path / "run"
    words = [*WORDS, "--devices", "cpu,cpu", "--out", str(run)]
    process = start(words, tmp_path / "errors")
    workers = workers_of(process, run, 0)
    assert len(workers) == 2
    os.kill(workers[0].pid, signal.SIGKILL)
    process.join()
    said = (tmp_path / "errors").read_text()
    assert process.exitcode == 1
    kept = f"finished shards and checkpoints are kept; rerun the same command with --out {run} to resume"
    assert said.endswith(f"a worker process was lost: it was killed, or ran out of memory; {kept}\n")
    assert not psutil.wait_procs(workers, timeout=10)[1]

    process = start(words)
    workers = workers_of(process, run, recorded(run))
    process.kill()
    process.join()
    assert not [left for left in psutil.wait_procs(workers, timeout=10)[1] if left.status() != psutil.STATUS_ZOMBIE]

    assert recorded(run) < recorded(serial)
    assert main(words[:-4] + words[-2:]) == 0
    assert answers(run).equals(answers(serial))


def test_parts_of_other_runs_are_not_merged(serial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    assert main([*WORDS, "--limit", "20", "--shard-range", "1/3", "--out", str(other)]) == 0
    capsys.readouterr()
    out = tmp_path / "whole"
    assert main(["merge", str(serial), str(other), "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert f"{other} is not a part of the run in {serial}" in said
    assert "dataset.images_per_condition: 40 there, 20 now" in said
    assert not out.exists()


def test_records_that_contradict_each_other_are_not_merged(
    serial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same images answered twice: their timings differ, and one file cannot be both."""
    again = tmp_path / "again"
    assert main([*WORDS, "--shard-range", "1/8", "--out", str(again)]) == 0
    assert main(["merge", str(serial), str(again), "--out", str(tmp_path / "whole")]) == 1
    assert "hold different records of the same images" in capsys.readouterr().err
