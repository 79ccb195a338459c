"""What the records of a run say of images that could not be read, or were answered only once they had been repaired."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.record_header import stated_headers
from apm_tta.harness.storage.run_records import RecordFile, present_files, read_recorded, split
from apm_tta.system.files import require_regular

_MOSTLY_NULL = ("error", "image_sha256")


@dataclass(frozen=True)
class SeenRows:
    """Of the rows of one file, those without an answer, and those of images that were asked for or repaired.

    Attributes:
        file: which file.
        stream_unread: see ``RecordHeader.stream_unread``.
        unread: why there is no answer, by id.
        answered: by id: the content that was answered; None for the one that the run's list of images states.
    """

    file: RecordFile
    stream_unread: str
    unread: dict[str, str]
    answered: dict[str, str | None]


def see_rows(run: Path, numbers: Numbers, asked: Collection[str] = ()) -> dict[PurePosixPath, SeenRows]:
    """Look through the records of a run; files that are damaged, or of another run, count as absent.

    The rows of a compact file are those of the shards in whose place it is.

    Args:
        run: the run folder.
        numbers: of the run.
        asked: ids whose rows are of interest even if they were read at once.

    Raises:
        UserError: when a file lies among the records that the run does not have.
    """
    fingerprint = numbers.fingerprint
    seen: dict[PurePosixPath, SeenRows] = {}
    for file in present_files(run, numbers):
        try:
            seen |= {rows.file.name: rows for rows in _see(run, file, fingerprint, asked)}
        except (UserError, OSError, pa.ArrowException):
            continue  # it is set aside where a run goes on, and refused elsewhere
    return seen


def _see(run: Path, file: RecordFile, fingerprint: str, asked: Collection[str]) -> Iterator[SeenRows]:
    require_regular(run / file.name)
    metadata = pq.read_metadata(run / file.name)
    if not asked and not _has_values(metadata):
        headers = stated_headers(metadata.metadata or {})
        for shard, header in itertools.zip_longest(file.shards, headers[: len(file.shards)]):
            yield SeenRows(shard, "" if header is None else header.stream_unread, {}, {})
        return
    for shard, recorded in split(read_recorded(run, file, fingerprint), file):
        table = recorded.table
        unread = table.filter(pc.is_valid(table["error"]))
        of_interest = pc.or_(pc.is_valid(table["image_sha256"]), pc.is_in(table["id"], pa.array(asked, pa.string())))
        answered = table.filter(pc.and_(pc.is_null(table["error"]), of_interest))
        yield SeenRows(
            shard,
            recorded.header.stream_unread,
            dict(zip(unread["id"].to_pylist(), unread["error"].to_pylist(), strict=True)),
            dict(zip(answered["id"].to_pylist(), answered["image_sha256"].to_pylist(), strict=True)),
        )


def _has_values(metadata: pq.FileMetaData) -> bool:
    """Return whether a column of interest has a value, as far as the statistics of the file say."""
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            if column.path_in_schema in _MOSTLY_NULL:
                found = column.statistics
                if found is None or not found.has_null_count or found.null_count < group.num_rows:
                    return True
    return False
