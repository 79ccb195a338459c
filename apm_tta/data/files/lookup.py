"""In which archives something lies that is not on disk: as if each were unpacked where it lies.

What is on disk is never looked for in an archive: an unpacked folder is used as it is, whatever archive lies beside it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

from apm_tta.data.archives import Archive, archive_at, is_archive_name

Depth = Literal["none", "indexed", "all"]

_depth: ContextVar[Depth] = ContextVar("which archives are looked into", default="all")
_MISSING = {errno.ENOENT, errno.ENOTDIR}
_beside: dict[str, tuple[int, list[str]]] = {}


@contextmanager
def looking_into(depth: Depth) -> Iterator[None]:
    """Look, within this block, into no archives, those that have an index, or all, building one where there is none.

    A block within another looks into no more than the outer one.
    """
    outer = _depth.get()
    order: tuple[Depth, ...] = ("none", "indexed", "all")
    token = _depth.set(min(outer, depth, key=order.index))
    try:
        yield
    finally:
        _depth.reset(token)


def holders(path: Path) -> tuple[list[Archive], str]:
    """Find the archives in which a path that is not on disk may lie, and its path within them.

    These are the archive whose file is the first part of the path that is no folder, or those in the last folder of the
    path that exists. For a folder on disk they are the archives in it.

    Raises:
        OSError: when that cannot be found out.
    """
    if _depth.get() == "none":
        return [], ""
    place, inner = os.fspath(path), ""
    while True:
        try:
            mode = os.stat(place).st_mode  # noqa: PTH116  asked before every image
            break
        except OSError as error:
            if error.errno not in _MISSING:
                raise
        place, name = os.path.split(place.rstrip(os.sep))
        if name in ("", os.pardir):
            return [], ""
        inner = f"{name}/{inner}" if inner else name
        place = place or os.curdir
    if stat.S_ISDIR(mode):
        return [archive for archive in map(archive_at, archives_in(place)) if _is_looked_into(archive)], inner
    if stat.S_ISREG(mode) and is_archive_name(os.path.basename(place)):  # noqa: PTH119
        archive = archive_at(place)
        return [archive] if _is_looked_into(archive) else [], inner
    return [], ""


def archives_in(folder: str) -> list[str]:
    """Return the paths of the archives in a folder, sorted; an empty folder has none.

    Raises:
        OSError: when it cannot be read.
    """
    changed = os.stat(folder).st_mtime_ns  # noqa: PTH116  asked before every image
    known = _beside.get(folder)
    if known is None or known[0] != changed:
        with os.scandir(folder) as found:
            names = sorted(item.name for item in found if is_archive_name(item.name) and _is_file(item))
        known = _beside[folder] = (changed, [os.path.join(folder, name) for name in names])  # noqa: PTH118
    return known[1]


def is_archive(path: Path) -> bool:
    """Return whether a path is that of an archive's file."""
    try:
        return is_archive_name(path.name) and path.is_file()
    except OSError:
        return False


def _is_file(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_file()
    except OSError:
        return False


def _is_looked_into(archive: Archive) -> bool:
    return _depth.get() == "all" or archive.is_indexed()
