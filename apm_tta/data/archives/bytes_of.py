"""Read the bytes of one member, checked against what the archive itself states of it."""

from __future__ import annotations

import tarfile
import threading
import zlib
from pathlib import Path
from typing import Protocol

import indexed_gzip

from apm_tta.data.archives.index import Member
from apm_tta.data.archives.names import RefusedName, clean_name
from apm_tta.data.image_files.errors import DamagedImage
from apm_tta.data.image_files.stored_bytes import read_whole

_BLOCK = tarfile.BLOCKSIZE
_NAME_FIELD, _LONGEST_NAME = 100, 99
"""Bytes of a name that the oldest header of a tar has room for: a longer one stands in a header before it."""

_ZIP_START = b"PK\x03\x04"
_ZIP_HEADER = 30
"""Bytes of a zip's header before the name: the last four of them state the lengths of name and extra field."""


class Misplaced(Exception):
    """Where the index says that a member is, there is none, or another."""


class Reader(Protocol):
    """Reads members of one archive."""

    def read(self, name: str, member: Member, start: int, count: int) -> bytes:
        """Read a part of a member, in one attempt.

        Args:
            name: its path in the archive.
            member: where it lies.
            start: the first byte.
            count: how many bytes, of which the member has as many.

        Raises:
            UnreadImage: when it cannot be read.
            Misplaced: when it does not lie there.
        """


class TarReader:
    """Reads members of an uncompressed tar."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, name: str, member: Member, start: int, count: int) -> bytes:
        if start:
            return self.part(member.start + start, count)
        content = self.part(member.start - _BLOCK, _BLOCK + count)
        _check_header(content[:_BLOCK], name, member)
        return content[_BLOCK:]

    def part(self, start: int, count: int) -> bytes:
        """Read bytes of the tar."""
        return read_whole(self._path, start, count)


class GzipReader(TarReader):
    """Reads members of a compressed tar, from the point before each at which unpacking can begin.

    ``indexed_gzip`` knows these points; Python's own ``gzip`` would unpack from the first byte on.

    Args:
        path: of the archive.
        seek_points: the file of these points.
    """

    def __init__(self, path: Path, seek_points: Path) -> None:
        super().__init__(path)
        self._lock = threading.Lock()
        self._file = indexed_gzip.IndexedGzipFile(str(path), index_file=str(seek_points))

    def part(self, start: int, count: int) -> bytes:
        try:
            with self._lock:
                self._file.seek(start)
                content: bytes = self._file.read(count)
        except (indexed_gzip.ZranError, EOFError) as error:
            raise DamagedImage(
                f"{self._path} is damaged: a part of it cannot be unpacked; download it again"
            ) from error
        if len(content) < count:
            raise Misplaced(f"it ends after {len(content):,} of {count:,} bytes")
        return content


class ZipReader:
    """Reads members of a zip; the one last unpacked for a part of it is kept, for the parts that follow."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: tuple[Member, bytes] | None = None

    def read(self, name: str, member: Member, start: int, count: int) -> bytes:
        whole = start == 0 and count == member.size
        kept = self._kept
        if kept is not None and kept[0] == member:
            return kept[1][start : start + count]
        stored_as_is = member.packed is None
        place = self._start(member)
        if stored_as_is and not whole:
            return read_whole(self._path, place + start, count)
        content = read_whole(self._path, place, member.size if member.packed is None else member.packed)
        if not stored_as_is:
            content = self._unpacked(name, content, member)
        if zlib.crc32(content) != member.crc:
            raise self._damaged(name)
        if not whole:
            self._kept = (member, content)
        return content[start : start + count]

    def _start(self, member: Member) -> int:
        header = read_whole(self._path, member.start, _ZIP_HEADER)
        if not header.startswith(_ZIP_START):
            raise Misplaced("there is no header of a file")
        lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        return member.start + _ZIP_HEADER + lengths

    def _unpacked(self, name: str, content: bytes, member: Member) -> bytes:
        unpacking = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            return unpacking.decompress(content, member.size + 1)  # one more than it may be: no bomb goes off
        except zlib.error:
            raise self._damaged(name) from None

    def _damaged(self, name: str) -> DamagedImage:
        return DamagedImage(f"{name} in {self._path} is damaged; download the archive again")


def _check_header(block: bytes, name: str, member: Member) -> None:
    """Compare the header before a member with what the index states.

    Raises:
        Misplaced: when they differ.
    """
    field = block[:_NAME_FIELD].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0] if block[257:263] == b"ustar\0" else b""
    found = b"/".join(filter(None, (prefix, field))).decode("utf-8", "surrogateescape")
    size = int(block[124:135].strip(b" \0") or b"0", 8) if block[124:135].strip(b" \0").isdigit() else None
    said_before = len(name.encode()) > _LONGEST_NAME or not name.isascii()
    if not said_before and found.removeprefix("./") != name and _cleaned(found) != name:
        raise Misplaced(f"{found} is there")
    if size not in (member.size, None):  # None: too large a number for digits
        raise Misplaced(f"{found} has another size")


def _cleaned(name: str) -> str | None:
    try:
        return clean_name(name)
    except RefusedName:
        return None
