"""What is to be computed: cells, cut into shards where images are independent, joined to streams where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from apm_tta.data.sample import Condition
from apm_tta.errors import UserError

SHARD_SIZE = 2000
EPISODIC = "episodic"
"""Setting of a cell whose images are answered one by one, whatever their order."""

Setting = Literal["iid", "continual", "mixed", "correlated"]
Reset = Literal["corruption", "dataset", "never"]


@dataclass(frozen=True)
class Cell:
    """Dataset x corruption x severity x setting x teacher x method x seed: one row of the results table.

    Attributes:
        setting: ``episodic``, or the stream in which an online method met the images.
    """

    dataset: str
    condition: Condition
    teacher: str
    method: str
    seed: int
    setting: str = EPISODIC


@dataclass(frozen=True)
class Shard:
    """A contiguous range of the samples under one condition, for all episodic methods that have yet to answer it.

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

    def answers(self, cell: Cell) -> int:
        """Images that ``cell`` lacks and this shard answers."""
        return self.stop - self.start

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Where this range of ``cell`` is recorded, below the run folder."""
        return record_file(cell, self.index)


@dataclass(frozen=True)
class Stream:
    """All images between two resets of online methods; it is computed whole or not at all.

    The methods of a stream see the same images in the same order.

    Attributes:
        setting: how the stream is ordered.
        conditions: in their order, each with its number of samples.
        stream_batch: images that the methods want at once; None for any number.
        seed: of the order.
        cells: one a method and condition.
    """

    setting: Setting
    conditions: tuple[tuple[Condition, int], ...]
    stream_batch: int | None
    seed: int
    cells: tuple[Cell, ...]

    def answers(self, cell: Cell) -> int:
        """Images that ``cell`` lacks and this stream answers."""
        return dict(self.conditions)[cell.condition]

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Where ``cell`` is recorded, below the run folder."""
        return record_file(cell, 0)


Work = Shard | Stream


def record_file(cell: Cell, index: int) -> PurePosixPath:
    """Where one range of ``cell`` is recorded, below the run folder."""
    condition = cell.condition
    name = "clean" if condition.clean else f"{condition.corruption}-{condition.severity}"
    return PurePosixPath("records", cell.method, name, f"{cell.setting}-seed-{cell.seed}-shard-{index:05d}.parquet")


def plan_shards(cells: Sequence[Cell], samples: dict[Condition, int], shard_size: int = SHARD_SIZE) -> list[Shard]:
    """Shards of episodic ``cells`` in a fixed order: condition by condition, range by range.

    Args:
        cells: those of one condition are answered together.
        samples: how many there are under each condition.
        shard_size: samples a shard at most.
    """
    shards = []
    for condition, count in samples.items():
        own = tuple(cell for cell in cells if cell.condition == condition)
        for index, start in enumerate(range(0, count, shard_size)):
            if own:
                shards.append(Shard(condition, index, start, min(start + shard_size, count), own))
    return shards


def plan_streams(
    cells: Sequence[Cell],
    samples: dict[Condition, int],
    setting: Setting,
    reset: Reset,
    stream_batches: dict[str, int | None],
) -> list[Stream]:
    """Streams of online ``cells``: cut where the methods forget, one for the methods and
    seeds that share an order and equal batches.

    Args:
        cells: of online methods.
        samples: how many there are under each condition.
        setting: ``iid``: each condition shuffled; ``continual``: likewise, one condition after another without a reset
            (CoTTA, arXiv 2203.13591); ``mixed``: all conditions shuffled together (SAR, arXiv 2302.12400);
            ``correlated``: each condition sorted by class (NOTE, arXiv 2208.05117).
        reset: at every condition (``corruption``), at every severity (``dataset``: ImageNet-C at one severity is what
            the literature calls a data set), or only at the start (``never``).
        stream_batches: images at once, by method; None takes any.

    Raises:
        UserError: for ``mixed`` with a reset at every condition. Exit code 2.
    """
    check_setting(setting, reset)
    groups: dict[object, list[Condition]] = {}
    for condition in samples:
        key: object = {"corruption": condition, "dataset": condition.severity, "never": None}[reset]
        groups.setdefault(key, []).append(condition)
    streams = []
    batches = dict.fromkeys(stream_batches.values())
    for batch, seed in itertools.product(batches, dict.fromkeys(cell.seed for cell in cells)):
        methods = {name for name, wanted in stream_batches.items() if wanted == batch}
        for conditions in groups.values():
            own = tuple(
                cell for cell in cells if cell.method in methods and cell.seed == seed and cell.condition in conditions
            )
            counted = tuple((condition, samples[condition]) for condition in conditions)
            streams.append(Stream(setting, counted, batch, seed, own))
    return streams


def part_of(work: Sequence[Work], part: int, parts: int) -> list[Work]:
    """Every ``parts``-th unit of ``work``, from the ``part``-th on: 1 .. ``parts`` cover it once.

    Neighbours go to different parts, so that conditions and methods of unequal cost are spread over them.
    """
    return list(work[part - 1 :: parts])


def check_setting(setting: Setting, reset: Reset) -> None:
    """Refuses a stream that has no such borders.

    Raises:
        UserError: for ``mixed`` with a reset at every condition. Exit code 2.
    """
    if setting == "mixed" and reset == "corruption":
        raise UserError("setting mixed has no borders between corruptions; reset is dataset or never", exit_code=2)


def default_reset(setting: Setting) -> Reset:
    """Where methods forget unless it is said otherwise."""
    return "dataset" if setting in ("continual", "mixed") else "corruption"
