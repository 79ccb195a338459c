"""A run as it is sent to other processes and machines."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Any

import torch

from apm_tta.errors import UserError
from apm_tta.harness.compute.fingerprint import numbers
from apm_tta.harness.compute.loading import default_workers
from apm_tta.harness.compute.prepare import Prepared, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.progress.events import Emit
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.storage.manifest import Numbers, differences
from apm_tta.teachers import default_cache


@dataclass(frozen=True)
class Job:
    """Everything that one process needs to answer shards of a run.

    Attributes:
        request: what was asked for.
        numbers: what the answers depend on, as the run's manifest states it: a process that finds anything else where
            it is does not answer. None where nothing is recorded.
        prepared: what this process has built already; it is not sent.
    """

    request: RunRequest
    numbers: Numbers | None = None
    prepared: Prepared | None = field(default=None, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "prepared": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    def worker(self, device: torch.device, emit: Emit, processes: int = 1) -> Worker:
        """Build what answers shards in this process.

        Args:
            device: on which.
            emit: hears every event.
            processes: that share this machine's cores.

        Raises:
            UserError: when this process would compute other numbers than the manifest states, naming what differs.
        """
        prepared, request = self.prepared, self.request
        if prepared is None:
            prepared = prepare(request, device)
            if self.numbers is not None and (differing := differences(self.numbers, numbers(prepared))):
                raise UserError(f"{socket.gethostname()} would compute other numbers ({'; '.join(differing)})")
        workers = default_workers(device, processes) if request.workers is None else request.workers
        # Of this machine's own cache: another one may have its home elsewhere.
        features = default_cache() / "features" if request.feature_cache else None
        return Worker(prepared, emit, workers, features)
