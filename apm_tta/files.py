"""Files that are there whole or not at all, whenever the process is killed."""

from __future__ import annotations

import os
from pathlib import Path

PARTIAL = ".partial"
"""Suffix of a file that is being written; one that is left behind belongs to a writer that was killed."""


def write_whole(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path``: to a temporary name, synced, renamed, the folder synced; folders are made.

    Raises:
        OSError: when it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + PARTIAL)
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    if os.name == "posix":  # elsewhere a folder cannot be opened, and the rename is all there is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
