"""Image files: reading one, and decoding it."""

from __future__ import annotations

import codecs
import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile, UnidentifiedImageError

from apm_tta.data.decoding import Reading, UndefinedPixels, to_rgb
from apm_tta.data.decoding.file_facts import frame_remarks, is_signed_as_known, tiff_levels
from apm_tta.data.files import read_whole
from apm_tta.data.image_files import DamagedImage, Patience, TooLargeImage, UnreadImage, UnsupportedImage
from apm_tta.data.image_files.size_limit import LIMIT_VARIABLE, pillows_limit_lifted, size_problem
from apm_tta.data.sample import ReadImage, StoredImage
from apm_tta.errors import UserError

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "PPM", "GIF", "AVIF", "JPEG2000", "WEBP")
"""Pillow's names of the formats that are read, whatever the file's name: the others need other programs, or guess."""


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
    return UnsupportedImage(f"{path} is in an unknown format; convert it to PNG, or replace it")


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
    return DamagedImage(f"{path} is not a readable image ({reason}); replace it, or extract it from its archive again")


def _is_text(data: bytes) -> bool:
    try:
        words = codecs.getincrementaldecoder("utf-8")().decode(data[:4096]).split()
    except UnicodeDecodeError:
        return False
    return all(word.isprintable() for word in words)
