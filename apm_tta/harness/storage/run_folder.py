"""The run folder: creating it, checking its records, and finding what is still missing in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from apm_tta.errors import UserError
from apm_tta.harness.plan import Cell, Shard, Work, compact_file
from apm_tta.harness.progress.run_log import LOG_FILE
from apm_tta.harness.storage.checkpoints import FOLDER as CHECKPOINTS
from apm_tta.harness.storage.manifest import MANIFEST_FILE, Numbers
from apm_tta.harness.storage.records import REPAIR, decode_records, digest_path, read_content, record_files
from apm_tta.harness.storage.run_records import Image, RecordFile, compact_files, read_recorded
from apm_tta.system.files import PARTIAL, unwritable
from apm_tta.system.writer_lock import LOCK_FILE, OWNER_FILE

DAMAGED_SUFFIX = ".damaged"
_OWN_FILES = {LOG_FILE, LOCK_FILE, OWNER_FILE}


def make_folder(out: Path | None, suite: str, force_new: bool = False) -> Path:
    """Create the run folder if needed, and return it.

    It is ``out``, or a new folder below the current one; with ``force_new`` a new folder next to an existing ``out``.

    Raises:
        UserError: when it cannot be written, or holds files that are not a run's.
    """
    folder = out or Path("results") / suite / datetime.now().strftime("%Y%m%d-%H%M%S")
    if out is None or force_new:
        folder = _unused_path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"writable{PARTIAL}"
        probe.touch()
        probe.unlink()
        others = [path for path in folder.iterdir() if path.suffix != PARTIAL and path.name not in _OWN_FILES]
        foreign = bool(others) and not (folder / MANIFEST_FILE).exists() and not record_files(folder)
    except OSError as error:
        raise unwritable(folder, error) from None
    if foreign:
        raise UserError(f"{folder} holds files but no run; nothing is overwritten: name another folder with --out")
    return folder


def holds_no_answer(folder: Path) -> bool:
    """Return whether a run folder has neither records nor checkpoints, nor anything of either that was set aside."""
    return not any((folder / name).exists() for name in ("records", CHECKPOINTS))


def remove_if_empty(folder: Path) -> None:
    """Remove a folder in which no run has started."""
    if (folder / MANIFEST_FILE).exists():
        return
    with suppress(OSError):
        if {path.name for path in folder.iterdir()} <= {LOG_FILE}:
            (folder / LOG_FILE).unlink(missing_ok=True)
            folder.rmdir()


def refuse_orphans(folder: Path, fingerprint: str) -> None:
    """Refuse a folder without ``run.yaml`` in which records of another run lie; its own are gone on with.

    Raises:
        UserError: naming one of them.
    """
    for path in record_files(folder):
        try:
            header = decode_records(path, read_content(path)).header
        except UserError:  # what is damaged is set aside later
            continue
        if header.fingerprint != fingerprint:
            raise UserError(
                f"{folder} has no {MANIFEST_FILE}, and its records are of another run than this one ({path}); name "
                "another folder with --out"
            )


def remove_leftovers(folder: Path) -> None:
    """Remove the partial files of killed writers; to be called only by the folder's one writer."""
    for path in folder.rglob(f"*{PARTIAL}"):
        with suppress(OSError):
            path.unlink()


def set_damaged_aside(
    work: Sequence[Work], folder: Path, numbers: Numbers, images_of: Callable[[Work, Cell], Sequence[Image]]
) -> list[str]:
    """Rename records that are damaged or not what the run has in their place, so that they are computed again.

    Nothing is deleted, since a user may want what can still be read of them.

    Args:
        work: whose records are looked at.
        folder: the run folder.
        numbers: of the run.
        images_of: returns the images that a unit of work answers for a cell.

    Returns:
        Why each of them was renamed: its former path, and what is wrong with it.

    Raises:
        UserError: when a record cannot be renamed.
    """
    compact, looked_at = compact_files(numbers), set[PurePosixPath]()
    fingerprint = numbers.fingerprint
    aside = []

    def look(file: RecordFile, images: Sequence[Image]) -> None:
        path = folder / file.name
        try:
            read_recorded(folder, file, fingerprint, images)
        except UserError as error:
            try:
                _set_aside(path)
                if (digest := digest_path(path)).exists() and not digest.is_file():  # nothing can be written there
                    _set_aside(digest)
            except OSError as failure:
                raise UserError(f"{path} is damaged and cannot be set aside ({failure.strerror})") from None
            aside.append(str(error).removesuffix(f"; {REPAIR}"))

    for unit in work:
        for cell in unit.cells:
            whole = compact.get(compact_file(cell))
            if whole is not None and isinstance(unit, Shard) and (folder / whole.name).exists():
                if whole.name not in looked_at:
                    looked_at.add(whole.name)
                    look(whole, images_of(replace(unit, start=0, stop=whole.images), cell))
                if (folder / whole.name).exists():
                    continue
            if (folder / unit.file_of(cell)).exists():
                look(RecordFile(unit.file_of(cell), cell, unit.count_answers(cell)), images_of(unit, cell))
    return aside


def _set_aside(path: Path) -> None:
    path.replace(_unused_path(path.with_name(path.name + DAMAGED_SUFFIX)))


def _unused_path(path: Path) -> Path:
    """Return ``path``, or where it exists the first of ``path-2``, ``path-3``, ... that does not exist."""
    unused, number = path, 1
    while unused.exists():
        number += 1
        unused = path.with_name(f"{path.name}-{number}")
    return unused
