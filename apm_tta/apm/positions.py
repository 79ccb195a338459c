"""The fixed two-dimensional position code."""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor


def sine_cosine_code(grid: int, width: int) -> Tensor:
    r"""Return the position code of every location of a ``grid x grid`` field, shape ``(grid, grid, width)``.

    With :math:`W` the width and :math:`k = 0 .. W/4 - 1`, location :math:`(i, j)` (row, column) has

    .. math::
        p_{2k} = \sin(j \omega_k), \quad p_{2k+1} = \cos(j \omega_k), \quad
        p_{W/2 + 2k} = \sin(i \omega_k), \quad p_{W/2 + 2k + 1} = \cos(i \omega_k), \quad
        \omega_k = \exp\left(-2k \frac{\ln 10000}{W/2}\right)

    Raises:
        ValueError: when ``width`` is not a multiple of 4.
    """
    if width % 4:
        raise ValueError(f"no position code has a width of {width}: the width must be a multiple of 4")
    axis = axis_code(torch.arange(grid), width // 2)
    by_column = axis[None, :, :].expand(grid, grid, -1)
    by_row = axis[:, None, :].expand(grid, grid, -1)
    return torch.cat([by_column, by_row], dim=-1)


@cache
def code_on(grid: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return ``sine_cosine_code`` of that type on a device, made once, into which nobody may write."""
    return sine_cosine_code(grid, width).to(device, dtype)


def axis_code(indices: Tensor, half: int) -> Tensor:
    """Return one half of the code, ``(N, half)``, of rows or columns ``(N,)``.

    Sin and cos alternate; ``half`` is even.
    """
    frequencies = torch.exp(torch.arange(0, half, 2, device=indices.device) * (-math.log(10000.0) / half))
    angles = indices[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
