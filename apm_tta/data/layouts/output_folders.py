"""What marks a folder as one that this program has written, wherever it lies."""

from __future__ import annotations

import os
import re
from pathlib import Path

from apm_tta.data.layouts.images import is_image_name

RUN_MARK = "run.yaml"
"""The file that every run folder has."""

RESULTS = "results"
"""Below it lie, as ``results/KIND/DATE``, the folders that are written where ``--out`` names none."""

PICTURE_KINDS = frozenset({"islands", "video", "field", "interpolate"})
"""The kinds whose folders hold pictures."""

_RUN_FILES = ("run.log", "records")
_DATED = re.compile(r"\d{8}-\d{6}(-\d+)?")


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run's, or holds nothing but such folders, or folders under their default names.

    No folder with images in it, or in a folder directly below it, is one, except pictures as ``results/islands/DATE``;
    nor is one that cannot be read.
    """
    try:
        return _is_output(folder, (folder.name,))
    except OSError:
        return False


def _is_output(folder: Path, names: tuple[str, ...]) -> bool:
    """Judge a folder whose last names are ``names``.

    Raises:
        OSError: when it cannot be read.
    """
    if (folder / RUN_MARK).is_file() and any((folder / name).exists() for name in _RUN_FILES):
        return not _has_images(folder)
    if len(names) == 3 and names[0] == RESULTS and _DATED.fullmatch(names[2]):
        return names[1] in PICTURE_KINDS or not _has_images(folder)
    inner = []
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            if not item.is_dir(follow_symlinks=False):
                return False  # at the first file: a class folder may have a thousand
            inner.append(item.name)
    return bool(inner) and all(_is_output(folder / name, (*names, name)[-3:]) for name in inner)


def _has_images(folder: Path) -> bool:
    """Return whether an image lies in a folder, or in one directly below it."""
    folders = [folder]
    for place in folders:
        with os.scandir(place) as found:
            for item in found:
                if item.is_dir(follow_symlinks=False):
                    folders += [Path(item.path)] if place == folder else []
                elif is_image_name(item.name):
                    return True
    return False
