"""Processes that are started do not run the script that starts them, and leave it as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# The script would start processes without end, if one of them ran it.
SCRIPT = """
import sys
from concurrent.futures import ProcessPoolExecutor
from apm_tta.harness.compute.quiet_processes import quiet_context

print("the script runs", flush=True)
main, file, spec = sys.modules["__main__"], __file__, __spec__
context = quiet_context({method!r})
queue = context.SimpleQueue()
with ProcessPoolExecutor(2, context) as pool:
    print(sorted(pool.map(abs, [-2, -1])), context.get_start_method())
assert sys.modules["__main__"] is main and (__file__, __spec__) == (file, spec)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("module", [False, True], ids=["script", "-m"])
def test_a_script_without_a_guard_runs_once(method: str, module: bool, tmp_path: Path) -> None:
    """As a file, and as a module that ``python -m`` runs, which a started process looks for by its name."""
    (tmp_path / "the_script.py").write_text(SCRIPT.format(method=method))
    words = ["-m", "the_script"] if module else [str(tmp_path / "the_script.py")]
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs", f"[1, 2] {method}"]


def test_the_systems_own_way_is_asked_for_and_not_settled() -> None:
    """A notebook may still choose another one."""
    program = (
        "import multiprocessing\n"
        "from apm_tta.harness.compute.quiet_processes import quiet_context\n"
        "print(quiet_context().get_start_method() == multiprocessing.get_all_start_methods()[0])\n"
        "multiprocessing.set_start_method('spawn')\n"
        "print(quiet_context().get_start_method())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "spawn"], done.stderr
