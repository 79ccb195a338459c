"""The cores are those of the job, not those of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from apm_tta.harness.compute.loading import default_workers
from apm_tta.system import cores
from apm_tta.system.cores import bound_cores, usable_cores, usable_threads


@pytest.fixture(autouse=True)
def unlimited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without any limit, on a machine of 64 cores to which the process is bound."""
    monkeypatch.setattr(cores, "_OWN", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "_CGROUPS", tmp_path / "groups")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_without_limits_all_cores_count() -> None:
    assert (usable_cores(), usable_threads(), bound_cores()) == (64, 64, 64)


def test_a_process_that_is_bound_to_a_core_uses_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Really bound, as by ``taskset``."""
    monkeypatch.undo()
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_cores() == 1
        assert default_workers(torch.device("cuda")) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "max 100000"}, 64),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "max 100000"}, 4),
        ("0::/job/step\n", {"job/cpu.max": "400000 100000", "job/step/cpu.max": "50000 100000"}, 1),
        (
            "4:cpu,cpuacct:/slurm\n",
            {"cpu/slurm/cpu.cfs_quota_us": "300000", "cpu/slurm/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpu:/elsewhere\n", {"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 64),
        ("nonsense\n", {}, 64),
        ("0::/\n", {"cpu.max": "0 0"}, 64),
    ],
    ids=["whole machine", "no quota", "of the parent", "own", "version 1", "seen as root", "v1 no quota", "?", "zero"],
)
def test_quotas_of_cgroups_count(tmp_path: Path, own: str, files: dict[str, str], expected: int) -> None:
    write(tmp_path / "cgroup", own)
    for name, text in files.items():
        write(tmp_path / "groups" / name, f"{text}\n")
    assert usable_cores() == expected


def test_a_batch_job_and_the_variable_of_threads_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert (usable_cores(), default_workers(torch.device("cuda"), 2)) == (6, 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3,2")
    assert (usable_cores(), usable_threads()) == (6, 3)
    for nothing in ("", "many", "0", "-4"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert usable_threads() == 6
