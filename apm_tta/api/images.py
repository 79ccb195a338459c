"""Images in the forms that a notebook has: paths, PIL images, arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apm_tta.data.dataset import pixel_digest
from apm_tta.data.decoding import VIEWER, Reading, UndefinedPixels, to_rgb
from apm_tta.data.layouts.images import read_image
from apm_tta.errors import UserError, describe_error

_ACCEPTED = "a path, a PIL image, or a uint8 RGB array (H, W, 3)"


def batches(
    images: Any, ids: Sequence[str] | None, batch_size: int, reading: Reading = VIEWER
) -> Iterator[tuple[tuple[str, ...], tuple[Image.Image, ...]]]:
    """Read images, ``batch_size`` at a time, each with what stands for its id.

    Args:
        images: one of them or any number: paths, PIL images, ``uint8`` RGB arrays ``(H, W, 3)``.
        ids: one per image; None takes the SHA-256 of its decoded pixels, so that an image has the same random views
            wherever it comes from.
        batch_size: how many at a time.
        reading: by whose rules files and PIL images become RGB.

    Raises:
        UserError: for anything else, for a file that cannot be read, or where there are more ids than images or fewer.
    """
    if ids is not None:
        listed = isinstance(ids, Iterable) and not isinstance(ids, str | set | dict)
        ids = list(ids) if listed else []
        if not listed or not all(isinstance(name, str) for name in ids):
            raise UserError("ids must be a list of strings, one per image", exit_code=2)
    remaining = enumerate([images] if _is_one(images) else _iterable(images))
    count = 0
    while part := [_read(index, image, reading) for index, image in islice(remaining, batch_size)]:
        names = [pixel_digest(image) for image in part] if ids is None else list(ids[count : count + len(part)])
        count += len(part)
        if len(names) != len(part):
            raise UserError(f"there are {len(ids or ())} ids for at least {count} images", exit_code=2)
        yield tuple(names), tuple(part)
    if ids is not None and len(ids) != count:
        raise UserError(f"there are {len(ids)} ids for {count} images", exit_code=2)


def _is_one(images: Any) -> bool:
    return isinstance(images, str | Path | Image.Image) or (isinstance(images, np.ndarray) and images.ndim == 3)


def _iterable(images: Any) -> Iterable[Any]:
    scalar = isinstance(images, np.ndarray) and images.ndim == 0
    if isinstance(images, Iterable) and not isinstance(images, bytes | dict) and not scalar and not _is_tensor(images):
        return images
    raise UserError(f"images is {_named(images)}; give {_ACCEPTED}, or several of them", exit_code=2)


def _read(index: int, image: Any, reading: Reading) -> Image.Image:
    if isinstance(image, str | Path):
        if "\0" in str(image):
            raise UserError(f"image {index} is {image!r}, which is not a path", exit_code=2)
        return read_image(Path(image), reading).image
    if isinstance(image, Image.Image):
        try:
            return to_rgb(image, reading)[0]
        except UndefinedPixels as error:
            raise UserError(f"image {index} cannot be shown: {error}; save it with 8 bits per channel", 2) from None
        except Exception as error:  # PIL decodes late, and damaged bytes can make a decoder raise anything
            raise UserError(f"image {index} cannot be decoded ({describe_error(error)})") from error
    if isinstance(image, np.ma.MaskedArray):
        raise UserError(f"image {index} is a masked array, whose mask would be lost; fill it first", exit_code=2)
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3:
        if 0 in image.shape:
            raise UserError(f"image {index} is an array {image.shape}, which has no pixels", exit_code=2)
        return Image.fromarray(np.ascontiguousarray(image))
    raise UserError(f"image {index} is {_named(image)}; give {_ACCEPTED}", exit_code=2)


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch"


def _named(value: Any) -> str:
    if isinstance(value, np.ndarray) or _is_tensor(value):
        kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
        return f"{kind} {tuple(value.shape)} of {value.dtype}"
    return f"of type {type(value).__name__}"
