"""Unpack an archive that anyone may have made: nothing outside its folder, no links, no devices, bounded, whole or not.

``tarfile``'s own filter ``data`` lets links pass that stay inside, bounds no size, and is not in every Python 3.10;
``zipfile`` has none. So names, kinds and sizes are looked at here, and the two only read.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from apm_tta.data.archives.names import RefusedName, clean_name
from apm_tta.download.transfer import MAKE_SPACE
from apm_tta.errors import UserError, describe_error
from apm_tta.system.files import PARTIAL, unwritable
from apm_tta.wording import in_units

_CHUNK = 1 << 20
_COMPLETE = ".complete"
"""Marks a folder into which everything was unpacked, and from which some may have been moved to its place."""


@dataclass(frozen=True)
class Bounds:
    """How much may come out of an archive.

    Attributes:
        growth: bytes for each byte of the archive.
        files: number of files and folders.
    """

    growth: int = 50
    files: int = 10_000_000


BOUNDS = Bounds()


@dataclass(frozen=True)
class _Member:
    """One entry of an archive: its name, whether it is a folder, and its bytes."""

    name: str
    is_folder: bool
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, told: Callable[[int], object] = lambda _: None, bounds: Bounds = BOUNDS) -> None:
    """Unpack ``archive`` into the folder in which it lies.

    Everything is unpacked into a hidden folder first, and moved when it is complete. A call after one that was killed
    begins anew, or goes on moving.

    Args:
        archive: the file.
        told: of the bytes of every piece that was written.
        bounds: how much may come out of it.

    Raises:
        UserError: when it is damaged, has an entry that is not safe, holds more than it may, or there is no room.
    """
    folder = archive.parent
    staging = folder / f".{archive.name}.unpacking{PARTIAL}"
    if not (staging / _COMPLETE).exists():
        try:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            _write_all(archive, staging, told, bounds)
            (staging / _COMPLETE).touch()
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            raise unwritable(Path(error.filename or staging), error, MAKE_SPACE) from None
        except UserError:
            shutil.rmtree(staging, ignore_errors=True)
            raise
    try:
        _move(staging, folder)
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error, MAKE_SPACE) from None
    shutil.rmtree(staging, ignore_errors=True)


def _write_all(archive: Path, staging: Path, told: Callable[[int], object], bounds: Bounds) -> None:
    most, written, count = bounds.growth * archive.stat().st_size, 0, 0
    with _members(archive) as members:
        for member in members:
            count += 1
            if count > bounds.files:
                raise UserError(f"{archive} holds more than {bounds.files:,} files, which no data set does")
            path = staging / _safe(archive, member.name)
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            source = member.open()
            if source is None:
                raise UserError(f"{archive} has an entry without content, {member.name}")
            try:
                file = path.open("xb")
            except FileExistsError:
                raise UserError(f"{archive} has {member.name} twice") from None
            with source, file:
                while chunk := source.read(_CHUNK):
                    written += len(chunk)
                    if written > most:
                        raise UserError(f"{archive} unpacks to more than {in_units(most)}, which no data set does")
                    file.write(chunk)
                    told(len(chunk))


@contextmanager
def _members(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive, and give its entries in their order.

    Raises:
        UserError: when it is damaged, needs a password, or has an entry that is neither a file nor a folder.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                yield _of_zip(archive, opened)
        else:
            with tarfile.open(archive, "r:*") as tar:
                yield _of_tar(archive, tar)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, ValueError) as error:
        raise UserError(f"{archive} cannot be unpacked ({describe_error(error)}); download it again") from None
    except OSError as error:
        if error.errno is None:  # such as gzip's BadGzipFile
            raise UserError(f"{archive} cannot be unpacked ({describe_error(error)}); download it again") from None
        raise
    except Exception as error:
        if type(error).__name__ in {"error", "LZMAError"}:  # zlib's, and lzma's, which have no base of their own
            raise UserError(f"{archive} cannot be unpacked ({describe_error(error)}); download it again") from None
        raise


def _of_tar(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    for entry in tar:
        if not (entry.isreg() or entry.isdir()):
            kind = "a link" if entry.islnk() or entry.issym() else "a device or pipe"
            raise UserError(f"{archive} has {kind} in it, {entry.name}; unpack it by hand if you trust it")
        yield _Member(entry.name, entry.isdir(), lambda entry=entry: tar.extractfile(entry))  # type: ignore[misc]
        tar.members = []  # type: ignore[attr-defined]  # else they stay in memory: 750,000 in one archive of ImageNet-C


def _of_zip(archive: Path, opened: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in opened.infolist():
        if entry.flag_bits & 1:
            raise UserError(f"{archive} needs a password; unpack it by hand, as its page says")
        mode = entry.external_attr >> 16
        if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise UserError(
                f"{archive} has a link or a device in it, {entry.filename}; unpack it by hand if you trust it"
            )
        yield _Member(entry.filename, entry.is_dir(), lambda entry=entry: opened.open(entry))  # type: ignore[misc]


def _safe(archive: Path, name: str) -> str:
    """Return a name that stays below the folder.

    Raises:
        UserError: when it would not, on any system.
    """
    try:
        path = clean_name(name)
        outside = "\\" in path or ":" in path.partition("/")[0]  # on some systems
    except RefusedName:
        outside = True
    if outside:
        raise UserError(f"{archive} has an entry that leads out of its folder, {name!r}; do not use it")
    return path


def _move(source: Path, target: Path) -> None:
    """Move what is in ``source`` to ``target``; a folder that is there already is added to, no file is replaced.

    Raises:
        UserError: when another file is there; the same one is left as it is.
    """
    for item in list(os.scandir(source)):
        place = target / item.name
        if item.name == _COMPLETE:
            continue
        if not os.path.lexists(place):
            Path(item.path).rename(place)
        elif item.is_dir(follow_symlinks=False) and place.is_dir():
            _move(Path(item.path), place)
        elif not (place.is_file() and item.is_file() and filecmp.cmp(item.path, place, shallow=False)):
            raise UserError(f"{place} is there already and another one; move it away, and run the same command again")
