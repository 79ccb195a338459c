"""What happens during a run, as data: sent by engines and workers, heard by the bar, the log and the records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from apm_tta.harness.plan import Cell, Shard, Work


@dataclass(frozen=True)
class Planned:
    """The run is about to begin.

    Attributes:
        cells: of the whole run, finished ones included.
        work: what is to be computed now.
    """

    cells: int
    work: tuple[Work, ...]


@dataclass(frozen=True)
class Answered:
    """``images`` more answers of ``cell`` are there, ``right`` of them right; they are not recorded yet."""

    cell: Cell
    images: int
    right: int


@dataclass(frozen=True)
class Finished:
    """All answers of ``work`` are there.

    Attributes:
        files: what is to be recorded: a path below the run folder and its content, for every cell.
        seconds: that it took.
    """

    work: Work
    files: tuple[tuple[PurePosixPath, bytes], ...]
    seconds: float


@dataclass(frozen=True)
class Note:
    """One line that a person should know of afterwards."""

    text: str


Event = Planned | Answered | Finished | Note
Emit = Callable[[Event], None]


def work_name(work: Work) -> str:
    """A shard or a stream, for a person."""
    methods = ", ".join(dict.fromkeys(cell.method for cell in work.cells))
    if isinstance(work, Shard):
        return f"{work.condition}, images {work.start} to {work.stop - 1} ({methods})"
    conditions = ", ".join(str(condition) for condition, _ in work.conditions)
    return f"{work.setting} stream over {conditions} ({methods})"
