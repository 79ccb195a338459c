"""Go through an archive once, from header to header, and write down where its members lie."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Literal

import indexed_gzip

from apm_tta.data.archives.index import IndexWriter, Member
from apm_tta.wording import pluralise

Kind = Literal["tar", "tar.gz", "zip"]
Advance = Callable[[int], object]
"""Take the bytes of the archive that were gone through so far."""

SPACING = 1 << 20
"""Bytes of what is unpacked from one point at which reading a compressed tar can begin to the next."""

ENCRYPTED = "encrypted file"
_ENCRYPTED_BIT = 0x1
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_FINDERS = "__MACOSX"
"""The folder that the Finder of macOS adds to a zip, of nothing but hidden files."""

_GZIP, _ZIP = b"\x1f\x8b", b"PK"
_ADVANCE_AFTER = 1_000


class DamagedArchive(Exception):
    """An archive cannot be gone through to its end; the message is what is wrong, in words that follow its name."""


def kind_of(path: Path) -> Kind:
    """Tell by the first bytes of an archive what it is; what is nothing else is taken for a tar.

    Raises:
        OSError: when it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start.startswith(_GZIP):
        return "tar.gz"
    return "zip" if start.startswith(_ZIP) else "tar"


def scan(path: Path, kind: Kind, writer: IndexWriter, seek_points: Path, advance: Advance) -> None:
    """Give all members to ``writer``.

    Args:
        path: of the archive.
        kind: of it.
        writer: takes them.
        seek_points: file to write where in a compressed tar reading can begin.
        advance: is called now and then.

    Raises:
        DamagedArchive: when it cannot be gone through to its end; what came before has been written.
        OSError: when it cannot be read.
    """
    if kind == "zip":
        _scan_zip(path, writer)
    elif kind == "tar":
        with path.open("rb", buffering=0) as file:
            _scan_tar(file, writer, advance, file.tell)
    else:
        _scan_gzip(path, writer, seek_points, advance)


def _scan_gzip(path: Path, writer: IndexWriter, seek_points: Path, advance: Advance) -> None:
    """Unpack a compressed tar once, keeping nothing of it but where reading can begin."""
    with path.open("rb", buffering=0) as packed:
        try:
            with indexed_gzip.IndexedGzipFile(fileobj=packed, spacing=SPACING) as file:
                _scan_tar(file, writer, advance, lambda: os.lseek(packed.fileno(), 0, os.SEEK_CUR))
                file.build_full_index()
                file.export_index(str(seek_points))
        except indexed_gzip.ZranError as error:
            raise _damaged(writer) from error


def _scan_tar(file: IO[bytes], writer: IndexWriter, advance: Advance, position: Callable[[], int]) -> None:
    number = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                setattr(tar, "members", [])  # noqa: B010  it would keep all of them
                _add_tar_member(writer, member)
                number += 1
                if number % _ADVANCE_AFTER == 0:
                    advance(position())
            end = tar.offset
    except tarfile.TarError as error:
        raise _damaged(writer) from error
    file.seek(end)
    if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):  # tarfile ends in silence at whatever is no header
        raise _damaged(writer)


def _damaged(writer: IndexWriter) -> DamagedArchive:
    if not writer.files:
        return DamagedArchive("is no tar, tar.gz or zip, or its beginning is damaged")
    return DamagedArchive(f"is cut off or damaged after {pluralise(writer.files, 'file')}")


def _add_tar_member(writer: IndexWriter, member: tarfile.TarInfo) -> None:
    if member.isdir():
        writer.add_folder(member.name)
    elif member.issym() or member.islnk():
        writer.refuse("link", member.name)
    elif not member.isreg():
        writer.refuse("device or pipe", member.name)
    elif member.issparse():
        writer.refuse("file with holes", member.name)
    else:
        writer.add_file(member.name, Member(member.offset_data, member.size))


def _scan_zip(path: Path, writer: IndexWriter) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                _add_zip_member(writer, member)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise DamagedArchive("is cut off or damaged: a zip's list of files is at its end") from error


def _add_zip_member(writer: IndexWriter, member: zipfile.ZipInfo) -> None:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if member.filename.startswith(f"{_FINDERS}/"):
        return
    if member.is_dir():
        writer.add_folder(member.filename)
    elif kind == stat.S_IFLNK:
        writer.refuse("link", member.filename)
    elif kind not in (0, stat.S_IFREG):
        writer.refuse("device or pipe", member.filename)
    elif member.flag_bits & _ENCRYPTED_BIT:
        writer.refuse(ENCRYPTED, member.filename)
    elif member.compress_type not in _METHODS:
        writer.refuse("file packed by a method other than deflate", member.filename)
    else:
        packed = None if member.compress_type == zipfile.ZIP_STORED else member.compress_size
        writer.add_file(member.filename, Member(member.header_offset, member.file_size, packed, member.CRC))
