"""However a run ends, but for SIGKILL: no process, lock, temporary file or shared memory is left behind."""

from __future__ import annotations

import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil
import pytest
from processes import start_program

WORDS = [
    *("demo", "--methods", "zeroshot,tda", "--teacher", "embedded", "--limit", "60", "--corruptions", "contrast"),
    *("--severities", "5", "--shard-size", "20", "--batch-size", "4", "--workers", "1", "--quiet"),
]
PROGRAM = """
import sys, tempfile, time
from apm_tta.cli import main
from apm_tta.harness.compute.keeping import Keeping
from apm_tta.methods import METHODS

tempfile.tempdir, boundary, predict = None, Keeping.boundary, METHODS.get("tda").predict

def slow(self, *others):
    time.sleep(0.02)
    boundary(self, *others)

def failing(self, batch):
    if sys.argv[1] == "fails":
        raise RuntimeError("no more")
    return predict(self, batch)

Keeping.boundary, METHODS.get("tda").predict = slow, failing
sys.exit(main(sys.argv[2:]))
"""
SHARED_MEMORY = Path("/dev/shm")


def started(ending: str, place: Path, *words: str) -> BaseProcess:
    for name in ("temporary", "cache"):
        (place / name).mkdir(exist_ok=True)
    places = {"TMPDIR": str(place / "temporary"), "APM_TTA_CACHE": str(place / "cache")}
    return start_program(PROGRAM, [ending, *WORDS, "--out", str(place / "run"), *words], places)


def left_of(process: BaseProcess, place: Path) -> tuple[int, list[psutil.Process]]:
    """Wait until a run has recorded something or ended; return its process and all that it has started."""
    pid = process.pid
    assert pid is not None
    while process.is_alive() and not list((place / "run").glob("records/**/*.parquet")):
        time.sleep(0.01)
    try:
        return pid, psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return pid, []


def living(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in psutil.wait_procs(processes, timeout=10)[1] if each.status() != psutil.STATUS_ZOMBIE]


def unfinished(place: Path) -> list[str]:
    """Name files that only a running process has."""
    names = [path.name for path in place.rglob("*") if path.suffix in (".partial", ".lock", ".owner")]
    return names + [path.name for path in (place / "temporary").iterdir()]


@pytest.mark.parametrize(
    ("ending", "code"), [("done", 0), ("fails", 1), ("SIGTERM", 143), ("SIGINT", 130), ("SIGHUP", 129)]
)
def test_nothing_is_left_behind(ending: str, code: int, tmp_path: Path) -> None:
    process = started(ending, tmp_path, "--device", "cpu")
    pid, children = left_of(process, tmp_path)
    if ending.startswith("SIG"):
        assert children, "images are loaded in processes of their own"
        process_signal = signal.Signals[ending]
        psutil.Process(pid).send_signal(process_signal)
    process.join()
    assert process.exitcode == code
    assert living(children) == []
    assert unfinished(tmp_path) == []
    pids = [str(each) for each in (pid, *(child.pid for child in children))]
    shared = [path.name for path in SHARED_MEMORY.iterdir()] if SHARED_MEMORY.is_dir() else []
    assert [name for name in shared if any(each in name.split("_") for each in pids)] == []


def test_what_a_killed_run_leaves_is_removed_by_the_next_start(tmp_path: Path) -> None:
    """No process of it is there after ten seconds; half-written files are planted where its writers have theirs."""
    process = started("done", tmp_path, "--device", "cpu")
    _, children = left_of(process, tmp_path)
    process.kill()
    process.join()
    assert living(children) == []
    run = tmp_path / "run"
    begun = run / "checkpoints" / "0123456789abcdef"
    begun.mkdir(parents=True)
    for name in ("answers-00000.parquet", "index.json.1a2b3c4d.partial"):
        (begun / name).write_bytes(b"half")
    (run / "records" / "zeroshot.1a2b3c4d.partial").write_bytes(b"half")
    last = started("done", tmp_path, "--device", "cpu")
    last.join()
    assert last.exitcode == 0
    assert unfinished(tmp_path) == []
    assert not (run / "checkpoints").exists()
