"""The folder that a run leaves: made, checked, and what is still missing in it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from apm_tta.errors import UserError
from apm_tta.files import PARTIAL, unwritable
from apm_tta.harness.plan import Shard, Work
from apm_tta.harness.progress.run_log import LOG_FILE
from apm_tta.harness.storage.manifest import MANIFEST_FILE
from apm_tta.harness.storage.records import read_content
from apm_tta.writer_lock import LOCK_FILE, OWNER_FILE

DAMAGED_SUFFIX = ".damaged"
_OURS = {LOG_FILE, LOCK_FILE, OWNER_FILE}


def make_folder(out: Path | None, suite: str, force_new: bool = False) -> Path:
    """The run folder: ``out``, or a new one below the current folder; with ``force_new`` a new one beside ``out``.

    Raises:
        UserError: when it cannot be written, or holds something that is no run.
    """
    folder = out or Path("results") / suite / datetime.now().strftime("%Y%m%d-%H%M%S")
    if out is None or force_new:
        folder = _new_beside(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"writable{PARTIAL}"
        probe.touch()
        probe.unlink()
        others = [path for path in folder.iterdir() if path.suffix != PARTIAL and path.name not in _OURS]
        foreign = bool(others) and not (folder / MANIFEST_FILE).exists()
    except OSError as error:
        raise unwritable(folder, error) from None
    if foreign:
        raise UserError(f"{folder} holds files that are no run; nothing is overwritten: name another folder with --out")
    return folder


def remove_if_empty(folder: Path) -> None:
    """Removes a folder in which no run has begun."""
    if (folder / MANIFEST_FILE).exists():
        return
    with suppress(OSError):
        (folder / LOG_FILE).unlink(missing_ok=True)
        folder.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Removes what writers that were killed had not finished; to be called by the folder's only writer."""
    for path in folder.rglob(f"*{PARTIAL}"):
        with suppress(OSError):
            path.unlink()


def unfinished(work: Sequence[Work], folder: Path) -> list[Work]:
    """What lacks a record: shards with the cells that they lack, streams with all their cells."""
    lacking: list[Work] = []
    for unit in work:
        cells = tuple(cell for cell in unit.cells if not (folder / unit.file_of(cell)).exists())
        if cells:
            lacking.append(replace(unit, cells=cells) if isinstance(unit, Shard) else unit)
    return lacking


def set_damaged_aside(work: Sequence[Work], folder: Path) -> list[Path]:
    """Renames records whose digest is not theirs, so that they are computed again; which they were.

    Nothing is deleted: what can still be read of them is somebody's.

    Raises:
        UserError: when one cannot be renamed.
    """
    aside = []
    for path in (folder / unit.file_of(cell) for unit in work for cell in unit.cells):
        if not path.exists():
            continue
        try:
            read_content(path)
        except UserError:
            try:
                path.replace(_new_beside(path.with_name(path.name + DAMAGED_SUFFIX)))
            except OSError as error:
                raise UserError(f"{path} is damaged and cannot be set aside ({error.strerror})") from None
            aside.append(path)
    return aside


def _new_beside(path: Path) -> Path:
    """``path``, or where that exists the first of ``path-2``, ``path-3``, ... that does not."""
    new, again = path, 1
    while new.exists():
        again += 1
        new = path.with_name(f"{path.name}-{again}")
    return new
