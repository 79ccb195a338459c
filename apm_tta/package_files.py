"""The package's own files that can change a number, by their content, wherever they lie.

Only Python's standard library is used: the files are noted while the package is imported, and read when it is built.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

RESOURCES = "_resources"
"""Folder of the package in which a wheel carries what lies beside the package in a checkout."""

FOLDERS = ("datasets", "benchmarks/suites")
"""Folders beside the package: data cards and suites, all of them YAML."""


class Stamp(NamedTuple):
    """What the file system says of one file; an edit changes it, and a link or a mode that is set does not."""

    modified: int
    size: int
    inode: int


def package_files(package: Path) -> dict[str, str]:
    """Return the files by their names in a checkout, sorted: the same for a checkout, an archive and a wheel.

    Byte code, hidden files and an editor's copies are left out, and so is everything else that no run reads.

    Args:
        package: folder of the package.
    """
    found = {f"apm_tta/{name}": path for name, path in _below(package) if not name.startswith(f"{RESOURCES}/")}
    carried = package / RESOURCES
    root = carried if carried.is_dir() else package.parent
    for folder in FOLDERS:
        found |= {f"{folder}/{name}": path for name, path in _below(root / folder) if name.endswith(".yaml")}
    return dict(sorted(found.items()))


def content(path: str) -> bytes:
    """Return the bytes of a file, with the line ends of every system as one: Python and YAML read them alike."""
    read = Path(path).read_bytes()
    return read if b"\0" in read else read.replace(b"\r\n", b"\n")


def files_sha256(contents: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of names and contents."""
    digest = hashlib.sha256()
    for name, held in sorted(contents.items()):
        digest.update(name.encode(errors="surrogateescape") + b"\0" + hashlib.sha256(held).digest())
    return digest.hexdigest()


def stamps(package: Path) -> dict[str, Stamp]:
    """Return what the file system says of the files now, by path."""
    return {path: _stamp(path) for path in package_files(package).values()}


def _stamp(path: str) -> Stamp:
    state = os.stat(path)  # noqa: PTH116  while the package is imported, every path made would be felt
    return Stamp(state.st_mtime_ns, state.st_size, state.st_ino)


def _below(folder: Path) -> Iterator[tuple[str, str]]:
    """Return the files below a folder with their names there and their paths; none where there is no such folder."""
    waiting = [("", str(folder))] if folder.is_dir() else []
    while waiting:
        inside, current = waiting.pop()
        with os.scandir(current) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name.endswith("~") or entry.name == "__pycache__":
                    continue
                if entry.is_dir():
                    waiting.append((f"{inside}{entry.name}/", entry.path))
                elif entry.is_file():
                    yield inside + entry.name, entry.path


AT_IMPORT: dict[str, Stamp] = {}
"""What the file system said while the package was imported."""


def note_files(package: Path) -> None:
    """Note the files as they are while the package is imported."""
    try:
        AT_IMPORT.update(stamps(package))
    except OSError:  # such as a file that vanishes meanwhile: it will be missed where the files are read
        AT_IMPORT.clear()
