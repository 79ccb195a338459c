"""Fashion-MNIST's four idx files, as Zalando publishes them and Debian's ``dataset-fashion-mnist`` installs them."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from apm_tta.errors import UserError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_SPLITS = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read the array in one gzipped idx file of unsigned bytes.

    The format: two zero bytes, the type (8 = uint8), the number of axes, one big-endian int32 per axis, the values.

    Raises:
        UserError: when the file is not gzipped idx of uint8, or is cut short.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing; Debian's package dataset-fashion-mnist installs it, or download it from "
            "github.com/zalandoresearch/fashion-mnist"
        ) from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a readable gzip file ({error}); download it again") from None
    axes = raw[3] if raw[:3] == b"\x00\x00\x08" and len(raw) > 3 else 0
    shape = np.frombuffer(raw, ">i4", count=axes, offset=4) if len(raw) >= 4 + 4 * axes else np.zeros(0)
    if not axes or (shape < 0).any() or len(raw) != 4 + 4 * axes + int(np.prod(shape)):
        raise UserError(f"{path} is not a complete idx file of unsigned bytes; download it again")
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Load images ``(N, 28, 28)`` and labels ``(N,)`` of ``split``, ``"train"`` (60,000) or ``"test"`` (10,000)."""
    prefix = _SPLITS[split]
    images = read_idx(folder / f"{prefix}-images-idx3-ubyte.gz")
    labels = read_idx(folder / f"{prefix}-labels-idx1-ubyte.gz")
    if len(images) != len(labels):
        raise UserError(f"{folder} has {len(images)} {split} images but {len(labels)} labels; download it again")
    return images, labels
