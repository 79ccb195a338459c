"""The harness's overhead beyond the work itself, on the embedded demo: at most 5 %.

The work is what any script would have to do: reading and corrupting images, preparing the teacher's input, predicting,
and the measurements behind the cost columns. The rest is the harness's: planning, checking, batching, records, digests,
syncs, the log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apm_tta.harness.compute import loading
from apm_tta.harness.compute import worker as worker_module
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.request.run_request import resolve_request
from apm_tta.harness.run import run

ALLOWED = 0.05


@pytest.fixture
def work_seconds(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count seconds by kind of work, of outermost calls only: a nested call is part of the outer one."""
    seconds: Counter[str] = Counter()
    depth = 0

    def time_calls(owner: Any, name: str, kind: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            nonlocal depth
            depth += 1
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                depth -= 1
                if not depth:
                    seconds[kind] += time.perf_counter() - started

        monkeypatch.setattr(owner, name, outer)

    time_calls(loading._Places, "__call__", "images and the teacher's input")
    time_calls(worker_module, "answer", "methods")
    time_calls(worker_module, "measure_alone", "measurement")
    compute = Worker.compute

    def timed_compute(self: Worker, *args: Any) -> Any:
        started = time.perf_counter()
        finished = compute(self, *args)
        seconds["shards"] += time.perf_counter() - started
        return finished

    monkeypatch.setattr(Worker, "compute", timed_compute)
    return seconds


@pytest.mark.benchmark(group="harness")
def test_overhead_on_the_demo(benchmark: pytest.FixtureRequest, work_seconds: Counter[str], tmp_path: Path) -> None:
    request = resolve_request("demo", {"severities": [5]}, out=tmp_path / "run", devices=("cpu",), quiet=True)
    started = time.perf_counter()
    benchmark.pedantic(run, args=(request,), rounds=1)
    elapsed = time.perf_counter() - started
    shards = work_seconds.pop("shards")
    work = sum(work_seconds.values())
    print(
        f"\nwhole run {elapsed:.2f} s, of which shards {shards:.2f} s: "
        + ", ".join(f"{k} {v:.2f} s" for k, v in work_seconds.items())
    )
    in_shards, overall = (shards - work) / shards, (elapsed - work) / elapsed
    print(f"harness within shards {100 * in_shards:.1f} %, of the whole run {100 * overall:.1f} %")
    assert in_shards < ALLOWED
    assert overall < ALLOWED
