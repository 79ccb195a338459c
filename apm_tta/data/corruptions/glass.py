"""The displacement of pixels by frosted glass, as the published code actually performs it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def source_pixels(offsets: NDArray[np.int64], height: int, width: int, reach: int) -> NDArray[np.int64]:
    r"""Compute which pixel's value each pixel has after one pass over the image.

    The published code visits the pixels from the bottom right to the top left, and exchanges each with one at a random
    offset. Its two operands are views of one array, so no exchange takes place: the pixel gets the other's value, and
    the other keeps it. The value of pixel p is therefore that of :math:`p + o_p`: the one from before the pass if that
    pixel comes after p or is never visited, else the one that it got itself. A pixel's source is the end of a chain of
    such steps, each further to the bottom right. All chains are followed at once, twice as far in every round.

    Args:
        offsets: of every visited pixel in order of visit, ``(H - 2 reach, W - 2 reach, 2)``: to the right, down.
        height: H, pixels.
        width: W, pixels.
        reach: the longest offset, and the margin that is not visited, except for the last rows and columns.

    Returns:
        Indices into the flat image before the pass ``(H W,)``.
    """
    itself = np.arange(height * width).reshape(height, width)
    visited = np.s_[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    source = itself.copy()
    right, down = np.moveaxis(offsets[::-1, ::-1], -1, 0)
    source[visited] += width * down + right
    is_visited = np.zeros((height, width), bool)
    is_visited[visited] = True
    chain_continues = is_visited.ravel()[source] & (source > itself)
    ends = np.where(chain_continues, source, itself).ravel()
    while True:
        further = ends[ends]
        if np.array_equal(further, ends):
            return source.ravel()[ends]
        ends = further
