"""What marks a folder as one that this program has written, wherever it lies."""

from __future__ import annotations

import os
import re
from pathlib import Path

RUN_MARK = "run.yaml"
"""The file that every run folder has."""

_RUN_FILES = ("run.log", "records")
_DATED = re.compile(r"\d{8}-\d{6}(-\d+)?")


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run's, one of pictures under its default name, or holds nothing but such folders.

    A folder of images that happens to hold a ``run.yaml`` is none, nor is one that cannot be read.
    """
    if (folder / RUN_MARK).is_file() and any((folder / name).exists() for name in _RUN_FILES):
        return True
    inner = []
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if not item.is_dir(follow_symlinks=False):
                    return False  # at the first file: a class folder may have a thousand
                inner.append(item.name)
    except OSError:
        return False
    return bool(inner) and all(_DATED.fullmatch(name) is not None or is_output(folder / name) for name in inner)
