"""The cores that this process may use, which are often fewer than the machine has."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def usable_cores() -> int:
    """Count the cores: those that this process is bound to, as far as its cgroups and its batch job grant time on them.

    Returns:
        At least 1.
    """
    counts = [float(bound_cores()), *_granted(_CGROUPS, _OWN)]
    if (job := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():  # Slurm need not bind a task to its cores
        counts.append(int(job))
    return max(1, math.ceil(min(counts)))


def bound_cores() -> int:
    """Count the cores that this process is bound to, whatever time it is granted on them."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usable_threads() -> int:
    """Count the threads that one computation may use: as ``usable_cores``, and no more than OMP_NUM_THREADS says."""
    limit = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(usable_cores(), int(limit)) if limit.isdecimal() and int(limit) else usable_cores()


def _granted(root: Path, own: Path) -> Iterator[float]:
    """Yield the quotas of this process's cgroups and of all that contain them, in cores; version 1 and 2.

    Args:
        root: where cgroups are mounted.
        own: file that lists those of this process.
    """
    for line in _read(own).splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        unified = not controllers
        if not unified and "cpu" not in controllers.split(","):
            continue
        mount = root if unified else root / "cpu"
        inner = PurePosixPath(path.lstrip("/"))
        for place in (inner, *inner.parents):  # a container may see its own cgroup as the root of all
            folder = mount / place
            if unified:
                quota, period = [*_read(folder / "cpu.max").split(), "", ""][:2]
            else:
                quota, period = _read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()
            if quota.isdecimal() and period.isdecimal() and int(period):
                yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
