"""Compute one shard after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence

from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit


@ENGINES.register("serial")
def serial(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` in its order, on the first of the devices."""
    worker = job.worker(job.request.devices[0], emit)
    for unit in work:
        emit(worker.compute(unit))
