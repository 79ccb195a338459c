"""One writer per folder, on file systems that know no locks too."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from apm_tta.errors import UserError
from apm_tta.system.writer_lock import OWNER_FILE, only_writer


def refuse_locks(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(_file: object, _operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_locks_there_is_a_note_and_nothing_stays(
    tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, code)
    with only_writer(tmp_path) as notes:
        assert len(notes) == 1
        assert "has no locks" in notes[0]
    assert not list(tmp_path.iterdir())


def test_with_locks_there_is_no_note(tmp_path: Path) -> None:
    with only_writer(tmp_path) as notes:
        assert notes == []
    assert not list(tmp_path.iterdir())


def test_without_locks_a_writer_of_this_machine_is_noticed_while_it_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOLCK)
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    who = f"process {process.pid} on {socket.gethostname()}"
    (tmp_path / OWNER_FILE).write_text(f"{who}\n", encoding="utf-8")
    with pytest.raises(UserError, match=f"is being written by {who}"), only_writer(tmp_path):
        pass
    process.communicate(b"\n")
    with only_writer(tmp_path) as notes:
        assert len(notes) == 1


@pytest.mark.parametrize(
    "text", ["process 1 on another-machine", "process -1 on {}", "process 9" + "9" * 30 + " on {}", "\udcff"]
)
def test_without_locks_what_another_machine_or_nobody_left_does_not_stop_a_run(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, errno.ENOTSUP)
    (tmp_path / OWNER_FILE).write_bytes(os.fsencode(text.format(socket.gethostname())))
    with only_writer(tmp_path) as notes:
        assert len(notes) == 1
