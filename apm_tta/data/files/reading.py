"""The bytes of a file, on disk or in an archive, and by what its state is told from another."""

from __future__ import annotations

import errno
import os
from collections.abc import Hashable
from pathlib import Path

from apm_tta.data.archives import Archive
from apm_tta.data.archives.index import Member
from apm_tta.data.files.lookup import holders, looking_into
from apm_tta.data.image_files import MissingImage, UnreachableImage
from apm_tta.data.image_files.stored_bytes import read_whole as read_from_disk

Stamp = tuple[int, ...]
"""Size in bytes, nanoseconds of the last modification and of the last change, inode.

Of a file in an archive: its size; of the archive, the times, inode and size; and where the file begins in it.
"""

_MISSING = {errno.ENOENT, errno.ENOTDIR}


def read_whole(path: Path, start: int = 0, count: int | None = None) -> bytes:
    """Read a file, or a part of it; one attempt.

    An archive that has no index is not looked into: a file that was listed is in one that has. Where a whole mount is
    gone, that would be archives that nobody asked for.

    Args:
        path: of the file.
        start: the first byte.
        count: how many bytes; None for all that follow.

    Raises:
        UnreachableImage: when reading fails, or gives fewer bytes than the file has.
        MissingImage: when the file is gone, or what is there is no file.
        DamagedImage: when the archive that has it is damaged.
    """
    try:
        return read_from_disk(path, start, count)
    except (MissingImage, UnreachableImage):
        packed = _read_packed(path, start, count)
        if packed is None:
            raise
        return packed


def stamp_of(path: Path) -> Stamp:
    """Return what tells one state of a file from another without reading it.

    Raises:
        OSError: when the file cannot be found.
    """
    try:
        found = os.stat(path)  # noqa: PTH116  50,000 of them are to take a fraction of a second
    except OSError as error:
        archive, member = _member(path, error)
        size, *others = archive.stamp
        return member.size, *others, size, member.start
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def size_of(path: Path) -> int:
    """Return how many bytes a file has.

    Raises:
        OSError: when the file cannot be found.
    """
    return stamp_of(path)[0]


def identity_of(path: Path) -> Hashable:
    """Return what two paths share exactly if they are links to one file.

    Raises:
        OSError: when the file cannot be found.
    """
    try:
        status = path.stat()
    except OSError as error:
        archive, member = _member(path, error)
        return archive.path, member.start
    return status.st_dev, status.st_ino


def _read_packed(path: Path, start: int, count: int | None) -> bytes | None:
    try:
        with looking_into("indexed"):
            archives, inner = holders(path)
            found = (archive.read(inner, start, count) for archive in archives)
            return next((content for content in found if content is not None), None)
    except OSError:
        return None


def _member(path: Path, error: OSError) -> tuple[Archive, Member]:
    if error.errno in _MISSING:
        archives, inner = holders(path)
        for archive in archives:
            if (member := archive.member(inner)) is not None:
                return archive, member
    raise error
