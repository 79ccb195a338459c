"""A run as it is sent to other processes and machines."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from apm_tta.errors import UserError
from apm_tta.harness.compute.description import numbers
from apm_tta.harness.compute.loading import default_workers
from apm_tta.harness.compute.prepare import Prepared, prepare
from apm_tta.harness.compute.worker import Conduct, Worker
from apm_tta.harness.progress.events import Emit
from apm_tta.harness.request.run_request import Request
from apm_tta.harness.request.suite import Suite
from apm_tta.harness.storage.manifest import differences
from apm_tta.teachers import default_cache


@dataclass(frozen=True)
class Job:
    """Everything that one process needs to answer shards of a run.

    Attributes:
        suite: what is computed.
        request: where the data lie, and how many processes load them.
        numbers: what the answers depend on, as the run's manifest states it: a process that finds anything else where
            it is does not answer.
        prepared: what this process has built already; it is not sent.
    """

    suite: Suite
    request: Request
    numbers: Mapping[str, Any] = field(default_factory=dict)
    prepared: Prepared | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "prepared": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def worker(self, device: torch.device, emit: Emit, processes: int = 1) -> Worker:
        """What answers shards in this process.

        Args:
            device: on which.
            emit: hears every event.
            processes: that share this machine's cores.

        Raises:
            UserError: when this process would compute other numbers than the manifest states, naming what differs.
        """
        prepared = self.prepared
        if prepared is None:
            prepared = prepare(self.suite, self.request, device)
            if differing := differences(self.numbers, numbers(self.suite, prepared)):
                raise UserError(f"{socket.gethostname()} would compute other numbers ({'; '.join(differing)})")
        workers = self.request.workers
        conduct = Conduct(
            self.suite.batch_size,
            self.suite.precision,
            default_workers(device, processes) if workers is None else workers,
            default_cache() / "features" if self.request.feature_cache else None,
        )
        return Worker(prepared.dataset, prepared.teacher, prepared.seeded, conduct, emit)
