"""The work of a run: cells, cut into shards where images are independent, joined to streams where they are not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from apm_tta.data.sample import FOREIGN, Condition
from apm_tta.harness.streams import Reset, StreamSetting
from apm_tta.method_rows import folder_of

SHARD_SIZE = 2000
EPISODIC = "episodic"
"""Setting of a cell whose images are answered independently of each other and of their order."""
TRANSDUCTIVE = "transductive"
"""Setting of a cell whose images are all answered together, whatever their order."""


@dataclass(frozen=True)
class Cell:
    """One row of the results table: dataset x corruption x severity x setting x teacher x method x seed.

    Attributes:
        dataset: name of the data set's card.
        condition: corruption and severity of the images.
        teacher: name of the teacher as requested.
        method: name of the row: of a method, or of a variant; see ``apm_tta.method_rows``.
        seed: seed of every random draw.
        setting: ``episodic``, ``transductive``, or how an online method saw the images; see ``Streaming``.
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
class Streaming:
    """How online methods meet the images.

    Attributes:
        setting: in which order, and how often.
        reset: where methods are reset; see ``StreamSetting.between_resets``.
        window: images that a method sees at once where they come one by one; None where they come in its batches.
    """

    setting: StreamSetting
    reset: Reset | int
    window: int | None = None

    @property
    def every(self) -> int | None:
        """The number of steps after which methods are reset; None where conditions decide."""
        return self.reset if isinstance(self.reset, int) else None

    def __str__(self) -> str:
        """Return what the column ``setting`` says."""
        further = {"window": self.window, "reset": self.every}
        stated = [f"{name}={value}" for name, value in further.items() if value is not None]
        return " ".join([str(self.setting), *stated])


@dataclass(frozen=True)
class Stream:
    """All images between two resets of online methods, computed completely or not at all.

    The methods of a stream see the same images in the same order.

    Attributes:
        streaming: how the methods meet them.
        conditions: its conditions in the order in which they are shown, each with its number of samples.
        stream_batch: number of images that the methods require at once; None for any number.
        seed: random seed of the order.
        cells: one cell per method and condition.
    """

    streaming: Streaming
    conditions: tuple[tuple[Condition, int], ...]
    stream_batch: int | None
    seed: int
    cells: tuple[Cell, ...]

    def count_answers(self, cell: Cell) -> int:
        """Return the number of images that ``cell`` lacks and this stream answers."""
        return sum(count for condition, count in self.conditions if condition == cell.condition)

    @property
    def images(self) -> int:
        """The number of images that it shows."""
        return sum(count for _, count in self.conditions)

    def file_of(self, cell: Cell) -> PurePosixPath:
        """Return the path, below the run folder, at which ``cell`` is recorded."""
        return record_file(cell, 0)


Work = Shard | Stream


def record_file(cell: Cell, index: int) -> PurePosixPath:
    """Return the path, below the run folder, at which one range of ``cell`` is recorded."""
    return _recorded(cell, f"-shard-{index:05d}")


def compact_file(cell: Cell) -> PurePosixPath:
    """Return the path, below the run folder, of the one file that takes the place of all ranges of ``cell``."""
    return _recorded(cell, "")


def _recorded(cell: Cell, part: str) -> PurePosixPath:
    name, setting = condition_name(cell.condition), in_file_names(cell.setting)
    return PurePosixPath("records", folder_of(cell.method), name, f"{setting}-seed-{cell.seed}{part}.parquet")


def in_file_names(setting: str) -> str:
    """Return a setting as names of files have it."""
    return setting.replace(" ", "-").replace("=", "-")


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
    streaming: Streaming,
    stream_batches: dict[str, int | None],
) -> list[Stream]:
    """Join online ``cells`` to streams that end where the methods are reset.

    Methods with batches of equal size share a stream, since they see the same order; every seed has its own.

    Args:
        cells: cells of online methods.
        samples: number of samples under each condition.
        streaming: how the methods meet the images.
        stream_batches: number of images at once, by method; None for any number.
    """
    setting = streaming.setting
    if streaming.window is not None:
        stream_batches = dict.fromkeys(stream_batches, streaming.window)
    streams = []
    batches = dict.fromkeys(stream_batches.values())
    for batch, seed in itertools.product(batches, dict.fromkeys(cell.seed for cell in cells)):
        methods = {name for name, wanted in stream_batches.items() if wanted == batch}
        for conditions in setting.between_resets(samples, streaming.reset):
            own = tuple(
                cell for cell in cells if cell.method in methods and cell.seed == seed and cell.condition in conditions
            )
            counted = tuple((condition, samples[condition]) for condition in setting.passes(conditions))
            streams.append(Stream(streaming, counted, batch, seed, own))
    return streams


def apart_from_foreign(samples: dict[Condition, int]) -> list[dict[Condition, int]]:
    """Part the conditions, with their numbers of samples, into those of the run and that of foreign images, if any.

    Foreign images have a stream of their own: among others they would change what a method learns from these.
    """
    own = {condition: count for condition, count in samples.items() if condition != FOREIGN}
    return [own, {FOREIGN: samples[FOREIGN]}] if FOREIGN in samples else [own]


def spread(work: Sequence[Work], processes: int) -> list[Work]:
    """Part streams by their methods where one would keep its process longer than a fair share; longest units first.

    Methods of a stream share its images, and nothing else: what is answered does not depend on who shares.
    """
    units = list(work)
    share = sum(map(_answers, units)) / processes
    pending = [unit for unit in units if isinstance(unit, Stream)] if processes > 1 else []
    while pending:
        stream = pending.pop()
        methods = list(dict.fromkeys(cell.method for cell in stream.cells))
        if len(methods) < 2 or _answers(stream) <= share:
            continue
        first = {*methods[: len(methods) // 2]}
        halves = [
            replace(stream, cells=tuple(cell for cell in stream.cells if (cell.method in first) == own))
            for own in (True, False)
        ]
        place = units.index(stream)
        units[place : place + 1] = halves
        pending += halves
    return sorted(units, key=_answers, reverse=True) if processes > 1 else units


def _answers(unit: Work) -> int:
    return sum(unit.count_answers(cell) for cell in unit.cells)


def select_part(work: Sequence[Work], part_of: Mapping[PurePosixPath, int], part: int) -> list[Work]:
    """Return the work of one part: of every shard and stream the cells whose files belong to it.

    Args:
        work: of the run.
        part_of: the part of every file of the run's records.
        part: which.
    """
    selected = []
    for unit in work:
        cells = tuple(cell for cell in unit.cells if part_of[unit.file_of(cell)] == part)
        if cells:
            selected.append(replace(unit, cells=cells))
    return selected
