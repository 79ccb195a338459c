"""Draws that NumPy's two generators name differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.corruptions.apply import Generator


def integers(rng: Generator, low: int, high: int, size: int | tuple[int, ...]) -> NDArray[Any]:
    """Integers of ``size``, each of ``low .. high - 1`` equally likely."""
    if isinstance(rng, np.random.RandomState):
        return np.asarray(rng.randint(low, high, size=size))
    return np.asarray(rng.integers(low, high, size=size))


def integer(rng: Generator, low: int, high: int) -> int:
    """One integer, each of ``low .. high - 1`` equally likely."""
    return int(integers(rng, low, high, 1)[0])
