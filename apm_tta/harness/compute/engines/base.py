"""The protocol of engines."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from apm_tta.harness.compute.job import Job
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit
from apm_tta.registry import Registry

Engine = Callable[[Sequence[Work], Job, Emit], None]
"""``(work, job, emit)``: computes every unit of ``work`` once, and emits a ``Finished`` for each.

It decides where and in which order, never what: each process that computes builds its worker by ``job.worker``, which
refuses to compute other numbers than the manifest states. Another process gets the job as ``job.packed()``. Only the
process that was asked for the run writes into its folder.
"""

ENGINES: Registry[Engine] = Registry("engine")
