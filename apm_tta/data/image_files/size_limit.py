"""How large an image may be: by its own pixels, and by those that it has once it is resized for a teacher.

Pillow's own limit is 89 megapixels, which photographs exceed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from apm_tta.errors import UserError
from apm_tta.plain_data import parse_number

LIMIT_VARIABLE = "APM_TTA_MAX_MEGAPIXELS"
"""The environment variable that states another limit, in millions of pixels."""

DEFAULT_MEGAPIXELS = 250.0
SHORT_SIDE = 512
"""To which an image of any proportions is resized at most before it is cropped, for the usual teachers."""

_MEGA = 1_000_000


def size_problem(width: int, height: int) -> str | None:
    """Say in words why an image of that size is too large; None where it is not.

    Raises:
        UserError: when the environment states a limit that is none. Exit code 2.
    """
    limit = limit_megapixels()
    own = width * height / _MEGA
    resized = SHORT_SIDE * SHORT_SIDE * max(width, height) / max(1, min(width, height)) / _MEGA
    if max(own, resized) <= limit:
        return None
    size = f"{width:,} x {height:,} pixels"
    if own > limit:
        return f"{size} are {_number(own)} megapixels, more than {limit:g}"
    return f"{size}, resized to a short side of {SHORT_SIDE}, are {_number(resized)} megapixels, more than {limit:g}"


def limit_megapixels() -> float:
    """Return the limit, in millions of pixels; see ``size_problem``."""
    stated = os.environ.get(LIMIT_VARIABLE)
    if not stated:
        return DEFAULT_MEGAPIXELS
    try:
        limit = parse_number(stated)
    except ValueError:
        limit = 0.0
    if limit <= 0:
        raise UserError(f"{LIMIT_VARIABLE}={stated!r} is no number of megapixels; such as 1000", exit_code=2)
    return limit


def _number(megapixels: float) -> str:
    return f"{megapixels:,.0f}" if megapixels >= 10 else f"{megapixels:.3g}"


class _Lifted:
    lock = threading.Lock()
    blocks = 0
    limit: int | None = None


@contextmanager
def pillows_limit_lifted() -> Iterator[None]:
    """Let Pillow open images of any size within the block, in whatever thread; afterwards its limit is as it was."""
    with _Lifted.lock:
        if not _Lifted.blocks:
            _Lifted.limit = Image.MAX_IMAGE_PIXELS
            Image.MAX_IMAGE_PIXELS = None
        _Lifted.blocks += 1
    try:
        yield
    finally:
        with _Lifted.lock:
            _Lifted.blocks -= 1
            if not _Lifted.blocks:
                Image.MAX_IMAGE_PIXELS = _Lifted.limit


def pillows_limit() -> int | None:
    """Return Pillow's limit as it is outside such blocks, which another thread may be in."""
    with _Lifted.lock:
        return _Lifted.limit if _Lifted.blocks else Image.MAX_IMAGE_PIXELS


def set_pillows_limit(limit: int | None) -> None:
    """Set it, from the end of such blocks on where a thread is in one."""
    with _Lifted.lock:
        if _Lifted.blocks:
            _Lifted.limit = limit
        else:
            Image.MAX_IMAGE_PIXELS = limit
