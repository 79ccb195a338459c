"""Image files: listing those of a folder, and decoding one."""

from __future__ import annotations

import codecs
import io
import os
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError, features

from apm_tta.data.decoding import Reading, UndefinedPixels, to_rgb
from apm_tta.data.decoding.file_facts import frame_remarks, is_signed_as_known, tiff_levels
from apm_tta.data.image_files import DamagedImage, Patience, TooLargeImage, UnreadImage, UnsupportedImage
from apm_tta.data.image_files.size_limit import LIMIT_VARIABLE, pillows_limit_lifted, size_problem
from apm_tta.data.image_files.stored_bytes import read_whole
from apm_tta.data.sample import ReadImage, StoredImage
from apm_tta.errors import UserError
from apm_tta.wording import first_few

_OPTIONAL = {"avif": (".avif",), "jpg_2000": (".jp2", ".j2k"), "webp": (".webp",)}
SUFFIXES = frozenset(
    {".jpeg", ".jpg", ".jpe", ".jfif", ".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".gif"}
    | {suffix for library, suffixes in _OPTIONAL.items() if features.check(library) for suffix in suffixes}
)
"""What the name of an image ends in, where this Pillow can read it."""

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000", "WEBP")
"""Pillow's names of the formats that are read, whatever the file's name: the others need other programs, or guess."""


def list_folder(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """List ``folder`` without hidden files: names of folders, names of files, and circular or broken links.

    What is neither, such as a pipe, which would be read forever, is among the links.

    No file is opened and only links are resolved, so 50,000 files take a fraction of a second. A link back to a folder
    above counts as circular, so that no caller walks in circles.

    Raises:
        UserError: when the folder cannot be read, or its path or a name in it is no text; see ``refuse_no_text``.
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
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(folders), sorted(files), sorted(bad_links)


def is_folder(item: os.DirEntry[str]) -> bool:
    """Return whether an item is a folder, or leads to one; a link in a circle does not."""
    try:
        return item.is_dir()
    except OSError:
        return False


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


def _is_bad_link(link: str) -> bool:
    """Return whether a link is broken, part of a circle of links, or leads to a folder above it."""
    target = os.path.realpath(link)
    if not os.path.exists(target):  # noqa: PTH110  false for links to each other too
        return True
    folder = os.path.realpath(os.path.dirname(link))  # noqa: PTH120
    return target == folder or folder.startswith(target.rstrip(os.sep) + os.sep)


def link_problems(folder: Path, links: Iterable[str]) -> list[str]:
    """Return a line that names ``links``, the third result of ``list_folder``; nothing if there are none."""
    names = list(links)
    if not names:
        return []
    return [
        f"{folder} has circular or broken links, or what is no file: {first_few(names)}; replace them with the files"
    ]


def is_image_name(name: str) -> bool:
    """Return whether the suffix is that of an image, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  creating one Path per file would dominate


def read_image(path: Path, reading: Reading) -> ReadImage:
    """Read and decode the image in that file; see ``read_stored`` and ``decode_image``."""
    return decode_image(path, read_stored(path), reading)


def read_stored(path: Path, patience: Patience | None = None) -> StoredImage:
    """Read the bytes of an image's file, once, however often that has to be tried.

    Args:
        path: of the file.
        patience: tries; None for one that is for this image alone.

    Raises:
        UnreachableImage: when they cannot be read.
        MissingImage: when the file is gone.
    """
    return StoredImage((patience or Patience()).read(os.fspath(path), lambda: read_whole(path)))


def decode_image(path: Path, stored: StoredImage, reading: Reading) -> ReadImage:
    """Decode an image from the bytes of its file, whose path is for messages.

    What Pillow warns of while it decodes is among the remarks, except in a thread besides the main one: Python's
    warnings are the whole process's.

    Raises:
        DamagedImage: when it is empty, truncated, text, or cannot be decoded for any other reason.
        UnsupportedImage: when it is in a format that is not read, or could not be shown.
        TooLargeImage: when it has too many pixels, or would have once it is resized; or when memory does not suffice.
    """
    data = stored.content
    if not data:
        raise _damaged(path, "the file is empty")
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DamagedImage(
            f"{path} is not read: PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set, so that what a cut-off file lacks would "
            "be read as grey; set it to False"
        )
    try:
        with (
            _warnings_as_remarks() as warned,
            pillows_limit_lifted(),
            Image.open(io.BytesIO(data), formats=FORMATS) as image,
        ):
            if problem := size_problem(image.width, image.height):
                raise TooLargeImage(
                    f"{path} is too large ({problem}); make it smaller, or set {LIMIT_VARIABLE} to a higher limit"
                )
            rgb, remarks = to_rgb(image, reading)
            remarks += frame_remarks(image, data)
        return ReadImage(rgb, stored.sha256, remarks=(*remarks, *warned))
    except UserError:
        raise
    except UndefinedPixels as error:
        raise UnsupportedImage(f"{path} cannot be shown: {error}; save it with 8 bits per channel") from None
    except MemoryError:
        raise TooLargeImage(f"{path} is too large: memory does not suffice to decode it; make it smaller") from None
    except Exception as error:  # damaged bytes can make a decoder raise anything
        if not isinstance(error, UnidentifiedImageError):
            raise _damaged(path, "the file is text" if _is_text(data) else f"truncated? {error}") from None
        raise _unidentified(path, data) from None


def _unidentified(path: Path, data: bytes) -> UnreadImage:
    """Tell apart the bytes that no format's reader took for its own."""
    if _is_text(data):
        return _damaged(path, "the file is text")
    if levels := tiff_levels(data):
        reason = f"a TIFF with {levels} is not supported; save it with 8 bits per channel"
        return UnsupportedImage(f"{path} cannot be shown: {reason}")
    if is_signed_as_known(data):
        return _damaged(path, "truncated? only its first bytes are an image's")
    return UnsupportedImage(f"{path} is in an unknown format; convert it to PNG, or extract it from the archive again")


@contextmanager
def _warnings_as_remarks() -> Iterator[list[str]]:
    """Collect the warnings in the block as remarks, complete at its end."""
    remarks: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield remarks
        return
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield remarks
    remarks += dict.fromkeys(f"Pillow warns: {' '.join(str(warning.message).split())}" for warning in caught)


def _damaged(path: Path, reason: str) -> DamagedImage:
    reason = " ".join(reason.split())
    return DamagedImage(f"{path} is not a readable image ({reason}); extract it from the archive again")


def _is_text(data: bytes) -> bool:
    try:
        words = codecs.getincrementaldecoder("utf-8")().decode(data[:4096]).split()
    except UnicodeDecodeError:
        return False
    return all(word.isprintable() for word in words)
