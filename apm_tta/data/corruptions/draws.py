"""Random draws that NumPy's two kinds of generator name differently."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from apm_tta.data.corruptions.apply import Generator


def draw_integers(rng: Generator, low: int, high: int, size: int | tuple[int, ...]) -> NDArray[Any]:
    """Draw integers of shape ``size``, uniform over ``low .. high - 1``."""
    if isinstance(rng, np.random.RandomState):
        return np.asarray(rng.randint(low, high, size=size))
    return np.asarray(rng.integers(low, high, size=size))


def draw_integer(rng: Generator, low: int, high: int) -> int:
    """Draw one integer, uniform over ``low .. high - 1``."""
    return int(draw_integers(rng, low, high, 1)[0])
