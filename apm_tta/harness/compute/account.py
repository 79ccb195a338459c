"""What the records of a shard or stream state besides answers: where, at which batch sizes, and what was remarked."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from apm_tta.data.sample import Condition
from apm_tta.harness.compute.loading import Loaded
from apm_tta.harness.plan import Cell, Shard, Work
from apm_tta.harness.progress.events import unit_name
from apm_tta.harness.quietness import Clocks
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.site import this_site


class Account:
    """Collects what happens while a shard or a stream is answered.

    Args:
        work: the shard or stream.
        fingerprint: of the run.
        device: of the teacher.
        setup_warnings: what libraries warned of while this process prepared the run, with counts.
    """

    def __init__(self, work: Work, fingerprint: str, device: torch.device, setup_warnings: Mapping[str, int]) -> None:
        self.warnings: Counter[str] = Counter()
        self._work, self._fingerprint, self._site = work, fingerprint, this_site(device)
        self._setup_warnings = dict(setup_warnings)
        self._remarks: dict[Condition, Counter[str]] = defaultdict(Counter)
        self._batch_sizes: dict[str, set[int]] = defaultdict(set)
        self._unread: list[str] = []

    def add_loaded(self, loaded: Loaded) -> None:
        """Add what was remarked while images were read, and which could not be."""
        self._unread += [f"{each.condition}\t{each.entry.id}\n" for each in loaded.unread]
        for (condition, _), phrases in zip(loaded.places, loaded.remarks, strict=True):
            self._remarks[condition].update(dict.fromkeys(phrases, 1))
        self.warnings.update(loaded.warnings)

    def add_batch(self, method: str, size: int) -> None:
        """Add the number of images that a method was given at once."""
        self._batch_sizes[method].add(size)

    def state(self) -> dict[str, Any]:
        """Return what was collected so far, as plain data."""
        return {
            "warnings": dict(self.warnings),
            "remarks": [
                [condition.corruption, condition.severity, dict(counts)] for condition, counts in self._remarks.items()
            ],
            "batch_sizes": {method: sorted(sizes) for method, sizes in self._batch_sizes.items()},
            "unread": self._unread,
        }

    def add_state(self, state: Mapping[str, Any]) -> None:
        """Add what was collected before, as ``state`` returns it.

        Raises:
            ValueError: when it is something else.
        """
        try:
            self.warnings.update(state["warnings"])
            for corruption, severity, counts in state["remarks"]:
                self._remarks[Condition(corruption, severity)].update(counts)
            for method, sizes in state["batch_sizes"].items():
                self._batch_sizes[method].update(sizes)
            self._unread += state["unread"]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"its account cannot be read ({type(error).__name__})") from None

    def header(self, cell: Cell, clocks: Clocks | None = None) -> RecordHeader:
        """Return what the file of a cell states.

        Args:
            cell: of this shard or stream.
            clocks: what they said while its method answered; None where they were not read.
        """
        return RecordHeader(
            fingerprint=self._fingerprint,
            file=str(self._work.file_of(cell)),
            site=self._site,
            batch_sizes=tuple(sorted(self._batch_sizes[cell.method])),
            unit=unit_name(self._work),
            remarks=dict(self._remarks[cell.condition]),
            warnings=dict(self.warnings),
            setup_warnings=self._setup_warnings,
            stream_unread=self._stream_unread(),
            clocks=clocks,
        )

    def _stream_unread(self) -> str:
        if isinstance(self._work, Shard) or not self._unread:
            return ""
        return hashlib.sha256("".join(sorted(self._unread)).encode()).hexdigest()
