"""What the harness takes beyond the work itself, on the embedded demo: at most 5 %.

The work is what any script would have to do: reading and corrupting images, making the teacher's input, answering, and
the measurements that the cost columns state. The rest is the harness's: planning, checking, batching, records, digests,
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
def spent(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Seconds by kind of work, outermost calls alone: what is called within another is in that one's."""
    seconds: Counter[str] = Counter()
    depth = 0

    def clocked(owner: Any, name: str, kind: str) -> None:
        inner: Callable[..., Any] = getattr(owner, name)

        def outer(*arguments: Any, **named: Any) -> Any:
            nonlocal depth
            depth += 1
            started = time.perf_counter()
            try:
                return inner(*arguments, **named)
            finally:
                depth -= 1
                if not depth:
                    seconds[kind] += time.perf_counter() - started

        monkeypatch.setattr(owner, name, outer)

    clocked(loading._Places, "__getitem__", "images and the teacher's input")
    clocked(worker_module, "timed", "methods")
    clocked(worker_module, "measure_alone", "measurement")
    compute = Worker.compute

    def whole(self: Worker, *arguments: Any) -> Any:
        started = time.perf_counter()
        finished = compute(self, *arguments)
        seconds["shards"] += time.perf_counter() - started
        return finished

    monkeypatch.setattr(Worker, "compute", whole)
    return seconds


@pytest.mark.benchmark(group="harness")
def test_overhead_on_the_demo(benchmark: pytest.FixtureRequest, spent: Counter[str], tmp_path: Path) -> None:
    request = resolve_request("demo", {"severities": [5]}, out=tmp_path / "run", devices=("cpu",), quiet=True)
    started = time.perf_counter()
    benchmark.pedantic(run, args=(request,), rounds=1)
    elapsed = time.perf_counter() - started
    shards = spent.pop("shards")
    work = sum(spent.values())
    print(
        f"\nwhole run {elapsed:.2f} s, of it shards {shards:.2f} s: "
        + ", ".join(f"{k} {v:.2f} s" for k, v in spent.items())
    )
    within, over_all = (shards - work) / shards, (elapsed - work) / elapsed
    print(f"harness within shards {100 * within:.1f} %, of the whole run {100 * over_all:.1f} %")
    assert within < ALLOWED
    assert over_all < ALLOWED
