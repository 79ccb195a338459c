"""A Ray that is started here leaves nothing behind: neither a process nor its folder, even where it is killed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil
import pytest
from processes import start_program

from apm_tta.harness.compute.cluster.session import FOLDER, LOCAL, _session_folder

pytest.importorskip("ray", reason="Ray is not installed")

HELD = f"""
import sys
import time
from pathlib import Path

from apm_tta.harness.compute.cluster.session import connected

with connected({LOCAL!r}, ship=False):
    Path(sys.argv[1]).touch()
    time.sleep(600)
"""


def sessions() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob(f"{FOLDER}*"))


def processes_of(folder: Path) -> list[psutil.Process]:
    running = psutil.process_iter(["cmdline"])
    return [each for each in running if any(str(folder) in word for word in each.info["cmdline"] or [])]


def test_a_killed_driver_leaves_no_process_and_the_next_one_removes_its_folder(tmp_path: Path) -> None:
    before = sessions()
    driver = start_program(HELD, [str(tmp_path / "connected")])
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "connected").exists():
            if not driver.is_alive() or time.monotonic() > end:
                pytest.skip("Ray does not start here within 120 s")
            time.sleep(0.05)
        (left,) = sessions() - before
        assert processes_of(left)
    finally:
        driver.kill()
        driver.join()
    end = time.monotonic() + 60
    while processes_of(left) and time.monotonic() < end:
        time.sleep(0.1)
    assert not processes_of(left)
    assert left.exists()

    with _session_folder():
        assert not left.exists()
