"""Runs in a container as clusters start them, with nothing but what they need."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apm_tta.cli import main
from apm_tta.columns import TIMINGS

LOOKS_AT_COSTS = True

RUN_BENCH = str(Path(sys.executable).with_name("run-bench"))
CONTAINER = """
set -e
mount --make-rprivate /
mount --bind "$1" "$1"
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -o remount,ro,bind /
cd /
user=12345; setpriv --reuid $user --clear-groups "$2" -c "import click" 2>/dev/null || user=$(id -u)
exec env -i PATH=/usr/bin:/bin LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 HF_HUB_OFFLINE=1 \
    taskset -c "$3" setpriv --reuid $user --clear-groups "${@:4}" <&- 2>&-
"""
"""64 MB of shared memory, the root read-only but for one folder, a user without home and name, one core, closed input
and errors, the C locale."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder that any user may write into."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def contained(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the container, or skip the test where no mounts can be made."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here: unshare -m is refused")
    core = str(min(os.sched_getaffinity(0)))
    command = ["unshare", "-m", "bash", "-c", CONTAINER, "container", str(place), sys.executable, core, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=300)


def table(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    timed = (*TIMINGS, "times_disturbed")
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


@pytest.mark.usefixtures("one_thread")
def test_the_demo_in_a_container_makes_the_table_that_it_makes_elsewhere(place: Path, tmp_path: Path) -> None:
    words = ["demo", "--limit", "10", "--corruptions", "contrast", "--severities", "5", "--set", "apm.iterations=4"]
    assert main([*words, "--quiet", "--out", str(tmp_path / "run")]) == 0
    done = contained(place, RUN_BENCH, *words, "--out", str(place / "run"))
    assert done.returncode == 0
    assert table(place / "run") == table(tmp_path / "run")
    assert (place / "run" / "results.md").read_text(encoding="utf-8").strip().splitlines()[0] in done.stdout
    said = (place / "run" / "run.log").read_text(encoding="utf-8")  # where no other user may run Python, it is root
    assert re.search(r"there is no home folder|the cache \S* cannot be written", said)
    assert [path.name for path in place.iterdir()] == ["run"], "it leaves nothing else behind"


def test_loading_processes_in_a_container_answer_photographs_as_elsewhere(place: Path, shared: Path) -> None:
    """250 photographs, whose batches would not fit into the shared memory: 222 are right, as with timm alone."""
    data, weights = shared / "data" / "imagenet-sample", shared / "weights" / "tf_efficientnet_lite0.safetensors"
    words = ["imagenet-part", "--data-root", str(data), "--teacher", f"timm:tf_efficientnet_lite0:{weights}"]
    words += ["--methods", "zeroshot", "--quiet", "--workers", "4", "--out", str(place / "run")]
    assert contained(place, RUN_BENCH, *words).returncode == 0
    (row,) = table(place / "run")
    assert (int(row["n"]), round(float(row["top1"]) * 250 / 100)) == (250, 222)
