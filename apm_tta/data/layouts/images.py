"""Image files: listing those of a folder, and decoding one."""

from __future__ import annotations

import codecs
import errno
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from apm_tta.data.sample import ReadImage, StoredImage
from apm_tta.errors import UserError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


class DamagedImage(UserError):
    """An image that cannot be read, among others that can."""


def first_few(names: Sequence[str]) -> str:
    """Join the first three names, and state how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def pluralise(number: int, singular: str, plural: str = "") -> str:
    """Format a number with its noun: ``1 image``, ``2,000 images``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def list_folder(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """List ``folder`` without hidden files: names of folders, names of files, and circular or broken links.

    No file is opened and only links are resolved, so 50,000 files take a fraction of a second. A link back to a folder
    above counts as circular, so that no caller walks in circles.

    Raises:
        UserError: when the folder cannot be read.
    """
    folders, files, bad_links = [], [], []
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if item.is_symlink() and _is_bad_link(item.path):
                    bad_links.append(item.name)
                elif item.is_dir():
                    folders.append(item.name)
                else:
                    files.append(item.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(folders), sorted(files), sorted(bad_links)


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
    return [f"{folder} has circular or broken symbolic links: {first_few(names)}; replace them with the files"]


def is_image_name(name: str) -> bool:
    """Return whether the suffix is that of an image, in upper or lower case."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  creating one Path per file would dominate


def read_image(path: Path) -> ReadImage:
    """Read and decode the image in that file; see ``read_stored`` and ``decode_image``."""
    return decode_image(path, read_stored(path))


def read_stored(path: Path) -> StoredImage:
    """Read the bytes of an image's file, once.

    Raises:
        DamagedImage: when they cannot be read.
    """
    try:
        return StoredImage(path.read_bytes())
    except OSError as error:
        circular = error.errno == errno.ELOOP
        raise _damaged(path, "its symbolic link is circular" if circular else str(error.strerror)) from None


def decode_image(path: Path, stored: StoredImage) -> ReadImage:
    """Decode an image from the bytes of its file, whose path is for messages.

    Raises:
        DamagedImage: when it is empty, truncated, text, has more pixels than Pillow considers safe, or cannot be
            decoded for any other reason.
    """
    data = stored.content
    if not data:
        raise _damaged(path, "the file is empty")
    try:
        image = Image.open(io.BytesIO(data))
        pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if limit is not None and pixels > limit:
            raise _damaged(path, f"it would have {pixels:,} pixels")
        return ReadImage(image.convert("RGB"), stored.sha256)
    except DamagedImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _damaged(path, f"it would have too many pixels: {error}") from None
    except Exception as error:  # damaged bytes can make a decoder raise anything
        if _is_text(data):
            raise _damaged(path, "the file is text") from None
        unknown = isinstance(error, UnidentifiedImageError)
        raise _damaged(path, "unknown format" if unknown else f"truncated? {error}") from None


def _damaged(path: Path, reason: str) -> DamagedImage:
    reason = " ".join(reason.split())
    return DamagedImage(f"{path} is not a readable image ({reason}); extract it from the archive again")


def _is_text(data: bytes) -> bool:
    try:
        words = codecs.getincrementaldecoder("utf-8")().decode(data[:4096]).split()
    except UnicodeDecodeError:
        return False
    return all(word.isprintable() for word in words)
