"""Pillow's resampling of crops on any device, equal to it in every byte.

Pillow resizes in two passes, along rows and then along columns, or the other way round. Each output value is a sum of
input bytes times coefficients that are rounded to 22 bits, and is itself rounded to a byte. Such sums are exact in
32-bit integers, so that every device gets the same. Crops of all sizes are resized together: their rows lie one below
the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from apm_tta.device_copies import device_copy

_BITS = 22
_HALF = 1 << (_BITS - 1)


@dataclass(frozen=True)
class Filter:
    """An interpolation filter of Pillow's.

    Attributes:
        support: radius, in pixels of the coarser of the two images.
        weight: of a distance ``(...)``, ``float64``.
    """

    support: float
    weight: Callable[[Tensor], Tensor]


def _triangle(distance: Tensor) -> Tensor:
    absolute = distance.abs()
    return torch.where(absolute < 1.0, 1.0 - absolute, 0.0)


def _cubic(distance: Tensor) -> Tensor:
    x, a = distance.abs(), -0.5
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, 0.0))


FILTERS = {"bilinear": Filter(1.0, _triangle), "bicubic": Filter(2.0, _cubic)}


def resize_crops(pixels: Tensor, starts: Tensor, widths: Tensor, boxes: Tensor, size: int, filter: Filter) -> Tensor:
    """Resize crops of images, each of which lies in ``pixels`` row by row.

    Args:
        pixels: of all images, ``(P, 3)``, ``uint8``.
        starts: index of the first pixel of each crop's image, ``(N,)``, on the CPU, as the following.
        widths: of each crop's image, ``(N,)``.
        boxes: top, left, height and width of each crop within its image, ``(N, 4)``.
        size: S.
        filter: by which it is resized.

    Returns:
        ``(N, 3, S, S)``, ``uint8``, on the device of ``pixels``.
    """
    top, left, height, width = boxes.unbind(1)
    corners, steps = starts + top * widths + left, torch.stack([widths, torch.ones_like(widths)], 1)
    lengths = boxes[:, 2:]
    turned = _begins_with_columns(height, width, size)
    if not bool(turned.any()):
        return _resize(pixels, corners, steps, lengths, size, filter).permute(0, 3, 1, 2).contiguous()
    result = torch.empty((len(boxes), 3, size, size), dtype=torch.uint8, device=pixels.device)
    for which, axes in ((~turned, (0, 3, 1, 2)), (turned, (0, 3, 2, 1))):
        rows = which.nonzero().flatten()
        if len(rows):
            order = [1, 0] if axes[2] == 2 else [0, 1]
            made = _resize(pixels, corners[rows], steps[rows][:, order], lengths[rows][:, order], size, filter)
            result.index_copy_(0, device_copy(rows, pixels.device), made.permute(*axes).contiguous())
    return result


def _begins_with_columns(heights: Tensor, widths: Tensor, size: int) -> Tensor:
    """Return of which crops Pillow resizes the columns first, as its later versions do where that is less work."""
    if not _pillow_may_begin_with_columns():
        return torch.zeros_like(heights, dtype=torch.bool)
    return (heights > size) & (heights + size > 2 * widths)


@cache
def _pillow_may_begin_with_columns() -> bool:
    values = np.random.default_rng(0).integers(0, 256, (64, 16, 3), dtype=np.uint8)
    image, how = Image.fromarray(values), Image.Resampling.BILINEAR
    columns_first = image.resize((16, 24), how).resize((24, 24), how)
    return np.array_equal(np.asarray(image.resize((24, 24), how)), np.asarray(columns_first))


def _resize(pixels: Tensor, corners: Tensor, steps: Tensor, lengths: Tensor, size: int, filter: Filter) -> Tensor:
    """Resize crops along their second axis, then along the first.

    Args:
        pixels: ``(P, 3)``.
        corners: index of each crop's first pixel, ``(N,)``.
        steps: from one pixel to the next along either axis, ``(N, 2)``.
        lengths: of either axis, ``(N, 2)``.
        size: S.
        filter: see ``resize_crops``.

    Returns:
        ``(N, S, S, 3)``.
    """
    device, count = pixels.device, len(corners)
    rows = int(lengths[:, 0].sum())
    taps = [_taps(each, size, filter) for each in lengths.unbind(1)]
    table = torch.cat([corners[:, None], steps, lengths, (lengths[:, 0].cumsum(0) - lengths[:, 0])[:, None]], 1)
    corners, row_step, column_step, height, width, first_row = device_copy(table, device).unbind(1)
    below = torch.arange(rows, device=device)
    crop_of_row = torch.searchsorted(first_row + height, below, right=True)
    row = below - first_row[crop_of_row]
    start_of_row = (corners[crop_of_row] + row * row_step[crop_of_row])[:, None]
    column_step, last = column_step[crop_of_row, None], (width - 1)[crop_of_row, None]

    first, weights = _coefficients(width, size, filter, taps[1])
    first, weights = first[crop_of_row], weights[crop_of_row]
    total = torch.full((rows, size, 3), _HALF, dtype=torch.int32, device=device)
    for tap in range(taps[1]):
        place = start_of_row + torch.minimum(first + tap, last) * column_step
        total += pixels[place].int() * weights[:, :, tap, None]
    along = _rounded(total)

    first, weights = _coefficients(height, size, filter, taps[0])
    total = torch.full((count, size, size, 3), _HALF, dtype=torch.int32, device=device)
    for tap in range(taps[0]):
        place = first_row[:, None] + torch.minimum(first + tap, (height - 1)[:, None])
        total += along[place].int() * weights[:, :, tap, None, None]
    return _rounded(total)


def _taps(lengths: Tensor, size: int, filter: Filter) -> int:
    """Return how many inputs an output has at most."""
    return math.ceil(filter.support * max(1.0, int(lengths.max()) / size)) * 2 + 1


def _coefficients(lengths: Tensor, size: int, filter: Filter, taps: int) -> tuple[Tensor, Tensor]:
    """Return the first input of every output, ``(N, S)``, and the coefficients from there on, ``(N, S, taps)``.

    In double precision and in Pillow's order of operations, so that rounding is the same.
    """
    length = lengths.double()[:, None]
    # Not by a number: a GPU would multiply with its reciprocal.
    scale = length / torch.full((1,), float(size), dtype=torch.float64, device=lengths.device)
    filter_scale = scale.clamp_min(1.0)
    support = filter.support * filter_scale
    centre = (torch.arange(size, dtype=torch.float64, device=lengths.device) + 0.5) * scale
    first = (centre - support + 0.5).trunc().clamp_min(0.0)
    after = torch.minimum((centre + support + 0.5).trunc(), length)
    inverse = 1.0 / filter_scale
    offsets = torch.arange(taps, dtype=torch.float64, device=lengths.device)
    places = offsets + first[..., None]
    weights = filter.weight((places - centre[..., None] + 0.5) * inverse[..., None])
    weights = torch.where(places < after[..., None], weights, 0.0)
    total = torch.zeros_like(centre)
    for tap in range(taps):
        total = total + weights[..., tap]
    weights = torch.where(total[..., None] != 0.0, weights / total[..., None], weights) * float(1 << _BITS)
    return first.long(), torch.where(weights < 0, weights - 0.5, weights + 0.5).trunc().int()


def _rounded(total: Tensor) -> Tensor:
    return (total >> _BITS).clamp_(0, 255).to(torch.uint8)
