"""Which code runs: its commit, and what sets it apart from every commit and release."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import apm_tta

NO_CHANGES = "none"
_DECIDING = ("apm_tta", "datasets", "benchmarks/suites")
"""Folders of a checkout whose content can change a number."""


@cache
def commit() -> str:
    """Return the commit of the checkout that runs, with ``-dirty`` where its files differ; ``released`` outside one."""
    if not _in_checkout():
        return "released"
    try:
        head = _git("rev-parse", "HEAD").strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("-dirty" if uncommitted() != NO_CHANGES else "")


@cache
def uncommitted() -> str:
    """Return the SHA-256 of what sets the running code apart from every commit and release; ``none`` for nothing.

    In a checkout: of the difference to its commit and of files that git does not track yet. Of an installed wheel:
    of the files that differ from its own list of digests. Of a source tree that is neither: of all its files, since
    nobody can say which release it is. Computed once per process: that is the code that was imported.
    """
    try:
        parts = _difference_to_commit() if _in_checkout() else _difference_to_release()
    except (OSError, subprocess.CalledProcessError):
        parts = _files([path for path in sorted(_package().rglob("*")) if path.is_file()], _package())
    digest, empty = hashlib.sha256(), True
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
        empty = False
    return NO_CHANGES if empty else digest.hexdigest()


def _package() -> Path:
    return Path(apm_tta.__file__).parent


def _in_checkout() -> bool:
    return (_package().parent / ".git").exists()


def _git(*words: str) -> str:
    command = ["git", "-C", str(_package().parent), *words]
    return subprocess.run(command, capture_output=True, text=True, errors="surrogateescape", check=True).stdout


def _difference_to_commit() -> Iterable[bytes]:
    difference = _git("diff", "HEAD", "--no-ext-diff", "--binary", "--", *_DECIDING)
    parts = [difference.encode(errors="surrogateescape")] if difference else []
    untracked = _git("ls-files", "--others", "--exclude-standard", "-z", "--", *_DECIDING)
    root = _package().parent
    return [*parts, *_files([root / name for name in sorted(untracked.split("\0")) if name], root)]


def _difference_to_release() -> Iterable[bytes]:
    """Return the package's files that are not as its distribution installed them; all where it installed none."""
    recorded = {}
    try:
        installed = importlib.metadata.files("apm-tta") or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    for file in installed:
        if file.hash is not None and file.hash.mode == "sha256":
            recorded[Path(str(file.locate())).resolve()] = file.hash.value
    ours = [path for path in sorted(_package().rglob("*")) if path.is_file() and path.suffix not in (".pyc", ".pyo")]
    changed = [path for path in ours if recorded.get(path.resolve()) != _record_digest(path)]
    return _files(changed, _package())


def _record_digest(path: Path) -> str:
    """Return the digest of a file as a wheel's RECORD writes it."""
    return base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()


def _files(paths: Iterable[Path], root: Path) -> list[bytes]:
    parts = []
    for path in paths:
        if "__pycache__" not in path.parts:
            parts += [path.relative_to(root).as_posix().encode(errors="surrogateescape"), path.read_bytes()]
    return parts
