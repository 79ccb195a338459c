"""The wait before anything is computed: importing the package, help, typos."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

ROUNDS = 7
IMPORT_MS, HELP_MS = 50, 500


def milliseconds(*words: str) -> float:
    """Return the shortest of several runs of a fresh interpreter: other processes only add to it."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *words], capture_output=True, check=False)
        times.append(1000 * (time.perf_counter() - started))
    return min(times)


def test_importing_the_package_takes_less_than_50_ms() -> None:
    import_ms = milliseconds("-c", "import apm_tta") - milliseconds("-c", "pass")
    print(f"import apm_tta: {import_ms:.1f} ms beyond the interpreter's start")
    assert import_ms < IMPORT_MS


@pytest.mark.parametrize(
    "words", [["--help"], ["demo", "--help"], ["imagenet-c", "--help"], ["demoo"], ["demo", "--limitt"]]
)
def test_help_and_typos_are_answered_within_half_a_second(words: list[str]) -> None:
    elapsed = milliseconds("-c", "import sys; from apm_tta.cli import main; sys.exit(main(sys.argv[1:]))", *words)
    print(f"run-bench {' '.join(words)}: {elapsed:.0f} ms")
    assert elapsed < HELP_MS
