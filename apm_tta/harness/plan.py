"""The work of a run: cells, cut into shards where images are independent, joined to streams where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from apm_tta.data.sample import FOREIGN, Condition
from apm_tta.errors import UserError
from apm_tta.method_rows import folder_of

SHARD_SIZE = 2000
EPISODIC = "episodic"
"""Setting of a cell whose images are answered independently of each other and of their order."""
TRANSDUCTIVE = "transductive"
"""Setting of a cell whose images are all answered together, whatever their order."""

Setting = Literal["iid", "continual", "mixed", "correlated"]
Reset = Literal["corruption", "dataset", "never"]


@dataclass(frozen=True)
class Cell:
    """One row of the results table: dataset x corruption x severity x setting x teacher x method x seed.

    Attributes:
        dataset: name of the data set's card.
        condition: corruption and severity of the images.
        teacher: name of the teacher as requested.
        method: name of the row: of a method, or of a variant; see ``apm_tta.method_rows``.
        seed: seed of every random draw.
        setting: ``episodic``, ``transductive``, or the stream in which an online method saw the images.
    """

    dataset: str
    condition: Condition
    teacher: str
    method: str
    seed: int
    setting: str = EPISODIC


@dataclass(frozen=True)
class Shard:
    """A contiguous range of the samples under one condition, for the methods that have yet to answer it.

    The methods of a shard see the same decoded images. None of them has a stream.

    Attributes:
        condition: corruption and severity of the images.
        index: position of the shard among those of its condition.
        start: first sample.
        stop: one past the last sample.
        cells: the cells that lack this range, one per method and seed.
        retried: positions from ``start`` on of the images that these cells have no answer to, and that are tried again;
            empty for the whole range.
    """

    condition: Condition
    index: int
    start: int
    stop: int
    cells: tuple[Cell, ...]
    retried: tuple[int, ...] = ()

    @property
    def whole(self) -> bool:
        """Return whether all images of the condition are answered together, at the end."""
        return any(cell.setting == TRANSDUCTIVE for cell in self.cells)

    def count_answers(self, cell: Cell) -> int:
        """Return the number of images that ``cell`` lacks and this shard answers."""
        return len(self.retried) or self.stop - self.start

    def positions(self) -> list[int]:
        """Return the positions among the samples of its condition of those that it answers."""
        return [self.start + each for each in self.retried] or list(range(self.start, self.stop))

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Return the path, below the run folder, at which this range of ``cell`` is recorded."""
        return record_file(cell, self.index)


@dataclass(frozen=True)
class Stream:
    """All images between two resets of online methods, computed completely or not at all.

    The methods of a stream see the same images in the same order.

    Attributes:
        setting: how the stream is ordered.
        conditions: its conditions in order, each with its number of samples.
        stream_batch: number of images that the methods require at once; None for any number.
        seed: random seed of the order.
        cells: one cell per method and condition.
    """

    setting: Setting
    conditions: tuple[tuple[Condition, int], ...]
    stream_batch: int | None
    seed: int
    cells: tuple[Cell, ...]

    def count_answers(self, cell: Cell) -> int:
        """Return the number of images that ``cell`` lacks and this stream answers."""
        return dict(self.conditions)[cell.condition]

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Return the path, below the run folder, at which ``cell`` is recorded."""
        return record_file(cell, 0)


Work = Shard | Stream


def record_file(cell: Cell, index: int) -> PurePosixPath:
    """Return the path, below the run folder, at which one range of ``cell`` is recorded."""
    name = condition_name(cell.condition)
    return PurePosixPath(
        "records", folder_of(cell.method), name, f"{cell.setting}-seed-{cell.seed}-shard-{index:05d}.parquet"
    )


def condition_name(condition: Condition) -> str:
    """Return a condition's name in the run folder."""
    return f"{condition.corruption}-{condition.severity}" if condition.severity else condition.corruption


def plan_shards(cells: Sequence[Cell], samples: dict[Condition, int], shard_size: int = SHARD_SIZE) -> list[Shard]:
    """Cut episodic ``cells`` into shards in a fixed order: condition by condition, range by range.

    Args:
        cells: episodic cells; those of one condition are answered together.
        samples: number of samples under each condition.
        shard_size: largest number of samples per shard.
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
    """Join online ``cells`` to streams that end where the methods are reset.

    Methods with batches of equal size share a stream, since they see the same order; every seed has its own.

    Args:
        cells: cells of online methods.
        samples: number of samples under each condition.
        setting: ``iid``: each condition shuffled; ``continual``: the same, one condition after another without a reset
            (CoTTA, arXiv 2203.13591); ``mixed``: all conditions shuffled together (SAR, arXiv 2302.12400);
            ``correlated``: each condition sorted by class (NOTE, arXiv 2208.05117).
        reset: at every condition (``corruption``), at every severity (``dataset``: ImageNet-C at one severity is what
            the literature calls a data set), or only at the start (``never``).
        stream_batches: number of images at once, by method; None for any number.

    Raises:
        UserError: for ``mixed`` with a reset at every condition. Exit code 2.
    """
    check_setting(setting, reset)
    streams = []
    batches = dict.fromkeys(stream_batches.values())
    for batch, seed in itertools.product(batches, dict.fromkeys(cell.seed for cell in cells)):
        methods = {name for name, wanted in stream_batches.items() if wanted == batch}
        for conditions in conditions_between_resets(samples, reset):
            own = tuple(
                cell for cell in cells if cell.method in methods and cell.seed == seed and cell.condition in conditions
            )
            counted = tuple((condition, samples[condition]) for condition in conditions)
            streams.append(Stream(setting, counted, batch, seed, own))
    return streams


def apart_from_foreign(samples: dict[Condition, int]) -> list[dict[Condition, int]]:
    """Part the conditions, with their numbers of samples, into those of the run and that of foreign images, if any.

    Foreign images have a stream of their own: among others they would change what a method learns from these.
    """
    own = {condition: count for condition, count in samples.items() if condition != FOREIGN}
    return [own, {FOREIGN: samples[FOREIGN]}] if FOREIGN in samples else [own]


def conditions_between_resets(conditions: Iterable[Condition], reset: Reset) -> list[list[Condition]]:
    """Return the conditions of every stream; see ``plan_streams``."""
    groups: dict[object, list[Condition]] = {}
    for condition in conditions:
        key: object = {"corruption": condition, "dataset": condition.severity, "never": None}[reset]
        groups.setdefault(key, []).append(condition)
    return list(groups.values())


def select_part(work: Sequence[Work], part: int, parts: int) -> list[Work]:
    """Return every ``parts``-th unit of ``work`` from the ``part``-th on; parts 1 .. ``parts`` cover ``work`` once.

    Neighbours go to different parts, so that conditions and methods of unequal cost are spread over them.
    """
    return list(work[part - 1 :: parts])


def check_setting(setting: Setting, reset: Reset) -> None:
    """Refuse a reset at borders that the stream does not have.

    Raises:
        UserError: for ``mixed`` with a reset at every condition. Exit code 2.
    """
    if setting == "mixed" and reset == "corruption":
        raise UserError("setting mixed has no borders between corruptions; reset must be dataset or never", exit_code=2)


def default_reset(setting: Setting) -> Reset:
    """Return where online methods are reset by default."""
    return "dataset" if setting in ("continual", "mixed") else "corruption"
