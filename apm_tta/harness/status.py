"""How far a run has come: read from its folder alone, which may be written meanwhile and is not touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from tabulate import tabulate

from apm_tta.harness.estimate import duration
from apm_tta.harness.progress.run_log import Logged, read_log
from apm_tta.harness.storage.checkpoint import CheckpointIndex
from apm_tta.harness.storage.checkpoints import kept_so_far
from apm_tta.harness.storage.division import part_of_files
from apm_tta.harness.storage.manifest import Manifest
from apm_tta.harness.storage.manifest_file import read_manifest
from apm_tta.harness.storage.record_header import stated_headers
from apm_tta.harness.storage.run_records import RecordFile, files_of_run, present_files
from apm_tta.system.writer_lock import Writer, writer_of
from apm_tta.wording import first_few, pluralise


@dataclass(frozen=True)
class FileFacts:
    """What the end of a file of records says; its rows are not read.

    Attributes:
        hardware: on which it was computed.
        unread: rows without an answer.
        batch_ms: the least and the most of that column; None where it is empty.
    """

    hardware: tuple[str, ...]
    unread: int
    batch_ms: tuple[float, float] | None


@dataclass(frozen=True)
class MethodStatus:
    """How far one row of a run is.

    Attributes:
        method: name of the row.
        done: recorded answers, over all conditions and seeds.
        total: answers of the complete run.
        kept: answers of unfinished shards and streams, in their checkpoints.
        unread: of the recorded ones, images that could not be read.
        milliseconds_per_image: in the quickest and in the slowest batch, features included and loading not; None where
            they are unknown.
    """

    method: str
    done: int
    total: int
    kept: int
    unread: int
    milliseconds_per_image: tuple[float, float] | None = None


@dataclass(frozen=True)
class Status:
    """How far a run is.

    Attributes:
        run: its folder.
        title: of the run.
        writer: the process that writes into it; None where there is none.
        logged: since it was started last.
        methods: row by row.
        machines: recorded answers by the hardware that computed them.
        damaged: files whose end cannot be read.
        parts: of a divided run, by the number of each part that is here: its files, and how many are recorded.
    """

    run: Path
    title: str
    writer: Writer | None
    logged: Logged
    methods: tuple[MethodStatus, ...]
    machines: Counter[str]
    damaged: tuple[str, ...]
    parts: Mapping[int, tuple[int, int]] = field(default_factory=dict)

    @property
    def part_is_complete(self) -> bool:
        """Tell whether all is recorded of each part of a run that is here, and the other parts lie elsewhere."""
        return bool(self.parts and self.left) and all(files == recorded for files, recorded in self.parts.values())

    @property
    def done(self) -> int:
        """Recorded answers."""
        return sum(each.done for each in self.methods)

    @property
    def kept(self) -> int:
        """Answers in checkpoints of unfinished shards and streams, from which the run goes on."""
        return sum(each.kept for each in self.methods)

    @property
    def left(self) -> int:
        """Answers that are neither recorded nor kept yet."""
        return sum(each.total for each in self.methods) - self.done - self.kept

    @property
    def running(self) -> bool:
        """Whether a process writes into the folder, as far as this machine can tell."""
        return self.writer is not None and self.writer.running is not False

    def text(self) -> str:
        """Write the status for a reader."""
        rows = [
            [
                *(each.method, each.done, each.kept, each.total, each.total - each.done - each.kept),
                *(f"{(each.done + each.kept) / each.total:.0%}", each.unread, _range(each.milliseconds_per_image)),
            ]
            for each in self.methods
        ]
        headers = ["method", "done", "kept", "of", "left", "share", "unreadable", "ms per image"]
        table = tabulate(
            rows, headers, tablefmt="simple", colalign=("left", *("right",) * 7), intfmt=",", disable_numparse=[7]
        )
        machines = "; ".join(f"{name}: {pluralise(count, 'answer')}" for name, count in self.machines.items())
        foot = [
            *(
                f"Part {number}: {'complete' if files == recorded else f'{recorded} of {files} files'}."
                for number, (files, recorded) in (self.parts.items() if self.left else ())
            ),
            *(["run-bench merge joins it with the other parts."] if self.part_is_complete else []),
            *([f"Computed on {machines}."] if machines else []),
            *([f"Damaged: {first_few(self.damaged)}."] if self.damaged else []),
        ]
        return "\n".join(
            [f"{self.title}, in {self.run}: {self._state()}", *self._rate(), "", table, "", *foot]
        ).rstrip()

    def _state(self) -> str:
        if self.writer is None:
            return "complete." if not self.left + self.kept else "nothing writes into it."
        if self.writer.running is None:
            return f"{self.writer} wrote into it last; whether it runs, only that machine can tell."
        return f"{self.writer} writes into it." if self.writer.running else f"stopped: {self.writer} has ended."

    def _rate(self) -> list[str]:
        kept = f", {self.kept:,} kept of shards and streams that have not ended" if self.kept else ""
        known = [f"{pluralise(self.done, 'answer')} recorded{kept}, {self.left:,} left"]
        if (rate := self.logged.rate) is not None:
            known.append(f"{rate:,.1f} answers/s since it was started last")
            if self.left and not self.part_is_complete:
                known.append(f"{duration(self.left / rate)} left at that rate")
        if self.running and self.logged.age is not None:
            known.append(f"last heard of {duration(max(1.0, self.logged.age))} ago")
        return [f"{'; '.join(known)}."]


class StatusReader:
    """Read the status of one run, as often as it is asked for; a file of records that stays as it is is read once.

    Args:
        run: the run folder.

    Raises:
        UserError: when it is not a run folder.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._manifest: Manifest = read_manifest(run)
        self._named = files_of_run(self._manifest.numbers)
        self._facts: dict[tuple[PurePosixPath, int], FileFacts | None] = {}

    def read(self) -> Status:
        """Read the status.

        Raises:
            UserError: when a file lies among the records that the run does not have.
        """
        writer, logged = writer_of(self._run), read_log(self._run)
        indexes = kept_so_far(self._run, self._manifest.numbers.fingerprint)  # before the records are looked at
        done, unread, machines, damaged = Counter[str](), Counter[str](), Counter[str](), []
        recorded, shards, ranges = set[PurePosixPath](), set[PurePosixPath](), dict[str, tuple[float, float]]()
        for file in present_files(self._run, self._manifest.numbers):
            try:
                facts = self._look(file)
            except FileNotFoundError:  # set aside since the folder was listed
                continue
            if facts is None:
                damaged.append(str(file.name))
                continue
            recorded.add(file.name)
            shards.update(shard.name for shard in file.shards)
            done[file.cell.method] += file.images
            unread[file.cell.method] += facts.unread
            machines["; ".join(facts.hardware)] += file.images
            if facts.batch_ms is not None:
                least, most = ranges.get(file.cell.method, facts.batch_ms)
                ranges[file.cell.method] = min(least, facts.batch_ms[0]), max(most, facts.batch_ms[1])
        total = Counter[str]()
        for file in self._named.values():
            total[file.cell.method] += file.images
        kept = self._kept(indexes, recorded)
        methods = (
            MethodStatus(name, done[name], total[name], kept[name], unread[name], ranges.get(name))
            for name in self._manifest.numbers.methods
        )
        parts = self._parts(shards)
        return Status(self._run, self._manifest.title, writer, logged, tuple(methods), machines, tuple(damaged), parts)

    def _parts(self, shards: Collection[PurePosixPath]) -> dict[int, tuple[int, int]]:
        """Count the files of each part of a division of which something is recorded."""
        division = self._manifest.division
        if division is None:
            return {}
        part_of = part_of_files(self._manifest.numbers, division)
        files, here = Counter(part_of.values()), Counter(part_of[name] for name in shards)
        return {number: (files[number], count) for number, count in sorted(here.items())}

    def _kept(self, indexes: Iterable[CheckpointIndex], recorded: Collection[PurePosixPath]) -> Counter[str]:
        """Count the answers in checkpoints by method: all methods of a unit of work are equally far."""
        kept = Counter[str]()
        for index in indexes:
            files = {PurePosixPath(name) for name in index.records}
            methods = {self._named[name].cell.method for name in files if name in self._named}
            if methods and files.isdisjoint(recorded):
                kept.update(dict.fromkeys(methods, index.answers // len(methods)))
        return kept

    def _look(self, file: RecordFile) -> FileFacts | None:
        path = self._run / file.name
        key = file.name, path.stat().st_mtime_ns
        if key not in self._facts:
            self._facts[key] = _facts(path)
        return self._facts[key]


def _facts(path: Path) -> FileFacts | None:
    """Read the end of a file of records; None where it is damaged."""
    try:
        metadata = pq.read_metadata(path)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError):
        return None
    headers = stated_headers(metadata.metadata or {})
    if not headers:
        return None
    hardware = tuple(dict.fromkeys(site.hardware for header in headers for site in header.sites))
    unread = sum(found.num_values for found in _statistics(metadata, "error"))
    timed = [found for found in _statistics(metadata, "batch_ms") if found.has_min_max]
    batch_ms = (min(each.min for each in timed), max(each.max for each in timed)) if timed else None
    return FileFacts(hardware, unread, batch_ms)


def _statistics(metadata: pq.FileMetaData, name: str) -> Iterator[pq.Statistics]:
    """Yield what the file says of one column: of each group of rows how many have a value, the least and the most."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema == name and column.statistics is not None:
                yield column.statistics


def _range(milliseconds: tuple[float, float] | None) -> str:
    if milliseconds is None:
        return "n/a"
    least, most = (f"{each:,.1f}" for each in milliseconds)
    return least if least == most else f"{least} .. {most}"


def read_status(run: Path) -> Status:
    """Read how far the run in a folder is.

    Raises:
        UserError: when it is not a run folder, or holds records that are not the run's.
    """
    return StatusReader(run).read()
