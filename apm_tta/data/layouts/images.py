"""Image files: which there are in a folder, and what is in one."""

from __future__ import annotations

import codecs
import errno
import hashlib
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from apm_tta.data.sample import ReadImage
from apm_tta.errors import UserError

SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm"})


class DamagedImage(UserError):
    """One image that cannot be read, among others that can."""


def some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "none"


def count(number: int, singular: str, plural: str = "") -> str:
    """``1 image``, ``2,000 images``."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def listing(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """What lies in ``folder``, hidden files left out: names of folders, names of files, and links that lead nowhere.

    No file is opened and only links are looked up, so 50,000 files take a fraction of a second. A link that leads
    back to a folder above is among the last, so that nobody walks in circles.

    Raises:
        UserError: when the folder cannot be read.
    """
    folders, files, circles = [], [], []
    try:
        with os.scandir(folder) as found:
            for item in found:
                if item.name.startswith("."):
                    continue
                if item.is_symlink() and _leads_nowhere(item.path):
                    circles.append(item.name)
                elif item.is_dir():
                    folders.append(item.name)
                else:
                    files.append(item.name)
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}") from None
    return sorted(folders), sorted(files), sorted(circles)


def _leads_nowhere(link: str) -> bool:
    target = os.path.realpath(link)
    if not os.path.exists(target):  # noqa: PTH110  also where links lead to each other
        return True
    folder = os.path.realpath(os.path.dirname(link))  # noqa: PTH120
    return target == folder or folder.startswith(target.rstrip(os.sep) + os.sep)


def circle_problems(folder: Path, links: Iterable[str]) -> list[str]:
    """A line that names ``links``, the third part of a ``listing``."""
    names = list(links)
    if not names:
        return []
    return [f"{folder} has symbolic links that lead in a circle or to nothing: {some(names)}; put the files there"]


def is_image_name(name: str) -> bool:
    """Whether the suffix is one of an image, in capitals or not."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122  a Path a file is what takes long


def read_image(path: Path) -> ReadImage:
    """Decode the image in that file; the file is read once, and its digest is of the bytes that are decoded.

    Raises:
        DamagedImage: when it is missing, empty, cut short, text, of more pixels than Pillow takes for harmless, or
            anything else that cannot be decoded.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        circle = error.errno == errno.ELOOP
        raise _damaged(path, "its symbolic link leads in a circle" if circle else str(error.strerror)) from None
    if not data:
        raise _damaged(path, "the file is empty")
    try:
        image = Image.open(io.BytesIO(data))
        pixels, most = image.width * image.height, Image.MAX_IMAGE_PIXELS
        if most is not None and pixels > most:
            raise _damaged(path, f"it would have {pixels:,} pixels")
        return ReadImage(image.convert("RGB"), hashlib.sha256(data).hexdigest())
    except DamagedImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _damaged(path, f"it would have too many pixels: {error}") from None
    except Exception as error:  # damaged bytes can make a decoder raise anything
        if _is_text(data):
            raise _damaged(path, "the file is text") from None
        what = "its format is not known" if isinstance(error, UnidentifiedImageError) else f"cut short? {error}"
        raise _damaged(path, what) from None


def _damaged(path: Path, reason: str) -> DamagedImage:
    reason = " ".join(reason.split())
    return DamagedImage(f"{path} is not a readable image ({reason}); take it from the archive again")


def _is_text(data: bytes) -> bool:
    try:
        words = codecs.getincrementaldecoder("utf-8")().decode(data[:4096]).split()
    except UnicodeDecodeError:
        return False
    return all(word.isprintable() for word in words)
