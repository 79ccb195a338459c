"""The tests that need CUDA."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from benchmarks.gpu.section import Found, Section, Setting

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("tests/cuda", "tests/apm/test_apm_engine.py", "tests/field/test_field_device.py")
_SECONDS = 150


def measure(setting: Setting) -> Found:
    """Run them in a process of their own; on a CPU they would all be skipped."""
    found = Found()
    if setting.device.type != "cuda":
        found.remarks.append("Not run: there is no CUDA device.")
        return found
    command = [sys.executable, "-m", "pytest", *PLACES, "-q", "-k", "cuda or field_device", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        found.failed.append(f"the CUDA tests took more than {_SECONDS} s")
        return found
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr.strip()[-200:]
    found.remarks.append(f"{re.sub(r'=+', '', last).strip()}.")
    if done.returncode:
        found.failed.append(f"the CUDA tests failed: {last}")
        found.remarks += [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    return found


SECTION = Section("Tests", "the tests that need CUDA", measure)
