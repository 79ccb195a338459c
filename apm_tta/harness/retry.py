"""What a run that is gone on with answers: what is missing, and images that could not be read and now can."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from apm_tta.data.dataset import Dataset
from apm_tta.data.image_files import UnreadImage
from apm_tta.data.sample import Condition
from apm_tta.harness.compute.loading import Place, load
from apm_tta.harness.compute.prepare import Prepared
from apm_tta.harness.plan import Cell, Shard, Work
from apm_tta.harness.storage.records import decode_records, read_content, write_content
from apm_tta.harness.storage.renewed_records import renew_rows, restate_errors
from apm_tta.harness.storage.unread_rows import SeenRows

Errors = Mapping[tuple[Condition, str], UnreadImage | None]
"""By condition and id."""


@dataclass(frozen=True)
class Remaining:
    """The work that is left.

    Attributes:
        work: shards with the cells, and the images, that lack an answer; streams with all their cells.
        again: files of streams among them that are there already and are replaced, each answer being another one.
    """

    work: tuple[Work, ...]
    again: frozenset[PurePosixPath]

    def record(self, folder: Path, unit: Work, files: Sequence[tuple[PurePosixPath, bytes]]) -> None:
        """Write the records of a unit of work; answers that are there already are kept.

        Raises:
            UserError: when a file cannot be written, or what it joins is damaged.
        """
        for path, content in files:
            if not (folder / path).exists():
                write_content(folder / path, content)
            elif isinstance(unit, Shard):
                renew_rows(folder / path, content)
            elif path in self.again or _stream_unread(folder / path) != _stream_unread(folder / path, content):
                write_content(folder / path, content)


def select_remaining(
    work: Sequence[Work], folder: Path, seen: Mapping[PurePosixPath, SeenRows], prepared: Prepared
) -> Remaining:
    """Find what lacks an answer, and try again to read the images whose rows have none.

    Where such an image still cannot be read, its rows state why anew.

    Args:
        work: of the run, or of its part.
        folder: the run folder.
        seen: the rows of its records.
        prepared: the run.

    Raises:
        UserError: when an image must not be used, or a record cannot be written.
    """
    seen = {file: seen[file] for unit in work for cell in unit.cells if (file := unit.file_of(cell)) in seen}
    errors = _try_again(prepared, seen)
    for name, rows in seen.items():
        condition = rows.file.cell.condition
        still = {each: error for each in rows.unread if (error := errors.get((condition, each))) is not None}
        stated_otherwise = any(rows.unread[each] != str(error) for each, error in still.items())
        if stated_otherwise and (folder / name).exists():  # in a compact file every image has an answer
            restate_errors(folder / name, still)
    readable = {place for place, error in errors.items() if error is None}
    remaining: list[Work] = []
    again: set[PurePosixPath] = set()
    for unit in work:
        if isinstance(unit, Shard):
            remaining += _left_of_shard(unit, seen, readable, prepared)
            continue
        own = [seen[file] for cell in unit.cells if (file := unit.file_of(cell)) in seen]
        renewed = any((each.file.cell.condition, sample_id) in readable for each in own for sample_id in each.unread)
        if renewed or len({each.stream_unread for each in own}) > 1:
            again |= {unit.file_of(cell) for cell in unit.cells}
        if unit.file_of(unit.cells[0]) in again or len(own) < len(unit.cells):
            remaining.append(unit)
    return Remaining(tuple(remaining), frozenset(again))


def _left_of_shard(
    shard: Shard, seen: Mapping[PurePosixPath, SeenRows], readable: set[tuple[Condition, str]], prepared: Prepared
) -> Iterator[Shard]:
    """Yield the shard with the cells that lack it, then with those that lack some of its images."""
    entries = prepared.dataset.entries(shard.condition)[shard.start : shard.stop]
    whole: list[Cell] = []
    retried: dict[tuple[int, ...], list[Cell]] = {}
    for cell in shard.cells:
        rows = seen.get(shard.file_of(cell))
        if rows is None:
            whole.append(cell)
            continue
        lacking = tuple(
            position
            for position, entry in enumerate(entries)
            if entry.id in rows.unread and (shard.condition, entry.id) in readable
        )
        together = shard.whole or prepared.methods[cell.method].batch_dependent
        if lacking and (len(lacking) == len(entries) or together):
            whole.append(cell)
        elif lacking:
            retried.setdefault(lacking, []).append(cell)
    if whole:
        yield replace(shard, cells=tuple(whole))
    for positions, cells in retried.items():
        yield replace(shard, cells=tuple(cells), retried=positions)


def _try_again(prepared: Prepared, seen: Mapping[PurePosixPath, SeenRows]) -> Errors:
    """Read the images without an answer as the methods would see them; None where that is possible now."""
    dataset = prepared.dataset
    places = dict.fromkeys((rows.file.cell.condition, sample_id) for rows in seen.values() for sample_id in rows.unread)
    found: dict[tuple[Condition, str], UnreadImage | None] = {}
    for condition in dict.fromkeys(condition for condition, _ in places):
        for entry in dataset.entries(condition):
            if (condition, entry.id) in places:
                found[condition, entry.id] = _error(dataset, (condition, entry), prepared)
    return found


def _error(dataset: Dataset, place: Place, prepared: Prepared) -> UnreadImage | None:
    dataset.layout.patience.count()  # of these images, many in a row say nothing of the others
    (loaded,) = load(dataset, [place], 1, prepared.preparations(prepared.seeded.values()))
    return loaded.unread[0].error if loaded.unread else None


def _stream_unread(path: Path, content: bytes | None = None) -> str:
    return decode_records(path, read_content(path) if content is None else content).header.stream_unread
