"""Real processes: a busy loop on every core of the run marks every cell; on an idle machine at most 2 % are marked.

Skipped, saying so, where the machine is not steady beforehand: where the reference wavers, or this process does not
have its cores, something else runs already.
"""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import torch

from apm_tta.api.run import run as run_suite
from apm_tta.harness.compute.watch import measure_reference, processor_seconds
from apm_tta.harness.quietness import LEAST_SHARE, MOST_SLOWED
from apm_tta.system.cores import usable_cores

ALLOWED = 0.02
METHODS = ["zeroshot", "tda", "tent"]
"""Of milliseconds per image, an episodic one and two of streams: short cells are the hardest to judge."""
CORRUPTIONS = ["gaussian_noise", "defocus_blur", "contrast", "pixelate", "jpeg_compression"]
STEADY_S = 5.0


def _spin() -> None:
    while True:
        pass


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep ``count`` cores busy in the block, by processes of as high a priority as this one's."""
    context = multiprocessing.get_context("spawn")
    loops = [context.Process(target=_spin, daemon=True) for _ in range(count)]
    for loop in loops:
        loop.start()
    time.sleep(2)  # until all of them have started
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.join()


@pytest.fixture
def steady() -> None:
    """Skip where something else runs already."""
    device, references = torch.device("cpu"), []
    wall, processor = time.perf_counter(), processor_seconds(device)
    with torch.no_grad():
        while time.perf_counter() - wall < STEADY_S:
            references.append(measure_reference(device))
    share = (processor_seconds(device) - processor) / (time.perf_counter() - wall)
    best = min(references)
    spread = ", ".join(f"{each / best:.2f}" for each in statistics.quantiles(references, n=10))
    print(f"the reference takes at best {best:.3f} ms; its deciles in multiples of that: {spread}")
    slowed = statistics.quantiles(references, n=50)[-1] / best
    if share < LEAST_SHARE or slowed > MOST_SLOWED:
        pytest.skip(
            f"the machine is not idle: the reference has a core for {100 * share:.0f} % of the time, and takes "
            f"{slowed:.1f} times as long as at best"
        )


def cells(out: Path, corruptions: list[str], limit: int, seeds: str) -> pd.DataFrame:
    """Run some conditions of three methods with some seeds, and return a row per cell."""
    options = {
        "teacher": "embedded",
        "methods": METHODS,
        "corruptions": corruptions,
        "seeds": seeds,
        "limit": limit,
        "devices": "cpu",
    }
    return run_suite("demo", **options, quiet=True, out=out).results  # type: ignore[arg-type]


def test_a_busy_loop_on_every_core_marks_every_cell(tmp_path: Path) -> None:
    with busy_loops(usable_cores()):
        # Few: threads that wait for each other at every product take 30 times as long beside busy loops.
        results = cells(tmp_path / "run", CORRUPTIONS[:1], 10, "0")
    assert len(results) == 3 * len(METHODS)
    quiet = results[results["times_disturbed"] == ""]
    assert not len(quiet), quiet[["corruption", "severity", "method"]].to_string()


def test_of_an_idle_machine_hardly_any_cell_is_marked(steady: None, tmp_path: Path) -> None:
    results = cells(tmp_path / "run", CORRUPTIONS, 64, "0,1,2,3")
    marked = results[results["times_disturbed"] != ""]
    print(f"{len(marked)} of {len(results)} cells are marked")
    told = marked[["corruption", "severity", "method", "times_disturbed"]].to_string()
    assert len(marked) <= ALLOWED * len(results), told
