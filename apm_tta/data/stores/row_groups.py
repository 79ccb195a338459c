"""Single values of a parquet file's column: the row groups that a process has read last are kept."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from apm_tta.data.image_files import DamagedImage, MissingImage
from apm_tta.data.image_files.stored_bytes import named_error
from apm_tta.errors import describe_error

_KEPT_BYTES = 256 << 20
_KEPT_FILES = 64


class _State(NamedTuple):
    """A file as it is now; another one in its place is read again."""

    path: str
    size: int
    changed_ns: int
    inode: int


class _Opened(NamedTuple):
    """A file, and the number of its first row after each row group."""

    file: pq.ParquetFile
    ends: list[int]


class _Kept:
    """What the process has open and has read; one lock, since each is to be read once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.files: OrderedDict[_State, _Opened] = OrderedDict()
        self.groups: OrderedDict[tuple[_State, str, int], Any] = OrderedDict()

    def value(self, state: _State, column: str, row: int) -> bytes | None:
        with self.lock:
            opened = self.files.get(state) or self._open(state)
            group = bisect_right(opened.ends, row)
            if group == len(opened.ends):
                raise MissingImage(f"{state.path} has no row {row}; download it again")
            key = (state, column, group)
            if key not in self.groups:
                self.groups[key] = _binary(opened.file.read_row_group(group, columns=[column]).column(column))
            self.groups.move_to_end(key)
            while len(self.groups) > 1 and sum(each.nbytes for each in self.groups.values()) > _KEPT_BYTES:
                self.groups.popitem(last=False)
            found: bytes | None = self.groups[key][row - (opened.ends[group - 1] if group else 0)].as_py()
        return found

    def _open(self, state: _State) -> _Opened:
        file = pq.ParquetFile(state.path)
        rows = (file.metadata.row_group(number).num_rows for number in range(file.metadata.num_row_groups))
        self.files[state] = opened = _Opened(file, list(accumulate(rows)))
        while len(self.files) > _KEPT_FILES:
            self.files.popitem(last=False)[1].file.close()
        return opened


_KEPT = _Kept()


def _begin_anew() -> None:
    global _KEPT
    _KEPT = _Kept()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def read_value(path: Path, column: str, row: int) -> bytes:
    """Read the bytes in one row: the column's values, or those of its field ``bytes``.

    Raises:
        UnreachableImage: when the file cannot be read.
        MissingImage: when it has no such row, or there are no bytes in it.
        DamagedImage: when it is not a whole parquet file.
    """
    try:
        found = path.stat()
        state = _State(os.fspath(path), found.st_size, found.st_mtime_ns, found.st_ino)
        content = _KEPT.value(state, column, row)
    except (OSError, pa.ArrowException) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise named_error(path, error) from None
        raise DamagedImage(f"{path}, row {row}, cannot be read ({describe_error(error)}); download it again") from None
    if content is None:
        raise MissingImage(f"{path}, row {row}, has the path of an image and not the image; embed the images")
    return content


def _binary(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_struct(column.type):
        return column
    return pa.chunked_array([chunk.field("bytes") for chunk in column.chunks], type=column.type.field("bytes").type)
