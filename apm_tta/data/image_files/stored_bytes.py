"""The bytes of an image's file, read whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from apm_tta.data.image_files.errors import MissingImage, UnreachableImage, UnreadImage

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENAMETOOLONG}
_FORBIDDEN = {errno.EACCES, errno.EPERM}
_AT_ONCE = 1 << 24
_STAND_INS = {True: "a folder", False: "something that is no file"}
# A pipe would be waited for, and a device read for ever.
_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_whole(path: Path, start: int = 0, count: int | None = None) -> bytes:
    """Read a file, or a part of it; one attempt.

    Args:
        path: of the file.
        start: the first byte.
        count: how many bytes; None for all that follow.

    Raises:
        UnreachableImage: when reading fails, or gives fewer bytes than the file has.
        MissingImage: when the file is gone, or what is there is no file.
    """
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            mode = os.fstat(descriptor).st_mode
            if not stat.S_ISREG(mode):
                raise MissingImage(f"{path} is missing: {_STAND_INS[stat.S_ISDIR(mode)]} is in its place; put it back")
            os.lseek(descriptor, start, os.SEEK_SET)
            content = _read(descriptor, count)
            expected = max(0, os.fstat(descriptor).st_size - start) if count is None else count
        finally:
            os.close(descriptor)
    except OSError as error:
        raise named_error(path, error) from None
    if len(content) < expected:
        number = f"{len(content):,} of {expected:,} bytes"
        raise UnreachableImage(f"{path} cannot be read: reading it ended after {number}", passing=True)
    return content


def _read(descriptor: int, count: int | None) -> bytes:
    parts: list[bytes] = []
    done = 0
    while part := os.read(descriptor, _AT_ONCE if count is None else min(_AT_ONCE, count - done)):
        parts.append(part)
        done += len(part)
    return b"".join(parts)


def named_error(path: Path, error: OSError) -> UnreadImage:
    """Tell a file that is gone from one that cannot be reached: where its folder is gone too, so may be the mount."""
    reason = "its symbolic link is circular" if error.errno == errno.ELOOP else error.strerror or str(error)
    if error.errno in _GONE and (error.errno != errno.ENOENT or os.path.isdir(path.parent)):  # noqa: PTH112  never raises
        return MissingImage(f"{path} is missing ({reason}); put it back")
    return UnreachableImage(f"{path} cannot be read ({reason})", passing=error.errno not in _FORBIDDEN)
