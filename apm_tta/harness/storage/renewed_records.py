"""Answers in place of rows that had none: the other rows of their file stay as they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from apm_tta.data.image_files import UnreadImage
from apm_tta.harness.storage.record_header import RecordHeader
from apm_tta.harness.storage.record_keys import row_keys
from apm_tta.harness.storage.records import Recorded, decode_records, encode_table, read_content, write_content


def renew_rows(path: Path, content: bytes) -> None:
    """Put rows into a file of records in place of those of the same images, atomically.

    Args:
        path: of the file.
        content: a file of records with the new rows; where it has all images, it takes the place of the former.

    Raises:
        UserError: when the file is damaged, or cannot be written.
    """
    former, new = decode_records(path, read_content(path)), decode_records(path, content)
    if {*row_keys(former.table)} != {*row_keys(new.table)}:
        content = encode_table(_joined(former, new))
    write_content(path, content)


def restate_errors(path: Path, errors: Mapping[str, UnreadImage]) -> None:
    """State anew why images still have no answer, where the reason is another than it was.

    Args:
        path: of the file of records.
        errors: by the ids of the images.

    Raises:
        UserError: when the file is damaged, or cannot be written.
    """
    former = decode_records(path, read_content(path))
    table, stated = former.table, {name: former.table[name].to_pylist() for name in ("id", "error", "error_kind")}
    for row, sample_id in enumerate(stated["id"]):
        error = None if stated["error"][row] is None else errors.get(sample_id)  # shown again, it may have an answer
        if error is not None:
            stated["error"][row], stated["error_kind"][row] = str(error), error.kind
    for name in ("error", "error_kind"):
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(stated[name]).cast(field.type))
    if not table.equals(former.table):
        write_content(path, encode_table(replace(former, table=table)))


def _joined(former: Recorded, new: Recorded) -> Recorded:
    """Take each key's row from ``new``, if it is there, and all others from ``former``, in the former's order."""
    place = {key: len(former.table) + row for row, key in enumerate(row_keys(new.table))}
    rows = [place.get(key, row) for row, key in enumerate(row_keys(former.table))]
    both = pa.concat_tables([former.table, new.table]).unify_dictionaries().combine_chunks()
    return Recorded(both.take(pa.array(rows, pa.int64())), _joined_headers(former.header, new.header))


def _joined_headers(former: RecordHeader, new: RecordHeader) -> RecordHeader:
    sites = {site.model_copy(update={"started": ""}): site for site in (*new.sites, *former.sites)}
    return former.model_copy(
        update={
            "renewed": tuple(site for site in sites.values() if site != former.site),
            "batch_sizes": tuple(sorted({*former.batch_sizes, *new.batch_sizes})),
            "remarks": dict(Counter(former.remarks) + Counter(new.remarks)),
            "warnings": dict(Counter(former.warnings) + Counter(new.warnings)),
            "setup_warnings": dict(Counter(former.setup_warnings) | Counter(new.setup_warnings)),
        }
    )
