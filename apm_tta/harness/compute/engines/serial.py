"""Compute one shard after another, in this process."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from itertools import zip_longest

from apm_tta.harness.compute.engines.base import ENGINES
from apm_tta.harness.compute.job import Job
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit


@ENGINES.register("serial")
def serial(work: Sequence[Work], job: Job, emit: Emit) -> None:
    """Compute ``work`` in its order, on the first of the devices."""
    worker = job.worker(job.request.devices[0], emit)
    with closing(worker):
        for unit, following in zip_longest(work, work[1:]):
            emit(worker.compute(unit, following, job.checkpoint(unit)))
