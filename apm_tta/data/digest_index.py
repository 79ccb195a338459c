"""What was hashed before, so that a second start does not read the files of a set again.

An entry counts as long as its file has the size, times of modification and of change, and inode that it had. Those of
two files may be the same after all (an image layer gives every file one time): each image is hashed once more when it
is read to be answered, and compared.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from apm_tta.data.files import Stamp
from apm_tta.system.files import read_regular, write_whole

UNTRUSTED_NS = 2_000_000_000
"""A file that changed so shortly before it was hashed may change again under the same times."""


class DigestIndex:
    """Digests of files below one folder, kept in a file of a cache; a damaged file counts as absent.

    Args:
        cache: folder of the cache, which is created; if it is not writable, nothing is kept and no error is raised.
        place: the folder of the files.
    """

    def __init__(self, cache: Path, place: Path) -> None:
        name = hashlib.sha256(os.fsencode(place.resolve())).hexdigest()
        self._path = cache / f"{name}.json"
        self._known = self._read()
        self._changed = False

    def digest_of(self, path: Path, stamp: Stamp) -> str | None:
        """Return the digest of a file that is as it was when it was hashed; None where it is not, or was not."""
        known = self._known.get(os.fspath(path))
        return known[-1] if known is not None and tuple(known[:-1]) == stamp else None

    def add(self, path: Path, stamp: Stamp, started_ns: int, digest: str) -> None:
        """Keep a digest, unless the file changed too shortly before its hashing began.

        Args:
            path: of the file.
            stamp: before and after hashing.
            started_ns: when hashing began, by ``time.time_ns``.
            digest: of what was read.
        """
        if started_ns - max(stamp[1], stamp[2]) >= UNTRUSTED_NS:
            self._known[os.fspath(path)] = [*stamp, digest]
            self._changed = True

    def save(self) -> None:
        """Write the index, if there is anything new in it."""
        if not self._changed:
            return
        content = json.dumps(self._known).encode()
        with suppress(OSError):
            write_whole(self._path, hashlib.sha256(content).hexdigest().encode() + b"\n" + content)

    def _read(self) -> dict[str, list[Any]]:
        try:
            digest, _, content = read_regular(self._path).partition(b"\n")
            if hashlib.sha256(content).hexdigest().encode() != digest:
                return {}
            found: dict[str, list[Any]] = json.loads(content)
        except (OSError, ValueError):
            return {}
        return found
