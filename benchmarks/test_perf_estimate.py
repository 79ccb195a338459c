"""Dry runs say within a quarter how long the whole command takes, from its start to its tables.

Real processes, in pairs one right after the other on a machine that does nothing else: the median of three pairs
counts. A dry run takes at most two minutes, or a tenth of the run. ``imagenet-part`` runs where ``APM_TTA_PHOTOGRAPHS``
names a folder of ImageNet's validation images by class, and ``APM_TTA_EFFICIENTNET`` the weights of
``timm:tf_efficientnet_lite0``.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

PAIRS = 3
WITHIN = 0.25
LONGEST_S, SHARE = 120.0, 0.1
UNITS = {"d": 86400, "h": 3600, "min": 60, "s": 1}
RUN_BENCH = "import sys; from apm_tta.cli import main; sys.exit(main(sys.argv[1:]))"
FOUND = [os.environ.get(name, "") for name in ("APM_TTA_PHOTOGRAPHS", "APM_TTA_EFFICIENTNET")]
COMMANDS = {
    "demo": ["demo"],
    "imagenet-part": [
        *("imagenet-part", "--methods", "zeroshot,tda[views=1],zero,apm", "--limit", "10"),
        *("--data-root", FOUND[0], "--teacher", f"timm:tf_efficientnet_lite0:{FOUND[1]}"),
    ],
}


def seconds_of(words: list[str]) -> tuple[float, str]:
    """Run a command in a fresh interpreter, and return how long it took and what it printed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", RUN_BENCH, *words], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def stated(text: str) -> float:
    """Return the seconds that a dry run states."""
    found = re.search(r"^About ((?:[\d.]+ (?:d|h|min|s) ?)+)", text, re.MULTILINE)
    assert found, text
    return sum(float(amount) * UNITS[unit] for amount, unit in re.findall(r"([\d.]+) (d|h|min|s)", found[1]))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_dry_run_says_how_long_the_run_takes(name: str, tmp_path: Path) -> None:
    if name == "imagenet-part" and not all(FOUND):
        pytest.skip("APM_TTA_PHOTOGRAPHS and APM_TTA_EFFICIENTNET name no photographs and weights")
    ratios = []
    for pair in range(PAIRS):
        words = [*COMMANDS[name], "--device", "cpu", "--quiet"]
        asked, text = seconds_of([*words, "--dry-run"])
        took, _ = seconds_of([*words, "--out", str(tmp_path / str(pair))])
        ratios.append(stated(text) / took)
        print(f"{name}: a dry run of {asked:.1f} s states {stated(text):.0f} s; the run took {took:.1f} s")
        assert asked <= max(LONGEST_S, SHARE * took)
    assert abs(statistics.median(ratios) - 1) <= WITHIN
