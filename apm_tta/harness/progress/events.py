"""The events of a run, as data: sent by engines and workers; the bar, the log and the records listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from apm_tta.harness.plan import Cell, Shard, Work
from apm_tta.wording import visible


@dataclass(frozen=True)
class Planned:
    """The run is about to start.

    Attributes:
        cells: number of cells of the whole run, including finished ones.
        work: shards and streams to compute now.
    """

    cells: int
    work: tuple[Work, ...]


@dataclass(frozen=True)
class Answered:
    """More answers of a cell have been computed, but not recorded yet.

    Attributes:
        cell: the cell.
        images: number of answers.
        right: how many of them are right.
    """

    cell: Cell
    images: int
    right: int


@dataclass(frozen=True)
class Finished:
    """All answers of a shard or stream have been computed.

    Attributes:
        work: the shard or stream.
        files: the records to write: for every cell a path below the run folder and its content.
        seconds: time that it took.
        images: likewise, the digests of images that were hashed as they were read.
        warnings: what libraries warned of meanwhile, and how often.
    """

    work: Work
    files: tuple[tuple[PurePosixPath, bytes], ...]
    seconds: float
    images: tuple[tuple[PurePosixPath, bytes], ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """A shard or stream can be gone on with from here; see ``apm_tta.harness.storage.checkpoint``.

    Attributes:
        work: the shard or stream.
        index: content of the checkpoint's index.
        files: content of its new files, by name.
        seconds: that it took to make.
    """

    work: Work
    index: bytes
    files: Mapping[str, bytes]
    seconds: float

    @property
    def megabytes(self) -> float:
        """Its size."""
        return sum(map(len, (self.index, *self.files.values()))) / 1e6


@dataclass(frozen=True)
class Note:
    """One line that should be known after the run, whatever names it quotes."""

    text: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", visible(self.text))


Event = Planned | Answered | Kept | Finished | Note
Emit = Callable[[Event], None]


def work_name(work: Work) -> str:
    """Name a shard or a stream for a reader."""
    methods = ", ".join(dict.fromkeys(cell.method for cell in work.cells))
    if isinstance(work, Shard):
        return f"{work.condition}, images {work.start} to {work.stop - 1} ({methods})"
    conditions = ", ".join(str(condition) for condition, _ in work.conditions)
    return f"{work.streaming} stream over {conditions} ({methods})"


def unit_name(work: Work) -> str:
    """Name a shard whichever methods answer it now, and a stream apart from every other."""
    if isinstance(work, Shard):
        return f"{work.condition}, images {work.start} to {work.stop - 1}"
    return f"{work_name(work)}, seed {work.seed}"
