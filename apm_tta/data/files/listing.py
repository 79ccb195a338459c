"""What is in a folder, on disk or in an archive, and which files and folders there are."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from apm_tta.data.archives import Archive, is_archive_name, stem
from apm_tta.data.files.lookup import archives_in, holders, is_archive
from apm_tta.data.files.output_folders import is_output
from apm_tta.data.image_files.names import is_image_name
from apm_tta.errors import UserError
from apm_tta.wording import first_few

_MISSING = {errno.ENOENT, errno.ENOTDIR}
Listing = tuple[list[str], list[str]]


def list_folder(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """List ``folder`` without hidden files: names of folders, names of files, and circular or broken links.

    What is neither, such as a pipe, which would be read forever, is among the links. Of a folder on disk in which no
    folder and no image lies, what the archives in it hold is listed too.

    No file is opened and only links are resolved, so 50,000 files take a fraction of a second. A link back to a folder
    above counts as circular, so that no caller walks in circles.

    Raises:
        UserError: when the folder cannot be read, or its path or a name in it is no text; see ``refuse_no_text``. When
            two archives have the same file.
    """
    folders, files, bad_links = [], [], []
    refuse_no_text(folder)
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if not item.name.isascii():
                    refuse_no_text(folder / item.name)
                if item.is_symlink() and _is_bad_link(item.path):
                    bad_links.append(item.name)
                elif item.is_dir():
                    folders.append(item.name)
                elif item.is_file():
                    files.append(item.name)
                else:
                    bad_links.append(item.name)
    except OSError as error:
        packed = _packed_listing(folder) if error.errno in _MISSING else None
        if packed is None:
            raise UserError(f"{folder} cannot be read: {error.strerror}") from None
        return _shown(packed[0]), _shown(packed[1]), []
    if may_be_packed(folder, folders, files):
        packed_folders, packed_files = _packed_listing(folder) or ([], [])
        folders = [*folders, *(name for name in _shown(packed_folders) if name not in folders)]
        files = [*files, *(name for name in _shown(packed_files) if name not in files)]
    return sorted(folders), sorted(files), sorted(bad_links)


def scan_folder(folder: Path) -> list[tuple[str, bool]]:
    """List everything in a folder, hidden or not: each name, sorted, with whether it is a folder, or leads to one.

    Raises:
        OSError: when it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            items = sorted((item.name, is_folder_item(item)) for item in found)
    except OSError as error:
        packed = _packed_listing(folder) if error.errno in _MISSING else None
        if packed is None:
            raise
        return _with_kind(packed)
    if may_be_packed(
        folder, [name for name, is_one in items if is_one], [name for name, is_one in items if not is_one]
    ):
        names = dict(items)
        items = sorted([*items, *(item for item in _with_kind(_packed_listing(folder)) if item[0] not in names)])
    return items


def walk(
    folder: Path, onerror: Callable[[OSError], object] | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Go through a folder and those below it as ``os.walk`` does, from above, on disk or in archives."""
    if os.path.isdir(folder):  # noqa: PTH112
        yield from os.walk(folder, onerror=onerror)
        return
    if (packed := _packed_listing(folder)) is not None:
        folders, files = packed
        yield os.fspath(folder), folders, files
        for name in folders:
            yield from walk(folder / name, onerror)


def is_folder(path: Path) -> bool:
    """Return whether there is a folder of that path, on disk or in an archive; an archive itself is one."""
    if path.is_dir():
        return True
    if os.path.lexists(path) and not is_archive(path):
        return False
    archives, inner = _holders(path)
    return any(archive.has_folder(inner) for archive in archives)


def is_file(path: Path) -> bool:
    """Return whether there is a file of that path, on disk or in an archive."""
    if path.is_file():
        return True
    if os.path.lexists(path):
        return False
    archives, inner = _holders(path)
    return any(archive.member(inner) is not None for archive in archives)


def is_root(path: Path) -> bool:
    """Return whether a path that a person gave is a folder, on disk or in an archive, or an archive.

    The archive has to be a part of the path, or named like the folder: a path that is mistyped may have any beside it.
    """
    if path.is_dir() or is_archive(path):
        return True
    return (any(map(is_archive, path.parents)) or _has_namesake(path)) and is_folder(path)


def is_in_archive(path: Path) -> bool:
    """Return whether a path that a person gave leads through an archive's file to a file in it."""
    return any(map(is_archive, path.parents)) and is_file(path)


def archives_of(folder: Path) -> list[Path]:
    """Return the archives in which what is listed of a folder lies; none for one whose content is on disk."""
    archives, inner = _holders(folder)
    if os.path.isdir(folder):  # noqa: PTH112
        with os.scandir(folder) as found:
            shown = [item for item in found if not item.name.startswith(".")]
        folders = [item.name for item in shown if is_folder_item(item)]
        if not may_be_packed(folder, folders, [item.name for item in shown]):
            return []
    return [archive.path for archive in archives if archive.has_folder(inner)]


def is_folder_item(item: os.DirEntry[str]) -> bool:
    """Return whether an item is a folder, or leads to one; a link in a circle does not."""
    try:
        return item.is_dir()
    except OSError:
        return False


def may_be_packed(folder: Path, folders: Iterable[str], files: Iterable[str]) -> bool:
    """Return whether a folder on disk holds archives, and neither an image nor a folder that may have some.

    Folders that this program has written do not count.
    """
    names = list(files)
    if any(map(is_image_name, names)) or not any(map(is_archive_name, names)):
        return False
    return all(is_output(folder / name) for name in folders if not name.startswith("."))


def refuse_no_text(path: Path) -> None:
    """Refuse a file or folder whose name cannot be decoded: a run's files could not hold it.

    Raises:
        UserError: that names it.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        try:
            os.fsencode(path).decode("utf-8")
        except UnicodeDecodeError:
            advice = "rename it"
        else:
            advice = f"set PYTHONUTF8=1, as names are read as {encoding} here"
        raise UserError(f"the name {os.fspath(path)!r} is no text in UTF-8; {advice}") from None


def link_problems(folder: Path, links: Iterable[str]) -> list[str]:
    """Return a line that names ``links``, the third result of ``list_folder``; nothing if there are none."""
    names = list(links)
    if not names:
        return []
    return [
        f"{folder} has circular or broken links, or what is no file: {first_few(names)}; replace them with the files"
    ]


def _is_bad_link(link: str) -> bool:
    """Return whether a link is broken, part of a circle of links, or leads to a folder above it."""
    target = os.path.realpath(link)
    if not os.path.exists(target):  # noqa: PTH110  false for links to each other too
        return True
    folder = os.path.realpath(os.path.dirname(link))  # noqa: PTH120
    return target == folder or folder.startswith(target.rstrip(os.sep) + os.sep)


def _has_namesake(path: Path) -> bool:
    """Return whether an archive lies beside a path that is named like it."""
    try:
        return any(stem(Path(name).name) == path.name for name in archives_in(os.fspath(path.parent)))
    except OSError:
        return False


def _shown(names: Iterable[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _with_kind(packed: Listing | None) -> list[tuple[str, bool]]:
    folders, files = packed or ([], [])
    return sorted([*((name, True) for name in folders), *((name, False) for name in files)])


def _holders(path: Path) -> tuple[list[Archive], str]:
    try:
        return holders(path)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None


def _packed_listing(folder: Path) -> Listing | None:
    """List what the archives hold of a folder; None where it is in none of them."""
    archives, inner = _holders(folder)
    whose: dict[str, Archive] = {}
    folders: set[str] = set()
    for archive in archives:
        if (found := archive.listing(inner)) is None:
            continue
        folders.update(found[0])
        for name in found[1]:
            if (other := whose.setdefault(name, archive)) is not archive and not name.startswith("."):
                raise UserError(
                    f"{other.path} and {archive.path} both have {inner}/{name}".replace(" /", " ")
                    + "; move one of the archives into a folder of its own"
                )
    if not folders and not whose and not any(archive.has_folder(inner) for archive in archives):
        return None
    return sorted(folders), sorted(whose)
