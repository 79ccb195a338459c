"""Digests of files that were downloaded: those that a card states, and those that were computed here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from apm_tta.configuration import Configuration, validated
from apm_tta.system.files import MAKE_ROOM, unwritable

RECORDS = ".downloads.jsonl"
"""Name of the file beside downloaded ones that tells what was computed of them; hidden, so that no layout reads it."""

_CHUNK = 1 << 20


class Record(Configuration):
    """What was computed of a file when it was whole.

    Attributes:
        name: of the file, beside the record.
        bytes: its size.
        modified: when it was changed last, in nanoseconds, as the file system says.
        sha256: its digest.
        address: where it came from; empty where it was there already.
        unpacked: whether its content lies beside it.
    """

    name: str
    bytes: int
    modified: int
    sha256: str
    address: str = ""
    unpacked: bool = False

    def is_of(self, path: Path) -> bool:
        """Return whether the file is the one recorded, by what the file system says of it: nothing is read."""
        try:
            state = path.stat()
        except OSError:
            return False
        return (state.st_size, state.st_mtime_ns) == (self.bytes, self.modified)


class Records:
    """What was computed of the files in one folder; read once, since a set may have 100,000 shards.

    Args:
        folder: in which the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / RECORDS
        self.by_name = dict(_read(self._path))

    def current(self, name: str) -> Record | None:
        """Return the record of a file; None where there is none, or the file is gone or has changed since."""
        record = self.by_name.get(name)
        return record if record is not None and record.is_of(self._path.with_name(name)) else None

    def add(self, record: Record) -> None:
        """Add a record, a line at the end; of several of one file the last counts.

        Raises:
            UserError: when it cannot be written.
        """
        try:
            with self._path.open("ab") as file:
                # A line that a killed writer left unfinished is ended, and by that no record.
                begin = b"" if file.tell() == 0 or _ends_a_line(self._path) else b"\n"
                file.write(begin + record.model_dump_json().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise unwritable(self._path, error, MAKE_ROOM) from None
        self.by_name[record.name] = record


def _read(path: Path) -> Iterator[tuple[str, Record]]:
    """Read the records; a line that is none is passed over, and its file will be read again."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError, ValidationError, AttributeError):
            record = validated(Record, json.loads(line))
            yield record.name, record


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def chunks_of(path: Path) -> Iterator[bytes]:
    """Read a file on disk piece by piece.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def compute_digests(chunks: Iterable[bytes], kinds: Iterable[str]) -> dict[str, str]:
    """Compute digests of a file in one pass.

    Args:
        chunks: its content.
        kinds: names of ``hashlib``'s: ``md5``, ``sha256``.

    Returns:
        Each digest by its kind, in hexadecimal.
    """
    digests = {kind: hashlib.new(kind, usedforsecurity=False) for kind in kinds}
    for chunk in chunks:
        for digest in digests.values():
            digest.update(chunk)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def wrong_digest(stated: dict[str, str], computed: dict[str, str]) -> str:
    """Return in a few words which stated digest a file does not have, and who states it; empty where it has all.

    Args:
        stated: digests as ``md5:...``, each with who states it.
        computed: as ``compute_digests`` returns them.
    """
    for text, origin in stated.items():
        kind, _, wanted = text.partition(":")
        if computed[kind] != wanted:
            return f"has {kind} {computed[kind]}, expected {wanted} ({origin})"
    return ""
