"""Images that lie in one array: what the layouts of arrays share."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from apm_tta.data.layouts.base import Entry
from apm_tta.data.layouts.images import DamagedImage
from apm_tta.data.sample import ReadImage

IMAGE = (32, 32, 3)


class WrongArray(Exception):
    """An array file is not what it has to be; the message is a line for a person."""


def open_npy(path: Path, get: str) -> NDArray[Any]:
    """The array in that ``.npy`` file, mapped, not read; pickled objects are refused.

    Raises:
        WrongArray: when it is missing, cut short, or no such file.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise WrongArray(f"{path} is missing; to get it: {get}") from None
    except (OSError, ValueError, EOFError) as error:
        raise WrongArray(f"{path} is not a whole .npy file ({error}); unpack it again") from None
    if not isinstance(array, np.ndarray):
        raise WrongArray(f"{path} is an archive of arrays, not one .npy file; unpack it again")
    return array


def expect(path: Path, array: NDArray[Any], shape: tuple[int, ...], meaning: str) -> None:
    """Compares an array of bytes with the shape that it has to have.

    Raises:
        WrongArray: when it is another.
    """
    if array.shape != shape or array.dtype != np.uint8:
        raise WrongArray(f"{path} is {array.dtype} {array.shape}, expected uint8 {shape}: {meaning}")


def check_labels(path: Path, labels: NDArray[Any], classes: int) -> None:
    """Labels are integers in 0 .. classes - 1.

    Raises:
        WrongArray: when they are not.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise WrongArray(f"{path} is {labels.dtype} {labels.shape}, expected one integer an image")
    if labels.size and not 0 <= labels.min() <= labels.max() < classes:
        raise WrongArray(f"{path} holds labels {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")


def numbered(prefix: str, labels: NDArray[Any]) -> list[Entry]:
    """Entries of ids ``prefix/00000``, ``prefix/00001`` ..., one a label."""
    return [Entry(f"{prefix}/{row:05d}", int(label)) for row, label in enumerate(labels)]


def read_row(row: NDArray[np.uint8], *, channels_first: bool = False) -> ReadImage:
    """Make an image of one row of an array, with the digest of its bytes as they lie in the file.

    Args:
        row: ``(H, W, 3)``, or ``(H, W)`` of grey levels; uint8.
        channels_first: whether it is ``(3, H, W)`` instead.
    """
    stored = np.ascontiguousarray(row)
    digest = hashlib.sha256(stored.tobytes()).hexdigest()
    shown = np.ascontiguousarray(stored.transpose(1, 2, 0)) if channels_first else stored
    return ReadImage(Image.fromarray(shown).convert("RGB"), digest)


def row_of(sample_id: str, rows: int) -> int:
    """The row that an id of ``numbered`` ends with.

    Raises:
        DamagedImage: when there is no such row.
    """
    last = sample_id.rpartition("/")[2]
    if not last.isdigit() or int(last) >= rows:
        raise DamagedImage(f"there is no image {sample_id} among {rows}")
    return int(last)
