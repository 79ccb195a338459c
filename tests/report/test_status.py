"""``run-bench status``: what of a run is done and left, by its folder alone, of which nothing changes."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest
from records_by_hand import relabel, rows_of_table, write_rows

from apm_tta.cli import main
from apm_tta.commands import status as command
from apm_tta.data.sample import CLEAN
from apm_tta.harness.plan import Cell, record_file
from apm_tta.harness.progress.run_log import LOG_FILE, read_log
from apm_tta.harness.status import StatusReader, read_status
from apm_tta.harness.storage.checkpoint import INDEX_FILE, CheckpointIndex
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.records import digest_path, read_shard, write_content
from apm_tta.system import writer_lock
from apm_tta.system.writer_lock import OWNER_FILE

FIRST = record_file(Cell("fashion-mnist", CLEAN, "embedded", "apm", 3), 0)
"""A file of five images; the other one of its cell has three, and a method 40 in all."""
LOG = """2026-01-02T03:00:00+00:00 started: 4 shards and streams to compute, 10 cells in total
2026-01-02T03:00:09+00:00 recorded clean, images 0 to 4 (apm): 5 answers in 9.0 s
2026-01-02T04:00:00+00:00 a note that was recorded : 7 answers in doubt
stopped: in the middle of a line
2026-01-02T05:00:00+00:00 started: 2 shards and streams to compute, 10 cells in total
2026-01-02T05:00:10+00:00 recorded clean, images 0 to 4 (zeroshot, apm): 10 answers in 9.0 s
2026-01-02T05:00:20+00:00 recorded clean, images 5 to 7 (apm): 3 answers in 9.0 s
"""


def content(folder: Path) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def remove(path: Path) -> None:
    path.unlink()
    digest_path(path).unlink()


def test_a_complete_run_has_nothing_left(run_folder: Path) -> None:
    status = read_status(run_folder)
    assert [(each.method, each.done, each.total, each.unread) for each in status.methods] == [
        ("zeroshot", 40, 40, 0),
        ("apm", 40, 40, 0),
    ]
    assert (status.done, status.left, status.running) == (80, 0, False)
    assert [each.milliseconds_per_image for each in status.methods] == [(2.0, 2.0), (8.0, 8.0)]
    assert status.text().splitlines()[5].split() == ["zeroshot", "40", "0", "40", "0", "100%", "0", "2.0"]
    assert "complete" in status.text()
    assert "An Abacus, 2 threads: 80 answers" in status.text()


def test_what_is_missing_damaged_or_unread_is_counted_by_method(run_folder: Path) -> None:
    """One file of APM's is gone, of another the end is; an image of zeroshot's could not be read."""
    remove(run_folder / FIRST)
    other = run_folder / str(FIRST).replace("00000", "00001")
    other.write_bytes(other.read_bytes()[:-4])
    cell = Cell("fashion-mnist", CLEAN, "embedded", "zeroshot", 3)
    first, second, *rows = rows_of_table(read_shard(run_folder / record_file(cell, 0)))
    unread, slow = type(first)(first.id, first.label, error="cut off"), replace(second, batch_ms=1234.5)
    write_rows(run_folder / record_file(cell, 0), cell, [unread, slow, *rows])
    relabel(run_folder / record_file(cell, 1), site={"device_name": "A Slide Rule"})
    status = read_status(run_folder)
    assert [(each.method, each.done, each.unread) for each in status.methods] == [("zeroshot", 40, 1), ("apm", 32, 0)]
    assert status.machines == {"An Abacus, 2 threads": 69, "A Slide Rule, 2 threads": 3}
    text = status.text()
    assert "2.0 .. 1,234.5" in text
    assert "nothing writes into it" in text
    assert f"Damaged: {other.relative_to(run_folder)}." in text


def test_what_checkpoints_have_is_counted_until_it_is_recorded(run_folder: Path) -> None:
    """Neither is what another run left, what is damaged, nor what is among the records already."""
    second = PurePosixPath(str(FIRST).replace("00000", "00001"))
    begun = CheckpointIndex(
        fingerprint=read_manifest(run_folder).numbers.fingerprint,
        unit="clean, images 0 to 4",
        records=(str(FIRST), str(FIRST).replace("apm", "zeroshot")),
        number=0,
        done=3,
        answers=6,
        files={},
        account={},
    )
    others = {
        "of another run": begun.model_copy(update={"fingerprint": "0" * 64}),
        "recorded": begun.model_copy(update={"records": (str(second),)}),
    }
    for name, index in {"begun": begun, **others}.items():
        write_content(run_folder / "checkpoints" / name / INDEX_FILE, index.content)
    (run_folder / "checkpoints" / "damaged").mkdir()
    (run_folder / "checkpoints" / "damaged" / INDEX_FILE).write_bytes(b"{}")
    for name in begun.records:
        remove(run_folder / name)
    status = read_status(run_folder)
    assert [(each.method, each.done, each.kept) for each in status.methods] == [("zeroshot", 35, 3), ("apm", 35, 3)]
    assert status.left == 4
    assert "70 answers recorded, 6 kept of shards and streams that have not ended, 4 left." in status.text()


def test_the_rate_is_that_of_the_latest_start(run_folder: Path) -> None:
    (run_folder / LOG_FILE).write_text(LOG)
    remove(run_folder / FIRST)
    logged = read_log(run_folder)
    assert (logged.answers, logged.seconds) == (13, 20.0)
    assert "75 answers recorded, 5 left; 0.7 answers/s since it was started last; 8 s left at that rate." in (
        read_status(run_folder).text()
    )


@pytest.mark.parametrize(
    ("owner", "running", "said"),
    [
        (f"process {os.getpid()} on {socket.gethostname()}", True, "writes into it"),
        (f"process {2**31 - 1} on {socket.gethostname()}", False, "has ended"),
        ("process 1 on another-machine", True, "only that machine can tell"),
    ],
    ids=["it runs", "it has ended", "it is elsewhere"],  # a process's number is not the same in every worker
)
def test_who_writes_is_named(run_folder: Path, owner: str, running: bool, said: str) -> None:
    (run_folder / OWNER_FILE).write_text(f"{owner}\n")
    status = read_status(run_folder)
    assert status.running is running
    assert f"{owner} " in status.text()
    assert said in status.text()


def test_nothing_in_the_folder_changes_and_no_lock_is_taken(
    run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with writer_lock.only_writer(run_folder):
        before = content(run_folder)
        assert main(["status", str(run_folder)]) == 0
        assert content(run_folder) == before
    assert "80 answers recorded, 0 left" in capsys.readouterr().out


def test_files_that_stay_are_read_once(run_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from apm_tta.harness import status as module

    reader, read, looked = StatusReader(run_folder), module._facts, list[Path]()
    monkeypatch.setattr(module, "_facts", lambda path: looked.append(path) or read(path))
    first = reader.read()
    assert len(looked) == 20
    relabel(run_folder / FIRST, site={"threads": 1})
    second = reader.read()
    assert looked[20:] == [run_folder / FIRST]
    assert replace(second, machines=first.machines) == first


def test_watching_ends_with_the_run(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    owner = run_folder / OWNER_FILE
    owner.write_text(f"process {os.getpid()} on {socket.gethostname()}\n")
    remaining = [lambda: remove(run_folder / FIRST), owner.unlink]
    monkeypatch.setattr(command.time, "sleep", lambda _: remaining.pop(0)())
    assert main(["status", str(run_folder), "--watch"]) == 0
    out = capsys.readouterr().out
    assert [out.count(f", {left} left") for left in (0, 5)] == [1, 2]
    assert not remaining


def test_what_is_no_run_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path)]) == 1
    assert "is not a run folder" in capsys.readouterr().err
