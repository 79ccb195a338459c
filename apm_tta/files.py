"""Files that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from apm_tta.errors import UserError

PARTIAL = ".partial"
"""Suffix of a file that is being written; one that is left behind belongs to a writer that was killed."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path``: to a temporary name, synced, renamed, the folder synced; folders are made.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two processes, on one machine or two, that write the same file do not write into each other's.
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{PARTIAL}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()  # on a full disk it would take the room that is missing
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is all there is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


OTHER_FOLDER = "name another folder with --out"
MAKE_ROOM = "make it writable, and run the same command again"
"""What helps where a command has no other place to write to."""


def write_file(path: Path, content: bytes, advice: str = OTHER_FOLDER) -> None:
    """Write a file that a person asked for: whole or not at all.

    Raises:
        UserError: naming the file, why it cannot be written, and ``advice``.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise unwritable(path, error, advice) from error


def unwritable(path: Path, error: OSError, advice: str = OTHER_FOLDER) -> UserError:
    """Return the one line in which every failed write is told."""
    return UserError(f"{path} cannot be written ({error.strerror or error}); {advice}")
