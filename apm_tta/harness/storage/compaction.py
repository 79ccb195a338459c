"""Compaction: a complete cell's shards become one file, since many small files are slow to read and use up inodes.

The rows and what each shard says of itself stay as they are. The compact file is whole before the first shard is
removed, and from then on only it counts: a run that is killed meanwhile loses nothing, and its next start removes the
rest. Cells with images that could not be read stay in shards, whose rows may be answered later.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from apm_tta.errors import UserError
from apm_tta.harness.storage.manifest import Numbers
from apm_tta.harness.storage.record_keys import equal_key
from apm_tta.harness.storage.records import Recorded, digest_path, encode_table, write_content
from apm_tta.harness.storage.run_records import RecordFile, compact_files, present_files, read_recorded

LEAST_SHARDS = 8
"""Of fewer files nobody would notice that they are one."""


def compact(folder: Path, numbers: Numbers) -> int:
    """Make one file of the shards of every complete cell; to be called only by the folder's one writer.

    Args:
        folder: the run folder.
        numbers: of the run.

    Returns:
        The number of files that took the place of several.

    Raises:
        UserError: when a file cannot be written, or lies there that is not the run's.
    """
    fingerprint, written = numbers.fingerprint, 0
    present = {file.name for file in present_files(folder, numbers)}
    for whole in compact_files(numbers).values():
        if whole.name not in present:
            if len(whole.joined) < LEAST_SHARDS or any(shard.name not in present for shard in whole.joined):
                continue
            joined = _joined(folder, whole, fingerprint)
            if joined is None:
                continue
            write_content(folder / whole.name, encode_table(joined))
            written += 1
        for shard in whole.joined:
            _remove(folder / shard.name)
    return written


def _joined(folder: Path, whole: RecordFile, fingerprint: str) -> Recorded | None:
    """Return the rows of all shards; None where one is damaged, repeats an image, or lacks answers: it stays."""
    try:
        read = [read_recorded(folder, shard, fingerprint) for shard in whole.joined]
    except UserError:
        return None
    table = pa.concat_tables([each.table for each in read]).unify_dictionaries().combine_chunks()
    if table["error"].null_count < len(table) or equal_key(table) is not None:
        return None
    return Recorded(table, read[0].header, tuple(each.header for each in read[1:]))


def _remove(shard: Path) -> None:
    for path in (shard, digest_path(shard)):
        with suppress(OSError):
            path.unlink()
