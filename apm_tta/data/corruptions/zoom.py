"""Enlargement of the middle of an image, by linear interpolation between the original pixels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

# Arrays of a few rows fit a core's cache, and the allocator reuses them without requesting memory.
_ROWS_AT_A_TIME = 32


@lru_cache(maxsize=2048)
def enlargement_matrix(length: int, factor: float, start: int, stop: int) -> Any:
    """Compute the sparse matrix ``(pixels, length)`` that makes pixels ``start`` .. ``stop - 1`` of an enlarged line.

    The middle ``ceil(length / factor)`` pixels are stretched end to end over ``factor`` times as many, of which the
    middle ``length`` are kept: ``scipy.ndimage.zoom(order=1)`` between two crops. At some lengths, none of them the
    authors', SciPy's last position rounds to outside the image, and the last line is black; here it is the image's
    last.
    """
    taken = ceil(length / factor)
    stretched = round(taken * factor)
    cut = (stretched - length) // 2
    position = np.arange(cut + start, cut + stop) * ((taken - 1) / max(1, stretched - 1))
    below = np.minimum(np.floor(position).astype(np.int64), max(0, taken - 2))
    share = position - below
    columns = np.stack([below, np.minimum(below + 1, taken - 1)], axis=1) + (length - taken) // 2
    weights = np.stack([1 - share, share], axis=1)
    row_starts = np.arange(0, weights.size + 1, 2)
    return csr_array((weights.ravel(), columns.ravel(), row_starts), shape=(stop - start, length))


def enlarge_rows(values: NDArray[np.float64], factor: float, start: int, stop: int) -> NDArray[np.float64]:
    """Compute rows of ``(H, W, C)`` enlarged ``factor`` times about its middle, as columns: ``(W, stop - start, C)``.

    They are columns because a sparse product runs along the first axis: a caller that sums several transposes once.
    """
    height, width, channels = values.shape
    down = enlargement_matrix(height, factor, start, stop) @ values.reshape(height, width * channels)
    transposed = np.ascontiguousarray(down.reshape(stop - start, width, channels).swapaxes(0, 1))
    across = enlargement_matrix(width, factor, 0, width) @ transposed.reshape(width, (stop - start) * channels)
    return np.asarray(across.reshape(width, stop - start, channels))


def enlarge(values: NDArray[np.float64], factor: float) -> NDArray[np.float64]:
    """Enlarge ``(H, W)`` ``factor`` times about its middle, keeping the shape."""
    return enlarge_rows(values[:, :, None], factor, 0, len(values))[:, :, 0].T


def sum_enlargements(values: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Sum ``(H, W, C)`` enlarged by each factor, in float32, in the order of the factors; the shape stays the same."""
    double_precision = values.astype(np.float64)
    total = np.empty_like(values)
    for start, stop in row_strips(len(values)):
        rows = np.zeros((values.shape[1], stop - start, values.shape[2]), np.float32)
        for factor in factors:
            rows += enlarge_rows(double_precision, float(factor), start, stop).astype(np.float32)
        total[start:stop] = rows.swapaxes(0, 1)
    return total


def row_strips(height: int) -> Iterator[tuple[int, int]]:
    """Split ``height`` rows into strips; yield the first row of each, and the row after its last."""
    for start in range(0, height, _ROWS_AT_A_TIME):
        yield start, min(start + _ROWS_AT_A_TIME, height)
