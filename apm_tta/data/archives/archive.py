"""An archive whose members are found and read as if they were files, through an index that is built once.

The index lies in the cache, under a name made of the archive's path, with the size and the time of the last change that
the archive had: it is built again when they differ. It is written whole, and replaced where it turns out to be damaged.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from apm_tta.data.archives.bytes_of import GzipReader, Misplaced, Reader, TarReader, ZipReader
from apm_tta.data.archives.index import DamagedIndex, Index, IndexWriter, Member, Refused
from apm_tta.data.archives.names import is_archive_name, several
from apm_tta.data.archives.scan import ENCRYPTED, DamagedArchive, kind_of, scan
from apm_tta.data.image_files.errors import DamagedImage
from apm_tta.data.image_files.stored_bytes import named_error
from apm_tta.errors import UserError
from apm_tta.system.bars import bar
from apm_tta.system.cache_folder import default_cache
from apm_tta.system.files import PARTIAL, unwritable
from apm_tta.wording import first_few, pluralise

T = TypeVar("T")

FOLDER = "archives"
"""Below the cache: of the indices."""

_STALE_S = 24 * 3600
"""After which an index that was not finished belongs to a process that is gone."""

_SEEK_POINTS = ".seek"
_NO_ROOM = {errno.ENOSPC, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""What is answered to writing, and never to reading."""

_UNPACK = "unpack it into a folder of its own"
_OTHER_CACHE = "name another folder for the cache with APM_TTA_CACHE"


class Archive:
    """One archive in one state; ``archive_at`` opens it.

    Args:
        path: of its file.
        status: of that file.

    Attributes:
        path: as given.
        stamp: by which its state is told from another: size in bytes, nanoseconds of the last modification and of the
            last change, inode.
    """

    def __init__(self, path: Path, status: os.stat_result) -> None:
        self.path = path
        self.stamp = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
        self._file = default_cache() / FOLDER / f"{name}.sqlite"
        self._lock = threading.Lock()
        self._opened: tuple[Index, Reader] | None = None

    def is_indexed(self) -> bool:
        """Return whether it can be looked into without going through it first."""
        try:
            self._open(build=False)
        except DamagedIndex:
            return False
        return True

    def has_folder(self, path: str) -> bool:
        """Return whether it has a folder of that path; the empty path is that of the archive itself."""
        return self._ask(lambda index: index.has_folder(path))

    def listing(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return the names of folders and of files in a folder, sorted, hidden ones too; None where it is not there."""
        return self._ask(lambda index: index.listing(path))

    def member(self, path: str) -> Member | None:
        """Return where the file of that path lies; None where there is none."""
        return self._ask(lambda index: index.member(path))

    def read(self, path: str, start: int = 0, count: int | None = None) -> bytes | None:
        """Read a file, or a part of it, in one attempt; None where there is none.

        Raises:
            UnreadImage: when it cannot be read, or has fewer bytes.
        """
        for first in (True, False):
            member = self.member(path)
            if member is None:
                return None
            length = max(0, member.size - start) if count is None else count
            if start + length > member.size:
                raise DamagedImage(f"{path} in {self.path} has {member.size:,} bytes, not {start + length:,}")
            try:
                return self._open()[1].read(path, member, start, length)
            except Misplaced:
                if not first or self.problems():
                    break
                self._forget()
        raise DamagedImage(f"{path} is not where {self.path} states it; download the archive again")

    def problems(self) -> list[str]:
        """State in one line each what is wrong with it: with any problem, a set that is read from it is not used."""
        damage, refused = self._ask(lambda index: (index.facts["damage"], index.refused))
        return [
            *([f"{self.path} {damage}; download it again"] if damage else []),
            *(self._refusal(kind, found) for kind, found in refused.items()),
        ]

    def nested_problems(self) -> list[str]:
        """State in a line which archives lie at the beginning of this one; nothing for none."""
        folders, files = self.listing("") or ([], [])
        if len(folders) == 1 and not files:
            files = [f"{folders[0]}/{name}" for name in (self.listing(folders[0]) or ([], []))[1]]
        if not (inner := [name for name in files if is_archive_name(name)]):
            return []
        return [f"{self.path} has archives, which are not looked into ({first_few(inner)}); {_UNPACK}"]

    def _refusal(self, kind: str, refused: Refused) -> str:
        names = first_few([*refused.names, *([""] * (refused.number - len(refused.names)))])
        advice = _UNPACK
        if kind == ENCRYPTED:
            advice = f"unpack it there with its password, by: unzip {self.path.name}"
        number, lies = pluralise(refused.number, kind, several(kind)), "it lies" if refused.number == 1 else "they lie"
        return f"{self.path} has {number}, which cannot be read as {lies} ({names}); {advice}"

    def _ask(self, question: Callable[[Index], T]) -> T:
        try:
            return question(self._open()[0])
        except DamagedIndex:
            self._forget()
            return question(self._open()[0])

    def _forget(self) -> None:
        """Drop the index, so that the next question builds it anew."""
        with self._lock:
            self._opened = None
            with suppress(OSError):
                self._file.unlink(missing_ok=True)

    def _open(self, build: bool = True) -> tuple[Index, Reader]:
        """Open the index, and build it where there is none for this state of the archive.

        Raises:
            DamagedIndex: when there is none, and none is to be built.
            UserError: when it cannot be built.
        """
        with self._lock:
            if self._opened is None:
                try:
                    self._opened = self._stored()
                except DamagedIndex:
                    if not build:
                        raise
                    self._build()
                    self._opened = self._stored()
            return self._opened

    def _stored(self) -> tuple[Index, Reader]:
        index = Index(self._file)
        seek_points = self._file.with_suffix(_SEEK_POINTS)
        if index.facts["stamp"] != list(self.stamp[:2]):
            index.close()
            raise DamagedIndex("the archive has changed")
        if index.facts["kind"] == "tar":
            return index, TarReader(self.path)
        if index.facts["kind"] == "zip":
            return index, ZipReader(self.path)
        if index.facts["damage"]:  # it has no points from which it can be unpacked, and is not used
            return index, TarReader(self.path)
        try:
            if _sha256(seek_points) == index.facts["seek_points"]:
                return index, GzipReader(self.path, seek_points)
        except OSError:
            pass
        index.close()
        raise DamagedIndex("the points where unpacking can begin are missing or damaged")

    def _build(self) -> None:
        """Go through the archive once, and write its index.

        Raises:
            UserError: when the archive cannot be read or changes, or the index cannot be written.
        """
        # The random name keeps processes that build it at once from writing into each other's file.
        partial = self._file.with_name(f"{self._file.stem}.{secrets.token_hex(4)}{PARTIAL}")
        points = partial.with_name(f"{partial.name}{_SEEK_POINTS}")
        try:
            try:
                partial.parent.mkdir(parents=True, exist_ok=True)
                self._remove_stale()
                writer = IndexWriter(partial)
            except (OSError, sqlite3.Error) as error:
                raise self._unwritable(error) from None
            try:
                self._fill(writer, points)
            finally:
                writer.close()
            with suppress(FileNotFoundError):
                points.replace(self._file.with_suffix(_SEEK_POINTS))
            partial.replace(self._file)
        except (OSError, sqlite3.Error) as error:
            raise self._unwritable(error) from None
        finally:
            for leftover in (partial, points):
                with suppress(OSError):
                    leftover.unlink(missing_ok=True)

    def _fill(self, writer: IndexWriter, points: Path) -> None:
        damage = ""
        shown: tqdm[object] = bar(total=self.stamp[0], unit="B", unit_scale=True, desc=f"index of {self.path.name}")
        try:
            kind = kind_of(self.path)
            scan(self.path, kind, writer, points, lambda done: shown.update(done - shown.n))
        except DamagedArchive as error:
            damage = str(error)
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise
            raise named_error(self.path, error) from None
        finally:
            shown.close()
        try:
            status = self.path.stat()
        except OSError as error:
            raise named_error(self.path, error) from None
        if (status.st_size, status.st_mtime_ns) != self.stamp[:2]:
            problem = f"{self.path} changed while it was gone through; wait until it is complete, and start again"
            raise UserError(problem, passing=True)
        digest = _sha256(points) if points.exists() else ""
        stated = {"stamp": self.stamp[:2], "kind": kind, "damage": damage, "seek_points": digest}
        writer.finish({**stated, "path": os.fspath(self.path)})

    def _unwritable(self, error: OSError | sqlite3.Error) -> UserError:
        cause = error if isinstance(error, OSError) else OSError(0, str(error))
        return unwritable(self._file.parent, cause, _OTHER_CACHE)

    def _remove_stale(self) -> None:
        for leftover in self._file.parent.glob(f"{self._file.stem}.*{PARTIAL}*"):
            with suppress(OSError):
                if time.time() - leftover.stat().st_mtime > _STALE_S:
                    leftover.unlink()


_archives: dict[str, Archive] = {}
_inherited: list[dict[str, Archive]] = []


def archive_at(path: str) -> Archive:
    """Open the archive in that file; the same one again while the file does not change.

    Raises:
        OSError: when there is no such file.
    """
    status = os.stat(path)  # noqa: PTH116  asked before every image
    known = _archives.get(path)
    if known is None or known.stamp != (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino):
        known = _archives[path] = Archive(Path(path), status)
    return known


def _leave_to_the_parent() -> None:
    """Open everything anew after a fork: two processes would move one position in a file, and a lock may be held."""
    global _archives
    _inherited.append(_archives)
    _archives = {}


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
