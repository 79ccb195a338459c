"""Where a shard was computed: it decides no number, and explains its timings and where its code came from."""

from __future__ import annotations

import platform
from datetime import datetime, timezone

import torch

from apm_tta.configuration import Configuration
from apm_tta.harness.storage.code_identity import UNKNOWN, commit, source_sha256
from apm_tta.system.hardware import device_name

_SHORT = 12
"""Characters of a commit or a digest that a reader is shown."""


class Site(Configuration):
    """The machine and the process that computed a shard.

    Attributes:
        started: when it began with the shard, in UTC.
        commit: see ``code_identity.commit``.
        source_sha256: see ``code_identity.source_sha256``.
        device: such as ``cuda:0``.
        device_name: of the GPU, or of the processor.
        threads: of PyTorch.
        python: its version.
        platform: the operating system.
        clock: by which times were taken.
    """

    started: str
    commit: str
    source_sha256: str = ""
    device: str
    device_name: str
    threads: int
    python: str
    platform: str
    clock: str

    @property
    def code(self) -> str:
        """The commit in short; with the digest of the code where that is not exactly the commit's."""
        commit, dash, changed = self.commit.partition("-")
        exact = not dash and commit != UNKNOWN
        return f"{commit[:_SHORT]}{dash}{changed}{'' if exact else f' (source {self.source_sha256[:_SHORT]})'}"

    @property
    def device_type(self) -> str:
        """``cpu`` or ``cuda``."""
        return self.device.partition(":")[0]

    @property
    def hardware(self) -> str:
        """What its timings are of, in words: those of two sites with the same can be pooled."""
        return f"{self.device_name}, {self.threads} {'thread' if self.threads == 1 else 'threads'}"


def this_site(device: torch.device) -> Site:
    """Describe this process, and the code that runs in it."""
    return Site(
        started=utc_now(),
        commit=commit(),
        source_sha256=source_sha256(),
        device=str(device),
        device_name=device_name(device),
        threads=torch.get_num_threads(),
        python=platform.python_version(),
        platform=platform.platform(),
        clock="time.perf_counter",
    )


def utc_now() -> str:
    """Return the time in UTC to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
