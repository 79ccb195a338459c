"""Where the members of an archive lie, in a file of SQLite: millions of them are found without being read.

Every folder's row has a digest of what lies in it, by which a listing is checked as it is read: a damaged index is
noticed where it is used, and no digest of the whole is computed when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from apm_tta.data.archives.names import RefusedName, clean_name

VERSION = 1
_AT_ONCE = 10_000
_MOST_FOLDERS_KEPT = 100_000
_NAMED = 3
_ROOT = 0
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE folders (
    parent INTEGER, name TEXT, id INTEGER, digest BLOB, PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE TABLE files (
    folder INTEGER, name TEXT, start INTEGER, size INTEGER, packed INTEGER, crc INTEGER, PRIMARY KEY (folder, name)
) WITHOUT ROWID;
"""
_ADD_FILES = "INSERT OR IGNORE INTO files VALUES (?, ?, ?, ?, ?, ?)"
_TWICE = "path that it has twice"
_BOTH = "path of both a file and a folder"


class DamagedIndex(Exception):
    """An index is not what was written."""


class Member(NamedTuple):
    """Where the bytes of a file in an archive are.

    Attributes:
        start: of its first byte in a tar, of its header in a zip, in bytes; in a compressed tar of what is unpacked.
        size: in bytes.
        packed: bytes that it takes up in a zip, where it is compressed; None where it is not.
        crc: that a zip states; None for none.
    """

    start: int
    size: int
    packed: int | None = None
    crc: int | None = None


class Refused(NamedTuple):
    """Members of one kind that are not read: how many, and the first of them."""

    number: int
    names: list[str]


class IndexWriter:
    """Writes an index; memory does not grow with the number of members.

    Args:
        path: of a file that does not exist.
    """

    def __init__(self, path: Path) -> None:
        self._database = _closed_with(self, sqlite3.connect(path, isolation_level=None, check_same_thread=False))
        # Nothing of it is used unless all of it was written.
        self._database.executescript(f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; {_TABLES} BEGIN;")
        self._database.execute("INSERT INTO folders VALUES (-1, '', ?, NULL)", [_ROOT])
        self._ids: dict[str, int] = {"": _ROOT}
        self._folders = 1
        self._waiting: list[tuple[int, str, int, int, int | None, int | None]] = []
        self._refused: dict[str, Refused] = {}
        self.files = 0

    def add_folder(self, name: str) -> None:
        """Add a folder, whether or not anything lies in it."""
        if (clean := self._cleaned(name)) is not None:
            self._folder(clean)

    def add_file(self, name: str, member: Member) -> None:
        """Add a file under the name that the archive gives it."""
        if (clean := self._cleaned(name)) is None:
            return
        folder, _, own = clean.rpartition("/")
        self._waiting.append((self._folder(folder), own, *member))
        self.files += 1
        if len(self._waiting) >= _AT_ONCE:
            self._write_waiting()

    def refuse(self, kind: str, name: str) -> None:
        """Count a member that is not read.

        Args:
            kind: what it is called, in the singular.
            name: of it.
        """
        number, names = self._refused.get(kind, Refused(0, []))
        self._refused[kind] = Refused(number + 1, [*names, name][:_NAMED])

    def finish(self, facts: dict[str, Any]) -> None:
        """Write what is left, the digests and ``facts``, and close the file."""
        self._write_waiting()
        self._refuse_files_named_like_folders()
        self._write_digests()
        whole = {**facts, "version": VERSION, "files": self.files, "refused": self._refused}
        self._database.executemany(
            "INSERT INTO facts VALUES (?, ?)", [(name, json.dumps(value)) for name, value in whole.items()]
        )
        self._database.execute("COMMIT")
        self.close()

    def close(self) -> None:
        """Close the file, finished or not."""
        self._database.close()

    def _cleaned(self, name: str) -> str | None:
        try:
            return clean_name(name)
        except RefusedName as error:
            self.refuse(str(error), name)
            return None

    def _folder(self, path: str) -> int:
        if (known := self._ids.get(path)) is not None:
            return known
        above, _, name = path.rpartition("/")
        parent = self._folder(above)
        row = self._database.execute("SELECT id FROM folders WHERE parent = ? AND name = ?", (parent, name)).fetchone()
        found: int = self._folders if row is None else row[0]
        if row is None:
            self._database.execute("INSERT INTO folders VALUES (?, ?, ?, NULL)", (parent, name, found))
            self._folders += 1
        if len(self._ids) >= _MOST_FOLDERS_KEPT:
            self._ids = {"": _ROOT}
        self._ids[path] = found
        return found

    def _write_waiting(self) -> None:
        written = self._database.executemany(_ADD_FILES, self._waiting).rowcount
        if written < len(self._waiting):
            self._refuse_repeated()
        self._waiting.clear()

    def _refuse_repeated(self) -> None:
        for folder, name, start, *_ in self._waiting:
            found = self._database.execute("SELECT start FROM files WHERE folder = ? AND name = ?", (folder, name))
            if found.fetchone() != (start,):
                self.refuse(_TWICE, f"{self._path_of(folder)}{name}")

    def _refuse_files_named_like_folders(self) -> None:
        both = self._database.execute(
            "SELECT parent, folders.name FROM folders JOIN files ON folder = parent AND files.name = folders.name"
        )
        for parent, name in both.fetchall():
            self.refuse(_BOTH, f"{self._path_of(parent)}{name}")

    def _path_of(self, folder: int) -> str:
        parts = []
        while folder != _ROOT:
            folder, name = self._database.execute("SELECT parent, name FROM folders WHERE id = ?", (folder,)).fetchone()
            parts.append(f"{name}/")
        return "".join(reversed(parts))

    def _write_digests(self) -> None:
        query = "SELECT parent, name, id FROM folders WHERE (parent, name) > (?, ?) ORDER BY parent, name LIMIT ?"
        last: tuple[int, str] = (-2, "")
        while rows := self._database.execute(query, (*last, _AT_ONCE)).fetchall():
            digests = [(_digest(*_content(self._database, folder)), parent, name) for parent, name, folder in rows]
            self._database.executemany("UPDATE folders SET digest = ? WHERE parent = ? AND name = ?", digests)
            last = rows[-1][:2]


class Index:
    """An index that was written; safe in threads, and not across a fork.

    Args:
        path: of the file.

    Raises:
        DamagedIndex: when it is no index of this version, or cannot be read; so do its methods.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._folders: dict[str, tuple[int, bytes] | None] = {}
        if not path.is_file():
            raise DamagedIndex(f"{path} is missing")
        # It is replaced as a whole and never written into, so that no lock of a file system is needed.
        name = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
        self._database = _closed_with(self, sqlite3.connect(name, uri=True, check_same_thread=False))
        try:
            self.facts: dict[str, Any] = {
                fact: json.loads(value) for fact, value in self._rows("SELECT name, value FROM facts")
            }
            if self.facts.get("version") != VERSION:
                raise DamagedIndex(f"{path} is of another version")
        except (DamagedIndex, ValueError) as error:
            self.close()
            raise DamagedIndex(str(error)) from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @property
    def refused(self) -> dict[str, Refused]:
        """The members that are not read, by what they are called."""
        return {kind: Refused(*found) for kind, found in self.facts["refused"].items()}

    def has_folder(self, path: str) -> bool:
        """Return whether there is a folder of that path."""
        return self._folder(path) is not None

    def listing(self, path: str) -> tuple[list[str], list[str]] | None:
        """Return the names of folders and of files in a folder, sorted, hidden ones too; None where it is not there."""
        if (found := self._folder(path)) is None:
            return None
        number, digest = found
        with self._lock, _damage_named():
            folders, files = _content(self._database, number)
            rows = list(files)
        if _digest(folders, rows) != digest:
            raise DamagedIndex(f"the listing of {path} is damaged")
        return folders, [row[0] for row in rows]

    def member(self, path: str) -> Member | None:
        """Return where the file of that path lies; None where there is none."""
        above, _, name = path.rpartition("/")
        if (folder := self._folder(above)) is None:
            return None
        query = "SELECT start, size, packed, crc FROM files WHERE folder = ? AND name = ?"
        found = self._rows(query, (folder[0], name))
        return Member(*found[0]) if found else None

    def _folder(self, path: str) -> tuple[int, bytes] | None:
        """Return the number of a folder and its digest; those of folders that were asked for are kept."""
        if path in self._folders:
            return self._folders[path]
        above, _, name = path.rpartition("/")
        parent = (-1, b"") if not path else self._folder(above)
        query = "SELECT id, digest FROM folders WHERE parent = ? AND name = ?"
        rows = [] if parent is None else self._rows(query, (parent[0], name))
        if len(self._folders) >= _MOST_FOLDERS_KEPT:
            self._folders = {}
        self._folders[path] = found = (rows[0][0], rows[0][1]) if rows else None
        return found

    def _rows(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with self._lock, _damage_named():
            return self._database.execute(query, values).fetchall()


def _closed_with(owner: object, database: sqlite3.Connection) -> sqlite3.Connection:
    """Have a connection closed when its owner is dropped, as an archive is that has changed; return it."""
    # At the end of a process the system does it; one that was forked must not close what it inherited.
    weakref.finalize(owner, database.close).atexit = False
    return database


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise DamagedIndex(str(error)) from None


def _content(database: sqlite3.Connection, folder: int) -> tuple[list[str], Iterable[tuple[Any, ...]]]:
    """Return the names of a folder's folders and the rows of its files, both sorted by name."""
    folders = database.execute("SELECT name FROM folders WHERE parent = ? ORDER BY name", (folder,))
    query = "SELECT name, start, size, packed, crc FROM files WHERE folder = ? ORDER BY name"
    return [row[0] for row in folders], database.execute(query, (folder,))


def _digest(folders: list[str], files: Iterable[tuple[Any, ...]]) -> bytes:
    digest = hashlib.sha256(repr(folders).encode())
    for row in files:
        digest.update(repr(row).encode())
    return digest.digest()[:16]
