"""What is to be computed: cells, cut into shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from apm_tta.data.sample import Condition

SHARD_SIZE = 2000


@dataclass(frozen=True)
class Cell:
    """Dataset x corruption x severity x teacher x method x seed: one row of the results table."""

    dataset: str
    condition: Condition
    teacher: str
    method: str
    seed: int


@dataclass(frozen=True)
class Shard:
    """A contiguous range of the samples under one condition, for all methods that have yet to answer it.

    The methods of a shard see the same decoded images.

    Attributes:
        condition: what was done to the images.
        index: position of the shard under its condition.
        start: first sample.
        stop: one past the last.
        cells: those that lack this range, one a method.
    """

    condition: Condition
    index: int
    start: int
    stop: int
    cells: tuple[Cell, ...]

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Where this range of ``cell`` is recorded, below the run folder."""
        condition = cell.condition
        name = "clean" if condition.clean else f"{condition.corruption}-{condition.severity}"
        return PurePosixPath("records", cell.method, name, f"seed-{cell.seed}-shard-{self.index:05d}.parquet")


def plan_shards(cells: Sequence[Cell], samples: dict[Condition, int], shard_size: int = SHARD_SIZE) -> list[Shard]:
    """Shards of ``cells`` in a fixed order: condition by condition, range by range.

    Args:
        cells: those of one condition are answered together.
        samples: how many there are under each condition.
        shard_size: samples a shard at most.
    """
    shards = []
    for condition, count in samples.items():
        own = tuple(cell for cell in cells if cell.condition == condition)
        for index, start in enumerate(range(0, count, shard_size)):
            shards.append(Shard(condition, index, start, min(start + shard_size, count), own))
    return shards
