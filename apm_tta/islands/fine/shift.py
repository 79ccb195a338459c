"""The mean over shifted copies of the image: any teacher's features, at the price of one pass per copy."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import pad

from apm_tta.errors import UserError
from apm_tta.islands.fine.way import COSTS, WAYS
from apm_tta.teachers import Teacher

COSTS["shift"] = lambda factor, _side, _width: factor**2


@WAYS.register("shift")
def mean_over_shifts(teacher: Teacher, pixels: Tensor, tokens: Mapping[int, Tensor], factor: int) -> list[Tensor]:
    """Encode copies of the image, moved by multiples of a k-th of a patch, k by k of them, and average by location.

    A location's feature is the mean of the tokens whose patches cover it: k x k of them, fewer near the border, where
    some of the copies have moved it out of the picture. What a copy shows beyond the border is the border's pixels.

    Raises:
        UserError: when k does not divide the side of a patch, in pixels. Exit code 2.
    """
    layers, side = list(tokens), len(next(iter(tokens.values())))
    patch, rest = divmod(pixels.shape[-1], side)
    if rest:
        raise UserError(
            f"--fine shift needs a grid that divides {pixels.shape[-1]} pixels; {side} x {side} does not", 2
        )
    if patch % factor:
        divisors = ", ".join(str(side * each) for each in range(1, patch + 1) if patch % each == 0)
        raise UserError(f"--fine shift cannot divide patches of {patch} pixels by {factor}; resolutions: {divisors}", 2)
    steps = [index - (factor - 1) // 2 for index in range(factor)]
    step, reach = patch // factor, patch // factor * max(map(abs, steps))
    around = pad(pixels, (reach, reach, reach, reach), mode="replicate")
    cells, size = side * factor, pixels.shape[-1]
    sums: list[Tensor] = []
    count = torch.zeros(cells, cells, 1, device=pixels.device)
    for down, right in itertools.product(steps, repeat=2):
        top, left = reach + down * step, reach + right * step
        rows, columns = _overlap(cells, down), _overlap(cells, right)
        count[rows[0], columns[0]] += 1
        grids = teacher.encode_grids(around[..., top : top + size, left : left + size], layers)
        sums = sums or [grid.new_zeros(cells, cells, grid.shape[-1]) for grid in grids]
        for total, grid in zip(sums, grids, strict=True):
            repeated = grid[0].repeat_interleave(factor, 0).repeat_interleave(factor, 1)
            total[rows[0], columns[0]] += repeated[rows[1], columns[1]]
    return [total / count for total in sums]


def _overlap(cells: int, moved: int) -> tuple[slice, slice]:
    """Return which cells of the image a copy shows that is moved by ``moved`` cells, and where it shows them."""
    first, last = max(0, moved), cells + min(0, moved)
    return slice(first, last), slice(first - moved, last - moved)
