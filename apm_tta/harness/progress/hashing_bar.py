"""The bar that is shown while the images of a set are hashed, where that takes more than a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from apm_tta.system.bars import bar

_DELAY_S = 1.0


@contextmanager
def hashing_bar(images: int, hidden: bool) -> Iterator[Callable[[int], object]]:
    """Yield what takes the number of images that were hashed since its last call.

    Args:
        images: how many there are to hash.
        hidden: whether nothing is shown.
    """
    shown: tqdm[Any] = bar(hidden=hidden, delay=_DELAY_S, desc="hashing images", total=images, unit="image")
    with shown:
        yield shown.update
