"""Of which commit the package's files are, compared by content with what git has stored or a wheel states."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from apm_tta.package_files import FOLDERS, RESOURCES, content, files_sha256, package_files

BUILT_FROM = "built_from.json"
"""File in ``_resources`` in which a wheel states the commit that it was built from, and the digest of its files."""

_OURS = re.compile(r'^name = "apm-tta"$', re.MULTILINE)
_SECONDS = 60


@dataclass(frozen=True)
class PackageCode:
    """Which code a copy of the package is.

    Attributes:
        commit: whose checkout or wheel it is; None where nobody says.
        is_commit: whether the files are exactly those of the commit.
        sha256: of the files' names and contents.
    """

    commit: str | None
    is_commit: bool
    sha256: str


def package_code(package: Path) -> PackageCode:
    """Read the files of the package, and find the commit that they belong to.

    In a checkout of this project every file is compared with the commit's own, whatever git's index says of it; in a
    wheel, all of them with the digest that it was built with. Any other copy, such as one in somebody else's
    repository, is of no commit.

    Args:
        package: folder of the package, or what stands for it in an archive.
    """
    if not package.is_dir():
        return PackageCode(None, False, _archive_sha256(package))
    files = package_files(package)
    sha256 = files_sha256({name: content(path) for name, path in files.items()})
    commit = _head(package.parent)
    if commit is not None:
        return PackageCode(commit, _is_tree_of(commit, package.parent, files), sha256)
    built_commit, built_sha256 = _built_from(package)
    return PackageCode(built_commit, built_sha256 == sha256, sha256)


def _archive_sha256(package: Path) -> str:
    """Return the SHA-256 of the file that the package is imported from, or of nothing where there is none."""
    archive = next((path for path in package.parents if path.is_file()), None)
    return hashlib.sha256(b"" if archive is None else archive.read_bytes()).hexdigest()


def _built_from(package: Path) -> tuple[str | None, str | None]:
    try:
        stated = json.loads((package / RESOURCES / BUILT_FROM).read_text(encoding="utf-8"))
        return str(stated["commit"]), str(stated["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _head(root: Path) -> str | None:
    """Return the commit that is checked out in ``root``; None where that is no checkout of this project."""
    try:
        if not (root / ".git").exists() or not _OURS.search((root / "pyproject.toml").read_text(encoding="utf-8")):
            return None
    except (OSError, UnicodeDecodeError):
        return None
    found = _git(root, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    return None if found is None else found.decode().strip()


def _is_tree_of(commit: str, root: Path, files: Mapping[str, str]) -> bool:
    """Return whether the files are those of ``commit``: no other one, none less, each with the content stored there.

    A checkout may have other line ends than the commit.
    """
    listed = _git(root, "ls-tree", "-r", "-z", "--full-tree", commit, "--", "apm_tta", *FOLDERS)
    if listed is None:
        return False
    stored = {}
    for line in filter(None, listed.split(b"\0")):
        description, _, name = line.partition(b"\t")
        path = os.fsdecode(name)
        if path.startswith("apm_tta/") or path.endswith(".yaml"):
            stored[path] = description.split()[2].decode()
    hidden = {path for path in stored if any(part.startswith(".") for part in path.split("/"))}
    if stored.keys() - hidden != files.keys():
        return False
    return all(_is_blob(path, stored[name]) for name, path in files.items())


def _is_blob(path: str, name: str) -> bool:
    """Return whether git would store the file under that name, SHA-1 or SHA-256 by its length."""
    kind = hashlib.sha256 if len(name) == 64 else hashlib.sha1
    return any(
        kind(b"blob %d\0" % len(held) + held).hexdigest() == name for held in (Path(path).read_bytes(), content(path))
    )


def _git(root: Path, *words: str) -> bytes | None:
    """Ask git about the repository of ``root`` alone; None where it does not answer.

    In a hook, git's variables name the repository whose hook it is; they are left out, with everything else that leads
    git elsewhere.
    """
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    variables |= {"GIT_NO_REPLACE_OBJECTS": "1", "GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = ["git", f"--git-dir={root / '.git'}", "-C", str(root), *words]
    try:
        return subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, env=variables, check=True, timeout=_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
