"""A run as it is sent to other processes and machines."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4
from weakref import WeakValueDictionary

import torch

from apm_tta.data.image_digests import ImageDigests
from apm_tta.errors import UserError
from apm_tta.harness.compute.fingerprint import numbers
from apm_tta.harness.compute.loading import default_workers
from apm_tta.harness.compute.parcel import pack, unpack
from apm_tta.harness.compute.prepare import Prepared, open_data, prepare
from apm_tta.harness.compute.worker import Worker
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit, Note
from apm_tta.harness.progress.heard_warnings import counted, heard_warnings
from apm_tta.harness.request.run_request import RunRequest
from apm_tta.harness.storage.checkpoint import Checkpoint
from apm_tta.harness.storage.checkpoints import Checkpoints
from apm_tta.harness.storage.manifest import Numbers, differences
from apm_tta.system.cache_folder import default_cache


class OtherNumbers(UserError):
    """A process would compute other numbers than the run's manifest states; another process may do better."""


@dataclass(frozen=True)
class Job:
    """Everything that one process needs to compute shards of a run.

    It pickles as ``packed`` does.

    Attributes:
        request: what was asked for.
        numbers: what the answers depend on, as the run's manifest states it: a process that would compute other
            numbers refuses. None where nothing is recorded.
        digests: of the images, which every process compares as it reads them; None where nothing is recorded.
        setup_warnings: what libraries warned of while the process that was asked for the run prepared it.
        prepared: what this process has built already; it is not sent.
        checkpoints: of the run; they are sent one by one, with their units of work. None where nothing is recorded.
    """

    request: RunRequest
    numbers: Numbers | None = None
    digests: ImageDigests | None = None
    setup_warnings: Mapping[str, int] = field(default_factory=dict)
    prepared: Prepared | None = field(default=None, compare=False)
    checkpoints: Checkpoints | None = field(default=None, compare=False)

    def checkpoint(self, unit: Work) -> Checkpoint | None:
        """Return what has been kept of a unit of work; to be called in the process that was asked for the run."""
        return None if self.checkpoints is None else self.checkpoints.of(unit)

    def packed(self) -> bytes:
        """Return what another process needs for ``unpacked``, the code of user-defined methods included.

        Raises:
            UserError: for a method that cannot be sent, naming it.
        """
        number = uuid4().bytes
        _PACKED_HERE[number] = self
        return _THIS_PROCESS + number + pack(self._sent, self.request.parameters)

    @staticmethod
    def unpacked(packed: bytes) -> Job:
        """Register the methods that were sent along, and return the job.

        Raises:
            UserError: when this process cannot rebuild them.
        """
        process, number, content = packed[:_KEY], packed[_KEY : 2 * _KEY], packed[2 * _KEY :]
        if process != _THIS_PROCESS:
            return Job(*unpack(content))
        # Unpickled where they come from, classes would be overwritten by copies, which no later cell reaches.
        if (own := _PACKED_HERE.get(number)) is None:
            raise UserError("a job can be unpacked in another process, or in its own while it is there")
        return Job(*own._sent)

    @property
    def _sent(self) -> tuple[Any, ...]:
        return self.request, self.numbers, self.digests, dict(self.setup_warnings)

    def __reduce__(self) -> tuple[Callable[[bytes], Job], tuple[Any, ...]]:
        return Job.unpacked, (self.packed(),)

    def worker(self, device: torch.device, emit: Emit, processes: int = 1) -> Worker:
        """Build what computes shards in this process.

        Args:
            device: on which.
            emit: receives every event.
            processes: that share this machine's cores.

        Raises:
            OtherNumbers: when this process would compute others than the manifest states, naming what differs.
        """
        prepared, request, warned = self.prepared, self.request, dict(self.setup_warnings)
        if prepared is None:
            with heard_warnings() as heard:
                dataset = open_data(request)
                if self.digests is not None:
                    dataset.expect(self.digests)
                prepared = prepare(request, device, dataset)
            for text in counted({text: count for text, count in heard.items() if text not in warned}):
                emit(Note(text))
            warned = {**warned, **heard}
            if self.numbers is not None and (differing := differences(self.numbers, numbers(prepared))):
                raise OtherNumbers(f"{socket.gethostname()} would compute other numbers ({'; '.join(differing)})")
        workers = default_workers(device, processes) if request.workers is None else request.workers
        # Of this machine's own cache: another one may have its home elsewhere.
        features = default_cache() / "features" if request.feature_cache else None
        fingerprint = "" if self.numbers is None else self.numbers.fingerprint
        return Worker(prepared, emit, fingerprint, workers, features, warned)


_KEY = 16
_THIS_PROCESS = uuid4().bytes
_PACKED_HERE: WeakValueDictionary[bytes, Job] = WeakValueDictionary()
