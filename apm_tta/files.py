"""Atomic files: complete or absent, whenever the process is killed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from apm_tta.errors import UserError

PARTIAL = ".partial"
"""Suffix of a file that is being written; a file left with it belongs to a writer that was killed."""


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically, and create its folders.

    The content is written to a temporary name and synced, the file is renamed, and the folder is synced.

    Raises:
        OSError: when the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # The random name keeps two processes, on one machine or two, from writing into each other's temporary file.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk it would take up space that is needed
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename must do
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


OTHER_FOLDER = "name another folder with --out"
MAKE_ROOM = "make it writable, and run the same command again"
"""Advice where a command has no other place to write to."""


def write_file(path: Path, content: bytes, advice: str = OTHER_FOLDER) -> None:
    """Write a file that a user requested, atomically.

    Raises:
        UserError: naming the file, why it cannot be written, and ``advice``.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, advice) from error


def unwritable(path: Path, error: OSError, advice: str = OTHER_FOLDER) -> UserError:
    """Return the one-line error of a failed write, after which there may be room again."""
    return UserError(f"{path} cannot be written ({error.strerror or error})", advice=advice, passing=True)
