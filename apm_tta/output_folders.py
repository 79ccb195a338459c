"""What marks a folder as one that this program has written, wherever it lies."""

from __future__ import annotations

import re
from pathlib import Path

RUN_MARK = "run.yaml"
"""The file that every run folder has."""

_RUN_FILES = ("run.log", "records")
_DATED = re.compile(r"\d{8}-\d{6}(-\d+)?")


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run's, one of pictures under its default name, or holds nothing but such folders.

    A folder of images that happens to hold a ``run.yaml`` is none.

    Raises:
        OSError: when it cannot be read.
    """
    if (folder / RUN_MARK).is_file() and any((folder / name).exists() for name in _RUN_FILES):
        return True
    if folder.is_symlink():
        return False
    inner = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return bool(inner) and all(
        path.is_dir() and not path.is_symlink() and (_DATED.fullmatch(path.name) is not None or is_output(path))
        for path in inner
    )
