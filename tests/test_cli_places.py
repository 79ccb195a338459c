"""Streams that are closed, full or unread, libraries that break, no terminal, no home: one line at most."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import pwd
import re
import struct
import subprocess
import sys
import tempfile
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from apm_tta.cli import main
from apm_tta.command_line import main_group
from apm_tta.data.sample import CLEAN
from apm_tta.harness.plan import Cell, Shard
from apm_tta.harness.progress import progress_bar
from apm_tta.harness.progress.events import Answered, Note, Planned
from apm_tta.harness.progress.progress_bar import Progress
from apm_tta.system import environment
from apm_tta.system.cache_folder import cache_doubts, default_cache

RUN_BENCH = str(Path(sys.executable).with_name("run-bench"))
STREAMS = """
exec 3>&1
"$1" list columns <&- >&- 2>&-; echo "all closed $?" >&3
"$1" list columns >/dev/full 2>errors; echo "full output $?" >&3
"$1" lst 2>/dev/full; echo "full errors $?" >&3
{ sleep 0.3; "$1" list columns 2>>errors; echo "unread output $?" >&3; } | true
LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$1" "$(printf 'caf\\351 \\303\\244')" 2>>errors; echo "ASCII $?" >&3
"""


def test_streams_that_are_closed_full_or_unread_cost_no_traceback(tmp_path: Path) -> None:
    """Whatever cannot be printed is said once, where that can be; who stops to read is not told so."""
    done = subprocess.run(
        ["bash", "-c", STREAMS, "streams", RUN_BENCH], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    expected = ["all closed 0", "full output 1", "full errors 2", "unread output 141", "ASCII 2"]
    assert done.stdout.splitlines() == expected
    said = (tmp_path / "errors").read_text(encoding="ascii").splitlines()
    assert said[0] == "run-bench: standard output cannot be written (No space left on device)"
    assert said[1].startswith("run-bench: unknown suite or command 'caf\\")
    assert len(said) == 2


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Breaks:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return Breaks(monkeypatch)


class Breaks:
    """Let every command end with an exception, as a library may end it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch

    def __call__(self, error: BaseException) -> None:
        def fail(*_arguments: object) -> None:
            raise error

        self._patch.setattr(main_group, "invoke", fail)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RecursionError("maximum recursion depth exceeded"),
        SystemExit("a library ends the program"),
        ImportError("libcudart.so.12: cannot open shared object file"),
        OSError("line one\nline two " + "x" * 500),
        UnicodeEncodeError("utf-8", "caf\udce9", 3, 4, "surrogates not allowed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_reaches_the_outermost_frame_is_a_line_and_a_file_with_its_traceback(
    error: BaseException, broken: Breaks, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken(error)
    assert main(["list", "suites"]) == 70
    said = capsys.readouterr().err
    (file,) = tmp_path.iterdir()
    assert re.fullmatch(rf"run-bench: unexpected {type(error).__name__}.* \(traceback in {file}\)\n", said)
    assert len(said.replace(str(file), "")) <= 300
    content = file.read_text(encoding="utf-8")
    assert "Traceback (most recent call last)" in content
    assert type(error).__name__ in content


def test_where_no_file_can_be_written_the_line_says_so(
    broken: Breaks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    broken(ValueError("something"))
    assert main(["list", "suites"]) == 70
    expected = "run-bench: unexpected ValueError: something (its traceback could not be written: FileNotFoundError)\n"
    assert capsys.readouterr().err == expected


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.TextIOBase) -> None:
    """Show the progress of a run of 30 images there."""
    monkeypatch.setattr(sys, "stderr", stream)
    cell = Cell("set", CLEAN, "teacher", "zeroshot", 0, "episodic")
    progress = Progress()
    progress(Planned(1, (Shard(CLEAN, 0, 0, 30, (cell,)),)))
    for _ in range(3):
        progress(Answered(cell, 10, 5))
    progress(Note("a note"))
    progress.close()


@pytest.mark.parametrize(("every", "lines"), [(60.0, 1), (0.0, 4)])
def test_in_a_file_progress_is_a_line_now_and_then(
    every: float, lines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_bar, "LINE_EVERY_S", every)
    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        shown(monkeypatch, file)
    monkeypatch.undo()
    content = (tmp_path / "log").read_bytes().decode()
    assert "\r" not in content
    assert "\x1b" not in content
    assert "a note\n" in content
    assert content.count("top-1 so far 50.0: ") == lines
    assert "cell 1/1, clean, zeroshot, top-1 so far 50.0: 30/30 images" in content.splitlines()[-1]


def whatever_was_shown(leader: int) -> str:
    """Read a terminal that was closed to its end: a single read may come before the kernel has passed all on."""
    content = b""
    with suppress(OSError):  # EIO, where no more will come
        while read := os.read(leader, 100_000):
            content += read
    return content.decode()


def test_on_a_terminal_progress_is_a_bar_and_without_any_stream_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(follower, "w") as terminal:
        shown(monkeypatch, terminal)
        monkeypatch.undo()
    content = whatever_was_shown(leader)
    os.close(leader)
    assert "\r" in content
    assert "30/30 images" in content
    shown(monkeypatch, None)  # type: ignore[arg-type]
    monkeypatch.undo()


def test_without_a_home_there_is_one_for_as_long_as_the_process_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user whom no list of users knows."""

    def unknown(_user: int) -> pwd.struct_passwd:
        raise KeyError("uid not found")

    for name in ("HOME", "APM_TTA_CACHE", "XDG_CACHE_HOME", "MPLCONFIGDIR", "LOGNAME", "USER"):
        monkeypatch.setenv(name, "")  # so that it is put back, whatever is set below
        monkeypatch.delenv(name)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(environment, "_made", set())
    folder = default_cache()
    assert folder.is_relative_to(tmp_path)
    assert cache_doubts() == [environment.NO_HOME]
    assert os.environ["HOME"] == str(folder.parents[1])
    assert default_cache() == folder


def test_a_cache_that_cannot_be_written_is_noted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APM_TTA_CACHE", "/proc/cache" if os.access("/proc", os.W_OK) is False else "/dev/null/cache")
    (note,) = cache_doubts()
    assert "cannot be written, so that nothing is kept in it" in note
    monkeypatch.setenv("APM_TTA_CACHE", str(tmp_path / "new" / "cache"))
    assert cache_doubts() == []


def test_an_unreachable_ray_cluster_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Ray itself would try for minutes, and print each attempt."""
    pytest.importorskip("ray", reason="Ray is not installed")
    words = ["demo", "--limit", "10", "--corruptions", "", "--methods", "zeroshot", "--quiet"]
    assert main([*words, "--ray", "127.0.0.1:1", "--out", str(tmp_path / "run")]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("run-bench: no Ray cluster at 127.0.0.1:1 (")
    assert "Connection refused" in said
