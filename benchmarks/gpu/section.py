"""One measurement of the page."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks.gpu.sizes import Sizes


@dataclass
class Setting:
    """Where and how much is measured.

    Attributes:
        device: that is measured; the CPU for ``--smoke``.
        sizes: of the measurements.
        folder: for photographs, weights and runs; it is empty at the start and removed at the end.
        ends: time by ``time.monotonic`` at which everything should be done.
    """

    device: torch.device
    sizes: Sizes
    folder: Path
    ends: float

    def left(self) -> float:
        """Return the seconds that are left."""
        return self.ends - time.monotonic()


@dataclass
class Found:
    """What a measurement found.

    Attributes:
        columns: titles of the table's columns; empty for no table.
        rows: of the table.
        remarks: sentences below it.
        failed: what must not be so, in one line each: the command then ends with exit code 1.
    """

    columns: Sequence[str] = ()
    rows: list[Sequence[object]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: of the part.
        what: what is measured, as one sentence without a full stop.
        measure: measures it.
    """

    title: str
    what: str
    measure: Callable[[Setting], Found]
