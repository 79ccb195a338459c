"""The folder ``checkpoints`` of a run: what its unfinished shards and streams have answered so far.

Only the folder's one writer writes here. A checkpoint is removed when its unit is recorded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from apm_tta.errors import UserError
from apm_tta.harness.plan import Work
from apm_tta.harness.progress.events import Emit, Kept, Note
from apm_tta.harness.storage.checkpoint import (
    INDEX_FILE,
    Checkpoint,
    CheckpointIndex,
    checkpoint_name,
    digest_of,
    read_index,
    record_names,
    retried_of,
)
from apm_tta.harness.storage.records import REPAIR, digest_path, read_content, write_content
from apm_tta.system.files import read_regular, unwritable, write_whole

FOLDER = "checkpoints"
_ASIDE = ".damaged"


class Checkpoints:
    """The checkpoints of one run.

    Args:
        run: the run folder.
        fingerprint: of the run: what another run left is refused.
        emit: hears of what is refused.
    """

    def __init__(self, run: Path, fingerprint: str, emit: Emit) -> None:
        self._run, self._folder, self._fingerprint, self._emit = run, run / FOLDER, fingerprint, emit

    def along(self, work: Iterable[Work]) -> tuple[Work, ...]:
        """Cut units of work apart where checkpoints are of some of their cells only, and remove checkpoints of none.

        A run may be gone on with on another number of devices, and its methods were spread over these.
        """
        indexes, parts, used = self._indexes(), list[Work](), set[str]()
        by_size = sorted(indexes.items(), key=lambda item: -item[1].done)
        for unit in work:
            cells = unit.cells
            for name, index in by_size:
                own = tuple(cell for cell in cells if str(unit.file_of(cell)) in index.records)
                if own and index.retried == retried_of(unit):
                    parts.append(replace(unit, cells=own))
                    used.add(name)
                    cells = tuple(cell for cell in cells if cell not in own)
            if cells:
                parts.append(replace(unit, cells=cells))
        for name in indexes.keys() - used:
            self._remove(name)
        return tuple(parts)

    def of(self, unit: Work) -> Checkpoint | None:
        """Return what has been kept of a unit of work; None where nothing was, or it is damaged, which is noted."""
        wanted = {*record_names(unit)}
        fitting = {
            name: index
            for name, index in self._indexes().items()
            if wanted <= {*index.records} and index.retried == retried_of(unit)
        }
        for name, index in sorted(fitting.items(), key=lambda item: -item[1].done):
            try:
                return Checkpoint(index, self._contents(name, index.files))
            except ValueError as error:
                self._refuse(name, str(error))
        return None

    def write(self, kept: Kept) -> None:
        """Write a checkpoint, and remove what it replaces.

        Raises:
            UserError: when it cannot be written.
        """
        index = read_index(kept.index)
        folder = self._folder / checkpoint_name(kept.work)
        try:
            for name, content in kept.files.items():
                write_whole(folder / name, content)
        except OSError as error:
            raise unwritable(folder, error, advice="") from error
        write_content(folder / INDEX_FILE, kept.index)
        named = {INDEX_FILE, digest_path(folder / INDEX_FILE).name, *index.files}
        for path in folder.iterdir():
            if path.name not in named:
                with suppress(OSError):
                    path.unlink()

    def remove(self, unit: Work) -> None:
        """Remove what was kept of a unit of work that is recorded now."""
        recorded = {*record_names(unit)}
        self._remove(checkpoint_name(unit))
        for name, index in self._indexes().items():
            if recorded & {*index.records} and all((self._run / file).exists() for file in index.records):
                self._remove(name)

    def _contents(self, name: str, files: Mapping[str, str]) -> dict[str, bytes]:
        """Read files of a checkpoint.

        Raises:
            ValueError: when one of them is not what the index states.
        """
        contents = {}
        for file, digest in files.items():
            path = self._folder / name / file
            try:
                contents[file] = read_regular(path)
            except OSError as error:
                raise ValueError(f"{file}: {error.strerror}") from None
            if digest_of(contents[file]) != digest:
                raise ValueError(f"{file} differs from its SHA-256")
        return contents

    def _indexes(self) -> dict[str, CheckpointIndex]:
        """Read the index of every checkpoint of this run; others are refused."""
        found = {}
        for path in _folders(self._folder):
            if not (path / INDEX_FILE).exists():  # its writer was killed before there was one
                self._remove(path.name)
                continue
            try:
                index = read_index(read_content(path / INDEX_FILE))
                if index.fingerprint != self._fingerprint:
                    raise ValueError("it is of another run")
            except (ValueError, UserError) as error:
                self._refuse(path.name, str(error).removesuffix(f"; {REPAIR}"))
            else:
                found[path.name] = index
        return found

    def _refuse(self, name: str, reason: str) -> None:
        """Set a checkpoint aside; nothing is deleted that might be looked into."""
        path = self._folder / name
        number, aside = 1, path.with_name(f"{name}{_ASIDE}")
        while aside.exists():
            number += 1
            aside = path.with_name(f"{name}{_ASIDE}-{number}")
        with suppress(OSError):
            path.replace(aside)
        self._emit(Note(f"{path} cannot be gone on with ({reason}): it is set aside, and its unit begins anew"))

    def _remove(self, name: str) -> None:
        path = self._folder / name
        with suppress(OSError):  # the index first: without it the rest is nothing
            (path / INDEX_FILE).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):  # unless there are others
            self._folder.rmdir()


def kept_so_far(run: Path, fingerprint: str) -> tuple[CheckpointIndex, ...]:
    """Return the indexes of a run's checkpoints, of a folder that may be written meanwhile and is not touched.

    What cannot be read, or is of another run, is left out: the run itself sets it aside when it goes on.
    """
    found = []
    for path in _folders(run / FOLDER):
        with suppress(ValueError, UserError, OSError):
            found.append(read_index(read_content(path / INDEX_FILE)))
    return tuple(index for index in found if index.fingerprint == fingerprint)


def _folders(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and _ASIDE not in path.name)
