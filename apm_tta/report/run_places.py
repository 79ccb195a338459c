"""Run folders that lie on an object store or in an archive: what a report reads of them is copied, and nothing written.

fsspec knows the stores (``s3://``, ``gs://``, ``hf://``, ``https://``, ``sftp://``, ...) and archives, also one within
the other (``zip://run::s3://bucket/runs.zip``); a store may need a package of its own, which its message names.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from apm_tta.errors import UserError, describe_error
from apm_tta.harness.storage.image_list import IMAGES_FILE
from apm_tta.harness.storage.manifest import MANIFEST_FILE
from apm_tta.harness.storage.times import TIMES_FILE
from apm_tta.system.files import write_file

_READ = {MANIFEST_FILE, IMAGES_FILE, TIMES_FILE}
"""Files that are read beside the records."""
_RECORDS = "records"


@dataclass(frozen=True)
class LocalRun:
    """A run as its files are read here.

    Attributes:
        folder: of the run.
        copied: whether it is a copy, which is removed after use.
    """

    folder: Path
    copied: bool


@contextmanager
def local_run(place: str) -> Iterator[LocalRun]:
    """Yield the folder of a run for the block: itself, or a copy.

    Args:
        place: a folder, an archive of one (zip, tar), or an address that fsspec knows.

    Raises:
        UserError: when nothing can be read there, or no run lies there; messages of the block name the place.
    """
    address = place if "://" in place else _archive_address(Path(place))
    if address is None:
        yield LocalRun(Path(place), copied=False)
        return
    with TemporaryDirectory(prefix="apm_tta_run_") as folder:
        try:
            _copy(address, place, Path(folder))
            yield LocalRun(Path(folder), copied=True)
        except UserError as error:
            error.args = tuple(str(each).replace(folder, place) for each in error.args)
            error.advice = error.advice.replace(folder, place)
            raise


def _archive_address(path: Path) -> str | None:
    """Return the address of an archive's content; None for what is no file, such as a folder.

    Raises:
        UserError: when the file is no archive.
    """
    if not path.is_file():
        return None
    kind = "zip" if zipfile.is_zipfile(path) else "tar" if tarfile.is_tarfile(path) else None
    if kind is None:
        raise UserError(f"{path} is neither a run folder nor an archive of one (zip, tar), or its beginning is damaged")
    return f"{kind}://::{path.resolve().as_uri()}"


def _copy(address: str, place: str, folder: Path) -> None:
    """Copy what is read of the one run at an address.

    Raises:
        UserError: when that cannot be read, or there is no run, or more than one.
    """
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(address)
        found = sorted(files.find(root))
        runs = [PurePosixPath(name).parent for name in found if PurePosixPath(name).name == MANIFEST_FILE]
        if len(runs) != 1:
            held = "no run folder" if not runs else f"{len(runs)} run folders; name one of them"
            raise UserError(f"{place} holds {held}: there is {'no' if not runs else 'more than one'} {MANIFEST_FILE}")
        for name in found:
            inner = PurePosixPath(name)
            if not inner.is_relative_to(runs[0]) or ".." in inner.parts:
                continue
            inner = inner.relative_to(runs[0])
            if str(inner) in _READ or inner.parts[0] == _RECORDS:
                target = folder / inner
                target.parent.mkdir(parents=True, exist_ok=True)
                files.get_file(name, str(target))
    except UserError:
        raise
    except Exception as error:  # whatever the driver of a store raises
        raise UserError(f"{place} cannot be read ({describe_error(error)})") from error


def copy_written(files: Iterable[Path], folder: Path, out: Path) -> None:
    """Copy the files of a report out of the copy of a run.

    Args:
        files: that were written.
        folder: into which.
        out: where they belong.

    Raises:
        UserError: when one cannot be written.
    """
    for file in files:
        write_file(out / file.relative_to(folder), file.read_bytes())
