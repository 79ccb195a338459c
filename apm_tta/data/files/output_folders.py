"""What marks a folder as one that this program has written, wherever it lies."""

from __future__ import annotations

import os
import re
from pathlib import Path

from apm_tta.data.image_files.names import is_image_name

RUN_MARK = "run.yaml"
"""The file that every run folder has."""

RESULTS = "results"
"""Below it lie, as ``results/KIND/DATE``, the folders that are written where ``--out`` names none."""

PICTURE_KINDS = frozenset({"islands", "video", "field", "interpolate", "dream"})
"""The kinds whose folders hold pictures."""

PICTURES = frozenset(
    {
        *("agreement", "curve", "dream", "dream-sheet", "dream-strips"),
        *("field", "interpolation", "islands", "levels", "video"),
    }
)
"""The names of all pictures, without their suffixes."""

_RUN_FILES = ("run.log", "records")
_BEGUN = frozenset({"run.log", "run.lock", "run.owner", "records"})
"""What lies in a run's folder before its mark does, and when the mark was lost."""

_BESIDE_PICTURES = frozenset({f"{name}.csv" for name in PICTURES}) | {
    *("growth.csv", "fit.csv", "epochs.csv", "settings.json", "summary.json", "field.safetensors"),
    *("field.density.safetensors", "field.network.safetensors"),
}
_MARKS = _BEGUN | _BESIDE_PICTURES
_PARTIAL = ".partial"
_DATED = re.compile(r"\d{8}-\d{6}(-\d+)?")


def is_output(folder: Path) -> bool:
    """Return whether a folder is a run's, or holds nothing but such folders, or folders under their default names.

    A run's may have no mark yet, if it was killed early. No folder with images in it, or in a folder directly below it,
    is one, except pictures as ``results/islands/DATE``, or beside the numbers that are written with them; nor is one
    that cannot be read.
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
    if _is_marked_by_all_its_files(folder):
        return True
    inner = []
    with os.scandir(folder) as found:
        for item in found:
            if item.name.startswith("."):
                continue
            if not item.is_dir(follow_symlinks=False):
                return False  # at the first file: a class folder may have a thousand
            inner.append(item.name)
    return bool(inner) and all(_is_output(folder / name, (*names, name)[-3:]) for name in inner)


def _is_marked_by_all_its_files(folder: Path) -> bool:
    """Return whether a folder holds nothing but what a run writes before its mark, or pictures with their numbers."""
    names = set()
    with os.scandir(folder) as found:
        for item in found:
            own = item.name in _MARKS or item.name.rpartition(".")[0] in PICTURES
            if not own and not item.name.startswith(".") and not item.name.endswith(_PARTIAL):
                return False
            names.add(item.name)
    shown = {name for name in names if not name.startswith(".") and not name.endswith(_PARTIAL)}
    if shown & _BEGUN:
        return shown <= _BEGUN and not _has_images(folder)
    return bool(shown & _BESIDE_PICTURES)


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
